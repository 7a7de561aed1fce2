import { randomBytes as secureBytes } from "node:crypto";
import type { IncomingMessage } from "node:http";
import { gunzipSync } from "node:zlib";
import { classify } from "../../feishu/classify.ts";
import type { SealedRequest } from "../../feishu/envelope.ts";
import { defaultApp, type KeyRing } from "../../feishu/keys.ts";
import { classifyOldCard } from "../../feishu/old-card.ts";
import { seal, sealText } from "../../feishu/seal.ts";
import { nodeAgent } from "../../https.ts";
import { http, https } from "../../node-http.ts";

export const ackDeadlineMs = 3_000;
export const challengeDeadlineMs = 1_000;
/** The part of the 3 s within which the connection must be made. */
export const connectDeadlineMs = 2_000;
/** An answer's body is cut here. It needs no more than a toast and a card. */
const bodyLimitBytes = 256 * 1024;

export interface PushOptions {
  readonly signal?: AbortSignal | undefined;
  /** The platform waits 3 s for an answer, and 1 s for a challenge's. */
  readonly deadlineMs?: number | undefined;
  readonly connectMs?: number | undefined;
}

/** `crypto.randomBytes`, or a seeded stand-in. */
export type RandomBytes = (length: number) => Buffer;

export interface PushResult {
  /** `null` when there was no answer. */
  readonly status: number | null;
  /** From the first byte sent to the last byte received. */
  readonly ms: number;
  readonly body: string;
  /** Whether the answer was exactly 200 and in time. If not, the platform pushes an event again. */
  readonly delivered: boolean;
  /** Why it was not delivered. */
  readonly problem?: string | undefined;
  /** Set when there was no answer: `ETIMEDOUT` (after the deadline), `ECONNECTTIMEOUT`, `ECONNREFUSED`, … */
  readonly code?: string;
}

/**
 * Seals an envelope's JSON text as the platform does: it sets the token, and encrypts and signs the text if the app
 * has a key. A challenge is not signed. A text that is not an envelope is signed unchanged.
 * @param options.isOldCard The text is an old card callback, which has no envelope and another signature.
 */
export function sealEnvelope(
  text: string,
  options: {
    keys: KeyRing;
    nowMs: number;
    requestId: string;
    randomBytes?: RandomBytes | undefined;
    isOldCard?: boolean;
  },
): SealedRequest {
  const { keys, nowMs, requestId, randomBytes = secureBytes, isOldCard = false } = options;
  const app = defaultApp;
  const sealing = { keys, app, nowMs, nonce: String(randomBytes(6).readUIntBE(0, 6)), iv: randomBytes(16) };
  const transportFields = { requestId, transport: "webhook", receivedBy: null } as const;
  const message = isOldCard ? classifyOldCard(text, {}) : classify(text);
  if (message.kind === "unreadable") {
    const rawBody = sealText(text, keys.get(app)?.encryptKeys[0]?.aes, sealing.iv);
    return seal({ kind: "unreadable", reason: message.reason, rawBody, ...transportFields }, sealing);
  }
  if (message.kind === "challenge") {
    return seal({ kind: "challenge", challenge: String(message.challenge), ...transportFields }, sealing);
  }
  const { token: _, ...notice } = message;
  return seal({ ...notice, ...transportFields }, sealing);
}

/** Changes the last digit of the signature. `undefined` when the request is not signed. */
export function spoilSignature(sealed: SealedRequest): SealedRequest | undefined {
  const signature = sealed.headers.get("x-lark-signature");
  if (signature === undefined) return undefined;
  const last = signature.endsWith("0") ? "1" : "0";
  return { ...sealed, headers: new Map([...sealed.headers, ["x-lark-signature", signature.slice(0, -1) + last]]) };
}

/**
 * Posts a sealed request and judges the answer as the platform does: only exactly 200 within the deadline delivers it,
 * and a redirect is not followed. Rejects only when `signal` is aborted.
 */
export async function push(url: string, sealed: SealedRequest, options: PushOptions = {}): Promise<PushResult> {
  const { signal, deadlineMs = ackDeadlineMs, connectMs = connectDeadlineMs } = options;
  signal?.throwIfAborted();
  const startMs = performance.now();
  const elapsedMs = () => Math.round((performance.now() - startMs) * 10) / 10;
  let status: number | null = null;
  try {
    const answer = await exchange(url, sealed, {
      signal,
      deadlineMs,
      connectMs,
      onStatus: (code) => {
        status = code;
      },
    });
    if (answer.status === 200) return { ...answer, ms: elapsedMs(), delivered: true };
    return { ...answer, ms: elapsedMs(), delivered: false, problem: statusProblem(answer.status) };
  } catch (error) {
    signal?.throwIfAborted();
    const code = (error as NodeJS.ErrnoException).code ?? "ERROR";
    return {
      status,
      ms: elapsedMs(),
      body: "",
      delivered: false,
      problem: connectionProblem(code, { deadlineMs, connectMs }),
      code,
    };
  }
}

function exchange(
  url: string,
  { headers, rawBody }: SealedRequest,
  options: {
    signal: AbortSignal | undefined;
    deadlineMs: number;
    connectMs: number;
    onStatus: (status: number) => void;
  },
): Promise<{ status: number; body: string }> {
  const { promise, resolve, reject } = Promise.withResolvers<{ status: number; body: string }>();
  const target = new URL(url);
  const request = (target.protocol === "https:" ? https() : http).request(target, {
    method: "POST",
    agent: nodeAgent(target),
    headers: {
      "User-Agent": "Go-http-client/1.1",
      "Content-Length": rawBody.byteLength,
      "Content-Type": "application/json;charset=utf-8",
      ...Object.fromEntries([...headers].map(([name, value]) => [titleCase(name), value])),
      "Accept-Encoding": "gzip",
    },
    signal: options.signal,
  });
  // One timer for the whole exchange, so that a server that keeps sending single bytes is late as well.
  const giveUp = (code: string) => {
    const late = Object.assign(new Error("the deadline is over"), { code });
    // Before `destroy`, which would reject with ECONNRESET if the answer has begun.
    reject(late);
    request.destroy(late);
  };
  const timer = setTimeout(giveUp, options.deadlineMs, "ETIMEDOUT");
  const connectTimer = setTimeout(giveUp, options.connectMs, "ECONNECTTIMEOUT");
  request.on("socket", (socket) => {
    const connected = () => clearTimeout(connectTimer);
    if (socket.connecting) socket.once("connect", connected);
    else connected();
  });
  request.on("response", (response: IncomingMessage) => {
    const status = response.statusCode ?? 0;
    options.onStatus(status);
    const chunks: Buffer[] = [];
    let length = 0;
    response.on("data", (chunk: Buffer) => {
      if (length < bodyLimitBytes) chunks.push(chunk.subarray(0, bodyLimitBytes - length));
      length += chunk.length;
    });
    response.on("end", () => {
      const isPacked = response.headers["content-encoding"] === "gzip";
      const bytes = isPacked ? unpack(Buffer.concat(chunks)) : Buffer.concat(chunks);
      resolve({ status, body: bytes.toString("utf8") });
    });
    response.on("error", reject);
  });
  request.on("error", reject);
  request.end(rawBody);
  return promise.finally(() => {
    clearTimeout(timer);
    clearTimeout(connectTimer);
  });
}

/** Bytes that are not gzip are returned unchanged. */
function unpack(bytes: Buffer): Buffer {
  try {
    return gunzipSync(bytes, { maxOutputLength: bodyLimitBytes });
  } catch {
    return bytes;
  }
}

function statusProblem(status: number): string {
  if (status < 300) return `answered ${status}: only exactly 200 acknowledges`;
  if (status < 400) return `answered ${status}: the platform does not follow redirects`;
  return `answered ${status}`;
}

function connectionProblem(code: string, { deadlineMs, connectMs }: { deadlineMs: number; connectMs: number }): string {
  switch (code) {
    case "ETIMEDOUT":
      return `no answer within ${deadlineMs / 1000} s`;
    case "ECONNECTTIMEOUT":
      return `not connected within ${connectMs / 1000} s`;
    case "ECONNREFUSED":
      return "connection refused";
    case "ECONNRESET":
      return "the connection was closed without an answer";
    case "ENOTFOUND":
      return "the host is unknown";
    default:
      return `no answer (${code})`;
  }
}

/** `x-lark-signature` → `X-Lark-Signature`, as the platform sends it. */
function titleCase(name: string): string {
  return name.replaceAll(/(^|-)[a-z]/g, (letter) => letter.toUpperCase());
}
