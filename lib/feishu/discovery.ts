import { isLoopback, isPlatformHost } from "./domain.ts";
import { fieldsOf, parseObject } from "./json.ts";

export const discoveryPath = "/callback/ws/endpoint";

/** How to ping and reconnect; the server may change it. */
export interface ClientConfig {
  /** Failed attempts in a row before giving up; negative: no limit. */
  readonly reconnectCount: number;
  readonly reconnectIntervalSeconds: number;
  /** The first attempt waits a random part of this. */
  readonly reconnectNonceSeconds: number;
  readonly pingIntervalSeconds: number;
}

/** What every official SDK starts with. */
export const defaultConfig: ClientConfig = {
  reconnectCount: -1,
  reconnectIntervalSeconds: 120,
  reconnectNonceSeconds: 30,
  pingIntervalSeconds: 120,
};

/** Where to connect, or why not. `limit`: too many connections for now; `fatal`: a new attempt would fail as well. */
export type Discovery =
  /** `url` holds a ticket: it is a secret, and valid for one connection. */
  | { readonly kind: "connect"; readonly url: string; readonly serviceId: number; readonly config: ClientConfig }
  | Refusal;

export interface Refusal {
  readonly kind: "retry" | "limit" | "fatal";
  readonly code?: number | undefined;
  readonly reason: string;
}

const limitCode = 1_000_040_350;
const transientCodes: ReadonlySet<unknown> = new Set([1, 1_000_040_343]);
const limitReason = "the app has its 50 connections already";
const forbiddenReason =
  "the app may not connect. Check that it is enabled, self-built, and set to receive events over the long connection";
const fatalReasons: ReadonlyMap<unknown, string> = new Map([
  [514, "the app's id or secret is wrong. Check APP_ID and APP_SECRET"],
  [403, forbiddenReason],
  [1_000_040_344, "the app's id or secret is missing. Check APP_ID and APP_SECRET"],
]);

/**
 * Reads the answer to a discovery call. The code is read before the data, which may be absent on errors.
 * https://open.feishu.cn/document/server-docs/event-subscription-guide/event-subscription-configure-/request-url-configuration-case
 *
 * @param options.config The present one, of which the server may change a part.
 * @param options.apiHost The host that was asked.
 */
export function readDiscovery(
  answer: { status: number; body: string },
  { config, apiHost }: { config: ClientConfig; apiHost: string },
): Discovery {
  if (answer.status !== 200) return { kind: "retry", reason: `discovery answered ${answer.status}` };
  const { code, data } = parseObject(answer.body) ?? {};
  if (typeof code !== "number")
    return { kind: "retry", reason: "discovery answered something that is not the platform's" };
  if (code === limitCode) return { kind: "limit", code, reason: limitReason };
  if (transientCodes.has(code)) return { kind: "retry", code, reason: "the platform is busy" };
  if (code !== 0) return { kind: "fatal", code, reason: fatalReasons.get(code) ?? "the platform refused the app" };
  const { URL: address, ClientConfig: changes } = fieldsOf(data);
  const url = typeof address === "string" && URL.canParse(address) ? new URL(address) : undefined;
  if (url === undefined) return { kind: "retry", reason: "discovery named no address" };
  if (!isTrusted(url, apiHost)) {
    const origin = `${url.protocol}//${url.hostname}`;
    return { kind: "retry", reason: `discovery named an address that is not the platform's (${origin})` };
  }
  // `new WebSocket` throws for an address with a fragment.
  url.hash = "";
  const serviceId = Number(url.searchParams.get("service_id") ?? 0);
  return {
    kind: "connect",
    url: url.href,
    serviceId: Number.isInteger(serviceId) && Math.abs(serviceId) < 2 ** 31 ? serviceId : 0,
    config: mergeConfig(config, changes),
  };
}

/** Encrypted, and to the platform or to the host that has the app's secret already; plain text on this machine only. */
function isTrusted({ protocol, hostname }: URL, apiHost: string): boolean {
  if (protocol === "ws:") return isLoopback(hostname) && isLoopback(apiHost);
  return protocol === "wss:" && (isPlatformHost(hostname) || hostname === apiHost || hostname.endsWith(`.${apiHost}`));
}

/**
 * Applies a `ClientConfig` of the server's. A member that is missing, or not a positive number, changes nothing: an
 * interval of 0 would reconnect without a pause.
 */
export function mergeConfig(config: ClientConfig, changes: unknown): ClientConfig {
  const fields = fieldsOf(changes);
  const seconds = (name: string, present: number) => {
    const value = fields[name];
    const isValid = typeof value === "number" && Number.isFinite(value) && value > 0;
    return isValid ? Math.min(Math.max(value, 1), 3_600) : present;
  };
  const count = fields["ReconnectCount"];
  return {
    reconnectCount: Number.isInteger(count) ? (count as number) : config.reconnectCount,
    reconnectIntervalSeconds: seconds("ReconnectInterval", config.reconnectIntervalSeconds),
    reconnectNonceSeconds: seconds("ReconnectNonce", config.reconnectNonceSeconds),
    pingIntervalSeconds: seconds("PingInterval", config.pingIntervalSeconds),
  };
}

/** Reads a refused upgrade. The reason is in headers of the platform's own; names are in lower case. */
export function readRefusal(status: number, headers: Readonly<Record<string, string | string[] | undefined>>): Refusal {
  const number = (name: string) => Number(headers[name] || Number.NaN);
  const handshakeStatus = number("handshake-status");
  const code = Number.isNaN(handshakeStatus) ? status : handshakeStatus;
  if (handshakeStatus === 403) return { kind: "fatal", code, reason: forbiddenReason };
  if (handshakeStatus === 514 && number("handshake-autherrcode") === limitCode) {
    return { kind: "limit", code: limitCode, reason: limitReason };
  }
  return { kind: "retry", code, reason: `the connection was refused with ${code}` };
}
