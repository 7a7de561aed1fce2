import { hash, type KeyObject } from "node:crypto";
import { aesKey } from "./cipher.ts";
import { isSameDigest } from "./signature.ts";

/** A secret with the moment it stops being accepted, in epoch milliseconds; without one it never does. */
export interface Secret {
  readonly value: string;
  readonly notAfter?: number | undefined;
}

export interface EncryptKey extends Secret {
  readonly aes: KeyObject;
}

export interface VerificationToken extends Secret {
  /** SHA-256 of its UTF-8 bytes, in lower-case hex. */
  readonly digest: string;
}

/** One app's secrets. Without an Encrypt Key the app is read in plain text, and the token is the only proof. */
export interface AppKeys {
  readonly appId: string;
  readonly encryptKeys: readonly EncryptKey[];
  readonly verificationTokens: readonly VerificationToken[];
  /** Whether the old card callback is taken: signed with SHA-1, in plain text. Absent: it is refused. */
  readonly oldCards?: boolean | undefined;
}

/** Keys by the name of the app's route. A Map, since the name comes from outside; never "try all apps' keys". */
export type KeyRing = ReadonlyMap<string, AppKeys>;

export const defaultApp = "default";

/** Derives what verification needs, once, so that no request pays for it. */
export function appKeys(input: {
  appId: string;
  encryptKeys: readonly Secret[];
  verificationTokens: readonly Secret[];
  oldCards?: boolean | undefined;
}): AppKeys {
  return {
    appId: input.appId,
    oldCards: input.oldCards,
    encryptKeys: input.encryptKeys.map((secret) => ({ ...secret, aes: aesKey(secret.value) })),
    verificationTokens: input.verificationTokens.map((secret) => ({ ...secret, digest: hash("sha256", secret.value) })),
  };
}

/** The secrets that are still accepted: several while one is being rotated. */
export function current<S extends Secret>(secrets: readonly S[], nowMs: number): readonly S[] {
  return secrets.filter(({ notAfter }) => notAfter === undefined || nowMs < notAfter);
}

/** Whether `token` is one of ours, in constant time. Only a string can be: no coercion, no prefix. */
export function isToken(token: unknown, tokens: readonly VerificationToken[]): boolean {
  if (typeof token !== "string") return false;
  // Digests have one length, whatever the token's; as hex, since a buffer for each would cost more than the hash.
  const digest = hash("sha256", token);
  let found = false;
  for (const candidate of tokens) found = isSameDigest(digest, candidate.digest) || found;
  return found;
}
