import { randomBytes as secureBytes } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import { type WebSocket, WebSocketServer } from "ws";
import type { Clock } from "../../clock.ts";
import { discoveryPath } from "../../feishu/discovery.ts";
import { exchange } from "../../https.ts";
import { guard, listenOnLoopback } from "../loopback.ts";
import type { Deliver } from "../platform/platform.ts";
import type { RandomBytes } from "../platform/push.ts";
import { type ClientConfigJson, Connection, type SimulatedConnection } from "./connection.ts";
import { createDelivery, type FrameDelivery } from "./delivery.ts";
import { codes, createDiscovery, jsonAnswer, type SimulatedApp } from "./discovery.ts";

/** The platform's limit for one app, over all its processes. */
const maxConnections = 50;
/** A discovery call is small; a call of the Open API contains a message. */
const bodyLimits = { discovery: 64 * 1024, openApi: 256 * 1024 };
const socketPath = "/ws/v2";

type HandshakeHeaders = Readonly<Record<string, string>>;

export interface LongConnectionServerOptions {
  readonly apps: readonly SimulatedApp[];
  /** Origin of the simulated Open API. The platform has one domain for both, so calls of the Open API are forwarded. */
  readonly openApi?: string | undefined;
  readonly clock: Clock;
  /** In [0, 1). It chooses the client of the app that receives a message, and the order of the message's parts. */
  readonly random: () => number;
  readonly randomBytes?: RandomBytes;
  /** The client configuration in discovery answers and pongs. */
  readonly config?: ClientConfigJson | undefined;
  readonly port?: number;
}

/**
 * The platform's side of the long connection on 127.0.0.1: discovery, and a WebSocket server that sends each message to
 * one random client of the app and waits 3 s for its reply.
 * https://open.feishu.cn/document/server-docs/event-subscription-guide/event-subscription-configure-/request-url-configuration-case
 */
export async function startLongConnectionServer(options: LongConnectionServerOptions) {
  const { clock, random, randomBytes = secureBytes, openApi } = options;
  const connections = new Set<Connection>();
  const ofApp = (appId: string) => [...connections].filter((connection) => connection.appId === appId);
  const isFull = (appId: string) => ofApp(appId).length >= maxConnections;
  let config = options.config;
  const discovery = createDiscovery({ apps: options.apps, randomBytes, isFull, config: () => config });
  const refusals: HandshakeHeaders[] = [];

  const server = createServer((request, response) => {
    void respond(request, response).catch(() => response.destroy());
  });
  const sockets = new WebSocketServer({ noServer: true, perMessageDeflate: false });
  server.on("upgrade", upgrade);
  const host = `127.0.0.1:${await listenOnLoopback(guard(server), options.port)}`;

  async function respond(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = await textOf(request, openApi === undefined ? bodyLimits.discovery : bodyLimits.openApi);
    const isDiscovery = request.method === "POST" && request.url === discoveryPath;
    if (!isDiscovery && openApi !== undefined) return forward(request, body, openApi, response);
    const notFound = () => jsonAnswer(404, { code: 404, msg: "not found" });
    const answer = isDiscovery ? discovery.answer(body, `ws://${host}${socketPath}`) : notFound();
    response.writeHead(answer.status, { "content-type": "application/json" }).end(answer.body);
  }

  function upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    socket.on("error", () => socket.destroy());
    const [path, search = ""] = (request.url ?? "").split("?", 2);
    const query = new URLSearchParams(search);
    const appId = path === socketPath ? discovery.redeem(query.get("ticket") ?? "") : undefined;
    const refusal = refusals.shift() ?? handshakeRefusal(appId);
    if (refusal !== undefined) refuse(socket, refusal);
    else sockets.handleUpgrade(request, socket, head, (client) => accept(client, String(appId), query));
  }

  function accept(client: WebSocket, appId: string, query: URLSearchParams): void {
    const connection = new Connection(client, appId, query.get("device_id") ?? "", () => config);
    connections.add(connection);
    client.on("close", () => connections.delete(connection));
  }

  function handshakeRefusal(appId: string | undefined): HandshakeHeaders | undefined {
    if (appId === undefined) return { "Handshake-Status": "514", "Handshake-Msg": "auth failed" };
    if (!isFull(appId)) return undefined;
    const code = String(codes.limit);
    return { "Handshake-Status": "514", "Handshake-Msg": "exceed conn limit", "Handshake-Autherrcode": code };
  }

  return {
    /** What clients use as the platform's domain. */
    origin: `http://${host}`,
    get discoveries(): number {
      return discovery.count();
    },
    /** The open connections, of one app or of all. */
    connections: (appId?: string): readonly SimulatedConnection[] =>
      appId === undefined ? [...connections] : ofApp(appId),
    /** The next discovery calls, of any app, get these answers. */
    answerNext: discovery.answerNext,
    /** The next WebSocket handshakes are refused with these headers. */
    refuseNext: (...headers: HandshakeHeaders[]) => void refusals.push(...headers),
    configure: (next: ClientConfigJson) => {
      config = next;
    },
    deliver: createDelivery({ connections, clock, random, randomBytes }),
    async close(): Promise<void> {
      for (const connection of connections) connection.drop();
      server.closeAllConnections();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

export type LongConnectionServer = Awaited<ReturnType<typeof startLongConnectionServer>>;

/** Delivers over the long connection, to a random client of the app. */
export function toLongConnection(
  server: Pick<LongConnectionServer, "deliver">,
  delivery: Omit<FrameDelivery, "requestId">,
): Deliver {
  return async ({ text }, { signal }) => {
    signal?.throwIfAborted();
    return server.deliver(text, delivery);
  };
}

/** The platform refuses a handshake with status 200 and the reason in headers. */
function refuse(socket: Duplex, headers: HandshakeHeaders): void {
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  socket.end(`HTTP/1.1 200 OK\r\n${lines.join("")}Content-Length: 0\r\nConnection: close\r\n\r\n`);
}

/** Forwards a call to the simulated Open API, and its answer back. */
async function forward(
  { method = "GET", url = "/", headers }: IncomingMessage,
  body: string,
  origin: string,
  response: ServerResponse,
): Promise<void> {
  const { "content-type": type = "application/json", authorization } = headers;
  const sent = { "content-type": type, ...(authorization === undefined ? undefined : { authorization }) };
  const options = { method, headers: sent, body: body === "" ? undefined : body, signal: undefined };
  const answer = await exchange(new URL(url, origin), options);
  const kept = [...answer.headers].filter(([name]) => name === "content-type" || name.startsWith("x-"));
  response.writeHead(answer.status, Object.fromEntries(kept)).end(answer.text);
}

/** @throws {RangeError} The body is longer than `limitBytes`. */
async function textOf(request: IncomingMessage, limitBytes: number): Promise<string> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > limitBytes) throw new RangeError("the body is too long");
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}
