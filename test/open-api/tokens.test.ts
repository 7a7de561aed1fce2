import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import type { AttributeValue } from "@aws-sdk/client-dynamodb";
import type { AwsClient } from "../../lib/aws/client.ts";
import { dynamoTokens } from "../../lib/aws/tokens.ts";
import { systemClock } from "../../lib/clock.ts";
import { ticketKeeper } from "../../lib/open-api/tickets.ts";
import { tokenRequest } from "../../lib/open-api/token-request.ts";
import { type TokenStore, tokenSource } from "../../lib/open-api/tokens.ts";
import { defaultTenant, groupChat } from "../../lib/simulator/samples/facts.ts";
import { memoryTokens } from "../../lib/testing/tokens.ts";
import { messagesPath, startApi, tokenPath } from "../support/api.ts";
import { clientTo, direct } from "../support/aws.ts";
import { settled, testClock } from "../support/clock.ts";
import { marketplace, text } from "../support/open-api.ts";
import { seeded } from "../support/random.ts";
import { startTable } from "../support/table.ts";
import { recordTrace } from "../support/trace.ts";
import { until } from "../support/until.ts";

const minute = 60_000;
const toChat = { query: { receive_id_type: "chat_id" }, body: { receive_id: groupChat, ...text("hello") } };

let table: Awaited<ReturnType<typeof startTable>>;
let client: AwsClient;
before(async () => {
  table = await startTable();
  client = direct(clientTo(table.endpoint), { dynamodb: { straight: table.exchange, isIdle: () => true } });
});
after(async () => {
  client.destroy();
  await table.stop();
});

/** A platform whose tokens are numbers, on a clock that stands still. */
function source(options: { store?: TokenStore; random?: () => number; clock?: ReturnType<typeof testClock> } = {}) {
  const { clock = testClock(), store = memoryTokens(), random = () => 0 } = options;
  let asked = 0;
  let answer = async (nth: number) => ({ value: `t-${nth}`, endsAtMs: clock.nowMs() + 120 * minute });
  const tokens = tokenSource({
    ...{ clock, random, store, secret: async () => "a secret of some length" },
    fetchToken: () => answer(++asked),
  });
  return {
    ...{ clock, store, tokens },
    asked: () => asked,
    answerWith: (given: typeof answer) => {
      answer = given;
    },
  };
}

describe("tokens", () => {
  test("A5: a thousand first calls at the same time ask for one", async (t) => {
    const { tokens, asked } = source();
    const given = await Promise.all(Array.from({ length: 1_000 }, () => tokens.get("app", null)));
    assert.deepEqual([new Set(given), asked()], [new Set(["t-1"]), 1]);

    // Over HTTP each call costs milliseconds, so there are fewer.
    const { run, called, simulator } = await startApi(t);
    const answers = await Promise.all(
      Array.from({ length: 20 }, (_, nth) =>
        run({ key: `event-${nth}` }).request("GET", "/open-apis/im/v1/messages/om_0123456789abcdef"),
      ),
    );
    assert.ok(answers.every(({ code }) => code === 0));
    assert.equal(called("/internal"), 1);
    assert.equal(simulator.tokensIssued(), 1);
  });

  test("A5: twenty processes that start at the same time ask for two at most, whatever the table's order", async (t) => {
    for (const seed of [1, 2]) {
      const random = seeded(seed);
      const store = dynamoTokens(client, table.name);
      const appSecret = `the secret of run ${seed}`;
      const app = { kind: "self-built", appId: `cli_00000000000001${seed}0`, appSecret } as const;
      const { run, startProcess, called } = await startApi(t, {
        ...{ store, app },
        simulator: { apps: [app] },
      });
      await Promise.all(
        Array.from({ length: 20 }, async (_, nth) => {
          const process = startProcess({ random: random.next, clock: systemClock });
          await run({ key: `event-${nth}` }, process).request("POST", messagesPath, toChat);
        }),
      );
      assert.ok(called("/internal") <= 2, `${called("/internal")} calls, seed ${seed}`);
      assert.equal(called("/messages"), 20);
    }
  });

  test("A5: from half an hour before its end one is got in the background, by each process at its own time", async () => {
    for (const [random, renewsAfter] of [
      [0, 90],
      [0.5, 92.5],
    ] as const) {
      const { tokens, clock, asked } = source({ random: () => random });
      assert.equal(await tokens.get("app", null), "t-1");
      await clock.advance(renewsAfter * minute - 1);
      assert.equal(await tokens.get("app", null), "t-1");
      assert.equal(asked(), 1);
      await clock.advance(1);
      assert.equal(await tokens.get("app", null), "t-1", "nobody waits");
      await settled();
      assert.equal(await tokens.get("app", null), "t-2");
      assert.equal(asked(), 2);
    }
  });

  test("A5: one lives as long as the platform says, from before the call on, and two hours at most", async () => {
    const clock = testClock();
    const askedFor = async (expire: unknown) => {
      const post = async () => {
        await clock.advance(1_000);
        return { code: 0, tenant_access_token: "t-1", expire };
      };
      const beforeMs = clock.nowMs();
      const fetchToken = tokenRequest({ appId: "cli_1", appSecret: async () => "secret", clock, post });
      const { value, endsAtMs } = await fetchToken(null);
      assert.equal(value, "t-1");
      return (endsAtMs - beforeMs) / 1_000;
    };
    for (const [expire, seconds] of [
      [1, 1],
      [61, 61],
      [3_599, 3_599],
      [7_200, 7_200],
      [7_201, 7_200],
    ] as const) {
      assert.equal(await askedFor(expire), seconds);
    }
    for (const expire of [0, -1, "7200", undefined, null]) {
      await assert.rejects(askedFor(expire), /^OpenApiError: Cannot get a token: the platform's answer has no /);
    }
  });

  test("A5: one that cannot be renewed serves on until its end, and is told of once a minute", async () => {
    const trace = recordTrace();
    const { tokens, clock, asked, answerWith } = source();
    await tokens.get("app", null);
    await clock.advance(95 * minute);
    answerWith(async () => Promise.reject(new Error("down")));
    // Its lease may hold another process back; not this one.
    for (let nth = 0; nth < 100; nth++) {
      assert.equal(await tokens.get("app", null), "t-1");
      await settled();
    }
    assert.equal(asked(), 2);
    assert.deepEqual(
      trace.entries.map(({ stage, facts }) => [stage, facts?.["reason"]]),
      [["failed", "token"]],
    );
    trace.stop();
    await clock.advance(minute);
    await tokens.get("app", null);
    await settled();
    assert.equal(asked(), 3);
    // In its last minute a call waits for a new one; the next calls use the old one.
    await clock.advance(23 * minute + 1);
    for (let nth = 0; nth < 100; nth++) assert.equal(await tokens.get("app", null), "t-1");
    assert.equal(asked(), 4);
    await clock.advance(minute - 2);
    assert.equal(await tokens.get("app", null), "t-1");
    assert.equal(asked(), 4);
    await clock.advance(1);
    await assert.rejects(tokens.get("app", null), /down/);
  });

  test("A5: one that is about to end is used by a process that has none, while no new one can be had", async () => {
    const clock = testClock();
    const store = memoryTokens();
    const [one, two] = [source({ clock, store }), source({ clock, store })];
    await one.tokens.get("app", null);
    two.answerWith(async () => Promise.reject(new Error("down")));
    for (const [waitMs, asked] of [
      [100 * minute, 1],
      // It is asked for once more in its last minute.
      [19 * minute + 1, 2],
      [minute - 2, 2],
    ] as const) {
      await clock.advance(waitMs);
      assert.equal(await two.tokens.get("app", null), "t-1");
      await settled();
      assert.equal(two.asked(), asked);
    }
    await clock.advance(1);
    await assert.rejects(two.tokens.get("app", null), /down/);
  });

  test("A4: one that was refused is not used while no new one can be had, wherever it is kept", async () => {
    const { tokens, clock, answerWith } = source();
    await tokens.get("app", null);
    await clock.advance(100 * minute);
    answerWith(async () => Promise.reject(new Error("down")));
    await assert.rejects(tokens.get("app", null, "t-1"), /down/);
  });

  test("A5: one that holds is used while the app's secret cannot be read", async () => {
    const clock = testClock();
    let isDown = false;
    const tokens = tokenSource({
      clock,
      random: () => 0,
      store: memoryTokens(),
      secret: async () => (isDown ? Promise.reject(new Error("down")) : "a secret of some length"),
      fetchToken: async () => ({ value: "t-1", endsAtMs: clock.nowMs() + 120 * minute }),
    });
    await tokens.get("app", null);
    isDown = true;
    await clock.advance(120 * minute - 1);
    assert.equal(await tokens.get("app", null), "t-1");
    await clock.advance(1);
    await assert.rejects(tokens.get("app", null), /down/);
  });

  test("A5: one of less than half an hour is asked for once a minute, not by each call", async () => {
    const { tokens, clock, asked, answerWith } = source();
    answerWith(async (nth) => ({ value: `t-${nth}`, endsAtMs: clock.nowMs() + 20 * minute }));
    const callOften = async () => {
      for (let nth = 0; nth < 20; nth++) {
        await tokens.get("app", null);
        await settled();
      }
    };
    await callOften();
    await clock.advance(minute - 1);
    await callOften();
    assert.equal(asked(), 1);
    await clock.advance(1);
    await callOften();
    assert.equal(asked(), 2);
  });

  test("A5: another process's newer one is taken, and the platform not asked", async () => {
    const clock = testClock();
    const store = memoryTokens();
    const [one, two] = [source({ clock, store }), source({ clock, store })];
    one.answerWith(async () => ({ value: "t-shared", endsAtMs: clock.nowMs() + 120 * minute }));
    assert.equal(await one.tokens.get("app", null), "t-shared");
    assert.equal(await two.tokens.get("app", null), "t-shared");
    assert.equal(two.asked(), 0);
  });

  test("A5: a process that died while it was asking holds the others back for ten seconds at most", async () => {
    const { tokens, store, clock, asked } = source({ random: () => 0.5 });
    await store.lease("app", { nowMs: clock.nowMs(), untilMs: clock.nowMs() + 10_000 });
    const waiting = tokens.get("app", null);
    await clock.advance(9_000);
    assert.equal(asked(), 0);
    await clock.advance(1_500);
    assert.equal(await waiting, "t-1");
  });

  test("A5: a lease that a wrong clock has set far ahead holds nobody back for longer either", async () => {
    const { tokens, store, clock } = source({ random: () => 0.5 });
    await store.lease("app", { nowMs: clock.nowMs(), untilMs: clock.nowMs() + 3_600_000 });
    const waiting = tokens.get("app", null);
    await clock.advance(11_000);
    assert.equal(await waiting, "t-1");
  });

  test("A4: one that was asked for before the other was refused is not given in its place", async () => {
    const { tokens, clock, answerWith, asked } = source();
    await tokens.get("app", null);
    await clock.advance(95 * minute);
    const gate = Promise.withResolvers<void>();
    // In the background the platform gives the very same once more.
    answerWith(async (nth) => {
      if (nth === 2) await gate.promise;
      return { value: nth === 2 ? "t-1" : `t-${nth}`, endsAtMs: clock.nowMs() + 120 * minute };
    });
    await tokens.get("app", null);
    const fresh = [1, 2, 3].map(() => tokens.get("app", null, "t-1"));
    await settled();
    gate.resolve();
    assert.deepEqual(await Promise.all(fresh), ["t-3", "t-3", "t-3"]);
    assert.equal(asked(), 3, "got once for the three");
  });

  test("A5: one that was asked for by somebody else, and did not come, is asked for once more", async () => {
    const { tokens, clock, answerWith, asked } = source();
    const gate = Promise.withResolvers<void>();
    answerWith(async (nth) => {
      if (nth === 1) await gate.promise;
      return { value: `t-${nth}`, endsAtMs: clock.nowMs() + 120 * minute };
    });
    const first = assert.rejects(tokens.get("app", null), /down/);
    const joined = [1, 2, 3].map(() => tokens.get("app", null));
    await settled();
    gate.reject(new Error("down"));
    await first;
    assert.deepEqual(await Promise.all(joined), ["t-2", "t-2", "t-2"]);
    assert.equal(asked(), 2, "got once for the three");
  });

  test("A4: one that is refused in every process is got again by the first, and found by the others", async (t) => {
    const { run, startProcess, simulator, called } = await startApi(t);
    const processes = Array.from({ length: 10 }, () => startProcess());
    const callAll = async (key: string) => {
      for (const [nth, process] of processes.entries()) {
        await run({ key: `${key}-${nth}` }, process).request("POST", messagesPath, toChat);
      }
    };
    await callAll("before");
    assert.equal(called("/internal"), 1);
    simulator.revokeTokens();
    await callAll("after");
    assert.equal(called("/internal"), 2);
    assert.equal(simulator.messages().length, 20);
  });

  test("a table that cannot be reached costs a token call of its own, and is told", async () => {
    const trace = recordTrace();
    const down = () => Promise.reject(new Error("no table"));
    const { tokens, asked } = source({ store: { read: down, lease: down, release: down, write: down } });
    assert.equal(await tokens.get("app", null), "t-1");
    assert.equal(await tokens.get("app", null), "t-1");
    assert.equal(asked(), 1);
    assert.deepEqual(
      trace.entries.map(({ facts }) => facts?.["reason"]),
      ["token-store", "token-store"],
    );
    trace.stop();
  });

  test("lie in the table encrypted: under the app's secret, and under their own name", async () => {
    const clock = testClock(Date.now());
    const store = dynamoTokens(client, table.name);
    const make = (secret: string) => {
      let asked = 0;
      const tokens = tokenSource({
        ...{ clock, random: () => 0, store, secret: async () => secret },
        fetchToken: async (tenant) => ({ value: `t-of-${tenant}-${++asked}`, endsAtMs: clock.nowMs() + 120 * minute }),
      });
      return { get: tokens.get, asked: () => asked };
    };
    const first = make("secret one");
    assert.equal(await first.get("cli_x/a", "a"), "t-of-a-1");
    const row = async (name: string) =>
      (await table.call<{ Item?: Record<string, AttributeValue> }>("GetItem", { Key: { pk: { S: `token#${name}` } } }))
        .Item;
    const item = await row("cli_x/a");
    assert.ok(item?.["sealed"]?.S !== undefined);
    assert.ok(!JSON.stringify(item).includes("t-of-a"));
    assert.ok(!Buffer.from(item["sealed"].S, "base64").toString("latin1").includes("t-of-a"));
    assert.equal(Number(item["expiresAtSeconds"]?.N), Math.ceil((clock.nowMs() + 120 * minute) / 1000));
    // Put by hand where another tenant's should be, it is none.
    await table.call("PutItem", { Item: { ...item, pk: { S: "token#cli_x/b" } } });
    const second = make("secret one");
    assert.equal(await second.get("cli_x/a", "a"), "t-of-a-1");
    assert.equal(second.asked(), 0);
    assert.equal(await second.get("cli_x/b", "b"), "t-of-b-1");
    const stranger = make("secret two");
    assert.equal(await stranger.get("cli_x/a", "a"), "t-of-a-1");
    assert.equal(stranger.asked(), 1);
  });

  test("are leased to one of two processes, and to the next when the lease is over", async () => {
    const store = dynamoTokens(client, table.name);
    assert.deepEqual(
      await Promise.all([1, 2, 3].map(() => store.lease("leased", { nowMs: 1_000, untilMs: 11_000 }))).then((all) =>
        all.sort(),
      ),
      [false, false, true],
    );
    assert.equal(await store.lease("leased", { nowMs: 11_000, untilMs: 21_000 }), false);
    assert.equal(await store.lease("leased", { nowMs: 11_001, untilMs: 21_001 }), true);
    assert.equal(await store.read("leased"), undefined);
    await store.release("leased", 21_000);
    assert.equal(await store.lease("leased", { nowMs: 11_002, untilMs: 21_002 }), false, "another's is not given back");
    await store.release("leased", 21_001);
    assert.equal(await store.lease("leased", { nowMs: 11_003, untilMs: 21_003 }), true);
    await store.write("leased", { sealed: "x", endsAtMs: 5_000 });
    assert.deepEqual(await store.read("leased"), { sealed: "x", endsAtMs: 5_000 });
    assert.equal(
      await store.lease("leased", { nowMs: 12_000, untilMs: 22_000 }),
      true,
      "the token's writer gave it back",
    );
  });

  test("are not overwritten by one that ends before them, whose writer gives its lease back all the same", async () => {
    const store = dynamoTokens(client, table.name);
    for (const [sealed, endsAtMs] of [
      ["first", 5_000],
      ["newer", 6_000],
      ["late", 5_999],
    ] as const) {
      assert.equal(await store.lease("overtaken", { nowMs: 1_000, untilMs: 11_000 }), true, sealed);
      await store.write("overtaken", { sealed, endsAtMs });
    }
    assert.deepEqual(await store.read("overtaken"), { sealed: "newer", endsAtMs: 6_000 });
    assert.equal(await store.lease("overtaken", { nowMs: 1_000, untilMs: 11_000 }), true);
    await store.write("overtaken", { sealed: "as long", endsAtMs: 6_000 });
    assert.deepEqual(await store.read("overtaken"), { sealed: "as long", endsAtMs: 6_000 });
  });
});

describe("an app of the marketplace", () => {
  const options = { app: marketplace };

  test("has a token for each tenant, got by the newest ticket", async (t) => {
    const { run, tickets, simulator, clock } = await startApi(t, {
      ...options,
      simulator: { onAppTicket: ({ ticket }) => void issued.push(ticket) },
    });
    const issued: string[] = [];
    simulator.issueAppTicket(marketplace.appId);
    await tickets.keep(issued[0] ?? "", clock.nowMs());
    for (const tenant of [defaultTenant, "another-tenant", defaultTenant]) {
      await run({ tenant, key: tenant }).request("POST", messagesPath, toChat);
    }
    assert.deepEqual(
      simulator.messages(groupChat).map((message) => message.tenant),
      [defaultTenant, "another-tenant"],
      "the third is the first once more",
    );
    // The app's own, and one of each tenant.
    assert.equal(simulator.tokensIssued(), 3);
  });

  test("without a ticket asks for one, and the event waits for it", async (t) => {
    const { run, called, simulator, tickets, clock } = await startApi(t, {
      ...options,
      simulator: { onAppTicket: ({ ticket }) => void pushed.push(ticket) },
    });
    const pushed: string[] = [];
    const call = () => run({ tenant: defaultTenant }).request("POST", messagesPath, toChat);
    await assert.rejects(call(), { name: "RetryLaterError", delaySeconds: 30 });
    assert.equal(called("/resend"), 1);
    await tickets.keep(pushed[0] ?? "", clock.nowMs());
    await call();
    // The ticket is not good any longer.
    await tickets.keep("g-old", clock.nowMs());
    simulator.revokeTokens();
    await assert.rejects(call(), { name: "RetryLaterError" });
    assert.equal(called("/resend"), 2);
    await tickets.keep(pushed[1] ?? "", clock.nowMs());
    await call();
  });

  test("is not installed in the tenant: that is for good, and so is an event of no tenant", async (t) => {
    const installed = { ...marketplace, tenants: ["another"] };
    const { run, tickets, clock } = await startApi(t, {
      ...options,
      simulator: { apps: [installed], onAppTicket: ({ ticket }) => void keep(ticket) },
    });
    const keep = (ticket: string) => tickets.keep(ticket, clock.nowMs());
    await assert.rejects(run({ tenant: defaultTenant }).request("GET", messagesPath), { name: "RetryLaterError" });
    for (const tenant of [defaultTenant, null]) {
      await assert.rejects(run({ tenant }).request("GET", messagesPath), { name: "NonRetryableError" });
    }
  });

  test("uses the ticket that it has read last while the table cannot be reached, until its end", async () => {
    const rows = memoryTokens();
    let isDown = false;
    const read = (name: string) => (isDown ? Promise.reject(new Error("no table")) : rows.read(name));
    const clock = testClock(5_000);
    const start = () =>
      ticketKeeper({ store: { ...rows, read }, secret: async () => "a secret", appId: "cli_x", clock });
    const keeper = start();
    await keeper.keep("g-1", 5_000);
    assert.equal(await keeper.latest(), "g-1");
    isDown = true;
    await assert.rejects(start().latest(), /no table/);
    await clock.advance(12 * 60 * minute - 1);
    assert.equal(await keeper.latest(), "g-1");
    await clock.advance(1);
    await assert.rejects(keeper.latest(), /no table/);
  });

  test("keeps a ticket for half a day, encrypted, and none that is older than the kept one", async () => {
    const store = memoryTokens();
    const clock = testClock();
    const keeper = ticketKeeper({ store, secret: async () => "a secret", appId: "cli_x", clock });
    const { keep } = keeper;
    for (const none of ["", 5, undefined, null]) await keep(none, 9_000);
    assert.equal(await keeper.latest(), undefined);
    await keep("g-new", 5_000);
    await keep("g-late", 4_000);
    assert.equal(await keeper.latest(), "g-new");
    const [row] = store.rows.values();
    assert.equal(row?.endsAtMs, 5_000 + 12 * 60 * minute);
    assert.ok(!Buffer.from(row.sealed, "base64").toString("latin1").includes("g-new"));
    await keep("g-newer", null);
    assert.equal(await keeper.latest(), "g-newer");
  });
});

test("a token that the platform refuses is told of once, with the code and the log id", async (t) => {
  const { run, simulator } = await startApi(t);
  simulator.addRule({ path: tokenPath, fault: { kind: "answer", code: 10014 } });
  const trace = recordTrace();
  t.after(trace.stop);
  await assert.rejects(run().request("GET", messagesPath));
  const [entry, ...more] = trace.entries;
  assert.deepEqual(more, []);
  assert.deepEqual([entry?.stage, entry?.level], ["log", "warn"]);
  const { call, status, apiCode, logId } = entry?.facts ?? {};
  assert.deepEqual([call, status, apiCode], ["POST /open-apis/auth/v3/tenant_access_token/internal", 200, 10014]);
  assert.equal(typeof logId, "string");
});

test("A4: a token call that goes wrong is tried again, since it changes nothing", async (t) => {
  const { run, simulator, called } = await startApi(t);
  simulator.addRule({ path: tokenPath, times: 2, fault: { kind: "close" } });
  await run().request("POST", messagesPath, toChat);
  assert.equal(called("/internal"), 3);
  await until("the message", () => simulator.messages().length === 1);
});
