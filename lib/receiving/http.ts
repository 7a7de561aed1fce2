import { type Clock, within } from "../clock.ts";
import { ConfigError, DeadlineError, TooLargeError, UnauthenticatedError } from "../errors.ts";
import { type Envelope, open, type SealedRequest } from "../feishu/envelope.ts";
import { defaultApp, type KeyRing } from "../feishu/keys.ts";
import { publish } from "../trace/trace.ts";
import type { Answer } from "./receiver.ts";

/** What API Gateway takes from a function, whichever of its shapes asked. */
export interface HttpResponse {
  statusCode: number;
  headers: Record<string, string>;
  body: string;
  isBase64Encoded: boolean;
  /** Only where the request had them (a load balancer with multi-value headers ignores `headers`). */
  multiValueHeaders?: Record<string, string[]>;
}

/** A request out of any of the four event shapes. */
export interface HttpRequest {
  readonly method: string;
  /** Without stage prefix, doubled or trailing slashes. */
  readonly path: string;
  /** Names in lower case; a name given twice with different values holds both, joined by a comma, so that no check takes just one. */
  readonly headers: ReadonlyMap<string, string>;
  /** Bytes in `body`, counted before it is decoded. */
  readonly bodyBytes: number;
  rawBody(): Buffer;
  /** From the gateway itself; headers can be forged. */
  readonly sourceIp: string | undefined;
}

export const bodyLimitBytes = 1_048_576;
/** Feishu waits for 3 s in all; what the network needs of them is not ours to spend. */
export const answerWithinMs = 1_800;

const unauthorized = { error: "unauthorized" };
/** Refusals that a key or a token changed meanwhile would explain. */
const changeableBy: ReadonlySet<string> = new Set(["signature", "token", "unsigned"]);

/**
 * Answers one HTTP request of any shape: reads it, opens it, hands the envelope on and turns whatever
 * happens into a status. Never throws, and never takes longer than `withinMs`.
 *
 * @param options.path Where the function answers, besides `/`: `/webhook` unless given.
 * @param options.withinMs {@link answerWithinMs}, unless an answer may take longer to make.
 * @param options.keys Throws {@link ConfigError} while the function is not configured: then every request gets 503.
 * @param options.renewedKeys Keys read anew because a request did not match; `undefined` when that is not to be asked yet.
 * @param options.receive Stores and answers an envelope; any rejection is a 503, so that Feishu pushes again.
 */
export async function answerHttp(
  event: unknown,
  options: {
    clock: Clock;
    path?: string;
    withinMs?: number;
    keys: () => KeyRing | Promise<KeyRing>;
    renewedKeys?: (() => Promise<KeyRing | undefined>) | undefined;
    receive: (envelope: Envelope, context: { signal: AbortSignal; elapsedMs: () => number }) => Promise<Answer>;
  },
): Promise<HttpResponse> {
  const { clock, path: ownPath = "/webhook", withinMs = answerWithinMs } = options;
  const startMs = clock.nowMs();
  const elapsedMs = () => clock.nowMs() - startMs;
  let request: HttpRequest | undefined;
  let answer: Answer & { headers?: Record<string, string> };
  let response: HttpResponse;
  let isAuthentic = false;
  try {
    request = fromApiGateway(event);
    const { method, path, headers, bodyBytes } = request;
    publish({ stage: "received", level: "debug", requestId: requestIdOf(request), facts: { size: bodyBytes } });
    const keys = options.keys();
    // Told by the await below; a request that never gets there must not leave it dropped.
    if (keys instanceof Promise) keys.catch(() => {});
    if (path !== "/" && path !== ownPath) answer = { status: 404, body: { error: "not found" } };
    else if (method !== "POST")
      answer = { status: 405, body: { error: "method not allowed" }, headers: { allow: "POST" } };
    else {
      // Decided before a byte is hashed, decoded or parsed.
      if (bodyBytes > bodyLimitBytes)
        throw new TooLargeError(`Cannot read the request: its body has ${bodyBytes} bytes`);
      const sealed = { app: defaultApp, headers, rawBody: request.rawBody() };
      const begun = await within(
        clock,
        withinMs - elapsedMs(),
        () => new DeadlineError(`Cannot store the event: ${withinMs} ms have passed. Check the queue`),
        async (signal) => {
          const envelope = await openWith(sealed, await keys, { nowMs: startMs, renewedKeys: options.renewedKeys });
          isAuthentic = true;
          // Keys that came too late: the answer is out, and nothing may be stored behind it.
          signal.throwIfAborted();
          const answering = options.receive(envelope, { signal, elapsedMs });
          // A callback has a deadline of its own. Where the process was too busy to keep it, its answer still comes
          // after: to the person who clicked, a late answer is better than an error.
          return envelope.kind === "callback" ? () => answering : answering;
        },
      );
      answer = typeof begun === "function" ? await begun() : begun;
      // A response without a status would reach Feishu as a 200, and the event would be gone.
      if (!Number.isInteger(answer?.status)) throw new TypeError("Cannot answer: the answer has no status");
    }
    response = toHttpResponse(answer, event);
  } catch (error) {
    answer = toAnswer(error);
    response = toHttpResponse(answer, event);
    const facts = { status: answer.status, size: request?.bodyBytes, sourceIp: request?.sourceIp };
    const common = { ms: elapsedMs(), requestId: requestIdOf(request) };
    if (error instanceof UnauthenticatedError) {
      publish({
        stage: "refused",
        level: "warn",
        ...common,
        facts: { ...facts, reason: error.reason, message: error.message },
      });
    } else if (error instanceof TooLargeError && !isAuthentic) {
      const message = error.message;
      publish({ stage: "refused", level: "warn", ...common, facts: { ...facts, reason: "too-large", message } });
    } else {
      // Also an authentic event that no queue can hold (413): it will be lost, and must not be sampled away.
      // A wrong configuration was told once, when the function was loaded.
      const level = error instanceof ConfigError ? "debug" : "error";
      publish({ stage: "unavailable", level, ...common, facts, error });
    }
  }
  publish({
    stage: "answered",
    level: "debug",
    ms: elapsedMs(),
    requestId: requestIdOf(request),
    facts: { status: answer.status },
  });
  return response;
}

/** Opens with the keys at hand. When they do not match, they may have been changed: then once more, with newer ones. */
async function openWith(
  sealed: SealedRequest,
  keys: KeyRing,
  { nowMs, renewedKeys }: { nowMs: number; renewedKeys?: (() => Promise<KeyRing | undefined>) | undefined },
): Promise<Envelope> {
  try {
    return open(sealed, { keys, nowMs });
  } catch (error) {
    const mayBeNewKey = error instanceof UnauthenticatedError && changeableBy.has(error.reason);
    const renewed = mayBeNewKey ? await renewedKeys?.() : undefined;
    if (renewed === undefined) throw error;
    return open(sealed, { keys: renewed, nowMs });
  }
}

function toAnswer(error: unknown): Answer {
  if (error instanceof UnauthenticatedError) return { status: 401, body: unauthorized };
  if (error instanceof TooLargeError) return { status: 413, body: { error: "payload too large" } };
  return { status: 503, body: { error: "unavailable" } };
}

/** HTTP API (payload 2.0), REST (1.0), Function URL and load balancer events alike. Total: absent members read as empty. */
export function fromApiGateway(event: unknown): HttpRequest {
  const root = members(event);
  const context = members(root.get("requestContext"));
  const http = members(context.get("http"));
  const identity = members(context.get("identity"));
  const body = root.get("body");
  const text = typeof body === "string" ? body : "";
  const isBase64 = root.get("isBase64Encoded") === true;
  return {
    method: stringOf(http.get("method")) ?? stringOf(root.get("httpMethod")) ?? "",
    path: normalPath(
      stringOf(root.get("rawPath")) ?? stringOf(root.get("path")) ?? "",
      http.size > 0 ? stringOf(context.get("stage")) : undefined,
    ),
    headers: headersOf(root),
    bodyBytes: isBase64 ? base64Bytes(text) : Buffer.byteLength(text, "utf8"),
    rawBody: () => Buffer.from(text, isBase64 ? "base64" : "utf8"),
    sourceIp: stringOf(http.get("sourceIp")) ?? stringOf(identity.get("sourceIp")),
  };
}

function headersOf(root: ReadonlyMap<string, unknown>): Map<string, string> {
  const headers = new Map<string, string>();
  const multi = members(root.get("multiValueHeaders"));
  for (const [name, value] of multi.size > 0 ? multi : members(root.get("headers"))) {
    const values = (Array.isArray(value) ? value : [value]).filter((one) => typeof one === "string");
    if (values.length === 0) continue;
    const key = name.toLowerCase();
    const before = headers.get(key);
    const joined = values.join(",");
    headers.set(key, before === undefined || before === joined ? joined : `${before},${joined}`);
  }
  return headers;
}

/** HTTP APIs with a named stage put it in front of `rawPath`; `$default` is not put there. */
function normalPath(path: string, stage: string | undefined): string {
  const parts = path.split("/").filter((part) => part !== "");
  if (stage !== undefined && stage !== "$default" && parts[0] === stage) parts.shift();
  return `/${parts.join("/")}`;
}

function base64Bytes(text: string): number {
  const padding = text.endsWith("==") ? 2 : text.endsWith("=") ? 1 : 0;
  return Math.floor((text.length * 3) / 4) - padding;
}

function toHttpResponse(answer: Answer & { headers?: Record<string, string> }, event: unknown): HttpResponse {
  const headers = {
    "content-type": "application/json; charset=utf-8",
    "x-content-type-options": "nosniff",
    ...answer.headers,
  };
  const body: string | undefined = answer.json ?? JSON.stringify(answer.body);
  if (body === undefined) throw new TypeError("Cannot answer: the answer has no body");
  const response = { statusCode: answer.status, headers, body, isBase64Encoded: false };
  if (members(members(event).get("multiValueHeaders")).size === 0) return response;
  return {
    ...response,
    multiValueHeaders: Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, [value]])),
  };
}

function requestIdOf(request: HttpRequest | undefined): string | null {
  return request?.headers.get("x-tt-logid") || request?.headers.get("x-request-id") || null;
}

/** An object's own members as a Map: a name from outside must never find `constructor`. */
function members(value: unknown): ReadonlyMap<string, unknown> {
  return new Map(typeof value === "object" && value !== null ? Object.entries(value) : []);
}

function stringOf(value: unknown): string | undefined {
  return typeof value === "string" ? value : undefined;
}
