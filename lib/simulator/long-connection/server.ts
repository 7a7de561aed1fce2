import { randomBytes as secureBytes } from "node:crypto";
import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import { type WebSocket, WebSocketServer } from "ws";
import type { Clock } from "../../clock.ts";
import { discoveryPath } from "../../feishu/discovery.ts";
import { http } from "../../node-http.ts";
import { guard, listenOnLoopback } from "../loopback.ts";
import { type Handle, listener } from "../open-api/server.ts";
import type { Deliver } from "../platform/platform.ts";
import type { RandomBytes } from "../platform/push.ts";
import { type ClientConfigJson, Connection, type SimulatedConnection } from "./connection.ts";
import { createDelivery, type FrameDelivery } from "./delivery.ts";
import { codes, createDiscovery, jsonAnswer, platformConfig, type SimulatedApp } from "./discovery.ts";

/** The platform's limit for one app, over all its processes. */
const maxConnections = 50;
const socketPath = "/ws/v2";

type HandshakeHeaders = Readonly<Record<string, string>>;

interface LongConnectionServerOptions {
  readonly apps: readonly SimulatedApp[];
  /** The simulated Open API: the platform has one domain for both. */
  readonly openApi?: Handle | undefined;
  readonly clock: Clock;
  /** In [0, 1). It chooses the client of the app that receives a message, and the order of the message's parts. */
  readonly random: () => number;
  readonly randomBytes?: RandomBytes;
  /** The client configuration in discovery answers and pongs; by default the platform's. */
  readonly config?: ClientConfigJson | undefined;
  /** Called when a client has connected, or its connection has ended, with the number of the app's connections. */
  readonly onConnections?: ((count: number, appId: string) => void) | undefined;
  readonly port?: number;
}

/**
 * The platform's side of the long connection on 127.0.0.1: discovery, and a WebSocket server that sends each message to
 * one random client of the app and waits 3 s for its reply.
 * https://open.feishu.cn/document/server-docs/event-subscription-guide/event-subscription-configure-/request-url-configuration-case
 */
export async function startLongConnectionServer(options: LongConnectionServerOptions) {
  const { clock, random, randomBytes = secureBytes, openApi = nothingHere, onConnections = () => {} } = options;
  const connections = new Set<Connection>();
  const ofApp = (appId: string) => [...connections].filter((connection) => connection.appId === appId);
  const isFull = (appId: string) => ofApp(appId).length >= maxConnections;
  let { config = platformConfig } = options;
  const discovery = createDiscovery({ apps: options.apps, randomBytes, isFull, config: () => config });
  const refusals: HandshakeHeaders[] = [];

  const server = http.createServer(
    listener(async (request, signal) => {
      const isDiscovery = request.method === "POST" && request.url === discoveryPath;
      if (!isDiscovery) return openApi(request, signal);
      const answer = discovery.answer(String(request.body ?? ""), `ws://${host}${socketPath}`);
      return { ...answer, headers: { "content-type": "application/json" } };
    }),
  );
  const sockets = new WebSocketServer({ noServer: true, perMessageDeflate: false });
  server.on("upgrade", upgrade);
  const host = `127.0.0.1:${await listenOnLoopback(guard(server), options.port)}`;

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
    onConnections(ofApp(appId).length, appId);
    client.on("close", () => {
      connections.delete(connection);
      onConnections(ofApp(appId).length, appId);
    });
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
  return async ({ kind, text }, { signal }) => {
    signal?.throwIfAborted();
    const result = await server.deliver(text, delivery);
    // A reply without an answer: the Go client sends `null`, the others send nothing.
    const isEmpty = kind === "callback" && result.delivered && (result.body === "" || result.body === "null");
    return isEmpty ? { ...result, body: "{}" } : result;
  };
}

async function nothingHere() {
  return { ...jsonAnswer(404, { code: 404, msg: "not found" }), headers: {} };
}

/** The platform refuses a handshake with status 200 and the reason in headers. */
function refuse(socket: Duplex, headers: HandshakeHeaders): void {
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  socket.end(`HTTP/1.1 200 OK\r\n${lines.join("")}Content-Length: 0\r\nConnection: close\r\n\r\n`);
}
