// alone: it counts this process's connections.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { isDeepStrictEqual } from "node:util";
import { dynamoAnswers } from "../../lib/aws/answers.ts";
import { receiverQueues } from "../../lib/aws/queues.ts";
import { clientTo } from "../support/aws.ts";
import { envelopeOf, eventText } from "../support/events.ts";
import { startSlowAws } from "../support/slow-aws.ts";

const envelope = envelopeOf(eventText({ id: "event-1" }));
assert.ok(envelope.kind === "event");

type Call = (signal: AbortSignal) => Promise<unknown>;
/** With 50 connections each, the last ten of 110 calls wait for longer than a connection may take. */
const clients: Readonly<Record<string, (endpoint: string) => { call: Call; destroy(): void }>> = {
  "the queue": (endpoint) => {
    const client = clientTo(endpoint);
    const url = `${endpoint}/000000000000/events`;
    const { send } = receiverQueues(client, { eventsQueueUrl: url, quarantineQueueUrl: url });
    return { call: (signal) => send(envelope, signal), destroy: () => client.destroy() };
  },
  "the table": (endpoint) => {
    const client = clientTo(endpoint, { tryMs: { dynamodb: 500 } });
    const answers = dynamoAnswers(client, "table");
    return {
      call: (signal) => answers.claim({ key: "key", owner: "a", nowMs: 0 }, signal),
      destroy: () => client.destroy(),
    };
  },
};

describe("calls at once", { concurrency: true }, () => {
  for (const [to, start] of Object.entries(clients)) {
    test(`to ${to} wait for their turn as long as their caller does, not for a socket`, async (t) => {
      const expected = { fulfilled: 70, AccessDeniedException: 40, AbortError: 20, calls: 110 };
      let found: Record<string, number> = {};
      // Timeouts of real time fail on a machine that is busy with other tests: of five bursts one is enough.
      for (let burst = 0; burst < 5 && !isDeepStrictEqual(found, expected); burst++) {
        const server = await startSlowAws(t, 150, { refused: 40 });
        const { call, destroy } = start(server.endpoint);
        t.after(destroy);
        const giveUp = new AbortController();
        const patient = Array.from({ length: 110 }, () => call(new AbortController().signal));
        const impatient = Array.from({ length: 20 }, () => call(giveUp.signal));
        giveUp.abort();
        const outcomes: { status: string; reason?: Error }[] = await Promise.allSettled([...patient, ...impatient]);
        const names = Object.groupBy(outcomes, ({ status, reason }) => reason?.name ?? status);
        found = Object.fromEntries(Object.entries(names).map(([name, of = []]) => [name, of.length]));
        // One whose caller gave up is not sent.
        found["calls"] = server.calls;
      }
      assert.deepEqual(found, expected);
    });
  }
});
