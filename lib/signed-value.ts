import { createHmac, hkdfSync, timingSafeEqual } from "node:crypto";

/** Each use has its own key: a text that is signed for one use is never valid for the other. */
type Use = "text" | "card value";

/** Authenticates texts under keys that are derived from the app's secret. */
export interface Signer {
  sign(use: Use, text: string): Promise<string>;
  isSigned(use: Use, text: string, mac: string): Promise<boolean>;
}

export interface CardContent {
  readonly tenant: string | null;
  readonly value: unknown;
  readonly purpose: string | null;
  readonly expiresInSeconds: number | null;
}

const member = "_signed";
/** What is signed is `[version, tenant, purpose, endsAtMs, value]`. */
const version = 2;

/**
 * Signs a card component's `value`. A callback proves that the platform sent it, not that the value is what the
 * card's author wrote: it went through a client. Signed, it comes back to the callback's handler as it was, and
 * one that was changed, or moved to another tenant, does not get there. It proves that this app wrote the value, not
 * who clicked, nor on which card: that is still to be checked.
 *
 * @param value What JSON can hold.
 * @param context The handler's own; with another `tenant` for a card that goes to another one than the event came from.
 * @param options.purpose What the value is for, at most 64 characters. The callback's `signedValues` must
 * name it, so a value that was signed for one purpose cannot be used for another.
 * @param options.expiresInSeconds After this time a click gets a message, and no handler runs.
 * @returns What to put into the card as the component's `value`.
 * @throws {ConfigError} The app's secret is not set.
 */
export async function signValue(
  value: unknown,
  context: { readonly tenant: string | null; signCard(card: CardContent): Promise<string> },
  options: { readonly purpose?: string | undefined; readonly expiresInSeconds?: number | undefined } = {},
): Promise<{ readonly [member]: string }> {
  const { purpose = null, expiresInSeconds = null } = options;
  if (purpose !== null && (typeof purpose !== "string" || purpose === "" || purpose.length > 64)) {
    throw new TypeError("Cannot sign the value: purpose is not a text of 1 to 64 characters");
  }
  if (expiresInSeconds !== null && !(expiresInSeconds > 0 && Number.isFinite(1000 * expiresInSeconds))) {
    throw new TypeError(`Cannot sign the value: expiresInSeconds is ${expiresInSeconds}, not a number above 0`);
  }
  return { [member]: await context.signCard({ tenant: context.tenant, value, purpose, expiresInSeconds }) };
}

/** Makes a handler's `signCard`. */
export function cardSigner(signer: Pick<Signer, "sign">, clock: { nowMs(): number }) {
  return async ({ tenant, value, purpose, expiresInSeconds }: CardContent): Promise<string> => {
    const endsAtMs = expiresInSeconds === null ? null : clock.nowMs() + 1000 * expiresInSeconds;
    const text = Buffer.from(JSON.stringify([version, tenant, purpose, endsAtMs, value])).toString("base64url");
    return `${text}.${await signer.sign("card value", text)}`;
  };
}

/** What a card's value is worth. */
export type ReadValue =
  | { readonly state: "signed"; readonly value: unknown; readonly purpose: string | null }
  /** `forged`: changed, or signed by another app or for another tenant. */
  | { readonly state: "unsigned" | "forged" | "expired" };

/** Reads what {@link signValue} made. Total, whatever the value is; rejects only when the key cannot be had. */
export async function readValue(
  value: unknown,
  { signer, tenant, nowMs }: { signer: Signer; tenant: string | null; nowMs: number },
): Promise<ReadValue> {
  if (typeof value !== "object" || value === null || !Object.hasOwn(value, member)) return { state: "unsigned" };
  const signed: unknown = (value as { [member]?: unknown })[member];
  const [, text = "", mac = ""] = /^([\w-]+)\.([\w-]+)$/.exec(typeof signed === "string" ? signed : "") ?? [];
  // Beside a signed value nothing may stand: a handler could take it for signed as well.
  if (text === "" || Object.keys(value).length > 1 || !(await signer.isSigned("card value", text, mac))) {
    return { state: "forged" };
  }
  // Only `cardSigner` signs with this key, so the text is its JSON, perhaps of another release.
  const [signedAs, signedFor, purpose, endsAtMs, content] = JSON.parse(Buffer.from(text, "base64url").toString("utf8"));
  if (signedAs !== version || signedFor !== tenant) return { state: "forged" };
  if (endsAtMs !== null && !(nowMs < endsAtMs)) return { state: "expired" };
  return { state: "signed", value: content, purpose };
}

/** A signer whose keys are derived from the app's secret, which is asked for when it is first needed. */
export function appSigner(appSecret: () => Promise<string>): Signer {
  const sign = async (use: Use, text: string) => {
    // Derived anew each time: the secret may be another by now, and this is no hot path.
    const key = Buffer.from(hkdfSync("sha256", await appSecret(), "", `larkpost ${use}`, 32));
    return createHmac("sha256", key).update(text).digest("base64url");
  };
  return {
    sign,
    async isSigned(use, text, mac) {
      // The letters, not the bytes they stand for: a mac has one spelling.
      const [expected, found] = [Buffer.from(await sign(use, text)), Buffer.from(mac)];
      return found.length === expected.length && timingSafeEqual(found, expected);
    },
  };
}
