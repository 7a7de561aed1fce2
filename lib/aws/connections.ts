import http from "node:http";
import https from "node:https";
import type { Socket } from "node:net";
import { urlToHttpOptions } from "node:url";
import type { Clock } from "../clock.ts";

export interface Answer {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly text: string;
}

export interface Post {
  readonly headers: readonly string[];
  readonly body: string;
  /** For one try, from when it has a connection. Connecting may take half of it. */
  readonly tryMs: number;
  readonly abortSignal?: AbortSignal | undefined;
  /** Told when the request gets a connection, since to wait for one takes only the caller's time. */
  readonly onConnection?: () => void;
}

/** Further requests wait until one is free. */
const connectionsAtOnce = 50;
/** An item has at most 400 KB. */
const answerLimitBytes = 2_097_152;
const restBytes = 65_536;
/** The codes of a connection that has ended. */
const endedCodes: ReadonlySet<unknown> = new Set(["ECONNRESET", "EPIPE"]);

/**
 * Connections to an endpoint, which stay open for later requests. Certificates are checked whatever the environment
 * says, no proxy is used and no redirect followed.
 */
export class Connections {
  readonly host: string;
  readonly path: string;
  readonly #isTls: boolean;
  readonly #agent: http.Agent;
  readonly #target: http.RequestOptions;
  readonly #clock: Clock;

  constructor(endpoint: URL, clock: Clock) {
    this.host = endpoint.host;
    this.path = endpoint.pathname;
    this.#isTls = endpoint.protocol === "https:";
    const options = { keepAlive: true, maxSockets: connectionsAtOnce };
    this.#agent = this.#isTls ? new https.Agent({ ...options, rejectUnauthorized: true }) : new http.Agent(options);
    this.#target = { ...urlToHttpOptions(endpoint), method: "POST", agent: this.#agent };
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
      for (const idle of Object.values(this.#agent.freeSockets)) for (const socket of idle ?? []) socket.destroy();
      if (!first.wasStale()) throw error;
      return this.#send(post).answer;
    }
  }

  destroy(): void {
    this.#agent.destroy();
  }

  #send({ headers, body, tryMs, abortSignal, onConnection }: Post) {
    const { promise: answer, resolve, reject } = Promise.withResolvers<Answer>();
    const request = (this.#isTls ? https : http).request({ ...this.#target, headers: headers as string[] });
    let isAnswered = false;
    let code: unknown;
    const cancels: (() => void)[] = [];
    const end = () => {
      for (const cancel of cancels.splice(0)) cancel();
      abortSignal?.removeEventListener("abort", giveUp);
    };
    const fail = (error: NodeJS.ErrnoException) => {
      ({ code } = error);
      // As the SDK names it: there was no answer.
      if (!isAnswered && endedCodes.has(code)) error.name = "TimeoutError";
      end();
      reject(error);
      request.destroy();
    };
    const failAfter = (ms: number, what: string) => {
      const cancel = this.#clock.after(ms, () => fail(named("TimeoutError", `${what} within ${ms} ms`)));
      cancels.push(cancel);
      return cancel;
    };
    const giveUp = () => fail(named("AbortError", "The caller gave up"));

    request.once("socket", (socket: Socket) => {
      onConnection?.();
      failAfter(tryMs, "no answer");
      if (!socket.connecting) return;
      socket.once(this.#isTls ? "secureConnect" : "connect", failAfter(tryMs / 2, "no connection"));
    });
    request.once("response", (response) => {
      isAnswered = true;
      const chunks: Buffer[] = [];
      let bytes = 0;
      response.on("data", (chunk: Buffer) => {
        bytes += chunk.length;
        chunks.push(chunk);
        if (bytes > answerLimitBytes) fail(named("TooLargeError", `an answer of over ${answerLimitBytes} bytes`));
      });
      response.once("error", fail);
      response.once("end", () => {
        end();
        const { statusCode: status = 0, headers } = response;
        // A refusal of half a request: the rest would wait on this connection. A little is only not told to be sent yet.
        if (status >= 400 && (request.socket?.writableLength ?? 0) > restBytes) request.destroy();
        resolve({ status, headers, text: Buffer.concat(chunks).toString() });
      });
    });
    // An error may follow the one that ended it.
    request.on("error", fail);
    if (abortSignal?.aborted) giveUp();
    else abortSignal?.addEventListener("abort", giveUp, { once: true });
    request.end(body);
    const wasReused = () => request.reusedSocket && !isAnswered;
    return { answer, wasReused, wasStale: () => wasReused() && endedCodes.has(code) };
  }
}

/** An error that a log line names so. */
export function named(name: string, message: string, facts: object = {}): Error {
  return Object.assign(new Error(message), { name, ...facts });
}
