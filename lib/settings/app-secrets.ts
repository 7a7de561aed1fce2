import { ConfigError } from "../errors.ts";
import { fieldsOf, type JsonObject, stringOf } from "../feishu/json.ts";
import type { Secret } from "../feishu/keys.ts";
import { appIdAdvice, type Env, secret, setting } from "./environment.ts";

/** One app's secrets, stored as JSON in an SSM SecureString. */
export interface AppSecrets {
  readonly appId: string;
  readonly appSecret?: string | undefined;
  /** At least one. A replaced key has a `notAfter` (epoch milliseconds). */
  readonly encryptKeys: readonly Secret[];
  readonly verificationTokens: readonly Secret[];
  readonly warnings: readonly string[];
}

/** `secrets set` replaces nothing that it cannot read: a key in it may still be accepted. */
const anew = 'Delete the parameter, and run "npm run secrets -- set"';

/**
 * Reads stored secrets, with the same checks as for the environment's.
 * @throws {ConfigError} Not JSON, or a secret is missing, blank, padded with white space or a placeholder. The message holds no value.
 */
export function parseSecrets(json: string): AppSecrets {
  let stored: JsonObject;
  try {
    stored = fieldsOf(JSON.parse(json));
  } catch {
    throw new ConfigError(`Cannot read the stored secrets: they are not JSON. ${anew}`);
  }
  const warnings: string[] = [];
  const list = (name: string, label: string): Secret[] => {
    const entries = stored[name];
    if (!Array.isArray(entries) || entries.length === 0) {
      throw new ConfigError(`Cannot start: ${name} in the stored secrets is empty. ${anew}`);
    }
    return entries.map((entry: unknown) => {
      const { value, notAfter } = fieldsOf(entry);
      const checked = secret({ [label]: stringOf(value) }, label, warnings);
      return notAfter === undefined || notAfter === null
        ? { value: checked }
        : { value: checked, notAfter: endOf(notAfter, label) };
    });
  };
  return {
    appSecret: appSecret({ APP_SECRET: stringOf(stored["appSecret"]) }),
    appId: setting({ APP_ID: stringOf(stored["appId"]) }, "APP_ID", appIdAdvice),
    encryptKeys: list("encryptKeys", "ENCRYPT_KEY"),
    verificationTokens: list("verificationTokens", "VERIFICATION_TOKEN"),
    warnings,
  };
}

/** `Date.parse` guesses at other texts: it reads "for ever 9999" as the year 9999. A time of day needs its zone. */
const isoTime = /^\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d))?$/;

/** Epoch milliseconds, from a number of them or an ISO 8601 time. Anything else is refused: it must not mean "for ever". */
function endOf(notAfter: unknown, name: string): number {
  const isText = typeof notAfter === "string" && isoTime.test(notAfter);
  const ms = isText ? Date.parse(notAfter) : notAfter;
  // A number outside the range of dates is not a time in milliseconds.
  if (typeof ms === "number" && !Number.isNaN(new Date(ms).getTime())) return ms;
  throw new ConfigError(
    `Cannot start: the end ("notAfter") of a stored ${name} is no time. Give it as 2026-01-31T12:00:00Z`,
  );
}

export const noSecret = 'APP_SECRET is not set. Copy it from the developer console, or run "npm run secrets -- set"';

/** The error of a handler that signs a value or calls the Open API without a secret. */
export const noAppSecret = `Cannot act as the app: ${noSecret}`;

/** The app's secret; `undefined` if it is not set, since it may be stored elsewhere or not be needed. */
export function appSecret(env: Env): string | undefined {
  return env["APP_SECRET"] ? setting(env, "APP_SECRET", "Copy it from the developer console") : undefined;
}
