import { createHmac, createSecretKey, hash, type KeyObject } from "node:crypto";

const dateDigits = 8;

/** What AWS reads as the time of a call: `20150830T123600Z`. */
export function amzDate(epochMs: number): string {
  return new Date(epochMs).toISOString().replace(/[-:]|\.\d+/g, "");
}

/**
 * The `authorization` header of a POST without a query (SigV4).
 * https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
 *
 * @param headers All that are signed: names in lower case and sorted, values without white space around or doubled.
 * @param call.path As it is sent, without characters that are encoded. AWS's own endpoints have `/`.
 * @param call.date As {@link amzDate} writes it; also the value of the header `x-amz-date`.
 */
export function authorization(
  headers: readonly (readonly [name: string, value: string])[],
  call: {
    readonly path: string;
    readonly body: string;
    readonly date: string;
    readonly region: string;
    readonly service: string;
    readonly accessKeyId: string;
    readonly secretAccessKey: string;
  },
): string {
  const { path, body, date, region, service, accessKeyId, secretAccessKey } = call;
  const scope = `${date.slice(0, dateDigits)}/${region}/${service}/aws4_request`;
  let lines = "";
  let names = "";
  for (const [name, value] of headers) {
    lines += `${name}:${value}\n`;
    names += names === "" ? name : `;${name}`;
  }
  const canonical = `POST\n${path}\n\n${lines}\n${names}\n${hash("sha256", body)}`;
  const signature = createHmac("sha256", signingKey(secretAccessKey, scope))
    .update(`AWS4-HMAC-SHA256\n${date}\n${scope}\n${hash("sha256", canonical)}`)
    .digest("hex");
  return `AWS4-HMAC-SHA256 Credential=${accessKeyId}/${scope}, SignedHeaders=${names}, Signature=${signature}`;
}

/** The last signing key of each region and service. A new day or a new secret replaces it. */
const keys = new Map<string, { readonly secret: string; readonly scope: string; readonly key: KeyObject }>();

function signingKey(secret: string, scope: string): KeyObject {
  const place = scope.slice(dateDigits);
  const kept = keys.get(place);
  if (kept?.scope === scope && kept.secret === secret) return kept.key;
  let key = createSecretKey(`AWS4${secret}`, "utf8");
  for (const part of scope.split("/")) key = createSecretKey(createHmac("sha256", key).update(part).digest());
  keys.set(place, { secret, scope, key });
  return key;
}
