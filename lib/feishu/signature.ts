import { createHash, hash, timingSafeEqual } from "node:crypto";

/**
 * The signature of an event or a callback: SHA-256 over timestamp, nonce, Encrypt Key and raw body, in lower-case hex.
 * A plain digest, not an HMAC, and without separators.
 * https://open.feishu.cn/document/ukTMukTMukTM/uYDNxYjL2QTM24iN0EjN/event-subscription-configure-/encrypt-key-encryption-configuration-case
 *
 * @param input.rawBody As received, before decryption.
 */
export function sign(input: {
  timestamp: string;
  nonce: string;
  encryptKey: string;
  rawBody: Uint8Array | string;
}): string {
  const { timestamp, nonce, encryptKey, rawBody } = input;
  const head = timestamp + nonce + encryptKey;
  // One call costs less than three, until the text is so large that joining it costs more.
  if (typeof rawBody === "string" && rawBody.length < 8_192) return hash("sha256", head + rawBody);
  return createHash("sha256").update(head).update(rawBody).digest("hex");
}

/**
 * Whether a signature header is `expected`, in constant time. Total: takes any text. Takes upper-case hex as well,
 * although the platform sends lower case.
 *
 * @param expected Lower-case hex digits, from `sign` (64) or `signOldCard` (40).
 */
export function matches(signature: string, expected: string): boolean {
  // The length first, so that a long text costs nothing.
  return (
    signature.length === expected.length &&
    /^[0-9a-fA-F]+$/.test(signature) &&
    isSameDigest(signature.toLowerCase(), expected)
  );
}

/** Whether two digests are equal, in constant time. Both must be ASCII texts of one spelling, like lower-case hex. */
export function isSameDigest(a: string, b: string): boolean {
  if (a.length !== b.length || a.length === 0) return false;
  return timingSafeEqual(Buffer.from(a, "latin1"), Buffer.from(b, "latin1"));
}
