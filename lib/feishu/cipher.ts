import { isAscii, isUtf8 } from "node:buffer";
import { createCipheriv, createDecipheriv, createSecretKey, type Decipheriv, hash, type KeyObject } from "node:crypto";

const blockBytes = 16;

/**
 * The AES key of an Encrypt Key: SHA-256 of its UTF-8 bytes, unsalted. Made once, since passing the bytes to AES at
 * every call costs several times as much as decrypting a small event.
 */
export function aesKey(encryptKey: string): KeyObject {
  return createSecretKey(hash("sha256", encryptKey, "buffer"));
}

/**
 * Decrypts the `encrypt` member of a push: base64(iv ‖ AES-256-CBC(key, iv, PKCS#7(text))).
 * https://open.feishu.cn/document/ukTMukTMukTM/uYDNxYjL2QTM24iN0EjN/event-subscription-configure-/choose-a-subscription-mode/send-notifications-to-developers-server
 *
 * Unauthenticated text gets here, since a challenge is not signed. So bad padding and bad text must take the same time:
 * the padding is checked without branches, the text is always decoded, and the caller parses it before it looks at
 * `intact`.
 *
 * @returns The plain text without a byte order mark, to be used only if it is intact. Not intact: not strict base64, no
 * whole block, wrong padding, or not UTF-8.
 */
export function decrypt(encrypted: string, key: KeyObject): { readonly text: string; readonly intact: boolean } {
  const blob = Buffer.from(encrypted, "base64");
  if (blob.length < 2 * blockBytes || blob.length % blockBytes !== 0 || !isCanonical(encrypted, blob)) {
    return { text: "", intact: false };
  }

  const padded = decipherOf(key).update(blob);
  const padding = paddingOf(padded);
  // The first block is what the iv decrypts to, and means nothing.
  const text = utf8(padded.subarray(blockBytes, padded.length - padding.length));
  return { text: text ?? "", intact: padding.valid && text !== undefined };
}

const deciphers = new WeakMap<KeyObject, Decipheriv>();

/**
 * One decipher per key, since making one costs as much as decrypting a small event. In CBC a block depends only on the
 * ciphertext block before it. So `iv ‖ ciphertext` decrypts the text whatever came before, and only the iv's own block
 * comes out meaningless. It takes whole blocks without padding, so it keeps nothing back and needs no `final`.
 */
function decipherOf(key: KeyObject): Decipheriv {
  let decipher = deciphers.get(key);
  if (decipher === undefined) {
    decipher = createDecipheriv("aes-256-cbc", key, Buffer.alloc(blockBytes)).setAutoPadding(false);
    deciphers.set(key, decipher);
  }
  return decipher;
}

/** Encrypts a text as the platform does: the inverse of {@link decrypt}. `iv` is 16 bytes, fresh for each call. */
export function encrypt(text: string, key: KeyObject, iv: Uint8Array): string {
  const cipher = createCipheriv("aes-256-cbc", key, iv);
  return Buffer.concat([iv, cipher.update(text, "utf8"), cipher.final()]).toString("base64");
}

/** The text without a leading byte order mark; `undefined` for bytes that are not valid UTF-8. */
export function utf8(bytes: Uint8Array): string | undefined {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  // Each byte is one character: several times as fast as a decoder.
  if (isAscii(buffer)) return buffer.toString("latin1");
  if (!isUtf8(buffer)) return undefined;
  const marked = bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf;
  return buffer.toString("utf8", marked ? 3 : 0);
}

/** V8 stores a text without such characters in one byte each, and answers at once. Base64 has none. */
const wide = /[\u0100-\uffff]/;

/**
 * Whether a text is the one base64 spelling of the bytes it decoded to, checked without encoding them again. Node's
 * decoder skips unknown characters, so the length reveals them. It also takes base64url and the low byte of wide
 * characters, and ignores stray bits at the end: those are checked one by one.
 */
function isCanonical(text: string, bytes: Buffer): boolean {
  const padding = text.endsWith("==") ? 2 : Number(text.endsWith("="));
  return (
    text.length % 4 === 0 &&
    bytes.length === (text.length / 4) * 3 - padding &&
    bytes.toString("base64", bytes.length - (3 - padding)) === text.slice(-4) &&
    !text.includes("-") &&
    !text.includes("_") &&
    !wide.test(text)
  );
}

/** PKCS#7: the last byte is the number of bytes to drop (1 to 16), and each of them has that value. */
function paddingOf(padded: Uint8Array): { valid: boolean; length: number } {
  const last = padded.at(-1) ?? 0;
  let wrong = last === 0 || last > blockBytes ? 1 : 0;
  for (let i = 1; i <= blockBytes; i++) {
    const inPadding = (i - last - 1) >>> 31;
    wrong |= inPadding * ((padded[padded.length - i] ?? 0) ^ last);
  }
  return { valid: wrong === 0, length: wrong === 0 ? last : 1 };
}
