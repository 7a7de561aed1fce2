import type { Agent } from "node:http";
import { isLoopback } from "./feishu/domain.ts";
import { fieldsOf, stringOf } from "./feishu/json.ts";
import { http, https } from "./node-http.ts";

/** The proxy for HTTPS, and the hosts that are reached without it, as Node reads them. */
export interface ProxyEnv {
  readonly HTTPS_PROXY?: string | undefined;
  readonly NO_PROXY?: string | undefined;
}

/** The times of Node's own agent: an idle connection is closed after 5 s. */
const keepAlive = { keepAlive: true, scheduling: "lifo", timeout: 5_000 } as const;

/** An agent for the requests to one origin. This machine is never reached by a proxy. */
export function agentFor({ protocol, hostname }: URL, proxyEnv: ProxyEnv = {}): Agent {
  if (protocol === "http:" || protocol === "ws:") return new http.Agent(keepAlive);
  return new (https().Agent)(isLoopback(hostname) ? keepAlive : { ...keepAlive, proxyEnv: { ...proxyEnv } });
}

/** For a request by Node's own agent, which uses a proxy where Node is set to. This machine is never reached by one. */
export function nodeAgent({ hostname }: URL): false | undefined {
  return isLoopback(hostname) ? false : undefined;
}

/**
 * Sends one HTTP request, and follows no redirect, which would take a secret elsewhere. Rejects without an answer, with
 * an error that has the network's code and nothing else: the original may name the proxy with its password.
 *
 * @param options.limitBytes Of the answer's body; a longer one is cut.
 */
export async function exchange(
  url: URL,
  options: {
    readonly method: string;
    readonly headers: Readonly<Record<string, string>>;
    readonly body: string | Uint8Array | undefined;
    readonly agent?: Agent;
    readonly signal: AbortSignal | undefined;
    readonly limitBytes?: number;
  },
): Promise<{ status: number; headers: ReadonlyMap<string, string>; bytes: Buffer }> {
  const { method, body, agent = nodeAgent(url), signal, limitBytes } = options;
  // Node sends no length with a GET or DELETE of its own. The body would be read as the next request of the connection.
  const length = body === undefined ? undefined : { "content-length": String(Buffer.byteLength(body)) };
  const headers = { ...options.headers, ...length };
  const { promise, resolve, reject } = Promise.withResolvers<Awaited<ReturnType<typeof exchange>>>();
  const { request: send } = url.protocol === "http:" ? http : https();
  const request = send(url, { method, headers, agent, signal }, (response) => {
    const { statusCode: status = 0, headers } = response;
    bytesOf(response, limitBytes).then((bytes) => resolve({ status, headers: headerMap(headers), bytes }), reject);
  });
  request.on("error", reject).end(body);
  return promise.catch((error: unknown) => {
    throw Object.assign(new Error("no answer"), { code: networkCode(error) });
  });
}

/** The bytes of a body, cut after the chunk that is over the limit. A stream with an encoding gives texts. */
export async function bytesOf(
  body: AsyncIterable<Uint8Array | string> | Iterable<Uint8Array>,
  limitBytes = Number.POSITIVE_INFINITY,
): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const part of body) {
    const chunk = typeof part === "string" ? Buffer.from(part) : part;
    chunks.push(chunk);
    length += chunk.length;
    if (length > limitBytes) break;
  }
  return Buffer.concat(chunks);
}

export function headerMap(headers: object): ReadonlyMap<string, string> {
  return new Map(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), String(value)]));
}

/** The code of a network error, or of its cause. Its message may hold a URL with a secret. */
export function networkCode(error: unknown): string {
  const { code, cause } = fieldsOf(error);
  return stringOf(fieldsOf(cause)["code"] ?? code) ?? "unknown";
}
