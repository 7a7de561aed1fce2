import type { KeyObject } from "node:crypto";
import { isError, type RefusalReason, UnauthenticatedError } from "../errors.ts";
import { aesKey, decrypt as decryptWith, encrypt as encryptWith } from "./cipher.ts";
import { type Classified, classify, isText } from "./classify.ts";
import type { Envelope } from "./envelope.ts";
import { appKeys, defaultApp, type KeyRing, type Secret } from "./keys.ts";
import { open as openSealed } from "./open.ts";
import { seal as sealEnvelope } from "./seal.ts";
import { matches, sign as signParts } from "./signature.ts";

export type { CallbackEnvelope, Envelope, EventEnvelope, UnreadableEnvelope } from "./envelope.ts";

// `larkpost/feishu`: the platform's protocol, for code of your own. These functions are pure, never throw, and compare
// secrets in constant time.

/** An app's keys, from Events & Callbacks → Encryption strategy in the developer console. None may be empty. */
export interface Keys {
  /** `cli_…`: a message for another app is refused. */
  readonly appId: string;
  /** The current key first, and earlier ones while they are still accepted. */
  readonly encryptKeys: readonly string[];
  readonly verificationTokens: readonly string[];
}

export interface ReceivedRequest {
  /** `request.headers` of `node:http`, `Headers` of `fetch`, or a `Map`; the case of names does not matter. */
  readonly headers: Readonly<Record<string, unknown>> | Iterable<readonly [string, unknown]>;
  /** As received: a body that was parsed and written again cannot be verified. */
  readonly rawBody: Uint8Array;
}

export interface SignatureParts {
  /** `X-Lark-Request-Timestamp`: epoch seconds, as the text of the header. */
  readonly timestamp: string;
  /** `X-Lark-Request-Nonce`. */
  readonly nonce: string;
  readonly encryptKey: string;
  readonly rawBody: Uint8Array;
}

/**
 * Opens a request of Feishu's: verifies, decrypts and classifies it. The old card callback is refused.
 *
 * @param options.nowMs Epoch milliseconds. A signature is valid for 8 hours, and a callback's for 5 minutes.
 * @returns `event`, `callback`, `challenge` (answer its text: `{ "challenge": … }`), `unreadable` (from Feishu, but
 * neither schema 1.0 nor 2.0; keep `rawBody`), or `refused`: not provably from Feishu. The reason `options` means that
 * a key is missing or empty, or that `nowMs` is not a number. Answer every refusal alike, for example with 401: the
 * sender must not learn the reason.
 */
export function open(
  request: ReceivedRequest,
  options: { readonly keys: Keys; readonly nowMs: number },
): Envelope | { readonly kind: "refused"; readonly reason: RefusalReason | "options" } {
  const checked = orUndefined(() => {
    const { keys, nowMs } = options;
    return Number.isFinite(nowMs) ? { keys: ringOf(keys), nowMs } : undefined;
  });
  if (checked === undefined) return { kind: "refused", reason: "options" };
  try {
    return openSealed({ app: defaultApp, headers: headersOf(request), rawBody: request.rawBody }, checked);
  } catch (error) {
    return { kind: "refused", reason: isError(error, UnauthenticatedError) ? error.reason : "malformed" };
  }
}

/** The text to answer as `{ "challenge": … }` within one second; `undefined` for any other request. */
export function challengeOf(request: ReceivedRequest, options: Parameters<typeof open>[1]): string | undefined {
  const opened = open(request, options);
  return opened.kind === "challenge" ? opened.challenge : undefined;
}

/**
 * Makes the request with which Feishu pushes a text: the inverse of {@link open}, with the first of each key.
 *
 * @param text JSON of an event, a callback or a challenge, such as the `text` that `open` returns. Its Verification
 * Token is replaced by yours.
 * @param options.nowMs Epoch milliseconds, for the signature.
 * @param options.nonce A new text for each request.
 * @param options.iv 16 random bytes, new for each request.
 * @returns `undefined` if the text is none of the three, or an option is invalid.
 */
export function seal(
  text: string,
  options: { readonly keys: Keys; readonly nowMs: number; readonly nonce: string; readonly iv: Uint8Array },
): { readonly headers: ReadonlyMap<string, string>; readonly rawBody: Uint8Array } | undefined {
  return orUndefined(() => {
    const { nowMs, nonce, iv } = options;
    const envelope = envelopeOf(classify(text));
    if (envelope === undefined || !isText(nonce) || !Number.isFinite(nowMs)) return undefined;
    const keys = ringOf(options.keys);
    const { headers, rawBody } = sealEnvelope(envelope, { keys, app: defaultApp, nowMs, nonce, iv });
    return { headers, rawBody };
  });
}

/**
 * Encrypts a text as Feishu does: base64 of the iv and AES-256-CBC, under the SHA-256 of the Encrypt Key.
 *
 * @param options.iv 16 random bytes, new for each call.
 * @returns `undefined` if the key is empty, the iv has another length, or an argument is not a text.
 */
export function encrypt(
  text: string,
  options: { readonly encryptKey: string; readonly iv: Uint8Array },
): string | undefined {
  return orUndefined(() => encryptWith(text, keyOf(options), options.iv));
}

/**
 * Decrypts the `encrypt` member of a request. Verify the signature first: a sender who learns which ciphertexts decrypt
 * can read them all.
 *
 * @returns The text without a byte order mark; `undefined` if it is not base64, not UTF-8, or of another key.
 */
export function decrypt(encrypted: string, options: { readonly encryptKey: string }): string | undefined {
  return orUndefined(() => {
    const { text, intact } = decryptWith(encrypted, keyOf(options));
    return intact ? text : undefined;
  });
}

/**
 * Signs a request as Feishu does: SHA-256 over timestamp, nonce, Encrypt Key and body, as 64 lower-case hex digits.
 *
 * @returns `undefined` if a part is missing or empty.
 */
export function sign(parts: SignatureParts): string | undefined {
  return orUndefined(() => {
    const { timestamp, nonce, encryptKey, rawBody } = parts;
    return [timestamp, nonce, encryptKey].every(isText)
      ? signParts({ timestamp, nonce, encryptKey, rawBody })
      : undefined;
  });
}

/**
 * Whether `X-Lark-Signature` matches the request; no, if a part is missing or empty. The request's age is not checked:
 * {@link open} does.
 */
export function verify(parts: SignatureParts & { readonly signature: string }): boolean {
  const expected = sign(parts) ?? "";
  return orUndefined(() => matches(parts.signature, expected)) ?? false;
}

function envelopeOf(message: Classified): Envelope | undefined {
  const transport = { requestId: null, transport: "webhook", receivedBy: null } as const;
  if (message.kind === "unreadable") return undefined;
  if (message.kind !== "challenge") return { ...message, ...transport };
  const { kind, challenge } = message;
  return typeof challenge === "string" ? { kind, challenge, ...transport } : undefined;
}

/** @throws {TypeError} The key is missing or empty. */
function keyOf({ encryptKey }: { readonly encryptKey: string }): KeyObject {
  if (!isText(encryptKey)) throw new TypeError("a key is missing");
  return aesKey(encryptKey);
}

/** @throws {TypeError} A key is missing or empty: `open` would skip its check. */
function ringOf({ appId, encryptKeys, verificationTokens }: Keys): KeyRing {
  if (!isText(appId)) throw new TypeError("the app's id is missing");
  const app = { appId, encryptKeys: secrets(encryptKeys), verificationTokens: secrets(verificationTokens) };
  return new Map([[defaultApp, appKeys(app)]]);
}

function secrets(values: readonly string[]): Secret[] {
  if (values.length === 0 || !values.every(isText)) throw new TypeError("a key is missing");
  return values.map((value) => ({ value }));
}

/** Headers by lower-case name. A value that is not a text is left out, so the request counts as unsigned. */
function headersOf({ headers }: ReceivedRequest): Map<string, string> {
  const entries = Symbol.iterator in headers ? [...headers] : Object.entries(headers);
  return new Map(
    entries.flatMap(([name, value]) => (typeof value === "string" ? [[name.toLowerCase(), value] as const] : [])),
  );
}

function orUndefined<T>(work: () => T | undefined): T | undefined {
  try {
    return work();
  } catch {
    return undefined;
  }
}
