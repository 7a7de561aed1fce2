import { createHash, hash, timingSafeEqual } from "node:crypto";

/**
 * The signature of an event or a callback: SHA-256 over timestamp, nonce, Encrypt Key and the raw
 * body, in lower-case hex. A plain digest, not an HMAC, and without separators.
 * https://open.feishu.cn/document/ukTMukTMukTM/uYDNxYjL2QTM24iN0EjN/event-subscription-configure-/encrypt-key-encryption-configuration-case
 *
 * @param rawBody The bytes as they were on the wire, before decryption.
 */
export function sign(input: { timestamp: string; nonce: string; encryptKey: string; rawBody: Uint8Array }): string {
  const { rawBody } = input;
  const head = input.timestamp + input.nonce + input.encryptKey;
  // No character takes more than three bytes.
  if (3 * head.length + rawBody.length > joined.length) {
    return createHash("sha256").update(head).update(rawBody).digest("hex");
  }
  const headBytes = joined.write(head, "utf8");
  joined.set(rawBody, headBytes);
  return hash("sha256", joined.subarray(0, headBytes + rawBody.length));
}

/** Where a usual request's parts are joined, to be hashed in one call: a hash object costs more than the copy. */
const joined = Buffer.alloc(16_384);

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

// Kept: making buffers costs several times as much as comparing them. As long as the longest digest.
const left = Buffer.alloc(64);
const right = Buffer.alloc(64);

/** Whether two digests (SHA-1 or SHA-256) are one, in constant time. Both are hex digits in the same case: the caller has seen to it. */
export function isSameDigest(one: string, other: string): boolean {
  const { length } = other;
  if (one.length !== length || length === 0 || length > left.length) return false;
  left.write(one, "latin1");
  right.write(other, "latin1");
  // What stands behind them is left from comparisons before.
  return timingSafeEqual(left.subarray(0, length), right.subarray(0, length));
}
