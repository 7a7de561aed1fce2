import { createHmac, hkdfSync } from "node:crypto";
import { isSameDigest } from "./feishu/signature.ts";

/** Each use has its own key, so a signature for one use is never valid for the other. */
type Use = "text" | "card value";

/** Signs texts with keys that are derived from the app's secret. */
export interface Signer {
  sign(use: Use, text: string): Promise<string>;
  /** @param mac ASCII. */
  isSigned(use: Use, text: string, mac: string): Promise<boolean>;
}

export interface CardContent {
  readonly tenant: string | null;
  readonly value: unknown;
  readonly purpose: string | null;
  readonly expiresInSeconds: number | null;
}

const member = "_signed";
/** The version of the signed text, which is `[version, tenant, purpose, endsAtMs, value]`. */
const version = 2;

/**
 * Signs a card component's `value`. The platform sends a callback's value as a client gave it, so it may be changed. A
 * signed value that was changed or moved to another tenant does not reach the handler. The signature proves that this
 * app wrote the value. Your handler must still check who clicked, and on which card.
 *
 * @param value Must be JSON.
 * @param context The handler's own, with another `tenant` for a card that goes to another tenant than the event's.
 * @param options.purpose What the value is for, at most 64 characters. The callback's `signedValues` must name it, so a
 * value that was signed for one purpose cannot be used for another.
 * @param options.expiresInSeconds After this time a click gets a message, and no handler runs.
 * @returns The component's `value` for the card.
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

/** A card's value, checked. */
type ReadValue =
  | { readonly state: "signed"; readonly value: unknown; readonly purpose: string | null }
  /** `forged`: changed, or signed by another app or for another tenant. */
  | { readonly state: "unsigned" | "forged" | "expired" };

/** Checks a value of {@link signValue}. Takes any value, and rejects only when the key cannot be read. */
export async function readValue(
  value: unknown,
  { signer, tenant, nowMs }: { signer: Signer; tenant: string | null; nowMs: number },
): Promise<ReadValue> {
  if (typeof value !== "object" || value === null || !Object.hasOwn(value, member)) return { state: "unsigned" };
  const signed: unknown = (value as { [member]?: unknown })[member];
  const [, text = "", mac = ""] = /^([\w-]+)\.([\w-]+)$/.exec(typeof signed === "string" ? signed : "") ?? [];
  // No member may be beside the signed one: a handler could believe that it is signed too.
  if (text === "" || Object.keys(value).length > 1 || !(await signer.isSigned("card value", text, mac))) {
    return { state: "forged" };
  }
  // Only `cardSigner` signs with this key, so the text is its JSON, perhaps another release's.
  const [signedAs, signedFor, purpose, endsAtMs, content] = JSON.parse(Buffer.from(text, "base64url").toString("utf8"));
  if (signedAs !== version || signedFor !== tenant) return { state: "forged" };
  if (endsAtMs !== null && !(nowMs < endsAtMs)) return { state: "expired" };
  return { state: "signed", value: content, purpose };
}

/** A signer whose keys are derived from the app's secret. It reads the secret at each call, since it may change. */
export function appSigner(appSecret: () => Promise<string>): Signer {
  const sign = async (use: Use, text: string) => {
    const key = Buffer.from(hkdfSync("sha256", await appSecret(), "", `larkpost ${use}`, 32));
    return createHmac("sha256", key).update(text).digest("base64url");
  };
  return {
    sign,
    // Compares the text and not its bytes, so a mac has one spelling only.
    isSigned: async (use, text, mac) => isSameDigest(mac, await sign(use, text)),
  };
}
