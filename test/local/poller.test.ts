import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { SQS } from "@aws-sdk/client-sqs";
import type { SQSRecord } from "aws-lambda";
import { clientOf, exchangeOver } from "../../lib/local/exchange.ts";
import { deletable, startPoller, toRecord } from "../../lib/local/poller.ts";
import { ProcessEndedError } from "../../lib/local/process.ts";
import { queueUrl, startSqs } from "../../lib/local/sqs.ts";
import { until } from "../support/until.ts";

const aQueue = "http://127.0.0.1:1/000000000000/events-ai.fifo";
const records = ["a", "b", "c"].map((id) =>
  toRecord({ MessageId: id, ReceiptHandle: `receipt-${id}`, Body: "{}" }, aQueue),
);

const answers = [
  { when: "the list is empty", answer: { batchItemFailures: [] }, deleted: ["a", "b", "c"] },
  { when: "there is no answer", answer: undefined, deleted: ["a", "b", "c"] },
  { when: "the answer is null", answer: null, deleted: ["a", "b", "c"] },
  { when: "the answer is an empty object", answer: {}, deleted: ["a", "b", "c"] },
  { when: "the list is null", answer: { batchItemFailures: null }, deleted: ["a", "b", "c"] },
  {
    when: "the member is misspelt",
    answer: { batchitemfailures: [{ itemIdentifier: "a" }] },
    deleted: ["a", "b", "c"],
  },
  { when: "one record is named", answer: { batchItemFailures: [{ itemIdentifier: "b" }] }, deleted: ["a", "c"] },
  { when: "an id is empty", answer: { batchItemFailures: [{ itemIdentifier: "" }] }, deleted: [] },
  { when: "an id is null", answer: { batchItemFailures: [{ itemIdentifier: null }] }, deleted: [] },
  { when: "an id is unknown", answer: { batchItemFailures: [{ itemIdentifier: "z" }] }, deleted: [] },
  { when: "the key is misnamed", answer: { batchItemFailures: [{ id: "a" }] }, deleted: [] },
  { when: "an entry is a text", answer: { batchItemFailures: ["a"] }, deleted: [] },
  { when: "an entry is null", answer: { batchItemFailures: [null] }, deleted: [] },
  { when: "the list is a text", answer: { batchItemFailures: "a" }, deleted: [] },
  { when: "the answer is a text", answer: "done", deleted: [] },
];

for (const { when, answer, deleted } of answers) {
  test(`the local event source deletes ${deleted.length === 0 ? "nothing" : deleted.join(", ")} when ${when}, as Lambda does`, () => {
    assert.deepEqual(
      deletable(records, answer).map(({ messageId }) => messageId),
      deleted,
    );
  });
}

test("a message reaches the function as a record of Lambda's", () => {
  const message = { MessageId: "a", ReceiptHandle: "receipt-a", Body: "{}", MD5OfBody: "99" };
  const Attributes = { ApproximateReceiveCount: "2" };
  const MessageAttributes = { type: { StringValue: "im.chat.disbanded_v1", DataType: "String" } };
  assert.deepEqual(toRecord({ ...message, Attributes, MessageAttributes }, aQueue), {
    messageId: "a",
    receiptHandle: "receipt-a",
    body: "{}",
    attributes: Attributes,
    messageAttributes: {
      type: { stringValue: "im.chat.disbanded_v1", dataType: "String", stringListValues: [], binaryListValues: [] },
    },
    md5OfBody: "99",
    eventSource: "aws:sqs",
    eventSourceARN: "arn:aws:sqs:us-east-1:000000000000:events-ai.fifo",
    awsRegion: "us-east-1",
  });
});

let server: Awaited<ReturnType<typeof startSqs>>;
let client: SQS;
let http: ReturnType<typeof exchangeOver>;
before(async () => {
  server = await startSqs();
  http = exchangeOver(server.endpoint);
  client = clientOf("AmazonSQS", http.exchange);
});
after(async () => {
  http.destroy();
  await server.stop();
});

async function newQueue(QueueName: string, Attributes: Record<string, string> = {}): Promise<string> {
  await client.createQueue({ QueueName, Attributes });
  return queueUrl(server.endpoint, QueueName);
}

test("a batch whose process ended comes back within seconds, alone; another failure waits for its visibility timeout", async (t) => {
  const QueueUrl = await newQueue("events-360", { VisibilityTimeout: "360" });
  for (const MessageBody of ["crash", "beside", "throw"]) {
    await client.sendMessage({ QueueUrl, MessageBody });
  }
  const notices: string[] = [];
  const tries = new Map<string, number>();
  const running = new Set<string>();
  /** What ran beside each record that came again. */
  const company: string[][] = [];
  /** What came with its message attribute. */
  const named: string[] = [];
  const crash = Promise.withResolvers<never>();
  crash.promise.catch(() => {});
  const released = Promise.withResolvers<void>();
  let hasCrashed = false;
  const invoke = async ({ Records: [record] }: { Records: SQSRecord[] }) => {
    const body = record?.body ?? "";
    const number = (tries.get(body) ?? 0) + 1;
    tries.set(body, number);
    if (number > 1) company.push([...running]);
    running.add(body);
    if (record?.messageAttributes["of"] !== undefined) named.push(body);
    try {
      if (body === "throw") throw new Error("the function failed\nat a place");
      if (body.startsWith("new")) await released.promise;
      else if (number === 1) await crash.promise;
      // Long enough for the other record to be received meanwhile.
      else await new Promise((resolve) => setTimeout(resolve, 100));
    } finally {
      running.delete(body);
    }
    return { batchItemFailures: [] };
  };
  const poller = startPoller({
    client,
    queueUrl: QueueUrl,
    batchSize: 1,
    concurrency: 10,
    visibilityTimeoutSeconds: 360,
    invoke,
    whenUp: async () => {},
    hasCrashed: () => hasCrashed,
    onProblem: (problem) => notices.push(problem),
  });
  t.after(async () => {
    released.resolve();
    await poller.stop();
    await poller.drained();
  });
  await until("three batches run", () => tries.size === 3 && running.size === 2);
  hasCrashed = true;
  crash.reject(new ProcessEndedError("the worker function's process ended (SIGKILL)"));
  await until("both come back", () => tries.get("crash") === 2 && tries.get("beside") === 2);
  assert.deepEqual(company, [[], []]);
  // What comes for the first time has crashed nothing, and runs beside others.
  const MessageAttributes = { of: { DataType: "String", StringValue: "an app" } };
  for (const MessageBody of ["new 1", "new 2"]) {
    await client.sendMessage({ QueueUrl, MessageBody, MessageAttributes });
  }
  await until("both new ones run", () => running.has("new 1") && running.has("new 2"), { withinMs: 20_000 });
  assert.deepEqual(named.toSorted(), ["new 1", "new 2"]);
  const back =
    "an event will be tried again in 1 s: the worker function's process ended (SIGKILL). " +
    "Until the claim of a run that was cut off ends, its event stays busy";
  assert.deepEqual(notices.toSorted(), [back, back, "an event will be tried again in 360 s: the function failed"]);
});

for (const { when, concurrency, hasCrashed } of [
  { when: "all that may run do", concurrency: 1, hasCrashed: false },
  { when: "one runs alone after a crash", concurrency: 10, hasCrashed: true },
]) {
  test(`the end of receiving waits for no batch: ${when}`, async (t) => {
    const QueueUrl = await newQueue(`events-${concurrency}`);
    await client.sendMessage({ QueueUrl, MessageBody: "long" });
    await client.receiveMessage({ QueueUrl, VisibilityTimeout: 0 });
    const started = Promise.withResolvers<void>();
    const handler = Promise.withResolvers<void>();
    const poller = startPoller({
      ...{ client, queueUrl: QueueUrl, batchSize: 1, concurrency, visibilityTimeoutSeconds: 360 },
      async invoke() {
        started.resolve();
        await handler.promise;
      },
      whenUp: async () => {},
      hasCrashed: () => hasCrashed,
      onProblem: (problem) => assert.fail(problem),
    });
    t.after(async () => {
      handler.resolve();
      await poller.stop();
    });
    await started.promise;
    await poller.stop();
    handler.resolve();
    await poller.drained();
  });
}

test("what became visible while it waited to run alone is received again, and runs once", async (t) => {
  const QueueUrl = await newQueue("events-1s", { VisibilityTimeout: "1" });
  const send = (MessageBody: string) => client.sendMessage({ QueueUrl, MessageBody });
  const look = async () => {
    const { Messages = [] } = await client.receiveMessage({ QueueUrl, VisibilityTimeout: 0 });
    return Messages.map(({ Body }) => Body);
  };
  await send("again");
  assert.deepEqual(await look(), ["again"]);
  await send("long");
  const long = Promise.withResolvers<void>();
  const tries: string[] = [];
  const poller = startPoller({
    ...{ client, queueUrl: QueueUrl, batchSize: 1, concurrency: 10, visibilityTimeoutSeconds: 30 },
    async invoke({ Records: [record] }) {
      tries.push(record?.body ?? "");
      if (record?.body === "long") await long.promise;
    },
    whenUp: async () => {},
    hasCrashed: () => true,
    onProblem: (problem) => assert.fail(problem),
  });
  t.after(async () => {
    long.resolve();
    await poller.stop();
    await poller.drained();
  });
  await until("the long one runs", () => tries.length === 1);
  await until("the other is visible", async () => (await look()).includes("again"), { everyMs: 100 });
  long.resolve();
  await until("both are deleted", async () => {
    const { Attributes = {} } = await client.getQueueAttributes({ QueueUrl, AttributeNames: ["All"] });
    const { ApproximateNumberOfMessages, ApproximateNumberOfMessagesNotVisible } = Attributes;
    return ApproximateNumberOfMessages === "0" && ApproximateNumberOfMessagesNotVisible === "0";
  });
  assert.equal(tries.filter((body) => body === "again").length, 1);
});

for (const { name, most } of [
  { name: "events", most: 10 },
  { name: "events-ai.fifo", most: 1 },
]) {
  test(`asks ${name} for ${most} at once: of a group, several that SQS gives out together would run beside each other`, async (t) => {
    const QueueUrl = await newQueue(name);
    const asked: unknown[] = [];
    const watched = clientOf<SQS>("AmazonSQS", (headers, body) => {
      asked.push(JSON.parse(String(body)).MaxNumberOfMessages);
      return http.exchange(headers, body);
    });
    const poller = startPoller({
      ...{ client: watched, queueUrl: QueueUrl, batchSize: 1, concurrency: 200, waitSeconds: 0 },
      ...{ visibilityTimeoutSeconds: 30, invoke: async () => ({}), whenUp: async () => {}, hasCrashed: () => false },
      onProblem: (problem) => assert.fail(problem),
    });
    t.after(poller.stop);
    await until("it has asked", () => asked.length > 0);
    assert.equal(asked[0], most);
  });
}
