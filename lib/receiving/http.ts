import { type Clock, withDeadline } from "../clock.ts";
import { ConfigError, DeadlineError, TooLargeError, UnauthenticatedError } from "../errors.ts";
import type { Envelope, ReceivedRequest } from "../feishu/envelope.ts";
import { defaultApp, type KeyRing } from "../feishu/keys.ts";
import { open } from "../feishu/open.ts";
import { publish } from "../trace/trace.ts";
import type { Answer } from "./receiver.ts";

/** A request, from any server. */
export interface HttpRequest {
  readonly method: string;
  /**
   * `/` where the server matched a route of the receiver, empty where it matched none. Without a stage, and without
   * doubled or trailing slashes.
   */
  readonly path: string;
  /** Names in lower case. Different values of one name are joined by a comma, so that no check reads only one of them. */
  readonly headers: ReceivedRequest["headers"];
  /** Size of `rawBody`, known before it is decoded. */
  readonly bodyBytes: number;
  rawBody(): ReceivedRequest["rawBody"];
  /** Epoch milliseconds: when its headers came, if the body took time after that. */
  readonly startMs?: number;
  /** From the server itself, since headers can be forged. */
  readonly sourceIp: string | undefined;
}

export interface HttpAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

export const bodyLimitBytes = 1_048_576;
/** Feishu waits for 3 s in all; the rest is for the network. */
export const answerWithinMs = 1_800;

/** Refusals that a key or token changed in the meantime may explain. */
const changeableBy: ReadonlySet<string> = new Set(["signature", "token", "unsigned"]);

export interface HttpOptions {
  readonly clock: Clock;
  /** The path that is answered, in addition to `/`, also behind the base path of a domain; `/webhook` by default. */
  readonly path?: string;
  /** {@link answerWithinMs} by default. */
  readonly withinMs?: number | undefined;
  /** Throws {@link ConfigError} while settings are missing: then every request gets 503. */
  readonly keys: () => KeyRing | Promise<KeyRing>;
  /** Reads the keys again after a request did not match; `undefined` if they were read a moment ago. */
  readonly renewedKeys?: (() => Promise<KeyRing | undefined>) | undefined;
  /** Stores and answers an envelope. A rejection becomes 503, and Feishu pushes again. */
  readonly receive: (envelope: Envelope, context: { signal: AbortSignal; elapsedMs: () => number }) => Promise<Answer>;
}

type AnswerWithHeaders = Answer & { readonly headers?: Record<string, string> };

/**
 * Answers one HTTP request: opens it, passes the envelope to `receive`, and turns the outcome into a status. Never
 * throws, and takes at most `withinMs` from the request's start.
 */
export async function answerHttp(request: HttpRequest, options: HttpOptions): Promise<HttpAnswer> {
  const { clock } = options;
  const { startMs = clock.nowMs() } = request;
  const elapsedMs = () => clock.nowMs() - startMs;
  const requestId = request.headers.get("x-tt-logid") || request.headers.get("x-request-id") || null;
  publish({ stage: "received", level: "debug", requestId, facts: { size: request.bodyBytes } });
  const progress = { isAuthentic: false };
  let answer: HttpAnswer;
  try {
    answer = toHttpAnswer(await answerOf(request, options, { startMs, elapsedMs, progress }));
  } catch (error) {
    const failure = failureOf(error);
    answer = toHttpAnswer({ status: failure.status, body: { error: failure.text } });
    const facts = { status: answer.status, size: request.bodyBytes, sourceIp: request.sourceIp };
    const entry = { ms: elapsedMs(), requestId };
    if (failure.reason !== undefined && !progress.isAuthentic) {
      const { reason } = failure;
      const { message } = error as Error;
      publish({ ...entry, stage: "refused", level: "warn", facts: { ...facts, reason, message } });
    } else {
      // An authentic event too large for the queue (413) is lost, so it is logged here: refusals may be sampled away.
      // A wrong configuration was logged when the function was loaded.
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
  { startMs, elapsedMs, progress }: { startMs: number; elapsedMs: () => number; progress: { isAuthentic: boolean } },
): Promise<AnswerWithHeaders> {
  const { path: ownPath = "/webhook", withinMs = answerWithinMs, renewedKeys } = options;
  const { method, path, headers, bodyBytes } = request;
  const isOwn = path === "/" || path.endsWith(ownPath);
  // A health check: it says that the function runs, and nothing of its settings.
  if (isOwn && method === "GET") return { status: 200, body: {} };
  if (isOwn && method === "HEAD") return { status: 200, body: {}, json: "" };
  const keys = options.keys();
  // Marks the promise as handled: a 404 or 405 answers before `await keys`.
  if (keys instanceof Promise) keys.catch(() => {});
  if (!isOwn) return { status: 404, body: { error: "not found" } };
  const allow = "GET, HEAD, POST";
  if (method !== "POST") return { status: 405, body: { error: "method not allowed" }, headers: { allow } };
  // Checked before anything is hashed, decoded or parsed.
  if (bodyBytes > bodyLimitBytes) throw new TooLargeError(`Cannot read the request: its body has ${bodyBytes} bytes`);
  const sealed = { app: defaultApp, headers, rawBody: request.rawBody() };
  const error = () => new DeadlineError(`Cannot store the event: ${withinMs} ms have passed. Check the queue`);
  const { answering } = await withDeadline(options.clock, { ms: withinMs - elapsedMs(), error }, async (signal) => {
    const envelope = await openWith(sealed, await keys, { nowMs: startMs, renewedKeys });
    progress.isAuthentic = true;
    // The deadline may have passed while the keys loaded. The 503 is sent, so nothing may be stored.
    signal.throwIfAborted();
    const answering = options.receive(envelope, { signal, elapsedMs });
    // A callback keeps a deadline of its own. If the process was too busy to keep it, its answer still goes out: for the
    // person who clicked, a late answer is better than an error.
    if (envelope.kind !== "callback") await answering;
    return { answering };
  });
  return answering;
}

/** If the keys do not match, they may have been changed: opens once more, with newer ones. */
async function openWith(
  sealed: ReceivedRequest,
  keys: KeyRing,
  { nowMs, renewedKeys }: { nowMs: number; renewedKeys: HttpOptions["renewedKeys"] },
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

/** The answer to a failed request, and the reason if the request was refused. One body answers every refusal. */
function failureOf(error: unknown): { status: number; text: string; reason?: string } {
  if (error instanceof UnauthenticatedError) return { status: 401, text: "unauthorized", reason: error.reason };
  if (error instanceof TooLargeError) return { status: 413, text: "payload too large", reason: "too-large" };
  return { status: 503, text: "unavailable" };
}

export function toHttpAnswer({ status, headers, body, json }: AnswerWithHeaders): HttpAnswer {
  // Without a status, API Gateway would send 200, and the event would be lost.
  if (!Number.isInteger(status)) throw new TypeError("Cannot answer: the answer has no status");
  const text: string | undefined = json ?? JSON.stringify(body);
  if (text === undefined) throw new TypeError("Cannot answer: the answer has no body");
  return {
    status,
    headers: { "content-type": "application/json; charset=utf-8", "x-content-type-options": "nosniff", ...headers },
    body: text,
  };
}
