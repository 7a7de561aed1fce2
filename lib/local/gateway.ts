import { isUtf8 } from "node:buffer";
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import { ConfigError } from "../errors.ts";
import { http } from "../node-http.ts";
import { listenOnLoopback } from "../simulator/loopback.ts";

/** API Gateway's limits: bodies of 10 MB, headers of 10,240 bytes, and two seconds to send them. */
const limits = { bodyBytes: 10_485_760, headerBytes: 10_240, receiveMs: 2_000 };

type Invoke = (event: unknown) => Promise<unknown>;

/**
 * Passes HTTP requests on 127.0.0.1 to functions as API Gateway events (payload 2.0), and answers with their responses.
 * It has no deadline. The function must answer within Feishu's 3 s.
 *
 * @throws {ConfigError} The port is taken, or this user may not listen on it.
 * @param options.routes Last segment of the path → the function for it. `invoke` is the function for all others.
 */
export async function startGateway(options: {
  port: number;
  invoke: Invoke;
  routes?: ReadonlyMap<string, Invoke>;
}): Promise<{ port: number; stop: () => Promise<void> }> {
  const { invoke, routes = new Map<string, Invoke>() } = options;
  const server = http.createServer(
    {
      maxHeaderSize: limits.headerBytes,
      headersTimeout: limits.receiveMs,
      requestTimeout: limits.receiveMs,
      connectionsCheckingInterval: 250,
    },
    (request, response) => {
      // A client that goes on over its connection must not hold up the end.
      if (!server.listening) response.shouldKeepAlive = false;
      const route = routes.get(lastSegment(request.url)) ?? invoke;
      void answer(request, response, route).catch(() => response.destroy());
    },
  );
  // Without a guard: a tunnel passes any Host header on, and the functions check the signature.
  const port = await listenOnLoopback(server, options.port).catch((error: NodeJS.ErrnoException) => {
    const problem = error.code === "EADDRINUSE" ? "is in use" : `cannot be listened on (${error.code})`;
    const advice = "Choose another with PORT or --port; PORT=0 takes a free one";
    throw new ConfigError(`Cannot start: the port ${options.port} ${problem}. ${advice}`, { cause: error });
  });
  return { port, stop: () => close(server) };
}

/** `callback` for `/callback`, `//callback/?x=1` and `/base/callback`. The functions accept the same paths. */
function lastSegment(url = ""): string {
  const [path = ""] = url.split("?", 1);
  return path.split("/").findLast((part) => part !== "") ?? "";
}

async function answer(request: IncomingMessage, response: ServerResponse, invoke: Invoke): Promise<void> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > limits.bodyBytes) {
      response.writeHead(413).end();
      request.destroy();
      return;
    }
    chunks.push(chunk);
  }
  const result = await invoke(toEvent(request, Buffer.concat(chunks))).catch(() => undefined);
  const { statusCode, headers, body } = (result ?? {}) as {
    statusCode?: unknown;
    headers?: Record<string, string>;
    body?: string;
  };
  // API Gateway answers 500 for a function that failed. Feishu then pushes an event again, or shows the user an error.
  if (typeof statusCode !== "number") response.writeHead(500).end();
  else response.writeHead(statusCode, headers).end(request.method === "HEAD" ? undefined : body);
}

function toEvent(request: IncomingMessage, body: Buffer): unknown {
  const [rawPath = "/", rawQueryString = ""] = (request.url ?? "/").split("?", 2);
  const isText = isUtf8(body);
  return {
    version: "2.0",
    routeKey: "$default",
    rawPath,
    rawQueryString,
    headers: Object.fromEntries(
      Object.entries(request.headersDistinct).map(([name, values = []]) => [name, values.join(",")]),
    ),
    requestContext: {
      stage: "$default",
      http: { method: request.method, path: rawPath, sourceIp: request.socket.remoteAddress, protocol: "HTTP/1.1" },
      timeEpoch: Date.now(),
    },
    body: isText ? body.toString("utf8") : body.toString("base64"),
    isBase64Encoded: !isText,
  };
}

function close(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    server.closeIdleConnections();
  });
}
