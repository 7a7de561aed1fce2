import { type EventEmitter, once } from "node:events";
import { createServer, type IncomingMessage, request as requestHttp, type Server } from "node:http";
import { connect, createServer as createHttp2Server, type IncomingHttpHeaders } from "node:http2";
import { createServer as createHttpsServer, request as requestHttps } from "node:https";
import type { AddressInfo, Server as NetServer, Socket } from "node:net";
import Router from "@koa/router";
import expressApp from "express";
import fastifyApp from "fastify";
import Koa from "koa";
import { koaBody } from "koa-body";
import {
  express,
  fastify,
  fetchHandler,
  keepRawBody,
  koa,
  nodeListener,
  type Receiver,
} from "../../lib/aws/entries/http.ts";
import { authority, identity } from "./platform-tls.ts";

/** Where each door is mounted. */
export const mount = "/webhook/event";
const limit = "2mb";

/** A way from a socket to a receiver. */
export interface Door {
  readonly name: string;
  readonly protocol?: "https" | "http2";
  /** A body parser stands in front: it reads the body, with limits of its own, and answers what is no JSON. */
  readonly isBehindParser?: true;
  /** It is given no socket. */
  readonly hasNoSource?: true;
  /** Methods that it does not leave to the host. */
  readonly methods?: readonly string[];
  /** A server that does not listen yet. */
  serve(receiver: Receiver): NetServer | Promise<NetServer>;
}

export const doors: readonly Door[] = [
  { name: "node:http", serve: (receiver) => createServer(nodeListener(receiver, { path: mount })) },
  {
    name: "node:https",
    protocol: "https",
    serve: (receiver) => createHttpsServer(identity, nodeListener(receiver, { path: mount })),
  },
  {
    name: "node:http2",
    protocol: "http2",
    serve: (receiver) => createHttp2Server(nodeListener(receiver, { path: mount })),
  },
  { name: "Express", serve: (receiver) => createServer(expressApp().use(mount, express(receiver))) },
  {
    // Which is body-parser's.
    name: "Express behind express.json()",
    isBehindParser: true,
    serve: (receiver) => {
      const app = expressApp().use(expressApp.json({ limit, verify: keepRawBody }));
      return createServer(app.use(mount, express(receiver)));
    },
  },
  {
    name: "Koa",
    serve: (receiver) => createServer(new Koa().use(koa(receiver, { path: mount })).callback()),
  },
  {
    name: "Koa behind koa-body",
    isBehindParser: true,
    serve: (receiver) => {
      const app = new Koa().use(koaBody({ jsonLimit: limit, textLimit: limit, includeUnparsed: true }));
      return createServer(app.use(koa(receiver, { path: mount })).callback());
    },
  },
  {
    name: "@koa/router",
    serve: (receiver) => createServer(new Koa().use(new Router().all(mount, koa(receiver)).routes()).callback()),
  },
  {
    name: "Fastify",
    serve: async (receiver) => {
      const app = fastifyApp();
      await app.register(fastify(receiver), { prefix: mount });
      await app.ready();
      return app.server;
    },
  },
  { name: "fetch", hasNoSource: true, serve: (receiver) => createServer(asRequest(fetchHandler(receiver))) },
];

/** A server of the kind that `fetch` runtimes have: each request is a `Request`, and is answered by a `Response`. */
export function asRequest(handle: (request: Request) => Promise<Response>) {
  return async (incoming: IncomingMessage, outgoing: import("node:http").ServerResponse): Promise<void> => {
    const { method = "", url, rawHeaders } = incoming;
    const headers = new Headers();
    for (let at = 0; at < rawHeaders.length; at += 2) headers.append(rawHeaders[at] ?? "", rawHeaders[at + 1] ?? "");
    const hasBody = method !== "GET" && method !== "HEAD";
    const body = hasBody ? { body: ReadableStream.from(incoming), duplex: "half" as const } : {};
    const request = new Request(`http://127.0.0.1${url}`, { method, headers, ...body });
    const isOwn = new URL(request.url).pathname === mount;
    const response = isOwn ? await handle(request) : new Response("", { status: 404 });
    outgoing.writeHead(response.status, Object.fromEntries(response.headers)).end(await response.text());
    if (!incoming.complete) outgoing.once("finish", () => incoming.destroy());
  };
}

export interface Sent {
  readonly method?: string;
  readonly path?: string;
  /** Pairs of names and values, since a name may come twice. */
  readonly headers?: readonly (readonly [string, string])[];
  readonly body?: Uint8Array | readonly Uint8Array[];
  /** Leave the body without an end. */
  readonly isOpen?: boolean;
}

export interface Got {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
}

/** Serves a door on 127.0.0.1. */
export async function openDoor(door: Door, receiver: Receiver) {
  const server = await door.serve(receiver);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const sockets = new Set<Socket>();
  server.on("connection", (socket: Socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
  });
  const { port } = server.address() as AddressInfo;
  const begin = (sent: Sent) => (door.protocol === "http2" ? beginHttp2(port, sent) : beginHttp(door, port, sent));
  return {
    port,
    server,
    /** Sends a request; `answer` rejects where the connection ends without one. */
    begin,
    send: (sent: Sent): Promise<Got> => begin(sent).answer,
    connections: () => sockets.size,
    async stop(): Promise<void> {
      const closed = once(server, "close");
      server.close();
      (server as Server).closeAllConnections?.();
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}

function partsOf(body: Sent["body"]): readonly Uint8Array[] {
  if (body === undefined) return [];
  return body instanceof Uint8Array ? [body] : body;
}

/** Its end, whether it failed or not. */
async function closeOf(stream: EventEmitter): Promise<void> {
  await new Promise<void>((resolve) => stream.once("close", resolve));
}

function beginHttp({ protocol }: Door, port: number, sent: Sent) {
  const { method = "POST", path = mount, headers = [], body, isOpen = false } = sent;
  const ask = protocol === "https" ? requestHttps : requestHttp;
  const asking = ask({ host: "127.0.0.1", port, method, path, ca: authority, agent: false });
  for (const [name, value] of headers) asking.appendHeader(name, value);
  asking.on("error", () => {});
  const answer = (async () => {
    const [response] = (await once(asking, "response")) as [IncomingMessage];
    let text = "";
    for await (const chunk of response.setEncoding("utf8")) text += chunk;
    return { status: response.statusCode ?? 0, headers: response.headers, text };
  })();
  answer.catch(() => {});
  for (const part of partsOf(body)) asking.write(part);
  if (!isOpen) asking.end();
  const finish = (rest: Uint8Array) => void asking.end(rest);
  return { answer, finish, abort: () => void asking.destroy(), closed: closeOf(asking) };
}

function beginHttp2(port: number, sent: Sent) {
  const { method = "POST", path = mount, headers = [], body, isOpen = false } = sent;
  const session = connect(`http://127.0.0.1:${port}`);
  session.on("error", () => {});
  const names = new Set(headers.map(([name]) => name));
  const valuesOf = (wanted: string) => headers.filter(([name]) => name === wanted).map(([, value]) => value);
  const grouped = Object.fromEntries([...names].map((name) => [name, valuesOf(name)]));
  const stream = session.request({ ...grouped, ":method": method, ":path": path }, { endStream: false });
  stream.on("error", () => {});
  const answer = (async () => {
    const [response] = (await once(stream, "response")) as [IncomingHttpHeaders & { ":status"?: number }];
    let text = "";
    stream.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
    // Not for await: the server may end the stream before it has been sent whole.
    await once(stream, "end");
    session.close();
    return { status: response[":status"] ?? 0, headers: response, text };
  })();
  answer.catch(() => session.destroy());
  for (const part of partsOf(body)) stream.write(part);
  if (!isOpen) stream.end();
  const finish = (rest: Uint8Array) => void stream.end(rest);
  return { answer, finish, abort: () => void session.destroy(), closed: closeOf(stream) };
}
