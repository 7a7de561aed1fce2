import { ConfigError } from "../errors.ts";
import { apiOrigin } from "../feishu/domain.ts";
import { appIdAdvice, type Env, flag } from "../settings/environment.ts";

/** The settings of the Open API, without the app's secret. */
export interface ApiConfig {
  readonly appId: string;
  readonly origin: string;
  readonly isMarketplace: boolean;
}

/** @throws {ConfigError} A setting is missing or wrong. */
export function apiConfig(env: Env, appId: string | undefined): ApiConfig {
  if (appId === undefined) throw new ConfigError(`Cannot start: APP_ID is not set. ${appIdAdvice}`);
  return {
    appId,
    origin: apiOrigin(env["LARK_DOMAIN"], { allowOther: flag(env, "ALLOW_OTHER_DOMAIN") }),
    isMarketplace: flag(env, "MARKETPLACE_APP"),
  };
}
