import assert from "node:assert/strict";
import { after, before, beforeEach, describe, test } from "node:test";
import type { SQSRecord } from "aws-lambda";
import { settle, toBatchResponse } from "../../lib/aws/batch.ts";
import { type AwsClient, awsClient } from "../../lib/aws/client.ts";
import { laneFinder, parseLanes } from "../../lib/aws/lanes.ts";
import { deferralsTo, receiverQueues } from "../../lib/aws/queues.ts";
import { messageVersion } from "../../lib/aws/record.ts";
import { NonRetryableError, RetryLaterError } from "../../lib/errors.ts";
import { queueUrl } from "../../lib/local/sqs.ts";
import { receive } from "../../lib/receiving/receiver.ts";
import { clientTo, patience } from "../support/aws.ts";
import { endsAtOnce, testClock } from "../support/clock.ts";
import {
  appId,
  chainLimits,
  type EventParts,
  envelopeOf,
  eventBody,
  eventText,
  jobOf,
  plantedBody,
  record,
} from "../support/events.ts";
import { type Call, denied, expired, firstTry, internal, throttled, unavailable } from "../support/faults.ts";
import { until } from "../support/until.ts";
import { deletedBy, startWorker, toRecord, type Worker } from "../support/worker.ts";

let bench: Worker;
const sent: Call[] = [];
before(async () => {
  bench = await startWorker({ seed: 20_264, maxReceiveCount: 10 });
  bench.sqsFaults.watch((call) => sent.push(call));
});
beforeEach(() => {
  sent.length = 0;
  return bench.reset();
});
after(() => bench.stop());

const works = { "test.event": () => {} };
const fails = { "test.event": () => Promise.reject(new Error("fails")) };
const ids = (count: number) => Array.from({ length: count }, () => bench.newId());
const lastSend = () => sent.findLast(({ action }) => action === "SendMessage")?.body ?? assert.fail("nothing was sent");

/** One push, as the webhook function stores it. Rejects where it would answer 503. */
async function push(text: string, client: AwsClient = bench.client, given = {}): Promise<number> {
  const queues = receiverQueues(client, { ...bench.urls, ...given });
  const { signal } = new AbortController();
  const { status } = await receive(envelopeOf(text), queues, { signal, elapsedMs: () => 0 });
  return status;
}

describe("Lambda's table of answers, by which these tests delete", () => {
  const records = ["a", "b", "c"].map((id) => record(eventBody({}), { id }));
  const all = ["a", "b", "c"];
  const table: readonly { when: string; answer: unknown; deleted: readonly string[] }[] = [
    { when: "nothing", answer: undefined, deleted: all },
    { when: "null", answer: null, deleted: all },
    { when: "{}", answer: {}, deleted: all },
    { when: "an empty list", answer: { batchItemFailures: [] }, deleted: all },
    { when: "a null list", answer: { batchItemFailures: null }, deleted: all },
    { when: "a misspelt list", answer: { batchItemFailure: [{ itemIdentifier: "a" }] }, deleted: all },
    { when: "one id", answer: { batchItemFailures: [{ itemIdentifier: "b" }] }, deleted: ["a", "c"] },
    { when: "a null id", answer: { batchItemFailures: [{ itemIdentifier: null }] }, deleted: [] },
    { when: "an empty id", answer: { batchItemFailures: [{ itemIdentifier: "" }] }, deleted: [] },
    { when: "an unknown id", answer: { batchItemFailures: [{ itemIdentifier: "z" }] }, deleted: [] },
    { when: "a wrong key", answer: { batchItemFailures: [{ foo: "a" }] }, deleted: [] },
    { when: "a list of texts", answer: { batchItemFailures: ["a"] }, deleted: [] },
    {
      when: "a known and an unknown id",
      answer: { batchItemFailures: [{ itemIdentifier: "a" }, { itemIdentifier: "z" }] },
      deleted: [],
    },
  ];
  for (const { when, answer, deleted } of table) {
    test(`M4: ${when} deletes ${deleted.length} of 3`, () => {
      assert.deepEqual(
        deletedBy(records, answer).map(({ messageId }) => messageId),
        deleted,
      );
    });
  }
});

describe("the answer to a batch", () => {
  test("M4: names each failed record once a delivery, in the order of the batch, and nothing else", () => {
    const records = ["a", "b", "c"].map((id) => record("", { id }));
    assert.deepEqual(toBatchResponse(records, new Set(["c", "a"])), {
      batchItemFailures: [{ itemIdentifier: "a" }, { itemIdentifier: "c" }],
    });
    assert.deepEqual(toBatchResponse(records, new Set()), { batchItemFailures: [] });
    assert.deepEqual(toBatchResponse([], new Set()), { batchItemFailures: [] });
  });

  for (const { what, id } of [
    { what: "a record has an empty id", id: "" },
    { what: "a record has no id", id: undefined },
    { what: "a record's id is a number", id: 5 },
  ]) {
    test(`M5: is never given when ${what}: the whole batch comes back instead`, () => {
      const records = [{ ...record(""), messageId: id as string }];
      assert.throws(() => toBatchResponse(records, new Set([""])), /^TypeError: Cannot settle the batch/);
    });
  }

  const verdicts: Record<string, unknown> = {
    undefined: undefined,
    null: null,
    "{}": {},
    "a number": 5,
    "a misspelt kind": { kind: "Done" },
    "an array": [],
    "a kind of retry without more": { kind: "retry" },
    "a delay that is none": { kind: "retry", delaySeconds: Number.NaN },
    "a negative delay": { kind: "retry", delaySeconds: -1 },
  };
  for (const [what, verdict] of Object.entries(verdicts)) {
    test(`M5: deletes no record whose verdict is ${what}`, async () => {
      await bench.send(...ids(3).map((id) => eventBody({ id })));
      const records = await bench.receive();
      let answer: unknown;
      let failure: unknown;
      try {
        answer = await settle(records, {
          ...{ client: bench.client, urls: bench.urls, appId, random: bench.random.next },
          ...{ clock: bench.clock, maxReceives: 10 },
          consume: async () => verdict as never,
        });
      } catch (error) {
        failure = error;
      }
      assert.deepEqual(failure === undefined ? deletedBy(records, answer) : [], []);
    });
  }

  test("M5: deletes nothing when the worker throws, whatever it throws", async () => {
    const records = ids(3).map((id) => record(eventBody({ id }), { id }));
    for (const thrown of [undefined, null, "text", new Error("worker"), Object.freeze({})]) {
      const answer = await settle(records, {
        ...{ client: bench.client, urls: bench.urls, appId, random: bench.random.next },
        ...{ clock: bench.clock, maxReceives: 10 },
        consume: () => Promise.reject(thrown),
      });
      assert.equal(answer.batchItemFailures.length, 3);
    }
  });

  test("M5: is the list itself: what a faulty wrapper makes of it is what Lambda deletes by", async () => {
    await bench.send(...ids(3).map((id) => eventBody({ id })));
    const records = await bench.receive();
    const { answer } = await bench.invoke(records, { handlers: fails });
    assert.deepEqual(Object.keys(answer as object), ["batchItemFailures"]);
    assert.equal(deletedBy(records, answer).length, 0);
    assert.equal(deletedBy(records, {}).length, 3, "as Lambda would: the bench can tell");
  });

  test("M9: settles a batch of records of almost 1 MiB each", async () => {
    const noise = bench.random.bytes(780_000).toString("base64");
    const all = ids(4);
    const large = all.map((id) => plantedBody(eventText({ id, event: { noise } })));
    assert.ok(large.every((body) => body.length > 1_000_000));
    await bench.send(...large);
    const [outcome] = await bench.drain({ handlers: works });
    assert.equal(outcome?.records.length, 4);
    assert.deepEqual(bench.idsAt("handled").sort(), all.sort());
    assert.deepEqual(await bench.counts(), { queued: 0, dead: 0, quarantined: 0 });
  });

  test("W10: names all ten records when all ten fail, and does not throw", async () => {
    await bench.send(...ids(10).map((id) => eventBody({ id })));
    const { answer, error, records } = await bench.invoke(await bench.receive(), { handlers: fails });
    assert.equal(error, undefined);
    assert.deepEqual(answer, {
      batchItemFailures: records.map(({ messageId: itemIdentifier }) => ({ itemIdentifier })),
    });
  });

  test("names both deliveries of a message that came twice in one batch and failed", async () => {
    const twice = record(eventBody({ id: bench.newId() }), { id: "twice" });
    const { deleted } = await bench.invoke([twice, { ...twice, receiptHandle: "other" }], { handlers: fails });
    assert.equal(deleted.length, 0);
  });
});

describe("a record that comes back", () => {
  test("W9: is not lost when its visibility cannot be changed: the queue's own timeout applies", async () => {
    const all = ids(10);
    await bench.send(...all.map((id) => eventBody({ id })));
    bench.sqsFaults.inject("ChangeMessageVisibility", denied);
    let failures = 0;
    const outcomes = await bench.drain({
      handlers: {
        "test.event": () => {
          if (++failures <= 10) throw new Error("the first time");
        },
      },
    });
    assert.equal(bench.sqsFaults.injected("error"), 10);
    assert.equal(outcomes[0]?.answer === undefined, false);
    assert.deepEqual(bench.idsAt("handled").sort(), all.sort());
    assert.deepEqual(await bench.counts(), { queued: 0, dead: 0, quarantined: 0 });
  });

  test("W5: of a newer release's version is never acknowledged before it lies in the dead-letter queue", async () => {
    const newer = plantedBody(eventText({ id: bench.newId() }), { v: messageVersion + 1 });
    await bench.send(newer);
    const outcomes = await bench.drain({ handlers: works });
    assert.equal(outcomes.length, 10);
    assert.deepEqual(
      outcomes.map(({ deleted }) => deleted.length),
      [0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
    );
    assert.deepEqual(new Set(sent.map(({ action }) => action)), new Set(["SendMessage"]), "no visibility is changed");
    const [message] = await bench.lying();
    assert.equal(message?.Body, newer);
    assert.equal(message?.MessageAttributes?.["deadReason"]?.StringValue, "receivesExhausted");
    assert.deepEqual(await bench.counts(), { queued: 0, dead: 1, quarantined: 0 });
  });

  test("D5: that no delivery could judge is moved with a reason before SQS would move it bare, and each is logged", async () => {
    const id = bench.newId();
    await bench.send(eventBody({ id }));
    bench.dynamoFaults.inject("PutItem", internal);
    await bench.drain({ handlers: { "test.event": () => assert.fail("not entered") } });
    const attributes = lastSend()["MessageAttributes"] as Record<string, { StringValue: string }>;
    assert.equal(attributes["deadReason"]?.StringValue, "receivesExhausted");
    assert.deepEqual([attributes["eventId"]?.StringValue, attributes["eventType"]?.StringValue], [id, "test.event"]);
    assert.equal(attributes["attempts"], undefined, "no run started");
    const told = bench.trace.entries.filter(({ stage }) => stage === "dead").map(({ facts }) => facts);
    assert.deepEqual(
      told.map((facts) => [facts?.["reason"], facts?.["receives"]]),
      [["receivesExhausted", 10]],
    );
    bench.dynamoFaults.reset();
    let runs = 0;
    assert.equal(await bench.redrive(), 1);
    await bench.drain({ handlers: { "test.event": () => void runs++ } });
    assert.equal(runs, 1);
  });

  test("D5: comes back, or is moved by SQS, when the dead-letter queue takes nothing at its last receive", async () => {
    bench.dynamoFaults.inject("PutItem", internal);
    bench.sqsFaults.inject("SendMessage", unavailable);
    const last = record(eventBody({ id: bench.newId() }), { attempt: 10 });
    const { kept } = await bench.invoke([last], { handlers: works });
    assert.equal(kept.length, 1);
    const reasons = bench.trace.entries.filter(({ stage }) => stage === "failed").map(({ facts }) => facts?.["reason"]);
    assert.ok(reasons.includes("dead-letter-queue"));
  });

  test("W6: and is no event stays in the queue while the quarantine cannot take it", async () => {
    await bench.send("junk");
    const stop = bench.sqsFaults.inject("SendMessage", unavailable);
    const { kept } = await bench.invoke(await bench.receive(), { handlers: works });
    assert.equal(kept.length, 1);
    stop();
    for (const { record: seen } of kept) await bench.show(seen);
    await bench.drain({ handlers: works });
    assert.deepEqual(await bench.counts(), { queued: 0, dead: 0, quarantined: 1 });
  });
});

describe("a record of a lane", () => {
  const lane = { holdSeconds: 60 };
  const ofQueue = (name: string, { attributes, ...given }: SQSRecord, MessageGroupId?: string): SQSRecord => ({
    ...given,
    eventSourceARN: `arn:aws:sqs:us-east-1:000000000000:${name}`,
    attributes: { ...attributes, ...(MessageGroupId === undefined ? {} : { MessageGroupId }) },
  });
  const later = new RetryLaterError("later", { delaySeconds: 900 });
  const visibilities = () =>
    sent
      .filter(({ action }) => action === "ChangeMessageVisibility")
      .map(({ body }) => [
        String(body["QueueUrl"]).replace(/^.*[/]/, ""),
        body["ReceiptHandle"],
        body["VisibilityTimeout"],
      ]);

  test("of a FIFO queue runs in its order, and none of its group runs behind one that failed", async () => {
    const receives = { a1: 3, b1: 1, a2: 1, b2: 2, c1: 1, a3: 1 };
    const records = Object.entries(receives).map(([id, attempt]) =>
      ofQueue("events-chat.fifo", record(eventBody({ id }), { id, attempt }), `group-${id[0]}`),
    );
    const ran: string[] = [];
    const { deleted } = await bench.invoke(records, {
      lane,
      handlers: {
        "test.event": (_, { id }) => {
          ran.push(id);
          if (id === "a1") throw later;
          if (id === "c1") throw new RetryLaterError("soon", { delaySeconds: 5 });
        },
      },
    });
    assert.deepEqual(ran, ["a1", "b1", "b2", "c1"]);
    assert.deepEqual(
      deleted.map(({ messageId }) => messageId),
      ["b1", "b2"],
    );
    // What did not run comes back with what failed: until then, SQS would give out no record of the group.
    const waits = { a1: 60, a2: 60, c1: 5, a3: 60 };
    assert.deepEqual(
      visibilities(),
      Object.entries(waits).map(([id, seconds]) => ["events-chat.fifo", `receipt of ${id}`, seconds]),
    );
    const failed = bench.trace.entries.find(({ stage }) => stage === "failed");
    assert.deepEqual([failed?.id, failed?.facts?.["delaySeconds"]], ["a1", 60]);
    // Also what no run was to blame for.
    const last = ofQueue("events-chat.fifo", record(eventBody({}), { id: "a4", attempt: 8 }), "group-a");
    bench.dynamoFaults.inject("PutItem", internal);
    await bench.invoke([last], { lane, handlers: works });
    assert.deepEqual(visibilities().at(-1), ["events-chat.fifo", "receipt of a4", 60]);
  });

  test("of a standard queue is delayed as long as its failure wants, in its own queue", async () => {
    for (const [queue, isOwn] of [
      ["events-bulk", true],
      ["events", false],
      ["other", false],
    ] as const) {
      sent.length = 0;
      const id = bench.newId();
      await bench.invoke([ofQueue(queue, record(eventBody({ id }), { id }))], {
        lane,
        handlers: { "test.event": () => Promise.reject(later) },
      });
      assert.deepEqual(visibilities(), [[isOwn ? queue : "events", `receipt of ${id}`, 900]]);
    }
  });

  test("holds back its group alone while it waits, and comes before what was sent behind it", async () => {
    const url = queueUrl(bench.env.AWS_ENDPOINT_URL_SQS, "events-held.fifo");
    await bench.services.callSqs("CreateQueue", { QueueName: "events-held.fifo" });
    const laneOf = laneFinder([{ name: "held", types: ["test.event"], order: "chat" }]);
    for (const [id, chat] of [
      ["x1", "x"],
      ["x2", "x"],
      ["y1", "y"],
    ] as const) {
      await push(eventText({ id: bench.newId(id), event: { chat } }), bench.client, { laneOf });
    }
    const take = async () =>
      (await bench.services.take(url)).map((message) => ofQueue("events-held.fifo", toRecord(message)));
    const idsOf = (records: readonly SQSRecord[]) =>
      records.map(({ body }) => /event_id[^a-z]+([a-z]\d)/.exec(body)?.[1]);
    const [x1, y1] = await take();
    assert.ok(x1 && y1);
    assert.deepEqual(idsOf([x1, y1]), ["x1", "y1"]);
    await bench.invoke([x1], { lane, handlers: fails });
    assert.deepEqual(idsOf(await take()), []);
    await bench.services.callSqs("ChangeMessageVisibility", {
      QueueUrl: url,
      ReceiptHandle: x1.receiptHandle,
      VisibilityTimeout: 0,
    });
    const [again, ...others] = await take();
    assert.ok(again);
    assert.deepEqual([idsOf([again]), others.length], [["x1"], 0]);
    await bench.services.callSqs("DeleteMessage", { QueueUrl: url, ReceiptHandle: again.receiptHandle });
    assert.deepEqual(idsOf(await take()), ["x2"]);
  });

  test("says its lane when it is dead, and stays in its group, which a standard queue takes as well", async () => {
    for (const [queue, own] of [
      ["events-chat.fifo", "chat"],
      ["events-bulk", "bulk"],
      ["events", undefined],
    ] as const) {
      const id = bench.newId();
      const given = ofQueue(queue, record(eventBody({ id }), { id }), own && `group of ${own}`.replaceAll(" ", "-"));
      await bench.invoke([given], {
        lane,
        handlers: { "test.event": () => Promise.reject(new NonRetryableError("never")) },
      });
      const { QueueUrl, MessageGroupId, MessageDeduplicationId, MessageAttributes } = lastSend();
      assert.deepEqual(
        [QueueUrl, MessageGroupId, MessageDeduplicationId],
        [bench.urls.deadLetterQueueUrl, own && `group-of-${own}`, undefined],
      );
      assert.equal((MessageAttributes as Record<string, { StringValue: string }>)["lane"]?.StringValue, own);
    }
  });

  const made = 1_760_000_000;
  const body = eventBody({ id: "aged" });
  const timeless = body.replace(`${made}000`, "no time");
  const job = plantedBody(eventText({ id: "aged", type: "card.action.trigger" }), { kind: "job", receivedBy: appId });
  const deadReason = { stringValue: "attemptsExhausted", dataType: "String" } as const;
  const ages: { when: string; aged: SQSRecord; ageSeconds: number; most?: number | undefined; isStale: boolean }[] = [
    { when: "it is older than its lane takes", aged: record(body), ageSeconds: 901, most: 900, isStale: true },
    { when: "it is as old as its lane takes", aged: record(body), ageSeconds: 900, most: 900, isStale: false },
    { when: "its lane takes any age", aged: record(body), ageSeconds: 9e6, isStale: false },
    { when: "only SQS says its age", aged: record(timeless), ageSeconds: 901, most: 900, isStale: true },
    {
      ...{ when: "nobody says its age", ageSeconds: 901, most: 900, isStale: false },
      aged: { ...record(timeless), attributes: {} as SQSRecord["attributes"] },
    },
    {
      ...{ when: "a person has redriven it", ageSeconds: 901, most: 900, isStale: false },
      aged: { ...record(body), messageAttributes: { deadReason } },
    },
    { when: "it is deferred work", aged: record(job), ageSeconds: 901, most: 900, isStale: false },
  ];
  for (const { when, aged, ageSeconds, most, isStale } of ages) {
    test(`is ${isStale ? "completed as stale" : "run"} when ${when}`, async () => {
      let runs = 0;
      const answer = await settle([aged], {
        ...{ client: bench.client, urls: bench.urls, appId, random: bench.random.next, maxReceives: 10 },
        ...{ clock: { nowMs: () => (made + ageSeconds) * 1_000 }, maxAgeSeconds: most },
        consume: async () => {
          runs++;
          return { kind: "done" };
        },
      });
      assert.deepEqual([answer, runs], [{ batchItemFailures: [] }, isStale ? 0 : 1]);
      assert.deepEqual(
        bench.trace.entries.map(({ stage, level, id, facts }) => [stage, level, id, facts?.["ageSeconds"]]),
        isStale ? [["stale", "warn", "aged", ageSeconds]] : [],
      );
    });
  }
});

describe("a dead record", () => {
  const dies = { "test.event": () => Promise.reject(new NonRetryableError("never")) };
  const attributesSent = () =>
    Object.fromEntries(
      Object.entries(lastSend()["MessageAttributes"] as Record<string, { StringValue: string }>).map(
        ([name, { StringValue }]) => [name, StringValue],
      ),
    );

  test("H2: carries in its attributes only what SQS takes, whatever the platform named the event", async () => {
    const id = `\u0000\ufffe\uffff\ud800\u2028\u202e<id>\n😀${bench.newId()}${"x".repeat(5_000)}`;
    await bench.invoke([record(eventBody({ id }))], { handlers: dies });
    const { eventId = "" } = attributesSent();
    assert.doesNotMatch(eventId, /[^\t\n\r\u{20}-\u{d7ff}\u{e000}-\u{fffd}\u{10000}-\u{10ffff}]/u);
    assert.match(eventId, /^<id>😀event-/);
    assert.ok(eventId.length <= 128);
    for (const value of Object.values(attributesSent())) assert.notEqual(value, "");
  });

  test("H2: leaves out what it does not know: SQS takes no empty attribute", async () => {
    const bare = {
      ...record(eventBody({ id: "\u0001" }), { id: bench.newId() }),
      attributes: {} as SQSRecord["attributes"],
    };
    const { deleted } = await bench.invoke([bare], { handlers: dies });
    assert.equal(deleted.length, 1);
    const { eventId, firstAttemptAt, attempts } = attributesSent();
    assert.deepEqual([eventId, firstAttemptAt, attempts], [undefined, undefined, "1"]);
  });

  test("stays in its tenant's group", async () => {
    const grouped = record(eventBody({ id: bench.newId(), tenant: "tenant-1" }));
    grouped.attributes.MessageGroupId = "tenant-1";
    await bench.invoke([grouped], { handlers: dies });
    assert.equal(lastSend()["MessageGroupId"], "tenant-1");
    assert.equal(lastSend()["QueueUrl"], bench.urls.deadLetterQueueUrl);
  });

  test("of the largest size that the receiver writes can still be moved, whatever its error says", async () => {
    class Loud extends NonRetryableError {
      override readonly isMessageSafe = true;
    }
    const loud = (cause?: unknown) => new Loud("缺".repeat(600), { cause });
    const dies = { "test.event": () => Promise.reject(loud(loud(loud(loud(loud()))))) };
    const id = `${bench.newId("large")}${"批".repeat(128)}`;
    const text = (noise: string) => eventText({ id, event: { noise } });
    const overhead = Buffer.byteLength(plantedBody(text("")));
    const body = plantedBody(text("x".repeat(1_048_576 - 4_096 - overhead)));
    assert.equal(Buffer.byteLength(body), 1_048_576 - 4_096);
    const { deleted } = await bench.invoke([record(body)], { handlers: dies });
    assert.equal(deleted.length, 1);
    assert.equal((await bench.counts()).dead, 1);
    // What does not fit is left out from the end: the causes, then the frames.
    const { errorClass, message, causes } = JSON.parse(attributesSent()["error"] ?? "");
    assert.deepEqual([errorClass, message, causes], ["Loud", "缺".repeat(512), undefined]);
  });
});

describe("an event that is being stored", () => {
  test("Q1: is stored at the second try, and one that fails twice is refused", async () => {
    for (const fault of [unavailable, throttled]) {
      const stop = bench.sqsFaults.inject("SendMessage", fault, firstTry);
      assert.equal(await push(eventText({ id: bench.newId() })), 200);
      stop();
    }
    assert.equal((await bench.counts()).queued, 2);
    bench.sqsFaults.inject("SendMessage", unavailable);
    await assert.rejects(push(eventText({ id: bench.newId() })));
    assert.equal((await bench.counts()).queued, 2);
  });

  test("Q2: is given up when the receiver's own time is over", async () => {
    bench.sqsFaults.inject("SendMessage", { kind: "stall" });
    const controller = new AbortController();
    const storing = receive(envelopeOf(eventText({ id: bench.newId() })), receiverQueues(bench.client, bench.urls), {
      signal: controller.signal,
      elapsedMs: () => 0,
    });
    await until("it is sent", () => bench.sqsFaults.injected("stall") === 1);
    controller.abort();
    assert.ok(await endsAtOnce(storing));
    await assert.rejects(storing, { name: "AbortError" });
    assert.equal(bench.sqsFaults.calls("SendMessage"), 1);
  });

  test("Q3: twice, since the first answer was lost, is handled once", async () => {
    const id = bench.newId("twice");
    bench.sqsFaults.inject("SendMessage", { kind: "lost" }, firstTry);
    assert.equal(await push(eventText({ id })), 200);
    assert.equal((await bench.counts()).queued, 2);
    await bench.drain({ handlers: works });
    assert.deepEqual(bench.idsAt("handled"), [id]);
    assert.deepEqual(bench.idsAt("duplicate"), [id]);
  });

  /** Pushes one event as the platform does; the outage is over when `mend` is called, before the last. */
  async function pushedUntil(id: string, mend: () => Promise<unknown> | unknown, urls = bench.urls) {
    const answers: (number | string)[] = [];
    const after = ["15 s", "5 min", "1 h", "6 h"];
    for (const delay of ["at once", ...after]) {
      if (delay === "6 h") await mend();
      const answer = await push(eventText({ id }), bench.client, urls).catch((error: Error) => error.name);
      answers.push(answer);
      if (answer === 200) break;
    }
    return answers;
  }

  test("Q4: is refused while access is denied, and stored by the last push when that is mended in time", async () => {
    const id = bench.newId();
    const mend = bench.sqsFaults.inject("SendMessage", denied);
    assert.deepEqual(await pushedUntil(id, mend), [...Array(4).fill("AccessDeniedException"), 200]);
    await bench.drain({ handlers: works });
    assert.deepEqual(bench.idsAt("handled"), [id]);
  });

  test("Q5: is refused while there is no queue, and stored once there is", async () => {
    const name = `made-late-${bench.newId()}`;
    const urls = { ...bench.urls, eventsQueueUrl: queueUrl(bench.env.AWS_ENDPOINT_URL_SQS, name) };
    const mend = () => bench.services.callSqs("CreateQueue", { QueueName: name });
    const answers = await pushedUntil(bench.newId(), mend, urls);
    assert.deepEqual(answers, [...Array(4).fill("QueueDoesNotExist"), 200]);
    assert.equal(await bench.services.count(urls.eventsQueueUrl), 1);
  });

  for (const kind of ["checksum", "empty"] as const) {
    test(`Q9: is not taken for stored when the answer ${kind === "empty" ? "says nothing" : "has another checksum"}`, async () => {
      const id = bench.newId();
      const stop = bench.sqsFaults.inject("SendMessage", { kind });
      await assert.rejects(push(eventText({ id })), /InvalidChecksumError/);
      stop();
      assert.equal(await push(eventText({ id })), 200);
      await bench.drain({ handlers: works });
      assert.deepEqual(bench.idsAt("handled"), [id]);
    });
  }

  test("Q11: is refused while the credentials are expired, and stored with the renewed ones", async () => {
    const env = {
      ...{ AWS_REGION: "us-east-1", AWS_ACCESS_KEY_ID: "first", AWS_SECRET_ACCESS_KEY: "secret" },
      AWS_ENDPOINT_URL_SQS: bench.sqsFaults.endpoint,
    };
    const client = awsClient({ env, tryMs: patience });
    try {
      const stop = bench.sqsFaults.inject("SendMessage", expired);
      await assert.rejects(push(eventText({ id: bench.newId() }), client), { name: "ExpiredTokenException" });
      // As in a function that thawed after they ended: they are read again before each call.
      env.AWS_ACCESS_KEY_ID = "renewed";
      stop();
      assert.equal(await push(eventText({ id: bench.newId() }), client), 200);
      assert.equal((await bench.counts()).queued, 1);
      assert.match(sent.at(-1)?.authorization ?? "", /Credential=renewed\//);
    } finally {
      client.destroy();
    }
  });

  test("Q7: with an emoji, a control character or half a surrogate in its text is stored, and read back the same", async () => {
    const text = "😀 \u0000 \u007f \ufffe \uffff \ud800 é 中";
    const seen: unknown[] = [];
    assert.equal(await push(eventText({ id: bench.newId("odd-text"), event: { text } })), 200);
    await bench.drain({ handlers: { "test.event": (event) => void seen.push(event["text"]) } });
    assert.deepEqual(seen, [text]);
  });

  test("Q8: of a marketplace app goes into its tenant's group, and a tenant that SQS would not take into a digest's", async () => {
    const isMarketplace = true;
    for (const [tenant, group] of [
      ["tenant-1", /^tenant-1$/],
      ["has a space", /^[0-9a-f]{64}$/],
      ["中", /^[0-9a-f]{64}$/],
      ["x".repeat(129), /^[0-9a-f]{64}$/],
    ] as const) {
      await push(eventText({ id: bench.newId(), tenant }), bench.client, { isMarketplace });
      assert.match(String(lastSend()["MessageGroupId"]), group);
    }
    await push(eventText({ id: bench.newId() }), bench.client, { isMarketplace });
    assert.equal(lastSend()["MessageGroupId"], undefined);
    // Of an app with one tenant it would cost, and change nothing.
    await push(eventText({ id: bench.newId(), tenant: "tenant-1" }));
    assert.equal(lastSend()["MessageGroupId"], undefined);
  });

  test("goes to its lane's queue, and in a FIFO one into the group of the value that orders it", async () => {
    const lanes = { chat: { types: ["test.event"], order: "message.chat_id" }, bulk: { types: ["contact.*"] } };
    const laneOf = laneFinder(parseLanes(JSON.stringify(lanes)));
    const { eventsQueueUrl } = bench.urls;
    const sentOf = async (parts: EventParts, given = {}) => {
      await push(eventText(parts), bench.client, { laneOf, ...given });
      const { QueueUrl, MessageGroupId, MessageDeduplicationId } = lastSend();
      assert.equal(MessageDeduplicationId === undefined, QueueUrl !== `${eventsQueueUrl}-chat.fifo`);
      return [String(QueueUrl).slice(eventsQueueUrl.length), MessageGroupId];
    };
    for (const QueueName of ["events-chat.fifo", "events-bulk"])
      await bench.services.callSqs("CreateQueue", { QueueName });
    const inChat = (chat_id: unknown, id = bench.newId()) => ({ id, event: { message: { chat_id } } });
    assert.deepEqual(await sentOf({ type: "contact.user.created_v3", tenant: "t" }), ["-bulk", undefined]);
    assert.deepEqual(await sentOf({ type: "other.type", ...inChat("oc_1") }), ["", undefined]);
    const groups: [value: unknown, group: RegExp][] = [
      ["oc_1", /^oc_1$/],
      [7, /^7$/],
      ...["has a space", "x".repeat(129)].map((value): [string, RegExp] => [value, /^[0-9a-f]{64}$/]),
      ...["", null, true, {}, ["oc_1"], undefined].map((value): [unknown, RegExp] => [value, /^event-\d+$/]),
    ];
    for (const [value, group] of groups) {
      const [queue, found] = await sentOf(inChat(value));
      assert.equal(queue, "-chat.fifo");
      assert.match(String(found), group, JSON.stringify(value));
    }
    assert.deepEqual(await sentOf({ id: "no-event" }), ["-chat.fifo", "no-event"]);
    // A marketplace app's tenants share no group, whatever their chats are called.
    const isMarketplace = true;
    const first = await sentOf({ ...inChat("oc_1"), tenant: "t1" }, { isMarketplace });
    assert.notDeepEqual(await sentOf({ ...inChat("oc_1"), tenant: "t2" }, { isMarketplace }), first);
    assert.deepEqual(await sentOf(inChat("oc_1"), { isMarketplace }), ["-chat.fifo", "oc_1"]);
    assert.deepEqual(await sentOf({ type: "contact.a", tenant: "t1" }, { isMarketplace }), ["-bulk", "t1"]);

    // SQS drops a second push within five minutes, and takes the same id of another app.
    const stored = await bench.services.count(`${eventsQueueUrl}-chat.fifo`);
    for (const app of [appId, appId, "cli_ffffffffffffffff"]) await sentOf({ ...inChat("oc_1", "pushed"), app });
    assert.equal(await bench.services.count(`${eventsQueueUrl}-chat.fifo`), stored + 2);

    // A FIFO queue takes no message with a delay.
    const { store } = deferralsTo(bench.client, { ...bench.urls, ...chainLimits, laneOf });
    const job = jobOf(envelopeOf(eventText({ id: bench.newId() })), 1);
    await store(job, { delaySeconds: 3, signal: new AbortController().signal });
    assert.equal(lastSend()["QueueUrl"], eventsQueueUrl);
  });
});

describe("the queue's client", () => {
  test("R13, Q2: gives a call up after 0.5 s and asks twice, whether it stalls before or after it is stored", async () => {
    const [stalled, muted] = [bench.newId("stalled"), bench.newId("muted")];
    const names = (id: string) => (call: Call) => String(call.body["MessageBody"]).includes(id);
    bench.sqsFaults.inject("SendMessage", { kind: "stall" }, names(stalled));
    bench.sqsFaults.inject("SendMessage", { kind: "mute" }, names(muted));
    const clock = testClock(Date.now());
    const client = clientTo(bench.sqsFaults.endpoint, { clock, random: () => 1 });
    const pushes = [stalled, muted].map((id) =>
      assert.rejects(push(eventText({ id }), client), { name: "TimeoutError" }),
    );
    const sends = () => bench.sqsFaults.calls("SendMessage");
    for (const count of [2, 4]) {
      await until("each has sent it", () => sends() === count);
      await clock.advance(499);
      assert.equal(clock.pending, 2);
      await clock.advance(1);
      // The pause before the second try.
      await clock.advance(100);
    }
    await Promise.all(pushes);
    assert.deepEqual([sends(), clock.pending], [4, 0]);
    client.destroy();
  });

  test("R12: sends again on a fresh connection when the one it kept had died meanwhile", async () => {
    const client = clientTo(bench.sqsFaults.endpoint);
    try {
      await push(eventText({ id: bench.newId() }), client);
      bench.sqsFaults.inject("SendMessage", { kind: "cut" }, ({ reused }) => reused);
      for (let thaw = 0; thaw < 5; thaw++) assert.equal(await push(eventText({ id: bench.newId() }), client), 200);
    } finally {
      client.destroy();
    }
    assert.equal(bench.sqsFaults.injected("cut"), 5);
    assert.equal(bench.sqsFaults.calls("SendMessage"), 1 + 2 * 5);
    assert.equal((await bench.counts()).queued, 6);
  });

  test("R12: notices a connection that was closed between two calls", async () => {
    for (let call = 0; call < 5; call++) {
      assert.equal(await push(eventText({ id: bench.newId() })), 200);
      bench.sqsFaults.closeIdle();
    }
    assert.equal((await bench.counts()).queued, 5);
  });
});
