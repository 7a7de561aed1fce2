import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { after, before, beforeEach, describe, test } from "node:test";
import { withRetries } from "../../lib/handling/claims.ts";
import { idempotencyKey } from "../../lib/handling/idempotency.ts";
import { eventBody, eventText, plantedBody, record, type TestHandle, type TestHandlers } from "../support/events.ts";
import { denied, firstTry, internal } from "../support/faults.ts";
import { startWorker, type Worker } from "../support/worker.ts";

let bench: Worker;
before(async () => {
  bench = await startWorker({ seed: 20_263 });
});
beforeEach(() => bench.reset());
after(() => bench.stop());

describe("the idempotency key", () => {
  test("I9: differs by app, by handler, by id, and between an id and a handler's own key", () => {
    const keys = new Set<string>();
    const names = ["a", "b", "", "id", "key", '["a"]', "a,b", '","'];
    for (const app of [...names, null]) {
      for (const handler of names) {
        for (const id of names) {
          keys.add(idempotencyKey({ app, handler, id }));
          keys.add(idempotencyKey({ app, handler, id: "x", ownKey: id }));
        }
      }
    }
    assert.equal(keys.size, 9 * 8 * 8 * 2);
  });

  test("is the same for the same event, whatever the event's size, and always short", () => {
    const parts = { app: "cli_a", handler: "test.event", id: "x".repeat(1_000_000) };
    assert.equal(idempotencyKey(parts), idempotencyKey({ ...parts }));
    assert.match(idempotencyKey(parts), /^[\w-]{43}$/);
  });

  test("I9: two apps and two handlers make four runs of one event id", async () => {
    const id = bench.newId("shared");
    const runs: string[] = [];
    const handlers: TestHandlers = {
      "test.one": (_event, { app, type }) => void runs.push(`${app} ${type}`),
      "test.two": (_event, { app, type }) => void runs.push(`${app} ${type}`),
    };
    for (const app of ["cli_a", "cli_b"]) {
      for (let push = 0; push < 2; push++) {
        await bench.send(...["test.one", "test.two"].map((type) => eventBody({ id, app, type })));
        await bench.drain({ handlers, app });
      }
    }
    assert.deepEqual(runs.sort(), ["cli_a test.one", "cli_a test.two", "cli_b test.one", "cli_b test.two"]);
  });

  test("I10: an event without an id is known by its content: the same twice runs once, another runs", async () => {
    const seen: unknown[] = [];
    const handlers: TestHandlers = { "test.event": ({ n }) => void seen.push(n) };
    const without = (n: unknown) => eventBody({ id: null, event: { n, mark: "no-id" } });
    await bench.send(without(1), without(1), without(2));
    await bench.drain({ handlers });
    assert.deepEqual(seen.sort(), [1, 2]);
  });

  test("of a handler's own replaces the id: two events of one message run once", async () => {
    const seen: string[] = [];
    const handlers: TestHandlers = {
      "test.event": { key: ({ message }) => message, handle: (_event, { id }) => void seen.push(id) },
    };
    const [first = "", second = "", third = ""] = [1, 2, 3].map(() => bench.newId("pushed"));
    const message = bench.newId("message");
    await bench.send(eventBody({ id: first, event: { message } }));
    await bench.drain({ handlers });
    await bench.send(
      eventBody({ id: second, event: { message } }),
      eventBody({ id: third, event: { message: `${message}-b` } }),
    );
    await bench.drain({ handlers });
    assert.deepEqual(seen, [first, third]);
    assert.deepEqual(bench.stagesOf(second), ["duplicate"]);
  });

  test("of a handler's own never meets another event's id", async () => {
    const id = bench.newId("meets");
    const other = bench.newId("other");
    const handle = () => {};
    const handlers: TestHandlers = {
      "test.event": { key: ({ ownKey }) => ownKey as string | undefined, handle },
    };
    await bench.send(eventBody({ id }), eventBody({ id: other, event: { ownKey: id } }));
    await bench.drain({ handlers });
    assert.deepEqual(bench.idsAt("handled").sort(), [id, other].sort());
  });

  for (const given of [undefined, null, "", 5, {}, []]) {
    test(`of a handler that gives ${JSON.stringify(given)} is the id`, async () => {
      const handlers: TestHandlers = { "test.event": { key: () => given, handle: () => {} } };
      const [first = "", second = ""] = [bench.newId(), bench.newId()];
      await bench.send(eventBody({ id: first }), eventBody({ id: second }), eventBody({ id: first }));
      await bench.drain({ handlers });
      assert.deepEqual(bench.idsAt("handled").sort(), [first, second].sort());
    });
  }

  test("of a handler that throws fails the event, and the handler is not entered", async () => {
    const handlers: TestHandlers = {
      "test.event": {
        key: () => {
          throw new TypeError("no message");
        },
        handle: () => assert.fail("not entered"),
      },
    };
    const { kept } = await bench.invoke([record(eventBody({ id: bench.newId() }))], { handlers });
    assert.equal(kept.length, 1);
    assert.deepEqual(bench.idsAt("started"), []);
  });

  test("I12: has no part of the queue's message id: the same event in two messages runs once", async () => {
    const id = bench.newId("two-messages");
    let runs = 0;
    for (const message of ["one", "two"]) {
      await bench.invoke([record(eventBody({ id }), { id: message })], {
        handlers: { "test.event": () => void runs++ },
      });
    }
    assert.equal(runs, 1);
  });

  test("P6: two ids that a double cannot tell apart are two events", async () => {
    const text = (digits: string) =>
      eventText({ id: null, event: { mark: "digits" } }).replace('"mark"', `"n":${digits},"mark"`);
    let runs = 0;
    await bench.send(plantedBody(text("12345678901234567890")), plantedBody(text("12345678901234567891")));
    await bench.drain({ handlers: { "test.event": () => void runs++ } });
    assert.equal(runs, 2);
  });
});

describe("a ledger that cannot be reached", () => {
  for (const [what, fault] of Object.entries({ fails: internal, "denies access": denied })) {
    test(`I1: and ${what} lets no handler run, and loses no event`, async () => {
      const ids = Array.from({ length: 4 }, () => bench.newId());
      let runs = 0;
      const handlers: TestHandlers = { "test.event": () => void runs++ };
      await bench.send(...ids.map((id) => eventBody({ id })));
      const stop = bench.dynamoFaults.inject("PutItem", fault);
      const { kept } = await bench.invoke(await bench.receive(), { handlers });
      assert.deepEqual([runs, kept.length], [0, 4]);
      assert.ok(
        kept.every(({ waitSeconds }) => waitSeconds >= 8 && waitSeconds <= 12),
        "they come back soon",
      );
      stop();
      for (const { record: seen } of kept) await bench.show(seen);
      await bench.drain({ handlers });
      assert.deepEqual(bench.idsAt("handled").sort(), ids.sort());
    });
  }

  test("I1: at the last delivery moves no event to the dead-letter queue as if its handler had failed", async () => {
    bench.dynamoFaults.inject("PutItem", internal);
    const { kept } = await bench.invoke([record(eventBody({ id: bench.newId() }), { attempt: 10 })], {
      handlers: { "test.event": () => assert.fail("not entered") },
    });
    assert.equal(kept.length, 1);
    assert.equal((await bench.counts()).dead, 0);
  });

  test("I3: twice, and then can, makes no second run", async () => {
    const id = bench.newId("third-time");
    let runs = 0;
    await bench.send(eventBody({ id }));
    // Two writes of two tries each fail; the third is stored.
    bench.dynamoFaults.inject("UpdateItem", internal, (_call, nth) => nth <= 4);
    await bench.drain({ handlers: { "test.event": () => void runs++ } });
    assert.equal(runs, 1);
    assert.deepEqual(bench.stagesOf(id), ["started", "handled"]);
  });

  test("I3: when a success is to be written makes a second run, once the lease has ended, and only of that event", async () => {
    const ids = Array.from({ length: 10 }, () => bench.newId("unwritten"));
    const [unlucky = ""] = ids;
    const runs: string[] = [];
    const handlers: TestHandlers = { "test.event": (_event, { id }) => void runs.push(id) };
    const lost = idempotencyKey({ app: "cli_a1b2c3d4e5f6a7b8", handler: "test.event", id: unlucky });
    await bench.send(...ids.map((id) => eventBody({ id })));
    let refused = 0;
    bench.dynamoFaults.inject(
      "UpdateItem",
      internal,
      ({ body }) => JSON.stringify(body).includes(lost) && ++refused <= 6,
    );
    await bench.drain({ handlers });
    assert.deepEqual(runs.slice(0, 10).sort(), ids.sort());
    assert.deepEqual(runs.slice(10), [unlucky]);
    assert.equal(refused, 7, "three writes of two tries each, and the one of the second run");
    const turns = bench.stagesOf(unlucky).filter((stage, index, all) => stage !== all[index - 1]);
    assert.deepEqual(turns, ["started", "failed", "busy", "started", "handled"]);
  });

  test("I3: is not asked again when there is no time left", async () => {
    let tries = 0;
    const write = () => Promise.reject(new Error(`try ${++tries}`));
    await assert.rejects(
      withRetries(write, () => tries < 2),
      /try 2/,
    );
    await assert.rejects(
      withRetries(write, () => false),
      /try 3/,
    );
    tries = 0;
    await assert.rejects(
      withRetries(write, () => true),
      /try 3/,
    );
  });

  test("I2: and whose first answers are all lost delays no event and runs each once", async () => {
    const ids = Array.from({ length: 10 }, () => bench.newId());
    const runs: string[] = [];
    await bench.send(...ids.map((id) => eventBody({ id })));
    bench.dynamoFaults.inject("*", { kind: "lost" }, firstTry);
    const outcomes = await bench.drain({ handlers: { "test.event": (_event, { id }) => void runs.push(id) } });
    assert.deepEqual(runs.sort(), ids.sort());
    assert.equal(outcomes.length, 1);
    assert.equal(bench.dynamoFaults.injected("lost"), 20);
  });
});

describe("a handler without the ledger", () => {
  const off = (handle: TestHandle): TestHandlers => ({ "test.event": { handle, dedupe: "off" } });

  test("runs at each delivery, and needs no ledger while all goes well", async () => {
    const id = bench.newId("off");
    const attempts: number[] = [];
    bench.dynamoFaults.inject("PutItem", denied);
    await bench.send(eventBody({ id }), eventBody({ id }));
    await bench.drain({ handlers: off((_event, { attempt }) => void attempts.push(attempt)) });
    assert.deepEqual(attempts, [1, 1]);
    assert.deepEqual(bench.stagesOf(id), ["started", "started", "handled", "handled"]);
    assert.equal(bench.dynamoFaults.calls("PutItem"), 0);
  });

  test("is tried again and given up by the count of deliveries, and keeps no other event of its key from running", async () => {
    const id = bench.newId("off");
    const attempts: number[] = [];
    const fail: TestHandle = (_event, { attempt }) => {
      attempts.push(attempt);
      throw new Error("fails");
    };
    await bench.send(eventBody({ id }));
    await bench.drain({ handlers: off(fail) });
    assert.deepEqual(attempts, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    const [letter, ...more] = await bench.lying();
    const { deadReason, attempts: count } = letter?.MessageAttributes ?? {};
    assert.deepEqual([deadReason?.StringValue, count?.StringValue, more], ["attemptsExhausted", "10", []]);
    await bench.send(eventBody({ id }));
    await bench.drain({ handlers: off(() => {}) });
    assert.equal(bench.stagesOf(id).at(-1), "handled");
  });

  test("comes back however often it ends the process", async () => {
    const id = bench.newId("off");
    let runs = 0;
    await bench.send(eventBody({ id }));
    await bench.drain({ handlers: ({ die }) => off(() => (++runs <= 6 ? die() : undefined)) });
    assert.equal(runs, 7);
    assert.equal(bench.stagesOf(id).at(-1), "handled");
  });

  test("dies when it ended the process at all its attempts in a FIFO queue, where others wait behind it", async () => {
    const id = bench.newId("off");
    let runs = 0;
    for (let attempt = 1; attempt <= 4; attempt++) {
      const given = {
        ...record(eventBody({ id }), { id, attempt }),
        eventSourceARN: "arn:aws:sqs:us-east-1:000000000000:events-chat.fifo",
      };
      const { died } = await bench.invoke([given], {
        ...{ maxAttempts: 3, lane: { holdSeconds: 60 } },
        handlers: ({ die }) =>
          off(() => {
            runs++;
            return die();
          }),
      });
      assert.equal(died, attempt <= 3);
    }
    const [letter] = await bench.lying();
    const { deadReason, attempts } = letter?.MessageAttributes ?? {};
    assert.deepEqual([runs, deadReason?.StringValue, attempts?.StringValue], [3, "deadly", "3"]);
  });
});

describe("two runs of one event", () => {
  /** A process whose timers stand still, as those of a frozen machine do, until it thaws. */
  function frozen() {
    const timers: (() => void)[] = [];
    return {
      clock: {
        nowMs: bench.clock.nowMs,
        after(_ms: number, fire: () => void) {
          timers.push(fire);
          return () => {};
        },
      },
      thaw() {
        for (const fire of timers.splice(0)) fire();
      },
    };
  }

  for (const { first, timersFirst } of [
    { first: "finishes", timersFirst: false },
    { first: "runs into its deadline", timersFirst: true },
  ]) {
    test(`I4: when the first stalls past its lease and then ${first}, only the second completes`, async () => {
      const id = bench.newId("stalled");
      const gate = Promise.withResolvers<void>();
      const { clock, thaw } = frozen();
      const stalled = bench.invoke([record(eventBody({ id }), { id: "first" })], {
        clock,
        handlers: { "test.event": () => gate.promise },
      });
      await bench.reached("started");
      await bench.clock.advance(2 * 70_000);
      await bench.invoke([record(eventBody({ id }), { id: "second" })], { handlers: { "test.event": () => {} } });
      assert.deepEqual(bench.stagesOf(id), ["started", "started", "handled"]);
      if (timersFirst) thaw();
      gate.resolve();
      const { kept } = await stalled;
      assert.equal(kept.length, 1);
      assert.deepEqual(bench.stagesOf(id).slice(3), [timersFirst ? "failed" : "lease-lost"]);
      await bench.invoke([record(eventBody({ id }), { id: "first" })], {
        handlers: { "test.event": () => assert.fail("a third run") },
      });
      assert.deepEqual(bench.idsAt("handled"), [id]);
      assert.deepEqual(bench.stagesOf(id).slice(4), ["duplicate"]);
    });
  }

  test("I5: when the first fails after the second has begun, no third begins beside it", async () => {
    const id = bench.newId("overtaken");
    const firstGate = Promise.withResolvers<void>();
    const secondGate = Promise.withResolvers<void>();
    const { clock } = frozen();
    const first = bench.invoke([record(eventBody({ id }))], {
      clock,
      handlers: { "test.event": () => firstGate.promise },
    });
    await bench.reached("started", 1);
    await bench.clock.advance(2 * 70_000);
    const second = bench.invoke([record(eventBody({ id }))], { handlers: { "test.event": () => secondGate.promise } });
    await bench.reached("started", 2);
    firstGate.reject(new Error("the first fails"));
    await first;
    const third = await bench.invoke([record(eventBody({ id }))], {
      handlers: { "test.event": () => assert.fail("a third run") },
    });
    assert.equal(third.kept.length, 1);
    secondGate.resolve();
    assert.equal((await second).deleted.length, 1);
    assert.deepEqual(bench.stagesOf(id), ["started", "started", "failed", "busy", "handled"]);
  });

  test("I8: the one that comes while the other is at work waits for it, and finds it done", async () => {
    const id = bench.newId("pair");
    const gate = Promise.withResolvers<void>();
    await bench.send(eventBody({ id }), eventBody({ id }));
    const [one = assert.fail(), two = assert.fail()] = await bench.receive();
    const first = bench.invoke([one], { handlers: { "test.event": () => gate.promise } });
    await bench.reached("started");
    await bench.clock.advance(20_000);
    const second = await bench.invoke([two], { handlers: { "test.event": () => assert.fail("a second run") } });
    const [kept = assert.fail()] = second.kept;
    assert.equal(kept.waitSeconds, 1, "soon, since most runs are short; never past the lease's end");
    gate.resolve();
    await first;
    await bench.clock.advance(kept.waitSeconds * 1000);
    await bench.show(two);
    await bench.drain({ handlers: { "test.event": () => assert.fail("a second run") } });
    assert.deepEqual(bench.stagesOf(id), ["started", "busy", "handled", "duplicate"]);
    assert.deepEqual(await bench.counts(), { queued: 0, dead: 0, quarantined: 0 });
  });

  test("I8: in one batch run once, and the other is found done, at its next receive at the latest", async () => {
    const id = bench.newId("same-batch");
    await bench.send(eventBody({ id }), eventBody({ id }));
    let runs = 0;
    const outcomes = await bench.drain({ handlers: { "test.event": () => void runs++ } });
    assert.equal(runs, 1);
    assert.ok(outcomes.length <= 2);
    assert.equal(bench.idsAt("duplicate").length, 1);
  });

  for (const skewMs of [-2_000, 2_000]) {
    test(`I16: do not overlap when the second machine's clock is ${skewMs} ms off`, async () => {
      const id = bench.newId("skewed");
      const clock = { nowMs: () => bench.clock.nowMs() + skewMs, after: bench.clock.after };
      const gate = Promise.withResolvers<void>();
      const handlers = { "test.event": () => gate.promise };
      const { settle } = bench.startProcess({ handlers });
      void settle([record(eventBody({ id }))]).catch(() => {});
      await bench.reached("started");
      // Up to the moment at which Lambda has ended the first: its sixty seconds.
      await bench.clock.advance(54_999);
      const early = await bench.invoke([record(eventBody({ id }))], { clock, handlers });
      assert.equal(early.kept.length, 1);
      assert.deepEqual(bench.stagesOf(id), ["started", "busy"]);
      gate.resolve();
      await bench.reached("handled");
    });
  }
});

test("I14: a table that was emptied repeats no more than what was pending, and each run is told", async () => {
  const ids = Array.from({ length: 10 }, () => bench.newId("emptied"));
  const handlers: TestHandlers = { "test.event": () => {} };
  await bench.send(...ids.map((id) => eventBody({ id })));
  await bench.drain({ handlers });
  const pending = ids.slice(0, 6);
  await bench.send(...pending.map((id) => eventBody({ id })));
  bench.table.clear();
  await bench.drain({ handlers });
  await bench.send(...ids.map((id) => eventBody({ id })).slice(0, 6));
  await bench.drain({ handlers });
  assert.equal(bench.idsAt("handled").length, 10 + 6);
  assert.deepEqual(bench.idsAt("duplicate").sort(), pending.sort());
});

test("I15: no setting switches the ledger off", () => {
  const root = new URL("../..", import.meta.url);
  const sources = (folder: string) =>
    readdirSync(new URL(folder, root), { recursive: true, encoding: "utf8" })
      .filter((name) => /\.(ts|js)$/.test(name))
      .map((name) => `${folder}/${name}`);
  const read = (path: string) => readFileSync(new URL(path, root), "utf8");
  // The flow takes what it needs as arguments, so none of these reads any setting at all.
  const flow = [
    "handling/worker.ts",
    "handling/claims.ts",
    "handling/idempotency.ts",
    "handling/dispatcher.ts",
    "aws/ledger.ts",
    "aws/batch.ts",
    "aws/queues.ts",
  ];
  for (const path of flow) assert.doesNotMatch(read(`lib/${path}`), /process\.env|\benv\b/, path);
  const settings = [...sources("lib"), ...sources("functions")].flatMap((path) => [
    ...read(path).matchAll(
      /\b[A-Z]+(?:_[A-Z]+)*(?:LEDGER|IDEMPOT|DEDUP|DUPLICATE)[A-Z_]*\b|\b(?:LEDGER|IDEMPOT|DEDUP|DUPLICATE)[A-Z_]*\b/g,
    ),
  ]);
  assert.deepEqual([...new Set(settings.map(([name]) => name))], ["LEDGER_TABLE"]);
});
