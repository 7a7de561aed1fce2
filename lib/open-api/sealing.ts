import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from "node:crypto";

const tagBytes = 16;
const ivBytes = 12;

/** The key that stored tokens are encrypted with: whoever can only read the table cannot act as the app. */
export async function sealingKey(appSecret: () => Promise<string>): Promise<Buffer> {
  return Buffer.from(hkdfSync("sha256", await appSecret(), "", "larkpost stored token", 32));
}

/** Encrypts a text under its name, so that one tenant's token is not accepted as another's. */
export function seal(text: string, name: string, key: Buffer): string {
  const iv = randomBytes(ivBytes);
  const cipher = createCipheriv("aes-256-gcm", key, iv).setAAD(Buffer.from(name));
  return Buffer.concat([iv, cipher.update(text, "utf8"), cipher.final(), cipher.getAuthTag()]).toString("base64");
}

/** `undefined`: sealed with another secret or under another name, or damaged. */
export function unseal(sealed: string, name: string, key: Buffer): string | undefined {
  const bytes = Buffer.from(sealed, "base64");
  try {
    const decipher = createDecipheriv("aes-256-gcm", key, bytes.subarray(0, ivBytes), { authTagLength: tagBytes });
    decipher.setAAD(Buffer.from(name)).setAuthTag(bytes.subarray(-tagBytes));
    return decipher.update(bytes.subarray(ivBytes, -tagBytes), undefined, "utf8") + decipher.final("utf8");
  } catch {
    return undefined;
  }
}
