import assert from "node:assert/strict";
import { after, before, beforeEach, describe, mock, type TestContext, test } from "node:test";
import { type AwsClient, awsClient, defaultTryMs } from "../../lib/aws/client.ts";
import { answerGateway, type HttpResponse } from "../../lib/aws/gateway.ts";
import { cacheMs, emptyWaitMs, refreshMs, renewalPauseMs, staleWaitMs } from "../../lib/aws/parameter.ts";
import { secretSource, storedKeys } from "../../lib/aws/secrets.ts";
import { ConfigError } from "../../lib/errors.ts";
import type { EventEnvelope, SealedRequest, UnreadableEnvelope } from "../../lib/feishu/envelope.ts";
import { type ReceiverPorts, receive } from "../../lib/receiving/receiver.ts";
import { appSigner, cardSigner, readValue, signValue } from "../../lib/signed-value.ts";
import { toLine } from "../../lib/trace/log.ts";
import { endsAtOnce, goBy, inTime, patientClock, settled, type TestClock, testClock } from "../support/clock.ts";
import { httpApi, refusal } from "../support/http-events.ts";
import { appId, challengeText, push, signedPush, startMs, unsigned, v2Text } from "../support/push.ts";
import { type Random, seeded } from "../support/random.ts";
import { type Condition, type Store, startStore } from "../support/ssm.ts";
import { messageOf, recordTrace } from "../support/trace.ts";
import { until } from "../support/until.ts";

const parameter = "/larkpost/test/app";
const hourMs = 3_600_000;
/** When the platform pushes again what was not answered 200, after the push before. */
const ladderMs = [15_000, 300_000, hourMs, 6 * hourMs];
/** Nothing of these may ever be told. */
const canary = "CANARY";
const key = (name: string) => `${canary}-key-${name}-0123456789`;
const token = (name: string) => `${canary}-token-${name}-0123456789`;

const trace = recordTrace();
const envBefore = { ...process.env };
beforeEach(() => {
  trace.entries.length = 0;
});
before(() => goBy(mock, patientClock()));
after(() => {
  mock.restoreAll();
  process.env = envBefore;
});

/** What was told, as it would be printed. */
const told = () => trace.entries.map((entry) => JSON.stringify(toLine(entry)));
const toldAt = (stage: string) => trace.entries.filter((entry) => entry.stage === stage);

interface Stored {
  readonly [member: string]: unknown;
}

/** Stored secrets as the command writes them: one key and one token, both current, unless said otherwise. */
function stored(members: Stored = {}): string {
  return JSON.stringify({
    appId,
    encryptKeys: [{ value: key("a") }],
    verificationTokens: [{ value: token("a") }],
    ...members,
  });
}

/** A store with these secrets in it, on the clock that its webhooks share. */
async function setUp(t: TestContext, value: string | undefined = stored()) {
  const store = await startStore();
  Object.assign(process.env, store.env);
  store.put(parameter, value);
  const clock = testClock(startMs);
  const stops: (() => void)[] = [];
  t.after(async () => {
    for (const stop of stops) stop();
    await store.stop();
    for (const line of told()) assert.ok(!line.includes(canary), `a secret was told: ${line}`);
  });
  const start = (options: { appId?: string; random?: () => number } = {}) => {
    const webhook = startWebhook(clock, options);
    stops.push(webhook.stop);
    return webhook;
  };
  return { store, clock, start, webhook: start() };
}

/** One warm process of the webhook, its keys from the store and its queues a list. */
function startWebhook(clock: TestClock, { appId, random = () => 0.5 }: { appId?: string; random?: () => number } = {}) {
  const client = awsClient();
  const keys = storedKeys({ parameter, appId }, client, clock, random);
  const kept: (EventEnvelope | UnreadableEnvelope)[] = [];
  const keep = async (envelope: EventEnvelope | UnreadableEnvelope, signal: AbortSignal) => {
    // As the queue's client does: a request that was answered meanwhile stores nothing.
    signal.throwIfAborted();
    kept.push(envelope);
  };
  const ports: ReceiverPorts = { send: keep, quarantine: keep };
  const post = (request: SealedRequest): Promise<HttpResponse> =>
    answerGateway(httpApi(request), {
      clock,
      keys: keys.current,
      renewedKeys: keys.renewed,
      receive: (envelope, context) => receive(envelope, ports, context),
    });
  return {
    /** What was queued or quarantined. */
    kept,
    post,
    status: async (request: SealedRequest) => (await post(request)).statusCode,
    stop: () => client.destroy(),
  };
}

/** A client whose answers come when the test says so. */
function slowClient() {
  const answers: PromiseWithResolvers<string>[] = [];
  const answer = (nth: number) => {
    answers[nth] ??= Promise.withResolvers();
    return answers[nth];
  };
  let sent = 0;
  const call = async () => ({ Parameter: { Value: await answer(sent++).promise } });
  return { client: { call } as unknown as AwsClient, sent: () => sent, answer };
}

/** Longer than the pause after a failed read without keys. */
const pauseMs = 1_500;
const defaultStaleMs = 6 * hourMs;

interface Seal {
  readonly key?: string;
  readonly token?: string;
  readonly id?: string;
  readonly nowMs?: number;
}

function event({ key: name = "a", token: own = "a", id = "event-1", nowMs = startMs }: Seal = {}): SealedRequest {
  return push(v2Text({ header: { event_id: id, token: token(own) } }), { encryptKey: key(name), nowMs });
}

function challenge({ key: name = "a", token: own = "a" }: Seal = {}): SealedRequest {
  return unsigned(challengeText({ token: token(own) }), { encryptKey: key(name) });
}

/** From someone who has no key of ours. */
const stranger = () => event({ key: "stranger" });

describe("a webhook whose keys are stored", () => {
  const outages: readonly { condition: Condition; when: string }[] = [
    { condition: "failing", when: "the store fails" },
    { condition: "cut", when: "the store cuts the connection" },
    { condition: "denied", when: "the store denies access" },
  ];
  for (const { condition, when } of outages) {
    test(`K1: answers 503 to everyone while ${when}, and 200 at the next request after that`, async (t) => {
      const { store, clock, webhook } = await setUp(t);
      store.become(condition);
      // At once, so that they share one outage: the SDK takes its time to give up.
      const answers = await inTime(clock, Promise.all([event(), challenge(), stranger()].map(webhook.post)));
      for (const { statusCode, body } of answers) {
        assert.deepEqual([statusCode, body], [503, '{"error":"unavailable"}']);
      }
      assert.deepEqual(webhook.kept, []);
      assert.equal(toldAt("unavailable").length, 3);
      assert.equal(toldAt("refused").length, 0);
      store.become("up");
      assert.equal(await inTime(clock, webhook.status(event())), 200);
      assert.equal(webhook.kept.length, 1);
      assert.equal(await webhook.status(stranger()), 401);
    });
  }

  test("K1: a request without keys waits for the read after a failed one, and is answered 200", async (t) => {
    const { store, clock, webhook } = await setUp(t);
    store.become("denied");
    const answer = webhook.status(event());
    await until("the pause after the first read", () => store.calls.length === 1 && clock.pending === 2);
    store.become("up");
    assert.equal(await inTime(clock, answer), 200);
    assert.ok(clock.nowMs() - startMs < emptyWaitMs);
  });

  test("K1: twenty requests without keys ask a failing store a few times between them, with growing pauses", async (t) => {
    const { store, clock, webhook } = await setUp(t);
    store.become("denied");
    const asked = Promise.all(Array.from({ length: 20 }, () => webhook.status(event())));
    // In small steps: a read takes real time, in which the pauses between reads must not pass.
    const answers = await inTime(clock, asked, 2);
    assert.deepEqual(new Set(answers), new Set([503]));
    assert.ok(store.asked() >= 3 && store.asked() <= 5, `it asked ${store.asked()} times`);
  });

  test("K1: answers 503 while there is no parameter, says which, and 200 once it was written", async (t) => {
    const { store, clock, webhook } = await setUp(t, undefined);
    store.put(parameter, undefined);
    for (const request of [event(), challenge(), stranger()]) assert.equal(await webhook.status(request), 503);
    assert.equal(store.asked(), 1);
    assert.match(messageOf(toldAt("misconfigured")[0]), new RegExp(`no parameter ${parameter}`));
    store.put(parameter, stored());
    await clock.advance(pauseMs);
    assert.equal(await webhook.status(event()), 200);
  });

  test("K1: loses nothing in an outage of an hour: the platform's next push is queued", async (t) => {
    const { store, clock, webhook } = await setUp(t);
    store.become("denied");
    const request = event();
    const statuses = [await inTime(clock, webhook.status(request))];
    for (const waitMs of ladderMs) {
      if (clock.nowMs() - startMs > 300_000) store.become("up");
      await clock.advance(waitMs);
      if (statuses.at(-1) !== 200) statuses.push(await inTime(clock, webhook.status(request)));
    }
    assert.deepEqual(statuses, [503, 503, 503, 200]);
    assert.equal(webhook.kept.length, 1);
  });

  for (const [condition, when] of [
    ["stalled", "stalls"],
    ["stalled-halfway", "does not end its answer"],
  ] as const) {
    test(`K1: answers 503 after 1.5 s when the store ${when}, and 200 at the next request after that`, async (t) => {
      const { store, clock, webhook } = await setUp(t);
      const tries = testClock(Date.now());
      goBy(t.mock, tries);
      store.become(condition);
      const answers = [event(), challenge(), stranger()].map(webhook.status);
      await until("the store is asked", () => store.calls.length === 1);
      await clock.advance(emptyWaitMs - 1);
      assert.equal(toldAt("answered").length, 0);
      await clock.advance(1);
      assert.deepEqual(await Promise.all(answers), [503, 503, 503]);
      assert.equal(clock.pending, 0);
      store.become("up");
      const next = webhook.status(event());
      // Its first try is given up, and the second one is answered.
      await tries.advance(defaultTryMs.ssm + 100);
      assert.equal(await next, 200);
      assert.equal(webhook.kept.length, 1);
    });
  }

  for (const [random, refreshAfterMs] of [
    [0, refreshMs],
    [0.5, refreshMs + 30_000],
    [1, refreshMs + 60_000],
  ] as const) {
    test(`K2: reads keys again in the background after ${refreshAfterMs / 1000} s, each process at its own time, and no request waits`, async () => {
      const clock = testClock(startMs);
      const { client, sent, answer } = slowClient();
      const keys = storedKeys({ parameter }, client, clock, () => random);
      answer(0).resolve(stored());
      for (const waitMs of [0, 1, 100_000, refreshAfterMs - 100_002]) {
        await clock.advance(waitMs);
        await keys.current();
      }
      assert.equal(sent(), 1);
      await clock.advance(1);
      const ring = await keys.current();
      for (let nth = 0; nth < 5; nth++) assert.equal(await keys.current(), ring);
      assert.deepEqual([sent(), clock.pending], [2, 0]);
      answer(1).resolve(stored({ encryptKeys: [{ value: key("b") }] }));
      await settled();
      assert.equal((await keys.current()).get("default")?.encryptKeys[0]?.value, key("b"));
    });
  }

  test("K1, K2: a hundred requests while a read in the background fails ask the store once in 30 s", async () => {
    const clock = testClock(startMs);
    let sent = 0;
    const call = async () => {
      if (++sent > 1) throw new Error("unavailable");
      return { Parameter: { Value: stored() } };
    };
    const client = { call } as unknown as AwsClient;
    const keys = storedKeys({ parameter }, client, clock, () => 0);
    await keys.current();
    await clock.advance(refreshMs);
    for (let nth = 0; nth < 100; nth++) {
      assert.equal((await keys.current()).size, 1);
      await settled();
      await clock.advance(300);
    }
    assert.equal(sent, 2);
    await clock.advance(1);
    await keys.current();
    assert.equal(sent, 3);
  });

  test("K2: a process that was idle for longer than 300 s reads before it answers", async (t) => {
    const { store, clock, webhook } = await setUp(t);
    assert.equal(await webhook.status(event()), 200);
    store.put(parameter, stored({ encryptKeys: [{ value: key("b") }] }));
    await clock.advance(hourMs);
    assert.equal(await webhook.status(event()), 401);
    assert.equal(await webhook.status(event({ key: "b" })), 200);
    assert.equal(store.asked(), 2);
  });

  const mismatches: readonly { what: string; change: Stored; request: () => SealedRequest }[] = [
    { what: "the key", change: { encryptKeys: [{ value: key("b") }] }, request: () => event({ key: "b" }) },
    {
      what: "the token",
      change: { verificationTokens: [{ value: token("b") }] },
      request: () => event({ token: "b" }),
    },
    {
      what: "the key of a challenge",
      change: { encryptKeys: [{ value: key("b") }] },
      request: () => challenge({ key: "b" }),
    },
    {
      what: "the token of a challenge",
      change: { verificationTokens: [{ value: token("b") }] },
      request: () => challenge({ token: "b" }),
    },
  ];
  for (const { what, change, request } of mismatches) {
    test(`K2, K5: accepts the first request after ${what} was replaced, by asking the store once`, async (t) => {
      const { store, clock, webhook } = await setUp(t);
      assert.equal(await webhook.status(event()), 200);
      store.put(parameter, stored(change));
      await clock.advance(renewalPauseMs);
      assert.equal(await webhook.status(request()), 200);
      assert.equal(store.asked(), 2);
      // The ones without overlap are gone with that.
      assert.equal(await webhook.status(event()), 401);
      assert.equal(store.asked(), 2);
    });
  }

  test("K2: asks again for a mismatch only 30 s after it last asked", async (t) => {
    const { store, clock, webhook } = await setUp(t);
    assert.equal(await webhook.status(event()), 200);
    store.put(parameter, stored({ encryptKeys: [{ value: key("b") }] }));
    await clock.advance(renewalPauseMs - 1);
    assert.equal(await webhook.status(event({ key: "b" })), 401);
    assert.equal(store.asked(), 1);
    await clock.advance(1);
    assert.equal(await webhook.status(event({ key: "b" })), 200);
    assert.equal(store.asked(), 2);
  });

  for (const isDown of [false, true]) {
    test(`K2: asks at most twice a minute under 40 forged requests${isDown ? " while the store is down" : ""}`, async (t) => {
      const { store, clock, webhook } = await setUp(t);
      assert.equal(await webhook.status(event()), 200);
      await clock.advance(renewalPauseMs);
      if (isDown) store.become("denied");
      const asked = store.asked();
      const statuses = new Map<number, number>();
      for (let nth = 0; nth < 40; nth++) {
        const status = await webhook.status(stranger());
        statuses.set(status, (statuses.get(status) ?? 0) + 1);
        if (nth % 4 === 0) assert.equal(await webhook.status(event()), 200);
        await clock.advance(1_475);
      }
      assert.ok(store.asked() - asked <= 2, `it asked ${store.asked() - asked} times`);
      // Whether a key had been replaced could not be known for those that asked in vain.
      assert.deepEqual(statuses, new Map([[isDown ? 503 : 401, 40]]));
    });
  }

  test("K2: asks once for twenty requests at the same time, at the start and at a mismatch", async (t) => {
    const { store, clock, webhook } = await setUp(t);
    const twenty = (request: () => SealedRequest) =>
      Promise.all(Array.from({ length: 20 }, () => webhook.status(request())));
    assert.deepEqual(new Set(await twenty(event)), new Set([200]));
    assert.equal(store.asked(), 1);
    store.put(parameter, stored({ encryptKeys: [{ value: key("b") }] }));
    await clock.advance(renewalPauseMs);
    assert.deepEqual(new Set(await twenty(() => event({ key: "b" }))), new Set([200]));
    assert.equal(store.asked(), 2);
  });

  test("K2: refuses a forged request as ever: one body for every reason, nothing stored", async (t) => {
    const { webhook } = await setUp(t);
    for (const request of [stranger(), event({ token: "stranger" }), challenge({ key: "stranger" })]) {
      assert.deepEqual(await webhook.post(request), refusal);
    }
    assert.deepEqual(webhook.kept, []);
  });

  const endMs = startMs + 600_000;
  const ends = [
    { how: "a number", notAfter: endMs },
    { how: "an ISO time", notAfter: new Date(endMs).toISOString() },
    { how: "an ISO time of another zone", notAfter: new Date(endMs + 8 * hourMs).toISOString().replace("Z", "+08:00") },
  ];
  for (const { how, notAfter } of ends) {
    test(`K3, K5, C-43: takes the replaced key and token until their end, given as ${how}, and not after it`, async (t) => {
      const { clock, webhook } = await setUp(
        t,
        stored({
          encryptKeys: [{ value: key("b") }, { value: key("a"), notAfter }],
          verificationTokens: [{ value: token("b") }, { value: token("a"), notAfter }],
        }),
      );
      const statuses = async (nowMs: number) => {
        const seals: Seal[] = [
          { key: "a", token: "a" },
          { key: "a", token: "b" },
          { key: "b", token: "a" },
          { key: "b", token: "b" },
        ];
        const answers: number[] = [];
        for (const seal of seals) {
          answers.push(await webhook.status(event({ ...seal, nowMs })), await webhook.status(challenge(seal)));
        }
        return answers;
      };
      assert.deepEqual(await statuses(startMs), Array(8).fill(200));
      await clock.advance(endMs - startMs - 1);
      assert.deepEqual(await statuses(startMs), Array(8).fill(200));
      await clock.advance(1);
      assert.deepEqual(await statuses(endMs), [...Array(6).fill(401), 200, 200]);
    });
  }

  test("C-43: old 200, new 200, retired 401, and 401 when only one of key and token is right", async (t) => {
    const { webhook } = await setUp(
      t,
      stored({
        encryptKeys: [
          { value: key("new"), notAfter: null },
          { value: key("old"), notAfter: endMs },
          { value: key("retired"), notAfter: startMs },
        ],
      }),
    );
    const seals: Seal[] = [
      { key: "old" },
      { key: "new" },
      { key: "retired" },
      { key: "new", token: "x" },
      { key: "x" },
    ];
    const statuses: number[] = [];
    for (const seal of seals) statuses.push(await webhook.status(event(seal)));
    assert.deepEqual(statuses, [200, 200, 401, 401, 401]);
  });

  const unreadable = [
    ...[
      "",
      " ",
      "soon",
      "never",
      "for ever 9999",
      "99999",
      "1",
      String(endMs),
      "9999",
      "2026-13-01",
      "2026-01-31T12:00",
    ],
    ...[true, false, {}, [], [endMs], 8.64e15 + 1, -8.64e15 - 1],
  ];
  for (const notAfter of unreadable) {
    test(`K3: refuses to start with the end ${JSON.stringify(notAfter)}, rather than take it for "for ever"`, async (t) => {
      for (const name of ["encryptKeys", "verificationTokens"]) {
        const values = name === "encryptKeys" ? [key("b"), key("a")] : [token("b"), token("a")];
        const { webhook } = await setUp(t, stored({ [name]: [{ value: values[0] }, { value: values[1], notAfter }] }));
        for (const seal of [{}, { key: "b" }, { token: "b" }]) assert.equal(await webhook.status(event(seal)), 503);
        assert.deepEqual(webhook.kept, []);
        assert.match(messageOf(toldAt("misconfigured")[0]), /"notAfter".* is no time/);
      }
    });
  }

  test("K3: an end beyond what JSON can hold is no end, and refused as well", async (t) => {
    const { webhook } = await setUp(t, stored().replace('"value"', '"notAfter":1e999,"value"'));
    assert.equal(await webhook.status(event()), 503);
  });

  test("K2: a key taken from the store is accepted for less than 300 s", async (t) => {
    const { store, clock, webhook } = await setUp(
      t,
      stored({ encryptKeys: [{ value: key("b") }, { value: key("a"), notAfter: startMs + hourMs }] }),
    );
    assert.equal(await webhook.status(event()), 200);
    store.put(parameter, stored({ encryptKeys: [{ value: key("b") }] }));
    await clock.advance(cacheMs - 1);
    assert.equal(await webhook.status(event()), 200);
    await clock.advance(1);
    assert.equal(await webhook.status(event()), 401);
    assert.equal(await webhook.status(event({ key: "b" })), 200);
  });

  const failing: readonly { when: string; fail: (store: Store) => void }[] = [
    { when: "the store fails", fail: (store) => store.become("failing") },
    { when: "the store denies access", fail: (store) => store.become("denied") },
    { when: "the parameter is deleted", fail: (store) => store.put(parameter, undefined) },
    { when: "the parameter is broken", fail: (store) => store.put(parameter, "{") },
    { when: "the parameter is another app's", fail: (store) => store.put(parameter, stored({ appId: "cli_another" })) },
  ];
  for (const { when, fail } of failing) {
    test(`K1: accepts with its last good keys for 6 hours while ${when}, says so once a minute, and then answers 503`, async (t) => {
      const { store, clock, start } = await setUp(t);
      const webhook = start({ appId });
      assert.equal(await webhook.status(event()), 200);
      fail(store);
      await clock.advance(cacheMs);
      for (let nth = 0; nth < 12; nth++) {
        assert.deepEqual([await webhook.status(event()), await webhook.status(challenge())], [200, 200]);
        await clock.advance(10_000);
      }
      assert.equal(toldAt("stale-keys").length, 2);
      const [line] = toldAt("stale-keys");
      assert.equal(line?.level, "error");
      assert.match(String(line?.facts?.["message"]), new RegExp(`${parameter}.*Check SSM`));
      assert.deepEqual([line?.facts?.["ageSeconds"], line?.facts?.["leftSeconds"]], [300, 21_300]);
      // One at once, and one after each pause of 30 s and up to 15 s more.
      assert.ok(store.asked() >= 3 && store.asked() <= 5, `it asked ${store.asked()} times`);
      assert.ok(toldAt("misconfigured").length <= store.asked());
      await clock.advance(startMs + defaultStaleMs - 1 - clock.nowMs());
      assert.equal(await webhook.status(event()), 200);
      await clock.advance(1);
      assert.equal(await inTime(clock, webhook.status(event())), 503);
    });
  }

  test("K1: the limit to old keys is the one that was set", async (t) => {
    const { store, clock } = await setUp(t);
    const client = awsClient();
    t.after(() => client.destroy());
    const keys = storedKeys({ parameter, staleMs: 400_000 }, client, clock);
    await keys.current();
    store.become("denied");
    await clock.advance(399_999);
    assert.equal((await keys.current()).size, 1);
    await clock.advance(1);
    await assert.rejects(inTime(clock, keys.current()), { name: "AccessDeniedException" });
  });

  test("K1, K3: an end in the document holds for old keys as well", async (t) => {
    const notAfter = startMs + 2 * cacheMs;
    const { store, clock, webhook } = await setUp(
      t,
      stored({ encryptKeys: [{ value: key("b") }, { value: key("a"), notAfter }] }),
    );
    assert.equal(await webhook.status(event()), 200);
    store.become("denied");
    await clock.advance(2 * cacheMs - 1);
    assert.equal(await webhook.status(event()), 200);
    await clock.advance(1);
    // Whether a new key matches could not be asked.
    assert.equal(await webhook.status(event()), 503);
    assert.equal(await webhook.status(event({ key: "b" })), 200);
  });

  test("K1, K2: a key taken from the store during an outage is refused from the first read that succeeds", async (t) => {
    const { store, clock, webhook } = await setUp(t);
    assert.equal(await webhook.status(event()), 200);
    store.become("denied");
    await clock.advance(cacheMs);
    assert.equal(await webhook.status(event()), 200);
    store.put(parameter, stored({ encryptKeys: [{ value: key("b") }] }));
    store.become("up");
    await clock.advance(1.5 * renewalPauseMs);
    assert.equal(await webhook.status(event()), 401);
    assert.equal(await webhook.status(event({ key: "b" })), 200);
  });

  test("K1: a store that stalls delays one request by 0.6 s, and none in the pause after that, while there are old keys", async () => {
    const clock = testClock(startMs);
    const { client, sent, answer } = slowClient();
    const keys = storedKeys({ parameter }, client, clock, () => 0);
    const loaded = keys.current();
    answer(0).resolve(stored());
    await loaded;
    await clock.advance(cacheMs);
    const waiting = keys.current();
    let isDone = false;
    void waiting.finally(() => {
      isDone = true;
    });
    await clock.advance(staleWaitMs - 1);
    assert.equal(isDone, false);
    await clock.advance(1);
    assert.equal((await waiting).size, 1);
    assert.deepEqual(
      trace.entries.filter(({ stage }) => stage === "stale-keys"),
      [],
      "a slow read is no failure yet",
    );
    answer(1).reject(new Error("timed out"));
    await settled();
    await clock.advance(renewalPauseMs - 1);
    for (let nth = 0; nth < 10; nth++) assert.equal((await keys.current()).size, 1);
    assert.deepEqual([sent(), clock.pending], [2, 0]);
    await clock.advance(1);
    void keys.current();
    await settled();
    assert.equal(sent(), 3);
  });

  test("K2: asks at most twice a minute under 40 forged requests while the store is down and its keys are old", async (t) => {
    const { store, clock, webhook } = await setUp(t);
    assert.equal(await webhook.status(event()), 200);
    store.become("denied");
    await clock.advance(2 * cacheMs);
    const asked = store.asked();
    for (let nth = 0; nth < 40; nth++) {
      assert.equal(await webhook.status(stranger()), 503);
      if (nth % 4 === 0) assert.equal(await webhook.status(event()), 200);
      await clock.advance(1_475);
    }
    assert.ok(store.asked() - asked <= 2, `it asked ${store.asked() - asked} times`);
  });

  test("K2: a read during which Lambda froze the process is no failure: it is read again at once, and nothing is logged", async () => {
    const clock = testClock(startMs);
    const { client, sent, answer } = slowClient();
    const keys = storedKeys({ parameter }, client, clock, () => 0);
    const loaded = keys.current();
    answer(0).resolve(stored());
    await loaded;
    await clock.advance(refreshMs);
    await keys.current();
    assert.equal(sent(), 2);
    // Here the answer was out, and the next request comes much later. The timers of the read fire with it.
    await clock.advance(hourMs);
    const next = keys.current();
    answer(1).reject(new Error("timed out"));
    await settled();
    assert.equal(sent(), 3);
    answer(2).resolve(stored({ encryptKeys: [{ value: key("b") }] }));
    assert.equal((await next).get("default")?.encryptKeys[0]?.value, key("b"));
    assert.equal(toldAt("stale-keys").length, 0);
  });
});

describe("stored secrets that cannot be used", () => {
  const value = key("a");
  const bad: readonly { when: string; value: string }[] = [
    { when: "nothing", value: " " },
    { when: "no JSON", value: `${value}, and no JSON` },
    { when: "half of the JSON", value: stored().slice(0, -5) },
    { when: "null", value: "null" },
    { when: "a text", value: JSON.stringify(value) },
    { when: "a list", value: JSON.stringify([value]) },
    { when: "the keys by other names", value: JSON.stringify({ ENCRYPT_KEY: value, VERIFICATION_TOKEN: token("a") }) },
    { when: "no app", value: stored({ appId: undefined }) },
    { when: "an empty app", value: stored({ appId: "" }) },
    { when: "a number for the app", value: stored({ appId: 7 }) },
    { when: "a placeholder for the app", value: stored({ appId: "undefined" }) },
    ...["encryptKeys", "verificationTokens"].flatMap((name) => [
      { when: `no ${name}`, value: stored({ [name]: undefined }) },
      { when: `an empty list of ${name}`, value: stored({ [name]: [] }) },
      { when: `a text for ${name}`, value: stored({ [name]: value }) },
      { when: `an object for ${name}`, value: stored({ [name]: { value } }) },
      { when: `a bare text in ${name}`, value: stored({ [name]: [value] }) },
      { when: `null in ${name}`, value: stored({ [name]: [null] }) },
      { when: `a good and an empty value in ${name}`, value: stored({ [name]: [{ value }, { value: "" }] }) },
      { when: `a number in ${name}`, value: stored({ [name]: [{ value: 1234567890123456 }] }) },
      { when: `a blank in ${name}`, value: stored({ [name]: [{ value: " \t " }] }) },
      { when: `a line break in ${name}`, value: stored({ [name]: [{ value: `${value}\n` }] }) },
      { when: `a space before ${name}`, value: stored({ [name]: [{ value: ` ${value}` }] }) },
      ...["undefined", "null", "changeme", "{{ key }}", "your-key-here", "xxxxxxxxxxxxxxxx"].map((text) => ({
        when: `"${text}" in ${name}`,
        value: stored({ [name]: [{ value: text }] }),
      })),
    ]),
  ];
  for (const { when, value } of bad) {
    test(`K4, C-44: are answered 503 and told without their value: ${when}`, async (t) => {
      const { store, clock, webhook } = await setUp(t, value);
      const requests = [event(), challenge(), stranger(), event({ key: "undefined" }), signedPush("{}")];
      for (const request of requests) assert.equal(await webhook.status(request), 503);
      assert.deepEqual(webhook.kept, []);
      const lines = toldAt("misconfigured");
      assert.ok(lines.length > 0);
      for (const { level, facts } of lines) {
        assert.equal(level, "error");
        assert.match(String(facts?.["message"]), /^Cannot (start|read the stored secrets): /);
      }
      store.put(parameter, stored());
      await clock.advance(pauseMs);
      assert.equal(await webhook.status(event()), 200);
    });
  }

  test("K4: that are short are used, and warned of", async (t) => {
    const { webhook } = await setUp(t, stored({ encryptKeys: [{ value: `${canary}-short` }] }));
    assert.equal(
      await webhook.status(push(v2Text({ header: { token: token("a") } }), { encryptKey: `${canary}-short` })),
      200,
    );
    const [line] = toldAt("misconfigured");
    assert.deepEqual(
      [line?.level, line?.facts?.["message"]],
      ["warn", "ENCRYPT_KEY is shorter than 16 characters. Check that it was copied whole"],
    );
  });

  test("K4: of another app than APP_ID are answered 503", async (t) => {
    const { store, clock, start } = await setUp(t, stored({ appId: "cli_another0000000" }));
    const webhook = start({ appId });
    for (const request of [event(), challenge(), stranger()]) assert.equal(await webhook.status(request), 503);
    assert.match(messageOf(toldAt("misconfigured")[0]), /name two apps/);
    store.put(parameter, stored());
    await clock.advance(pauseMs);
    assert.equal(await webhook.status(event()), 200);
  });

  test("K2, K4: written over good ones end nothing, and a mismatch is answered 503", async (t) => {
    const { store, clock, webhook } = await setUp(t);
    assert.equal(await webhook.status(event()), 200);
    store.put(parameter, `{"encryptKeys": ${value}`);
    await clock.advance(renewalPauseMs);
    for (let nth = 0; nth < 10; nth++) {
      assert.deepEqual([await webhook.status(stranger()), await webhook.status(event())], [503, 200]);
    }
    assert.equal(toldAt("misconfigured").length, 1);
    assert.equal(toldAt("stale-keys").length, 0);
  });
});

describe("a stored app secret", () => {
  const secret = `${canary}-app-secret-0123456789`;
  const isConfigError = (error: unknown) => error instanceof ConfigError && !error.message.includes(canary);

  test("C-77, K2: is read together with the keys, and for 300 s only once", async (t) => {
    const { store, clock } = await setUp(t, stored({ appSecret: secret }));
    const client = awsClient();
    t.after(() => client.destroy());
    const keys = storedKeys({ parameter }, client, clock);
    const asked = await Promise.all([keys.current(), keys.appSecret(), keys.appSecret()]);
    assert.deepEqual(asked.slice(1), [secret, secret]);
    await clock.advance(refreshMs - 1);
    assert.equal(await keys.appSecret(), secret);
    assert.equal(store.asked(), 1);
    store.put(parameter, stored({ appSecret: `${canary}-another-app-secret` }));
    await clock.advance(cacheMs);
    assert.equal(await keys.appSecret(), `${canary}-another-app-secret`);
    assert.equal(store.asked(), 2);
  });

  test("C-77: that is not there, is empty or no text is told as a setting, and the keys serve on", async (t) => {
    const { store, clock, webhook } = await setUp(t);
    const client = awsClient();
    t.after(() => client.destroy());
    for (const appSecret of [undefined, "", null, 5, [secret], { value: secret }]) {
      store.put(parameter, stored({ appSecret }));
      const keys = storedKeys({ parameter }, client, clock);
      await assert.rejects(keys.appSecret(), isConfigError);
      assert.equal((await keys.current()).size, 1);
    }
    assert.equal(await webhook.status(event()), 200);
  });

  for (const appSecret of [" ", "undefined", `${secret}\n`, "<your app secret>", "xxxxxxxxxxxxxxxx"]) {
    test(`C-77, K4: that is ${JSON.stringify(appSecret.replace(secret, "a secret"))} is answered 503, and told without it`, async (t) => {
      const { store, clock, webhook } = await setUp(t, stored({ appSecret }));
      for (const request of [event(), challenge(), stranger()]) assert.equal(await webhook.status(request), 503);
      assert.match(messageOf(toldAt("misconfigured")[0]), /^Cannot start: APP_SECRET /);
      store.put(parameter, stored({ appSecret: secret }));
      await clock.advance(pauseMs);
      assert.equal(await webhook.status(event()), 200);
    });
  }

  test("C-77: without one nothing is signed or trusted while the store is down; the last one is used like the keys", async (t) => {
    const { store, clock } = await setUp(t, stored({ appSecret: secret }));
    const client = awsClient();
    t.after(() => client.destroy());
    const signer = appSigner(storedKeys({ parameter }, client, clock).appSecret);
    store.become("denied");
    await assert.rejects(inTime(clock, signer.sign("text", "x")));
    await assert.rejects(inTime(clock, readValue({ _signed: "x.y" }, { signer, tenant: null, nowMs: 1 })));
    assert.deepEqual(await readValue({ amount: 5 }, { signer, tenant: null, nowMs: 1 }), { state: "unsigned" });
    store.become("up");
    await clock.advance(pauseMs);
    const value = await signValue(5, { tenant: null, signCard: cardSigner(signer, clock) });
    const signed = { state: "signed", value: 5, purpose: null };
    assert.deepEqual(await readValue(value, { signer, tenant: null, nowMs: 1 }), signed);
    await clock.advance(cacheMs);
    store.become("denied");
    assert.deepEqual(await readValue(value, { signer, tenant: null, nowMs: 1 }), signed);
    assert.equal(toldAt("stale-keys").length, 1);
    await clock.advance(defaultStaleMs);
    await assert.rejects(inTime(clock, readValue(value, { signer, tenant: null, nowMs: 1 })));
  });

  test("C-77: is asked for once, whoever asks: the door, who signs and who verifies", async (t) => {
    const { store } = await setUp(t, stored({ appSecret: secret }));
    const source = secretSource({ stored: { parameter, appId: undefined, oldCards: true } }, awsClient());
    const signers = [appSigner(source.appSecret), appSigner(source.appSecret)];
    const [door, ...macs] = await Promise.all([source.keys(), ...signers.map(({ sign }) => sign("text", "x"))]);
    assert.equal(new Set(macs).size, 1);
    assert.equal((await door.keys()).get("default")?.oldCards, true);
    assert.equal(store.asked(), 1);
  });

  test("C-77: one of the environment needs no store, and serves with no keys", async () => {
    const source = secretSource({ appSecret: secret }, awsClient());
    assert.equal(await source.appSecret(), secret);
    const { keys, renewedKeys } = await source.keys();
    assert.deepEqual([(await keys()).size, renewedKeys], [0, undefined]);
    await assert.rejects(secretSource({}, awsClient()).appSecret(), isConfigError);
  });
});

describe("the webhook function with SECRETS_PARAMETER", () => {
  let store: Store;
  before(async () => {
    store = await startStore();
    store.put(parameter, stored());
    Object.assign(process.env, store.env);
  });
  after(() => store.stop());
  beforeEach(() => store.become("up"));

  let loads = 0;
  /** Loads the function anew, as a platform does with these settings. */
  async function load(settings: Readonly<Record<string, string>> = {}) {
    const queue = "http://127.0.0.1:9/000000000000/events";
    for (const name of ["ENCRYPT_KEY", "VERIFICATION_TOKEN", "APP_ID", "ALLOW_UNENCRYPTED"]) delete process.env[name];
    Object.assign(process.env, store.env, {
      SECRETS_PARAMETER: parameter,
      EVENTS_QUEUE_URL: queue,
      QUARANTINE_QUEUE_URL: queue,
      ...settings,
    });
    const loaded: typeof import("../../functions/webhook.ts") = await import(
      `../../functions/webhook.ts?stored=${++loads}`
    );
    return async (request: SealedRequest) => (await loaded.handler(httpApi(request))).statusCode;
  }

  test("K1: reads its keys while it loads, and answers requests with them though the store has failed since", async () => {
    const asked = store.asked();
    const status = await load({ APP_ID: appId });
    store.become("denied");
    assert.deepEqual(
      await Promise.all([status(challenge()), status(challenge()), status(stranger())]),
      [200, 200, 401],
    );
    assert.equal(store.asked(), asked + 1);
  });

  test("K1: is loaded after 0.8 s when the store stalls, and answers a challenge once it is back", async (t) => {
    const clock = testClock(Date.now());
    goBy(t.mock, clock);
    store.become("stalled");
    const asked = store.calls.length;
    let isLoaded = false;
    const loading = load().finally(() => {
      isLoaded = true;
    });
    await until("the store is asked", () => store.calls.length > asked);
    await clock.advance(799);
    assert.equal(isLoaded, false);
    await clock.advance(1);
    assert.ok(await endsAtOnce(loading));
    const status = await loading;
    store.become("up");
    assert.equal(await inTime(clock, status(challenge())), 200);
  });

  for (const [name, value] of [
    ["ENCRYPT_KEY", key("a")],
    ["VERIFICATION_TOKEN", token("a")],
  ] as const) {
    test(`K4: answers 503 to everyone while ${name} is set as well, and says so once`, async () => {
      const asked = store.asked();
      const status = await load({ [name]: value });
      for (const request of [event(), challenge(), stranger()]) assert.equal(await status(request), 503);
      assert.equal(store.asked(), asked);
      assert.deepEqual(toldAt("misconfigured").map(messageOf), [
        `Cannot start: both SECRETS_PARAMETER and ${name} are set. Remove one, so that it is clear which key counts`,
      ]);
      for (const line of told()) assert.ok(!line.includes(canary), line);
    });
  }

  for (const value of ["", " ", "undefined", `${parameter}\n`]) {
    test(`K4: answers 503 to everyone while SECRETS_PARAMETER is ${JSON.stringify(value)}`, async () => {
      const status = await load({ SECRETS_PARAMETER: value });
      for (const request of [event(), challenge(), stranger()]) assert.equal(await status(request), 503);
      assert.equal(toldAt("misconfigured").length, 1);
    });
  }
});

describe("a rotation of key and token", () => {
  const overlapMs = 600_000;
  const minuteMs = 60_000;

  /** The platform, three warm processes and the store, over two hours in which key and token change once each. */
  async function rotate(t: TestContext, options: { random: Random; platformFirst: boolean }) {
    const { random, platformFirst } = options;
    const { store, clock, start, webhook } = await setUp(t);
    const processes = [webhook, start(), start()];
    const endMs = startMs + 120 * minuteMs;
    /** When the one, then the other, hears of the new key or token. */
    const change = (atMs: number) => {
      const laterMs = atMs + renewalPauseMs + random.below(4 * minuteMs);
      return platformFirst ? { platformMs: atMs, storeMs: laterMs } : { platformMs: laterMs, storeMs: atMs };
    };
    const changes = { key: change(startMs + 30 * minuteMs), token: change(startMs + 70 * minuteMs) };
    const end = random.chance(0.5) ? (ms: number) => ms : (ms: number) => new Date(ms).toISOString();
    const list = (make: (name: string) => string, storeMs: number, nowMs: number) =>
      nowMs < storeMs
        ? [{ value: make("a") }]
        : [{ value: make("b") }, { value: make("a"), notAfter: end(storeMs + overlapMs) }];

    type Due = { atMs: number; nth: number; id: string; request?: SealedRequest };
    const due: Due[] = Array.from({ length: 40 }, (_, at) => {
      return { atMs: startMs + random.below(endMs - startMs), nth: 0, id: `event-${at}` };
    });
    const counts = { refused: 0, unavailable: 0, retired: 0, retiredTried: 0 };
    const once = new Set<string>();
    for (;;) {
      due.sort((a, b) => a.atMs - b.atMs);
      const next = due.shift();
      if (next === undefined) break;
      await clock.advance(next.atMs - clock.nowMs());
      const nowMs = clock.nowMs();
      store.put(
        parameter,
        stored({
          encryptKeys: list(key, changes.key.storeMs, nowMs),
          verificationTokens: list(token, changes.token.storeMs, nowMs),
        }),
      );
      const seal: Seal = {
        key: nowMs < changes.key.platformMs ? "a" : "b",
        token: nowMs < changes.token.platformMs ? "a" : "b",
        id: next.id,
        nowMs,
      };
      const status = await random.pick(processes).status(event(seal));
      if (status === 401) counts.refused++;
      if (status === 503) counts.unavailable++;
      const waitMs = ladderMs[next.nth];
      if (status === 200) once.add(next.id);
      else if (waitMs !== undefined) due.push({ ...next, nth: next.nth + 1, atMs: nowMs + waitMs });

      // Whoever kept a retired key or token, and has the other one right.
      const retired: Seal[] = [];
      if (nowMs >= changes.key.storeMs + overlapMs) retired.push({ ...seal, key: "a", id: "forged" });
      if (nowMs >= changes.token.storeMs + overlapMs) retired.push({ ...seal, token: "a", id: "forged" });
      for (const forged of retired.filter(() => random.chance(0.5))) {
        counts.retiredTried++;
        if ((await random.pick(processes).status(event(forged))) !== 401) counts.retired++;
      }
    }
    const kept = processes.flatMap(({ kept }) => kept);
    await settled();
    return { ...counts, accepted: once.size, kept: kept.length };
  }

  test("G19, K3, K5: refuses none of 40 events, and takes nothing under a retired one", async (t) => {
    const { retiredTried, ...counts } = await rotate(t, { random: seeded(1), platformFirst: false });
    assert.deepEqual(counts, { refused: 0, unavailable: 0, retired: 0, accepted: 40, kept: 40 });
    assert.ok(retiredTried > 7);
  });

  test("G19, K3, K5: loses none when the platform changes first: what was refused is pushed again", async (t) => {
    const { retiredTried, refused, ...counts } = await rotate(t, { random: seeded(3), platformFirst: true });
    assert.deepEqual(counts, { unavailable: 0, retired: 0, accepted: 40, kept: 40 });
    assert.ok(refused > 0 && retiredTried > 7);
  });
});
