import assert from "node:assert/strict";
import { createServer } from "node:http";
import { answerGateway } from "../../lib/aws/gateway.ts";
import { receiverQueues } from "../../lib/aws/queues.ts";
import { systemClock } from "../../lib/clock.ts";
import { receive } from "../../lib/receiving/receiver.ts";
import { listenOnLoopback } from "../../lib/simulator/loopback.ts";
import {
  type Deliver,
  type Message,
  type PlatformOptions,
  startPlatform,
} from "../../lib/simulator/platform/platform.ts";
import type { PushResult } from "../../lib/simulator/platform/push.ts";
import { toWebhook } from "../../lib/simulator/platform/webhook.ts";
import { settled, testClock } from "../support/clock.ts";
import { appId, eventText } from "../support/events.ts";
import { httpApi } from "../support/http-events.ts";
import { ring } from "../support/push.ts";
import { type Random, seeded } from "../support/random.ts";
import type { Row } from "./row.ts";
import { assertOnceEach, byTheHundred, type Case, row, settleAll } from "./worker.ts";

/** What the platform's documents say, written down once more: nothing here is read from the code under test. */
const documentedWaitsMs = [15_000, 300_000, 3_600_000, 21_600_000];
const answerWithinMs = 3_000;

/** What meets one push, and how long it takes until the platform knows. */
interface Meeting {
  readonly verdict: "acknowledged" | "refused" | "late" | "unreachable";
  readonly ms: number;
  readonly result: PushResult;
}

function meeting(random: Random, goodShare: number): Meeting {
  const ms = random.below(answerWithinMs);
  const result = { status: null, ms, body: "", delivered: false };
  if (random.chance(goodShare)) {
    return { verdict: "acknowledged", ms, result: { ...result, status: 200, delivered: true } };
  }
  switch (random.below(4)) {
    case 0:
      return {
        verdict: "refused",
        ms,
        result: { ...result, status: random.pick([201, 204, 302, 401, 429, 500, 503]) },
      };
    case 1:
      return { verdict: "late", ms: answerWithinMs, result: { ...result, code: "ETIMEDOUT" } };
    case 2:
      // The head of an answer is no answer: its end came too late.
      return { verdict: "late", ms: answerWithinMs, result: { ...result, status: 200, code: "ETIMEDOUT" } };
    default:
      return { verdict: "unreachable", ms, result: { ...result, code: random.pick(["ECONNRESET", "ECONNREFUSED"]) } };
  }
}

interface Planned {
  readonly message: Message;
  readonly atMs: number;
  readonly orderKey: string | undefined;
  readonly meetings: readonly Meeting[];
}

interface Push {
  readonly id: string;
  readonly number: number;
  readonly atMs: number;
}

/** When which message has to be pushed, by the documents: no timer, no queue, just sums. */
function expected(plan: readonly Planned[]) {
  const pushes: Push[] = [];
  const givenUp: { id: string; atMs: number }[] = [];
  const delivered: { id: string; atMs: number }[] = [];
  const verdicts = { acknowledged: 0, refused: 0, late: 0, unreachable: 0 };
  const freeAtMs = new Map<string, number>();
  for (const { message, atMs, orderKey, meetings } of [...plan].sort((a, b) => a.atMs - b.atMs)) {
    const { id, kind } = message;
    let nextMs = Math.max(atMs, orderKey === undefined ? 0 : (freeAtMs.get(orderKey) ?? 0));
    for (const [index, { verdict, ms }] of meetings.entries()) {
      pushes.push({ id, number: index + 1, atMs: nextMs });
      verdicts[verdict]++;
      const overMs = nextMs + ms;
      const waitMs = documentedWaitsMs[index];
      if (verdict === "acknowledged") delivered.push({ id, atMs: overMs });
      else if (kind === "event" && waitMs === undefined) givenUp.push({ id, atMs: overMs });
      if (verdict === "acknowledged" || kind === "callback" || waitMs === undefined) {
        if (orderKey !== undefined) freeAtMs.set(orderKey, overMs);
        break;
      }
      nextMs = overMs + waitMs;
    }
  }
  return { pushes, givenUp, delivered, verdicts };
}

const byTime = <T extends { id: string; atMs: number }>(list: readonly T[]) =>
  [...list].sort((a, b) => a.atMs - b.atMs || (a.id < b.id ? -1 : 1));

async function checkLadder(random: Random): Promise<void> {
  const clock = testClock();
  const startMs = clock.nowMs();
  const goodShare = random.pick([0, 0.1, 0.3, 0.6, 0.9]);
  const withinMs = 3_600_000;
  const plan = Array.from({ length: 1 + random.below(5) }, (_, index): Planned => {
    const kind = random.chance(0.15) ? "callback" : "event";
    return {
      message: { kind, id: `${kind}-${index}`, type: random.pick(["a.b_v1", "constructor", "__proto__"]), text: "{}" },
      atMs: startMs + random.below(random.pick([1, 10_000, 8 * 3_600_000])),
      orderKey: kind === "event" && random.chance(0.5) ? random.pick(["instance-1", "__proto__"]) : undefined,
      meetings: Array.from({ length: 5 }, () => meeting(random, goodShare)),
    };
  });
  const planned = new Map(plan.map((one) => [one.message.id, one]));
  const pushes: Push[] = [];
  const repeats: Push[] = [];
  const over = new Map<string, string>();
  const deliver: Deliver = ({ id }, { number }) => {
    // What repeats an acknowledged event may be the sixth, and is acknowledged.
    const { ms, result } = planned.get(id)?.meetings[number - 1] ?? meeting(seeded(1), 1);
    return new Promise((resolve) => clock.after(ms, () => resolve(result)));
  };
  const platform = startPlatform({
    ...{ deliver, clock, random: random.next },
    duplicates: { share: random.pick([0, 0.5, 1]), withinMs },
    onAttempt({ id }, { number, atMs, isDuplicate }) {
      (isDuplicate ? repeats : pushes).push({ id, number, atMs });
    },
  });
  for (const { message, atMs, orderKey } of plan) {
    clock.after(atMs - startMs, () => {
      void platform.push(message, { orderKey }).then(({ outcome }) => over.set(message.id, outcome));
    });
  }
  // Five ordered events that all climb to the end take 36 hours, after up to 8.
  await clock.advance(50 * 3_600_000);
  await platform.idle();
  assert.equal(clock.pending, 0);

  const model = expected(plan);
  assert.deepEqual(byTime(pushes), byTime(model.pushes));
  const { givenUp, byType: _, ...counts } = platform.health();
  assert.deepEqual(
    byTime(givenUp).map(({ id, atMs }) => ({ id, atMs })),
    byTime(model.givenUp),
  );
  for (const { id, type } of givenUp) assert.equal(type, planned.get(id)?.message.type);
  assert.equal(counts.delivered, model.delivered.length);
  assert.equal(counts.attempts, pushes.length + repeats.length);
  assert.equal(counts.duplicates, repeats.length);
  // Of the repeats, which follow nothing documented, only this: at most one, of an acknowledged event, in its time.
  assert.equal(new Set(repeats.map(({ id }) => id)).size, repeats.length);
  const repeated = { acknowledged: 0, refused: 0, late: 0, unreachable: 0 };
  for (const { id, number, atMs } of repeats) {
    const at = model.delivered.find((one) => one.id === id)?.atMs ?? Number.POSITIVE_INFINITY;
    assert.ok(atMs >= at && atMs <= at + withinMs, `${id} was repeated at ${atMs}, acknowledged at ${at}`);
    repeated[planned.get(id)?.meetings[number - 1]?.verdict ?? "acknowledged"]++;
  }
  for (const name of ["refused", "late", "unreachable"] as const) {
    assert.equal(counts[name], model.verdicts[name] + repeated[name], name);
  }
  for (const { message } of plan) {
    const isDelivered = model.delivered.some(({ id }) => id === message.id);
    assert.equal(over.get(message.id), isDelivered ? "delivered" : message.kind === "event" ? "given-up" : "failed");
  }
}

/**
 * The platform against the whole pipeline: pushes over HTTP, the receiver before an embedded SQS, the worker
 * with a ledger in memory. An answer that is lost was given: the event is in the queue, and the connection is cut.
 */
async function withLostAnswers(
  given: Case,
  options: {
    /** Whether the `number`th 200 for an event (from 1) is lost. */
    isLost: (number: number) => boolean;
    duplicates: PlatformOptions["duplicates"];
    check: (chunk: { ids: readonly string[]; stored: ReadonlyMap<string, number>; lost: readonly string[] }) => void;
  },
): Promise<void> {
  const { bench, random } = given;
  const keys = ring({ appId });
  const ports = receiverQueues(bench.client, bench.urls);
  // The platform's hours pass at once; what the receiver has for its answer are real seconds.
  const clock = { nowMs: bench.clock.nowMs, after: systemClock.after };
  const losses = new Map<string, boolean[]>();
  const stored = new Map<string, number>();
  const server = createServer(async (request, response) => {
    let id = "";
    const headers = new Map(Object.entries(request.headers).map(([name, value]) => [name, String(value)]));
    const answer = await answerGateway(httpApi({ headers, rawBody: Buffer.concat(await request.toArray()) }), {
      ...{ clock, keys: () => keys },
      receive(envelope, context) {
        if (envelope.kind === "event") id = envelope.id;
        return receive(envelope, ports, context);
      },
    });
    const isStored = answer.statusCode === 200;
    if (isStored) stored.set(id, (stored.get(id) ?? 0) + 1);
    if (isStored && losses.get(id)?.shift() === true) request.socket.destroy();
    else response.writeHead(answer.statusCode, answer.headers).end(answer.body);
  });
  const port = await listenOnLoopback(server);

  const flights = new Set<Promise<unknown>>();
  const post = toWebhook({
    url: `http://127.0.0.1:${port}/webhook`,
    ...{ keys, clock, randomBytes: random.bytes, signing: random.pick(["afresh", "first"]) },
  });
  const platform = startPlatform({
    ...{ clock: bench.clock, random: random.next, duplicates: options.duplicates },
    async deliver(message, push) {
      const flight = post(message, push);
      flights.add(flight);
      return flight.finally(() => flights.delete(flight));
    },
  });
  /** Waits for what is under way, and has the worker handle all that is in the queue. */
  const settleDown = async () => {
    for (;;) {
      while (flights.size > 0) await Promise.all(flights);
      await settleAll(bench, { "test.event": () => {} });
      await settled();
      if (flights.size === 0) return;
    }
  };
  try {
    await byTheHundred(given, async (from, count) => {
      stored.clear();
      const ids = Array.from({ length: count }, (_, index) => `event-${from + index}`);
      const pushed = ids.map((id) => {
        losses.set(
          id,
          [1, 2, 3, 4, 5].map((number) => options.isLost(number)),
        );
        return platform.push({ kind: "event", id, type: "test.event", text: eventText({ id }) });
      });
      let isOver = false;
      void platform.idle().then(() => {
        isOver = true;
      });
      for (let rung = 0; !isOver; rung++) {
        await settleDown();
        await bench.clock.advance(documentedWaitsMs[rung] ?? 21_600_000);
      }
      await settleDown();
      const deliveries = await Promise.all(pushed);
      const lost = deliveries.filter(({ outcome }) => outcome === "given-up").map(({ message }) => message.id);
      assertOnceEach(bench, ids);
      assert.deepEqual(await bench.counts(), { queued: 0, dead: 0, quarantined: 0 });
      options.check({ ids, stored, lost });
    });
    const { unreachable, duplicates } = platform.health();
    assert.ok(unreachable > 0, "no answer was lost");
    assert.equal(duplicates > 0, options.duplicates !== undefined, `${duplicates} were repeated`);
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

export const platformRows: readonly Row[] = [
  {
    id: "0.1",
    title:
      "whatever answers are refused, late or lost, each push is made at its documented time, and none is forgotten",
    full: 100_000,
    sample: 100,
    async run({ n, seed, progress }) {
      const random = seeded(seed);
      for (let index = 0; index < n; index++) {
        try {
          await checkLadder(random);
        } catch (error) {
          const message = error instanceof Error ? error.message : String(error);
          throw new Error(`0.1 does not hold with seed ${seed}, case ${index}: ${message}`, { cause: error });
        }
        if (index % 100 === 99) progress(index + 1);
      }
    },
  },

  row({
    id: "E4",
    title: "events whose first answer was lost are stored at least twice, and complete once",
    memory: true,
    full: 10_000,
    sample: 10,
    check: (given) =>
      withLostAnswers(given, {
        isLost: (number) => number === 1,
        duplicates: undefined,
        check({ ids, stored, lost }) {
          assert.deepEqual(
            ids.filter((id) => (stored.get(id) ?? 0) < 2),
            [],
          );
          assert.deepEqual(lost, []);
        },
      }),
  }),

  row({
    id: "E4-30",
    title: "while 30 % of all answers are lost and a tenth of the events is repeated, every event completes once",
    memory: true,
    full: 10_000,
    sample: 30,
    check: (given) =>
      withLostAnswers(given, {
        isLost: () => given.random.chance(0.3),
        // Also a sample has some.
        duplicates: { share: given.n < 1_000 ? 0.3 : 0.1, withinMs: 20_000 },
        // Those are lost in the platform's eyes only: it was never told that they were stored.
        check: ({ stored, lost }) => assert.ok(lost.every((id) => stored.has(id))),
      }),
  }),
];
