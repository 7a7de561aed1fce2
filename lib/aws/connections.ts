import type { IncomingHttpHeaders } from "node:http";
import net from "node:net";
import { Duplex } from "node:stream";
import type { TLSSocket } from "node:tls";
import { urlToHttpOptions } from "node:url";
import type { Clock } from "../clock.ts";
import { http, tls } from "../node-http.ts";
import { type PlainHead, plainHead } from "./plain-answer.ts";

export interface Answer {
  readonly status: number;
  /** Names are in lower case. */
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
}

export interface Post {
  readonly headers: readonly (readonly [name: string, value: string])[];
  readonly body: string;
  /** For one try, from when it has a connection. Connecting may take half of it. */
  readonly tryMs: number;
  readonly abortSignal?: AbortSignal | undefined;
  /** Called when the request gets a connection: the wait for a free one is not part of `tryMs`. */
  readonly onConnection?: () => void;
}

/** A connection, and the listeners of the answer that it brings. An idle one has none, and is closed when bytes arrive. */
interface Connection {
  readonly socket: net.Socket;
  wasUsed: boolean;
  onBytes: ((bytes: Buffer) => void) | undefined;
  /** Gets no error when the other side has closed it. */
  onClose: ((error?: NodeJS.ErrnoException) => void) | undefined;
}

/** Further requests wait until one is free. */
const connectionsAtOnce = 50;
/** An item has at most 400 KB. */
const answerLimitBytes = 2_097_152;
const headLimitBytes = 16_384;
const restBytes = 65_536;
/** The codes of a connection that has ended. */
const endedCodes: ReadonlySet<unknown> = new Set(["ECONNRESET", "EPIPE"]);

/**
 * Connections to an endpoint, which stay open for later requests. Certificates are checked whatever the environment
 * says, no proxy is used and no redirect followed. A request is written in one piece, and a plain answer read as it is,
 * which takes a third of the CPU of `node:https`; any other answer is read by `node:http`.
 */
export class Connections {
  readonly host: string;
  readonly path: string;
  readonly #isTls: boolean;
  readonly #target: { readonly host: string; readonly port: number };
  readonly #clock: Clock;
  readonly #open = new Set<Connection>();
  readonly #idle: Connection[] = [];
  readonly #waiting = new Set<(connection: Connection) => void>();
  /** What makes the next TLS handshake a short one. */
  #session: Buffer | undefined;

  constructor(endpoint: URL, clock: Clock) {
    this.host = endpoint.host;
    this.path = endpoint.pathname;
    this.#isTls = endpoint.protocol === "https:";
    const { hostname, port } = urlToHttpOptions(endpoint);
    this.#target = { host: hostname ?? "", port: Number(port) || (this.#isTls ? 443 : 80) };
    this.#clock = clock;
  }

  /**
   * Rejects with an error named `TimeoutError` or `AbortError`, or with Node's own and its `code`. A connection that had
   * ended while Lambda froze the process says so when it is used: then the request is sent once more, by a new one.
   */
  async post(post: Post): Promise<Answer> {
    const first = this.#send(post);
    try {
      return await first.answer;
    } catch (error) {
      if (!first.wasReused()) throw error;
      // What ended one kept connection may have ended the others.
      for (const { socket } of this.#idle) socket.destroy();
      if (!first.wasStale()) throw error;
      return this.#send(post).answer;
    }
  }

  destroy(): void {
    for (const { socket } of this.#open) socket.destroy();
  }

  #send({ headers, body, tryMs, abortSignal, onConnection }: Post) {
    const request = requestText(this.path, headers, body);
    const { promise: answer, resolve, reject } = Promise.withResolvers<Answer>();
    let used: Connection | undefined;
    let isReused = false;
    let isAnswered = false;
    let code: unknown;
    const cancels: (() => void)[] = [];
    const end = () => {
      for (const cancel of cancels.splice(0)) cancel();
      this.#waiting.delete(start);
      abortSignal?.removeEventListener("abort", giveUp);
    };
    const fail = (error: NodeJS.ErrnoException) => {
      code = error.code;
      // As the SDK names it: there was no answer.
      if (!isAnswered && endedCodes.has(code)) error.name = "TimeoutError";
      end();
      reject(error);
      used?.socket.destroy();
    };
    const failAfter = (ms: number, what: string) => {
      const cancel = this.#clock.after(ms, () => fail(named("TimeoutError", `${what} within ${ms} ms`)));
      cancels.push(cancel);
      return cancel;
    };
    const giveUp = () => fail(named("AbortError", "The caller gave up"));

    const start = (connection: Connection) => {
      const { socket, wasUsed } = connection;
      this.#waiting.delete(start);
      used = connection;
      isReused = wasUsed;
      connection.wasUsed = true;
      onConnection?.();
      failAfter(tryMs, "no answer");
      if (socket.connecting) {
        socket.once(this.#isTls ? "secureConnect" : "connect", failAfter(tryMs / 2, "no connection"));
      }
      readAnswer(connection, {
        onHead() {
          isAnswered = true;
        },
        fail,
        done: (answer, isReusable) => {
          end();
          resolve(answer);
          // After an answer to half a request, the rest of it would be sent before the next request. A small rest may be
          // sent already: Node has only not reported it.
          if (isReusable && socket.writableLength <= restBytes) this.#free(connection);
          else socket.destroy();
        },
      });
      socket.write(request);
    };
    if (abortSignal?.aborted) giveUp();
    else {
      abortSignal?.addEventListener("abort", giveUp, { once: true });
      this.#find(start);
    }
    const wasReused = () => isReused && !isAnswered;
    return { answer, wasReused, wasStale: () => wasReused() && endedCodes.has(code) };
  }

  #find(start: (connection: Connection) => void): void {
    let kept = this.#idle.pop();
    while (kept?.socket.writable === false) kept = this.#idle.pop();
    if (kept !== undefined) {
      kept.socket.ref();
      start(kept);
    } else if (this.#open.size < connectionsAtOnce) start(this.#connect());
    else this.#waiting.add(start);
  }

  #free(connection: Connection): void {
    connection.onBytes = connection.onClose = undefined;
    const [next] = this.#waiting;
    if (next === undefined) {
      connection.socket.unref();
      this.#idle.push(connection);
    } else next(connection);
  }

  #connect(): Connection {
    const target = { ...this.#target, noDelay: true };
    const socket = this.#isTls ? this.#connectTls(target) : net.connect(target);
    const connection: Connection = { socket, wasUsed: false, onBytes: undefined, onClose: undefined };
    this.#open.add(connection);
    let reason: NodeJS.ErrnoException | undefined;
    socket.on("data", (bytes: Buffer) => {
      if (connection.onBytes === undefined) socket.destroy();
      else connection.onBytes(bytes);
    });
    socket.on("error", (error) => {
      reason = error;
    });
    socket.once("close", () => {
      this.#open.delete(connection);
      connection.onClose?.(reason);
      const [next] = this.#waiting;
      next?.(this.#connect());
    });
    return connection;
  }

  #connectTls(target: { readonly host: string; readonly port: number }): TLSSocket {
    const { host } = target;
    const socket = tls().connect({
      ...target,
      servername: net.isIP(host) === 0 ? host : "",
      rejectUnauthorized: true,
      session: this.#session,
    });
    return socket.on("session", (session) => {
      this.#session = session;
    });
  }
}

/** @throws {TypeError} A header's value has a character that would end it. */
function requestText(path: string, headers: Post["headers"], body: string): string {
  let head = `POST ${path} HTTP/1.1\r\n`;
  for (const [name, value] of headers) {
    if (/[^ -~]/.test(value)) throw new TypeError(`A call's header ${name} has a character that no header may have`);
    head += `${name}: ${value}\r\n`;
  }
  return `${head}\r\n${body}`;
}

interface Reader {
  onHead(): void;
  fail(error: Error): void;
  done(answer: Answer, isReusable: boolean): void;
}

/** Reads one answer from a connection on which its request is being sent. */
function readAnswer(connection: Connection, reader: Reader): void {
  const chunks: Buffer[] = [];
  let size = 0;
  let head: PlainHead | undefined;
  let bodyAt = 0;
  connection.onClose = (error) => reader.fail(error ?? closedEarly());
  connection.onBytes = (more) => {
    chunks.push(more);
    size += more.length;
    if (size > answerLimitBytes) {
      reader.fail(tooLarge());
      return;
    }
    if (head === undefined) {
      const bytes = whole(chunks);
      const end = bytes.indexOf("\r\n\r\n");
      if (end < 0 && size <= headLimitBytes) return;
      head = plainHead(bytes.toString("latin1", 0, end));
      if (head === undefined) {
        readByNode(connection, bytes, reader);
        return;
      }
      bodyAt = end + 4;
      reader.onHead();
    }
    const { status, headers, bodyBytes } = head;
    const end = bodyAt + bodyBytes;
    if (size >= end) reader.done({ status, headers, text: whole(chunks).toString("utf8", bodyAt, end) }, size === end);
  };
}

function whole(chunks: readonly Buffer[]): Buffer {
  const [first, second] = chunks;
  return first !== undefined && second === undefined ? first : Buffer.concat(chunks);
}

/** Lets Node read an answer whose first bytes are there. What it writes is dropped, since the request was sent. */
function readByNode(connection: Connection, first: Buffer, reader: Reader): void {
  const stream = new Duplex({ read() {}, write: (_bytes, _encoding, done) => done() });
  const request = http.request({ method: "POST", createConnection: () => stream });
  request.on("error", reader.fail);
  request.once("response", async (response) => {
    reader.onHead();
    try {
      const text = Buffer.concat(await response.toArray()).toString();
      const { statusCode: status = 0, headers } = response;
      reader.done({ status, headers, text }, false);
    } catch (error) {
      reader.fail(error as Error);
    }
  });
  let bytes = first.length;
  connection.onBytes = (more) => {
    bytes += more.length;
    if (bytes > answerLimitBytes) reader.fail(tooLarge());
    stream.push(more);
  };
  connection.onClose = () => stream.push(null);
  stream.push(first);
  request.end();
}

function tooLarge(): Error {
  return named("TooLargeError", `an answer of over ${answerLimitBytes} bytes`);
}

function closedEarly(): Error {
  return Object.assign(new Error("the connection was closed before its answer was whole"), { code: "ECONNRESET" });
}

/** An error that a log line names so. */
export function named(name: string, message: string, facts: object = {}): Error {
  return Object.assign(new Error(message), { name, ...facts });
}
