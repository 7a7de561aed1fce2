import { createHmac, hkdfSync, timingSafeEqual } from "node:crypto";

/** Authenticates texts under a key of the app's own. */
export interface Signer {
  sign(text: string): Promise<string>;
  isSigned(text: string, mac: string): Promise<boolean>;
}

const member = "_signed";

/**
 * Signs a card component's `value`. A callback proves that the platform sent it, not that the value is what the
 * card's author wrote: it went through a client. Signed, it comes back to the callback's handler as it was, and
 * one that was changed, or moved to another tenant, does not get there. It proves that this app wrote the value, not
 * who clicked, nor on which card: that is still to be checked.
 *
 * @param value What JSON can hold.
 * @param context The handler's own; with another `tenant` for a card that goes to another one than the event came from.
 * @returns What to put into the card as the component's `value`.
 * @throws {ConfigError} The app's secret is not set.
 */
export async function signValue(
  value: unknown,
  context: { readonly tenant: string | null; sign(text: string): Promise<string> },
): Promise<{ readonly [member]: string }> {
  const text = Buffer.from(JSON.stringify([1, context.tenant, value])).toString("base64url");
  return { [member]: `${text}.${await context.sign(text)}` };
}

/** What a card's value is worth. */
export type ReadValue =
  | { readonly state: "signed"; readonly value: unknown }
  | { readonly state: "unsigned" }
  /** It says that it is signed, and is not: by us, as it stands, for this tenant. */
  | { readonly state: "forged" };

/** Reads what {@link signValue} made. Total, whatever the value is; rejects only when the key cannot be had. */
export async function readValue(value: unknown, { signer, tenant }: { signer: Signer; tenant: string | null }) {
  const forged: ReadValue = { state: "forged" };
  if (typeof value !== "object" || value === null || !Object.hasOwn(value, member)) {
    return { state: "unsigned" } satisfies ReadValue as ReadValue;
  }
  const signed: unknown = (value as { [member]?: unknown })[member];
  const [, text = "", mac = ""] = /^([\w-]+)\.([\w-]+)$/.exec(typeof signed === "string" ? signed : "") ?? [];
  // Beside a signed value nothing may stand: a handler could take it for signed as well.
  if (text === "" || Object.keys(value).length > 1 || !(await signer.isSigned(text, mac))) return forged;
  const [version, signedFor, content] = parts(text);
  return version === 1 && signedFor === tenant ? ({ state: "signed", value: content } as ReadValue) : forged;
}

/** What was signed; none for a text that a handler signed for a purpose of its own. */
function parts(text: string): readonly unknown[] {
  try {
    const read: unknown = JSON.parse(Buffer.from(text, "base64url").toString("utf8"));
    return Array.isArray(read) ? read : [];
  } catch {
    return [];
  }
}

/** A signer whose key is derived from the app's secret, which is asked for when it is first needed. */
export function appSigner(appSecret: () => Promise<string>): Signer {
  const mac = async (text: string) => {
    // Derived anew each time: the secret may be another by now, and this is no hot path.
    const key = Buffer.from(hkdfSync("sha256", await appSecret(), "", "larkpost card value", 32));
    return createHmac("sha256", key).update(text).digest("base64url");
  };
  return {
    sign: mac,
    async isSigned(text, given) {
      // The letters, not the bytes they stand for: a mac has one spelling.
      const [expected, found] = [Buffer.from(await mac(text)), Buffer.from(given)];
      return found.length === expected.length && timingSafeEqual(found, expected);
    },
  };
}
