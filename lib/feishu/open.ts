import type { KeyObject } from "node:crypto";
import { UnauthenticatedError } from "../errors.ts";
import { decrypt, utf8 } from "./cipher.ts";
import { type Classified, classify, isText, unreadable } from "./classify.ts";
import type { CallbackEnvelope, Envelope, EventEnvelope, ReceivedRequest, UnreadableEnvelope } from "./envelope.ts";
import { parseObject } from "./json.ts";
import { type AppKeys, isToken, type KeyRing, unexpired } from "./keys.ts";
import { classifyOldCard, oldSignatureLength, signOldCard } from "./old-card.ts";
import { matches, sign } from "./signature.ts";

export const bounds = {
  /** A request without a valid signature may only be a challenge, and a challenge is small. */
  unsignedBytes: 4096,
  challengeLength: 4096,
  /** Feishu repeats a push for about 7 h, perhaps with the first timestamp: a shorter window would refuse the repeats. */
  eventAgeMs: 8 * 3600_000,
  /** A callback is never repeated. */
  callbackAgeMs: 300_000,
  futureMs: 300_000,
};

const callbackAge = "the callback was signed over 5 minutes ago, or in the future. Check the clock";

/**
 * Opens a webhook request: verifies, decrypts and classifies it. Pure.
 * Signature: SHA-256 over timestamp, nonce, Encrypt Key and raw body; a challenge is exempt from it.
 * https://open.feishu.cn/document/ukTMukTMukTM/uYDNxYjL2QTM24iN0EjN/event-subscription-configure-/encrypt-key-encryption-configuration-case
 *
 * @param options.nowMs Epoch milliseconds, for the age of the request and for keys that expire.
 * @returns Schema 1.0 and 2.0 alike. Authentic but not JSON, or of neither schema: an envelope of kind `unreadable`.
 * @throws {UnauthenticatedError} Not provably from Feishu; it throws nothing else.
 */
export function open(request: ReceivedRequest, { keys, nowMs }: { keys: KeyRing; nowMs: number }): Envelope {
  const app = keys.get(request.app);
  if (app === undefined) throw refused("app", "no keys are configured for this route");
  return toEnvelope(verify(request, app, nowMs), request, app);
}

/** The signature headers, all of them there and not empty: `undefined` must never enter a digest. */
interface Proof {
  readonly timestamp: string;
  readonly nonce: string;
  readonly signature: string;
}

function verify(request: ReceivedRequest, app: AppKeys, nowMs: number): Classified {
  const timestamp = request.headers.get("x-lark-request-timestamp");
  const nonce = request.headers.get("x-lark-request-nonce");
  const signature = request.headers.get("x-lark-signature");
  const proof = timestamp && nonce && signature ? { timestamp, nonce, signature } : undefined;
  // The signature's length decides, not the body: a body may hold anything, but one of the two digests covers it.
  if (app.oldCards === true && signature?.length === oldSignatureLength) return openOldCard(request, proof, app, nowMs);
  if (app.encryptKeys.length === 0) return openPlain(request.rawBody, app, nowMs);
  if (proof === undefined) return openUnsigned(request.rawBody, app, nowMs);
  return openSigned(request.rawBody, proof, app, nowMs);
}

type RawBody = ReceivedRequest["rawBody"];

function openSigned(rawBody: RawBody, proof: Proof, app: AppKeys, nowMs: number): Classified {
  const { timestamp, nonce, signature } = proof;
  const signedAtMs = parseTimestamp(timestamp);
  const [key] = unexpired(app.encryptKeys, nowMs).filter(({ value: encryptKey }) =>
    matches(signature, sign({ timestamp, nonce, encryptKey, rawBody })),
  );
  if (key === undefined) {
    const found =
      signature.length === oldSignatureLength
        ? "LEGACY_CARD_CALLBACK is off"
        : "X-Lark-Signature does not match the raw body. Check ENCRYPT_KEY, and that nothing re-encoded the body";
    throw refused("signature", found);
  }
  if (signedAtMs < nowMs - bounds.eventAgeMs || signedAtMs > nowMs + bounds.futureMs) {
    throw refused("timestamp", "X-Lark-Request-Timestamp is over 8 hours old, or in the future. Check the clock");
  }
  const message = decryptBody(rawBody, key.aes);
  if (message.kind === "unreadable") return message;
  checkToken(message, app, nowMs);
  if (message.kind === "callback" && signedAtMs < nowMs - bounds.callbackAgeMs) {
    throw refused("timestamp", callbackAge);
  }
  return message;
}

/** Decrypts and classifies a body with a valid signature. Members beside `encrypt` are ignored. */
function decryptBody(rawBody: RawBody, key: KeyObject): Classified {
  const compact = compactCiphertext(rawBody);
  const decrypted = compact === undefined ? undefined : decrypt(compact, key);
  if (decrypted?.intact === true) return classify(decrypted.text);
  const outer = utf8(bytesOf(rawBody));
  if (outer === undefined) return unreadable("utf8");
  const body = parseObject(outer);
  if (body === undefined) return unreadable("json");
  const ciphertext = body["encrypt"];
  if (ciphertext === undefined) {
    throw refused("plaintext", "the body is not encrypted although an Encrypt Key is set. Check the developer console");
  }
  if (typeof ciphertext !== "string") return unreadable("encrypt");
  const { text, intact } = decrypt(ciphertext, key);
  return intact ? classify(text) : unreadable("padding");
}

/**
 * The ciphertext of a body without white space, `{"encrypt":"…"}`, which is what the platform sends. It is not parsed:
 * if it decrypts, it was strict base64, and a parser would have found the same.
 */
function compactCiphertext(rawBody: RawBody): string | undefined {
  const text = typeof rawBody === "string" ? rawBody : bytesOf(rawBody).toString("latin1");
  const head = '{"encrypt":"';
  const tail = '"}';
  return text.startsWith(head) && text.endsWith(tail) ? text.slice(head.length, -tail.length) : undefined;
}

function bytesOf(rawBody: RawBody): Buffer {
  if (typeof rawBody === "string") return Buffer.from(rawBody);
  return Buffer.from(rawBody.buffer, rawBody.byteOffset, rawBody.byteLength);
}

/** The old card callback: signed with the Verification Token. */
function openOldCard(request: ReceivedRequest, proof: Proof | undefined, app: AppKeys, nowMs: number): Classified {
  const { headers, rawBody } = request;
  if (proof === undefined) throw refused("unsigned", "a signature header of the card callback is missing");
  const { timestamp, nonce, signature } = proof;
  const signedAtMs = parseTimestamp(timestamp);
  const matching = unexpired(app.verificationTokens, nowMs).filter(({ value: verificationToken }) =>
    matches(signature, signOldCard({ timestamp, nonce, verificationToken, rawBody })),
  );
  if (matching.length === 0) {
    throw refused("signature", "the card callback's signature does not match. Check VERIFICATION_TOKEN");
  }
  if (signedAtMs < nowMs - bounds.callbackAgeMs || signedAtMs > nowMs + bounds.futureMs) {
    throw refused("timestamp", callbackAge);
  }
  const text = utf8(bytesOf(rawBody));
  if (text === undefined) return unreadable("utf8");
  const refreshToken = headers.get("x-refresh-token");
  const card = classifyOldCard(text, refreshToken === undefined ? {} : { refresh_token: refreshToken });
  return card.kind === "unreadable" ? (plainChallenge(text, app, nowMs) ?? card) : card;
}

/** A challenge in plain text with our token: the console's page for the old card callback sends it. */
function plainChallenge(text: string, app: AppKeys, nowMs: number): Classified | undefined {
  const message = classify(text);
  const hasToken = isToken(message.token ?? "", unexpired(app.verificationTokens, nowMs));
  return hasToken && message.kind === "challenge" ? message : undefined;
}

/** Without a signature, only a challenge is accepted: encrypted with our key, and with our token in it. */
function openUnsigned(rawBody: RawBody, app: AppKeys, nowMs: number): Classified {
  if (Buffer.byteLength(rawBody) > bounds.unsignedBytes) {
    throw refused("too-large-unsigned", `an unsigned body may hold ${bounds.unsignedBytes} bytes`);
  }
  const outer = utf8(bytesOf(rawBody)) ?? "";
  const encrypted = parseObject(outer)?.["encrypt"];
  const challenge = app.oldCards === true && !isText(encrypted) ? plainChallenge(outer, app, nowMs) : undefined;
  if (challenge !== undefined) return challenge;
  const ciphertext = isText(encrypted) ? encrypted : "";
  // Bad padding, bad JSON and a bad token take the same steps and get one answer, so this is not a padding oracle.
  const tokens = unexpired(app.verificationTokens, nowMs);
  for (const { aes } of unexpired(app.encryptKeys, nowMs)) {
    const { text, intact } = decrypt(ciphertext, aes);
    const message = classify(text);
    const hasToken = isToken(message.token ?? "", tokens);
    if (intact && hasToken && message.kind === "challenge") return message;
  }
  throw refused(
    "unsigned",
    "the body is unsigned and is no challenge with our key and token. Check ENCRYPT_KEY and VERIFICATION_TOKEN",
  );
}

/** Without an Encrypt Key, which a setting has allowed, the Verification Token is the only proof. */
function openPlain(rawBody: RawBody, app: AppKeys, nowMs: number): Classified {
  const text = utf8(bytesOf(rawBody));
  if (text === undefined) throw refused("malformed", "the body is not UTF-8");
  const message = classify(text);
  if (message.kind === "unreadable" && parseObject(text)?.["encrypt"] !== undefined) {
    throw refused(
      "unexpected-encryption",
      "the body is encrypted, but ENCRYPT_KEY is not set. Copy it from the developer console",
    );
  }
  checkToken(message, app, nowMs);
  return message;
}

function toEnvelope(message: Classified, { headers, rawBody }: ReceivedRequest, { appId }: AppKeys): Envelope {
  const requestId = headers.get("x-tt-logid") || headers.get("x-request-id") || null;
  const transport = { requestId, transport: "webhook", receivedBy: appId } as const;
  if (message.kind === "unreadable") {
    return { kind: "unreadable", reason: message.reason, rawBody: bytesOf(rawBody), ...transport };
  }
  if (message.kind === "challenge") {
    const { challenge } = message;
    if (typeof challenge !== "string" || challenge.length > bounds.challengeLength) {
      throw refused("challenge", `a challenge is a text of at most ${bounds.challengeLength} characters`);
    }
    return { kind: "challenge", challenge, ...transport };
  }
  if (message.app !== null && message.app !== appId) {
    throw refused("app", "the message is for another app. Check APP_ID");
  }
  // Named one by one: a rest element makes all of `open` 5 % slower.
  const { kind, schema, id, type, app, tenant, createdAtMs, header, event, text } = message;
  return { kind, schema, id, type, app, tenant, createdAtMs, header, event, text, ...transport };
}

function checkToken({ token }: Classified, app: AppKeys, nowMs: number): void {
  if (isToken(token, unexpired(app.verificationTokens, nowMs))) return;
  throw refused("token", "the Verification Token is missing or another one. Check VERIFICATION_TOKEN");
}

/** 10 digits are seconds, 13 milliseconds. With any other length, digits could move to the nonce under one signature. */
function parseTimestamp(text: string): number {
  if (/^\d{10}$/.test(text)) return Number(text) * 1000;
  if (/^\d{13}$/.test(text)) return Number(text);
  throw refused("timestamp", "X-Lark-Request-Timestamp is not 10 or 13 digits");
}

function refused(reason: UnauthenticatedError["reason"], found: string): UnauthenticatedError {
  return new UnauthenticatedError(reason, `Cannot verify the request: ${found}`);
}

/**
 * Opens a message of the long connection. The connection is authenticated, so nothing is signed or encrypted, and the
 * token may be missing. Total: a message for another app, or of an unknown kind, is `unreadable`.
 *
 * @param options.requestId The frame's `trace_id`.
 */
export function openMessage(
  rawBody: Uint8Array,
  { appId, requestId }: { appId: string; requestId: string | null },
): EventEnvelope | CallbackEnvelope | UnreadableEnvelope {
  const transport = { requestId, transport: "long-connection", receivedBy: appId } as const;
  const text = utf8(rawBody);
  const message = text === undefined ? unreadable("utf8") : classify(text);
  if (message.kind === "unreadable") return { kind: "unreadable", reason: message.reason, rawBody, ...transport };
  // The platform checks addresses over HTTP only.
  if (message.kind === "challenge") return { kind: "unreadable", reason: "schema", rawBody, ...transport };
  if (message.app !== null && message.app !== appId) {
    return { kind: "unreadable", reason: "app", rawBody, ...transport };
  }
  const { token: _, ...notice } = message;
  return { ...notice, ...transport };
}
