import type { KeyObject } from "node:crypto";
import { UnauthenticatedError } from "../errors.ts";
import { decrypt, encrypt, utf8 } from "./cipher.ts";
import {
  type Classified,
  classify,
  classifyOldCard,
  type JsonObject,
  type Notice,
  parseObject,
  type UnreadableReason,
} from "./classify.ts";
import { fill, inspect } from "./json.ts";
import { type AppKeys, current, type EncryptKey, isToken, type KeyRing } from "./keys.ts";
import { matches, sign, signOldCard } from "./signature.ts";

/** What the wire gave. Header names are lower-case; `rawBody` is exactly as received: a re-encoded body cannot be verified. */
export interface SealedRequest {
  /** Name of the app's route, a key of the ring. */
  readonly app: string;
  readonly headers: ReadonlyMap<string, string>;
  readonly rawBody: Uint8Array;
}

interface Carried {
  /** `X-Tt-Logid`, else `X-Request-Id`: what vendor support asks for. Outside text. */
  readonly requestId: string | null;
  readonly transport: "webhook" | "long-connection";
  /** Id of the app whose keys, or whose long connection, opened the message; `null` if nothing did. Many events name no app themselves. */
  readonly receivedBy: string | null;
}

export type EventEnvelope = { readonly kind: "event" } & Notice & Carried;
export type CallbackEnvelope = { readonly kind: "callback" } & Notice & Carried;
export type UnreadableEnvelope = {
  readonly kind: "unreadable";
  readonly reason: UnreadableReason;
  readonly rawBody: Uint8Array;
} & Carried;

/** What a callback's handler put off: the callback, and the payload that it gave along. Its id is one of its own. */
export type JobEnvelope = { readonly kind: "job"; readonly payload: unknown } & Notice & Carried;

/** A callback defers at most once, so that its own identity makes the job's. */
export function jobId(callbackId: string): string {
  return `${callbackId}#deferred`;
}

/** What Feishu said, whichever schema (1.0, 2.0) and transport it came by. */
export type Envelope =
  | EventEnvelope
  | CallbackEnvelope
  | ({ readonly kind: "challenge"; readonly challenge: string } & Carried)
  | UnreadableEnvelope;

export const bounds = {
  /** A request without a valid signature may only be a challenge, and a challenge is small. */
  unsignedBytes: 4096,
  challengeLength: 4096,
  /** Feishu pushes again for about 7 h, perhaps with the first timestamp: a shorter window would refuse every retry. */
  eventAgeMs: 8 * 3600_000,
  /** A callback is never pushed again. */
  callbackAgeMs: 300_000,
  futureMs: 300_000,
};

/**
 * Opens a webhook request: verifies it, decrypts it and says what it is. Pure and total.
 * Signature: SHA-256 over timestamp, nonce, Encrypt Key and raw body; a challenge is exempt from it.
 * https://open.feishu.cn/document/ukTMukTMukTM/uYDNxYjL2QTM24iN0EjN/event-subscription-configure-/encrypt-key-encryption-configuration-case
 *
 * @param options.nowMs epoch milliseconds, for freshness and for keys that end: the clock is an argument.
 * @returns Schema 1.0 and 2.0 alike. Authentic but not JSON, or of neither schema: an envelope of kind `unreadable`.
 * @throws {UnauthenticatedError} Not provably from Feishu, for any reason whatever.
 */
export function open(request: SealedRequest, options: { keys: KeyRing; nowMs: number }): Envelope {
  const { nowMs } = options;
  const app = options.keys.get(request.app);
  if (app === undefined) throw refused("app", "no keys are configured for this route");

  const timestamp = request.headers.get("x-lark-request-timestamp");
  const nonce = request.headers.get("x-lark-request-nonce");
  const signature = request.headers.get("x-lark-signature");
  // Told by the signature, never by the body: whatever a body holds, one of the two digests covers it.
  if (app.oldCards === true && signature?.length === oldSignatureLength) {
    return openOldCard(request, { timestamp, nonce, signature }, app, nowMs);
  }

  const encryptKeys = current(app.encryptKeys, nowMs);
  if (app.encryptKeys.length === 0) return openPlain(request, app, nowMs);

  // Any of the three missing, or empty, is "unsigned": `undefined` must never enter a digest.
  if (!timestamp || !nonce || !signature) return openUnsigned(request, app, encryptKeys, nowMs);

  const signedAtMs = parseTimestamp(timestamp);
  const { rawBody } = request;
  let key: EncryptKey | undefined;
  for (const candidate of encryptKeys) {
    if (matches(signature, sign({ timestamp, nonce, encryptKey: candidate.value, rawBody }))) key = candidate;
  }
  if (key === undefined) {
    throw refused(
      "signature",
      "X-Lark-Signature does not match the raw body. Check ENCRYPT_KEY, and that nothing re-encoded the body",
    );
  }
  if (signedAtMs < nowMs - bounds.eventAgeMs || signedAtMs > nowMs + bounds.futureMs) {
    throw refused("timestamp", "X-Lark-Request-Timestamp is over 8 hours old, or in the future. Check the clock");
  }

  const unreadable = (reason: UnreadableReason) => toUnreadable(reason, request, app);
  const usual = ciphertextIn(rawBody);
  let decrypted = usual === undefined ? undefined : decrypt(usual, key.aes);
  if (decrypted?.intact !== true) {
    const outer = utf8(rawBody);
    if (outer === undefined) return unreadable("utf8");
    const sealed = parseObject(outer);
    if (sealed === undefined) return unreadable("json");
    // What stands beside `encrypt` is ignored: only the decrypted text speaks.
    const ciphertext = sealed["encrypt"];
    if (ciphertext === undefined) {
      throw refused(
        "plaintext",
        "the body is not encrypted although an Encrypt Key is set. Check the developer console",
      );
    }
    if (typeof ciphertext !== "string") return unreadable("encrypt");
    decrypted = decrypt(ciphertext, key.aes);
    if (!decrypted.intact) return unreadable("padding");
  }

  const message = classify(decrypted.text);
  if (message.kind === "unreadable") return unreadable(message.reason);
  checkToken(message, app, nowMs);
  if (message.kind === "callback" && signedAtMs < nowMs - bounds.callbackAgeMs) {
    throw refused("timestamp", "the callback was signed more than 5 minutes ago");
  }
  return toEnvelope(message, request, app);
}

/**
 * What a body of the usual spelling, `{"encrypt":"…"}` without a space, holds between its quotes. Nothing is
 * parsed: when that decrypts it was base64 to the letter, and so what a parser would have found.
 */
function ciphertextIn(rawBody: Uint8Array): string | undefined {
  const body = Buffer.from(rawBody.buffer, rawBody.byteOffset, rawBody.byteLength);
  const end = body.length - usualTail.length;
  if (end < usualHead.length || !holds(body, 0, usualHead) || !holds(body, end, usualTail)) return undefined;
  return body.toString("latin1", usualHead.length, end);
}

const usualHead = '{"encrypt":"';
const usualTail = '"}';
/** Hex digits of SHA-1. */
const oldSignatureLength = 40;

/** The old card callback: never encrypted, without an envelope, and signed with the Verification Token. */
function openOldCard(
  request: SealedRequest,
  proof: { timestamp: string | undefined; nonce: string | undefined; signature: string },
  app: AppKeys,
  nowMs: number,
): Envelope {
  const { timestamp, nonce, signature } = proof;
  if (!timestamp || !nonce) throw refused("unsigned", "a signature header of the card callback is missing");
  const signedAtMs = parseTimestamp(timestamp);
  const { rawBody } = request;
  let isOurs = false;
  for (const { value } of current(app.verificationTokens, nowMs)) {
    isOurs = matches(signature, signOldCard({ timestamp, nonce, verificationToken: value, rawBody })) || isOurs;
  }
  if (!isOurs) {
    throw refused("signature", "the card callback's signature does not match. Check VERIFICATION_TOKEN");
  }
  if (signedAtMs < nowMs - bounds.callbackAgeMs || signedAtMs > nowMs + bounds.futureMs) {
    throw refused("timestamp", "the callback was signed more than 5 minutes ago, or in the future. Check the clock");
  }
  const text = utf8(rawBody);
  if (text === undefined) return toUnreadable("utf8", request, app);
  const refreshToken = request.headers.get("x-refresh-token");
  const header: JsonObject = refreshToken === undefined ? {} : { refresh_token: refreshToken };
  const card = classifyOldCard(text, header);
  if (card.kind !== "unreadable") return toEnvelope(card, request, app);
  const challenge = ownChallenge(text, app, nowMs);
  return challenge === undefined ? toUnreadable(card.reason, request, app) : toEnvelope(challenge, request, app);
}

/** A challenge in plain text that carries our token: what the old card callback's page of the console sends. */
function ownChallenge(text: string, app: AppKeys, nowMs: number) {
  const message = classify(text);
  const isOurs = isToken(message.token ?? "", current(app.verificationTokens, nowMs));
  return isOurs && message.kind === "challenge" ? message : undefined;
}

function holds(body: Uint8Array, at: number, ascii: string): boolean {
  for (let i = 0; i < ascii.length; i++) if (body[at + i] !== ascii.charCodeAt(i)) return false;
  return true;
}

/** No signature: it may go on only to be a challenge, encrypted with our key and carrying our token. */
function openUnsigned(request: SealedRequest, app: AppKeys, keys: readonly EncryptKey[], nowMs: number): Envelope {
  if (request.rawBody.length > bounds.unsignedBytes) {
    throw refused("too-large-unsigned", `an unsigned body may hold ${bounds.unsignedBytes} bytes`);
  }
  const outer = utf8(request.rawBody) ?? "";
  const ciphertext = parseObject(outer)?.["encrypt"];
  if (typeof ciphertext !== "string") {
    const challenge = app.oldCards === true ? ownChallenge(outer, app, nowMs) : undefined;
    if (challenge !== undefined) return toEnvelope(challenge, request, app);
    throw refused("unsigned", "the signature headers are missing, and the body is no encrypted challenge");
  }
  // One answer and the same steps for bad padding, bad JSON and a bad token, so that this is no padding oracle.
  const tokens = current(app.verificationTokens, nowMs);
  for (const key of keys) {
    const { text, intact } = decrypt(ciphertext, key.aes);
    const message = classify(text);
    const isOurs = isToken(message.token ?? "", tokens);
    if (intact && isOurs && message.kind === "challenge") return toEnvelope(message, request, app);
  }
  throw refused(
    "unsigned",
    "the body is unsigned and is no challenge with our key and token. Check ENCRYPT_KEY and VERIFICATION_TOKEN",
  );
}

/** No Encrypt Key, which must have been allowed: the Verification Token is the only proof. */
function openPlain(request: SealedRequest, app: AppKeys, nowMs: number): Envelope {
  const text = utf8(request.rawBody);
  if (text === undefined) throw refused("malformed", "the body is not UTF-8");
  const message = classify(text);
  if (message.kind === "unreadable" && parseObject(text)?.["encrypt"] !== undefined) {
    throw refused(
      "unexpected-encryption",
      "the body is encrypted, but ENCRYPT_KEY is not set. Copy it from the developer console",
    );
  }
  checkToken(message, app, nowMs);
  return message.kind === "unreadable" ? toUnreadable(message.reason, request, app) : toEnvelope(message, request, app);
}

function toUnreadable(reason: UnreadableReason, request: SealedRequest, app: AppKeys): UnreadableEnvelope {
  return { kind: "unreadable", reason, rawBody: request.rawBody, ...carried(request, app) };
}

function toEnvelope(
  message: Exclude<Classified, { kind: "unreadable" }>,
  request: SealedRequest,
  app: AppKeys,
): Envelope {
  if (message.kind === "challenge") {
    const { challenge } = message;
    if (typeof challenge !== "string" || challenge.length > bounds.challengeLength) {
      throw refused("challenge", `a challenge is a text of at most ${bounds.challengeLength} characters`);
    }
    return { kind: "challenge", challenge, ...carried(request, app) };
  }
  if (message.app !== null && message.app !== app.appId) {
    throw refused("app", "the message is for another app. Check APP_ID");
  }
  const { kind, schema, id, type, tenant, createdAtMs, header, event, text } = message;
  const notice = { kind, schema, id, type, app: message.app, tenant, createdAtMs, header, event, text };
  return { ...notice, ...carried(request, app) };
}

function checkToken(message: Classified, app: AppKeys, nowMs: number): void {
  if (isToken(message.token, current(app.verificationTokens, nowMs))) return;
  throw refused("token", "the Verification Token is missing or another one. Check VERIFICATION_TOKEN");
}

function carried({ headers }: SealedRequest, { appId }: AppKeys): Carried {
  const requestId = headers.get("x-tt-logid") || headers.get("x-request-id") || null;
  return { requestId, transport: "webhook", receivedBy: appId };
}

/** Ten digits are seconds, thirteen milliseconds. The shape is fixed: with it open, digits could move to the nonce under one signature. */
function parseTimestamp(text: string): number {
  if (/^\d{10}$/.test(text)) return Number(text) * 1000;
  if (/^\d{13}$/.test(text)) return Number(text);
  throw refused("timestamp", "X-Lark-Request-Timestamp is not 10 or 13 digits");
}

function refused(reason: UnauthenticatedError["reason"], found: string): UnauthenticatedError {
  return new UnauthenticatedError(reason, `Cannot verify the request: ${found}`);
}

/**
 * Opens a message of the long connection, which comes authenticated and in plain text: nothing is signed, and the
 * token may be missing. Total: what is for another app, or nothing that is known there, is `unreadable`.
 *
 * @param options.requestId The frame's `trace_id`.
 */
export function openMessage(
  rawBody: Uint8Array,
  { appId, requestId }: { appId: string; requestId: string | null },
): EventEnvelope | CallbackEnvelope | UnreadableEnvelope {
  const carried = { requestId, transport: "long-connection", receivedBy: appId } as const;
  const unreadable = (reason: UnreadableReason) => ({ kind: "unreadable", reason, rawBody, ...carried }) as const;
  const text = utf8(rawBody);
  if (text === undefined) return unreadable("utf8");
  const message = classify(text);
  if (message.kind === "unreadable") return unreadable(message.reason);
  // Nobody checks an address over a connection that stands.
  if (message.kind === "challenge") return unreadable("schema");
  if (message.app !== null && message.app !== appId) return unreadable("app");
  const { kind, token: _, ...notice } = message;
  return { kind, ...notice, ...carried };
}

/** What the sender must bring, since this room has no randomness and no clock of its own. */
export interface SealOptions {
  readonly keys: KeyRing;
  readonly app: string;
  readonly nowMs: number;
  readonly nonce: string;
  /** 16 bytes, fresh for each request. */
  readonly iv: Uint8Array;
}

/**
 * Seals an envelope as the platform would: the inverse of {@link open}. The token goes back to where
 * it was; events and callbacks are signed, a challenge is not.
 */
export function seal(envelope: Envelope, options: SealOptions): SealedRequest {
  const app = options.keys.get(options.app);
  const token = app?.verificationTokens[0]?.value ?? "";
  const headers: [string, string][] = envelope.requestId === null ? [] : [["x-tt-logid", envelope.requestId]];
  if (envelope.kind === "unreadable") return signed(envelope.rawBody, headers, options);
  if (envelope.kind === "challenge") {
    const text = JSON.stringify({ challenge: envelope.challenge, token, type: "url_verification" });
    return {
      app: options.app,
      headers: new Map(headers),
      rawBody: sealText(text, app?.encryptKeys[0]?.aes, options.iv),
    };
  }
  if (envelope.kind === "callback" && envelope.schema === "1.0") {
    const refreshToken = envelope.header["refresh_token"];
    if (typeof refreshToken === "string") headers.push(["x-refresh-token", refreshToken]);
    return signedOldCard(envelope.text, token, headers, options);
  }
  const text = fill(envelope.text, inspect(envelope.text).tokens, token);
  return signed(sealText(text, app?.encryptKeys[0]?.aes, options.iv), headers, options);
}

/** The body of a push: the text itself, or encrypted when there is a key. */
export function sealText(text: string, key: KeyObject | undefined, iv: Uint8Array): Buffer {
  return Buffer.from(key === undefined ? text : JSON.stringify({ encrypt: encrypt(text, key, iv) }), "utf8");
}

function signed(rawBody: Uint8Array, headers: [string, string][], options: SealOptions): SealedRequest {
  const encryptKey = options.keys.get(options.app)?.encryptKeys[0];
  const timestamp = String(Math.floor(options.nowMs / 1000));
  const { nonce } = options;
  const proof: [string, string][] =
    encryptKey === undefined
      ? []
      : [
          ["x-lark-request-timestamp", timestamp],
          ["x-lark-request-nonce", nonce],
          ["x-lark-signature", sign({ timestamp, nonce, encryptKey: encryptKey.value, rawBody })],
        ];
  return { app: options.app, headers: new Map([...headers, ...proof]), rawBody };
}

function signedOldCard(
  text: string,
  verificationToken: string,
  headers: [string, string][],
  { app, nowMs, nonce }: SealOptions,
): SealedRequest {
  const rawBody = Buffer.from(text, "utf8");
  const timestamp = String(Math.floor(nowMs / 1000));
  const signature = signOldCard({ timestamp, nonce, verificationToken, rawBody });
  return {
    app,
    headers: new Map([
      ...headers,
      ["x-lark-request-timestamp", timestamp],
      ["x-lark-request-nonce", nonce],
      ["x-lark-signature", signature],
    ]),
    rawBody,
  };
}
