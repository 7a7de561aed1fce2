import { randomBytes } from "node:crypto";
import type { Server as HttpServer } from "node:http";
import { type AddressInfo, Server } from "node:net";
import { join } from "node:path";
import dynalite from "dynalite";
import { http } from "../node-http.ts";
import { guard, listenOnLoopback } from "../simulator/loopback.ts";
import { checkLedger, checkQueues } from "./state.ts";

// The program of the process that runs the embedded SQS and DynamoDB. They keep their data in one folder.
// Of the ways to start fauxqs, only `startFauxqs` keeps messages in a file, and it listens on every network interface.
// So this file makes every server of the process listen on 127.0.0.1. Neither service checks credentials, and both
// answer web pages (fauxqs accepts a form as an SNS call). So every server gets a guard as well.

/** What this process sends to its parent when it is ready. */
export interface EmbeddedServices {
  readonly endpoints: { readonly sqs: string; readonly dynamo: string };
  readonly accessKeyId: string;
  readonly addresses: readonly (string | undefined)[];
  /** Sentences for the developer. */
  readonly notices: readonly string[];
}

/** What the parent sends to this process. */
export type EmbeddedOrder = "stop" | { readonly pid: number; readonly isRunning: boolean };

/** Generated for this run, and sent only to the parent. The services answer requests with this access key only. */
const accessKeyId = `local${randomBytes(16).toString("hex")}`;
const listening: Server[] = [];
const { listen } = Server.prototype;
Server.prototype.listen = function (this: Server, ...args: unknown[]) {
  const [first, ...rest] = args;
  listening.push(guard(this as HttpServer, { accessKeyId }));
  if (typeof first === "object" && first !== null) {
    return listen.apply(this, [{ ...first, host: "127.0.0.1" }, ...rest] as Parameters<typeof listen>);
  }
  return listen.apply(this, [
    { port: first, host: "127.0.0.1" },
    rest.find((arg) => typeof arg === "function"),
  ] as never);
} as typeof listen;

const [, , folder = ".larkpost"] = process.argv;
// Ctrl-C signals the whole process group. The parent ends this process.
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => {});

const [ledgerFolder, queueFolder] = [join(folder, "dynamodb"), join(folder, "sqs")];
const notices = [await checkLedger(ledgerFolder), checkQueues(queueFolder)].filter((notice) => notice !== undefined);
// Nothing here needs the AWS SDK, which takes long to load.
const dynamo = dynalite({ createTableMs: 0, path: ledgerFolder });
const dynamoEndpoint = `http://127.0.0.1:${await listenOnLoopback(dynamo)}`;
// fauxqs imports all of `node:http`, and with these members Node would load `fetch` and WebSockets.
for (const name of ["CloseEvent", "MessageEvent", "WebSocket"]) Reflect.deleteProperty(http, name);
const { startFauxqs } = await import("fauxqs");
const sqs = await startFauxqs({ port: 0, logger: false, dataDir: queueFolder });

/** The parent's other processes. One that is blocked does not notice that the parent has gone. */
const others = new Set<number>();
process.on("disconnect", () => {
  for (const pid of others) {
    try {
      process.kill(pid, "SIGKILL");
    } catch {
      // It has ended by itself.
    }
  }
  process.exit(0);
});
process.on("message", (order: EmbeddedOrder) => {
  if (order === "stop") {
    const dynamoStopped = new Promise((resolve) => dynamo.close(resolve));
    void Promise.allSettled([sqs.stop(), dynamoStopped]).then(() => process.exit(0));
  } else if (order.isRunning) others.add(order.pid);
  else others.delete(order.pid);
});
const services: EmbeddedServices = {
  endpoints: { sqs: `http://127.0.0.1:${sqs.port}`, dynamo: dynamoEndpoint },
  accessKeyId,
  addresses: listening.map((server) => (server.address() as AddressInfo | null)?.address),
  notices,
};
process.send?.(services);
