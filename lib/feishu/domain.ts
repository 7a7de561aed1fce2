import { ConfigError } from "../errors.ts";

/** The platform's own: Feishu's and Lark's are apart, and no app is in both. */
const named: ReadonlyMap<string, string> = new Map([
  ["feishu", "https://open.feishu.cn"],
  ["lark", "https://open.larksuite.com"],
]);
const platformDomains = ["feishu.cn", "larksuite.com"];

/**
 * The address of the Open API: `feishu` (unless set), `lark`, or a URL. The app's secret and its tokens go there, so
 * a host that is not the platform's has to be allowed on purpose; on this machine, anything may listen.
 *
 * @throws {ConfigError} Neither name nor URL, not over https, or another's host.
 */
export function apiOrigin(setting: string | undefined, { allowOther = false } = {}): string {
  const text = setting === undefined || setting === "" ? "feishu" : setting;
  const origin = named.get(text) ?? text;
  const url = URL.canParse(origin) ? new URL(origin) : undefined;
  if (url === undefined) {
    throw new ConfigError('Cannot start: LARK_DOMAIN is neither "feishu" nor "lark" nor a URL');
  }
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
