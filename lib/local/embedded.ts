import { randomBytes } from "node:crypto";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import dynalite from "dynalite";
import { guard, listenOnLoopback } from "../simulator/loopback.ts";
import { openSqs } from "./sqs.ts";
import { checkLedger, checkQueues } from "./state.ts";

// The program of the process that runs the embedded SQS and DynamoDB. They keep their data in one folder.
// Neither service checks credentials, and both answer web pages. So both servers get a guard.

/** What this process sends to its parent when it is ready. */
export interface EmbeddedServices {
  readonly endpoints: { readonly sqs: string; readonly dynamo: string };
  readonly accessKeyId: string;
  readonly addresses: readonly (string | undefined)[];
  /** Sentences for the developer. */
  readonly notices: readonly string[];
}

/** What the parent sends to this process. */
export type EmbeddedOrder = "stop" | "end polls" | { readonly pid: number; readonly isRunning: boolean };

/** Generated for this run, and sent only to the parent. The services answer requests with this access key only. */
const accessKeyId = `local${randomBytes(16).toString("hex")}`;
const [, , folder = ".larkpost"] = process.argv;
// Ctrl-C signals the whole process group. The parent ends this process.
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => {});

const [ledgerFolder, queueFolder] = [join(folder, "dynamodb"), join(folder, "sqs")];
const notices = [await checkLedger(ledgerFolder), checkQueues(queueFolder)].filter((notice) => notice !== undefined);
// Nothing here needs the AWS SDK, which takes long to load.
const dynamo = guard(dynalite({ createTableMs: 0, path: ledgerFolder }), { accessKeyId });
const sqs = await openSqs(queueFolder);
const [sqsPort, dynamoPort] = [
  await listenOnLoopback(guard(sqs.server, { accessKeyId })),
  await listenOnLoopback(dynamo),
];

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
  if (order === "end polls") sqs.endPolls();
  else if (order === "stop") {
    const dynamoStopped = new Promise((resolve) => dynamo.close(resolve));
    void Promise.allSettled([sqs.close(), dynamoStopped]).then(() => process.exit(0));
  } else if (order.isRunning) others.add(order.pid);
  else others.delete(order.pid);
});
const services: EmbeddedServices = {
  endpoints: { sqs: `http://127.0.0.1:${sqsPort}`, dynamo: `http://127.0.0.1:${dynamoPort}` },
  accessKeyId,
  addresses: [sqs.server, dynamo].map((server) => (server.address() as AddressInfo | null)?.address),
  notices,
};
process.send?.(services);
