import assert from "node:assert/strict";
import { mock, test } from "node:test";
import type { SQS } from "@aws-sdk/client-sqs";
import { lanesOf } from "../../infra/lanes.js";
import { projectOf } from "../../infra/project.js";
import { callService, clientOf } from "../../lib/local/exchange.ts";
import { createQueues, queuesWithoutLane } from "../../lib/local/queues.ts";
import { queueArn, queueUrl, startSqs } from "../../lib/local/sqs.ts";
import { createSqs } from "../simulation/sqs.ts";
import { type Random, seeded } from "../support/random.ts";

test("queues that are there from the last start take the numbers that were changed since, and those without a lane are found", async (t) => {
  const server = await startSqs();
  t.after(server.stop);
  const client = clientOf<SQS>("AmazonSQS", server.exchange);
  const lanes = { ai: { types: ["im.message.receive_v1"], order: "message.chat_id" } };
  const before = projectOf({ lanes: { ...lanes, bulk: { types: ["contact.*"] } } });
  await createQueues(client, before);
  const after = projectOf({ lanes: { ai: { ...lanes.ai, timeoutSeconds: 300 } } });
  const limits = {
    ...after.limits,
    workerTimeoutSeconds: 20,
    maxReceiveCount: 7,
    queueRetentionSeconds: 600,
    deadLetterRetentionSeconds: 900,
  };
  const project = { ...after, limits };
  await createQueues(client, project);
  const attributesOf = async (name: string) => {
    const QueueUrl = queueUrl(server.endpoint, name);
    return (await client.getQueueAttributes({ QueueUrl, AttributeNames: ["All"] })).Attributes ?? {};
  };
  const { VisibilityTimeout, MessageRetentionPeriod, RedrivePolicy = "{}" } = await attributesOf("events");
  assert.deepEqual([VisibilityTimeout, MessageRetentionPeriod], ["120", "600"]);
  assert.deepEqual(JSON.parse(RedrivePolicy), {
    deadLetterTargetArn: (await attributesOf("dead-letters")).QueueArn,
    maxReceiveCount: 7,
  });
  for (const name of ["dead-letters", "dead-letters.fifo", "quarantine"]) {
    assert.equal((await attributesOf(name)).MessageRetentionPeriod, "900");
  }
  // As long as a run, and half a minute: one that crashed must not hold its chat for longer.
  const ofLane = await attributesOf("events-ai.fifo");
  assert.deepEqual([ofLane.FifoQueue, ofLane.VisibilityTimeout], ["true", "330"]);
  assert.match(ofLane.RedrivePolicy ?? "", /:dead-letters\.fifo"/);

  // The lane that is no more becomes the default worker's, with its numbers, if something waits there.
  const found = () => queuesWithoutLane(client, lanesOf(project));
  assert.deepEqual(await found(), []);
  await client.sendMessage({ QueueUrl: queueUrl(server.endpoint, "events-bulk"), MessageBody: "{}" });
  const [defaultLane] = lanesOf(project);
  const lane = { ...defaultLane, queueName: "events-bulk" };
  assert.deepEqual(await found(), [{ name: "bulk", count: 1, lane }]);
  const drained = await attributesOf("events-bulk");
  assert.deepEqual([drained.VisibilityTimeout, JSON.parse(drained.RedrivePolicy ?? "{}").maxReceiveCount], ["120", 7]);
});

/** What a service answers, in words that do not depend on the ids that it gives. */
type Ask = (action: string, input: Readonly<Record<string, unknown>>) => Promise<string>;
interface Received {
  readonly MessageId: string;
  readonly Body: string;
  readonly ReceiptHandle: string;
  readonly receives: number;
}

/** Numbers a service's messages and receipts as they come: an operation names them by number. */
function numbered(
  call: (action: string, input: object) => Promise<{ MessageId?: string; Messages?: readonly Received[] }>,
): Ask {
  const ids: string[] = [];
  const receipts: string[] = [];
  const nameOf = (id: string) => `message ${ids.includes(id) ? ids.indexOf(id) : ids.push(id) - 1}`;
  return async (action, { receipt, ...input }) => {
    const ReceiptHandle = receipt === undefined ? undefined : receipts[Number(receipt) % receipts.length];
    if (receipt !== undefined && ReceiptHandle === undefined) return "nothing to name";
    try {
      const { MessageId, Messages = [] } = await call(action, { ...input, ReceiptHandle });
      if (MessageId !== undefined) return nameOf(MessageId);
      // Which group comes first is not documented.
      const sorted = Messages.toSorted((a, b) => ids.indexOf(a.MessageId) - ids.indexOf(b.MessageId));
      receipts.push(...sorted.map((message) => message.ReceiptHandle));
      return sorted.map(({ MessageId: id, Body, receives }) => `${nameOf(id)} (${Body}) × ${receives}`).join(", ");
    } catch (error) {
      return (error as Error).name;
    }
  };
}

const visibilitySeconds = 30;
const maxReceiveCount = 3;

function operation(random: Random, isFifo: boolean, base: string): [action: string, input: Record<string, unknown>] {
  const QueueUrl = `${base}${isFifo ? ".fifo" : ""}`;
  const roll = random.below(10);
  if (roll < 3) {
    const text = String(random.below(5));
    const id = isFifo ? { MessageGroupId: `chat-${random.below(3)}`, MessageDeduplicationId: text } : {};
    const delay = random.chance(0.3) ? { DelaySeconds: random.pick([0, 5, 40]) } : {};
    return ["SendMessage", { QueueUrl, MessageBody: text, ...(random.chance(0.9) ? id : {}), ...delay }];
  }
  if (roll < 6) return ["ReceiveMessage", { QueueUrl }];
  const receipt = random.below(1_000);
  if (roll < 8) return ["ChangeMessageVisibility", { QueueUrl, receipt, VisibilityTimeout: random.pick([0, 5, 60]) }];
  return ["DeleteMessage", { QueueUrl, receipt }];
}

for (const isFifo of [false, true]) {
  test(`the model of SQS answers as the embedded one, to any operations: ${isFifo ? "FIFO" : "standard"}`, async (t) => {
    const server = await startSqs();
    t.after(() => server.stop());
    mock.timers.enable({ apis: ["Date"], now: 1_760_000_000_000 });
    t.after(() => mock.timers.reset());
    const suffix = isFifo ? ".fifo" : "";
    const embedded = (action: string, input: object) =>
      callService<object>(server.exchange, `AmazonSQS.${action}`, input);
    const seen = new Set<string>();
    for (let seed = 1; seed <= 12; seed++) {
      const random = seeded(seed);
      const [base, dead] = [`events-${seed}`, `dead-${seed}${suffix}`];
      let ids = 0;
      const sqs = createSqs({ nowMs: Date.now, newId: () => `id-${++ids}` });
      const Attributes = { VisibilityTimeout: String(visibilitySeconds) };
      const deadLetterTargetArn = queueArn(dead, "us-east-1");
      const RedrivePolicy = JSON.stringify({ deadLetterTargetArn, maxReceiveCount });
      await embedded("CreateQueue", { QueueName: dead, Attributes });
      await embedded("CreateQueue", { QueueName: base + suffix, Attributes: { ...Attributes, RedrivePolicy } });
      const redrive = { to: dead, maxReceiveCount };
      sqs.createQueue(dead, { visibilityTimeoutSeconds: visibilitySeconds });
      sqs.createQueue(base + suffix, { visibilityTimeoutSeconds: visibilitySeconds, redrive });
      const askEmbedded = numbered(async (action, input) => {
        const more = { MaxNumberOfMessages: 10, MessageSystemAttributeNames: ["All"] };
        const given = action === "ReceiveMessage" ? { ...input, ...more } : input;
        const answer = (await embedded(action, given)) as { Messages?: (Received & { Attributes: object })[] };
        const countOf = ({ Attributes }: { Attributes: object }) =>
          Number((Attributes as Record<string, string>)["ApproximateReceiveCount"]);
        return { ...answer, Messages: answer.Messages?.map((one) => ({ ...one, receives: countOf(one) })) ?? [] };
      });
      const askModel = numbered(async (action, input) => {
        const { QueueUrl: queue, ReceiptHandle } = input as { QueueUrl: string; ReceiptHandle: string };
        if (action === "DeleteMessage") sqs.delete(queue, ReceiptHandle);
        if (action === "DeleteMessage") return {};
        if (action !== "ReceiveMessage") return sqs.call(action, input as Record<string, unknown>);
        const Messages = sqs.receive(queue, 10).map(({ id, body, receipt = "", receives }) => {
          return { MessageId: id, Body: body, ReceiptHandle: receipt, receives };
        });
        return { Messages };
      });
      const story: string[] = [];
      for (let step = 0; step < 80; step++) {
        // A receive takes ten messages at most, and which ten is not documented.
        const isFull = !isFifo && sqs.count(base) > 8;
        const next = operation(random, isFifo, base);
        const isLook = random.chance(0.1) || (isFull && next[0] === "SendMessage");
        const [action, input] = isLook ? (["ReceiveMessage", { QueueUrl: dead }] as const) : next;
        const [expected, actual] = [await askEmbedded(action, input), await askModel(action, input)];
        story.push(`${action} ${JSON.stringify(input)} → ${expected}`);
        if (actual !== expected) assert.equal(actual, expected, `seed ${seed}:\n${story.join("\n")}`);
        seen.add(`${action}: ${expected === "" ? "" : expected.replace(/[\d(].*/s, "")}`);
        if (random.chance(0.4)) mock.timers.tick(1000 * random.pick([1, 5, 31, 120, 299, 301]));
      }
    }
    t.diagnostic([...seen].join("; "));
  });
}
