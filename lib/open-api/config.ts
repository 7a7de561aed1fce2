import { ConfigError } from "../errors.ts";
import { apiOrigin } from "../feishu/domain.ts";

type Env = Readonly<Record<string, string | undefined>>;

/** What the Open API is called with, besides the app's secret. */
export interface ApiConfig {
  readonly appId: string;
  readonly origin: string;
  readonly isMarketplace: boolean;
}

/**
 * Reads the settings of the functions that run handlers. They stand apart from config.ts, which the webhook loads.
 *
 * @param appId As that has read it.
 * @throws {ConfigError}
 */
export function apiConfig(env: Env, appId: string | undefined): ApiConfig {
  if (appId === undefined) throw new ConfigError("Cannot start: APP_ID is not set. Copy it from the developer console");
  return {
    appId,
    origin: apiOrigin(env["LARK_DOMAIN"], { allowOther: isOn(env, "ALLOW_OTHER_DOMAIN") }),
    isMarketplace: isOn(env, "MARKETPLACE_APP"),
  };
}

function isOn(env: Env, name: string): boolean {
  const value = env[name] ?? "";
  if (value !== "" && value !== "false" && value !== "true") {
    throw new ConfigError(`Cannot start: ${name} is neither "true" nor "false"`);
  }
  return value === "true";
}
