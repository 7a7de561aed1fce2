import { ConfigError } from "../errors.ts";

/** Feishu and Lark are two platforms: no app is in both. */
const origins: ReadonlyMap<string, string> = new Map([
  ["feishu", "https://open.feishu.cn"],
  ["lark", "https://open.larksuite.com"],
]);
const platformDomains = ["feishu.cn", "larksuite.com"];

/**
 * The origin of the Open API, from `feishu` (the default), `lark` or a URL. The app's secret and tokens go there, so a
 * host that is not the platform's must be allowed by a setting; this machine is always allowed.
 *
 * @throws {ConfigError} Neither a name nor a URL, not https, or a host that is not allowed.
 */
export function apiOrigin(setting: string | undefined, { allowOther = false } = {}): string {
  const text = setting || "feishu";
  const origin = origins.get(text) ?? text;
  const url = URL.canParse(origin) ? new URL(origin) : undefined;
  if (url === undefined) throw new ConfigError('Cannot start: LARK_DOMAIN is neither "feishu" nor "lark" nor a URL');
  if (url.protocol === "http:" && isLoopback(url.hostname)) return url.origin;
  if (url.protocol !== "https:") throw new ConfigError("Cannot start: LARK_DOMAIN is not an https URL");
  if (!allowOther && !isPlatformHost(url.hostname)) {
    throw new ConfigError(
      `Cannot start: LARK_DOMAIN is "${url.hostname}", which is not the platform's, and would be sent the app's secret. ` +
        "Check it; ALLOW_OTHER_DOMAIN=true allows it",
    );
  }
  return url.origin;
}

export function isPlatformHost(hostname: string): boolean {
  return platformDomains.some((domain) => hostname === domain || hostname.endsWith(`.${domain}`));
}

export function isLoopback(hostname: string): boolean {
  return hostname === "localhost" || hostname === "[::1]" || /^127\.\d{1,3}\.\d{1,3}\.\d{1,3}$/.test(hostname);
}
