import { type JsonObject, parseObject } from "./classify.ts";
import { isLoopback, isPlatformHost } from "./domain.ts";

export const discoveryPath = "/callback/ws/endpoint";

/** What the server says of pinging and reconnecting; all but the count in seconds. */
export interface ClientConfig {
  /** Attempts in a row before giving up; negative: no end. */
  readonly reconnectCount: number;
  readonly reconnectIntervalSeconds: number;
  /** The first attempt waits a random part of this. */
  readonly reconnectNonceSeconds: number;
  readonly pingIntervalSeconds: number;
}

/** What every official SDK starts with. */
export const usualConfig: ClientConfig = {
  reconnectCount: -1,
  reconnectIntervalSeconds: 120,
  reconnectNonceSeconds: 30,
  pingIntervalSeconds: 120,
};

/** Where to connect, or why not. `limit`: too many connections, which may pass; `fatal`: trying again is of no use. */
export type Discovery =
  /** `url` holds a ticket: it is a secret, and good for one connection. */
  | { readonly kind: "connect"; readonly url: string; readonly serviceId: number; readonly config: ClientConfig }
  | Refusal;

export interface Refusal {
  readonly kind: "retry" | "limit" | "fatal";
  readonly code?: number | undefined;
  readonly reason: string;
}

const limitCode = 1_000_040_350;
const transientCodes: ReadonlySet<unknown> = new Set([1, 1_000_040_343]);
const knownReasons: ReadonlyMap<unknown, string> = new Map([
  [514, "the app's id or secret is wrong. Check APP_ID and APP_SECRET"],
  [
    403,
    "the app may not connect. Check that it is enabled, self-built, and set to receive events over the long connection",
  ],
  [1_000_040_344, "the app's id or secret is missing. Check APP_ID and APP_SECRET"],
]);

/**
 * Reads the answer to a discovery call. The code is looked at before the data, which may be absent on errors.
 * https://open.feishu.cn/document/server-docs/event-subscription-guide/event-subscription-configure-/request-url-configuration-case
 *
 * @param options.config What holds now: the server may name only some of it.
 * @param options.apiHost Of the address that was asked.
 */
export function readDiscovery(
  answer: { status: number; body: string },
  { config, apiHost }: { config: ClientConfig; apiHost: string },
): Discovery {
  if (answer.status !== 200) return { kind: "retry", reason: `discovery answered ${answer.status}` };
  const message = parseObject(answer.body);
  const code = message?.["code"];
  if (message === undefined || typeof code !== "number") {
    return { kind: "retry", reason: "discovery answered what is no answer of the platform" };
  }
  if (code === limitCode) return { kind: "limit", code, reason: "the app has its 50 connections already" };
  if (code !== 0) {
    const known = knownReasons.get(code) ?? "the platform refused the app";
    return transientCodes.has(code)
      ? { kind: "retry", code, reason: "the platform is busy" }
      : { kind: "fatal", code, reason: known };
  }
  const data = (message["data"] ?? {}) as JsonObject;
  const url = typeof data["URL"] === "string" && URL.canParse(data["URL"]) ? new URL(data["URL"]) : undefined;
  if (url === undefined) return { kind: "retry", reason: "discovery named no address" };
  if (!isTrusted(url, apiHost)) {
    return {
      kind: "retry",
      reason: `discovery named an address that is not the platform's (${url.protocol}//${url.hostname})`,
    };
  }
  // A WebSocket's address has none, and to dial one that does would throw.
  url.hash = "";
  const serviceId = Number(url.searchParams.get("service_id") ?? 0);
  return {
    kind: "connect",
    url: url.href,
    serviceId: Number.isInteger(serviceId) && Math.abs(serviceId) < 2 ** 31 ? serviceId : 0,
    config: mergeConfig(config, data["ClientConfig"]),
  };
}

/** Encrypted, and to the platform (or where the secret went already); in plain text on this machine only. */
function isTrusted({ protocol, hostname }: URL, apiHost: string): boolean {
  if (protocol === "ws:") return isLoopback(hostname) && isLoopback(apiHost);
  return protocol === "wss:" && (isPlatformHost(hostname) || hostname === apiHost || hostname.endsWith(`.${apiHost}`));
}

/**
 * Takes over what a `ClientConfig` names and means: a member that is missing, or no positive number, leaves what
 * holds. Without that an interval of nothing would spin.
 */
export function mergeConfig(config: ClientConfig, given: unknown): ClientConfig {
  const members = (typeof given === "object" && given !== null ? given : {}) as JsonObject;
  const seconds = (name: string, before: number, most: number) => {
    const value = members[name];
    return typeof value === "number" && Number.isFinite(value) && value > 0
      ? Math.min(Math.max(value, 1), most)
      : before;
  };
  const count = members["ReconnectCount"];
  return {
    reconnectCount: Number.isInteger(count) ? (count as number) : config.reconnectCount,
    reconnectIntervalSeconds: seconds("ReconnectInterval", config.reconnectIntervalSeconds, 3_600),
    reconnectNonceSeconds: seconds("ReconnectNonce", config.reconnectNonceSeconds, 3_600),
    pingIntervalSeconds: seconds("PingInterval", config.pingIntervalSeconds, 3_600),
  };
}

/** Reads a refused upgrade, whose reason is in headers of the platform's own (names in lower case). */
export function readRefusal(status: number, headers: Readonly<Record<string, string | string[] | undefined>>): Refusal {
  const number = (name: string) => Number(headers[name] || Number.NaN);
  const own = number("handshake-status");
  const code = Number.isNaN(own) ? status : own;
  if (own === 403) return { kind: "fatal", code, reason: knownReasons.get(403) ?? "" };
  if (own === 514 && number("handshake-autherrcode") === limitCode) {
    return { kind: "limit", code: limitCode, reason: "the app has its 50 connections already" };
  }
  return { kind: "retry", code, reason: `the connection was refused with ${code}` };
}
