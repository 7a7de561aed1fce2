import { ConfigError } from "../errors.ts";

export type Env = Readonly<Record<string, string | undefined>>;

const shortSecret = 16;

export const appIdAdvice = "Copy it from the developer console (cli_…)";

/** A platform's app id. @throws {ConfigError} Not set, or of another shape, which the platform refuses. */
export function platformAppId(env: Env): string {
  const appId = setting(env, "APP_ID", appIdAdvice);
  if (/^cli_[0-9a-z]{16}$/.test(appId)) return appId;
  throw new ConfigError(`Cannot start: APP_ID is not "cli_" and 16 letters or digits. ${appIdAdvice}`);
}

/** Texts that templates have where a value belongs. */
const placeholder =
  /^(undefined|null|none|nil|nan|true|false|changeme|change[-_ ]me|replace[-_ ]?me|dummy|sample|(insert|paste|enter)[-_ ].*|[$%_]+(encrypt_key|verification_token|app_id)[%_]*|".*"|'.*'|placeholder|secret|todo|tbd|fixme|test|example|x+|\*+|[.…]+|-+|<.*>|\$\{.*\}|\{\{.*\}\}|your[-_ ].*|\[object object\])$/i;

/** `undefined` if it is not set. */
export function wholeNumber(env: Env, name: string): number | undefined {
  const text = env[name];
  if (!text) return undefined;
  if (!/^[1-9]\d{0,8}$/.test(text)) throw new ConfigError(`Cannot start: ${name} is not a whole number above 0`);
  return Number(text);
}

/** A setting that is a secret; a short one adds to `warnings`. */
export function secret(env: Env, name: string, warnings: string[]): string {
  const value = setting(env, name, "Copy it from the developer console, or anyone can pose as Feishu");
  if (value.length < shortSecret) {
    warnings.push(`${name} is shorter than ${shortSecret} characters. Check that it was copied whole`);
  }
  return value;
}

/** A setting that must have a value. `advice` ends the error message. */
export function setting(env: Env, name: string, advice: string): string {
  const value = env[name];
  const wrong = (how: string) => new ConfigError(`Cannot start: ${name} is ${how}. ${advice}`);
  if (value === undefined) throw wrong("not set");
  if (value === "") throw wrong("empty");
  if (value.trim() === "") throw wrong("blank");
  if (value.trim() !== value) {
    throw new ConfigError(`Cannot start: ${name} begins or ends with white space. Check for a line break after it`);
  }
  if (placeholder.test(value)) throw wrong("a placeholder");
  return value;
}

export function url(env: Env, name: string): string {
  const advice = "It is the URL of an SQS queue";
  const value = setting(env, name, advice);
  if (isHttpUrl(value)) return value;
  throw new ConfigError(`Cannot start: ${name} is not an http(s) URL. ${advice}`);
}

export function isHttpUrl(text: string): boolean {
  return URL.canParse(text) && /^https?:$/.test(new URL(text).protocol);
}

export function flag(env: Env, name: string): boolean {
  const value = env[name];
  if (!value || value === "false") return false;
  if (value === "true") return true;
  throw new ConfigError(`Cannot start: ${name} is neither "true" nor "false"`);
}

export function refuseUncheckedTls(env: Env): void {
  if (env["NODE_TLS_REJECT_UNAUTHORIZED"] === "0") {
    throw new ConfigError("Cannot start: NODE_TLS_REJECT_UNAUTHORIZED is 0, so any host could pose as AWS. Remove it");
  }
}
