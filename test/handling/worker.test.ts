import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { after, before, beforeEach, describe, test } from "node:test";
import type { Message } from "@aws-sdk/client-sqs";
import { deferralsTo } from "../../lib/aws/queues.ts";
import { fromRecord, toBody } from "../../lib/aws/record.ts";
import { NonRetryableError, RetryLaterError } from "../../lib/errors.ts";
import { jobId } from "../../lib/feishu/envelope.ts";
import type { Context, Death, GiveUpContext } from "../../lib/handler.ts";
import { backoffSeconds } from "../../lib/handling/backoff.ts";
import type { ChainLimits } from "../../lib/handling/deferral.ts";
import { reportLeak } from "../../lib/handling/run.ts";
import type { ErrorDescription } from "../../lib/trace/error.ts";
import { callbackOf, cardText, cardType, type TestCallbacks } from "../support/callbacks.ts";
import { endsAtOnce } from "../support/clock.ts";
import {
  appId,
  chainLimits,
  envelopeOf,
  eventBody,
  eventText,
  jobOf,
  noCallbacks,
  plantedBody,
  record,
  type TestFile,
  type TestHandle,
  type TestHandlers,
} from "../support/events.ts";
import { internal, unavailable } from "../support/faults.ts";
import { cyclic, hearDropped, odd, refuse } from "../support/hostile-values.ts";
import { nodeEnv } from "../support/node-env.ts";
import { until } from "../support/until.ts";
import { type HandlersOf, startWorker, type Worker } from "../support/worker.ts";

let bench: Worker;
before(async () => {
  bench = await startWorker({ seed: 20_262 });
});
beforeEach(() => bench.reset());
after(() => bench.stop());

const hang = () => new Promise(() => {});
const ids = (count: number, name?: string) => Array.from({ length: count }, () => bench.newId(name));
const bodies = (eventIds: readonly string[], type = "test.event") => eventIds.map((id) => eventBody({ id, type }));
const classIn = (letter: Message | undefined) =>
  (JSON.parse(letter?.MessageAttributes?.["error"]?.StringValue ?? "{}") as ErrorDescription).errorClass;
const failedIds = (answer: unknown) =>
  (answer as { batchItemFailures: { itemIdentifier: string }[] }).batchItemFailures.map((item) => item.itemIdentifier);

describe("a batch", () => {
  test("W1: nine events of ten are done although one handler hangs", async () => {
    await bench.send(...bodies(ids(9)), eventBody({ id: bench.newId("hangs"), type: "test.hang" }));
    const records = await bench.receive();
    assert.equal(records.length, 10);
    const startMs = bench.clock.nowMs();
    const running = bench.invoke(records, { handlers: { "test.event": () => {}, "test.hang": hang } });
    await Promise.all([bench.reached("handled", 9), bench.reached("started", 10)]);
    await bench.clock.advance(55_000);
    const { answer, deleted, kept } = await running;
    assert.equal(deleted.length, 9);
    assert.deepEqual(
      failedIds(answer),
      records.filter(({ body }) => body.includes("test.hang")).map(({ messageId }) => messageId),
    );
    // The key stays closed until the lease ends: the handler may still be at work.
    assert.deepEqual(
      kept.map(({ waitSeconds }) => waitSeconds),
      [15],
    );
    assert.equal(bench.clock.nowMs() - startMs, 55_000, "five of the sixty seconds are left to write and answer");
    assert.equal(bench.clock.pending, 0);
  });

  test("W1: an event whose handler hung runs again once its lease has ended", async () => {
    const id = bench.newId("hung-once");
    await bench.send(eventBody({ id }));
    const running = bench.invoke(await bench.receive(), { handlers: { "test.event": hang } });
    await bench.reached("started");
    await bench.clock.advance(55_000);
    const [kept] = (await running).kept;
    assert.ok(kept);
    assert.equal(
      (bench.trace.entries.at(-1)?.error as Error | undefined)?.message,
      "Cannot run functions/events/test.event.ts: 55000 ms have passed. " +
        'Raise limits.workerTimeoutSeconds in larkpost.config.js (900 at most), or put the rest off with "defer"',
    );
    await bench.clock.advance(kept.waitSeconds * 1000);
    await bench.show(kept.record);
    await bench.drain({ handlers: { "test.event": () => {} } });
    assert.deepEqual(bench.stagesOf(id), ["started", "failed", "started", "handled"]);
  });

  for (const { row, does, timeoutMs } of [
    { row: "W2", does: "kills the process", timeoutMs: 60_000 },
    { row: "W3", does: "blocks the process until its time is over", timeoutMs: 30_000 },
  ]) {
    test(`${row}: a handler that ${does} ends in the dead-letter queue alone, and 14 others are done`, async () => {
      const killer = bench.newId("killer");
      const innocents = ids(14, "innocent");
      const all = [...bodies(innocents.slice(0, 7)), eventBody({ id: killer, type: "test.killer" })];
      await bench.send(...all, ...bodies(innocents.slice(7)));
      const outcomes = await bench.drain({
        timeoutMs,
        handlers: ({ die }) => ({ "test.event": () => {}, "test.killer": die }),
      });
      assert.equal(outcomes.filter(({ died }) => died).length, 5);
      const dead = await bench.lying();
      assert.deepEqual(
        dead.map(({ MessageAttributes: given }) => [
          given?.["eventId"]?.StringValue,
          given?.["deadReason"]?.StringValue,
        ]),
        [[killer, "deadly"]],
      );
      // One that had completed when the process died comes back, and is found to be done.
      const done = new Set([...bench.idsAt("handled"), ...bench.idsAt("duplicate")]);
      assert.deepEqual([...done].sort(), innocents.sort());
      assert.deepEqual(await bench.counts(), { queued: 0, dead: 1, quarantined: 0 });
    });
  }

  test("W2: a record that was here before waits until the first deliveries are done, and runs alone", async () => {
    const [again1 = "", again2 = "", fresh = ""] = ids(3);
    await bench.send(...bodies([again1, again2]));
    for (const seen of await bench.receive()) await bench.show(seen);
    await bench.send(...bodies([fresh]));
    const running = new Set<string>();
    const together: string[][] = [];
    const order: string[] = [];
    await bench.drain({
      handlers: {
        "test.event": async (_event, { id }) => {
          running.add(id);
          order.push(id);
          for (let turn = 0; turn < 5; turn++) await new Promise(setImmediate);
          together.push([...running]);
          running.delete(id);
        },
      },
    });
    assert.equal(order[0], fresh);
    assert.deepEqual(
      together.map(({ length }) => length),
      [1, 1, 1],
    );
  });

  test("W2: records that were here before run in another order each time", async () => {
    const orders = new Set<string>();
    const all = ids(4);
    const records = all.map((id) => record(eventBody({ id }), { id, attempt: 2 }));
    for (let round = 0; round < 5; round++) {
      const order: string[] = [];
      const fail = (_event: unknown, { id }: { id: string }) => {
        order.push(id);
        throw new Error("again");
      };
      await bench.invoke(records, { handlers: { "test.event": fail } });
      assert.deepEqual([...order].sort(), [...all].sort());
      orders.add(order.join());
    }
    assert.ok(orders.size >= 4, `5 rounds had ${orders.size} orders`);
  });

  test("W7: with time for four of ten, four are done, six come back, and none is half-run", async () => {
    await bench.send(...bodies(ids(10)));
    for (const seen of await bench.receive()) await bench.show(seen);
    let entered = 0;
    const { deleted, kept } = await bench.invoke(await bench.receive(), {
      handlers: {
        "test.event": async () => {
          entered++;
          await bench.clock.advance(13_600);
        },
      },
    });
    assert.deepEqual([entered, deleted.length, kept.length], [4, 4, 6]);
    assert.equal(bench.idsAt("started").length, 4);
    // They are no failed runs, so the alarm that counts those must not see them.
    assert.deepEqual([bench.idsAt("postponed").length, bench.idsAt("failed").length], [6, 0]);
  });

  test("W7: without time a handler's file is not even loaded, and that is no attempt", async () => {
    const id = bench.newId();
    await bench.send(eventBody({ id }));
    const attempts: number[] = [];
    let loads = 0;
    const load = async () => {
      loads++;
      return { handle: (_event: unknown, { attempt }: { attempt: number }) => void attempts.push(attempt) };
    };
    const handlers = { "test.event": { load } };
    for (let receive = 1; receive <= 12; receive++) {
      const { kept } = await bench.invoke(await bench.receive(), { handlers, timeoutMs: 4_000 });
      assert.equal(kept.length, 1);
      for (const { record: seen } of kept) await bench.show(seen);
    }
    assert.equal(loads, 0);
    await bench.drain({ handlers });
    assert.deepEqual(attempts, [1]);
  });
});

describe("an attempt", () => {
  test("H1: is a run that has started: five receives without a ledger are none of three, and the event is done at its first", async () => {
    const id = bench.newId();
    await bench.send(eventBody({ id }));
    const attempts: number[] = [];
    const handlers: TestHandlers = { "test.event": (_event, { attempt }) => void attempts.push(attempt) };
    const stop = bench.dynamoFaults.inject("PutItem", internal);
    for (let receive = 1; receive <= 5; receive++) {
      const { kept } = await bench.invoke(await bench.receive(), { handlers, maxAttempts: 3 });
      assert.equal(kept.length, 1);
      for (const { record: seen } of kept) await bench.show(seen);
    }
    stop();
    await bench.drain({ handlers, maxAttempts: 3 });
    assert.deepEqual(attempts, [1]);
    assert.deepEqual(await bench.counts(), { queued: 0, dead: 0, quarantined: 0 });
  });

  test("I2: is none when the claim was stored and its answer lost, even six times in a row", async () => {
    const id = bench.newId();
    await bench.send(eventBody({ id }));
    const attempts: number[] = [];
    const handlers: TestHandlers = { "test.event": (_event, { attempt }) => void attempts.push(attempt) };
    const stop = bench.dynamoFaults.inject("PutItem", { kind: "lost" });
    for (let receive = 1; receive <= 6; receive++) {
      const { kept } = await bench.invoke(await bench.receive(), { handlers });
      assert.equal(kept.length, 1);
      for (const { record: seen } of kept) await bench.show(seen);
    }
    stop();
    await bench.drain({ handlers });
    assert.deepEqual(attempts, [1]);
    assert.deepEqual(await bench.counts(), { queued: 0, dead: 0, quarantined: 0 });
  });

  test("W7: is none when the claim took the time that a run needs", async () => {
    const id = bench.newId();
    await bench.send(eventBody({ id }));
    const attempts: number[] = [];
    const handle: TestHandle = (_event, { attempt }) => void attempts.push(attempt);
    const handlers = { "test.event": { key: () => `key of ${id}`, handle } };
    for (let receive = 1; receive <= 4; receive++) {
      const stop = bench.dynamoFaults.watch(({ action }) => {
        if (action === "PutItem") void bench.clock.advance(1_500);
      });
      const { kept } = await bench.invoke(await bench.receive(), { handlers, timeoutMs: 7_000, maxAttempts: 3 });
      stop();
      assert.equal(kept.length, 1);
      for (const { record: seen } of kept) await bench.show(seen);
    }
    assert.ok(bench.trace.entries.every(({ stage, level }) => stage === "postponed" && level === "info"));
    await bench.drain({ handlers, maxAttempts: 3 });
    assert.deepEqual(attempts, [1]);
  });

  test("H2: by a key of its own is counted right, and dead once, though the dead-letter queue refuses for a while", async () => {
    const id = bench.newId();
    await bench.send(eventBody({ id }));
    const key = () => `key of ${id}`;
    const handlers = { "test.event": { key, handle: () => Promise.reject(new Error("fails")) } };
    const stop = bench.sqsFaults.inject("SendMessage", unavailable, () => bench.idsAt("dead").length === 0);
    const refusing = bench.reached("failed", 12).then(stop);
    const outcomes = await bench.drain({ handlers });
    await refusing;
    assert.equal(bench.idsAt("started").length, 10);
    assert.ok(outcomes.length > 11);
    const [message, ...more] = await bench.lying();
    assert.equal(more.length, 0);
    assert.equal(message?.MessageAttributes?.["attempts"]?.StringValue, "10");
    await bench.send(eventBody({ id }));
    await bench.drain({ handlers });
    assert.equal(bench.stagesOf(id).at(-1), "duplicate");
  });

  test("I8: is none while another run holds the event: its copy is received 5 times, where 3 runs are allowed, and is a duplicate", async () => {
    const id = bench.newId();
    await bench.send(eventBody({ id }));
    const { promise: finish, resolve } = Promise.withResolvers<void>();
    const handlers: TestHandlers = { "test.event": () => finish };
    const running = bench.invoke(await bench.receive(), { handlers });
    await bench.reached("started");
    await bench.send(eventBody({ id }));
    for (let receive = 1; receive <= 5; receive++) {
      const { kept } = await bench.invoke(await bench.receive(), { handlers, maxAttempts: 3 });
      for (const { record: seen } of kept) await bench.show(seen);
    }
    resolve();
    await running;
    await bench.drain({ handlers });
    assert.deepEqual(bench.stagesOf(id).slice(-2), ["handled", "duplicate"]);
    assert.deepEqual(await bench.counts(), { queued: 0, dead: 0, quarantined: 0 });
  });

  for (const own of [undefined, "message-1"]) {
    test(`H1: is counted over processes that die and runs that fail alike${own ? ", also by a key of its own" : ""}`, async () => {
      const id = bench.newId();
      await bench.send(eventBody({ id }));
      const attempts: number[] = [];
      await bench.drain({
        handlers: ({ die }) => {
          const handle: TestHandle = (_event, { attempt }) => {
            attempts.push(attempt);
            return attempt % 2 === 0 ? die() : Promise.reject(new Error("fails"));
          };
          return { "test.event": own === undefined ? handle : { handle, key: () => `${own} ${id}` } };
        },
      });
      assert.deepEqual(attempts, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
      const [message] = await bench.lying();
      assert.equal(message?.MessageAttributes?.["deadReason"]?.StringValue, "attemptsExhausted");
      assert.equal(message?.MessageAttributes?.["attempts"]?.StringValue, "10");
    });
  }

  test("X1: of a dead event's second copy does not keep the redriven one from running", async () => {
    const id = bench.newId();
    const key = () => `key of ${id}`;
    const dies = { "test.event": { key, handle: () => Promise.reject(new NonRetryableError("never")) } };
    await bench.send(eventBody({ id }), eventBody({ id }));
    const [first = assert.fail(), second = assert.fail()] = await bench.receive();
    await bench.invoke([first], { handlers: dies });
    await bench.show(second);
    await bench.drain({ handlers: dies });
    assert.deepEqual(bench.stagesOf(id), ["started", "dead", "duplicate"]);
    assert.equal(await bench.redrive(), 1);
    const handle: TestHandle = (_event, { attempt }) => {
      if (attempt === 1) throw new Error("fails");
    };
    await bench.drain({ handlers: { "test.event": { key, handle } } });
    assert.equal(bench.stagesOf(id).at(-1), "handled");
  });

  test("X1: is counted anew after a redrive, and one failure later the event still runs", async () => {
    const id = bench.newId();
    await bench.send(eventBody({ id }));
    const key = () => `key of ${id}`;
    await bench.drain({ handlers: { "test.event": { key, handle: () => Promise.reject(new Error("fails")) } } });
    await bench.redrive();
    const attempts: number[] = [];
    const handle: TestHandle = (_event, { attempt }) => {
      attempts.push(attempt);
      if (attempt < 3) throw new Error("fails");
    };
    await bench.drain({ handlers: { "test.event": { key, handle } } });
    assert.deepEqual(attempts, [1, 2, 3]);
    assert.equal(bench.stagesOf(id).at(-1), "handled");
  });
});

describe("a handler's file", () => {
  test("W1: that never ends loading fails its event within its time, with a reason, and its neighbours are done", async () => {
    const id = bench.newId("hangs");
    await bench.send(...bodies(ids(9)), eventBody({ id, type: "test.hang" }));
    const running = bench.invoke(await bench.receive(), {
      handlers: { "test.event": () => {}, "test.hang": { load: () => new Promise(() => {}) } },
    });
    await bench.reached("handled", 9);
    await bench.clock.advance(55_000);
    const { deleted, kept } = await running;
    assert.deepEqual([deleted.length, kept.length], [9, 1]);
    const told = bench.trace.entries.find((entry) => entry.id === id);
    assert.deepEqual([told?.stage, told?.facts?.["reason"], told?.facts?.["attempt"]], ["failed", "load", 1]);
    assert.equal(kept[0]?.waitSeconds, 15, "its lease ends first");
  });

  test("W1: that was given up while it loaded neither claims nor runs when it comes at last", async () => {
    const id = bench.newId();
    await bench.send(eventBody({ id }));
    const { promise: loading, resolve } = Promise.withResolvers<{ handle: TestHandle; key: () => string }>();
    const running = bench.invoke(await bench.receive(), { handlers: { "test.event": { load: () => loading } } });
    await new Promise(setImmediate);
    await bench.clock.advance(55_000);
    const { kept } = await running;
    const writes: string[] = [];
    const stop = bench.dynamoFaults.watch(({ action }) => writes.push(action));
    resolve({ handle: () => assert.fail("given up"), key: () => "a key of its own" });
    // Whatever the late one would write is on its way before this one's.
    await bench.invoke([record(eventBody({ id: bench.newId() }))], { handlers: { "test.event": () => {} } });
    stop();
    assert.deepEqual([kept.length, writes], [1, ["PutItem", "UpdateItem"]]);
    assert.deepEqual(bench.stagesOf(id), ["failed"]);
  });

  test("W1: whose secrets come too late is not entered behind the verdict", async () => {
    const id = bench.newId();
    await bench.send(eventBody({ id }));
    const asked = Promise.withResolvers<void>();
    const given = Promise.withResolvers<ReturnType<typeof noCallbacks.tools>>();
    const tools = () => {
      asked.resolve();
      return given.promise;
    };
    const handlers = { "test.event": () => assert.fail("given up") };
    const running = bench.invoke(await bench.receive(), { handlers, ports: { tools } });
    await asked.promise;
    await bench.clock.advance(55_000);
    const { kept } = await running;
    given.resolve(noCallbacks.tools());
    await new Promise(setImmediate);
    assert.equal(kept.length, 1);
    assert.deepEqual(bench.stagesOf(id), ["failed"]);
  });

  for (const step of ["load", "key"] as const) {
    test(`W2: whose ${step === "load" ? "loading" : "key"} ends the process is a crash loop, counted from the second receive on`, async () => {
      const killer = bench.newId("killer");
      const innocents = ids(9);
      await bench.send(eventBody({ id: killer, type: "test.killer" }), ...bodies(innocents));
      const outcomes = await bench.drain({
        handlers: ({ die }) => ({
          "test.event": () => {},
          "test.killer": {
            load: async () => {
              if (step === "load") await die();
              return { handle: () => assert.fail("not entered"), key: die };
            },
          },
        }),
      });
      assert.equal(
        outcomes.filter(({ died }) => died).length,
        step === "load" ? 7 : 6,
        "one receive that was not counted, five that were, and one that loaded the file for its onGiveUp",
      );
      const [message, ...more] = await bench.lying();
      assert.equal(more.length, 0);
      assert.equal(message?.MessageAttributes?.["deadReason"]?.StringValue, "deadly");
      const done = new Set([...bench.idsAt("handled"), ...bench.idsAt("duplicate")]);
      assert.deepEqual(
        innocents.filter((id) => !done.has(id)),
        [],
      );
    });

    test(`H1: whose ${step === "load" ? "loading" : "key"} fails is tried again, as often as a run, and is dead with its reason`, async () => {
      const id = bench.newId();
      await bench.send(eventBody({ id }));
      const broken = new SyntaxError("Unexpected token");
      const load = async () => {
        if (step === "load") throw broken;
        return {
          handle: () => assert.fail("not entered"),
          key() {
            throw broken;
          },
        };
      };
      const outcomes = await bench.drain({ handlers: { "test.event": { load } } });
      assert.equal(outcomes.length, 10);
      const told = bench.trace.entries.filter((entry) => entry.id === id).map(({ facts }) => facts?.["reason"]);
      assert.deepEqual(told, [...Array(9).fill(step), "attemptsExhausted"]);
      const [message] = await bench.lying();
      assert.equal(classIn(message), "SyntaxError");
      assert.equal(message?.MessageAttributes?.["attempts"]?.StringValue, "10");
    });
  }

  for (const own of [false, true]) {
    test(`I1: and ${own ? "its own key" : "the event's id"} cost two writes to the ledger where all goes well`, async () => {
      const id = bench.newId();
      await bench.send(eventBody({ id }));
      const handle = () => {};
      const handlers = { "test.event": own ? { handle, key: () => `key of ${id}` } : handle };
      const writes: string[] = [];
      const stop = bench.dynamoFaults.watch(({ action }) => writes.push(action));
      await bench.drain({ handlers });
      stop();
      assert.deepEqual(writes, ["PutItem", "UpdateItem"]);
    });
  }

  test("I1: of an event whose second claim fails counts no attempt by the first", async () => {
    const id = bench.newId();
    await bench.send(eventBody({ id }));
    for (const seen of await bench.receive()) await bench.show(seen);
    const attempts: number[] = [];
    const handle: TestHandle = (_event, { attempt }) => void attempts.push(attempt);
    const handlers = { "test.event": { key: () => `key of ${id}`, handle } };
    for (let receive = 2; receive <= 5; receive++) {
      const keys = new Set<string>();
      const stop = bench.dynamoFaults.inject("PutItem", internal, ({ body }) => {
        keys.add(JSON.stringify((body["Item"] as { pk: unknown }).pk));
        return keys.size > 1;
      });
      const { kept } = await bench.invoke(await bench.receive(), { handlers, maxAttempts: 3 });
      stop();
      assert.equal(kept.length, 1);
      for (const { record: seen } of kept) await bench.show(seen);
    }
    await bench.drain({ handlers, maxAttempts: 3 });
    assert.deepEqual(attempts, [1]);
  });

  test("W4: of a copy whose key leaks a promise is a duplicate all the same", async () => {
    const id = bench.newId();
    const key = () => {
      void Promise.reject(new Error("dropped"));
      return `key of ${id}`;
    };
    const restore = hearDropped(reportLeak);
    try {
      await bench.send(eventBody({ id }));
      await bench.drain({ handlers: { "test.event": () => {} } });
      await bench.send(eventBody({ id }));
      await bench.drain({ handlers: { "test.event": { key: () => `key of ${id}`, handle: () => {} } } });
      await bench.send(eventBody({ id }));
      const [outcome] = await bench.drain({ handlers: { "test.event": { key, handle: () => assert.fail("again") } } });
      assert.equal(outcome?.deleted.length, 1);
      assert.ok(bench.stagesOf(id).slice(-2).includes("duplicate"));
    } finally {
      restore();
    }
  });

  test("I8: of an event whose key another event holds counts no attempt while it waits", async () => {
    const [first = "", second = ""] = ids(2);
    const { promise: finish, resolve } = Promise.withResolvers<void>();
    const attempts: string[] = [];
    const handlers: TestHandlers = {
      "test.event": {
        key: () => `both ${first}`,
        handle: (_event, { id, attempt }) => {
          attempts.push(`${id} ${attempt}`);
          return finish;
        },
      },
    };
    await bench.send(eventBody({ id: first }));
    const running = bench.invoke(await bench.receive(), { handlers });
    await bench.reached("started");
    await bench.send(eventBody({ id: second }));
    for (let receive = 1; receive <= 5; receive++) {
      const { kept } = await bench.invoke(await bench.receive(), { handlers, maxAttempts: 3 });
      for (const { record: seen } of kept) await bench.show(seen);
    }
    resolve();
    await running;
    await bench.drain({ handlers });
    assert.deepEqual(attempts, [`${first} 1`]);
    assert.deepEqual(bench.stagesOf(second).at(-1), "duplicate");
    assert.deepEqual(await bench.counts(), { queued: 0, dead: 0, quarantined: 0 });
  });
});

describe("a promise that a handler dropped", () => {
  const leaks = {
    "at once": () => void Promise.reject(new Error("dropped")),
    "while the handler is at work": async () => {
      const dropped = Promise.withResolvers<never>();
      await new Promise(setImmediate);
      dropped.reject(new Error("dropped"));
      await new Promise(setImmediate);
    },
  };
  for (const [when, leak] of Object.entries(leaks)) {
    test(`W4: that is rejected ${when} fails its own event, and nine others are done`, async () => {
      const guilty = bench.newId("guilty");
      const innocents = ids(9, "innocent");
      await bench.send(eventBody({ id: guilty, type: "test.leak" }), ...bodies(innocents));
      const restore = hearDropped(reportLeak);
      try {
        const { deleted, kept } = await bench.invoke(await bench.receive(), {
          handlers: { "test.event": () => new Promise((resolve) => setTimeout(resolve, 10)), "test.leak": leak },
        });
        assert.deepEqual([deleted.length, kept.length], [9, 1]);
      } finally {
        restore();
      }
      assert.deepEqual(bench.idsAt("leaked"), [guilty]);
      assert.deepEqual(bench.idsAt("failed"), [guilty]);
      assert.deepEqual(bench.idsAt("handled").sort(), innocents.sort());
    });
  }

  test("W4: that is rejected after its handler has returned is told with its id, and fails no other event", async () => {
    const guilty = bench.newId("guilty");
    const rejection = Promise.withResolvers<void>();
    const restore = hearDropped(reportLeak);
    try {
      await bench.send(eventBody({ id: guilty, type: "test.leak" }));
      const late = () => void rejection.promise.then(() => Promise.reject(new Error("late")));
      await bench.drain({ handlers: { "test.leak": late } });
      await bench.send(...bodies(ids(10)));
      const { deleted } = await bench.invoke(await bench.receive(), {
        handlers: {
          "test.event": async () => {
            rejection.resolve();
            await new Promise((resolve) => setTimeout(resolve, 5));
          },
        },
      });
      assert.equal(deleted.length, 10);
    } finally {
      restore();
    }
    assert.deepEqual(bench.idsAt("leaked"), [guilty]);
  });
});

test("W4: a promise that a handler dropped, and what its timer or emitter throws, leave the worker function alive for the others", async () => {
  const [dropping = "", innocent = "", next = "", timer = "", emitter = "", last = ""] = ids(6, "child");
  const file = (type: string, late: string, answer: string) =>
    `"${type}": async () => ({ default: { type: "${type}", handle: () => { setTimeout(() => { ${late} }, 5); ${answer} } } }),`;
  const waits = "return new Promise((done) => setTimeout(done, 40));";
  const list = `import { EventEmitter } from "node:events";
    export const events = {
      ${file("test.leak", 'void Promise.reject(new Error("dropped"));', "")}
      ${file("test.timer", 'throw new Error("thrown");', waits)}
      ${file("test.emitter", 'new EventEmitter().emit("error", new Error("thrown"));', waits)}
      ${file("test.event", "", waits)}
    };`;
  const batchOf = (given: Readonly<Record<string, string>>) =>
    Object.entries(given).map(([type, id]) => record(eventBody({ id, type }), { id }));
  const { code, lines } = await runWorkerFunction(list, [
    batchOf({ "test.leak": dropping, "test.event": innocent }),
    batchOf({ "test.event": next }),
    batchOf({ "test.timer": timer, "test.emitter": emitter, "test.event": last }),
  ]);
  assert.equal(code, 0);
  const idsAt = (asked: string) => lines.filter(({ stage }) => stage === asked).map(({ id }) => id);
  // The log names the event of each. What a handler dropped when it had returned fails nothing.
  assert.deepEqual(idsAt("leaked").sort(), [dropping, timer, emitter].sort());
  assert.deepEqual(idsAt("handled"), [dropping, innocent, next, last]);
  const thrown = [timer, emitter].map((itemIdentifier) => ({ itemIdentifier }));
  assert.deepEqual(
    lines.flatMap(({ answer }) => (answer === undefined ? [] : [answer])),
    [{ batchItemFailures: [] }, { batchItemFailures: [] }, { batchItemFailures: thrown }],
  );
});

describe("a retry", () => {
  test("W8: comes after 10, 20 and 40 seconds, 20 % more or less", async () => {
    const waits: number[][] = [[], [], []];
    for (let run = 0; run < 8; run++) {
      const id = bench.newId("transient");
      for (const [index, attempt] of [1, 2, 3].entries()) {
        const { kept } = await bench.invoke([record(eventBody({ id }), { attempt, id: `${id} ${attempt}` })], {
          handlers: { "test.event": () => Promise.reject(new Error("transient")) },
        });
        waits[index]?.push(kept[0]?.waitSeconds ?? Number.NaN);
      }
    }
    for (const [index, seconds] of [10, 20, 40].entries()) {
      const given = waits[index] ?? [];
      assert.ok(
        given.every((wait) => wait >= seconds * 0.8 && wait <= seconds * 1.2),
        `${seconds}: ${given}`,
      );
      assert.ok(new Set(given).size > 1, "retries of many events are spread");
    }
  });

  test("W8: never waits longer than 900 seconds, nor less than 8", () => {
    for (let attempt = 1; attempt <= 1_000; attempt++) {
      for (const random of [0, 0.5, 0.999_999]) {
        const seconds = backoffSeconds(attempt, () => random);
        assert.ok(Number.isInteger(seconds) && seconds >= 8 && seconds <= 900, `attempt ${attempt}: ${seconds}`);
      }
    }
    assert.equal(
      backoffSeconds(10, () => 0.5),
      900,
    );
  });

  const asked = [
    { delaySeconds: 60, waits: [60, 60] },
    { delaySeconds: 1.2, waits: [2, 2] },
    { delaySeconds: 0, waits: [1, 1] },
    { delaySeconds: -5, waits: [1, 1] },
    // Twelve hours, less what a function may have spent since the record was received: SQS refuses a longer total.
    { delaySeconds: 43_200, waits: [42_300, 42_300] },
    { delaySeconds: 1e12, waits: [42_300, 42_300] },
    { delaySeconds: Number.NaN, waits: [8, 12] },
    { delaySeconds: Number.POSITIVE_INFINITY, waits: [8, 12] },
    { delaySeconds: "60" as unknown as number, waits: [8, 12] },
  ] as const;
  for (const { delaySeconds, waits } of asked) {
    test(`W8: a handler that asks for ${String(delaySeconds)} seconds waits ${waits.join(" to ")}`, async () => {
      const { kept } = await bench.invoke([record(eventBody({ id: bench.newId() }))], {
        handlers: { "test.event": () => Promise.reject(new RetryLaterError("later", { delaySeconds })) },
      });
      const wait = kept[0]?.waitSeconds ?? Number.NaN;
      assert.ok(wait >= waits[0] && wait <= waits[1], `${wait} s`);
      // No alarm counts it, since to wait was the handler's own wish.
      assert.equal(bench.trace.entries.find(({ stage }) => stage === "failed")?.level, "info");
    });
  }

  test("H1: an event whose handler fails nine times is done at the tenth, and nothing is dead", async () => {
    const id = bench.newId("nine-times");
    await bench.send(eventBody({ id }));
    let runs = 0;
    const outcomes = await bench.drain({
      handlers: {
        "test.event": (_event, { attempt }) => {
          assert.equal(attempt, ++runs);
          if (runs < 10) throw new Error("transient");
        },
      },
    });
    assert.equal(runs, 10);
    assert.deepEqual(bench.idsAt("handled"), [id]);
    assert.deepEqual(await bench.counts(), { queued: 0, dead: 0, quarantined: 0 });
    const waited = outcomes.flatMap(({ kept }) => kept).reduce((sum, { waitSeconds }) => sum + waitSeconds, 0);
    assert.ok(waited > 40 * 60 && waited < 62 * 60, `an outage of ${Math.round(waited / 60)} minutes is survived`);
  });
});

describe("a dead event", () => {
  const canary = "payload-canary";

  test("H2: of a NonRetryableError is in the dead-letter queue at once, with its reason and no word of its payload", async () => {
    const id = bench.newId("permanent");
    await bench.send(eventBody({ id, event: { text: canary } }));
    let runs = 0;
    await bench.drain({
      handlers: {
        "test.event": () => {
          runs++;
          throw new NonRetryableError(`Cannot handle "${canary}"`, { cause: new Error(canary) });
        },
      },
    });
    assert.equal(runs, 1);
    const [message = assert.fail("nothing is dead"), ...others] = await bench.lying();
    assert.deepEqual(others, []);
    assert.ok(message.Body?.includes(canary), "the record itself is kept whole");
    const attributes = Object.fromEntries(
      Object.entries(message.MessageAttributes ?? {}).map(([name, { StringValue }]) => [name, StringValue]),
    );
    const { error, firstAttemptAt, ...rest } = attributes;
    assert.deepEqual(rest, {
      deadReason: "nonRetryable",
      attempts: "1",
      lastAttemptAt: new Date(bench.clock.nowMs()).toISOString(),
      eventId: id,
      eventType: "test.event",
      redrives: "0",
    });
    const { fingerprint, at, causes, ...described } = JSON.parse(error ?? "") as ErrorDescription;
    assert.deepEqual(described, { errorClass: "NonRetryableError", errorCode: "NON_RETRYABLE" });
    assert.match(fingerprint, /^[0-9a-f]{8}$/);
    for (const place of [at, causes?.[0]?.at]) assert.match(place ?? "", /^test\/handling\/worker\.test\.ts:\d+:\d+$/);
    assert.ok(Math.abs(Date.parse(firstAttemptAt ?? "") - Date.now()) < 60_000);
    assert.ok(!JSON.stringify(message.MessageAttributes).includes(canary));
    assert.ok(Object.keys(attributes).length <= 10, "SQS takes ten attributes");
    assert.deepEqual(bench.stagesOf(id), ["started", "dead"]);
  });

  test("H2: that failed at its last attempt is moved by the worker itself, with the reason", async () => {
    const id = bench.newId("exhausted");
    await bench.send(eventBody({ id }));
    let runs = 0;
    const outcomes = await bench.drain({
      handlers: {
        "test.event": () => {
          runs++;
          throw new TypeError("never works");
        },
      },
    });
    assert.equal(runs, 10);
    assert.equal(outcomes.at(-1)?.deleted.length, 1);
    const [message] = await bench.lying();
    const given = message?.MessageAttributes;
    assert.equal(given?.["deadReason"]?.StringValue, "attemptsExhausted");
    assert.equal(classIn(message), "TypeError");
    assert.equal(given?.["attempts"]?.StringValue, "10");
  });

  test("H2: says what was thrown even when that was nothing", async () => {
    await bench.send(eventBody({ id: bench.newId() }));
    await bench.drain({ handlers: { "test.event": () => Promise.reject(undefined) } });
    const [message] = await bench.lying();
    assert.equal(classIn(message), "undefined");
  });

  test("H2: stays in the queue while the dead-letter queue does not take it, and is dead later", async () => {
    const id = bench.newId("no-dlq");
    await bench.send(eventBody({ id }));
    const stop = bench.sqsFaults.inject("SendMessage", {
      kind: "error",
      status: 500,
      type: "com.amazonaws.sqs#InternalError",
    });
    const handlers = { "test.event": () => Promise.reject(new NonRetryableError("never")) };
    const first = await bench.invoke(await bench.receive(), { handlers });
    assert.equal(first.deleted.length, 0);
    assert.deepEqual(await bench.counts(), { queued: 1, dead: 0, quarantined: 0 });
    stop();
    await bench.show(first.records[0] ?? assert.fail());
    await bench.drain({ handlers });
    assert.deepEqual(await bench.counts(), { queued: 0, dead: 1, quarantined: 0 });
    assert.deepEqual(bench.stagesOf(id), ["started", "failed", "dead"], "it runs no second time for that");
    const [message] = await bench.lying();
    assert.equal(classIn(message), "NonRetryableError");
    assert.equal(message?.MessageAttributes?.["attempts"]?.StringValue, "1");
  });

  test("H2: whose record was stored while its death could not be noted is not lost, and may be redriven", async () => {
    const id = bench.newId("unnoted");
    await bench.send(eventBody({ id }));
    const stop = bench.dynamoFaults.inject("UpdateItem", {
      kind: "error",
      status: 500,
      type: "com.amazonaws.dynamodb.v20120810#InternalServerError",
    });
    await bench.drain({ handlers: { "test.event": () => Promise.reject(new NonRetryableError("never")) } });
    stop();
    assert.deepEqual(await bench.counts(), { queued: 0, dead: 1, quarantined: 0 });
    assert.deepEqual(bench.stagesOf(id), ["started", "dead", "failed"]);
    await bench.redrive();
    await bench.drain({ handlers: { "test.event": () => {} } });
    assert.deepEqual(bench.idsAt("handled"), [id]);
  });

  test("H2: is marked dead only after its record was stored", async () => {
    const order: string[] = [];
    const watching = [bench.sqsFaults, bench.dynamoFaults].map((faults) =>
      faults.watch(({ action }) => order.push(action)),
    );
    await bench.send(eventBody({ id: bench.newId() }));
    await bench.drain({ handlers: { "test.event": () => Promise.reject(new NonRetryableError("never")) } });
    for (const stop of watching) stop();
    assert.deepEqual(order, ["PutItem", "SendMessage", "UpdateItem"]);
  });
});

describe("a second delivery", () => {
  const dies = { "test.event": () => Promise.reject(new NonRetryableError("never")) };
  const works = { "test.event": () => {} };

  test("I12: of a completed event is a duplicate, be it pushed again or redriven under a new message id", async () => {
    const id = bench.newId("completed");
    await bench.send(eventBody({ id }));
    await bench.drain({ handlers: works });
    await bench.send(eventBody({ id }));
    await bench.drain({ handlers: works });
    // As if it lay in the dead-letter queue, too: a copy whose first delivery was never deleted.
    await bench.services.callSqs("SendMessage", {
      QueueUrl: bench.urls.deadLetterQueueUrl,
      MessageBody: eventBody({ id }),
      MessageAttributes: { deadReason: { DataType: "String", StringValue: "attemptsExhausted" } },
    });
    assert.equal(await bench.redrive(), 1);
    await bench.drain({ handlers: works });
    assert.deepEqual(bench.stagesOf(id), ["started", "handled", "duplicate", "duplicate"]);
    assert.deepEqual(await bench.counts(), { queued: 0, dead: 0, quarantined: 0 });
  });

  test("I12: of a dead event is a duplicate when the platform pushed it again, and runs when a person redrove it", async () => {
    const id = bench.newId("dead");
    await bench.send(eventBody({ id }));
    await bench.drain({ handlers: dies });
    await bench.send(eventBody({ id }));
    await bench.drain({ handlers: works });
    assert.deepEqual(bench.stagesOf(id), ["started", "dead", "duplicate"]);

    assert.equal(await bench.redrive(), 1);
    await bench.drain({ handlers: works });
    assert.deepEqual(bench.stagesOf(id).slice(3), ["started", "handled"]);
    assert.deepEqual(await bench.counts(), { queued: 0, dead: 0, quarantined: 0 });
  });

  test("X1: of an event that died, was redriven and died again counts how often that was", async () => {
    const id = bench.newId("again");
    await bench.send(eventBody({ id }));
    for (const redrives of ["0", "1", "2"]) {
      await bench.drain({ handlers: dies });
      const [message] = await bench.lying();
      assert.equal(message?.MessageAttributes?.["redrives"]?.StringValue, redrives);
      const { callSqs, count } = bench.services;
      assert.equal(await count(bench.urls.deadLetterQueueUrl), 1);
      const letter = { QueueUrl: bench.urls.deadLetterQueueUrl, ReceiptHandle: message?.ReceiptHandle };
      await callSqs("ChangeMessageVisibility", { ...letter, VisibilityTimeout: 0 });
      await bench.redrive();
    }
    const started = bench.trace.entries.filter((entry) => entry.id === id && entry.stage === "started");
    assert.deepEqual(
      started.map(({ facts }) => facts?.["redrives"]),
      [undefined, 1, 2],
    );
  });

  test("I17: whose payload differs is a duplicate, and that it differs is told", async () => {
    const id = bench.newId("differs");
    let runs = 0;
    const handlers = { "test.event": () => void runs++ };
    await bench.send(eventBody({ id, event: { amount: 1 } }));
    await bench.drain({ handlers });
    await bench.send(eventBody({ id, event: { amount: 1_000 } }));
    await bench.drain({ handlers });
    assert.equal(runs, 1);
    const told = bench.trace.entries.filter(({ stage }) => stage === "duplicate");
    assert.deepEqual(
      told.map(({ level, facts }) => [level, facts?.["payload"]]),
      [["warn", "differs"]],
    );
  });

  test("I6: 7 hours, 14 days or 28 days later is a duplicate; after 35 days it would be another event", async () => {
    const id = bench.newId("late");
    let runs = 0;
    const handlers = { "test.event": () => void runs++ };
    const startMs = bench.clock.nowMs();
    const day = 86_400_000;
    for (const laterMs of [0, 7 * 3_600_000 + 300_000, 14 * day, 28 * day, 34.9 * day]) {
      await bench.clock.advance(startMs + laterMs - bench.clock.nowMs());
      await bench.send(eventBody({ id }));
      await bench.drain({ handlers });
    }
    assert.equal(runs, 1);
    // I7: the row is still there, since DynamoDB deletes late, and it no longer counts.
    await bench.clock.advance(startMs + 35 * day + 2_000 - bench.clock.nowMs());
    await bench.send(eventBody({ id }));
    await bench.drain({ handlers });
    assert.equal(runs, 2);
  });
});

describe("what a handler throws or returns", () => {
  test(`H3: ${odd.length} odd thrown values are ${odd.length} failures of one event each, and each runs again`, async () => {
    const thrown = new Map(odd.map((value) => [bench.newId("odd"), value]));
    await bench.send(...bodies([...thrown.keys()]));
    const firstRound: number[] = [];
    for (;;) {
      const records = await bench.receive();
      if (records.length === 0) break;
      const { error, kept } = await bench.invoke(records, {
        handlers: {
          "test.event": (_event, { id }) => {
            throw thrown.get(id);
          },
        },
      });
      assert.equal(error, undefined);
      firstRound.push(kept.length);
      for (const { record: seen, waitSeconds } of kept) {
        assert.ok(waitSeconds >= 8 && waitSeconds <= 12, `${waitSeconds} s`);
        void seen;
      }
    }
    assert.equal(
      firstRound.reduce((sum, count) => sum + count, 0),
      odd.length,
    );
    assert.equal(bench.idsAt("failed").length, odd.length);
    // Each key was given back: the second attempt finds no lease of the first.
    for (const id of thrown.keys()) {
      await bench.invoke([record(eventBody({ id }), { attempt: 2, id })], { handlers: { "test.event": () => {} } });
    }
    assert.deepEqual(bench.idsAt("handled"), [...thrown.keys()]);
  });

  test("H3: an odd thrown value at the last attempt still ends in the dead-letter queue", async () => {
    for (const value of odd) {
      const last = record(eventBody({ id: bench.newId("odd-last") }));
      const { deleted } = await bench.invoke([last], {
        maxAttempts: 1,
        handlers: {
          "test.event": () => {
            throw value;
          },
        },
      });
      assert.equal(deleted.length, 1);
    }
    assert.equal((await bench.counts()).dead, odd.length);
  });

  const results = {
    "a cyclic object": cyclic,
    "a text of 1 MB": "x".repeat(1_000_000),
    "a big integer": 1n,
    "a function": () => refuse(),
    "an error": new Error("returned, not thrown"),
    "something with a toJSON that throws": { toJSON: refuse },
  };
  for (const [what, value] of Object.entries(results)) {
    test(`${what.includes("1 MB") ? "I11" : "H5"}: a handler that returns ${what} is done`, async () => {
      const id = bench.newId("returns");
      await bench.send(eventBody({ id }), eventBody({ id }));
      await bench.drain({ handlers: { "test.event": () => value } });
      assert.deepEqual(bench.idsAt("handled"), [id]);
      assert.deepEqual(await bench.counts(), { queued: 0, dead: 0, quarantined: 0 });
    });
  }

  test("H6: what one handler does to its event, no other sees", async () => {
    const [first = "", second = ""] = ids(2);
    const seen: unknown[] = [];
    const key = (event: Readonly<Record<string, unknown>>, { id }: { id: string }) => id + String(event["text"]);
    await bench.send(...[first, second].map((id) => eventBody({ id, event: { text: "as sent" } })));
    await bench.drain({
      handlers: {
        "test.event": {
          key,
          handle: (event) => {
            seen.push(event["text"]);
            Object.assign(event, { text: "changed" });
          },
        },
      },
    });
    assert.deepEqual(seen, ["as sent", "as sent"]);
  });
});

describe("deferred work", () => {
  const handle = () => assert.fail("the callback was answered long ago");
  const file = (deferred: NonNullable<Exclude<TestCallbacks[string], (...args: never[]) => unknown>["deferred"]>) => ({
    handlers: { "test.event": () => {} },
    callbacks: { [cardType]: { handle, deferred } },
  });
  const jobFor = (id: string, payload: unknown = { order: 42 }) =>
    jobOf(callbackOf(cardText({ id, header: { app_id: appId } }), appId), payload);
  const jobBody = (id: string, payload?: unknown) => toBody(jobFor(id, payload));

  test("C5: gets what was put off and what the callback asked, under a stable id of its own", async () => {
    const id = bench.newId("click");
    const seen: unknown[] = [];
    await bench.send(jobBody(id));
    await bench.drain(
      file((payload, { id: own, type, attempt, app, tenant, signal, callback, raw }) => {
        const { action } = callback as { action: unknown };
        seen.push({ payload, own, type, attempt, app, tenant, isAborted: signal.aborted, action });
        assert.ok(raw.includes("c-credential-of-the-card"), "the card can be updated");
      }),
    );
    assert.deepEqual(seen, [
      {
        ...{
          payload: { order: 42 },
          own: `${id}#deferred`,
          type: cardType,
          attempt: 1,
          app: appId,
          tenant: "tenant-1",
        },
        ...{ isAborted: false, action: { value: { key: "approve" }, tag: "button" } },
      },
    ]);
    assert.deepEqual(bench.stagesOf(`${id}#deferred`), ["started", "handled"]);
    assert.deepEqual(await bench.counts(), { queued: 0, dead: 0, quarantined: 0 });
  });

  test("C5: that fails twice is done the third time, after the usual waits", async () => {
    const id = bench.newId("click");
    const attempts: number[] = [];
    await bench.send(jobBody(id));
    const outcomes = await bench.drain(
      file((_, { attempt }) => {
        attempts.push(attempt);
        if (attempt < 3) throw new Error("not yet");
      }),
    );
    assert.deepEqual(attempts, [1, 2, 3]);
    const waits = outcomes.flatMap(({ kept }) => kept.map(({ waitSeconds }) => waitSeconds));
    assert.ok(waits[0] && waits[0] >= 8 && waits[0] <= 12 && waits[1] && waits[1] >= 16 && waits[1] <= 24, `${waits}`);
    assert.deepEqual(bench.idsAt("handled"), [`${id}#deferred`]);
  });

  test("C5: of two clicks with one key is done once, and of clicks without a key each", async () => {
    const orders: unknown[] = [];
    const { handlers, callbacks } = file((payload) => orders.push(payload));
    const deferredKey = (payload: unknown) => (payload as { order?: string }).order;
    const given = { handlers, callbacks: { [cardType]: { ...callbacks[cardType], handle, deferredKey } } };
    const order = bench.newId("order");
    for (const payload of [{ order }, { order }, {}, {}]) {
      await bench.send(jobBody(bench.newId("click"), payload));
      await bench.drain(given);
    }
    assert.deepEqual(orders, [{ order }, {}, {}]);
    assert.deepEqual(await bench.counts(), { queued: 0, dead: 0, quarantined: 0 });
  });

  test("C5: that comes twice is done once, also beside an event of the same id", async () => {
    const id = bench.newId("click");
    let runs = 0;
    await bench.send(jobBody(id), jobBody(id), eventBody({ id }));
    const given = file(() => void runs++);
    await bench.drain(given);
    await bench.send(jobBody(id));
    await bench.drain(given);
    assert.equal(runs, 1);
    assert.deepEqual(bench.idsAt("handled").sort(), [id, `${id}#deferred`].sort());
    assert.deepEqual(await bench.counts(), { queued: 0, dead: 0, quarantined: 0 });
  });

  const deaths: [
    what: string,
    given: ReturnType<typeof file> | { handlers: TestHandlers; callbacks: TestCallbacks },
  ][] = [
    [
      "that fails for good",
      file(() => {
        throw new NonRetryableError("never");
      }),
    ],
    ["whose file is gone", { handlers: {}, callbacks: {} }],
    ["whose file has no deferred any more", { handlers: {}, callbacks: { [cardType]: handle } }],
  ];
  for (const [what, given] of deaths) {
    test(`C5: ${what} is kept in the dead-letter queue, with its payload, and done when it is redriven to a better file`, async () => {
      const id = bench.newId("click");
      await bench.send(jobBody(id));
      await bench.drain(given);
      assert.deepEqual(await bench.counts(), { queued: 0, dead: 1, quarantined: 0 });
      const [dead] = await bench.lying();
      assert.equal(dead?.MessageAttributes?.["deadReason"]?.StringValue, "nonRetryable");
      assert.equal(dead?.MessageAttributes?.["eventId"]?.StringValue, `${id}#deferred`);
      assert.deepEqual(fromRecord({ body: dead?.Body ?? "" }), jobFor(id));
      await bench.services.callSqs("SendMessage", {
        QueueUrl: bench.urls.eventsQueueUrl,
        MessageBody: dead?.Body,
        MessageAttributes: dead?.MessageAttributes,
      });
      const payloads: unknown[] = [];
      await bench.drain(file((payload) => void payloads.push(payload)));
      assert.deepEqual(payloads, [{ order: 42 }]);
    });
  }

  test("of an event is stored before the event is done, also where its handler does not wait, and gets the event", async () => {
    const id = bench.newId();
    await bench.send(eventBody({ id, event: { text: "hi" } }));
    const startMs = bench.clock.nowMs();
    const seen: unknown[] = [];
    const deferred: TestFile["deferred"] = (payload, context) => {
      const { id: own, attempt, depth, chainStartedAtMs, event } = context;
      seen.push({ payload, own, attempt, depth, chainStartedAtMs, event, remainingMs: context.remainingMs() });
    };
    const handle: TestHandle = (_event, { defer, remainingMs }) => {
      assert.equal(remainingMs(), 55_000);
      void defer("first");
      void defer("second");
    };
    await bench.drain({ handlers: { "test.event": { handle, deferred } } });
    const common = { attempt: 1, depth: 1, chainStartedAtMs: startMs, event: { text: "hi" }, remainingMs: 55_000 };
    assert.deepEqual(seen, [
      { ...common, payload: "first", own: `${id}#deferred` },
      { ...common, payload: "second", own: `${id}#deferred-2` },
    ]);
    assert.deepEqual(bench.stagesOf(id), ["started", "deferred", "deferred", "handled"]);
    assert.deepEqual(bench.stagesOf(`${id}#deferred-2`), ["started", "handled"]);
    assert.deepEqual(await bench.counts(), { queued: 0, dead: 0, quarantined: 0 });
  });

  for (const own of [false, true]) {
    test(`of an event whose run fails behind it is done once${own ? ", also when a push under another id runs instead" : ""}`, async () => {
      const [id = "", other = ""] = ids(2);
      await bench.send(eventBody({ id }));
      const runs: unknown[] = [];
      let events = 0;
      const file: TestFile = {
        ...(own ? { key: () => `message of ${id}` } : undefined),
        async handle(_event, { defer }) {
          await defer("work");
          if (++events === 1) throw new Error("fails behind it");
        },
        async deferred(payload, { depth, defer }) {
          runs.push([payload, depth]);
          if (depth === 1) await defer("further work");
          else if (runs.length < 4) throw new Error("not yet");
        },
      };
      const handlers = { "test.event": file };
      const { kept } = await bench.invoke(await bench.receive(1), { handlers });
      assert.equal(kept.length, 1);
      if (own) await bench.send(eventBody({ id: other }));
      for (const { record: seen } of kept) await bench.show(seen);
      await bench.drain({ handlers });
      const further = ["further work", 2];
      assert.deepEqual([events, runs], [2, [["work", 1], further, further, further]]);
      assert.deepEqual(await bench.counts(), { queued: 0, dead: 0, quarantined: 0 });
    });
  }

  test("of an event that cannot be stored fails the run, whatever the handler makes of it", async () => {
    bench.sqsFaults.inject("SendMessage", unavailable);
    for (const heeds of [false, true]) {
      const id = bench.newId();
      await bench.send(eventBody({ id }));
      const handle: TestHandle = (_event, { defer }) => {
        const storing = defer(1);
        return heeds ? storing.catch(() => {}) : undefined;
      };
      const handlers = { "test.event": { handle, deferred: () => {} } };
      const { kept } = await bench.invoke(await bench.receive(), { handlers });
      assert.deepEqual([kept.length, bench.stagesOf(id)], [1, ["started", "failed"]]);
    }
  });

  const chains: [what: string, chain: Partial<ChainLimits>, runs: number, limit: RegExp][] = [
    ["more runs than maxDeferrals", { maxDeferrals: 4 }, 4, /has 4 runs already \(limits\.maxDeferrals\)$/],
    ["longer than deferForSeconds", { deferForSeconds: 5 }, 3, /older than 5 s \(limits\.deferForSeconds\)$/],
  ];
  for (const [what, chain, runs, limit] of chains) {
    test(`goes on in a chain, under short ids of its own, and not for ${what}`, async () => {
      const id = bench.newId();
      await bench.send(eventBody({ id }));
      const startMs = bench.clock.nowMs();
      const depths: number[] = [];
      const owns = new Set<string>();
      const file: TestFile = {
        handle: (_event, { defer }) => defer(0),
        async deferred(payload, { id: own, depth, chainStartedAtMs, defer }) {
          assert.deepEqual([payload, chainStartedAtMs], [depth - 1, startMs]);
          depths.push(depth);
          owns.add(own);
          assert.ok(own.startsWith(`${id}#deferred`) && own.length <= id.length + 26, own);
          await bench.clock.advance(2_000);
          await defer(depth);
        },
      };
      await bench.drain({ chain, handlers: { "test.event": file } });
      assert.deepEqual(
        depths,
        Array.from({ length: runs }, (_, index) => index + 1),
      );
      assert.equal(owns.size, runs);
      const [dead] = await bench.lying();
      assert.equal(dead?.MessageAttributes?.["deadReason"]?.StringValue, "nonRetryable");
      const error = JSON.parse(dead?.MessageAttributes?.["error"]?.StringValue ?? "{}") as ErrorDescription;
      assert.match(error.message ?? "", limit);
    });
  }

  test("is refused without a deferred, for a delay that SQS has not, and once the run is over", async () => {
    const refused: string[] = [];
    const refuseAll = async ({ defer }: Context, delays: readonly number[]) => {
      for (const delaySeconds of delays) {
        await defer(1, { delaySeconds }).catch((error: unknown) => void refused.push(String(error)));
      }
    };
    let left: Context | undefined;
    await bench.send(...bodies(ids(1), "test.without"), ...bodies(ids(1)));
    const file: TestFile = {
      deferred: () => assert.fail("nothing was deferred"),
      async handle(_event, context) {
        left = context;
        await refuseAll(context, [-1, 901, Number.NaN]);
      },
    };
    await bench.drain({
      batchSize: 1,
      handlers: { "test.without": (_event, context) => refuseAll(context, [0]), "test.event": file },
    });
    if (left !== undefined) await refuseAll(left, [0]);
    const delay = "delaySeconds is not within 0 and 900";
    const problems = ["functions/events/test.without.ts has no deferred", delay, delay, delay, "the run is over"];
    assert.deepEqual(
      refused,
      problems.map((problem) => `TypeError: Cannot defer: ${problem}`),
    );
  });

  test("C5: that hangs is cut off, and runs again after its lease", async () => {
    const id = bench.newId("click");
    await bench.send(jobBody(id));
    const running = bench.invoke(await bench.receive(), file(hang));
    await bench.reached("started");
    await bench.clock.advance(55_000);
    const { kept } = await running;
    assert.deepEqual(
      kept.map(({ waitSeconds }) => waitSeconds),
      [15],
    );
  });

  test("C5: is stored with a delay of three seconds in its tenant's group, once, and confirmed before its handler goes on", async () => {
    const sent: Readonly<Record<string, unknown>>[] = [];
    const stop = bench.sqsFaults.watch(({ action, body }) => void (action === "SendMessage" && sent.push(body)));
    const id = bench.newId("click");
    const { signal } = new AbortController();
    const { store } = deferralsTo(bench.client, { ...bench.urls, ...chainLimits, isMarketplace: true });
    await store(jobFor(id), { delaySeconds: 3, signal });
    stop();
    assert.equal((await bench.counts()).queued, 1);
    assert.deepEqual(
      sent.map(({ DelaySeconds, MessageGroupId, MessageBody }) => [DelaySeconds, MessageGroupId, MessageBody]),
      [[3, "tenant-1", jobBody(id)]],
    );
    assert.deepEqual(await bench.receive(), [], "the answer has time to get there first");
  });

  test("C5: is not stored when its callback's time is over, and the handler hears of it", async () => {
    const stop = new AbortController();
    bench.sqsFaults.inject("SendMessage", { kind: "stall" });
    const { store } = deferralsTo(bench.client, { ...bench.urls, ...chainLimits });
    const sending = store(jobFor(bench.newId()), { delaySeconds: 3, signal: stop.signal });
    await until("it is sent", () => bench.sqsFaults.injected("stall") === 1);
    stop.abort();
    assert.ok(await endsAtOnce(sending));
    await assert.rejects(sending, { name: "AbortError" });
    assert.equal((await bench.counts()).queued, 0);
  });
});

describe("a file's onGiveUp", () => {
  interface GaveUp {
    readonly event: unknown;
    readonly context: GiveUpContext;
    readonly death: Death;
  }
  const never = () => {
    throw new NonRetryableError("no such order");
  };
  const nonRetryable = { name: "NonRetryableError", code: "NON_RETRYABLE", message: undefined };
  const withoutPlace = ({ death: { error, ...death } }: GaveUp) => {
    if (error === undefined) return death;
    const { at: _, ...rest } = error;
    return { ...death, error: rest };
  };

  const deaths: [what: string, handle: (die: () => Promise<never>) => TestHandle, death: Death][] = [
    ["fails for good", () => never, { reason: "nonRetryable", attempts: 1, error: nonRetryable }],
    [
      "fails for the last time",
      () => () => Promise.reject(Object.assign(new RangeError("17"), { isMessageSafe: true })),
      { reason: "attemptsExhausted", attempts: 2, error: { name: "RangeError", code: undefined, message: "17" } },
    ],
    ["ends its process again and again", (die) => die, { reason: "deadly", attempts: 5 }],
  ];
  for (const [what, handle, death] of deaths) {
    test(`runs once when an event ${what}, with the event and why it died, and not when the event comes again`, async () => {
      const id = bench.newId();
      const gaveUp: GaveUp[] = [];
      const body = eventBody({ id, event: { order: 17 } });
      const maxAttempts = death.reason === "deadly" ? 10 : 2;
      const handlers: HandlersOf = ({ die }) => ({
        "test.event": {
          handle: handle(die),
          async onGiveUp(event, context, given) {
            assert.equal((await bench.counts()).dead, 1, "the dead letter is there");
            gaveUp.push({ event, context, death: given });
          },
        },
      });
      await bench.send(body);
      await bench.drain({ handlers, maxAttempts });
      await bench.send(body);
      await bench.drain({ handlers, maxAttempts });
      assert.deepEqual(gaveUp.map(withoutPlace), [death]);
      const { event, context } = gaveUp[0] ?? assert.fail();
      assert.deepEqual([event, context.id, context.attempt], [{ order: 17 }, id, death.attempts]);
      assert.ok(!("defer" in context) && context.payload === undefined);
      assert.deepEqual(bench.stagesOf(id).slice(-2), ["dead", "duplicate"]);
    });
  }

  test("runs for deferred work, with the event or the callback, what was deferred, and the card's update", async () => {
    const [id, clicked] = [bench.newId(), bench.newId("click")];
    const seen: unknown[] = [];
    const onGiveUp = (event: object, context: GiveUpContext, { reason }: Death) =>
      void seen.push([context.id, context.payload, Object.keys(event)[0], "updateCard" in context, reason]);
    const event = envelopeOf(eventText({ id, event: { order: 17 } }));
    const click = callbackOf(cardText({ id: clicked, header: { app_id: appId } }), appId);
    await bench.send(toBody(jobOf(event, "of the event")), toBody(jobOf(click, "of the callback")));
    await bench.drain({
      batchSize: 1,
      handlers: { "test.event": { handle: () => {}, deferred: never, onGiveUp } },
      callbacks: { [cardType]: { handle: () => {}, deferred: never, onGiveUp } },
    });
    assert.deepEqual(seen.toSorted(), [
      [`${clicked}#deferred`, "of the callback", "operator", true, "nonRetryable"],
      [`${id}#deferred`, "of the event", "order", false, "nonRetryable"],
    ]);
  });

  test("waits until the event is in the dead-letter queue and its key is marked, and stays out where it is not", async () => {
    for (const [action, calls] of [
      ["SendMessage", 1],
      ["UpdateItem", 0],
    ] as const) {
      let runs = 0;
      await bench.send(eventBody({ id: bench.newId() }));
      const handlers = { "test.event": { handle: never, onGiveUp: () => void runs++ } };
      const faults = action === "SendMessage" ? bench.sqsFaults : bench.dynamoFaults;
      const stop = faults.inject(action, action === "SendMessage" ? unavailable : internal);
      const { kept } = await bench.invoke(await bench.receive(), { handlers });
      assert.equal(runs, 0, action);
      stop();
      for (const { record: seen } of kept) await bench.show(seen);
      await bench.drain({ handlers });
      assert.equal(runs, calls, action);
    }
  });

  test("has five seconds, or what is left, and whatever it does, the event is dead and done", async (t) => {
    t.after(hearDropped(reportLeak));
    const dies = (die: () => Promise<never>) => die();
    const throws = () => Promise.reject(new Error("fails"));
    const leaks = () => void Promise.reject(new Error("leaks"));
    for (const [does, leftMs, reports] of [
      [hang, 5_000, true],
      [throws, 0, true],
      [leaks, 0, true],
      [dies, 0, false],
    ] as const) {
      bench.trace.entries.length = 0;
      let runs = 0;
      const handlers: HandlersOf = ({ die }) => ({
        "test.event": {
          handle: never,
          onGiveUp(_event, { remainingMs }) {
            runs++;
            assert.equal(remainingMs(), 5_000);
            return does(die);
          },
        },
      });
      const id = bench.newId();
      await bench.send(eventBody({ id }));
      const records = await bench.receive();
      const running = bench.invoke(records, { handlers });
      if (leftMs > 0) await until("its time has begun", () => runs > 0 && bench.clock.pending > 0);
      await bench.clock.advance(leftMs);
      const { deleted, kept } = await running;
      assert.equal(deleted.length, reports ? 1 : 0);
      for (const { record: seen } of kept) await bench.show(seen);
      await bench.drain({ handlers });
      assert.equal(runs, 1);
      const failed = bench.trace.entries.filter(
        ({ stage, facts }) => stage === "failed" && facts?.["reason"] === "give-up",
      );
      assert.deepEqual(
        failed.map(({ level }) => level),
        reports ? ["error"] : [],
      );
      if (reports) assert.equal(bench.clock.pending, 0);
    }
    assert.equal((await bench.counts()).dead, 4);
  });

  test("has what a handler that took all its time left over", async () => {
    let leftMs = 0;
    const onGiveUp: TestFile["onGiveUp"] = (_event, { remainingMs }) => {
      leftMs = remainingMs();
    };
    await bench.send(eventBody({ id: bench.newId() }));
    const handlers = { "test.event": { handle: hang, onGiveUp } };
    const running = bench.invoke(await bench.receive(), { maxAttempts: 1, handlers });
    await bench.reached("started");
    await bench.clock.advance(55_000);
    await running;
    assert.equal(leftMs, 4_500);
  });
});

describe("an event type", () => {
  test("P7: without a handler is acknowledged and told, 11 times of 11, and nothing is dead", async () => {
    await bench.send(...bodies(ids(11), "test.unknown"));
    await bench.drain({ handlers: { "test.event": () => assert.fail("not this one") } });
    assert.equal(bench.idsAt("unhandled").length, 11);
    assert.equal(bench.idsAt("handled").length, 0);
    assert.deepEqual(await bench.counts(), { queued: 0, dead: 0, quarantined: 0 });
  });

  test("P7: without a handler of its own goes to the handler of any event, which may park it", async () => {
    const all = ids(11, "parked");
    await bench.send(...bodies(all, "test.unknown"));
    await bench.drain({ handlers: { _default: (_event, { type }) => Promise.reject(new NonRetryableError(type)) } });
    assert.equal(bench.idsAt("unhandled").length, 0);
    assert.deepEqual(await bench.counts(), { queued: 0, dead: 11, quarantined: 0 });
  });

  const hostile = [
    "constructor",
    "__proto__",
    "toString",
    "hasOwnProperty",
    "../../x",
    "file:///etc/passwd",
    "test.event\u0000",
    "😀",
    " ",
    "x".repeat(1_000_000),
  ];
  for (const type of hostile) {
    test(`C-47: named ${JSON.stringify(type.slice(0, 24))} is unhandled, and no file is loaded for it`, async () => {
      const loaded: string[] = [];
      await bench.send(eventBody({ id: bench.newId(), type }));
      await bench.drain({ handlers: { "test.event": () => void loaded.push("test.event") } });
      assert.deepEqual(loaded, []);
      assert.deepEqual(
        bench.trace.entries.map(({ stage }) => stage),
        ["unhandled"],
      );
      assert.deepEqual(await bench.counts(), { queued: 0, dead: 0, quarantined: 0 });
    });
  }
});

describe("a planted message", () => {
  const handlers = { "test.event": () => assert.fail("no handler may run"), _default: () => assert.fail("nor this") };
  const junk = {
    "no JSON": "not json",
    "an array": "[]",
    null: "null",
    "a number": "5",
    "no version": JSON.stringify({ kind: "event", text: eventText({}) }),
    "another kind": plantedBody(eventText({}), { kind: "callback" }),
    "a job of an event": plantedBody(eventText({}), { kind: "job", payload: 1 }),
    "an event of a callback": plantedBody(cardText(), { kind: "event" }),
    "a kind named __proto__": plantedBody(eventText({}), { kind: "__proto__" }),
    "a text that is no JSON": plantedBody("{"),
    "a text that nests 65 deep": plantedBody(`${"[".repeat(65)}${"]".repeat(65)}`),
    "a challenge": plantedBody(JSON.stringify({ type: "url_verification", challenge: "x" })),
    "a callback": plantedBody(eventText({ type: "card.action.trigger" })),
    "a compressed text that is none": JSON.stringify({ v: 1, kind: "event", deflated: "AAAA" }),
    "members named as the prototype's": '{"__proto__":{"v":1,"kind":"event","text":"{}"}}',
  };
  for (const [what, body] of Object.entries(junk)) {
    test(`W6: with ${what} is quarantined at once`, async () => {
      await bench.send(body);
      const [outcome] = await bench.drain({ handlers });
      assert.equal(outcome?.deleted.length, 1);
      const [message] = await bench.lying(bench.urls.quarantineQueueUrl);
      assert.equal(message?.Body, body);
      assert.equal(message?.MessageAttributes?.["receives"]?.StringValue, "1");
      assert.ok(message?.MessageAttributes?.["reason"]?.StringValue);
      assert.deepEqual(await bench.counts(), { queued: 0, dead: 0, quarantined: 1 });
    });
  }

  for (const app of ["cli_another", "__proto__", "constructor"]) {
    test(`C-71: of the app ${app} is quarantined, and no handler runs`, async () => {
      await bench.send(eventBody({ id: bench.newId(), app }));
      await bench.drain({ handlers });
      const [message] = await bench.lying(bench.urls.quarantineQueueUrl);
      assert.equal(message?.MessageAttributes?.["reason"]?.StringValue, "app");
      assert.deepEqual(await bench.counts(), { queued: 0, dead: 0, quarantined: 1 });
    });
  }

  test("C-70, C-71: that another app received or names, or whose app nothing says, is quarantined, be it an event or a job", async () => {
    const planted = [
      { app: null, receivedBy: undefined },
      { app: null, receivedBy: [appId] },
      { app: null, receivedBy: "cli_another" },
      { app: appId, receivedBy: "cli_another" },
      { app: "cli_another", receivedBy: appId },
    ].flatMap(({ app, receivedBy }) => {
      const click = cardText({ id: bench.newId("click"), header: { app_id: app ?? undefined } });
      return [
        plantedBody(eventText({ id: bench.newId(), app }), { receivedBy }),
        plantedBody(click, { receivedBy, kind: "job", schema: "2.0", payload: 1 }),
      ];
    });
    await bench.send(...planted);
    const deferred = () => assert.fail("the job is not this app's");
    await bench.drain({ handlers, callbacks: { [cardType]: { handle: deferred, deferred } } });
    const kept = await bench.lying(bench.urls.quarantineQueueUrl);
    assert.deepEqual(kept.map(({ Body }) => Body).toSorted(), planted.toSorted());
    for (const { MessageAttributes } of kept) assert.equal(MessageAttributes?.["reason"]?.StringValue, "app");
    assert.deepEqual(bench.idsAt("started"), []);
  });

  test("C-41: names no app but was received by this one: it is handled, and so is a job", async () => {
    const [id, clicked] = [bench.newId("nameless"), bench.newId("click")];
    const click = callbackOf(cardText({ id: clicked, header: { app_id: undefined } }), appId);
    await bench.send(eventBody({ id, app: null }), toBody(jobOf(click, 1)));
    const apps: unknown[] = [];
    const run = (_input: unknown, { app }: { app: string | null }) => void apps.push(app);
    await bench.drain({
      handlers: { "test.event": run },
      callbacks: { [cardType]: { handle: () => assert.fail("it was answered"), deferred: run } },
    });
    assert.deepEqual(bench.idsAt("handled").toSorted(), [jobId(clicked), id].toSorted());
    assert.deepEqual(apps, [null, null], "a handler sees what the event says");
  });

  test("C-71: names a handler, a key or an id of its own beside the text, and only the text counts", async () => {
    const id = bench.newId("inside");
    const members = { id: "outside", type: "test.other", app: "cli_another", handler: "__proto__", key: "outside" };
    await bench.send(plantedBody(eventText({ id }), members));
    await bench.drain({ handlers: { "test.event": () => {}, "test.other": () => assert.fail("not this one") } });
    assert.deepEqual(bench.idsAt("handled"), [id]);
  });

  test("C-49: whose event names prototypes changes no other object", async () => {
    const polluting = `{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}},"deep":{"__proto__":{"polluted":1}}}`;
    const id = bench.newId("polluting");
    const text = eventText({ id }).replace('"event":{}', `"event":${polluting},"__proto__":{"polluted":1}`);
    const seen: unknown[] = [];
    await bench.send(plantedBody(text));
    await bench.drain({
      handlers: {
        "test.event": (event, context) => {
          seen.push(({} as { polluted?: unknown }).polluted, (context as { polluted?: unknown }).polluted);
          assert.deepEqual(Object.keys(event), ["__proto__", "constructor", "deep"]);
        },
      },
    });
    assert.deepEqual(seen, [undefined, undefined]);
    assert.deepEqual(bench.idsAt("handled"), [id]);
  });
});

/** Runs `functions/worker.ts` in a process of its own, with another list of handlers, and gives its output back. */
async function runWorkerFunction(eventList: string, batches: readonly unknown[]) {
  const url = (source: string) => `data:text/javascript,${encodeURIComponent(source)}`;
  const hooks = `import { registerHooks } from "node:module";
    registerHooks({ resolve: (specifier, context, next) => /^\\.\\/(events|callbacks)\\.gen\\.ts$/.test(specifier)
      ? { url: ${JSON.stringify(url(`${eventList}; export const callbacks = {};`))}, shortCircuit: true }
      : next(specifier, context) });`;
  const driver = `import { handler } from ${JSON.stringify(new URL("../../functions/worker.ts", import.meta.url).href)};
    for (const Records of ${JSON.stringify(batches)}) {
      const answer = await handler({ Records }, { getRemainingTimeInMillis: () => 60_000 });
      console.log(JSON.stringify({ answer }));
    }`;
  const child = spawn(process.execPath, ["--import", url(hooks), "--input-type=module", "--eval", driver], {
    env: { ...nodeEnv, ...bench.env, APP_ID: "cli_a1b2c3d4e5f6a7b8" },
    stdio: ["ignore", "pipe", "inherit"],
  });
  let output = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    output += text;
  });
  const code = await new Promise<number | null>((resolve) => child.on("close", resolve));
  const lines = output.split("\n").filter((line) => line.startsWith("{"));
  return { code, lines: lines.map((line) => JSON.parse(line) as { stage?: string; id?: string; answer?: unknown }) };
}
