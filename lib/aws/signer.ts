import { createHmac, createSecretKey, hash, type KeyObject } from "node:crypto";
import type { SQSClientConfig } from "@aws-sdk/client-sqs";

const dateDigits = 8;
/** Paths that SigV4 encodes in another way. AWS's own endpoints have none of them. */
const unusualPath = /[!'()*]|\/\/|\/\.\.?(?:\/|$)/;

type SignerConstructor = NonNullable<SQSClientConfig["signerConstructor"]>;
type Options = ConstructorParameters<SignerConstructor>[0];
type Signer = InstanceType<SignerConstructor>;
type SignParameters = Parameters<Signer["sign"]>;

/**
 * Signs the calls of an SDK client, as its `signerConstructor`. The SDK's own signer serves every service and takes a
 * quarter of a send's CPU. This one keeps the key, and signs only the JSON protocols, whose requests have a body in
 * memory and no query. It reads the credentials at each try, since they may rotate. The SDK calls the option internal;
 * without it the SDK's own signer signs the same calls, more slowly.
 * https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
 */
export class JsonSigner implements Signer {
  readonly #options: Options;

  /** The SDK makes a signer for each try of a call. */
  constructor(options: Options) {
    this.#options = options;
  }

  /** Sets the signature's headers on the request itself and replaces those of an earlier try. */
  async sign(request: SignParameters[0], options?: SignParameters[1]): ReturnType<Signer["sign"]> {
    const { credentials, region, service } = this.#options;
    const { accessKeyId, secretAccessKey, sessionToken } = await resolved(credentials);
    const { method, path, headers } = request;
    const body: unknown = request.body;
    if (!(typeof body === "string" || body instanceof Uint8Array) || Object.keys(request.query ?? {}).length > 0) {
      throw new TypeError("Cannot sign the call: it has a query, or its body is not in memory");
    }
    if (unusualPath.test(path)) throw new TypeError(`Cannot sign the call: its path is ${path}. Check the endpoint`);
    if (typeof accessKeyId !== "string" || typeof secretAccessKey !== "string") {
      throw new TypeError("Cannot sign the call: the credentials have no key");
    }
    const time = (options?.signingDate instanceof Date ? options.signingDate : new Date()).toISOString();
    const date = time.replace(/[-:]|\.\d+/g, "");
    const signingRegion = options?.signingRegion ?? (await resolved(region));
    const scope = `${date.slice(0, dateDigits)}/${signingRegion}/${options?.signingService ?? service}/aws4_request`;

    headers["x-amz-date"] = date;
    if (sessionToken) headers["x-amz-security-token"] = sessionToken;
    else delete headers["x-amz-security-token"];

    // A proxy may change the other headers.
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

/** Removes the SDK's logging and user-agent middleware, which cost CPU and are not used here. */
export function withoutUnusedMiddleware<C extends { readonly middlewareStack: { remove(name: string): boolean } }>(
  client: C,
): C {
  for (const step of ["loggerMiddleware", "getUserAgentMiddleware"]) client.middlewareStack.remove(step);
  return client;
}

function isSigned(name: string): boolean {
  return name === "host" || name === "content-type" || name.startsWith("x-amz-");
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

/** The SDK passes a value, or a function that resolves with it. */
async function resolved<T>(value: T | (() => Promise<T>)): Promise<T> {
  return typeof value === "function" ? (value as () => Promise<T>)() : value;
}
