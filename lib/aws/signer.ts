import { createHmac, createSecretKey, hash, type KeyObject } from "node:crypto";
import type { SQSClientConfig } from "@aws-sdk/client-sqs";

const dateDigits = 8;
/** What would have to be spelt otherwise to be signed; AWS's own endpoints have none of it. */
const unusualPath = /[!'()*]|\/\/|\/\.\.?(?:\/|$)/;

type SignerConstructor = NonNullable<SQSClientConfig["signerConstructor"]>;
type Options = ConstructorParameters<SignerConstructor>[0];
type Signer = InstanceType<SignerConstructor>;

/**
 * Signs the calls of an SDK client, as its `signerConstructor`. The SDK's own signer, which serves every
 * service there is, takes a quarter of a send's CPU. This one knows the JSON protocols, whose body is at hand
 * and whose requests have no query, and keeps the key. Credentials are asked for at each try, so they may rotate.
 * The option is typed, but the SDK calls it internal: without it, its own signer would do the same at its own pace.
 * https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
 */
export class JsonSigner implements Signer {
  readonly #options: Options;

  /** Made by the SDK, for each try of a call. */
  constructor(options: Options) {
    this.#options = options;
  }

  /** Sets the headers of the signature on the request itself, over those of an earlier try. */
  async sign(...[request, options]: Parameters<Signer["sign"]>): ReturnType<Signer["sign"]> {
    const { credentials, region, service } = this.#options;
    const { accessKeyId, secretAccessKey, sessionToken } = await given(credentials);
    const { method, path, headers } = request;
    const body: unknown = request.body;
    if (!(typeof body === "string" || body instanceof Uint8Array) || Object.keys(request.query ?? {}).length > 0) {
      throw new TypeError("Cannot sign the call: it has a query, or no body at hand");
    }
    if (unusualPath.test(path)) throw new TypeError(`Cannot sign the call: its path is ${path}. Check the endpoint`);
    if (typeof accessKeyId !== "string" || typeof secretAccessKey !== "string") {
      throw new TypeError("Cannot sign the call: the credentials are none");
    }
    const time = (options?.signingDate instanceof Date ? options.signingDate : new Date()).toISOString();
    const date = time.replace(/[-:]|\.\d+/g, "");
    const signingRegion = options?.signingRegion ?? (await given(region));
    const scope = `${date.slice(0, dateDigits)}/${signingRegion}/${options?.signingService ?? service}/aws4_request`;

    headers["x-amz-date"] = date;
    if (sessionToken) headers["x-amz-security-token"] = sessionToken;
    else delete headers["x-amz-security-token"];

    // What has to be signed, in whatever case it comes; the others a proxy may change.
    const signed = Object.entries(headers)
      .map(([name, value]) => ({ name: name.toLowerCase(), value }))
      .filter(({ name, value }) => value !== undefined && isSigned(name))
      .sort((one, other) => (one.name < other.name ? -1 : 1));
    let canonical = `${method}\n${path.split("/").map(encodeURIComponent).join("/")}\n\n`;
    for (const { name, value } of signed) canonical += `${name}:${value.trim().replace(/\s+/g, " ")}\n`;
    const signedHeaders = signed.map(({ name }) => name).join(";");
    canonical += `\n${signedHeaders}\n${hash("sha256", body)}`;

    const signature = createHmac("sha256", signingKey(secretAccessKey, scope))
      .update(`AWS4-HMAC-SHA256\n${date}\n${scope}\n${hash("sha256", canonical)}`)
      .digest("hex");
    headers["authorization"] =
      `AWS4-HMAC-SHA256 Credential=${accessKeyId}/${scope}, SignedHeaders=${signedHeaders}, Signature=${signature}`;
    return request;
  }
}

/** Takes two steps out of a client's calls that nobody reads: a log entry that has no logger, and the SDK's portrait of itself. */
export function trimmed<C extends { readonly middlewareStack: { remove(name: string): boolean } }>(client: C): C {
  for (const step of ["loggerMiddleware", "getUserAgentMiddleware"]) client.middlewareStack.remove(step);
  return client;
}

function isSigned(name: string): boolean {
  return name === "host" || name === "content-type" || name.startsWith("x-amz-");
}

/** The last key of each region and service; the next day's, or one from a new secret, takes its place. */
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

/** What the SDK hands over as a value, or as a function that finds it. */
async function given<T>(value: T | (() => Promise<T>)): Promise<T> {
  return typeof value === "function" ? (value as () => Promise<T>)() : value;
}
