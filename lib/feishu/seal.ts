import type { KeyObject } from "node:crypto";
import { encrypt } from "./cipher.ts";
import type { Envelope, SealedRequest } from "./envelope.ts";
import { fill, inspect } from "./json.ts";
import type { KeyRing } from "./keys.ts";
import { sign, signOldCard } from "./signature.ts";

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

export function signed(rawBody: Uint8Array, headers: [string, string][], options: SealOptions): SealedRequest {
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
