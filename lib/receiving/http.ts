import { type Clock, withDeadline } from "../clock.ts";
import { ConfigError, DeadlineError, TooLargeError, UnauthenticatedError } from "../errors.ts";
import type { Envelope, SealedRequest } from "../feishu/envelope.ts";
import { defaultApp, type KeyRing } from "../feishu/keys.ts";
import { open } from "../feishu/open.ts";
import { publish } from "../trace/trace.ts";
import type { Answer } from "./receiver.ts";

/** A request, whatever server it came to. */
export interface HttpRequest {
  readonly method: string;
  /** Without stage prefix, doubled or trailing slashes. */
  readonly path: string;
  /** Names in lower case; a name given twice with different values holds both, joined by a comma, so that no check takes just one. */
  readonly headers: ReadonlyMap<string, string>;
  /** Bytes in `body`, counted before it is decoded. */
  readonly bodyBytes: number;
  rawBody(): Buffer;
  /** From the server itself; headers can be forged. */
  readonly sourceIp: string | undefined;
}

export interface HttpAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

export const bodyLimitBytes = 1_048_576;
/** Feishu waits for 3 s in all; what the network needs of them is not ours to spend. */
export const answerWithinMs = 1_800;

const unauthorized = { error: "unauthorized" };
/** Refusals that a key or a token changed meanwhile would explain. */
const changeableBy: ReadonlySet<string> = new Set(["signature", "token", "unsigned"]);

export interface HttpOptions {
  readonly clock: Clock;
  /** Where it answers, besides `/`: `/webhook` unless given. */
  readonly path?: string;
  /** {@link answerWithinMs}, unless an answer may take longer to make. */
  readonly withinMs?: number | undefined;
  /** Throws {@link ConfigError} while settings are missing: then every request gets 503. */
  readonly keys: () => KeyRing | Promise<KeyRing>;
  /** Keys read anew because a request did not match; `undefined` when that is not to be asked yet. */
  readonly renewedKeys?: (() => Promise<KeyRing | undefined>) | undefined;
  /** Stores and answers an envelope; any rejection is a 503, so that Feishu pushes again. */
  readonly receive: (envelope: Envelope, context: { signal: AbortSignal; elapsedMs: () => number }) => Promise<Answer>;
}

/**
 * Answers one HTTP request: opens it, hands the envelope on and turns whatever happens into a status. Never throws, and
 * never takes longer than `withinMs`.
 */
export async function answerHttp(request: HttpRequest, options: HttpOptions): Promise<HttpAnswer> {
  const { clock } = options;
  const startMs = clock.nowMs();
  const elapsedMs = () => clock.nowMs() - startMs;
  const requestId = request.headers.get("x-tt-logid") || request.headers.get("x-request-id") || null;
  publish({ stage: "received", level: "debug", requestId, facts: { size: request.bodyBytes } });
  const progress = { isAuthentic: false };
  let answer: HttpAnswer;
  try {
    answer = toHttpAnswer(await answerOf(request, options, { startMs, elapsedMs, progress }));
  } catch (error) {
    answer = toHttpAnswer(failureOf(error));
    const facts = { status: answer.status, size: request.bodyBytes, sourceIp: request.sourceIp };
    const entry = { ms: elapsedMs(), requestId };
    const reason = progress.isAuthentic ? undefined : refusalOf(error);
    if (reason !== undefined) {
      const { message } = error as Error;
      publish({ ...entry, stage: "refused", level: "warn", facts: { ...facts, reason, message } });
    } else {
      // Also an authentic event that no queue can hold (413): it will be lost, and must not be sampled away. A wrong
      // configuration was logged when the function was loaded.
      const level = error instanceof ConfigError ? "debug" : "error";
      publish({ ...entry, stage: "unavailable", level, facts, error });
    }
  }
  publish({ stage: "answered", level: "debug", ms: elapsedMs(), requestId, facts: { status: answer.status } });
  return answer;
}

async function answerOf(
  request: HttpRequest,
  options: HttpOptions,
  at: { startMs: number; elapsedMs: () => number; progress: { isAuthentic: boolean } },
): Promise<Answer & { headers?: Record<string, string> }> {
  const { path: ownPath = "/webhook", withinMs = answerWithinMs, renewedKeys } = options;
  const { method, path, headers, bodyBytes } = request;
  const { startMs, elapsedMs, progress } = at;
  const keys = options.keys();
  // Marks the promise as handled: a 404 or 405 answers before `await keys`.
  if (keys instanceof Promise) keys.catch(() => {});
  if (path !== "/" && path !== ownPath) return { status: 404, body: { error: "not found" } };
  if (method !== "POST") return { status: 405, body: { error: "method not allowed" }, headers: { allow: "POST" } };
  // Decided before a byte is hashed, decoded or parsed.
  if (bodyBytes > bodyLimitBytes) throw new TooLargeError(`Cannot read the request: its body has ${bodyBytes} bytes`);
  const sealed = { app: defaultApp, headers, rawBody: request.rawBody() };
  const late = () => new DeadlineError(`Cannot store the event: ${withinMs} ms have passed. Check the queue`);
  const { answering } = await withDeadline(
    options.clock,
    { ms: withinMs - elapsedMs(), error: late },
    async (signal) => {
      const envelope = await openWith(sealed, await keys, { nowMs: startMs, renewedKeys });
      progress.isAuthentic = true;
      // The deadline may have passed while the keys loaded. The 503 is sent, so nothing may be stored.
      signal.throwIfAborted();
      const answering = options.receive(envelope, { signal, elapsedMs });
      // A callback has a deadline of its own. Where the process was too busy to keep it, its answer still comes
      // after: to the person who clicked, a late answer is better than an error.
      if (envelope.kind !== "callback") await answering;
      return { answering };
    },
  );
  return answering;
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

/** Why a request is refused; `undefined` for a failure of ours. */
function refusalOf(error: unknown): string | undefined {
  if (error instanceof UnauthenticatedError) return error.reason;
  return error instanceof TooLargeError ? "too-large" : undefined;
}

function failureOf(error: unknown): Answer {
  if (error instanceof UnauthenticatedError) return { status: 401, body: unauthorized };
  if (error instanceof TooLargeError) return { status: 413, body: { error: "payload too large" } };
  return { status: 503, body: { error: "unavailable" } };
}

function toHttpAnswer({ status, headers, body, json }: Answer & { headers?: Record<string, string> }): HttpAnswer {
  // A response without a status would reach Feishu as a 200, and the event would be gone.
  if (!Number.isInteger(status)) throw new TypeError("Cannot answer: the answer has no status");
  const text: string | undefined = json ?? JSON.stringify(body);
  if (text === undefined) throw new TypeError("Cannot answer: the answer has no body");
  return {
    status,
    headers: { "content-type": "application/json; charset=utf-8", "x-content-type-options": "nosniff", ...headers },
    body: text,
  };
}
