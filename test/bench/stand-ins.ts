import { hash } from "node:crypto";
import { createServer } from "node:https";
import { listenOnLoopback } from "../../lib/simulator/loopback.ts";
import { identity } from "../support/platform-tls.ts";

// A process of its own, whose CPU is not counted: SQS, DynamoDB and SSM behind TLS, as AWS is (the SDK takes another
// path over plain http), each under an origin of its own. Every call succeeds at once, and nothing is stored: a write
// of the same event is the first one each time.

const idleMs = 600_000;
const [, , secrets = ""] = process.argv;

type Input = Readonly<Record<string, unknown>>;
const answers: Readonly<Record<string, (input: Input) => object>> = {
  "AmazonSQS.SendMessage": ({ MessageBody }) => ({
    MessageId: "6f5ac1cc-0d3d-4a65-b2ba-5f9ffb9a8a7e",
    MD5OfMessageBody: hash("md5", String(MessageBody)),
  }),
  "AmazonSSM.GetParameter": ({ Name }) => ({
    Parameter: { Name, Type: "SecureString", Value: secrets, Version: 1, DataType: "text" },
  }),
  "DynamoDB_20120810.PutItem": () => ({}),
  "DynamoDB_20120810.UpdateItem": () => ({}),
};

function start() {
  return createServer({ ...identity, keepAliveTimeout: idleMs }, (request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      const answer = answers[String(request.headers["x-amz-target"])];
      response.statusCode = answer === undefined ? 400 : 200;
      const body = JSON.stringify(answer?.(JSON.parse(Buffer.concat(chunks).toString("utf8")) as Input) ?? {});
      response.setHeader("content-type", String(request.headers["content-type"]));
      response.setHeader("content-length", Buffer.byteLength(body));
      response.end(body);
    });
  });
}

const [sqs, dynamodb, ssm] = await Promise.all(
  Array.from({ length: 3 }, async () => `https://127.0.0.1:${await listenOnLoopback(start())}`),
);
process.on("disconnect", () => process.exit(0));
process.send?.({ sqs, dynamodb, ssm });
