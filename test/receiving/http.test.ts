import assert from "node:assert/strict";
import { beforeEach, describe, test } from "node:test";
import { answerGateway, fromApiGateway } from "../../lib/aws/gateway.ts";
import { ConfigError, TooLargeError } from "../../lib/errors.ts";
import { defaultApp, type KeyRing } from "../../lib/feishu/keys.ts";
import { open } from "../../lib/feishu/open.ts";
import { answerWithinMs } from "../../lib/receiving/http.ts";
import type { Answer } from "../../lib/receiving/receiver.ts";
import { settled, testClock } from "../support/clock.ts";
import { httpApi, loadBalancer, refusal, restApi, shapes, startWebhook } from "../support/http-events.ts";
import { bare, challengeText, push, ring, signedPush, startMs, unsigned, v2Text } from "../support/push.ts";
import { recordTrace } from "../support/trace.ts";

const trace = recordTrace();
beforeEach(() => {
  trace.entries.length = 0;
});

const event = push(v2Text());

describe("a request", () => {
  const texts = [
    "hello",
    "\u4f60\u597d\uff0c\u4e16\u754c \u{1f44b}\u{1f3fd} \u{1d4b3}",
    "\u0001\u007f\u0080\u00ff\ufeff",
  ];
  for (const text of texts) {
    test(`E8, E9: reads the same in all four shapes, in base64 or not: ${JSON.stringify(text.slice(0, 5))}`, async () => {
      // Characters outside ASCII stand in the wire's own bytes too, beside the ciphertext.
      const sealed = JSON.parse(Buffer.from(push(v2Text({ event: { text } })).rawBody).toString("utf8")) as object;
      const request = signedPush(JSON.stringify({ ...sealed, text }), { headers: { "X-Tt-Logid": "log-1" } });
      const envelopes = [];
      for (const { toEvent } of shapes) {
        for (const base64 of [false, true]) {
          const { headers, rawBody, method, path, bodyBytes } = fromApiGateway(toEvent(request, { base64 }));
          assert.deepEqual(
            [method, path, bodyBytes],
            ["POST", path === "/" ? "/" : "/webhook", request.rawBody.length],
          );
          assert.deepEqual(Buffer.from(rawBody() as string), Buffer.from(request.rawBody));
          envelopes.push(open({ app: defaultApp, headers, rawBody: rawBody() }, { keys: ring(), nowMs: startMs }));
          await startWebhook().queues(toEvent(request, { base64 }));
        }
      }
      assert.equal(envelopes.length, 8);
      for (const envelope of envelopes) assert.deepEqual(envelope, envelopes[0]);
      assert.ok(envelopes[0]?.kind === "event" && envelopes[0].requestId === "log-1");
    });
  }

  test("loses the name of its stage from the path, where the gateway puts it in front", () => {
    const path = (rawPath: string, stage: string) => {
      const posted = httpApi(event, { path: rawPath });
      return fromApiGateway({ ...posted, requestContext: { ...(posted["requestContext"] as object), stage } }).path;
    };
    assert.equal(path("/prod/webhook", "prod"), "/webhook");
    assert.equal(path("/prod", "prod"), "/");
    assert.equal(path("/prod", "$default"), "/prod");
    assert.equal(path("/webhook", "prod"), "/webhook");
    assert.equal(
      fromApiGateway(restApi(event, { path: "/prod/webhook" })).path,
      "/prod/webhook",
      "a REST API does not",
    );
  });

  test("counts its body in bytes before it decodes it", () => {
    for (const length of [0, 1, 2, 3, 4, 5, 1000]) {
      const request = bare(Buffer.alloc(length, 0xff));
      assert.equal(fromApiGateway(httpApi(request, { base64: true })).bodyBytes, length);
    }
    assert.equal(fromApiGateway({ body: "\u00e9\u4e2d\u{1f44b}" }).bodyBytes, 9);
  });

  const oddities: unknown[] = [
    ...[
      undefined,
      null,
      0,
      5,
      "",
      "text",
      true,
      [],
      [[]],
      {},
      { headers: null },
      { headers: [] },
      { headers: "x" },
      { body: 5 },
    ],
    ...[
      { body: {} },
      { body: null, isBase64Encoded: true },
      { requestContext: null },
      { requestContext: { http: [] } },
    ],
    ...[
      { requestContext: { http: { method: 5, sourceIp: {} } }, rawPath: 5 },
      { httpMethod: {}, path: [] },
    ],
    ...[{ headers: { a: {}, b: null, c: 5, d: [5], e: [] } }, { multiValueHeaders: { a: "x", b: [["y"]] } }],
    ...[
      { Records: [{ body: "{}" }] },
      { source: "aws.events" },
      { awslogs: { data: "x" } },
      { isBase64Encoded: "true" },
    ],
  ];
  test("E8: is this function's when the gateway matched a route of it, whatever is in front of its path", async () => {
    const cases: [event: Record<string, unknown>, status: number][] = [
      [{ ...httpApi(event, { path: "/feishu/webhook" }), routeKey: "ANY /webhook" }, 200],
      [{ ...httpApi(event, { path: "/feishu" }), routeKey: "ANY /" }, 200],
      [{ ...httpApi(event, { path: "/feishu/events" }), routeKey: "POST /feishu/events" }, 200],
      [{ ...restApi(event, { path: "/feishu/events" }), resource: "/events" }, 200],
      [{ ...restApi(event, { path: "/feishu" }), resource: "/" }, 200],
      [{ ...httpApi(event, { path: "/feishu/events" }), routeKey: "$default" }, 404],
      [{ ...httpApi(event, { path: "/feishu/events" }), routeKey: "ANY /{proxy+}" }, 404],
      [restApi(event, { path: "/feishu/events" }), 404],
    ];
    for (const [posted, status] of cases) {
      const webhook = startWebhook();
      assert.equal((await webhook.post(posted)).statusCode, status, JSON.stringify(posted));
      assert.equal(webhook.queued.length, status === 200 ? 1 : 0);
    }
    for (const { name, toEvent } of shapes) {
      for (const path of ["/feishu/webhook", "/a/b/webhook/"]) {
        const webhook = startWebhook();
        assert.equal((await webhook.post(toEvent(event, { path }))).statusCode, 200, `${name} ${path}`);
        assert.equal(webhook.queued.length, 1);
      }
    }
  });

  test("E10: that is none is answered 405, 404 or 401, and stores nothing", async () => {
    for (const odd of oddities) {
      const webhook = startWebhook();
      assert.ok([401, 404, 405].includes((await webhook.post(odd)).statusCode), JSON.stringify(odd));
      assert.ok(
        [401, 404, 405].includes((await webhook.post({ ...httpApi(event), ...(odd as object) })).statusCode) ||
          webhook.queued.length === 1,
      );
      assert.equal(webhook.quarantined.length, 0);
    }
  });

  test("V8: has headers of text only: other values are as good as missing", async () => {
    for (const value of [5, null, true, {}, { length: 64 }, [], [5], [null]]) {
      for (const name of ["x-lark-signature", "x-lark-request-timestamp", "x-lark-request-nonce"]) {
        const posted = httpApi(event);
        await startWebhook().refuses({ ...posted, headers: { ...(posted["headers"] as object), [name]: value } });
      }
    }
  });
});

describe("the path", () => {
  const receive = async () => ({ status: 200, body: {} });
  const statusOf = async (own: string | undefined, path: string, method = "POST") => {
    const options = { clock: testClock(startMs), keys: ring, receive, ...(own === undefined ? {} : { path: own }) };
    return (await answerGateway(httpApi(event, { path, method }), options)).statusCode;
  };

  test("C7: is the function's own, also behind a base path, or the root, and any other is a 404", async () => {
    for (const own of [undefined, "/webhook", "/callback"]) {
      const name = own ?? "/webhook";
      for (const path of ["/", "", name, `${name}/`, `//${name.slice(1)}`, `/base${name}`])
        assert.equal(await statusOf(own, path), 200, `${own}: ${path}`);
      const others = ["/other", `${name}x`, `${name}/x`, `/x${name.slice(1)}`, "/WEBHOOK", "/Callback"];
      for (const path of [...others, own === "/callback" ? "/webhook" : "/callback"])
        assert.equal(await statusOf(own, path), 404, `${own}: ${path}`);
    }
  });

  test("C7: takes POST alone, at every function", async () => {
    for (const method of ["PUT", "OPTIONS", "post", "get"]) {
      assert.equal(await statusOf("/callback", "/callback", method), 405);
    }
  });
});

describe("an answer", () => {
  test("has its headers in both forms where the request had, so that a load balancer sends them", async () => {
    for (const { toEvent } of shapes) {
      const { headers, multiValueHeaders } = await startWebhook().post(toEvent(event));
      assert.deepEqual(headers, refusal.headers);
      const hadLists = toEvent === restApi || toEvent === loadBalancer;
      const lists = Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, [value]]));
      assert.deepEqual(multiValueHeaders, hadLists ? lists : undefined);
    }
  });

  test("is sent as its text where that was written already", async () => {
    const receive = async () => ({ status: 200, body: { n: 1 }, json: '{"n": 1}' });
    const response = await answerGateway(httpApi(event), { clock: testClock(startMs), keys: ring, receive });
    assert.deepEqual([response.statusCode, response.body], [200, '{"n": 1}']);
  });

  test("C-61: never has a header of CORS, nor one that sends elsewhere", async () => {
    const origin = { origin: "https://evil.example", "access-control-request-method": "POST" };
    for (const method of ["POST", "OPTIONS", "GET"]) {
      const request = { ...event, headers: new Map([...event.headers, ...Object.entries(origin)]) };
      const { headers } = await startWebhook().deliver(request, { method });
      assert.deepEqual(
        Object.keys(headers).filter((name) => /^access-control|^location$/.test(name)),
        [],
      );
    }
  });
});

describe("whatever goes wrong", () => {
  const outcomes: [what: string, outcome: () => unknown][] = [
    ["nothing", () => undefined],
    ["null", () => null],
    ["an empty object", () => ({})],
    ["a status as a text", () => ({ status: "200", body: {} })],
    ["a status that is no number", () => ({ status: Number.NaN, body: {} })],
    ["half a status", () => ({ status: 200.5, body: {} })],
    ["AWS's spelling", () => ({ statusCode: 200, body: "{}" })],
    ["a text", () => "200"],
    ["a number", () => 200],
    ["a status without a body", () => ({ status: 200 })],
    ["a body that JSON cannot hold", () => ({ status: 200, body: { n: 1n } })],
    [
      "a body that refers to itself",
      () => {
        const body: { me?: unknown } = {};
        body.me = body;
        return { status: 200, body };
      },
    ],
    [
      "a body that throws when it is written",
      () => ({
        status: 200,
        body: {
          toJSON() {
            throw new Error("no");
          },
        },
      }),
    ],
  ];
  for (const [what, outcome] of outcomes) {
    test(`E10: an answer of ${what} becomes a 503`, async () => {
      const clock = testClock(startMs);
      const receive = async () => outcome() as Answer;
      const { statusCode, body } = await answerGateway(httpApi(event), { clock, keys: ring, receive });
      assert.deepEqual([statusCode, body], [503, '{"error":"unavailable"}']);
      assert.equal(clock.pending, 0);
      assert.deepEqual(trace.stages(), ["received", "unavailable", "answered"]);
    });
  }

  const faults = [
    new Error("x"),
    new TypeError("x"),
    new ConfigError("x"),
    "text",
    undefined,
    null,
    5,
    Object.create(null),
  ];
  test("E10, R8: a fault in any step is a 503, never a status that is missing", async () => {
    for (const fault of faults) {
      const raise = (): never => {
        throw fault;
      };
      const steps: Partial<Parameters<typeof answerGateway>[1]>[] = [
        { keys: raise },
        { receive: raise },
        { receive: () => Promise.reject(fault) },
      ];
      for (const step of steps) {
        const clock = testClock(startMs);
        const receive = async () => ({ status: 200, body: {} });
        const response = await answerGateway(httpApi(event), { clock, keys: ring, receive, ...step });
        assert.deepEqual([response.statusCode, response.body], [503, '{"error":"unavailable"}']);
        assert.equal(clock.pending, 0);
      }
    }
  });

  test("E10: keys that are none are a fault of ours, not the sender's", async () => {
    for (const keys of [undefined, null, {}, "x"]) {
      const receive = async () => ({ status: 200, body: {} });
      const options = { clock: testClock(startMs), keys: () => keys as unknown as KeyRing, receive };
      assert.equal((await answerGateway(httpApi(event), options)).statusCode, 503);
    }
    await startWebhook({ keys: new Map() }).refuses(event);
  });

  test("an event too large for the queue is a 413, and the fault of nobody else", async () => {
    const webhook = startWebhook({ ports: { send: () => Promise.reject(new TooLargeError("too large")) } });
    assert.equal((await webhook.deliver(event)).statusCode, 413);
    assert.equal((await startWebhook().deliver(event)).statusCode, 200);
  });

  test("tells of it once, with what can be told", async () => {
    const webhook = startWebhook({ ports: { send: () => Promise.reject(new Error("x")) } });
    await webhook.deliver(push(v2Text(), { headers: { "x-request-id": "r-1" } }));
    await webhook.deliver(bare("x"));
    const told = trace.entries.filter(({ level }) => level !== "debug");
    assert.deepEqual(
      told.map(({ stage, requestId }) => [stage, requestId]),
      [
        ["unavailable", "r-1"],
        ["refused", null],
      ],
    );
    assert.deepEqual(told[1]?.facts?.["reason"], "unsigned");
    assert.deepEqual(
      [told[1]?.facts?.["size"], told[1]?.facts?.["sourceIp"], told[1]?.facts?.["status"]],
      [1, "203.0.113.7", 401],
    );
  });
});

describe("the deadline", () => {
  const never = () => new Promise<never>(() => {});
  const stuck = [
    { what: "the events' queue", request: event, ports: { send: never } },
    { what: "the quarantine", request: signedPush("{"), ports: { quarantine: never } },
  ];
  for (const { what, request, ports } of stuck) {
    test(`R5, R9: answers 503 at 1.8 s while ${what} never answers`, async () => {
      const webhook = startWebhook({ ports });
      const { clock } = webhook;
      let isAnswered = false;
      const answer = webhook.deliver(request).finally(() => {
        isAnswered = true;
      });
      await clock.advance(answerWithinMs - 1);
      assert.equal(isAnswered, false);
      assert.equal(clock.pending, 1);
      await clock.advance(1);
      const { statusCode, body } = await answer;
      assert.deepEqual([statusCode, body], [503, '{"error":"unavailable"}']);
      assert.equal(clock.pending, 0);
      assert.equal(clock.nowMs() - startMs, 1800);
    });
  }

  test("R5: aborts what it gave up on", async () => {
    let heard: unknown;
    const send = (_envelope: unknown, signal: AbortSignal) =>
      new Promise<never>((_, reject) => {
        signal.addEventListener("abort", () => {
          heard = signal.reason;
          reject(signal.reason as Error);
        });
      });
    const webhook = startWebhook({ ports: { send } });
    const answer = webhook.deliver(event);
    await webhook.clock.advance(answerWithinMs);
    assert.equal((await answer).statusCode, 503);
    assert.equal((heard as { code?: string } | undefined)?.code, "DEADLINE");
  });

  test("R5: counts from the request's arrival, not from its opening", async () => {
    const clock = testClock(startMs);
    let calls = 0;
    // Each look at the clock is a tenth of a second later: a slow start.
    const slow = { ...clock, nowMs: () => startMs + 100 * calls++, after: clock.after };
    let waitMs = 0;
    const after = (ms: number, fire: () => void) => {
      waitMs = ms;
      return clock.after(ms, fire);
    };
    await answerGateway(httpApi(event), {
      clock: { ...slow, after },
      keys: ring,
      receive: async () => ({ status: 200, body: {} }),
    });
    assert.ok(waitMs <= answerWithinMs - 100, `${waitMs}`);
  });

  test("Q10: a send that fails after 50 ms is a 503, not a 200 given too soon", async () => {
    const clock = testClock(startMs);
    const send = () => new Promise<void>((_, reject) => void clock.after(50, () => reject(new Error("refused"))));
    const webhook = startWebhook({ clock, ports: { send } });
    const answer = webhook.deliver(event);
    await clock.advance(50);
    assert.equal((await answer).statusCode, 503);
    assert.ok(!trace.stages().includes("queued"));
  });

  test("R7: what settles after the deadline disturbs nobody", async () => {
    const late = Promise.withResolvers<void>();
    const webhook = startWebhook({ ports: { send: () => late.promise } });
    const answer = webhook.deliver(event);
    await webhook.clock.advance(answerWithinMs);
    assert.equal((await answer).statusCode, 503);
    // Unheard, this would end the process, or fail whichever request is next.
    late.reject(new Error("late"));
    await settled();
    for (let i = 0; i < 100; i++) await startWebhook().queues(event);
  });

  for (const withinMs of [700, 2_500]) {
    test(`C1: is ${withinMs} ms after the request's beginning, where a function asks for that`, async () => {
      const clock = testClock(startMs);
      let atMs = Number.NaN;
      const answer = answerGateway(httpApi(event), { clock, withinMs, keys: ring, receive: never }).finally(() => {
        atMs = clock.nowMs() - startMs;
      });
      await clock.advance(10_000);
      assert.deepEqual([(await answer).statusCode, atMs, clock.pending], [503, withinMs, 0]);
    });
  }

  test("C1, C7: does not cut a callback off that is being answered: it has a deadline of its own", async () => {
    const callback = push(v2Text({ header: { event_type: "card.action.trigger" } }));
    for (const { request, atMs, statusCode } of [
      { request: callback, atMs: 2_600, statusCode: 200 },
      { request: event, atMs: 2_500, statusCode: 503 },
    ]) {
      const clock = testClock(startMs);
      let answeredAtMs = Number.NaN;
      const receive = () =>
        new Promise<Answer>((resolve) => void clock.after(2_600, () => resolve({ status: 200, body: {} })));
      const answer = answerGateway(httpApi(request), { clock, withinMs: 2_500, keys: ring, receive }).finally(() => {
        answeredAtMs = clock.nowMs() - startMs;
      });
      await clock.advance(5_000);
      assert.deepEqual([(await answer).statusCode, answeredAtMs], [statusCode, atMs]);
    }
  });

  test("C7: a callback that cannot be answered after all is a 503, and leaves no promise behind", async () => {
    const callback = push(v2Text({ header: { event_type: "card.action.trigger" } }));
    for (const receive of [async () => undefined as never, () => Promise.reject(new Error("x"))]) {
      const response = await answerGateway(httpApi(callback), { clock: testClock(startMs), keys: ring, receive });
      assert.equal(response.statusCode, 503);
    }
    await settled();
  });

  test("C1: cuts a callback off whose keys do not come", async () => {
    const clock = testClock(startMs);
    const receive = () => assert.fail("nothing may be received");
    const callback = push(v2Text({ header: { event_type: "card.action.trigger" } }));
    const late = () => new Promise<KeyRing>((resolve) => void clock.after(2_500, () => resolve(ring())));
    const answer = answerGateway(httpApi(callback), { clock, withinMs: 2_500, keys: late, receive });
    await clock.advance(5_000);
    assert.equal((await answer).statusCode, 503);
  });

  test("R8: a challenge, a refusal and an event leave no timer", async () => {
    const webhook = startWebhook();
    for (const request of [event, unsigned(challengeText()), bare("x"), signedPush("{")])
      await webhook.deliver(request);
    assert.equal(webhook.clock.pending, 0);
  });
});
