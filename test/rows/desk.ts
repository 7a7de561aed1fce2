import assert from "node:assert/strict";
import { SQS } from "@aws-sdk/client-sqs";
import { redrive } from "../../lib/cli/desk/redrive.ts";
import { systemClock } from "../../lib/clock.ts";
import { eventBody } from "../support/events.ts";
import type { Random } from "../support/random.ts";
import type { Worker } from "../support/worker.ts";
import { row, settleAll } from "./worker.ts";

const never = new Promise<never>(() => {});
const credentials = { accessKeyId: "local", secretAccessKey: "local" };

/** A desk in this process: after so many calls it is killed, before or behind the next one, and nothing it began goes further. */
function mortalDesk(bench: Worker, random: Random, lettersToDeath: number) {
  const sqs = new SQS({ region: "us-east-1", credentials, endpoint: bench.services.endpoints.sqs });
  const killed = Promise.withResolvers<void>();
  const held = new Set<string>();
  let isAlive = true;
  let calls = 0;
  const dieAt = 1 + random.below(2 * lettersToDeath);
  const die = () => {
    isAlive = false;
    killed.resolve();
    return never;
  };
  const mortal =
    <Input, Output>(call: (input: Input) => Promise<Output>, counts = false) =>
    async (input: Input): Promise<Output> => {
      if (!isAlive) return never;
      if (counts && ++calls === dieAt && random.chance(0.5)) return die();
      const output = await call(input);
      return isAlive && !(counts && calls >= dieAt) ? output : die();
    };
  const urls = { events: bench.urls.eventsQueueUrl, letters: bench.urls.deadLetterQueueUrl };
  const running = redrive({
    urls,
    sqs: {
      receiveMessage: mortal(async (input: Parameters<SQS["receiveMessage"]>[0]) => {
        const output = await sqs.receiveMessage({ ...input, WaitTimeSeconds: 0 });
        for (const { ReceiptHandle = "" } of output.Messages ?? []) held.add(ReceiptHandle);
        return output;
      }),
      getQueueAttributes: mortal((input: Parameters<SQS["getQueueAttributes"]>[0]) => sqs.getQueueAttributes(input)),
      changeMessageVisibilityBatch: mortal((input: Parameters<SQS["changeMessageVisibilityBatch"]>[0]) =>
        sqs.changeMessageVisibilityBatch(input),
      ),
      sendMessage: mortal((input: Parameters<SQS["sendMessage"]>[0]) => sqs.sendMessage(input), true),
      deleteMessage: mortal(async (input: Parameters<SQS["deleteMessage"]>[0]) => {
        const output = await sqs.deleteMessage(input);
        held.delete(input.ReceiptHandle ?? "");
        return output;
      }, true),
    } as unknown as Parameters<typeof redrive>[0]["sqs"],
    wants: () => true,
    judge: { queue: "dead", nowMs: 1_760_000_000_000, codeChangedAtMs: Number.POSITIVE_INFINITY, force: false },
    perSecond: 1_000,
    clock: systemClock,
    signal: new AbortController().signal,
  });
  return {
    /** Resolves with whether the desk came to its end. Of one that was killed, the letters come back after a minute. */
    async ended(): Promise<boolean> {
      const isDone = await Promise.race([running.then(() => true), killed.promise.then(() => false)]);
      if (!isDone) {
        for (const ReceiptHandle of held) {
          const input = { QueueUrl: urls.letters, ReceiptHandle, VisibilityTimeout: 0 };
          await bench.services.callSqs("ChangeMessageVisibility", input).catch(() => {});
        }
      }
      sqs.destroy();
      return isDone;
    },
  };
}

export const deskRows = [
  row({
    id: "X2",
    title: "two desks that redrive at once and are killed again and again give each dead event one run more",
    full: 2_000,
    sample: 60,
    async check({ bench, random, n, progress }) {
      const ids = Array.from({ length: n }, () => bench.newId("dead"));
      const lettersToDeath = Math.min(50, n / 4);
      const failing = { "test.event": () => Promise.reject(new Error("not repaired yet")) };
      const bodies = new Map(ids.map((id) => [id, eventBody({ id })]));
      await bench.send(...bodies.values());
      // The ledger knows each as dead, as it would after ten attempts.
      for (let records = await bench.receive(); records.length > 0; records = await bench.receive()) {
        await bench.invoke(records, { handlers: failing, maxAttempts: 1 });
      }
      assert.deepEqual(await bench.counts(), { queued: 0, dead: n, quarantined: 0 });
      bench.trace.entries.length = 0;
      let isDone = false;
      while (!isDone) {
        const desks = [mortalDesk(bench, random, lettersToDeath), mortalDesk(bench, random, lettersToDeath)];
        await Promise.all(desks.map((desk) => desk.ended()));
        const { dead } = await bench.counts();
        progress(n - dead);
        isDone = dead === 0;
      }
      const outcomes = await settleAll(bench, { "test.event": () => {} });
      const started = bench.idsAt("started").toSorted();
      assert.deepEqual(started, ids.toSorted());
      assert.deepEqual(await bench.counts(), { queued: 0, dead: 0, quarantined: 0 });
      const redriven = outcomes.flatMap(({ deleted }) => deleted).length;
      assert.ok(redriven >= n, "a letter was lost");
    },
  }),
];
