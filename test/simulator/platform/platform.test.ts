import assert from "node:assert/strict";
import { createServer } from "node:http";
import { describe, type TestContext, test } from "node:test";
import type { SealedRequest } from "../../../lib/feishu/envelope.ts";
import type { KeyRing } from "../../../lib/feishu/keys.ts";
import { listenOnLoopback } from "../../../lib/simulator/loopback.ts";
import {
  type Deliver,
  type Message,
  type PlatformOptions,
  startPlatform,
  toMessage,
} from "../../../lib/simulator/platform/platform.ts";
import type { PushResult } from "../../../lib/simulator/platform/push.ts";
import { checkAddress, toWebhook, type WebhookOptions } from "../../../lib/simulator/platform/webhook.ts";
import { type TestClock, testClock } from "../../support/clock.ts";
import { startWebhook } from "../../support/http-events.ts";
import { challengeText, ring, startMs, v2Text } from "../../support/push.ts";
import { seeded } from "../../support/random.ts";

const acknowledged: PushResult = { status: 200, ms: 1, body: "{}", delivered: true };
const refused: PushResult = { status: 503, ms: 1, body: "", delivered: false, problem: "answered 503" };
const late: PushResult = { status: null, ms: 3_000, body: "", delivered: false, code: "ETIMEDOUT" };
const unreachable: PushResult = { status: null, ms: 1, body: "", delivered: false, code: "ECONNREFUSED" };

const event = (id: string, type = "test.event"): Message => ({ kind: "event", id, type, text: "{}" });
const minutes = 60_000;
const hours = 60 * minutes;

/** A platform on a clock that stands still, its receiver a function; tells when which push was made. */
function start(
  answer: (message: Message, number: number) => PushResult,
  options: Partial<PlatformOptions> & { clock?: TestClock } = {},
) {
  const { clock = testClock(startMs) } = options;
  const pushes: string[] = [];
  const deliver: Deliver = async (message, { number }) => {
    pushes.push(`${message.id} at ${(clock.nowMs() - startMs) / 1000} s`);
    return answer(message, number);
  };
  return { clock, pushes, platform: startPlatform({ deliver, random: seeded(1).next, ...options, clock }) };
}

describe("an event that is not acknowledged", () => {
  test("is pushed again 15 s, 5 min, 1 h and 6 h after the failure before, and then reported as given up", async () => {
    const { clock, pushes, platform } = start(() => refused);
    const delivery = platform.push(event("e"));
    await clock.advance(8 * hours);
    assert.deepEqual(pushes, ["e at 0 s", "e at 15 s", "e at 315 s", "e at 3915 s", "e at 25515 s"]);
    const { outcome, attempts } = await delivery;
    assert.deepEqual([outcome, attempts.map(({ number }) => number)], ["given-up", [1, 2, 3, 4, 5]]);
    const givenUp = [{ id: "e", type: "test.event", atMs: startMs + 25_515_000 }];
    assert.deepEqual(platform.health().givenUp, givenUp);
  });

  test("is pushed once where no ladder is wanted", async () => {
    const { clock, platform } = start(() => late, { delaysMs: [] });
    assert.equal((await platform.push(event("e"))).attempts.length, 1);
    assert.equal(clock.pending, 0);
  });

  test("waits no longer once the platform is told to end", async () => {
    const controller = new AbortController();
    const { clock, platform } = start(() => refused, { signal: controller.signal });
    const delivery = platform.push(event("e"));
    await clock.advance(1_000);
    const reason = new Error("enough");
    controller.abort(reason);
    await assert.rejects(delivery, reason);
    await assert.rejects(platform.push(event("f")), reason);
    await platform.idle();
    assert.equal(clock.pending, 0);
  });
});

describe("ordered events", () => {
  test("hold back their successors until they are acknowledged, and nobody else", async () => {
    const { clock, pushes, platform } = start(({ id }, number) => (id === "a1" && number < 3 ? late : acknowledged));
    for (const id of ["a1", "a2"]) void platform.push(event(id), { orderKey: "a" });
    for (const id of ["b1", "b2"]) void platform.push(event(id), { orderKey: "b" });
    void platform.push(event("free"));
    await clock.advance(hours);
    assert.deepEqual(pushes.slice(0, 4).sort(), ["a1 at 0 s", "b1 at 0 s", "b2 at 0 s", "free at 0 s"]);
    assert.deepEqual(pushes.slice(4), ["a1 at 15 s", "a1 at 315 s", "a2 at 315 s"]);
  });

  test("let their successors go once they are given up", async () => {
    const { clock, pushes, platform } = start(({ id }) => (id === "a1" ? refused : acknowledged));
    const first = platform.push(event("a1"), { orderKey: "a" });
    const second = platform.push(event("a2"), { orderKey: "a" });
    await clock.advance(7 * hours);
    assert.ok(!pushes.some((push) => push.startsWith("a2")));
    await clock.advance(hours);
    assert.deepEqual([(await first).outcome, (await second).outcome], ["given-up", "delivered"]);
    assert.equal(pushes.at(-1), "a2 at 25515 s");
  });
});

test("a transport that throws fails its own event, and not the ones behind it", async () => {
  const fault = new Error("no transport");
  const { pushes, platform } = start(({ id }) => {
    if (id === "a1") throw fault;
    return acknowledged;
  });
  const first = platform.push(event("a1"), { orderKey: "a" });
  const second = platform.push(event("a2"), { orderKey: "a" });
  await assert.rejects(first, fault);
  assert.equal((await second).outcome, "delivered");
  assert.equal(pushes.length, 2);
});

describe("an acknowledged event", () => {
  test("is pushed again for no reason as often as asked, and once at most", async () => {
    for (const [share, least, most] of [
      [0, 0, 0],
      [0.2, 20, 60],
      [1, 200, 200],
    ] as const) {
      const { clock, pushes, platform } = start(() => acknowledged, { duplicates: { share, withinMs: 5 * minutes } });
      for (let n = 0; n < 200; n++) void platform.push(event(`e-${n}`));
      await clock.advance(5 * minutes);
      const { attempts, duplicates, delivered } = platform.health();
      assert.deepEqual([delivered, attempts, pushes.length], [200, 200 + duplicates, 200 + duplicates]);
      assert.ok(duplicates >= least && duplicates <= most, `${duplicates} of 200 with a share of ${share}`);
    }
  });

  test("comes again in a share of the cases, and idle waits for one push as well", async () => {
    const options = { random: () => 0.5, duplicates: { share: 0.5, withinMs: 1 } };
    const { clock, platform } = start(() => acknowledged, options);
    let isOver = false;
    void platform.push(event("e")).then(() => {
      isOver = true;
    });
    await platform.idle();
    assert.ok(isOver);
    await clock.advance(1);
    assert.equal(platform.health().duplicates, 0);
  });

  test("is not lost when its repetition is refused", async () => {
    const { clock, platform } = start((_, number) => (number === 1 ? acknowledged : refused), {
      duplicates: { share: 1, withinMs: 1_000 },
    });
    await platform.push(event("e"));
    await clock.advance(8 * hours);
    const { attempts, delivered, refused: refusals, givenUp } = platform.health();
    assert.deepEqual([attempts, delivered, refusals, givenUp], [2, 1, 1, []]);
  });
});

describe("a callback", () => {
  const callback: Message = { kind: "callback", id: "c", type: "card.action.trigger", text: "{}" };

  test("is asked once, whatever is answered", async () => {
    for (const result of [refused, late, unreachable]) {
      const { clock, pushes, platform } = start(() => result, { duplicates: { share: 1, withinMs: 1 } });
      const delivery = platform.push(callback);
      await clock.advance(8 * hours);
      const { outcome, view } = await delivery;
      assert.deepEqual([outcome, view?.isTaken, pushes.length, platform.health().givenUp], ["failed", false, 1, []]);
    }
  });

  test("keeps its answer, and what the client shows of it", async () => {
    const body = '{"toast":{"type":"success","content":"Approved"}}';
    const { platform } = start(() => ({ ...acknowledged, body }), { duplicates: { share: 1, withinMs: 1 } });
    const { attempts, view } = await platform.push(callback);
    assert.equal(attempts[0]?.result.body, body);
    assert.deepEqual(view?.toast, { type: "success", text: "Approved" });
  });
});

describe("the weekly look at an app", () => {
  test("counts pushes by what became of them, in all and by type", async () => {
    const results = [refused, late, unreachable, acknowledged];
    const { clock, platform } = start((_, number) => results[number - 1] ?? refused);
    void platform.push(event("a", "a.type"));
    void platform.push(event("b", "b.type"));
    await clock.advance(8 * hours);
    const each = { delivered: 1, attempts: 4, refused: 1, late: 1, unreachable: 1, duplicates: 0, givenUp: 0 };
    assert.deepEqual(platform.health(), {
      ...{ delivered: 2, attempts: 8, refused: 2, late: 2, unreachable: 2, duplicates: 0, givenUp: [] },
      byType: [
        { type: "a.type", ...each },
        { type: "b.type", ...each },
      ],
    });
  });

  test("goes back seven days", async () => {
    const { clock, platform } = start(() => refused);
    void platform.push(event("old"));
    await clock.advance(24 * hours);
    void platform.push(event("new"));
    await clock.advance(6 * 24 * hours);
    assert.deepEqual(
      platform.health().givenUp.map(({ id }) => id),
      ["old", "new"],
    );
    await clock.advance(24 * hours);
    const { attempts, givenUp } = platform.health();
    assert.deepEqual([attempts, givenUp.map(({ id }) => id)], [5, ["new"]]);
  });
});

describe("over HTTP", () => {
  /** The real receiver behind a port, its queue and its keys in our hands. */
  async function listen(t: TestContext, { keys }: { keys?: () => KeyRing } = {}) {
    let isBroken = false;
    const stored: string[] = [];
    const store = async (id: string) => {
      if (isBroken) throw new Error("the queue is down");
      stored.push(id);
    };
    // The receiver's own clock: the platform's has timers on it, and the receiver may leave none.
    const webhook = startWebhook({
      ...(keys === undefined ? {} : { keys }),
      ports: { send: ({ id }) => store(id), quarantine: () => store("quarantined") },
    });
    const received: SealedRequest[] = [];
    const statuses: number[] = [];
    const server = createServer(async (request, response) => {
      const headers = new Map(Object.entries(request.headers).map(([name, value]) => [name, String(value)]));
      const sealed = { app: "default", headers, rawBody: Buffer.concat(await request.toArray()) };
      received.push(sealed);
      const { statusCode, headers: answered, body } = await webhook.deliver(sealed);
      statuses.push(statusCode);
      response.writeHead(statusCode, answered).end(body);
    });
    const port = await listenOnLoopback(server);
    t.after(() => {
      server.closeAllConnections();
      server.close();
    });
    const url = `http://127.0.0.1:${port}/webhook`;
    const random = seeded(3);

    /** Pushes an event up the whole ladder: `before` is called ahead of each push, with its number. */
    async function climb(options: Pick<WebhookOptions, "signing">, before: (number: number) => void) {
      const clock = testClock(startMs);
      const flights: Promise<unknown>[] = [];
      const post = toWebhook({ url, keys: ring(), clock, randomBytes: random.bytes, ...options });
      const deliver: Deliver = (message, push) => {
        before(push.number);
        const flight = post(message, push);
        flights.push(flight);
        return flight;
      };
      const delivery = startPlatform({ deliver, clock, random: random.next }).push(toMessage(v2Text()));
      for (const ms of [0, 15_000, 300_000, 3_600_000, 21_600_000]) {
        await webhook.clock.advance(ms);
        await clock.advance(ms);
        await Promise.all(flights);
      }
      return delivery;
    }
    return {
      ...{ url, webhook, received, stored, statuses, climb },
      /** The queue takes nothing, or takes everything again. */
      breakQueue(broken: boolean): void {
        isBroken = broken;
      },
    };
  }

  const header = (requests: readonly SealedRequest[], name: string) =>
    requests.map(({ headers }) => headers.get(name) ?? "none");

  test("V4: an event that is pushed again with its first timestamp and nonce is taken even after 7 hours", async (t) => {
    const { received, stored, statuses, climb, breakQueue } = await listen(t);
    const { outcome } = await climb({ signing: "first" }, (number) => breakQueue(number < 5));
    assert.deepEqual([outcome, statuses, stored], ["delivered", [503, 503, 503, 503, 200], ["event-1"]]);
    for (const name of ["timestamp", "nonce"].map((end) => `x-lark-request-${end}`)) {
      assert.equal(new Set(header(received, name)).size, 1, name);
    }
    assert.equal(new Set(received.map(({ rawBody }) => Buffer.from(rawBody).toString())).size, 1);
    assert.equal(new Set(header(received, "x-tt-logid")).size, 5, "each request has its own log id");
  });

  test("an event that is pushed again is signed afresh, unless asked otherwise, and is the same event", async (t) => {
    const { received, stored, climb, breakQueue } = await listen(t);
    await climb({}, (number) => breakQueue(number < 3));
    assert.deepEqual(
      header(received, "x-lark-request-timestamp").map((text) => Number(text) - startMs / 1000),
      [0, 15, 315],
    );
    assert.equal(new Set(header(received, "x-lark-request-nonce")).size, 3);
    assert.deepEqual(stored, ["event-1"]);
  });

  test("V7: what a wrong key refuses is taken once the key is corrected within the ladder", async (t) => {
    let keys = ring({ encryptKeys: ["another key"] });
    const { stored, statuses, climb } = await listen(t, { keys: () => keys });
    const { outcome } = await climb({}, (number) => {
      if (number === 5) keys = ring();
    });
    assert.deepEqual([outcome, statuses, stored], ["delivered", [401, 401, 401, 401, 200], ["event-1"]]);
  });

  test("an address is saved when it gives the challenge back, and not when it answers something else", async (t) => {
    const { url, stored } = await listen(t);
    const options = { keys: ring(), clock: testClock(startMs), randomBytes: seeded(4).bytes };
    assert.equal((await checkAddress("c-1", { url, ...options })).isAccepted, true);
    assert.deepEqual(stored, []);
    const refusing = await checkAddress("c-1", { url, ...options, keys: ring({ verificationTokens: ["other"] }) });
    assert.deepEqual([refusing.isAccepted, refusing.result.status], [false, 401]);
    const server = createServer((_, response) => void response.end(challengeText({ challenge: "c-2" })));
    const port = await listenOnLoopback(server);
    t.after(() => server.close());
    const other = `http://127.0.0.1:${port}/`;
    assert.equal((await checkAddress("c-1", { url: other, ...options })).isAccepted, false);
    assert.equal((await checkAddress("c-2", { url: other, ...options })).isAccepted, true);
  });
});
