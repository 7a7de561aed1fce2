import { isLoopback, isPlatformHost } from "./domain.ts";
import { fieldsOf, parseObject } from "./json.ts";

export const discoveryPath = "/callback/ws/endpoint";

/** How to ping and reconnect; the server may change it. */
export interface ClientConfig {
  /** Failed attempts in a row before giving up; negative: no limit. */
  readonly reconnectCount: number;
  /** `undefined` until the server names it. */
  readonly reconnectIntervalSeconds: number | undefined;
  /** The first attempt waits a random part of this. */
  readonly reconnectNonceSeconds: number;
  readonly pingIntervalSeconds: number;
}

/** What every official SDK starts with, but for the interval: without a connection, theirs wait two minutes. */
export const defaultConfig: ClientConfig = {
  reconnectCount: -1,
  reconnectIntervalSeconds: undefined,
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
const busy = { kind: "retry", found: "it is busy" } as const;
const forbidden =
  "the app may not connect. Check that it is enabled, self-built, and set to receive events over the long connection";
/** The platform's codes, of both calls. Any other code of discovery is fatal. */
const refusals = new Map<unknown, { readonly kind: Refusal["kind"]; readonly found: string }>([
  [1, busy],
  [1_000_040_343, busy],
  [1_000_040_345, busy],
  [limitCode, { kind: "limit", found: "the app has its 50 connections already" }],
  [403, { kind: "fatal", found: forbidden }],
  [514, { kind: "fatal", found: "the app's id or secret is wrong. Check APP_ID and APP_SECRET" }],
  [1_000_040_344, { kind: "fatal", found: "the app's id or secret is missing. Check APP_ID and APP_SECRET" }],
  [1_000_040_346, { kind: "fatal", found: "the app's id is wrong. Check APP_ID" }],
  [1_000_040_351, { kind: "fatal", found: 'the app is at the other domain. Set LARK_DOMAIN to "lark" or "feishu"' }],
]);
const longestMessage = 200;

/** Words a platform's answer for a log line: its code, its own text, cut and without `secrets`, and what the code means. */
function reasonOf(
  beginning: string,
  answer: { code: number; message: unknown; secrets: readonly string[] },
  found: string | undefined,
): string {
  const { code, message, secrets } = answer;
  const text = typeof message === "string" ? secrets.reduce(without, message).slice(0, longestMessage) : "";
  const words = text === "" ? "" : `, ${JSON.stringify(text)}`;
  return `${beginning} ${code}${words}${found === undefined ? "" : `: ${found}`}`;
}

/** Hides a secret that an answer repeats: as it is, in JSON, in a URL or in base64. */
function without(text: string, secret: string): string {
  const inUrl = encodeURIComponent(secret);
  const base64 = (["base64", "base64url"] as const).map((encoding) => Buffer.from(secret).toString(encoding));
  const forms = [
    secret,
    JSON.stringify(secret).slice(1, -1),
    inUrl,
    inUrl.replaceAll(/%../g, (hex) => hex.toLowerCase()),
    ...base64,
  ];
  return forms.reduce((shown, form) => shown.replaceAll(form, "…"), text);
}

/**
 * Reads the answer to a discovery call. The code is read whatever the status, and before the data, which may be absent on
 * errors. The reason has the platform's own text, without the secrets.
 * https://open.feishu.cn/document/server-docs/event-subscription-guide/event-subscription-configure-/request-url-configuration-case
 *
 * @param options.config The present one, of which the server may change a part.
 * @param options.apiHost The host that answered.
 * @param options.secrets What was sent, and must not be in the reason.
 */
export function readDiscovery(
  answer: { status: number; body: string },
  { config, apiHost, secrets }: { config: ClientConfig; apiHost: string; secrets: readonly string[] },
): Discovery {
  const { code, msg: message, data } = parseObject(answer.body) ?? {};
  if (typeof code === "number" && code !== 0) {
    const { kind, found } = refusals.get(code) ?? { kind: "fatal", found: "it refused the app" };
    // A server in trouble may say anything.
    const isPassing = kind === "fatal" && (answer.status >= 500 || answer.status === 429);
    const reason = reasonOf("the platform answered", { code, message, secrets }, found);
    return { kind: isPassing ? "retry" : kind, code, reason };
  }
  if (answer.status !== 200) return { kind: "retry", reason: `discovery answered ${answer.status}` };
  if (code !== 0) return { kind: "retry", reason: "discovery answered something that is not the platform's" };
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
  const seconds = <T>(name: string, present: T): number | T => {
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

/** Reads a refused upgrade. The reason is in headers of the platform's own, with names in lower case, or in the body. */
export function readRefusal(
  status: number,
  headers: Readonly<Record<string, string | string[] | undefined>>,
  body: string,
  secrets: readonly string[],
): Refusal {
  const number = (name: string) => Number(headers[name] || Number.NaN);
  const answer = parseObject(body);
  const handshakeStatus = number("handshake-status");
  const isLimit = handshakeStatus === 514 && number("handshake-autherrcode") === limitCode;
  const named = isLimit ? limitCode : handshakeStatus || answer?.["code"];
  // A 514 is about this address alone: discovery gives another one.
  const refusal = named === 514 ? undefined : refusals.get(named);
  const code = typeof named === "number" && named !== 0 ? named : status;
  const message = headers["handshake-msg"] ?? answer?.["msg"];
  const reason = reasonOf("the connection was refused with", { code, message, secrets }, refusal?.found);
  return { kind: refusal?.kind ?? "retry", code, reason };
}
