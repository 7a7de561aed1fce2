import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdirSync } from "node:fs";
import { type Server as HttpServer, type IncomingMessage, request } from "node:http";
import { type AddressInfo, Server } from "node:net";
import { join } from "node:path";
import dynalite from "dynalite";
import { startFauxqs } from "fauxqs";
import { guard, listenOnLoopback } from "../simulator/loopback.ts";

// The program of the process that runs the embedded SQS and DynamoDB. They keep their data in one folder.
// Of the ways to start fauxqs, only `startFauxqs` keeps messages in a file, and it listens on every network interface.
// So this file makes every server of the process listen on 127.0.0.1. Neither service checks credentials, and both
// answer web pages (fauxqs accepts a form as an SNS call). So every server gets a guard as well.

/** What this process sends to its parent when it is ready. */
export interface EmbeddedServices {
  readonly endpoints: { readonly sqs: string; readonly dynamo: string };
  readonly accessKeyId: string;
  readonly addresses: readonly (string | undefined)[];
}

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

mkdirSync(folder, { recursive: true });
// First, because its database locks the folder. Two runtimes with the same folder would take each other's messages.
const dynamo = dynalite({ createTableMs: 0, path: join(folder, "dynamodb") });
const dynamoEndpoint = `http://127.0.0.1:${await listenOnLoopback(dynamo)}`;
// The database opens with the first request. If the folder is locked, that ends this process. A plain request, since
// nothing else here needs the AWS SDK, which takes long to load.
const headers = {
  authorization: `AWS4-HMAC-SHA256 Credential=${accessKeyId}/20260101/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=0`,
  "content-type": "application/x-amz-json-1.0",
  "x-amz-date": "20260101T000000Z",
  "x-amz-target": "DynamoDB_20120810.ListTables",
};
const opening = request(dynamoEndpoint, { method: "POST", headers, agent: false }).end("{}");
const [answer] = (await once(opening, "response")) as [IncomingMessage];
answer.resume();
const sqs = await startFauxqs({ port: 0, logger: false, dataDir: join(folder, "sqs") });

process.on("disconnect", () => process.exit(0));
process.on("message", (message) => {
  if (message !== "stop") return;
  const dynamoStopped = new Promise((resolve) => dynamo.close(resolve));
  void Promise.allSettled([sqs.stop(), dynamoStopped]).then(() => process.exit(0));
});
const services: EmbeddedServices = {
  endpoints: { sqs: `http://127.0.0.1:${sqs.port}`, dynamo: dynamoEndpoint },
  accessKeyId,
  addresses: listening.map((server) => (server.address() as AddressInfo | null)?.address),
};
process.send?.(services);
