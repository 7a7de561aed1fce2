import type { Server } from "node:http";
import type { DatabaseSync } from "node:sqlite";
import { http } from "../node-http.ts";
import { listenOnLoopback } from "../simulator/loopback.ts";
import type { Exchange } from "./exchange.ts";

/** What is used of fauxqs's own modules. */
interface Store {
  persistence?: unknown;
  allQueues(): Iterable<{ persistence?: unknown; cancelWaiters(): void }>;
}
interface Reply {
  status(code: number): void;
  header(name: string, value: string): void;
}
interface Router {
  register(action: string, handler: unknown): void;
  handle(request: object, reply: Reply): Promise<unknown>;
}

const jsonType = "application/x-amz-json-1.0";

/**
 * The SQS of fauxqs, behind a server of this file. The server of its own brings Fastify, S3 and SNS along, which take
 * half of the start, and listens on every network interface.
 *
 * @param folder Where the messages are kept. Without it, they are in memory.
 */
export async function openSqs(
  folder?: string,
): Promise<{ server: Server; exchange: Exchange; endPolls(): void; close(): Promise<void> }> {
  const load = (file: string) => import(new URL(`${file}.js`, import.meta.resolve("fauxqs")).href);
  const [{ SqsStore }, { SqsRouter }] = await Promise.all([load("sqs/sqsStore"), load("sqs/sqsRouter")]);
  const store: Store = new SqsStore();
  const router: Router = new SqsRouter(store);
  let kept: { db: DatabaseSync; loadSqsQueues(store: Store): void; close(): void } | undefined;
  if (folder !== undefined) {
    const { PersistenceManager } = await load("persistence");
    kept = new PersistenceManager(folder);
    // What is written outlives this process. To outlive a power cut as well, each write would wait for the disk.
    kept?.db.exec("PRAGMA synchronous = NORMAL");
    kept?.loadSqsQueues(store);
    // Not before: each queue that is loaded would be written again, and its messages deleted with the old one.
    store.persistence = kept;
    for (const queue of store.allQueues()) queue.persistence = kept;
  }
  /** Each action is loaded with its first call. */
  const actions = new Map<string, Promise<void>>();
  const register = async (action: string) => {
    const name = action.charAt(0).toLowerCase() + action.slice(1);
    // One that is not there is answered by the router.
    const handlers = await load(`sqs/actions/${name}`).catch(() => undefined);
    if (handlers !== undefined) router.register(action, handlers[name]);
  };

  const exchange: Exchange = async (sent, payload) => {
    const [, action] = /^AmazonSQS\.(\w+)$/.exec(String(sent["x-amz-target"])) ?? [];
    if (action !== undefined) {
      if (!actions.has(action)) actions.set(action, register(action));
      await actions.get(action);
    }
    let status = 200;
    const headers: Record<string, string> = { "content-type": jsonType };
    const reply: Reply = {
      status(code) {
        status = code;
      },
      header(name, value) {
        headers[name] = value;
      },
    };
    const answer = await router.handle({ headers: sent, body: JSON.parse(String(payload) || "{}") }, reply);
    return { status, headers, body: Buffer.from(answer === undefined ? "" : JSON.stringify(answer)) };
  };
  const server = http.createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", async () => {
      const body = Buffer.concat(chunks);
      const answered = await exchange(request.headers, body).catch(() => undefined);
      response.writeHead(answered?.status ?? 500, answered?.headers).end(answered?.body);
    });
  });
  const endPolls = () => {
    for (const queue of store.allQueues()) queue.cancelWaiters();
  };
  return {
    server,
    exchange,
    /** Answers every call that waits for a message. */
    endPolls,
    async close() {
      endPolls();
      await new Promise((resolve) => {
        server.close(resolve);
        server.closeAllConnections();
      });
      kept?.close();
    },
  };
}

/** SQS in memory, on 127.0.0.1, for tests. `embedded.ts` runs one that keeps its messages. */
export async function startSqs(): Promise<{ endpoint: string; exchange: Exchange; stop: () => Promise<void> }> {
  const { server, exchange, close } = await openSqs();
  return { endpoint: `http://127.0.0.1:${await listenOnLoopback(server)}`, exchange, stop: close };
}

/** A queue's URL at an embedded SQS. The URL in CreateQueue's answer has a host name that may not resolve. */
export function queueUrl(endpoint: string, name: string): string {
  return `${endpoint}/000000000000/${name}`;
}

export function queueArn(name: string, region: string): string {
  return `arn:aws:sqs:${region}:000000000000:${name}`;
}
