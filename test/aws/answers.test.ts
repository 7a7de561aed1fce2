import assert from "node:assert/strict";
import { after, before, beforeEach, describe, test } from "node:test";
import { dynamoAnswers, rememberAnswerSeconds } from "../../lib/aws/answers.ts";
import { defaultTryMs, type Item } from "../../lib/aws/client.ts";
import type { AnswerStore } from "../../lib/handling/answered-once.ts";
import { clientTo } from "../support/aws.ts";
import { memoryAnswers } from "../support/callbacks.ts";
import { endsAtOnce, testClock } from "../support/clock.ts";
import { denied, firstTry, internal, throttled } from "../support/faults.ts";
import { seeded } from "../support/random.ts";
import { type FaultyTable, startFaultyTable } from "../support/table.ts";
import { until } from "../support/until.ts";

let bench: FaultyTable;
let answers: AnswerStore;
before(async () => {
  bench = await startFaultyTable();
  answers = dynamoAnswers(bench.client, bench.name);
});
beforeEach(() => bench.faults.reset());
after(() => bench.stop());

const nowMs = 1_760_000_000_000;
let keys = 0;
const newKey = () => `key-${++keys}`;
const { signal } = new AbortController();
const claim = (key: string, owner: string, atMs = nowMs) => answers.claim({ key, owner, nowMs: atMs }, signal);
const record = (key: string, owner: string, answer: string, atMs = nowMs) =>
  answers.record({ key, owner, nowMs: atMs, answer }, signal);
const rowOf = async (key: string) =>
  (await bench.call<{ Item?: Item }>("GetItem", { Key: { pk: { S: `answer#${key}` } } })).Item;

describe("a callback's claim", () => {
  test("of a key that nobody has seen is one write", async () => {
    const unwatch = bench.faults.watch(() => {});
    assert.deepEqual(await claim(newKey(), "a"), { state: "claimed" });
    unwatch();
    assert.deepEqual([bench.faults.calls("PutItem"), bench.faults.calls("GetItem")], [1, 0]);
  });

  test("of a key that another run holds finds it running, then its answer, and is never granted", async () => {
    const key = newKey();
    await claim(key, "a");
    assert.deepEqual(await claim(key, "b"), { state: "running" });
    await record(key, "a", '{"toast":{"content":"\u5df2\u6536\u5230 \u{1f44b}"}}');
    for (const owner of ["b", "c", "b"]) {
      assert.deepEqual(await claim(key, owner), {
        state: "answered",
        answer: '{"toast":{"content":"\u5df2\u6536\u5230 \u{1f44b}"}}',
      });
    }
  });

  test("C4: reads what stands there as it was last written, and not as it was a second ago", async () => {
    const key = newKey();
    await claim(key, "a");
    const reads: unknown[] = [];
    const unwatch = bench.faults.watch(
      ({ action, body }) => void (action === "GetItem" && reads.push(body["ConsistentRead"])),
    );
    await claim(key, "b");
    unwatch();
    assert.deepEqual(reads, [true]);
  });

  test("C4: by 10 runs at once is granted to one of them", async () => {
    const key = newKey();
    const claims = await Promise.all(Array.from({ length: 10 }, (_, index) => claim(key, `owner-${index}`)));
    assert.equal(claims.filter(({ state }) => state === "claimed").length, 1);
    assert.equal(claims.filter(({ state }) => state === "running").length, 9);
  });

  test("C4: whose answer is lost meets its own row, and is granted to this run alone", async () => {
    const key = newKey();
    bench.faults.inject("PutItem", { kind: "lost" }, firstTry);
    assert.deepEqual(await claim(key, "a"), { state: "claimed" });
    assert.equal(bench.faults.injected("lost"), 1);
    assert.deepEqual(await claim(key, "b"), { state: "running" });
  });

  for (const [what, fault] of Object.entries({ fails: internal, "throttles it": throttled })) {
    test(`C4: that the table ${what} once is made again`, async () => {
      bench.faults.inject("PutItem", fault, firstTry);
      assert.deepEqual(await claim(newKey(), "a"), { state: "claimed" });
    });
  }

  for (const [what, fault] of Object.entries({ fails: internal, "denies access": denied })) {
    test(`C9: rejects while the table ${what}, and grants nothing`, async () => {
      const key = newKey();
      const stop = bench.faults.inject("*", fault);
      await assert.rejects(claim(key, "a"));
      stop();
      assert.equal(await rowOf(key), undefined);
    });
  }

  test("C9: rejects when it cannot read what stands there: it may be anything", async () => {
    const key = newKey();
    await claim(key, "a");
    bench.faults.inject("GetItem", internal);
    await assert.rejects(claim(key, "b"));
  });

  test("C1: is given up when it is told to, long before the bench.client's own time", async () => {
    bench.faults.inject("*", { kind: "stall" });
    const stop = new AbortController();
    const claiming = answers.claim({ key: newKey(), owner: "a", nowMs }, stop.signal);
    await until("it is sent", () => bench.faults.injected("stall") === 1);
    stop.abort();
    assert.ok(await endsAtOnce(claiming));
    await assert.rejects(claiming, { name: "AbortError" });
  });

  test("is remembered for a day, also where the table has not removed it yet, and then another's", async () => {
    const key = newKey();
    await claim(key, "a");
    await record(key, "a", "{}", nowMs + 2_000);
    assert.equal((await rowOf(key))?.["expiresAtSeconds"]?.N, String(nowMs / 1000 + 2 + rememberAnswerSeconds));
    assert.equal(rememberAnswerSeconds, 24 * 3600);
    const endMs = nowMs + 2_000 + rememberAnswerSeconds * 1000;
    assert.equal((await claim(key, "b", endMs)).state, "answered");
    assert.deepEqual(await claim(key, "b", endMs + 1_000), { state: "claimed" });
    // Nothing is left of the answer of the day before.
    assert.deepEqual(await claim(key, "c", endMs + 1_000), { state: "running" });
  });
});

describe("a callback's answer", () => {
  test("C4: whose writing is confirmed to nobody is written", async () => {
    for (const fault of [{ kind: "lost" }, internal, { kind: "cut" }] as const) {
      bench.faults.reset();
      const key = newKey();
      await claim(key, "a");
      bench.faults.inject("UpdateItem", fault, firstTry);
      await record(key, "a", '{"n":1}');
      assert.deepEqual(await claim(key, "b"), { state: "answered", answer: '{"n":1}' });
    }
  });

  test("C4: of a run that does not hold the key is not written", async () => {
    const key = newKey();
    await assert.rejects(record(key, "a", "{}"), { name: "ConditionalCheckFailedException" });
    assert.equal(await rowOf(key), undefined);
    await claim(key, "a");
    await assert.rejects(record(key, "b", '{"by":"b"}'), { name: "ConditionalCheckFailedException" });
    await record(key, "a", '{"by":"a"}');
    assert.deepEqual(await claim(key, "c"), { state: "answered", answer: '{"by":"a"}' });
  });

  test("of the largest size that may be sent fits into its row", async () => {
    const key = newKey();
    await claim(key, "a");
    const answer = JSON.stringify({ toast: { content: "\u4e2d".repeat(34_000) } });
    await record(key, "a", answer);
    assert.deepEqual(await claim(key, "b"), { state: "answered", answer });
  });
});

test("the answers in memory, which other tests use, agree with these on random scripts", async () => {
  for (const seed of Array.from({ length: 12 }, (_, index) => 20_280 + index)) {
    const random = seeded(seed);
    const memory = memoryAnswers();
    const key = newKey();
    let atMs = nowMs;
    for (let step = 0; step < 10; step++) {
      atMs += random.pick([0, 0, 500, 10_000, 86_400_000 + random.below(2_000)]);
      const request = { key, owner: random.pick(["a", "b", "c"]), nowMs: atMs };
      const answer = `{"n":${random.below(5)}}`;
      const isClaim = random.chance(0.6);
      const act = (on: AnswerStore): Promise<unknown> =>
        isClaim
          ? on.claim(request, signal)
          : on.record({ ...request, answer }, signal).then(
              () => true,
              () => false,
            );
      assert.deepEqual(await act(answers), await act(memory), `seed ${seed}, step ${step}`);
    }
  }
});

test("the answers' rows stand under a prefix of their own, beside the ledger's", async () => {
  const { Items = [] } = await bench.call<{ Items?: Item[] }>("Scan");
  assert.ok(Items.length > 10);
  for (const item of Items) {
    assert.match(item["pk"]?.S ?? "", /^answer#/);
    const names = Object.keys(item).filter(
      (name) => !["pk", "claimOwner", "answer", "expiresAtSeconds"].includes(name),
    );
    assert.deepEqual(names, []);
  }
});

test("C4: a claim that arrives long after it was given up holds the key, and nothing runs twice for it", async () => {
  const key = newKey();
  const clock = testClock(Date.now());
  const hasty = clientTo(bench.faults.endpoint, { clock, random: () => 0 });
  try {
    const stop = bench.faults.inject("PutItem", { kind: "hold" }, firstTry);
    const late = dynamoAnswers(hasty, bench.name);
    const claiming = late.claim({ key, owner: "a", nowMs }, signal);
    await until("the first try is held", () => bench.faults.injected("hold") === 1);
    await clock.advance(defaultTryMs.dynamodb);
    assert.deepEqual(await claiming, { state: "claimed" });
    await late.record({ key, owner: "a", nowMs, answer: '{"n":1}' }, signal);
    stop();
    await bench.faults.release();
    assert.deepEqual(await claim(key, "b"), { state: "answered", answer: '{"n":1}' });
  } finally {
    hasty.destroy();
  }
});
