import { ConfigError } from "./errors.ts";
import { appKeys, defaultApp, type KeyRing } from "./feishu/keys.ts";

type Env = Readonly<Record<string, string | undefined>>;

export interface WebhookConfig {
  readonly keys: KeyRing;
  readonly eventsQueueUrl: string;
  readonly quarantineQueueUrl: string;
  /** Things that work but should be looked at; settings are named, values never. */
  readonly warnings: readonly string[];
}

export interface WorkerConfig {
  readonly appId: string;
  readonly eventsQueueUrl: string;
  readonly quarantineQueueUrl: string;
  readonly deadLetterQueueUrl: string;
  readonly ledgerTable: string;
}

const shortSecret = 16;
/** What stands in a template until someone pastes the real thing. */
const placeholder =
  /^(undefined|null|none|nil|nan|true|false|changeme|change[-_ ]me|placeholder|secret|todo|tbd|fixme|test|example|x+|\*+|\.+|-+|<.*>|\$\{.*\}|\{\{.*\}\}|your[-_ ].*|\[object object\])$/i;

/**
 * The webhook function's settings.
 * @throws {ConfigError} One is missing, blank, padded with white space or a placeholder, or the setup would let anyone pose as Feishu.
 */
export function webhookConfig(env: Env): WebhookConfig {
  refuseUncheckedTls(env);
  const warnings: string[] = [];
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
  const appId = setting(env, "APP_ID", "Copy it from the developer console (cli_…)");
  return {
    keys: new Map([[defaultApp, appKeys({ appId, encryptKeys, verificationTokens })]]),
    eventsQueueUrl: url(env, "EVENTS_QUEUE_URL"),
    quarantineQueueUrl: url(env, "QUARANTINE_QUEUE_URL"),
    warnings,
  };
}

/**
 * The worker function's settings; it holds no key.
 * @throws {ConfigError} One is missing, blank or no URL.
 */
export function workerConfig(env: Env): WorkerConfig {
  refuseUncheckedTls(env);
  return {
    appId: setting(env, "APP_ID", "Copy it from the developer console (cli_…)"),
    eventsQueueUrl: url(env, "EVENTS_QUEUE_URL"),
    quarantineQueueUrl: url(env, "QUARANTINE_QUEUE_URL"),
    deadLetterQueueUrl: url(env, "DEAD_LETTER_QUEUE_URL"),
    ledgerTable: setting(env, "LEDGER_TABLE", "It is the name of the DynamoDB table"),
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
