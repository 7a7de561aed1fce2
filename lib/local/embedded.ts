import { randomBytes } from "node:crypto";
import { mkdirSync } from "node:fs";
import type { Server as HttpServer } from "node:http";
import { type AddressInfo, Server } from "node:net";
import { join } from "node:path";
import { DynamoDBClient, ListTablesCommand } from "@aws-sdk/client-dynamodb";
import { startFauxqs } from "fauxqs";
import { guard } from "../simulator/loopback.ts";
import { startDynamoDb } from "./dynamodb.ts";

// A process of its own: embedded SQS and DynamoDB that outlive a code change and keep their state
// under one folder. Only `startFauxqs` can keep messages in a file, and it listens on every interface
// of the machine; here every server of the process listens on loopback, whatever it asks for. Neither service checks
// credentials, and both answer web pages (as SNS, fauxqs takes a form), so every server gets a guard as well.

/** Of this run. It replaces the access key of an AWS account, and only the parent is told. */
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
// Ctrl-C reaches the whole group; the parent decides when this process may go.
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => {});

mkdirSync(folder, { recursive: true });
// First, since its database locks the folder: two runtimes on one state would take each other's messages.
const dynamo = await startDynamoDb(join(folder, "dynamodb"));
// It opens with the first request, and ends the process when the folder is taken.
const client = new DynamoDBClient({
  region: "us-east-1",
  credentials: { accessKeyId, secretAccessKey: "local" },
  endpoint: dynamo.endpoint,
});
await client.send(new ListTablesCommand({}));
client.destroy();
const sqs = await startFauxqs({ port: 0, logger: false, dataDir: join(folder, "sqs") });

process.on("disconnect", () => process.exit(0));
process.on("message", (message) => {
  if (message === "stop") void Promise.allSettled([sqs.stop(), dynamo.stop()]).then(() => process.exit(0));
});
process.send?.({
  ready: { sqs: `http://127.0.0.1:${sqs.port}`, dynamo: dynamo.endpoint },
  accessKeyId,
  addresses: listening.map((server) => (server.address() as AddressInfo | null)?.address),
});
