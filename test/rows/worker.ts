import assert from "node:assert/strict";
import { receiverQueues } from "../../lib/aws/queues.ts";
import { messageVersion } from "../../lib/aws/record.ts";
import { type Clock, withDeadline } from "../../lib/clock.ts";
import { NonRetryableError, RetryLaterError } from "../../lib/errors.ts";
import { consume } from "../../lib/handling/worker.ts";
import { answerWithinMs } from "../../lib/receiving/http.ts";
import { receive } from "../../lib/receiving/receiver.ts";
import { clientTo } from "../support/aws.ts";
import { testClock } from "../support/clock.ts";
import {
  envelopeOf,
  eventBody,
  eventText,
  handlerList,
  noCallbacks,
  plantedBody,
  record,
  type TestHandlers,
} from "../support/events.ts";
import { firstTry, internal, share, unavailable } from "../support/faults.ts";
import { type Random, seeded } from "../support/random.ts";
import { until } from "../support/until.ts";
import { type Outcome, startWorker, type Worker } from "../support/worker.ts";
import type { Row } from "./row.ts";

export interface Case {
  readonly bench: Worker;
  readonly random: Random;
  readonly n: number;
  readonly progress: (done: number) => void;
}

/** A row on a bench of its own; what it fails with names the seed. */
export function row(
  given: Omit<Row, "run"> & { readonly memory?: boolean; readonly check: (given: Case) => ReturnType<Row["run"]> },
): Row {
  const { check, memory = false, ...rest } = given;
  return {
    ...rest,
    async run({ n, seed, progress }) {
      const bench = await startWorker({ seed, memory });
      try {
        const said = await check({ bench, random: seeded(seed), n, progress });
        return said ?? "";
      } catch (error) {
        const message = error instanceof Error ? error.message : String(error);
        throw new Error(`${rest.id} does not hold with seed ${seed}, n ${n}: ${message}`, { cause: error });
      } finally {
        await bench.stop();
      }
    },
  };
}

/** Runs `work` for 0 to n − 1, at most `lanes` at a time. */
async function inLanes(n: number, lanes: number, work: (index: number) => Promise<void>): Promise<void> {
  let next = 0;
  const lane = async () => {
    while (next < n) await work(next++);
  };
  await Promise.all(Array.from({ length: Math.min(lanes, n) }, lane));
}

/** Goes through n cases by the hundred, and forgets the trace in between. */
export async function byTheHundred({ bench, n, progress }: Case, work: (from: number, count: number) => Promise<void>) {
  for (let from = 0; from < n; from += 100) {
    await work(from, Math.min(100, n - from));
    bench.trace.entries.length = 0;
    progress(Math.min(n, from + 100));
  }
}

/** Handles all that is in the queue, several batches at once, and lets the clock run on to what comes back. */
export async function settleAll(bench: Worker, handlers: TestHandlers, lanes = 4): Promise<Outcome[]> {
  const outcomes: Outcome[] = [];
  for (;;) {
    const kept: Outcome["kept"][number][] = [];
    const lane = async () => {
      for (let records = await bench.receive(); records.length > 0; records = await bench.receive()) {
        const outcome = await bench.invoke(records, { handlers });
        outcomes.push(outcome);
        kept.push(...outcome.kept);
      }
    };
    await Promise.all(Array.from({ length: lanes }, lane));
    if (kept.length === 0) return outcomes;
    await bench.clock.advance(1000 * Math.max(...kept.map(({ waitSeconds }) => waitSeconds)));
    for (const { record } of kept) await bench.show(record);
  }
}

/** How often each event reached a stage. */
function tally(bench: Worker, stage: string): Map<string, number> {
  const counts = new Map<string, number>();
  for (const id of bench.idsAt(stage)) counts.set(id, (counts.get(id) ?? 0) + 1);
  return counts;
}

export function assertOnceEach(bench: Worker, ids: readonly string[]): void {
  const completed = tally(bench, "handled");
  assert.deepEqual(
    ids.filter((id) => completed.get(id) !== 1).map((id) => `${id}: ${completed.get(id) ?? 0} times`),
    [],
  );
  assert.equal(completed.size, ids.length);
}

/**
 * Pushes an event as the platform does: again, up to five times in all, until it is answered 200. The platform waits
 * for 3 s; an answer is late when it takes 2 s by this clock, which stands still unless the row moves it on.
 */
async function pushed(
  text: string,
  ports: Parameters<typeof receive>[1],
  clock: Clock = testClock(),
): Promise<{ attempts: number; isLate: boolean }> {
  let isLate = false;
  for (let attempts = 1; attempts <= 5; attempts++) {
    const startMs = clock.nowMs();
    const elapsedMs = () => clock.nowMs() - startMs;
    const inTime = clock.after(2_000, () => {
      isLate = true;
    });
    try {
      const { status } = await withDeadline(clock, { ms: answerWithinMs, error: () => new Error("late") }, (signal) =>
        receive(envelopeOf(text), ports, { signal, elapsedMs }),
      );
      if (status === 200) return { attempts, isLate };
    } catch {
      // A 503: the platform comes again.
    } finally {
      inTime();
    }
  }
  return { attempts: Number.POSITIVE_INFINITY, isLate };
}

/** Takes everything out of the events queue, and gives back the ids of the events. */
async function emptied(bench: Worker): Promise<string[]> {
  const ids: string[] = [];
  for (let records = await bench.receive(); records.length > 0; records = await bench.receive()) {
    for (const { body } of records) ids.push(/event_id\\":\\"([^\\]+)/.exec(body)?.[1] ?? "none");
    await bench.remove(records);
  }
  return ids;
}

const turns = async (count: number) => {
  for (let turn = 0; turn < count; turn++) await new Promise(setImmediate);
};

export const workerRows: readonly Row[] = [
  row({
    id: "S1",
    title: "of events of which a fifth comes twice, half of those at the same time, none completes twice",
    full: 100_000,
    sample: 20,
    check: (given) =>
      byTheHundred(given, async (from, count) => {
        const { bench, random } = given;
        const ids = Array.from({ length: count }, (_, index) => `s1-${from + index}`);
        const twice = ids.filter((_, index) => index % 5 === 0);
        const later = new Set(twice.filter((_, index) => index % 2 === 0));
        const bodies = ids.flatMap((id, index) => {
          const body = eventBody({ id });
          return index % 5 === 0 && !later.has(id) ? [body, body] : [body];
        });
        const handlers = { "test.event": () => turns(random.below(8)) };
        await bench.send(...bodies);
        await settleAll(bench, handlers);
        await bench.send(...[...later].map((id) => eventBody({ id })));
        await settleAll(bench, handlers);
        assertOnceEach(bench, ids);
        assert.equal(bench.idsAt("duplicate").length, twice.length);
        assert.deepEqual(await bench.counts(), { queued: 0, dead: 0, quarantined: 0 });
      }),
  }),

  row({
    id: "M4",
    title: "whatever the handlers do, the answer names exactly the records that failed",
    full: 100_000,
    sample: 40,
    async check({ bench, random, n, progress }) {
      let faulty = false;
      bench.dynamoFaults.inject("*", internal, () => faulty && random.chance(0.3));
      bench.sqsFaults.inject("SendMessage", unavailable, () => faulty && random.chance(0.3));
      const outcomes: Record<string, { type: string; fails: boolean; handle?: () => unknown }> = {
        returns: { type: "returns", fails: false, handle: () => ({ batchItemFailures: [{ itemIdentifier: "" }] }) },
        nothing: { type: "nothing", fails: false, handle: () => null },
        throws: { type: "throws", fails: true, handle: () => Promise.reject(new Error("itemIdentifier")) },
        undefined: { type: "undefined", fails: true, handle: () => Promise.reject(undefined) },
        later: {
          type: "later",
          fails: true,
          handle: () => Promise.reject(new RetryLaterError("", { delaySeconds: 5 })),
        },
        never: { type: "never", fails: false, handle: () => Promise.reject(new NonRetryableError("")) },
        unhandled: { type: "unhandled", fails: false },
        "of another app": { type: "returns", fails: false },
        junk: { type: "returns", fails: false },
        "of a newer release": { type: "returns", fails: true },
      };
      const handlers = Object.fromEntries(
        Object.values(outcomes).flatMap(({ type, handle }) => (handle === undefined ? [] : [[type, handle] as const])),
      );
      for (let done = 0; done < n; ) {
        faulty = random.chance(0.3);
        const size = 1 + random.below(10);
        const failing = new Set<string>();
        const records = Array.from({ length: size }, (_, index) => {
          const [name = "", { type, fails } = assert.fail()] = random.pick(Object.entries(outcomes));
          const id = `m4-${done}-${index}`;
          // Whatever comes for the last time is moved to the dead-letter queue, and deleted here.
          const attempt = random.chance(0.1) ? bench.maxReceives : 1 + random.below(10);
          if (fails && attempt < bench.maxReceives) failing.add(id);
          const text = eventText({ id, type, ...(name === "of another app" ? { app: "cli_other" } : undefined) });
          const v = messageVersion + (name === "of a newer release" ? 1 : 0);
          return record(name === "junk" ? `${random.hex(6)}{` : plantedBody(text, { v }), { id, attempt });
        });
        const { answer, error } = await bench.invoke(records, { handlers });
        assert.equal(error, undefined);
        assert.deepEqual(Object.keys(answer as object), ["batchItemFailures"]);
        const list = (answer as { batchItemFailures: { itemIdentifier: string }[] }).batchItemFailures;
        const named = new Set(list.map(({ itemIdentifier }) => itemIdentifier));
        assert.ok(list.every((item) => Object.keys(item).join() === "itemIdentifier"));
        assert.equal(named.size, list.length);
        for (const id of named) assert.ok(records.some(({ messageId }) => messageId === id));
        for (const id of failing) assert.ok(named.has(id), `${id} failed and would be deleted`);
        if (!faulty) assert.deepEqual([...named].sort(), [...failing].sort());
        bench.trace.entries.length = 0;
        done += size;
        progress(Math.min(n, done));
      }
    },
  }),

  row({
    id: "I2",
    title: "a claim whose first answer is lost runs its event at once, and once",
    full: 10_000,
    sample: 10,
    async check(given) {
      const { bench } = given;
      bench.dynamoFaults.inject("PutItem", { kind: "lost" }, firstTry);
      await byTheHundred(given, async (from, count) => {
        const ids = Array.from({ length: count }, (_, index) => `i2-${from + index}`);
        const runs: string[] = [];
        await bench.send(...ids.map((id) => eventBody({ id })));
        // Two batches at a time: the SDK stops asking again when too many of its calls fail at once.
        const outcomes = await settleAll(bench, { "test.event": (_event, { id }) => void runs.push(id) }, 2);
        assert.deepEqual(runs.sort(), ids.sort());
        assertOnceEach(bench, ids);
        assert.ok(
          outcomes.every(({ kept }) => kept.length === 0),
          "no event waits",
        );
        assert.equal(bench.dynamoFaults.injected("lost"), from + count);
      });
    },
  }),

  row({
    id: "I4",
    title: "of two runs, the first of which stalled past its lease, one completes",
    memory: true,
    full: 1_000,
    sample: 10,
    check: (given) =>
      byTheHundred(given, async (from, count) => {
        const { bench, random } = given;
        const ids = Array.from({ length: count }, (_, index) => `i4-${from + index}`);
        const thawed = Promise.withResolvers<void>();
        const timers: (() => void)[] = [];
        // The timers of a frozen machine stand still; when it thaws, either they come first or the handler does.
        const clock = {
          nowMs: bench.clock.nowMs,
          after(_ms: number, fire: () => void) {
            if (random.chance(0.5)) timers.push(fire);
            return () => {};
          },
        };
        const fails = new Set(ids.filter(() => random.chance(0.2)));
        const stalled = ids.map((id) =>
          bench.invoke([record(eventBody({ id }), { id })], {
            clock,
            handlers: { "test.event": () => thawed.promise },
          }),
        );
        await bench.reached("started", count);
        await bench.clock.advance(2 * 70_000);
        await inLanes(count, 10, async (index) => {
          const id = ids[index] ?? "";
          const second = () => (fails.has(id) ? Promise.reject(new Error("the second fails")) : undefined);
          await bench.invoke([record(eventBody({ id }))], { handlers: { "test.event": second } });
        });
        for (const fire of timers) fire();
        thawed.resolve();
        for (const { kept } of await Promise.all(stalled)) assert.equal(kept.length, 1);
        await bench.clock.advance(900_000);
        const again = ids.filter((id, index) => fails.has(id) || index % 5 === 0);
        await inLanes(again.length, 10, async (index) => {
          await bench.invoke([record(eventBody({ id: again[index] ?? "" }))], { handlers: { "test.event": () => {} } });
        });
        assertOnceEach(bench, ids);
        assert.equal(bench.idsAt("started").length, 2 * count + fails.size);
      }),
  }),

  row({
    id: "I8",
    title: "of two deliveries at the same time one runs, and the other is received once more at most",
    memory: true,
    full: 1_000,
    sample: 10,
    check: (given) =>
      byTheHundred(given, async (from, count) => {
        const { bench } = given;
        const ids = Array.from({ length: count }, (_, index) => `i8-${from + index}`);
        const gate = Promise.withResolvers<void>();
        let runs = 0;
        const first = ids.map((id) =>
          bench.invoke([record(eventBody({ id }), { id: `${id} one` })], {
            handlers: {
              "test.event": () => {
                runs++;
                return gate.promise;
              },
            },
          }),
        );
        await bench.reached("started", count);
        let secondRuns = 0;
        const second = () => void secondRuns++;
        let waitSeconds = 0;
        await inLanes(count, 10, async (index) => {
          const two = record(eventBody({ id: ids[index] ?? "" }), { id: `${ids[index]} two` });
          const { kept } = await bench.invoke([two], { handlers: { "test.event": second } });
          assert.equal(kept.length, 1, "no early acknowledgement: the first may yet fail");
          waitSeconds = Math.max(waitSeconds, kept[0]?.waitSeconds ?? 0);
        });
        gate.resolve();
        await Promise.all(first);
        await bench.clock.advance(waitSeconds * 1000);
        await inLanes(count, 10, async (index) => {
          const two = record(eventBody({ id: ids[index] ?? "" }), { id: `${ids[index]} two`, attempt: 2 });
          const { deleted } = await bench.invoke([two], { handlers: { "test.event": second } });
          assert.equal(deleted.length, 1);
        });
        assert.deepEqual([runs, secondRuns], [count, 0]);
        assertOnceEach(bench, ids);
        assert.equal((await bench.counts()).dead, 0);
      }),
  }),

  row({
    id: "I10",
    title: "an event without an id that comes twice runs once",
    memory: true,
    full: 1_000,
    sample: 20,
    check: (given) =>
      byTheHundred(given, async (from, count) => {
        const { bench } = given;
        const runs: unknown[] = [];
        const bodies = Array.from({ length: count }, (_, index) => eventBody({ id: null, event: { n: from + index } }));
        await bench.send(...bodies, ...bodies);
        await settleAll(bench, { "test.event": ({ n }) => void runs.push(n) });
        assert.equal(runs.length, count);
        assert.equal(new Set(runs).size, count);
        assert.equal(bench.idsAt("duplicate").length, count);
      }),
  }),

  row({
    id: "I16",
    title: "clocks that are two seconds off let no second run begin beside the first",
    memory: true,
    full: 10_000,
    sample: 40,
    check: (given) =>
      byTheHundred(given, async (from, count) => {
        const { bench, random } = given;
        const startMs = bench.clock.nowMs();
        const timeoutMs = 60_000;
        await inLanes(count, 10, async (index) => {
          const envelope = envelopeOf(eventText({ id: `i16-${from + index}` }));
          let atMs = 0;
          /** One try of a machine whose clock is `skewMs` off; whether its handler was entered. */
          const enters = (skewMs: number, owner: string) =>
            new Promise<boolean>((resolve, reject) => {
              const startedAtMs = atMs;
              consume(
                envelope,
                { receives: 1, redrives: 0, bury: () => Promise.reject(new Error("not dead")) },
                {
                  ...noCallbacks,
                  dispatch: handlerList({
                    "test.event": () => {
                      resolve(true);
                      // It never reports: Lambda ends it when its time is over.
                      return new Promise(() => {});
                    },
                  }),
                  ledger: bench.ledger,
                  clock: { nowMs: () => startMs + atMs + skewMs, after: () => () => {} },
                  random: random.next,
                  newOwner: () => owner,
                  maxAttempts: 10,
                  remainingMs: () => startedAtMs + timeoutMs - atMs,
                },
              ).then(() => resolve(false), reject);
            });
          // The first case has what the lease must allow for.
          const skew = (most: number) => (from + index === 0 ? most : random.below(4_001) - 2_000);
          assert.equal(await enters(skew(-2_000), `first ${from + index}`), true);
          const tries = [random.below(timeoutMs), timeoutMs - 1];
          for (const tryAtMs of tries.sort((a, b) => a - b)) {
            atMs = tryAtMs;
            assert.equal(
              await enters(skew(2_000), `second ${from + index} ${tryAtMs}`),
              false,
              `${tryAtMs} ms: two at once`,
            );
          }
          atMs = timeoutMs + 10_000 + 4_000;
          assert.equal(await enters(skew(-2_000), `third ${from + index}`), true, "the key is free again");
        });
      }),
  }),

  row({
    id: "Q1",
    title: "while a tenth of all sends fails, no event is lost",
    full: 100_000,
    sample: 30,
    async check(given) {
      const { bench, random } = given;
      const ports = receiverQueues(bench.client, bench.urls);
      bench.sqsFaults.inject("SendMessage", unavailable, share(0.1, random.next));
      await byTheHundred(given, async (from, count) => {
        const ids = Array.from({ length: count }, (_, index) => `q1-${from + index}`);
        await inLanes(count, 8, async (index) => {
          const { attempts } = await pushed(eventText({ id: ids[index] ?? "" }), ports);
          assert.ok(attempts <= 5);
        });
        assert.deepEqual([...new Set(await emptied(bench))].sort(), ids.sort());
      });
      assert.ok(bench.sqsFaults.injected("error") > 0);
    },
  }),

  row({
    id: "Q2",
    title: "while a tenth of all sends stalls, every push is answered in time, and no event is lost",
    full: 10_000,
    sample: 30,
    async check(given) {
      const { bench, random, n, progress } = given;
      const clock = testClock(Date.now());
      const client = clientTo(bench.sqsFaults.endpoint, { clock, random: random.next });
      const ports = receiverQueues(client, bench.urls);
      let sends = 0;
      bench.sqsFaults.inject("SendMessage", { kind: "stall" }, () => ++sends % 20 === 5);
      bench.sqsFaults.inject("SendMessage", { kind: "mute" }, () => sends % 20 === 15);
      const faults = () => bench.sqsFaults.injected("stall") + bench.sqsFaults.injected("mute");
      const ids = Array.from({ length: n }, (_, index) => `q2-${index}`);
      let done = 0;
      let repeated = 0;
      for (let from = 0; from < n; from += 20) {
        const wave = ids.slice(from, from + 20);
        const pushes = wave.map(async (id) => {
          const { attempts, isLate } = await pushed(eventText({ id }), ports, clock);
          repeated += attempts - 1;
          assert.ok(attempts <= 5);
          assert.ok(!isLate, "an answer came late");
          progress(++done);
        });
        const all = Promise.all(pushes);
        let endured = faults();
        while (done < from + wave.length) {
          const isStill = () => faults() - endured === from + wave.length - done;
          await Promise.race([all, until("each push is answered, or waits for a send that stalls", isStill)]);
          endured = faults();
          // The time of one try, and the longest pause before the next.
          await clock.advance(600);
        }
        await all;
      }
      client.destroy();
      const [stalls, mutes] = [bench.sqsFaults.injected("stall"), bench.sqsFaults.injected("mute")];
      assert.ok(stalls > 0 && mutes > 0);
      // The second try stores what the first could not: seldom does the platform have to push again.
      assert.ok(repeated <= (stalls + mutes) / 2, `${repeated} pushes again for ${stalls + mutes} faults`);
      assert.deepEqual([...new Set(await emptied(bench))].sort(), ids.sort());
    },
  }),

  row({
    id: "Q3",
    title: "events that were all stored twice, since each first answer was lost, complete once",
    memory: true,
    full: 10_000,
    sample: 10,
    async check(given) {
      const { bench } = given;
      const ports = receiverQueues(bench.client, bench.urls);
      bench.sqsFaults.inject("SendMessage", { kind: "lost" }, firstTry);
      await byTheHundred(given, async (from, count) => {
        const ids = Array.from({ length: count }, (_, index) => `q3-${from + index}`);
        await inLanes(count, 8, async (index) => {
          assert.equal((await pushed(eventText({ id: ids[index] ?? "" }), ports)).attempts, 1);
        });
        assert.equal((await bench.counts()).queued, 2 * count);
        await settleAll(bench, { "test.event": () => {} });
        assertOnceEach(bench, ids);
        assert.equal(bench.idsAt("duplicate").length, count);
      });
    },
  }),

  row({
    id: "R12",
    title: "a push that finds its connection dead is stored all the same, with one try more",
    full: 1_000,
    sample: 18,
    async check({ bench, n, progress }) {
      const lanes = 6;
      const clients = Array.from({ length: lanes }, () => clientTo(bench.sqsFaults.endpoint));
      try {
        bench.sqsFaults.inject("SendMessage", { kind: "cut" }, ({ reused }) => reused);
        let done = 0;
        await Promise.all(
          clients.map(async (client, lane) => {
            const ports = receiverQueues(client, bench.urls);
            await pushed(eventText({ id: `r12-warm-${lane}` }), ports);
            for (let thaw = lane; thaw < n; thaw += lanes) {
              assert.equal((await pushed(eventText({ id: `r12-${thaw}` }), ports)).attempts, 1);
              progress(++done);
            }
          }),
        );
        assert.equal(bench.sqsFaults.injected("cut"), n);
        assert.equal(bench.sqsFaults.calls("SendMessage"), lanes + 2 * n);
        assert.equal((await bench.counts()).queued, lanes + n);
      } finally {
        for (const client of clients) client.destroy();
      }
    },
  }),
];
