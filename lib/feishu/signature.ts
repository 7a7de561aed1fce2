import { createHash, timingSafeEqual } from "node:crypto";

/**
 * The signature of an event or a callback: SHA-256 over timestamp, nonce, Encrypt Key and the raw
 * body, in lower-case hex. A plain digest, not an HMAC, and without separators.
 * https://open.feishu.cn/document/ukTMukTMukTM/uYDNxYjL2QTM24iN0EjN/event-subscription-configure-/encrypt-key-encryption-configuration-case
 *
 * @param rawBody The bytes as they were on the wire, before decryption.
 */
export function sign(input: { timestamp: string; nonce: string; encryptKey: string; rawBody: Uint8Array }): string {
  const { timestamp, nonce, encryptKey, rawBody } = input;
  return createHash("sha256")
    .update(timestamp + nonce + encryptKey)
    .update(rawBody)
    .digest("hex");
}

/**
 * Whether a signature header is `expected`, in constant time. Total: any text of any length is
 * answered. Upper-case hex is taken as well; the platform sends lower case.
 *
 * @param expected 64 lower-case hex digits from {@link sign}.
 */
export function matches(signature: string, expected: string): boolean {
  // The pattern fixes the length in bytes too: timingSafeEqual throws on unequal lengths.
  if (!/^[0-9a-fA-F]{64}$/.test(signature)) return false;
  return timingSafeEqual(Buffer.from(signature.toLowerCase(), "latin1"), Buffer.from(expected, "latin1"));
}
