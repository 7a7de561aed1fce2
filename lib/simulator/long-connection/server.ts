import { randomBytes as secureBytes } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import { WebSocketServer } from "ws";
import { type Clock, withDeadline } from "../../clock.ts";
import { discoveryPath } from "../../feishu/discovery.ts";
import { dataMethod, type Frame } from "../../feishu/frame.ts";
import { parseObject } from "../../feishu/json.ts";
import { guard, listenOnLoopback } from "../loopback.ts";
import type { Deliver } from "../platform/platform.ts";
import { ackDeadlineMs, type PushResult, type RandomBytes } from "../platform/push.ts";
import { type ClientConfigJson, Connection, type SimulatedConnection } from "./connection.ts";

/** The platform's own: each client counts, wherever it runs. */
export const mostConnections = 50;
const codes = { wrongSecret: 514, forbidden: 403, limit: 1_000_040_350, noCredential: 1_000_040_344, badParam: 9_499 };
/** A discovery call is small; a call of the Open API carries a message. */
const bodyLimits = { discovery: 64 * 1024, openApi: 256 * 1024 };
const serviceId = 33_554_678;
const socketPath = "/ws/v2";

export interface SimulatedApp {
  readonly appId: string;
  readonly appSecret: string;
  /** Answered 403: switched off, or no self-built app. */
  readonly isForbidden?: boolean;
}

export interface LongConnectionServerOptions {
  readonly apps: readonly SimulatedApp[];
  /** Origin of the simulated Open API: the platform has one domain for both, so its calls are passed on. */
  readonly openApi?: string | undefined;
  readonly clock: Clock;
  /** In [0, 1): which of an app's clients gets a message, and the order of its parts. */
  readonly random: () => number;
  readonly randomBytes?: RandomBytes;
  /** What discovery and pongs say. */
  readonly config?: ClientConfigJson;
  readonly port?: number;
}

export interface FrameDelivery {
  readonly appId: string;
  /** `event` carries events and callbacks. */
  readonly type?: "event" | "card";
  /** Sent in so many parts, in an order of its own. */
  readonly parts?: number;
  readonly requestId?: string;
  readonly deadlineMs?: number;
}

/**
 * The platform's side of the long connection on 127.0.0.1: discovery, and a WebSocket that hands each message to
 * one random client of the app and waits 3 s for its reply.
 * https://open.feishu.cn/document/server-docs/event-subscription-guide/event-subscription-configure-/request-url-configuration-case
 */
export async function startLongConnectionServer(options: LongConnectionServerOptions) {
  const { clock, random, randomBytes = secureBytes } = options;
  const apps = new Map(options.apps.map((app) => [app.appId, app]));
  /** The app a ticket is for. */
  const tickets = new Map<string, string>();
  const connections = new Set<Connection>();
  /** Answers to give instead of the right ones, the next first. */
  const faults: DiscoveryAnswer[] = [];
  const refusals: Readonly<Record<string, string>>[] = [];
  let config = options.config;
  let discoveries = 0;
  let messages = 0n;

  const server = createServer((request, response) => {
    void respond(request, response).catch(() => response.destroy());
  });
  const sockets = new WebSocketServer({ noServer: true, perMessageDeflate: false });
  server.on("upgrade", upgrade);
  const host = `127.0.0.1:${await listenOnLoopback(guard(server), options.port)}`;

  return {
    /** What a client is told to be its domain. */
    origin: `http://${host}`,
    get discoveries(): number {
      return discoveries;
    },
    /** What stands now, of one app or of all. */
    connections: (appId?: string): readonly SimulatedConnection[] =>
      [...connections].filter((one) => appId === undefined || one.appId === appId),
    /** The next discovery calls get these answers, whoever asks. */
    answerNext: (...answers: DiscoveryAnswer[]) => void faults.push(...answers),
    /** The next upgrades are refused with these headers. */
    refuseNext: (...headers: Readonly<Record<string, string>>[]) => void refusals.push(...headers),
    configure: (next: ClientConfigJson) => {
      config = next;
    },
    deliver,
    async close(): Promise<void> {
      for (const connection of connections) connection.drop();
      server.closeAllConnections();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };

  async function respond(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = await textOf(request, options.openApi === undefined ? bodyLimits.discovery : bodyLimits.openApi);
    const isDiscovery = request.method === "POST" && request.url === discoveryPath;
    if (!isDiscovery && options.openApi !== undefined) return passOn(request, body, options.openApi, response);
    const { status, body: text } = isDiscovery ? discover(body) : said(404, { code: 404, msg: "not found" });
    response.writeHead(status, { "content-type": "application/json" }).end(text);
  }

  function discover(body: string): DiscoveryAnswer {
    discoveries++;
    const fault = faults.shift();
    if (fault !== undefined) return fault;
    const { AppID: appId, AppSecret: appSecret } = parseObject(body) ?? {};
    if (typeof appId !== "string" || typeof appSecret !== "string") {
      return said(400, { code: codes.badParam, msg: "Bad Request" });
    }
    if (appId === "" || appSecret === "") {
      return said(200, { code: codes.noCredential, msg: "app_id or app_secret is null" });
    }
    const app = apps.get(appId);
    if (app?.appSecret !== appSecret) return said(200, { code: codes.wrongSecret, msg: "auth failed" });
    if (app.isForbidden === true) return said(200, { code: codes.forbidden, msg: "forbidden" });
    if (isFull(appId)) return said(200, { code: codes.limit, msg: "exceed connection limit", data: null });
    const ticket = randomBytes(16).toString("hex");
    tickets.set(ticket, appId);
    const deviceId = String(7_412_300_000_000_000_000n + BigInt(discoveries));
    const query = new URLSearchParams({ device_id: deviceId, service_id: String(serviceId), ticket });
    const URL = `ws://${host}${socketPath}?${query}`;
    return said(200, { code: 0, msg: "", data: { URL, ClientConfig: config } });
  }

  function isFull(appId: string): boolean {
    return [...connections].filter((one) => one.appId === appId).length >= mostConnections;
  }

  function upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    socket.on("error", () => socket.destroy());
    const refuse = (headers: Readonly<Record<string, string>>): void => {
      const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
      socket.end(`HTTP/1.1 200 OK\r\n${lines.join("")}Content-Length: 0\r\nConnection: close\r\n\r\n`);
    };
    const [path, search = ""] = (request.url ?? "").split("?", 2);
    const query = new URLSearchParams(search);
    const ticket = query.get("ticket") ?? "";
    const appId = path === socketPath ? tickets.get(ticket) : undefined;
    // A ticket is good for one connection.
    tickets.delete(ticket);
    const refusal = refusals.shift();
    if (refusal !== undefined) {
      refuse(refusal);
    } else if (appId === undefined) {
      refuse({ "Handshake-Status": "514", "Handshake-Msg": "auth failed" });
    } else if (isFull(appId)) {
      const code = String(codes.limit);
      refuse({ "Handshake-Status": "514", "Handshake-Msg": "exceed conn limit", "Handshake-Autherrcode": code });
    } else {
      sockets.handleUpgrade(request, socket, head, (client) => {
        const connection = new Connection(client, appId, query.get("device_id") ?? "", () => config);
        connections.add(connection);
        client.on("close", () => connections.delete(connection));
      });
    }
  }

  /**
   * Gives a message to one client and judges its reply: 200 within the deadline is delivered. The body is the
   * callback's answer, where there is one. Total: a failure is a result.
   */
  async function deliver(text: string, delivery: FrameDelivery): Promise<PushResult> {
    const { appId, deadlineMs = ackDeadlineMs } = delivery;
    const startMs = clock.nowMs();
    const elapsedMs = () => clock.nowMs() - startMs;
    const failed = (problem: string, code: string): PushResult => ({
      ...{ status: null, ms: elapsedMs(), body: "", delivered: false, problem, code },
    });
    const candidates = [...connections].filter((one) => one.appId === appId && one.isOpen);
    const chosen = candidates[Math.floor(random() * candidates.length)];
    if (chosen === undefined) return failed("no client is connected", "ENOTCONN");

    const messageId = randomBytes(16).toString("hex");
    const reply = chosen.replyTo(messageId);
    for (const frame of framesOf(text, messageId, startMs, delivery)) chosen.send(frame);
    try {
      const late = () => Object.assign(new Error("the deadline is over"), { code: "ETIMEDOUT" });
      const { payload = new Uint8Array() } = await withDeadline(clock, { ms: deadlineMs, error: late }, () => reply);
      const { code, data } = parseObject(Buffer.from(payload).toString("utf8")) ?? {};
      const status = typeof code === "number" ? code : null;
      const body = typeof data === "string" ? Buffer.from(data, "base64").toString("utf8") : "";
      const delivered = status === 200;
      return { status, ms: elapsedMs(), body, delivered, ...(delivered ? {} : { problem: `replied ${status}` }) };
    } catch (error) {
      const { code = "ERROR" } = error as { code?: string };
      const isLate = code === "ETIMEDOUT";
      return failed(isLate ? `no reply within ${deadlineMs / 1000} s` : "the connection ended without a reply", code);
    } finally {
      chosen.forget(messageId);
    }
  }

  function framesOf(text: string, messageId: string, nowMs: number, delivery: FrameDelivery): readonly Frame[] {
    const { type = "event", parts = 1, requestId = randomBytes(16).toString("hex") } = delivery;
    messages += 1n;
    const bytes = Buffer.from(text, "utf8");
    const length = Math.ceil(bytes.length / parts);
    const frames = Array.from({ length: parts }, (_, seq): Frame => {
      const ids = { type, message_id: messageId, sum: String(parts), seq: String(seq), trace_id: requestId };
      return {
        // Ids that a double cannot hold.
        ...{ seqId: (1n << 60n) + messages, logId: (1n << 63n) + messages, service: serviceId, method: dataMethod },
        headers: Object.entries({ ...ids, timestamp: String(nowMs), instance_id: "simulator-1" }),
        payload: bytes.subarray(seq * length, (seq + 1) * length),
        logIdNew: requestId,
      };
    });
    return frames
      .map((frame) => ({ frame, order: random() }))
      .sort((a, b) => a.order - b.order)
      .map(({ frame }) => frame);
  }
}

export type LongConnectionServer = Awaited<ReturnType<typeof startLongConnectionServer>>;

/** Delivers over the long connection, to whichever client of the app is drawn. */
export function toLongConnection(
  server: Pick<LongConnectionServer, "deliver">,
  delivery: Omit<FrameDelivery, "requestId">,
): Deliver {
  return async ({ text }, { signal }) => {
    signal?.throwIfAborted();
    return server.deliver(text, delivery);
  };
}

interface DiscoveryAnswer {
  readonly status: number;
  readonly body: string;
}

function said(status: number, body: object): DiscoveryAnswer {
  return { status, body: JSON.stringify(body) };
}

/** A call of the Open API: over there it is answered. */
async function passOn(
  { method = "GET", url = "/", headers }: IncomingMessage,
  body: string,
  origin: string,
  response: ServerResponse,
): Promise<void> {
  const { authorization } = headers;
  const answer = await fetch(new URL(url, origin), {
    method,
    headers: {
      "content-type": headers["content-type"] ?? "application/json",
      ...(authorization === undefined ? {} : { authorization }),
    },
    ...(method === "GET" || method === "HEAD" ? {} : { body }),
  });
  const kept = [...answer.headers].filter(([name]) => name === "content-type" || name.startsWith("x-"));
  response.writeHead(answer.status, Object.fromEntries(kept)).end(await answer.text());
}

/** A request's body, as far as it may go. */
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
