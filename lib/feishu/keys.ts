import { hash, type KeyObject } from "node:crypto";
import { aesKey } from "./cipher.ts";
import { isSameDigest } from "./signature.ts";

/** A secret; from `notAfter` (epoch milliseconds) on, it is not accepted any more. */
export interface Secret {
  readonly value: string;
  readonly notAfter?: number | undefined;
}

export interface EncryptKey extends Secret {
  readonly aes: KeyObject;
}

interface VerificationToken extends Secret {
  /** SHA-256 of its UTF-8 bytes, in lower-case hex. */
  readonly digest: string;
}

/** One app's secrets. Without an Encrypt Key, messages are plain text, and the token is the only proof of origin. */
export interface AppKeys {
  readonly appId: string;
  readonly encryptKeys: readonly EncryptKey[];
  readonly verificationTokens: readonly VerificationToken[];
  /** Accept the old card callback: plain text, signed with SHA-1. */
  readonly oldCards?: boolean | undefined;
}

/** Keys by the name of the app's route. A Map, since the name comes from outside. Other apps' keys are never tried. */
export type KeyRing = ReadonlyMap<string, AppKeys>;

export const defaultApp = "default";

/** Derives what verification needs, once and not for each request. */
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

/** The secrets that are still accepted: more than one while a secret is rotated. */
export function unexpired<S extends Secret>(secrets: readonly S[], nowMs: number): readonly S[] {
  return secrets.filter(({ notAfter }) => notAfter === undefined || nowMs < notAfter);
}

/** Whether `token` is one of `tokens`, in constant time: all of them are compared. Anything but a string is not. */
export function isToken(token: unknown, tokens: readonly VerificationToken[]): boolean {
  if (typeof token !== "string") return false;
  // Digests have one length, whatever the token's. They are compared as hex: a buffer for each costs more than the hash.
  const digest = hash("sha256", token);
  return tokens.filter((candidate) => isSameDigest(digest, candidate.digest)).length > 0;
}
