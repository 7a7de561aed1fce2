import { createHash } from "node:crypto";
import { createServer } from "node:https";
import { DynamoDBClient } from "@aws-sdk/client-dynamodb";
import dynalite from "dynalite";
import { createLedgerTable } from "../../lib/local/dynamodb.ts";
import { listenOnLoopback } from "../../lib/simulator/loopback.ts";

// A process of its own: what stands in for AWS, behind TLS as AWS is (the SDK takes another path over plain
// http). SQS answers SendMessage at once, with the checksum that the SDK compares.

const [, , key = "", cert = "", table = ""] = process.argv;
const idleMs = 600_000;

const sqs = createServer({ key, cert, keepAliveTimeout: idleMs }, (request, response) => {
  const chunks: Buffer[] = [];
  request.on("data", (chunk: Buffer) => chunks.push(chunk));
  request.on("end", () => {
    const { MessageBody } = JSON.parse(Buffer.concat(chunks).toString("utf8")) as { MessageBody: string };
    const MD5OfMessageBody = createHash("md5").update(MessageBody).digest("hex");
    const body = JSON.stringify({ MessageId: "6f5ac1cc-0d3d-4a65-b2ba-5f9ffb9a8a7e", MD5OfMessageBody });
    response.setHeader("content-type", "application/x-amz-json-1.0");
    response.setHeader("content-length", Buffer.byteLength(body));
    response.end(body);
  });
});
// Members that the library's declaration here leaves out.
const dynamoOptions = { createTableMs: 0, ssl: true, key, cert, ca: cert };
const dynamo = dynalite(dynamoOptions);
dynamo.keepAliveTimeout = idleMs;

const urls = await Promise.all(
  [sqs, dynamo].map(async (server) => {
    const port = await listenOnLoopback(server);
    return `https://127.0.0.1:${port}`;
  }),
);
const [sqsUrl = "", dynamoUrl = ""] = urls;
const client = new DynamoDBClient({
  region: "us-east-1",
  credentials: { accessKeyId: "local", secretAccessKey: "local" },
  endpoint: dynamoUrl,
});
await createLedgerTable(client, table);
client.destroy();

process.on("disconnect", () => process.exit(0));
process.send?.({ sqsUrl, dynamoUrl });
