import { createHash, timingSafeEqual } from "node:crypto";
import { once } from "node:events";
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import type { AddressInfo, Server as NetServer } from "node:net";
import type { Duplex } from "node:stream";
import { http } from "../node-http.ts";

/** The events by which an HTTP server passes a request to its listeners. */
const requestEvents: ReadonlySet<string> = new Set([
  "request",
  "checkContinue",
  "checkExpectation",
  "upgrade",
  "connect",
]);
const refusal = JSON.stringify({
  error: "forbidden",
  message: "Only programs of this machine may send requests here. .larkpost/local.json has what they need",
});
const refusalHeaders = {
  "content-type": "application/json",
  "content-length": Buffer.byteLength(refusal),
  connection: "close",
};

/**
 * Answers 403 to every request that a web page may have sent, before the server's own listeners run. A browser sends
 * `Origin` or `Sec-Fetch-*` with a page's requests. After DNS rebinding it sends the page's own host name.
 *
 * @param options.accessKeyId If given, the request's AWS signature must contain it. Only this run's programs know it.
 */
export function guard(server: Server, { accessKeyId }: { readonly accessKeyId?: string } = {}): Server {
  const emit = server.emit.bind(server) as (event: string, ...args: unknown[]) => boolean;
  // Node's fetch sends this header, and handlers and commands use fetch. The AWS SDK does not.
  const ignored = accessKeyId === undefined ? "sec-fetch-mode" : undefined;
  const isAllowed = (request: IncomingMessage) =>
    isToThisServer(request) &&
    !isFromPage(request, ignored) &&
    (accessKeyId === undefined || isSameSecret(accessKeyOf(request), accessKeyId));
  server.emit = (event: string, ...args: unknown[]) => {
    const [request, answer] = args;
    if (!requestEvents.has(event) || isAllowed(request as IncomingMessage)) return emit(event, ...args);
    refuse(answer as ServerResponse | Duplex);
    return true;
  };
  return server;
}

/** Opens a server on 127.0.0.1. Resolves to its port; port 0, the default, takes a free one. */
export async function listenOnLoopback(server: NetServer, port = 0): Promise<number> {
  server.listen(port, "127.0.0.1");
  await once(server, "listening");
  return (server.address() as AddressInfo).port;
}

/** Compares in constant time. Digests have the same length, whatever the lengths of the texts are. */
export function isSameSecret(sent: string | undefined, secret: string): boolean {
  const digest = (text: string) => createHash("sha256").update(text).digest();
  return timingSafeEqual(digest(sent ?? ""), digest(secret));
}

function isToThisServer({ headers, socket }: IncomingMessage): boolean {
  return headers.host === `127.0.0.1:${socket.localPort}` || headers.host === `localhost:${socket.localPort}`;
}

function isFromPage({ headers }: IncomingMessage, ignored: string | undefined): boolean {
  return Object.keys(headers).some((name) => name === "origin" || (name.startsWith("sec-fetch-") && name !== ignored));
}

/** https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html */
function accessKeyOf({ headers }: IncomingMessage): string | undefined {
  return /Credential=([^/,\s]+)\//.exec(headers.authorization ?? "")?.[1];
}

function refuse(answer: ServerResponse | Duplex): void {
  if (answer instanceof http.ServerResponse) {
    answer.writeHead(403, refusalHeaders).end(refusal);
    return;
  }
  const lines = Object.entries(refusalHeaders).map(([name, value]) => `${name}: ${value}\r\n`);
  answer.on("error", () => answer.destroy());
  answer.end(`HTTP/1.1 403 Forbidden\r\n${lines.join("")}\r\n${refusal}`);
}
