import { ConfigError } from "../errors.ts";
import { apiOrigin } from "../feishu/domain.ts";
import { agentFor, type ProxyEnv } from "../https.ts";
import { appIdAdvice, type Env, flag } from "../settings/environment.ts";

/** The settings of the Open API, without the app's secret. */
export interface ApiConfig {
  readonly appId: string;
  readonly origin: string;
  readonly isMarketplace: boolean;
  readonly proxyEnv: ProxyEnv;
  /** A proxy that is set and not used. */
  readonly warnings: readonly string[];
}

/** @throws {ConfigError} A setting is missing or wrong. */
export function apiConfig(env: Env, appId: string | undefined): ApiConfig {
  if (appId === undefined) throw new ConfigError(`Cannot start: APP_ID is not set. ${appIdAdvice}`);
  return {
    appId,
    origin: apiOrigin(env["LARK_DOMAIN"], { allowOther: flag(env, "ALLOW_OTHER_DOMAIN") }),
    isMarketplace: flag(env, "MARKETPLACE_APP"),
    ...proxyConfig(env),
  };
}

/** The proxy for calls to the platform, which are all HTTPS. Its value may hold a password, so only its name is said. */
function proxyConfig(env: Env): Pick<ApiConfig, "proxyEnv" | "warnings"> {
  const first = (names: readonly string[]) => names.find((name) => env[name]) ?? "";
  const name = first(["https_proxy", "HTTPS_PROXY"]);
  const proxy = env[name];
  if (proxy !== undefined && isProxy(proxy)) {
    return { proxyEnv: { HTTPS_PROXY: proxy, NO_PROXY: env[first(["no_proxy", "NO_PROXY"])] }, warnings: [] };
  }
  const other = first(["all_proxy", "ALL_PROXY", "http_proxy", "HTTP_PROXY"]);
  const unused = name || other;
  const reason = name === "" ? "the platform is called over HTTPS. Set HTTPS_PROXY" : "it is not an http(s) URL";
  return { proxyEnv: {}, warnings: unused === "" ? [] : [`${unused} is set and not used: ${reason}`] };
}

/** Asks Node as well, which takes no line break and no `%` that is not escaped, and quotes the URL in its error. */
function isProxy(url: string): boolean {
  try {
    agentFor(new URL("https://open.feishu.cn"), { HTTPS_PROXY: url });
    return ["http:", "https:"].includes(new URL(url).protocol);
  } catch {
    return false;
  }
}
