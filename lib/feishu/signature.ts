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
 * The signature of the old card callback: SHA-1, with the Verification Token in the Encrypt Key's place.
 * https://open.feishu.cn/document/ukTMukTMukTM/uYzM3QjL2MzN04iNzcDN/configuring-card-callbacks/card-callback-structure
 */
export function signOldCard(input: {
  timestamp: string;
  nonce: string;
  verificationToken: string;
  rawBody: Uint8Array;
}): string {
  const { timestamp, nonce, verificationToken, rawBody } = input;
  return createHash("sha1")
    .update(timestamp + nonce + verificationToken)
    .update(rawBody)
    .digest("hex");
}

/**
 * Whether a signature header is `expected`, in constant time. Total: any text of any length is
 * answered. Upper-case hex is taken as well; the platform sends lower case.
 *
 * @param expected Lower-case hex digits from {@link sign} (64) or {@link signOldCard} (40).
 */
export function matches(signature: string, expected: string): boolean {
  // The length first, so that a long text costs nothing.
  return (
    signature.length === expected.length &&
    /^[0-9a-fA-F]+$/.test(signature) &&
    isSameDigest(signature.toLowerCase(), expected)
  );
}

/** Whether two digests (SHA-1 or SHA-256) are one, in constant time. Both are hex digits in the same case: the caller has seen to it. */
export function isSameDigest(one: string, other: string): boolean {
  if (one.length !== other.length || other.length === 0) return false;
  return timingSafeEqual(Buffer.from(one, "latin1"), Buffer.from(other, "latin1"));
}
