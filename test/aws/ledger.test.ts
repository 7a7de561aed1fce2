import assert from "node:assert/strict";
import { after, before, beforeEach, describe, test } from "node:test";
import { defaultTryMs, type Item } from "../../lib/aws/client.ts";
import { dynamoLedger, rememberSeconds } from "../../lib/aws/ledger.ts";
import { type ClaimRequest, type Ledger, maxUnfinishedStarts } from "../../lib/handling/idempotency.ts";
import { clientTo } from "../support/aws.ts";
import { testClock } from "../support/clock.ts";
import { denied, firstTry, internal } from "../support/faults.ts";
import { seeded } from "../support/random.ts";
import { type FaultyTable, startFaultyTable } from "../support/table.ts";
import { until } from "../support/until.ts";
import { memoryLedger } from "../support/worker.ts";

let table: FaultyTable;
let faults: FaultyTable["faults"];
let ledger: Ledger;
before(async () => {
  table = await startFaultyTable();
  ({ faults } = table);
  ledger = dynamoLedger(table.client, table.name);
});
beforeEach(() => faults.reset());
after(() => table.stop());

const nowMs = 1_760_000_000_000;
const leaseMs = 70_000;
let keys = 0;
const newKey = () => `key-${++keys}`;
const request = (key: string, owner: string, given: Partial<ClaimRequest> = {}): ClaimRequest => {
  const atMs = given.nowMs ?? nowMs;
  return {
    key,
    owner,
    nowMs: atMs,
    leaseEndsAtMs: atMs + leaseMs,
    maxRuns: 100,
    redrives: 0,
    digest: "digest",
    ...given,
  };
};
const rowOf = async (key: string) =>
  (await table.call<{ Item?: Item }>("GetItem", { Key: { pk: { S: `claim#${key}` } } })).Item;

describe("a claim", () => {
  test("of a key that nobody has seen is one write", async () => {
    const unwatch = faults.watch(() => {});
    assert.deepEqual(await ledger.claim(request(newKey(), "a")), { state: "claimed", run: 1 });
    unwatch();
    assert.deepEqual([faults.calls("PutItem"), faults.calls("GetItem")], [1, 0]);
  });

  test("of a key that is held finds it busy until its lease ends", async () => {
    const key = newKey();
    await ledger.claim(request(key, "a"));
    const busy = { state: "busy", leaseEndsAtMs: nowMs + leaseMs };
    assert.deepEqual(await ledger.claim(request(key, "b")), busy);
    assert.deepEqual(await ledger.claim(request(key, "b", { nowMs: nowMs + leaseMs - 1 })), busy);
    assert.deepEqual(await ledger.claim(request(key, "b", { nowMs: nowMs + leaseMs })), { state: "claimed", run: 2 });
  });

  for (const [when, prepare] of Object.entries<(key: string) => Promise<void>>({
    "nobody has seen": async () => {},
    "whose lease has ended": async (key: string) => void (await ledger.claim(request(key, "old", { nowMs: 1e12 }))),
    "that was given back": async (key: string) => {
      await ledger.claim(request(key, "old"));
      await ledger.conclude(key, "old", { phase: "open", nowMs, claimableAtMs: nowMs });
    },
  })) {
    test(`S1: by 10 runs at once of a key ${when} is granted to one of them`, async () => {
      const key = newKey();
      await prepare(key);
      const owners = Array.from({ length: 10 }, (_, index) => `owner-${index}`);
      const claims = await Promise.all(owners.map((owner) => ledger.claim(request(key, owner))));
      assert.equal(claims.filter(({ state }) => state === "claimed").length, 1);
      assert.equal(claims.filter(({ state }) => state === "busy").length, 9);
    });
  }

  for (const [of, prepare] of Object.entries<(key: string) => Promise<void>>({
    "a fresh key": async () => {},
    "a key whose lease has ended": async (key: string) =>
      void (await ledger.claim(request(key, "old", { nowMs: 1e12 }))),
  })) {
    test(`I2: of ${of} whose first answer is lost meets its own row, and is granted`, async () => {
      const key = newKey();
      await prepare(key);
      faults.inject("PutItem", { kind: "lost" }, firstTry);
      assert.deepEqual(await ledger.claim(request(key, "a")), { state: "claimed", run: 1 });
      assert.ok(faults.injected("lost") > 0);
      assert.equal((await ledger.claim(request(key, "b"))).state, "busy");
    });

    test(`I2: of ${of} that arrives a second time, after its run is done, does not open the key again`, async () => {
      const key = newKey();
      await prepare(key);
      const clock = testClock(Date.now());
      const hasty = clientTo(faults.endpoint, { clock, random: () => 0 });
      try {
        const stop = faults.inject("PutItem", { kind: "hold" }, firstTry);
        const late = dynamoLedger(hasty, table.name);
        const claiming = late.claim(request(key, "a"));
        await until("the first try is held", () => faults.injected("hold") === 1);
        await clock.advance(defaultTryMs.dynamodb);
        assert.deepEqual(await claiming, { state: "claimed", run: 1 });
        assert.equal(await late.conclude(key, "a", { phase: "done", nowMs }), true);
        stop();
        await faults.release();
        assert.equal((await ledger.claim(request(key, "b", { nowMs: nowMs + 2 * leaseMs }))).state, "done");
      } finally {
        hasty.destroy();
      }
    });
  }

  for (const [what, fault] of Object.entries({ fails: internal, "denies access": denied })) {
    test(`I1: rejects while the table ${what}, and grants nothing`, async () => {
      const key = newKey();
      const stop = faults.inject("*", fault);
      await assert.rejects(ledger.claim(request(key, "a")));
      stop();
      assert.equal(await rowOf(key), undefined);
    });
  }

  test("I1: rejects within its time while the table does not answer", async () => {
    const clock = testClock(Date.now());
    const client = clientTo(faults.endpoint, { clock, random: () => 1 });
    faults.inject("*", { kind: "stall" }, firstTry);
    faults.inject("*", denied);
    let isOver = false;
    const rejected = assert
      .rejects(dynamoLedger(client, table.name).claim(request(newKey(), "a")), { name: "AccessDeniedException" })
      .finally(() => {
        isOver = true;
      });
    await until("the first try stalls", () => faults.injected("stall") === 1);
    await clock.advance(999);
    assert.deepEqual([isOver, faults.calls("PutItem")], [false, 1]);
    await clock.advance(1 + 100);
    await until("the second try is sent", () => faults.calls("PutItem") === 2, { withinMs: 20_000 });
    await rejected;
    assert.equal(clock.pending, 0);
    client.destroy();
  });

  test("W2: is deadly after five runs in a row that left no outcome, and not after four", async () => {
    const key = newKey();
    let atMs = nowMs;
    for (let start = 1; start <= maxUnfinishedStarts; start++) {
      assert.deepEqual(await ledger.claim(request(key, `run-${start}`, { nowMs: atMs })), {
        state: "claimed",
        run: start,
      });
      atMs += leaseMs;
    }
    assert.equal(maxUnfinishedStarts, 5);
    const spent = { state: "spent", run: maxUnfinishedStarts, isCrashLoop: true, death: undefined };
    assert.deepEqual(await ledger.claim(request(key, "grave", { nowMs: atMs })), spent);
    assert.equal((await ledger.claim(request(key, "other", { nowMs: atMs + 1 }))).state, "busy");
    assert.equal(await ledger.conclude(key, "grave", { phase: "dead", nowMs: atMs }), true);
    assert.equal((await ledger.claim(request(key, "other", { nowMs: atMs + 2 }))).state, "dead");
  });

  test("W2: is not deadly when any of the runs left an outcome", async () => {
    const key = newKey();
    let atMs = nowMs;
    for (let start = 1; start <= 2 * maxUnfinishedStarts; start++) {
      const owner = `run-${start}`;
      assert.deepEqual(await ledger.claim(request(key, owner, { nowMs: atMs })), { state: "claimed", run: start });
      atMs += leaseMs;
      if (start % maxUnfinishedStarts === 0) await ledger.conclude(key, owner, { phase: "open", nowMs: atMs });
    }
  });

  test("W2, H1: counts the runs that have started, whatever became of them, and is spent after the last", async () => {
    const key = newKey();
    let atMs = nowMs;
    for (const [run, ending] of ["failed", "never reported", "failed"].entries()) {
      const owner = `run-${run + 1}`;
      const claim = await ledger.claim(request(key, owner, { nowMs: atMs, maxRuns: 3 }));
      assert.deepEqual(claim, { state: "claimed", run: run + 1 });
      const release = { nowMs: atMs, claimableAtMs: atMs };
      if (ending === "failed") assert.equal(await ledger.conclude(key, owner, { phase: "open", ...release }), true);
      atMs += leaseMs;
    }
    const spent = { state: "spent", run: 3, isCrashLoop: false, death: undefined };
    assert.deepEqual(await ledger.claim(request(key, "grave", { nowMs: atMs, maxRuns: 3 })), spent);
    const redriven = request(key, "redriven", { nowMs: atMs + leaseMs, maxRuns: 3, redrives: 1 });
    assert.deepEqual(await ledger.claim(redriven), { state: "claimed", run: 1 }, "a redrive counts anew");
  });

  test("H1: of a key whose claim was withdrawn has the same number again", async () => {
    const key = newKey();
    await ledger.claim(request(key, "a"));
    assert.equal(await ledger.withdraw(key, "b", nowMs), false, "not another's");
    assert.equal(await ledger.withdraw(key, "a", nowMs), true);
    assert.equal(await ledger.withdraw(key, "a", nowMs), false, "not twice");
    assert.deepEqual(await ledger.claim(request(key, "b")), { state: "claimed", run: 1 });
    await ledger.conclude(key, "b", { phase: "open", nowMs });
    const spent = { state: "spent", run: 1, isCrashLoop: false, death: undefined };
    assert.deepEqual(await ledger.claim(request(key, "c", { maxRuns: 1 })), spent);
    assert.equal(await ledger.withdraw(key, "c", nowMs), true);
    assert.deepEqual(await ledger.claim(request(key, "d", { maxRuns: 1 })), spent, "it counted no run");
  });

  test("H2: of a key whose death could not be stored is spent with it, also after another process died of it", async () => {
    const key = newKey();
    await ledger.claim(request(key, "a"));
    await ledger.conclude(key, "a", { phase: "open", nowMs, claimableAtMs: nowMs, death: "the reason" });
    const spent = { state: "spent", run: 1, isCrashLoop: false, death: "the reason" };
    assert.deepEqual(await ledger.claim(request(key, "b")), spent);
    assert.deepEqual(await ledger.claim(request(key, "c", { nowMs: nowMs + leaseMs })), spent);
  });

  for (const { phase, redrives, state } of [
    { phase: "done", redrives: 0, state: "done" },
    { phase: "done", redrives: 1, state: "done" },
    { phase: "dead", redrives: 0, state: "dead" },
    { phase: "dead", redrives: 1, state: "claimed" },
  ] as const) {
    test(`I12: of a key that is ${phase} is ${state} for ${redrives > 0 ? "a redriven" : "a repeated"} record`, async () => {
      const key = newKey();
      await ledger.claim(request(key, "a"));
      await ledger.conclude(key, "a", { phase, nowMs });
      const claim = await ledger.claim(request(key, "b", { redrives, digest: "another" }));
      assert.deepEqual(claim, state === "claimed" ? { state, run: 1 } : { state, digest: "digest" });
    });
  }

  test("I12: of a record that was redriven before its key died is a duplicate: it is that death's own", async () => {
    const key = newKey();
    await ledger.claim(request(key, "a", { redrives: 1 }));
    await ledger.conclude(key, "a", { phase: "dead", nowMs });
    assert.equal((await ledger.claim(request(key, "b", { redrives: 1 }))).state, "dead");
    assert.equal((await ledger.claim(request(key, "b", { redrives: 2 }))).state, "claimed");
  });

  test("I12: of a redriven record waits for a run that is under way", async () => {
    const key = newKey();
    await ledger.claim(request(key, "a"));
    assert.equal((await ledger.claim(request(key, "b", { redrives: 1 }))).state, "busy");
  });

  for (const phase of ["done", "dead"] as const) {
    test(`I7: of a row that ${phase === "dead" ? "died" : "was done"} 35 days ago and is still there is granted`, async () => {
      const key = newKey();
      await ledger.claim(request(key, "a"));
      await ledger.conclude(key, "a", { phase, nowMs });
      const last = request(key, "b", { nowMs: nowMs + rememberSeconds * 1000 });
      assert.notEqual((await ledger.claim(last)).state, "claimed");
      const later = request(key, "b", { nowMs: nowMs + rememberSeconds * 1000 + 1_000 });
      assert.deepEqual(await ledger.claim(later), { state: "claimed", run: 1 });
      assert.equal((await ledger.claim(request(key, "c", { nowMs: later.nowMs + 1 }))).state, "busy");
    });
  }
});

describe("an outcome", () => {
  test("I5: of a run that was overtaken is refused, whatever it is, and changes nothing", async () => {
    const key = newKey();
    await ledger.claim(request(key, "a"));
    await ledger.claim(request(key, "b", { nowMs: nowMs + leaseMs }));
    const before = await rowOf(key);
    const laterMs = nowMs + leaseMs + 1;
    assert.equal(await ledger.conclude(key, "a", { phase: "done", nowMs: laterMs }), false);
    assert.equal(await ledger.conclude(key, "a", { phase: "dead", nowMs: laterMs }), false);
    assert.equal(await ledger.conclude(key, "a", { phase: "open", nowMs: laterMs, claimableAtMs: laterMs }), false);
    assert.deepEqual(await rowOf(key), before);
    assert.equal((await ledger.claim(request(key, "c", { nowMs: laterMs }))).state, "busy", "no third run");
    assert.equal(await ledger.conclude(key, "b", { phase: "done", nowMs: laterMs }), true);
  });

  test("I5: of a run that was overtaken cannot open what the other has completed", async () => {
    const key = newKey();
    await ledger.claim(request(key, "a"));
    await ledger.claim(request(key, "b", { nowMs: nowMs + leaseMs }));
    await ledger.conclude(key, "b", { phase: "done", nowMs: nowMs + leaseMs });
    assert.equal(await ledger.conclude(key, "a", { phase: "open", nowMs, claimableAtMs: nowMs }), false);
    assert.equal((await ledger.claim(request(key, "c", { nowMs: nowMs + 2 * leaseMs }))).state, "done");
  });

  test("of a key that nobody claimed is refused", async () => {
    assert.equal(await ledger.conclude(newKey(), "a", { phase: "done", nowMs }), false);
  });

  for (const fault of [{ kind: "lost" }, internal] as const) {
    test(`I3: whose first answer is ${fault.kind === "lost" ? "lost" : "an error"} is written`, async () => {
      const key = newKey();
      await ledger.claim(request(key, "a"));
      faults.inject("UpdateItem", fault, firstTry);
      assert.equal(await ledger.conclude(key, "a", { phase: "done", nowMs }), true);
      assert.equal((await ledger.claim(request(key, "b", { nowMs: nowMs + 2 * leaseMs }))).state, "done");
    });
  }

  test("that cannot be written rejects: it is neither true nor false", async () => {
    const key = newKey();
    await ledger.claim(request(key, "a"));
    faults.inject("UpdateItem", internal);
    await assert.rejects(ledger.conclude(key, "a", { phase: "done", nowMs }));
  });

  test("of failure keeps the key closed until the time it names", async () => {
    const key = newKey();
    await ledger.claim(request(key, "a"));
    await ledger.conclude(key, "a", { phase: "open", nowMs, claimableAtMs: nowMs + 5_000 });
    assert.deepEqual(await ledger.claim(request(key, "b", { nowMs: nowMs + 4_999 })), {
      state: "busy",
      leaseEndsAtMs: nowMs + 5_000,
    });
    assert.equal((await ledger.claim(request(key, "b", { nowMs: nowMs + 5_000 }))).state, "claimed");
  });

  test("I6: is remembered for 35 days from when it was written", async () => {
    const key = newKey();
    await ledger.claim(request(key, "a"));
    await ledger.conclude(key, "a", { phase: "done", nowMs: nowMs + 60_000 });
    assert.equal((await rowOf(key))?.["expiresAtSeconds"]?.N, String(nowMs / 1000 + 60 + 35 * 24 * 3600));
  });
});

test("the ledger in memory, which rows of many cases use, agrees with this one on random scripts", async () => {
  for (const seed of Array.from({ length: 10 }, (_, index) => 20_265 + index)) {
    const random = seeded(seed);
    const key = newKey();
    const memory = memoryLedger();
    let atMs = nowMs;
    for (let step = 0; step < 12; step++) {
      atMs += random.pick([0, 1, 500, 10_000, leaseMs, leaseMs, 35 * 86_400_000 + random.below(2_000)]);
      const owner = random.pick(["a", "b", "c"]);
      const claimableAtMs = atMs + random.pick([0, 5_000]);
      const redrives = random.pick([0, 0, 0, 1, 2]);
      const asked = request(key, owner, { nowMs: atMs, maxRuns: 3, redrives, digest: random.hex(4) });
      const death = random.chance(0.2) ? { death: random.hex(4) } : undefined;
      const ends = ["done", "dead", "open", "withdraw", "react"] as const;
      const action = random.pick(["claim", "claim", "claim", "claim", ...ends] as const);
      const emoji = random.pick(["OK", "OnIt"]);
      const act = (on: Ledger) => {
        if (action === "claim") return on.claim(asked);
        if (action === "react") return on.storeReaction(key, owner, `om_1 ${emoji}`);
        if (action === "withdraw") return on.withdraw(key, owner, atMs);
        return on.conclude(key, owner, {
          phase: action,
          nowMs: atMs,
          ...(action === "open" && { claimableAtMs, ...death }),
        });
      };
      assert.deepEqual(await act(ledger), await act(memory), `seed ${seed}, step ${step}: ${action} by ${owner}`);
    }
  }
});

test("the ledger's rows hold no payload, and stand under a prefix of their own", async () => {
  const { Items = [] } = await table.call<{ Items?: Item[] }>("Scan");
  assert.ok(Items.length > 10);
  for (const item of Items) {
    assert.match(item["pk"]?.S ?? "", /^claim#/);
    assert.deepEqual(
      Object.keys(item).filter(
        (name) =>
          ![
            "pk",
            "phase",
            "claimOwner",
            "leaseEndsAtMs",
            "runs",
            "unfinished",
            "counted",
            "redrives",
            "death",
            "digest",
            "reactions",
            "expiresAtSeconds",
          ].includes(name),
      ),
      [],
    );
  }
  const key = newKey();
  await ledger.claim(request(key, "a"));
  await table.call("DeleteItem", { Key: { pk: { S: `claim#${key}` } } });
  // I14: a row that is gone, as after a restore, is a key that nobody has seen.
  assert.equal(await ledger.conclude(key, "a", { phase: "done", nowMs }), false);
  assert.equal((await ledger.claim(request(key, "b"))).state, "claimed");
});
