import type { WebSocket } from "ws";
import { controlMethod, dataMethod, decodeFrame, encodeFrame, type Frame, headerOf } from "../../feishu/frame.ts";

/** In seconds, but for the count; members that are left out are not said. */
export interface ClientConfigJson {
  readonly ReconnectCount?: number;
  readonly ReconnectInterval?: number;
  readonly ReconnectNonce?: number;
  readonly PingInterval?: number;
}

/** One client's connection, as the platform sees it. */
export interface SimulatedConnection {
  readonly appId: string;
  readonly deviceId: string;
  /** Frames that came, the newest last: a thousand at most. */
  readonly received: readonly Frame[];
  send(frame: Frame): void;
  /** Any bytes, or a text, as no platform would send them. */
  sendRaw(data: Uint8Array | string): void;
  /** Goes deaf and dumb, as a network does that loses a route: the socket stays open. */
  blackhole(): void;
  /** Closes it; without a code it is cut. */
  drop(code?: number): void;
}

const keptFrames = 1_000;

/** The platform's end of a client's socket: answers pings, and hands replies to whoever waits for them. */
export class Connection implements SimulatedConnection {
  readonly received: Frame[] = [];
  readonly appId: string;
  readonly deviceId: string;
  readonly #socket: WebSocket;
  readonly #config: () => ClientConfigJson | undefined;
  /** By message id. */
  readonly #waiting = new Map<string, PromiseWithResolvers<Frame>>();
  #isBlackhole = false;

  constructor(socket: WebSocket, appId: string, deviceId: string, config: () => ClientConfigJson | undefined) {
    this.#socket = socket;
    this.#config = config;
    this.appId = appId;
    this.deviceId = deviceId;
    socket.on("error", () => socket.terminate());
    socket.on("close", () => {
      const ended = Object.assign(new Error("the connection ended"), { code: "ECONNRESET" });
      for (const { reject } of this.#waiting.values()) reject(ended);
    });
    socket.on("message", (data: Buffer, isBinary) => {
      const frame = isBinary && !this.#isBlackhole ? decodeFrame(data) : undefined;
      if (frame !== undefined) this.#take(frame);
    });
  }

  #take(frame: Frame): void {
    this.received.push(frame);
    if (this.received.length > keptFrames) this.received.shift();
    if (frame.method === controlMethod && headerOf(frame, "type") === "ping") {
      const config = this.#config();
      const payload = config === undefined ? undefined : Buffer.from(JSON.stringify(config));
      this.send({ ...frame, headers: [["type", "pong"]], payload });
    } else if (frame.method === dataMethod) {
      this.#waiting.get(headerOf(frame, "message_id") ?? "")?.resolve(frame);
    }
  }

  get isOpen(): boolean {
    return this.#socket.readyState === this.#socket.OPEN;
  }

  send(frame: Frame): void {
    this.sendRaw(encodeFrame(frame));
  }

  sendRaw(data: Uint8Array | string): void {
    if (!this.#isBlackhole && this.isOpen) this.#socket.send(data);
  }

  /** The client's reply to a message; rejects when the connection ends first. {@link forget} is due after it. */
  replyTo(messageId: string): Promise<Frame> {
    const waiting = Promise.withResolvers<Frame>();
    this.#waiting.set(messageId, waiting);
    // Heard by the delivery, unless its deadline was first.
    waiting.promise.catch(() => {});
    return waiting.promise;
  }

  forget(messageId: string): void {
    this.#waiting.delete(messageId);
  }

  blackhole(): void {
    this.#isBlackhole = true;
    this.#socket.pause();
  }

  drop(code?: number): void {
    if (code === undefined) this.#socket.terminate();
    else this.#socket.close(code);
  }
}
