import { ConfigError } from "../errors.ts";
import { appKeys, defaultApp, type KeyRing, type Secret } from "../feishu/keys.ts";

type Env = Readonly<Record<string, string | undefined>>;

/** Where the keys are kept instead of in the environment, and the app they must be for. */
export interface StoredSecrets {
  readonly parameter: string;
  readonly appId: string | undefined;
  /** Whether old card callbacks are taken. */
  readonly oldCards: boolean;
}

export interface WebhookConfig {
  /** The environment's keys; none when they are stored elsewhere. */
  readonly keys: KeyRing;
  readonly stored?: StoredSecrets;
  readonly eventsQueueUrl: string;
  readonly quarantineQueueUrl: string;
  /** Things that work but should be looked at; settings are named, values never. */
  readonly warnings: readonly string[];
}

export interface CallbackConfig extends WebhookConfig {
  readonly appSecret: string | undefined;
  readonly ledgerTable: string;
  /** Milliseconds until a fallback goes out instead of the handler's answer. */
  readonly deadlineMs: number;
}

export interface WorkerConfig {
  readonly appId: string;
  /** From the environment; where secrets are stored, it is with them. */
  readonly appSecret: string | undefined;
  readonly stored?: StoredSecrets;
  readonly eventsQueueUrl: string;
  readonly quarantineQueueUrl: string;
  readonly deadLetterQueueUrl: string;
  readonly ledgerTable: string;
}

const shortSecret = 16;
export const appIdAdvice = "Copy it from the developer console (cli_…)";
/** What stands in a template until someone pastes the real thing. */
const placeholder =
  /^(undefined|null|none|nil|nan|true|false|changeme|change[-_ ]me|replace[-_ ]?me|dummy|sample|(insert|paste|enter)[-_ ].*|[$%_]+(encrypt_key|verification_token|app_id)[%_]*|".*"|'.*'|placeholder|secret|todo|tbd|fixme|test|example|x+|\*+|\.+|-+|<.*>|\$\{.*\}|\{\{.*\}\}|your[-_ ].*|\[object object\])$/i;

/**
 * The webhook function's settings.
 * @throws {ConfigError} One is missing, blank, padded with white space or a placeholder, or the setup would let anyone pose as Feishu.
 */
export function webhookConfig(env: Env): WebhookConfig {
  return ingressConfig(env, false);
}

/** The platform waits for 3 seconds; behind the deadline, 200 ms are for what is written and for the way. */
const longestDeadlineMs = 2_500;
const usualDeadlineMs = 2_300;

/**
 * The callback function's settings.
 * @throws {ConfigError} As {@link webhookConfig}, or there is no table, or a deadline that the platform would not wait for.
 */
export function callbackConfig(env: Env): CallbackConfig {
  return {
    ...ingressConfig(env, flag(env, "LEGACY_CARD_CALLBACK")),
    appSecret: appSecret(env),
    ledgerTable: ledgerTable(env),
    deadlineMs: callbackDeadlineMs(env),
  };
}

/** @throws {ConfigError} The platform would not wait for it. */
export function callbackDeadlineMs(env: Env): number {
  const deadlineMs = wholeNumber(env, "CALLBACK_DEADLINE_MS") ?? usualDeadlineMs;
  if (deadlineMs >= 100 && deadlineMs <= longestDeadlineMs) return deadlineMs;
  throw new ConfigError(`Cannot start: CALLBACK_DEADLINE_MS is not within 100 and ${longestDeadlineMs} ms`);
}

function ingressConfig(env: Env, oldCards: boolean): WebhookConfig {
  refuseUncheckedTls(env);
  const warnings: string[] = [];
  const isStored = env["SECRETS_PARAMETER"] !== undefined;
  return {
    ...(isStored
      ? { keys: new Map(), stored: { ...storedKeys(env), oldCards } }
      : { keys: environmentKeys(env, oldCards, warnings) }),
    eventsQueueUrl: url(env, "EVENTS_QUEUE_URL"),
    quarantineQueueUrl: url(env, "QUARANTINE_QUEUE_URL"),
    warnings,
  };
}

function environmentKeys(env: Env, oldCards: boolean, warnings: string[]): KeyRing {
  const allowUnencrypted = flag(env, "ALLOW_UNENCRYPTED");
  const unset = env["ENCRYPT_KEY"] === undefined || env["ENCRYPT_KEY"] === "";
  const isPlain = unset && allowUnencrypted;
  if (isPlain) {
    warnings.push(
      "ALLOW_UNENCRYPTED is on and ENCRYPT_KEY is not set: the Verification Token is the only proof of origin",
    );
  }
  const encryptKeys = isPlain ? [] : [{ value: secret(env, "ENCRYPT_KEY", warnings) }];
  const verificationTokens = [{ value: secret(env, "VERIFICATION_TOKEN", warnings) }];
  const appId = setting(env, "APP_ID", appIdAdvice);
  return new Map([[defaultApp, appKeys({ appId, encryptKeys, verificationTokens, oldCards })]]);
}

function storedKeys(env: Env): { parameter: string; appId: string | undefined } {
  for (const name of ["ENCRYPT_KEY", "VERIFICATION_TOKEN"]) {
    if (env[name] === undefined) continue;
    throw new ConfigError(
      `Cannot start: both SECRETS_PARAMETER and ${name} are set. Remove one, so that it is clear which key counts`,
    );
  }
  return {
    parameter: setting(env, "SECRETS_PARAMETER", "It is the name of an SSM parameter"),
    appId: env["APP_ID"] === undefined ? undefined : setting(env, "APP_ID", appIdAdvice),
  };
}

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
function appSecret(env: Env): string | undefined {
  const isUnset = env["APP_SECRET"] === undefined || env["APP_SECRET"] === "";
  return isUnset ? undefined : setting(env, "APP_SECRET", "Copy it from the developer console");
}

function ledgerTable(env: Env): string {
  return setting(env, "LEDGER_TABLE", "It is the name of the DynamoDB table");
}

/**
 * The worker function's settings; it opens no request, and needs no key for that.
 * @throws {ConfigError} One is missing, blank or no URL.
 */
export function workerConfig(env: Env): WorkerConfig {
  return { ...handlingConfig(env), deadLetterQueueUrl: url(env, "DEAD_LETTER_QUEUE_URL") };
}

/** The settings of whatever stores messages and runs handlers. */
export function handlingConfig(env: Env): Omit<WorkerConfig, "deadLetterQueueUrl"> {
  refuseUncheckedTls(env);
  return {
    appId: setting(env, "APP_ID", appIdAdvice),
    appSecret: appSecret(env),
    ...(env["SECRETS_PARAMETER"] === undefined ? undefined : { stored: { ...storedKeys(env), oldCards: false } }),
    eventsQueueUrl: url(env, "EVENTS_QUEUE_URL"),
    quarantineQueueUrl: url(env, "QUARANTINE_QUEUE_URL"),
    ledgerTable: ledgerTable(env),
  };
}

/** A whole number from the environment, or `undefined` when it is not set. */
export function wholeNumber(env: Env, name: string): number | undefined {
  const text = env[name];
  if (text === undefined || text === "") return undefined;
  if (!/^[1-9]\d{0,8}$/.test(text)) throw new ConfigError(`Cannot start: ${name} is not a whole number above 0`);
  return Number(text);
}

function secret(env: Env, name: string, warnings: string[]): string {
  const value = setting(env, name, "Copy it from the developer console, or anyone can pose as Feishu");
  if (value.length < shortSecret)
    warnings.push(`${name} is shorter than ${shortSecret} characters. Generate a longer one`);
  return value;
}

function setting(env: Env, name: string, advice: string): string {
  const value = env[name];
  if (value === undefined) throw new ConfigError(`Cannot start: ${name} is not set. ${advice}`);
  if (value === "") throw new ConfigError(`Cannot start: ${name} is empty. ${advice}`);
  if (value.trim() === "") throw new ConfigError(`Cannot start: ${name} is blank. ${advice}`);
  if (value.trim() !== value) {
    throw new ConfigError(`Cannot start: ${name} begins or ends with white space. Check for a line break after it`);
  }
  if (placeholder.test(value)) throw new ConfigError(`Cannot start: ${name} is a placeholder. ${advice}`);
  return value;
}

function url(env: Env, name: string): string {
  const value = setting(env, name, "It is the URL of an SQS queue");
  if (!URL.canParse(value) || !/^https?:$/.test(new URL(value).protocol)) {
    throw new ConfigError(`Cannot start: ${name} is not an http(s) URL. It is the URL of an SQS queue`);
  }
  return value;
}

function flag(env: Env, name: string): boolean {
  const value = env[name];
  if (value === undefined || value === "" || value === "false") return false;
  if (value === "true") return true;
  throw new ConfigError(`Cannot start: ${name} is neither "true" nor "false"`);
}

function refuseUncheckedTls(env: Env): void {
  if (env["NODE_TLS_REJECT_UNAUTHORIZED"] === "0") {
    throw new ConfigError("Cannot start: NODE_TLS_REJECT_UNAUTHORIZED is 0, so any host could pose as AWS. Remove it");
  }
}
