import { ConfigError } from "../errors.ts";
import { type ApiConfig, apiConfig } from "../open-api/config.ts";
import { appIdAdvice, callbackDeadlineMs, handlingConfig, noSecret, type WorkerConfig, wholeNumber } from "./config.ts";

export interface LongConnectionConfig extends Omit<WorkerConfig, "deadLetterQueueUrl"> {
  /** Where the connection is asked for as well. */
  readonly api: ApiConfig;
  /** Milliseconds until a fallback goes out instead of a callback handler's answer. */
  readonly deadlineMs: number;
  /** Where to say on this machine whether the connection stands; nowhere unless set. */
  readonly healthPort: number | undefined;
}

/**
 * The long connection's settings. They stand apart from config.ts, which the webhook loads.
 * @throws {ConfigError} One is missing or wrong. The app's id has one shape only: another would be refused for ever.
 */
export function longConnectionConfig(env: Readonly<Record<string, string | undefined>>): LongConnectionConfig {
  const config = handlingConfig(env);
  if (!/^cli_[0-9a-z]{16}$/.test(config.appId)) {
    throw new ConfigError(`Cannot start: APP_ID is not "cli_" and 16 letters or digits. ${appIdAdvice}`);
  }
  // Without it nothing would ever come.
  if (config.appSecret === undefined && config.stored === undefined) {
    throw new ConfigError(`Cannot start: ${noSecret}`);
  }
  const api = apiConfig(env, config.appId);
  if (api.isMarketplace) {
    throw new ConfigError(
      "Cannot start: MARKETPLACE_APP is true, but only self-built apps may connect. Use the webhook",
    );
  }
  const healthPort = wholeNumber(env, "HEALTH_PORT");
  if (healthPort !== undefined && healthPort > 65_535) throw new ConfigError("Cannot start: HEALTH_PORT is no port");
  return { ...config, api, deadlineMs: callbackDeadlineMs(env), healthPort };
}
