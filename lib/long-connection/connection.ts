import type { IncomingMessage } from "node:http";
import { WebSocket } from "ws";
import { type Clock, withDeadline } from "../clock.ts";
import { DeadlineError } from "../errors.ts";
import { type ClientConfig, type Discovery, mergeConfig, type Refusal, readRefusal } from "../feishu/discovery.ts";
import {
  controlMethod,
  dataMethod,
  decodeFrame,
  encodeFrame,
  type Frame,
  headerOf,
  pingFrame,
  type Reply,
  replyFrame,
} from "../feishu/frame.ts";
import { parseObject } from "../feishu/json.ts";
import { openMessage } from "../feishu/open.ts";
import { type Message, partJoiner } from "../feishu/parts.ts";
import { agentFor, bytesOf, networkCode, type ProxyEnv } from "../https.ts";
import { type ReceiverPorts, receive } from "../receiving/receiver.ts";
import { publish } from "../trace/trace.ts";

export interface ConnectionOptions {
  readonly appId: string;
  readonly proxyEnv?: ProxyEnv;
  readonly ports: ReceiverPorts;
  /** How long a message may take, from its first part on. A callback's port keeps a shorter deadline of its own. */
  readonly answerWithinMs?: number;
  readonly clock: Clock;
  /** Called at each change. */
  readonly onConnected?: (isConnected: boolean) => void;
}

/** How a connection ended. `silent`: it was open, and the peer is gone. */
export interface End {
  readonly kind: Refusal["kind"] | "silent";
  readonly code?: number | undefined;
  readonly reason: string;
  readonly wasOpen: boolean;
  /** For the next connection: the server may have changed it. */
  readonly config: ClientConfig;
}

type Timer = "handshake" | "ping" | "watch" | "unread" | "finish";

const handshakeWithinMs = 10_000;
/** After this silence beyond the ping interval, the peer is gone. A new connection is open within 10 s of it. */
const silenceMs = 8_500;
/**
 * Limits for the messages in hand: those whose reply the kernel has not taken, with the bytes of their frames. At a
 * limit, the socket is paused and the server keeps the rest. What was read before is still taken: up to 64 KiB of frames.
 */
const mostInHand = { messages: 64, bytes: 32 * 1024 * 1024 };
/** The longest answer in text. */
export const answerLimitBytes = 64 * 1024;
const frameLimitBytes = 16 * 1024 * 1024;
/** The platform waits for 3 s; the rest is for the network. */
const defaultAnswerMs = 2_600;
/** After this time, the platform does not wait for the reply any more. */
const unreadWithinMs = 5_000;
const finishWithinMs = 5_000;
const closeWithinMs = 1_000;

/**
 * One WebSocket, from dialling to its end. An abort of `signal` ends it in order: nothing more is read, messages in hand
 * are answered for up to 5 s, and the socket is closed.
 */
export class Connection {
  readonly #options: ConnectionOptions;
  readonly #serviceId: number;
  readonly #signal: AbortSignal;
  readonly #socket: WebSocket;
  readonly #joiner = partJoiner((count) => this.#ignore("incomplete", { count }));
  readonly #timers = new Map<Timer, () => void>();
  readonly #outcome = Promise.withResolvers<End>();
  /** Never rejects. Once it resolves, no timer is set, and the socket is closed or was told to close. */
  readonly ended = this.#outcome.promise;
  /** Resolves when a stopped connection has no message in hand. */
  readonly #idle = Promise.withResolvers<void>();
  #config: ClientConfig;
  #wasOpen = false;
  #isOver = false;
  #messagesInHand = 0;
  #bytesInHand = 0;
  /** Number of frames that the kernel has not taken. */
  #unread = 0;

  constructor(target: Discovery & { kind: "connect" }, options: ConnectionOptions, signal: AbortSignal) {
    this.#options = options;
    this.#serviceId = target.serviceId;
    this.#config = target.config;
    this.#signal = signal;
    this.#socket = new WebSocket(target.url, {
      agent: agentFor(new URL(target.url), options.proxyEnv),
      maxPayload: frameLimitBytes,
      perMessageDeflate: false,
      followRedirects: false,
    });
    this.#socket.binaryType = "nodebuffer";
    signal.addEventListener("abort", this.#leave, { once: true });
    this.#start("handshake", handshakeWithinMs, () => this.#fail("the connection did not open in time"));
    this.#socket
      .on("open", () => this.#open())
      .on("unexpected-response", (_request, response) => this.#refuse(response, new URL(target.url)))
      .on("error", (error) => this.#fail(`the connection failed (${networkCode(error)})`))
      .on("close", (code) => this.#fail(`the connection was closed (${code})`))
      .on("ping", () => this.#watch())
      .on("message", (data: Buffer, isBinary) => this.#read(data, isBinary));
  }

  #end(result: Omit<End, "wasOpen" | "config">): void {
    if (this.#isOver) return;
    this.#isOver = true;
    for (const cancel of this.#timers.values()) cancel();
    this.#signal.removeEventListener("abort", this.#leave);
    this.#idle.resolve();
    // Before `ended` resolves, so that there are never two sockets. A later "error" event finds the connection over.
    if (this.#socket.readyState !== WebSocket.CLOSED) this.#socket.terminate();
    if (this.#wasOpen) this.#options.onConnected?.(false);
    this.#outcome.resolve({ ...result, wasOpen: this.#wasOpen, config: this.#config });
  }

  /** The body's time is the handshake's. Any value of the address may be its ticket. */
  async #refuse(response: IncomingMessage, { searchParams }: URL): Promise<void> {
    const body = await bytesOf(response, answerLimitBytes).then(String, () => "");
    const secrets = [...searchParams.values()].filter(({ length }) => length > 7);
    this.#end(readRefusal(response.statusCode ?? 0, response.headers, body, secrets));
  }

  #fail(reason: string): void {
    this.#end({ kind: "retry", reason });
  }

  #start(timer: Timer, ms: number, fire: () => void): void {
    this.#stop(timer);
    if (!this.#isOver) this.#timers.set(timer, this.#options.clock.after(ms, fire));
  }

  #stop(timer: Timer): void {
    this.#timers.get(timer)?.();
    this.#timers.delete(timer);
  }

  #open(): void {
    this.#stop("handshake");
    this.#wasOpen = true;
    this.#options.onConnected?.(true);
    publish({ stage: "connected", level: "info", app: this.#options.appId });
    this.#ping();
    this.#watch();
  }

  get #pingMs(): number {
    return this.#config.pingIntervalSeconds * 1000;
  }

  #ping(): void {
    void this.#send(pingFrame(this.#serviceId));
    this.#start("ping", this.#pingMs, () => this.#ping());
  }

  /** Waits for the next sign of life: any message or ping. */
  #watch(): void {
    if (this.#signal.aborted) return;
    const reason = "nothing came within the ping interval";
    this.#start("watch", this.#pingMs + silenceMs, () => this.#end({ kind: "silent", reason }));
  }

  #configure(pong: Uint8Array): void {
    const beforeMs = this.#pingMs;
    this.#config = mergeConfig(this.#config, parseObject(Buffer.from(pong).toString()));
    if (this.#pingMs === beforeMs) return;
    this.#start("ping", this.#pingMs, () => this.#ping());
    // With the earlier interval, a longer one would look like silence.
    this.#watch();
  }

  #read(data: Buffer, isBinary: boolean) {
    // Read before the pause, or while the socket closes: not answered, so the platform pushes it again.
    if (this.#signal.aborted) return;
    this.#watch();
    const frame = isBinary ? decodeFrame(data) : undefined;
    if (frame === undefined) return this.#ignore("frame", { size: data.length });
    const type = headerOf(frame, "type");
    if (frame.method === controlMethod) {
      if (type === "pong" && frame.payload !== undefined) this.#configure(frame.payload);
      return;
    }
    if (frame.method !== dataMethod || (type !== "event" && type !== "card")) return this.#ignore("type");
    const message = this.#joiner.add(frame, this.#options.clock.nowMs());
    if (message === "invalid") return this.#ignore("part");
    if (message !== "incomplete") void this.#serve(message, data.length);
  }

  #ignore(reason: string, facts?: Readonly<Record<string, number>>): void {
    publish({ stage: "ignored", level: "warn", app: this.#options.appId, facts: { reason, ...facts } });
  }

  /** @param size Bytes of the message's last frame, whose headers the reply repeats. */
  async #serve(message: Message, size: number): Promise<void> {
    const bytes = size + message.payload.length;
    this.#messagesInHand++;
    this.#bytesInHand += bytes;
    if (this.#isFull) this.#socket.pause();
    try {
      const reply = await answer(message, this.#options);
      await this.#send(replyFrame(message.frame, reply, this.#options.clock.nowMs() - message.sinceMs));
    } finally {
      this.#messagesInHand--;
      this.#bytesInHand -= bytes;
      if (this.#messagesInHand === 0 && this.#signal.aborted) this.#idle.resolve();
      if (this.#socket.isPaused && !this.#isFull && !this.#signal.aborted) this.#socket.resume();
    }
  }

  get #isFull(): boolean {
    return this.#messagesInHand >= mostInHand.messages || this.#bytesInHand >= mostInHand.bytes;
  }

  /** Resolves once the kernel has taken the frame, or the socket has closed. */
  #send(frame: Frame): Promise<void> {
    if (this.#socket.readyState !== WebSocket.OPEN) return Promise.resolve();
    if (this.#unread++ === 0) this.#expectReader();
    return new Promise((resolve) => {
      this.#socket.send(encodeFrame(frame), () => {
        if (--this.#unread === 0) this.#stop("unread");
        else this.#expectReader();
        resolve();
      });
    });
  }

  /** Ends the connection to a peer that sends but does not read, and so keeps its messages in hand. */
  #expectReader(): void {
    this.#start("unread", unreadWithinMs, () => this.#fail("the peer does not read its replies"));
  }

  readonly #leave = async (): Promise<void> => {
    if (this.#socket.readyState !== WebSocket.OPEN) return this.#fail("it was stopped");
    this.#socket.pause();
    this.#stop("ping");
    this.#stop("watch");
    this.#start("finish", finishWithinMs, this.#idle.resolve);
    if (this.#messagesInHand > 0) await this.#idle.promise;
    // The peer may not close its side.
    this.#start("finish", closeWithinMs, () => this.#fail("it was stopped"));
    this.#socket.resume();
    this.#socket.close(1000);
  };
}

/**
 * The reply to a message: 200 once it is stored or quarantined, or with the callback's answer; 500 if that failed, so
 * that the platform pushes it again. Never rejects.
 */
async function answer(
  { frame, payload, sinceMs }: Message,
  { appId, ports, clock, answerWithinMs = defaultAnswerMs }: ConnectionOptions,
): Promise<Reply> {
  const elapsedMs = () => clock.nowMs() - sinceMs;
  const requestId = headerOf(frame, "trace_id") || null;
  try {
    const envelope = openMessage(payload, { appId, requestId });
    // A frame of an old subscription may hold anything. Only a known callback is answered.
    if (headerOf(frame, "type") === "card" && envelope.kind !== "callback") {
      publish({ stage: "ignored", level: "error", app: appId, requestId, facts: { reason: "card" } });
      return { code: 500 };
    }
    const error = () =>
      new DeadlineError(`Cannot store the message: ${answerWithinMs} ms have passed. Check the queue`);
    const { status, body } = await withDeadline(clock, { ms: answerWithinMs - elapsedMs(), error }, (signal) =>
      receive(envelope, ports, { signal, elapsedMs }),
    );
    if (status !== 200) return { code: 500 };
    const isEmpty = envelope.kind !== "callback" || Object.keys(body).length === 0;
    return isEmpty ? { code: 200 } : { code: 200, answer: body };
  } catch (error) {
    publish({ stage: "unavailable", level: "error", app: appId, ms: elapsedMs(), requestId, error });
    return { code: 500 };
  }
}
