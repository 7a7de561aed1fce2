import type { WebSocket } from "ws";
import { controlMethod, dataMethod, decodeFrame, encodeFrame, type Frame, headerOf } from "../../feishu/frame.ts";

/** Times are in seconds. An absent member is not sent. */
export interface ClientConfigJson {
  readonly ReconnectCount?: number;
  readonly ReconnectInterval?: number;
  readonly ReconnectNonce?: number;
  readonly PingInterval?: number;
}

/** One client's connection, on the platform's side. */
export interface SimulatedConnection {
  readonly appId: string;
  readonly deviceId: string;
  /** The last thousand frames received, oldest first. */
  readonly received: readonly Frame[];
  send(frame: Frame): void;
  /** Sends bytes or a text that need not be a frame. */
  sendRaw(data: Uint8Array | string): void;
  /** Stops reading and writing while the socket stays open, as when the network drops all packets. */
  blackhole(): void;
  /** Closes the connection; without a code, without a closing handshake. */
  drop(code?: number): void;
}

const keptFrames = 1_000;

/** Answers a client's pings, and resolves `replyTo` with its replies. */
export class Connection implements SimulatedConnection {
  readonly received: Frame[] = [];
  readonly appId: string;
  readonly deviceId: string;
  readonly #socket: WebSocket;
  readonly #config: () => ClientConfigJson;
  /** Message id → the reply that is awaited. */
  readonly #waiting = new Map<string, PromiseWithResolvers<Frame>>();
  #isBlackhole = false;

  constructor(socket: WebSocket, appId: string, deviceId: string, config: () => ClientConfigJson) {
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
      if (frame !== undefined) this.#receive(frame);
    });
  }

  #receive(frame: Frame): void {
    this.received.push(frame);
    if (this.received.length > keptFrames) this.received.shift();
    if (frame.method === controlMethod && headerOf(frame, "type") === "ping") {
      const payload = Buffer.from(JSON.stringify(this.#config()));
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

  /** The client's reply to a message. Rejects when the connection ends first. The caller must call {@link forget}. */
  replyTo(messageId: string): Promise<Frame> {
    const waiting = Promise.withResolvers<Frame>();
    this.#waiting.set(messageId, waiting);
    // The delivery may have stopped waiting at its deadline. Then a rejection would be unhandled.
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
