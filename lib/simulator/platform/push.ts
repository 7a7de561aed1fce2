import { randomBytes as secureBytes } from "node:crypto";
import { request as httpRequest, type IncomingMessage } from "node:http";
import { request as httpsRequest } from "node:https";
import { gunzipSync } from "node:zlib";
import { classify } from "../../feishu/classify.ts";
import type { SealedRequest } from "../../feishu/envelope.ts";
import { defaultApp, type KeyRing } from "../../feishu/keys.ts";
import { classifyOldCard } from "../../feishu/old-card.ts";
import { seal, sealText } from "../../feishu/seal.ts";

export const ackDeadlineMs = 3_000;
export const challengeDeadlineMs = 1_000;
/** Of the 3 s, what the connection may take. */
export const connectDeadlineMs = 2_000;
/** An answer holds a toast or a card at most; what is longer is cut. */
const bodyLimitBytes = 256 * 1024;

export interface PushOptions {
  readonly signal?: AbortSignal | undefined;
  /** How long the platform waits: 3 s, for a challenge 1 s. */
  readonly deadlineMs?: number | undefined;
  readonly connectMs?: number | undefined;
}

/** `crypto.randomBytes`, or a seeded stand-in. */
export type RandomBytes = (length: number) => Buffer;

export interface PushResult {
  /** `null` when no answer came. */
  readonly status: number | null;
  /** From the first byte out to the last one in. */
  readonly ms: number;
  readonly body: string;
  /** Whether the platform is satisfied: exactly 200, in time. Otherwise it pushes an event again. */
  readonly delivered: boolean;
  /** What went wrong, when it was not delivered. */
  readonly problem?: string;
  /** `ECONNREFUSED`, `ECONNECTTIMEOUT`, `ETIMEDOUT` (over the deadline) and the like, when no answer came. */
  readonly code?: string;
}

/**
 * Seals an envelope's JSON text as the platform does: the token put in its place, encrypted and signed
 * if the app has a key; a challenge is not signed. A text that is no envelope is signed as it is.
 * @param options.isOldCard The text is an old card callback's: it has no envelope, and a signature of its own.
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
  const carried = { requestId, transport: "webhook", receivedBy: null } as const;
  const message = isOldCard ? classifyOldCard(text, {}) : classify(text);
  if (message.kind === "unreadable") {
    const rawBody = sealText(text, keys.get(app)?.encryptKeys[0]?.aes, sealing.iv);
    return seal({ kind: "unreadable", reason: message.reason, rawBody, ...carried }, sealing);
  }
  if (message.kind === "challenge") {
    return seal({ kind: "challenge", challenge: String(message.challenge), ...carried }, sealing);
  }
  const { token: _, ...notice } = message;
  return seal({ ...notice, ...carried }, sealing);
}

/** Spoils the signature, as someone without the key would; without one there is nothing to spoil. */
export function spoilSignature(sealed: SealedRequest): SealedRequest | undefined {
  const signature = sealed.headers.get("x-lark-signature");
  if (signature === undefined) return undefined;
  const last = signature.endsWith("0") ? "1" : "0";
  return { ...sealed, headers: new Map([...sealed.headers, ["x-lark-signature", signature.slice(0, -1) + last]]) };
}

/**
 * Posts a sealed request as the platform does and judges the answer as it does: only exactly 200, within
 * the deadline, is delivered; a redirect is not followed. Never throws, except when `signal` is aborted.
 */
export async function push(url: string, sealed: SealedRequest, options: PushOptions = {}): Promise<PushResult> {
  const { signal, deadlineMs = ackDeadlineMs, connectMs = connectDeadlineMs } = options;
  signal?.throwIfAborted();
  const startMs = performance.now();
  const elapsedMs = () => Math.round((performance.now() - startMs) * 10) / 10;
  let status: number | null = null;
  try {
    const answer = await exchange(url, sealed, {
      ...{ signal, deadlineMs, connectMs },
      onStatus: (code) => {
        status = code;
      },
    });
    const delivered = answer.status === 200;
    const problem = delivered ? {} : { problem: judgement(answer.status) };
    return { ...answer, ms: elapsedMs(), delivered, ...problem };
  } catch (error) {
    signal?.throwIfAborted();
    const code = (error as NodeJS.ErrnoException).code ?? "ERROR";
    return {
      status,
      ms: elapsedMs(),
      body: "",
      delivered: false,
      problem: failure(code, { deadlineMs, connectMs }),
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
  const request = (new URL(url).protocol === "https:" ? httpsRequest : httpRequest)(url, {
    method: "POST",
    headers: {
      "User-Agent": "Go-http-client/1.1",
      "Content-Length": rawBody.byteLength,
      "Content-Type": "application/json;charset=utf-8",
      ...Object.fromEntries([...headers].map(([name, value]) => [titleCase(name), value])),
      "Accept-Encoding": "gzip",
    },
    ...(options.signal === undefined ? {} : { signal: options.signal }),
  });
  // One timer for the whole exchange: a server that sends a byte now and then is late as well.
  const giveUp = (code: string) => {
    const late = Object.assign(new Error("the deadline is over"), { code });
    // Rejected first: destroying a request whose answer has begun reports a reset instead.
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

/** What is no gzip is left as it is: the body is judged as it came. */
function unpack(bytes: Buffer): Buffer {
  try {
    return gunzipSync(bytes, { maxOutputLength: bodyLimitBytes });
  } catch {
    return bytes;
  }
}

function judgement(status: number): string {
  if (status >= 300 && status < 400) return `answered ${status}: the platform does not follow redirects`;
  if (status > 200 && status < 300) return `answered ${status}: only exactly 200 acknowledges`;
  return `answered ${status}`;
}

function failure(code: string, { deadlineMs, connectMs }: { deadlineMs: number; connectMs: number }): string {
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

/** `x-lark-signature` → `X-Lark-Signature`, the spelling on the wire. */
function titleCase(name: string): string {
  return name.replaceAll(/(^|-)[a-z]/g, (letter) => letter.toUpperCase());
}
