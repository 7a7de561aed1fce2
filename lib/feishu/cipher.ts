import { isUtf8 } from "node:buffer";
import {
  createCipheriv,
  createDecipheriv,
  createHash,
  createSecretKey,
  type Decipheriv,
  type KeyObject,
} from "node:crypto";

const blockBytes = 16;

/**
 * The AES key of an Encrypt Key: SHA-256 of its UTF-8 bytes, unsalted. Made once and kept, since
 * handing AES the bytes at every call costs several times as much as the decryption of a small event.
 */
export function aesKey(encryptKey: string): KeyObject {
  return createSecretKey(createHash("sha256").update(encryptKey, "utf8").digest());
}

/** What came out of a decryption: only an `intact` text may be believed. */
export interface Decrypted {
  /** Empty when the bytes are not UTF-8. */
  readonly text: string;
  readonly intact: boolean;
}

/**
 * Decrypts the `encrypt` member of a push: base64(iv ‖ AES-256-CBC(key, iv, PKCS#7(text))).
 * https://open.feishu.cn/document/ukTMukTMukTM/uYDNxYjL2QTM24iN0EjN/event-subscription-configure-/choose-a-subscription-mode/send-notifications-to-developers-server
 *
 * Unauthenticated text reaches this (a challenge is not signed), so bad padding and bad text take the
 * same steps: the padding is judged without branches, the text is decoded either way, and the caller is
 * expected to parse it before it looks at `intact`.
 *
 * @returns The plain text without a byte order mark. Not intact: not strict base64, no whole block, wrong padding, not UTF-8.
 */
export function decrypt(encrypted: string, key: KeyObject): Decrypted {
  const blob = Buffer.from(encrypted, "base64");
  if (blob.length < 2 * blockBytes || blob.length % blockBytes !== 0 || !isCanonical(encrypted, blob)) {
    return { text: "", intact: false };
  }

  const padded = decipherOf(key).update(blob);
  const padding = paddingOf(padded);
  // The first block is the iv's own, and says nothing.
  const text = utf8(padded.subarray(blockBytes, padded.length - padding.length));
  return { text: text ?? "", intact: padding.valid && text !== undefined };
}

const deciphers = new WeakMap<KeyObject, Decipheriv>();

/**
 * A key's one decipher, kept because making one costs as much as decrypting a small event. In CBC a block
 * depends on the ciphertext block before it alone, so feeding it `iv ‖ ciphertext` decrypts the text whatever
 * was fed before: only what comes out for the iv is meaningless. Whole blocks only, without padding of its
 * own, so nothing is held back, and `final`, which would end it, has nothing to add.
 */
function decipherOf(key: KeyObject): Decipheriv {
  let decipher = deciphers.get(key);
  if (decipher === undefined) {
    decipher = createDecipheriv("aes-256-cbc", key, Buffer.alloc(blockBytes)).setAutoPadding(false);
    deciphers.set(key, decipher);
  }
  return decipher;
}

/** Encrypts a text as the platform does; the inverse of {@link decrypt}. `iv` is 16 bytes, fresh for each call. */
export function encrypt(text: string, key: KeyObject, iv: Uint8Array): string {
  const cipher = createCipheriv("aes-256-cbc", key, iv);
  return Buffer.concat([iv, cipher.update(text, "utf8"), cipher.final()]).toString("base64");
}

/** Strict UTF-8, a leading byte order mark dropped; `undefined` when a byte is out of place. */
export function utf8(bytes: Uint8Array): string | undefined {
  if (!isUtf8(bytes)) return undefined;
  const marked = bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf;
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("utf8", marked ? 3 : 0);
}

/** V8 answers this without reading a text that has none, which is every honest one; to count its bytes takes a pass. */
const wide = /[\u0100-\uffff]/;

/**
 * Whether a text is the one base64 spelling of the bytes it decoded to. Encoding them again would tell, at the
 * price of a copy. Node's decoder skips what it does not know, so the length tells of any strange character;
 * it also takes base64url's, and the lower byte of wide ones; and the last quantum may hide stray bits.
 */
function isCanonical(text: string, bytes: Buffer): boolean {
  const padding = text.endsWith("==") ? 2 : text.endsWith("=") ? 1 : 0;
  return (
    text.length % 4 === 0 &&
    bytes.length === (text.length / 4) * 3 - padding &&
    bytes.toString("base64", bytes.length - (3 - padding)) === text.slice(-4) &&
    !text.includes("-") &&
    !text.includes("_") &&
    !wide.test(text)
  );
}

/** PKCS#7: the last byte says how many bytes to drop, 1 to 16, and all of them say the same. */
function paddingOf(padded: Uint8Array): { valid: boolean; length: number } {
  const last = padded.at(-1) ?? 0;
  let wrong = last === 0 || last > blockBytes ? 1 : 0;
  for (let i = 1; i <= blockBytes; i++) {
    const inPadding = (i - last - 1) >>> 31;
    wrong |= inPadding * ((padded[padded.length - i] ?? 0) ^ last);
  }
  return { valid: wrong === 0, length: wrong === 0 ? last : 1 };
}
