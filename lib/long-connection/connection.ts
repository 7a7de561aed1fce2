import { WebSocket } from "ws";
import { type Clock, withDeadline } from "../clock.ts";
import { DeadlineError } from "../errors.ts";
import { type ClientConfig, type Discovery, mergeConfig, readRefusal } from "../feishu/discovery.ts";
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
import { type ReceiverPorts, receive } from "../receiving/receiver.ts";
import { publish } from "../trace/trace.ts";

export interface ConnectionOptions {
  readonly appId: string;
  readonly ports: ReceiverPorts;
  /** How long a message may take, from its first part; a callback's port keeps its own, shorter deadline. */
  readonly answerWithinMs?: number;
  readonly clock: Clock;
  /** Told on each change. */
  readonly onConnected?: (isConnected: boolean) => void;
}

/** How a connection ended. `silent`: it stood, and its peer was gone. */
export interface End {
  readonly kind: Exclude<Discovery["kind"], "connect"> | "silent";
  readonly code?: number | undefined;
  readonly reason: string;
  readonly wasOpen: boolean;
  /** What holds for the next one: the server may have changed it meanwhile. */
  readonly config: ClientConfig;
}

type Timer = "handshake" | "ping" | "watch" | "unread" | "finish";

const handshakeWithinMs = 10_000;
/** Silence beyond the ping interval that means the peer is gone; with the new connection's own time it stays under 10 s. */
const silenceMs = 8_500;
/**
 * Messages in hand, and the bytes of their frames. A message is in hand until the kernel has taken its reply. Above, the
 * socket is not read, and the server keeps the rest; what the last read brought is still taken: 64 KiB of frames.
 */
const mostInHand = { messages: 64, bytes: 32 * 1024 * 1024 };
const frameLimitBytes = 16 * 1024 * 1024;
/** The platform waits for 3 s; the way there and back is not ours to spend. */
const usualAnswerMs = 2_600;
/** The platform has given up a reply by then. */
const unreadWithinMs = 5_000;
const finishWithinMs = 5_000;
const closeWithinMs = 1_000;

/**
 * Dials, serves the connection until it ends, and says how it did. An abort of `signal` ends it in good order: no
 * more is read, what is in hand is answered for up to 5 s, and the socket is closed. Never rejects, and once it
 * resolves, no timer is set and the socket is closed, or its end has been ordered.
 */
export function serveConnection(
  { url, serviceId, config: found }: Discovery & { kind: "connect" },
  options: ConnectionOptions,
  signal: AbortSignal,
): Promise<End> {
  const { clock } = options;
  let config = found;
  let wasOpen = false;
  let isOver = false;
  const inHand = { messages: 0, bytes: 0 };
  /** Frames that the kernel has not taken. */
  let unread = 0;
  const idle = Promise.withResolvers<void>();
  const timers = new Map<Timer, () => void>();
  const { promise, resolve } = Promise.withResolvers<End>();
  const joiner = partJoiner((count) => ignore("incomplete", { count }));
  const socket = new WebSocket(url, {
    maxPayload: frameLimitBytes,
    perMessageDeflate: false,
    followRedirects: false,
  });
  socket.binaryType = "nodebuffer";

  const stopTimer = (name: Timer) => {
    timers.get(name)?.();
    timers.delete(name);
  };
  const startTimer = (name: Timer, ms: number, fire: () => void) => {
    stopTimer(name);
    if (!isOver) timers.set(name, clock.after(ms, fire));
  };
  const end = (result: Omit<End, "wasOpen" | "config">) => {
    if (isOver) return;
    isOver = true;
    for (const cancel of timers.values()) cancel();
    signal.removeEventListener("abort", leave);
    idle.resolve();
    // Before the outcome is told, so that the next socket is never beside this one. Its own errors are heard below.
    if (socket.readyState !== WebSocket.CLOSED) socket.terminate();
    if (wasOpen) options.onConnected?.(false);
    resolve({ ...result, wasOpen, config });
  };

  /** Without it, a peer that sends and never reads would hold its messages in hand until the watch ends them. */
  const expectReader = () =>
    startTimer("unread", unreadWithinMs, () => end({ kind: "retry", reason: "the peer does not read its replies" }));
  /** Resolves once the kernel has taken the frame, or the socket has closed. */
  const send = (frame: Frame) =>
    new Promise<void>((resolve) => {
      if (socket.readyState !== WebSocket.OPEN) return resolve();
      if (unread++ === 0) expectReader();
      socket.send(encodeFrame(frame), () => {
        if (--unread === 0) stopTimer("unread");
        else expectReader();
        resolve();
      });
    });
  const ping = () => {
    void send(pingFrame(serviceId));
    startTimer("ping", config.pingIntervalSeconds * 1000, ping);
  };
  /** Whatever comes is a sign of life. */
  const watch = () => {
    if (signal.aborted) return;
    startTimer("watch", config.pingIntervalSeconds * 1000 + silenceMs, () =>
      end({ kind: "silent", reason: "nothing came within the ping interval" }),
    );
  };
  const configure = (given: unknown) => {
    const before = config.pingIntervalSeconds;
    config = mergeConfig(config, given);
    if (config.pingIntervalSeconds === before) return;
    startTimer("ping", config.pingIntervalSeconds * 1000, ping);
    // With the interval of before, a longer one would pass for silence.
    watch();
  };

  const isFull = () => inHand.messages >= mostInHand.messages || inHand.bytes >= mostInHand.bytes;
  /** @param size The last frame's bytes: the reply repeats its headers. */
  async function serve(message: Message, size: number): Promise<void> {
    const bytes = size + message.payload.length;
    inHand.messages++;
    inHand.bytes += bytes;
    if (isFull()) socket.pause();
    try {
      const reply = await answer(message, options);
      await send(replyFrame(message.frame, reply, clock.nowMs() - message.sinceMs));
    } finally {
      inHand.messages--;
      inHand.bytes -= bytes;
      if (inHand.messages === 0 && signal.aborted) idle.resolve();
      if (socket.isPaused && !isFull() && !signal.aborted) socket.resume();
    }
  }

  async function leave(): Promise<void> {
    if (socket.readyState !== WebSocket.OPEN) return end({ kind: "retry", reason: "it was stopped" });
    socket.pause();
    stopTimer("ping");
    stopTimer("watch");
    startTimer("finish", finishWithinMs, idle.resolve);
    if (inHand.messages > 0) await idle.promise;
    // A peer that does not close as well must not hold the process.
    startTimer("finish", closeWithinMs, () => end({ kind: "retry", reason: "it was stopped" }));
    socket.resume();
    socket.close(1000);
  }

  function ignore(reason: string, facts?: Readonly<Record<string, number>>): void {
    publish({ stage: "ignored", level: "warn", app: options.appId, facts: { reason, ...facts } });
  }

  signal.addEventListener("abort", leave, { once: true });
  startTimer("handshake", handshakeWithinMs, () =>
    end({ kind: "retry", reason: "the connection did not stand in time" }),
  );
  socket.on("open", () => {
    stopTimer("handshake");
    wasOpen = true;
    options.onConnected?.(true);
    publish({ stage: "connected", level: "info", app: options.appId });
    ping();
    watch();
  });
  socket.on("unexpected-response", (_request, response) =>
    end(readRefusal(response.statusCode ?? 0, response.headers)),
  );
  socket.on("error", (error) => end({ kind: "retry", reason: `the connection failed (${nameOf(error)})` }));
  socket.on("close", (code) => end({ kind: "retry", reason: `the connection was closed (${code})` }));
  socket.on("ping", watch);
  socket.on("message", (data: Buffer, isBinary) => {
    // What was read before the pause, or comes while the socket closes: not answered, so it is pushed again.
    if (signal.aborted) return;
    watch();
    const frame = isBinary ? decodeFrame(data) : undefined;
    if (frame === undefined) return ignore("frame", { size: data.length });
    const type = headerOf(frame, "type");
    if (frame.method === controlMethod) {
      if (type === "pong" && frame.payload !== undefined) configure(parseObject(Buffer.from(frame.payload).toString()));
      return;
    }
    if (frame.method !== dataMethod || (type !== "event" && type !== "card")) return ignore("type");
    const message = joiner.add(frame, clock.nowMs());
    if (message === "invalid") return ignore("part");
    if (message !== "incomplete") void serve(message, data.length);
  });
  return promise;
}

/**
 * What a message is answered with: 200 once it is stored or quarantined, or the callback's answer; 500 where that
 * failed, so that the platform pushes again. Never rejects.
 */
async function answer(
  { frame, payload, sinceMs }: Message,
  { appId, ports, clock, answerWithinMs = usualAnswerMs }: ConnectionOptions,
): Promise<Reply> {
  const elapsedMs = () => clock.nowMs() - sinceMs;
  const requestId = headerOf(frame, "trace_id") || null;
  try {
    const envelope = openMessage(payload, { appId, requestId });
    // An old subscription's frame may hold anything; only what is known to be a callback is answered.
    if (headerOf(frame, "type") === "card" && envelope.kind !== "callback") {
      publish({ stage: "ignored", level: "error", app: appId, requestId, facts: { reason: "card" } });
      return { code: 500 };
    }
    const late = () => new DeadlineError(`Cannot store the message: ${answerWithinMs} ms have passed. Check the queue`);
    const { status, body } = await withDeadline(clock, { ms: answerWithinMs - elapsedMs(), error: late }, (signal) =>
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

/** A failure's code or class: its message may hold the address, and with it the ticket. */
export function nameOf(error: unknown): string {
  const { code, name, cause } = Object(error) as { code?: unknown; name?: unknown; cause?: unknown };
  const inner = cause === undefined ? undefined : (Object(cause) as { code?: unknown }).code;
  return String(inner ?? code ?? name ?? "unknown");
}
