import { ConfigError } from "../errors.ts";
import type { Secret } from "../feishu/keys.ts";
import { appIdAdvice, type Env, secret, setting } from "./environment.ts";

/** One app's secrets as they are kept: JSON in an SSM SecureString. */
export interface AppSecrets {
  readonly appId: string;
  readonly appSecret?: string | undefined;
  /** At least one. `notAfter` (epoch milliseconds) is when a replaced one stops being accepted. */
  readonly encryptKeys: readonly Secret[];
  readonly verificationTokens: readonly Secret[];
  readonly warnings: readonly string[];
}

/**
 * Reads stored secrets, by the same rules as the environment's.
 * @throws {ConfigError} Not that JSON, or one of them is missing, blank, padded with white space or a placeholder; the message has no value.
 */
export function parseSecrets(json: string): AppSecrets {
  let stored: { readonly [name: string]: unknown };
  try {
    stored = Object(JSON.parse(json));
  } catch {
    throw new ConfigError('Cannot read the stored secrets: they are not JSON. Run "npm run secrets -- set"');
  }
  const warnings: string[] = [];
  const list = (name: string, label: string): Secret[] => {
    const values: unknown = stored[name];
    if (!Array.isArray(values) || values.length === 0) {
      throw new ConfigError(`Cannot start: ${name} in the stored secrets is empty. Run "npm run secrets -- set"`);
    }
    return values.map((one: unknown) => {
      const { value, notAfter } = Object(one) as { value?: unknown; notAfter?: unknown };
      const checked = secret({ [label]: typeof value === "string" ? value : undefined }, label, warnings);
      return notAfter === undefined || notAfter === null
        ? { value: checked }
        : { value: checked, notAfter: endOf(notAfter, label) };
    });
  };
  const text = (name: string) => (typeof stored[name] === "string" ? stored[name] : undefined);
  const own = appSecret({ APP_SECRET: text("appSecret") });
  return {
    appId: setting({ APP_ID: text("appId") }, "APP_ID", appIdAdvice),
    ...(own === undefined ? undefined : { appSecret: own }),
    encryptKeys: list("encryptKeys", "ENCRYPT_KEY"),
    verificationTokens: list("verificationTokens", "VERIFICATION_TOKEN"),
    warnings,
  };
}

/** What `Date.parse` takes beyond this it guesses: "for ever 9999" is the year 9999 to it. A time of day needs its zone. */
const isoTime = /^\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d))?$/;

/** Epoch milliseconds or an ISO 8601 time. A time that cannot be read must not mean "for ever". */
function endOf(notAfter: unknown, name: string): number {
  const isText = typeof notAfter === "string" && isoTime.test(notAfter);
  const ms = isText ? Date.parse(notAfter) : notAfter;
  // Past the range of dates it cannot be a time in milliseconds, and nobody could print it.
  if (typeof ms === "number" && !Number.isNaN(new Date(ms).getTime())) return ms;
  throw new ConfigError(
    `Cannot start: the end ("notAfter") of a stored ${name} is no time. Give it as 2026-01-31T12:00:00Z`,
  );
}

export const noSecret = 'APP_SECRET is not set. Copy it from the developer console, or run "npm run secrets -- set"';

/** What a handler is told that signs something, or calls the Open API, without it. */
export const noAppSecret = `Cannot act as the app: ${noSecret}`;

/** The app's secret, where there is one in the environment; it may be elsewhere, or not be needed. */
export function appSecret(env: Env): string | undefined {
  const isUnset = env["APP_SECRET"] === undefined || env["APP_SECRET"] === "";
  return isUnset ? undefined : setting(env, "APP_SECRET", "Copy it from the developer console");
}
