import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { guard, listenOnLoopback } from "../loopback.ts";

export interface ApiRequest {
  readonly method: string;
  /** Path and query, as in the request line. */
  readonly url: string;
  readonly authorization: string | undefined;
  /** `undefined` when it was too long. */
  readonly body: string | undefined;
}

export interface ApiResponse {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** `null`: the connection is closed without an answer. */
export type Handle = (request: ApiRequest, signal?: AbortSignal) => Promise<ApiResponse | null>;

/** The longest text, 150 KB, if each byte is escaped as six. */
const bodyLimitBytes = 1024 * 1024;
/** Up to this length, a body that is too long is read and dropped, because the client reads no answer before that. */
const maxReadBytes = 16 * bodyLimitBytes;

export interface ApiServer {
  /** What clients use instead of `https://open.feishu.cn`. */
  readonly url: string;
  close(): Promise<void>;
}

/** Serves `handle` on 127.0.0.1 to programs, not to web pages. Port 0 takes a free one. */
export async function serve(handle: Handle, port: number): Promise<ApiServer> {
  const server = createServer((request, response) => {
    void answer(request, response, handle).catch(() => response.destroy());
  });
  return {
    url: `http://127.0.0.1:${await listenOnLoopback(guard(server), port)}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        // An answer that a rule delays may never be sent, because a test's clock may stop.
        server.closeAllConnections();
      }),
  };
}

async function answer(request: IncomingMessage, response: ServerResponse, handle: Handle): Promise<void> {
  const gone = new AbortController();
  response.on("close", () => gone.abort());
  const body = await read(request);
  const { method = "GET", url = "/" } = request;
  const result = await handle({ method, url, authorization: request.headers.authorization, body }, gone.signal);
  if (result === null) {
    response.destroy();
    return;
  }
  if (body === undefined) response.setHeader("connection", "close");
  response.writeHead(result.status, { ...result.headers, "content-length": Buffer.byteLength(result.body) });
  response.end(result.body);
}

function read(request: IncomingMessage): Promise<string | undefined> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let bytes = 0;
    request.on("data", (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes <= bodyLimitBytes) chunks.push(chunk);
      else chunks.length = 0;
      if (bytes > maxReadBytes) request.destroy(new Error("the body has no end"));
    });
    request.on("end", () => resolve(bytes > bodyLimitBytes ? undefined : Buffer.concat(chunks).toString("utf8")));
    request.on("error", reject);
  });
}
