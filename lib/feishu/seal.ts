import type { KeyObject } from "node:crypto";
import { encrypt } from "./cipher.ts";
import type { Envelope, SealedRequest } from "./envelope.ts";
import { fill, inspect } from "./json.ts";
import type { KeyRing } from "./keys.ts";
import { signOldCard } from "./old-card.ts";
import { sign } from "./signature.ts";

/** Time and randomness come from the caller: this room has neither. */
interface SealOptions {
  readonly keys: KeyRing;
  readonly app: string;
  readonly nowMs: number;
  readonly nonce: string;
  /** 16 bytes, fresh for each request. */
  readonly iv: Uint8Array;
}

/**
 * Seals an envelope as the platform does: the inverse of `open`. The Verification Token is put back in its place.
 * Events and callbacks are signed, a challenge is not.
 */
export function seal(envelope: Envelope, options: SealOptions): SealedRequest {
  const app = options.keys.get(options.app);
  const token = app?.verificationTokens[0]?.value ?? "";
  const key = app?.encryptKeys[0];
  const headers: [string, string][] = envelope.requestId === null ? [] : [["x-tt-logid", envelope.requestId]];
  if (envelope.kind === "unreadable") return signed(envelope.rawBody, headers, options);
  if (envelope.kind === "challenge") {
    const text = JSON.stringify({ challenge: envelope.challenge, token, type: "url_verification" });
    return { app: options.app, headers: new Map(headers), rawBody: sealText(text, key?.aes, options.iv) };
  }
  if (envelope.kind === "callback" && envelope.schema === "1.0") {
    const refreshToken = envelope.header["refresh_token"];
    if (typeof refreshToken === "string") headers.push(["x-refresh-token", refreshToken]);
    const rawBody = Buffer.from(envelope.text, "utf8");
    return withSignature(rawBody, headers, options, (proof) => signOldCard({ ...proof, verificationToken: token }));
  }
  const text = fill(envelope.text, inspect(envelope.text).tokens, token);
  return signed(sealText(text, key?.aes, options.iv), headers, options);
}

/** The body of a push: the text itself, or encrypted if there is a key. */
export function sealText(text: string, key: KeyObject | undefined, iv: Uint8Array): Buffer {
  return Buffer.from(key === undefined ? text : JSON.stringify({ encrypt: encrypt(text, key, iv) }), "utf8");
}

function signed(rawBody: Uint8Array, headers: [string, string][], options: SealOptions): SealedRequest {
  const encryptKey = options.keys.get(options.app)?.encryptKeys[0]?.value;
  if (encryptKey === undefined) return { app: options.app, headers: new Map(headers), rawBody };
  return withSignature(rawBody, headers, options, (proof) => sign({ ...proof, encryptKey }));
}

function withSignature(
  rawBody: Uint8Array,
  headers: [string, string][],
  { app, nowMs, nonce }: SealOptions,
  signatureOf: (proof: { timestamp: string; nonce: string; rawBody: Uint8Array }) => string,
): SealedRequest {
  const timestamp = String(Math.floor(nowMs / 1000));
  const proof: [string, string][] = [
    ["x-lark-request-timestamp", timestamp],
    ["x-lark-request-nonce", nonce],
    ["x-lark-signature", signatureOf({ timestamp, nonce, rawBody })],
  ];
  return { app, headers: new Map([...headers, ...proof]), rawBody };
}
