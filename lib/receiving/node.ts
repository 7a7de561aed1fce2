import { keptBody, noBody, readBody, refuseLostBody } from "./body.ts";
import { answerHttp, type HttpAnswer, type HttpOptions } from "./http.ts";

/** A request of `node:http`, `node:https`, the compatible API of `node:http2`, or a framework on them. */
export interface NodeRequest extends AsyncIterable<Uint8Array> {
  readonly method?: string | undefined;
  readonly url?: string | undefined;
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>;
  readonly socket: { readonly remoteAddress?: string | undefined };
  /** Whether the body has come whole. */
  readonly complete: boolean;
  readonly readableDidRead: boolean;
  /** If set, the body comes as text, and its bytes are lost. */
  readonly readableEncoding: string | null;
  /** Only responses of HTTP/2 have it. */
  readonly stream?: { once(event: "finish", listener: () => void): unknown; close(): unknown };
  destroy(): unknown;
}

export interface NodeResponse {
  statusCode: number;
  setHeader(name: string, value: string): unknown;
  once(event: "finish", listener: () => void): unknown;
  end(body: string): unknown;
}

/** What a body parser adds to a request. */
interface Parsed {
  readonly rawBody?: unknown;
  readonly body?: unknown;
}

const advice =
  "Mount the receiver before the body parser, or let that keep them: express.json({ verify: keepRawBody }), from larkpost/http";

/** For `verify` of `express.json()` and `body-parser`: keeps a body's bytes, as `request.rawBody`. */
export function keepRawBody(request: object, _response: unknown, bytes: Uint8Array): void {
  (request as { rawBody?: Uint8Array }).rawBody = bytes;
}

/**
 * Answers every request that it is given, as a listener of `node:http`, `node:https` and `node:http2`, and as middleware
 * of Express and Connect, before or behind a body parser that keeps the bytes: see {@link keepRawBody}.
 *
 * @param options.path Answer this path alone. Others go on to the next middleware; where there is none, they get 404.
 */
export function nodeListener(receiver: HttpOptions, { path }: { readonly path?: string } = {}) {
  return (request: NodeRequest & Parsed, response: NodeResponse, next?: () => unknown): void => {
    const isOwn = isAt(path, request.url);
    if (!isOwn && next !== undefined) {
      next();
      return;
    }
    const kept = [request.rawBody, request.body];
    answerNode(receiver, request, response, { isOwn, kept, advice })
      .then((answer) => send(response, answer))
      // The host has begun an answer of its own, and ends it.
      .catch(() => {});
  };
}

function send(response: NodeResponse, { status, headers, body }: HttpAnswer): void {
  response.statusCode = status;
  for (const [name, value] of Object.entries(headers)) response.setHeader(name, value);
  response.end(body);
}

/** Whether a URL has the path that is answered. A query, and doubled or trailing slashes, do not matter. */
export function isAt(path: string | undefined, url = ""): boolean {
  const partsOf = (text: string) =>
    text
      .replace(/\?.*/s, "")
      .split("/")
      .filter((part) => part !== "")
      .join("/");
  return path === undefined || partsOf(url) === partsOf(path);
}

/** The answer to a request, for the caller to send. Never rejects. */
export async function answerNode(
  receiver: HttpOptions,
  request: NodeRequest,
  response: Pick<NodeResponse, "once">,
  { isOwn = true, kept = [], advice }: { isOwn?: boolean; kept?: readonly unknown[]; advice: string },
): Promise<HttpAnswer> {
  const startMs = receiver.clock.nowMs();
  const { method = "", headers, socket } = request;
  const { remoteAddress: sourceIp } = socket;
  // Node itself joins the values of a name that comes twice.
  const get = (name: string) => (typeof headers[name] === "string" ? headers[name] : undefined);
  let body = noBody;
  if (isOwn && method === "POST") {
    const found = keptBody(kept);
    const isLost = request.readableDidRead || request.readableEncoding;
    if (found === undefined && isLost) return refuseLostBody(advice);
    body = found ?? (await readBody(request, receiver.clock));
    if (!request.complete) endAfterAnswer(request, response);
  }
  return answerHttp({ method, path: isOwn ? "/" : "", headers: { get }, startMs, sourceIp, ...body }, receiver);
}

/** A body that did not come in time must not keep its connection. Over HTTP/2 that has other streams. */
function endAfterAnswer(request: NodeRequest, response: Pick<NodeResponse, "once">): void {
  const { stream } = request;
  if (stream === undefined) response.once("finish", () => request.destroy());
  else stream.once("finish", () => stream.close());
}
