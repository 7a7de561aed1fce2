// in turn: they share the official SDK.
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { json } from "node:stream/consumers";
import { describe, test } from "node:test";
import { inspect } from "node:util";
import {
  CardTokenError,
  HandlerTimeoutError,
  NonRetryableError,
  OpenApiError,
  RetryLaterError,
} from "../../lib/errors.ts";
import { listenOnLoopback } from "../../lib/simulator/loopback.ts";
import { groupChat, mei } from "../../lib/simulator/samples/facts.ts";
import { messagesPath, startApi, tokenPath } from "../support/api.ts";
import { card, selfBuilt, text } from "../support/open-api.ts";
import { recordTrace } from "../support/trace.ts";
import { until } from "../support/until.ts";

const toChat = { query: { receive_id_type: "chat_id" }, body: { receive_id: groupChat, ...text("hello") } };
const toMei = { query: { receive_id_type: "open_id" }, body: { receive_id: mei.open_id, ...text("hello") } };
const cardPath = "/open-apis/interactive/v1/card/update";

/** What a call rejects with. */
async function thrown(call: Promise<unknown>): Promise<Error & { cause?: unknown }> {
  return call.then(
    (answer) => assert.fail(`answered ${JSON.stringify(answer)}`),
    (error: Error) => error,
  );
}

describe("request", () => {
  test("sends, reads and answers with the platform's JSON, on one token", async (t) => {
    const { run, simulator } = await startApi(t);
    const { request } = run();
    const sent = await request("POST", messagesPath, toChat);
    assert.equal(sent.code, 0);
    const id = String(sent.data.message_id);
    const read = await request("get", `${messagesPath}/${id}`);
    assert.equal(read.data.items[0].message_id, id);
    // Without its length, a body is the connection's next request.
    assert.equal((await request("DELETE", `${messagesPath}/${id}`, { body: { text: "you are" } })).code, 0);
    assert.equal(simulator.tokensIssued(), 1);
  });

  test("goes to the Open API only, whatever the path says", async (t) => {
    const { run, simulator } = await startApi(t);
    for (const path of [
      "//example.com/open-apis/x",
      "https://example.com/open-apis/",
      "open-apis/im",
      "/open-apis/../admin",
    ]) {
      await assert.rejects(run().request("GET", path), /^(TypeError|NonRetryableError): Cannot call /);
    }
    assert.deepEqual(simulator.calls(), []);
  });

  test("a success that is no JSON of the platform's is a failure", async (t) => {
    const page = createServer((_request, response) => response.end("<html>sign in</html>"));
    const pagePort = await listenOnLoopback(page);
    t.after(() => page.close());
    const origin = `http://127.0.0.1:${pagePort}`;
    const { run } = await startApi(t, { origin });
    const error = await thrown(run().request("GET", messagesPath));
    assert.match(error.message, /no answer \(UNREADABLE\)/);
  });
});

describe("too many calls", () => {
  test("A1: wait for what the platform says and up to a fifth more, then go on", async (t) => {
    const { run, simulator, clock, apiClock, called } = await startApi(t, { random: () => 0.5 });
    simulator.addRule({ path: messagesPath, fault: { kind: "rate-limit", resetSeconds: 4 } });
    const sent = run().request("POST", messagesPath, toChat);
    await until("the wait", () => apiClock.asked.includes(4_400));
    await clock.advance(4_399);
    assert.equal(called("/messages"), 1);
    await clock.advance(1);
    assert.equal((await sent).code, 0);
    assert.equal(called("/messages"), 2);
  });

  for (const status of [429, 400] as const) {
    test(`A1: told with status ${status} that 52 s are to pass, with 10 s left: the event waits 52 to 63 s, and no call is made before`, async (t) => {
      for (const random of [0, 0.3, 0.999_999]) {
        const { run, simulator, called } = await startApi(t, { random: () => random });
        simulator.addRule({ path: messagesPath, fault: { kind: "rate-limit", resetSeconds: 52, status } });
        const error = await thrown(run({ remainingMs: () => 10_000 }).request("POST", messagesPath, toChat));
        assert.ok(error instanceof RetryLaterError);
        assert.ok(error.delaySeconds >= 52 && error.delaySeconds <= 63, `${error.delaySeconds} s`);
        assert.ok(error.cause instanceof OpenApiError && error.cause.apiCode === 99991400);
        assert.equal(called("/messages"), 1);
      }
    });
  }

  test("A1: a wait that is not told, or told in no number, is a second", async (t) => {
    const { run, simulator } = await startApi(t);
    simulator.addRule({ path: messagesPath, fault: { kind: "answer", code: 11232 } });
    const error = await thrown(run({ remainingMs: () => 900 }).request("POST", messagesPath, toChat));
    assert.ok(error instanceof RetryLaterError && error.delaySeconds === 1);
  });

  test("A1: three times in a row: the event waits", async (t) => {
    const { run, simulator, called } = await startApi(t);
    simulator.addRule({ path: messagesPath, times: 9, fault: { kind: "rate-limit", resetSeconds: 0 } });
    assert.ok((await thrown(run().request("GET", messagesPath))) instanceof RetryLaterError);
    assert.equal(called("/messages"), 3);
  });
});

describe("a failure of the platform's", () => {
  test("A2: is tried three times at most, after a random part of 400 and 800 ms", async (t) => {
    const { run, simulator, clock, apiClock, called } = await startApi(t, { random: () => 0.75 });
    simulator.addRule({ path: messagesPath, times: 9, fault: { kind: "answer", code: 10500 } });
    const failed = thrown(run().request("POST", messagesPath, toChat));
    for (const ms of [300, 600]) {
      await until(`the wait of ${ms} ms`, () => apiClock.asked.includes(ms));
      await clock.advance(ms);
    }
    const error = await failed;
    assert.ok(error instanceof OpenApiError && error.status === 500 && error.apiCode === 10500);
    assert.match(error.logId ?? "", /^\d{14}[0-9A-F]+$/);
    assert.equal(called("/messages"), 3);
  });

  test("A2: an answer that does not come in 10 s is not waited for, and asked for again", async (t) => {
    const { run, simulator, clock, apiClock, called } = await startApi(t);
    simulator.addRule({ path: messagesPath, delayMs: 30_000 });
    const failed = thrown(run().request("POST", messagesPath, toChat));
    await until("the call", () => called("/messages") === 1);
    await clock.advance(9_999);
    assert.equal(called("/messages"), 1);
    await clock.advance(1);
    // Done, and still being answered: 230049, until the platform is through with it.
    const error = await failed;
    assert.ok(error instanceof OpenApiError && error.apiCode === 230049);
    assert.ok(apiClock.asked.includes(10_000));
    assert.equal(simulator.messages(groupChat).length, 1);
  });

  const once = { method: "PATCH", path: `${messagesPath}/om_1`, body: { content: card("x") } };
  test("A2: a call that is neither safe nor has a uuid is not repeated", async (t) => {
    const { run, simulator } = await startApi(t);
    await run().request("GET", `${messagesPath}/om_1`);
    for (const fault of [{ kind: "answer", code: 10500 }, { kind: "close" }, { kind: "lose-answer" }] as const) {
      simulator.addRule({ path: once.path, fault });
      const before = simulator.calls().length;
      const error = await thrown(run().request(once.method, once.path, { body: once.body }));
      assert.ok(error instanceof OpenApiError);
      assert.equal(simulator.calls().length, before + 1);
    }
  });

  test("A2: a call that could not be sent at all is repeated, whatever it is", async (t) => {
    const got: unknown[] = [];
    const gone = createServer((request, response) => {
      got.push(request.url);
      // No connection is kept: the next call has to make one.
      response.setHeader("connection", "close");
      response.end(JSON.stringify({ code: 0, tenant_access_token: "t-1", expire: 7_200 }));
    });
    const gonePort = await listenOnLoopback(gone);
    const origin = `http://127.0.0.1:${gonePort}`;
    const { run, apiClock } = await startApi(t, { origin });
    await run().request("GET", messagesPath);
    await new Promise<unknown>((resolve) => gone.close(resolve));
    const before = apiClock.asked.length;
    const error = await thrown(run().request(once.method, once.path, { body: once.body }));
    assert.match(error.message, /^Cannot call PATCH .*: there was no answer \(ECONNREFUSED\)/);
    const deadlines = apiClock.asked.slice(before).filter((ms) => ms === 10_000);
    assert.equal(deadlines.length, 3, "each of three tries has a deadline of its own");
    assert.deepEqual(got, [tokenPath, messagesPath]);
  });

  test("A8: no try begins or waits beyond the run's time, and the last ends with it", async (t) => {
    const { run, simulator, clock, called } = await startApi(t, { random: () => 0.9 });
    await run().request("GET", `${messagesPath}/om_1`);
    const endsAtMs = clock.nowMs() + 1_000;
    const remainingMs = () => endsAtMs - clock.nowMs();
    simulator.addRule({ path: messagesPath, delayMs: 30_000 });
    const late = thrown(run({ remainingMs }).request("POST", messagesPath, toChat));
    await until("the call", () => called("/messages") === 1);
    await clock.advance(1_000);
    assert.match((await late).message, /did not answer in time/);
    assert.equal(clock.nowMs(), endsAtMs);
    assert.match((await thrown(run({ remainingMs }).request("GET", messagesPath))).message, /no time is left/);
    // A wait that would not fit is not begun.
    simulator.addRule({ path: messagesPath, fault: { kind: "answer", code: 10500 } });
    const short = await thrown(run({ remainingMs: () => 300 }).request("GET", messagesPath));
    assert.ok(short instanceof OpenApiError && short.status === 500);
    assert.equal(clock.pending, 0);
  });

  test("A8: waiting for a token ends with the run's time, too", async (t) => {
    const { run, simulator, clock, called } = await startApi(t);
    simulator.addRule({ path: tokenPath, delayMs: 30_000 });
    const endsAtMs = clock.nowMs() + 700;
    const trace = recordTrace();
    t.after(trace.stop);
    const late = thrown(run({ remainingMs: () => endsAtMs - clock.nowMs() }).request("GET", messagesPath));
    await until("the call", () => called("/internal") === 1);
    await clock.advance(700);
    const error = await late;
    assert.ok(error instanceof OpenApiError);
    assert.match(error.message, /no answer in time/);
    assert.deepEqual(
      trace.entries.map(({ facts }) => facts?.["call"]),
      ["GET /open-apis/im/v1/messages"],
    );
  });

  test("ends at once, with the run's own reason, when the run is over", async (t) => {
    const { run, simulator, called } = await startApi(t);
    const over = new AbortController();
    const reason = new HandlerTimeoutError("over");
    simulator.addRule({ path: messagesPath, delayMs: 30_000 });
    const sent = thrown(run({ signal: over.signal }).request("POST", messagesPath, toChat));
    await until("the call", () => called("/messages") === 1);
    over.abort(reason);
    assert.equal(await sent, reason);
    assert.equal(await thrown(run({ signal: over.signal }).request("GET", messagesPath)), reason);
    assert.equal(called("/messages"), 1);
  });

  test("ends at once in the pause between two tries, too", async (t) => {
    const { run, simulator, apiClock, called } = await startApi(t);
    const over = new AbortController();
    simulator.addRule({ path: messagesPath, fault: { kind: "rate-limit", resetSeconds: 4 } });
    const sent = thrown(run({ signal: over.signal }).request("POST", messagesPath, toChat));
    await until("the pause", () => apiClock.asked.includes(4_000));
    const reason = new HandlerTimeoutError("over");
    over.abort(reason);
    assert.equal(await sent, reason);
    assert.equal(called("/messages"), 1);
  });
});

describe("the uuid", () => {
  test("A3: of a create, a reply and a forward is the same in every run of an event, so each is sent once", async (t) => {
    const { run, simulator } = await startApi(t);
    const parent = simulator.say({ userId: mei.open_id, chatId: groupChat, content: JSON.stringify({ text: "?" }) });
    const handler = async (key: string) => {
      const { request } = run({ key });
      await request("POST", messagesPath, toChat);
      await request("POST", messagesPath, toChat);
      await request("POST", `${messagesPath}/${parent.messageId}/reply`, { body: text("a reply") });
      await request("POST", `${messagesPath}/${parent.messageId}/forward`, {
        query: { receive_id_type: "open_id" },
        body: { receive_id: mei.open_id },
      });
    };
    await handler("event-1");
    assert.equal(simulator.messages().length, 1 + 4, "two that are alike are two messages");
    await handler("event-1");
    assert.equal(simulator.messages().length, 1 + 4);
    await handler("event-2");
    assert.equal(simulator.messages().length, 1 + 8);
  });

  test("A3: does not hang on the order in which two people are sent to", async (t) => {
    const { run, simulator } = await startApi(t);
    await run().request("POST", messagesPath, toChat);
    const again = run();
    await again.request("POST", messagesPath, toMei);
    await again.request("POST", messagesPath, toChat);
    assert.equal(simulator.messages(groupChat).length, 1);
    assert.equal(simulator.messages().length, 2);
  });

  test("A3: does not hang on the words: what a second run says otherwise is the same message", async (t) => {
    const { run, simulator } = await startApi(t);
    for (const time of ["10:00", "10:05"]) {
      const { request } = run();
      for (const said of ["one", "two"]) {
        await request("POST", messagesPath, {
          ...toChat,
          body: { receive_id: groupChat, ...text(`${said} at ${time}`) },
        });
      }
    }
    const said = simulator.messages().map(({ content }) => JSON.parse(content).text);
    assert.deepEqual(said, ["one at 10:00", "two at 10:00"]);
  });

  test("A3: of the caller's own is kept; an empty one is none", async (t) => {
    const { run, simulator } = await startApi(t);
    const own = { ...toChat, body: { ...toChat.body, uuid: "mine" } };
    await run({ key: "event-1" }).request("POST", messagesPath, own);
    await run({ key: "event-2" }).request("POST", messagesPath, own);
    assert.equal(simulator.messages().length, 1);
    const empty = { ...toChat, body: { ...toChat.body, uuid: "" } };
    await run({ key: "event-3" }).request("POST", messagesPath, empty);
    await run({ key: "event-3" }).request("POST", messagesPath, empty);
    assert.equal(simulator.messages().length, 2);
  });

  test("A3: of the caller's own counts where the platform reads it: a forward's in the query, else in the body", async (t) => {
    const { run, simulator } = await startApi(t);
    const parent = simulator.say({ userId: mei.open_id, chatId: groupChat, content: JSON.stringify({ text: "?" }) });
    const path = `${messagesPath}/${parent.messageId}/forward`;
    const query = { receive_id_type: "open_id" };
    const body = { receive_id: mei.open_id };
    const uuid = "mine";
    for (let nth = 1; nth <= 2; nth++) {
      await run().request("POST", messagesPath, { ...toChat, query: { ...toChat.query, uuid } });
      await run().request("POST", path, { query, body: { ...body, uuid } });
      const client = await run({ key: "event-0" }).lark();
      const params = { receive_id_type: "chat_id", uuid };
      await client.request({
        method: "POST",
        url: messagesPath,
        params,
        data: { receive_id: groupChat, ...text("hi") },
      });
    }
    assert.equal(simulator.messages().length, 1 + 3);
    for (const key of ["event-1", "event-2"]) {
      await run({ key }).request("POST", path, { query: { ...query, uuid }, body });
      await run({ key }).request("POST", `${path}?uuid=other`, { query, body });
    }
    assert.equal(simulator.messages().length, 1 + 5);
  });

  test("A3: is on merged and thread forwards as well, in the query and at most 50 characters long", async (t) => {
    const urls: URL[] = [];
    const bodies: unknown[] = [];
    const server = createServer(async (request, response) => {
      const url = new URL(request.url ?? "", "http://x");
      urls.push(url);
      bodies.push(await json(request));
      const token = { tenant_access_token: "t-1", expire: 7_200 };
      response.end(JSON.stringify({ code: 0, ...token }));
    });
    const port = await listenOnLoopback(server);
    t.after(() => {
      server.close();
      server.closeAllConnections();
    });
    const { run } = await startApi(t, { origin: `http://127.0.0.1:${port}` });
    for (const path of [`${messagesPath}/merge_forward`, "/open-apis/im/v1/threads/omt_1/forward"]) {
      await run().request("POST", path, { body: { receive_id: "x" } });
      assert.match(urls.at(-1)?.searchParams.get("uuid") ?? "", /^[0-9a-f]{50}$/);
    }
    for (const other of [
      "/open-apis/contact/v3/users",
      `/open-apis/x${messagesPath}/merge_forward`,
      `${messagesPath}/merge_forward/x`,
      "/open-apis/x/open-apis/im/v1/threads/omt_1/forward",
      "/open-apis/im/v1/threads/omt_1/forward/x",
      ...[`/open-apis/x${messagesPath}`, `${messagesPath}/x`, `${messagesPath}/om_1/reply/x`],
      `/open-apis/x${messagesPath}/om_1/reply`,
    ]) {
      await run().request("POST", other, { body: {} });
      assert.deepEqual([urls.at(-1)?.search, bodies.at(-1)], ["", {}], other);
    }
  });

  test("A3: an answer that is lost costs no second message", async (t) => {
    const { run, simulator } = await startApi(t);
    simulator.addRule({ path: messagesPath, fault: { kind: "lose-answer" } });
    const sent = await run().request("POST", messagesPath, toChat);
    assert.deepEqual(
      simulator.messages().map(({ messageId }) => messageId),
      [sent.data.message_id],
    );
  });
});

describe("a token", () => {
  test("A4: that was revoked is got again once, and the call repeated once", async (t) => {
    const { run, simulator, called } = await startApi(t);
    const { request } = run();
    await request("POST", messagesPath, toChat);
    simulator.revokeTokens();
    await Promise.all(Array.from({ length: 20 }, () => request("POST", messagesPath, toMei)));
    assert.equal(called("/internal"), 2);
    assert.equal(simulator.messages().length, 21);
  });

  test("A4: that is refused twice is not asked for a third time", async (t) => {
    const { run, simulator, called } = await startApi(t);
    simulator.addRule({ path: messagesPath, times: 9, fault: { kind: "answer", code: 99991663 } });
    const error = await thrown(run().request("GET", messagesPath));
    assert.ok(error instanceof OpenApiError && error.apiCode === 99991663);
    assert.equal(called("/messages"), 2);
    assert.equal(called("/internal"), 2);
  });

  test("A7: a connection that had died is no failure", async (t) => {
    const { run, simulator } = await startApi(t);
    await run().request("POST", messagesPath, toMei);
    for (let thaw = 0; thaw < 20; thaw++) {
      simulator.addRule({ fault: { kind: "close" } });
      await run({ key: `event-${thaw}` }).request("POST", messagesPath, toChat);
    }
    assert.equal(simulator.messages(groupChat).length, 20);
  });
});

describe("a call that will never go well", () => {
  const permanent = [
    { when: "the bot is not in the chat", code: 230002 },
    { when: "the message was recalled", code: 230011 },
    { when: "the app is not in use", code: 99991662 },
    { when: "the app is not usable in the tenant", code: 99991673 },
    { when: "the app lacks the scope", code: 99991672 },
    { when: "the receiver does not exist", code: 230034 },
  ];
  for (const { when, code } of permanent) {
    test(`A6: is made once and is not retried: ${when}`, async (t) => {
      const { run, simulator, called } = await startApi(t);
      simulator.addRule({ path: messagesPath, times: 9, fault: { kind: "answer", code } });
      const error = await thrown(run().request("POST", messagesPath, toChat));
      assert.ok(error instanceof NonRetryableError);
      assert.ok(error.cause instanceof OpenApiError && error.cause.apiCode === code);
      assert.equal(called("/messages"), 1);
    });
  }

  test("A6: a code that nobody knows is left to the next attempt of the event", async (t) => {
    const { run, simulator, called } = await startApi(t);
    simulator.addRule({ path: messagesPath, fault: { kind: "answer", code: 1254607 } });
    const error = await thrown(run().request("POST", messagesPath, toChat));
    assert.ok(error instanceof OpenApiError);
    assert.equal(called("/messages"), 1);
  });

  test("A6: a wrong app secret is for a person to mend, and the event waits for that", async (t) => {
    const apps = [{ ...selfBuilt, appSecret: "changed in the console" }];
    const { run, called } = await startApi(t, { simulator: { apps } });
    const error = await thrown(run().request("GET", messagesPath));
    assert.ok(error instanceof OpenApiError && error.apiCode === 10015);
    assert.match(error.message, /Check APP_SECRET/);
    assert.equal(called("/internal"), 1);
  });

  for (const code of [10003, 10014]) {
    test(`A6: so it does where the platform has ${code} for it; of another call that is for good`, async (t) => {
      const { run, simulator, called } = await startApi(t);
      simulator.addRule({ path: tokenPath, fault: { kind: "answer", code } });
      const error = await thrown(run().request("GET", messagesPath));
      assert.ok(error instanceof OpenApiError && error.apiCode === code);
      assert.match(error.message, /Check APP_SECRET/);
      assert.equal(called("/internal"), 1);
      simulator.addRule({ path: messagesPath, fault: { kind: "answer", code } });
      const other = await thrown(run().request("POST", messagesPath, toChat));
      assert.ok(other instanceof NonRetryableError && !other.message.includes("APP_SECRET"));
    });
  }

  test("is told with its code and log id, and without an id of anybody, as is one that succeeds", async (t) => {
    const { run, simulator } = await startApi(t);
    const trace = recordTrace();
    t.after(trace.stop);
    simulator.addRule({ path: `${messagesPath}/:id/reply`, fault: { kind: "answer", code: 230011 } });
    const event = { id: "event-1", type: "x" };
    await thrown(run({ event }).request("POST", `${messagesPath}/om_secret1/reply`, { body: text("x") }));
    await run({ event }).request("POST", messagesPath, toChat);
    const [failed, succeeded] = trace.entries.map(({ stage, level, id, facts: { logId, callMs, ...facts } = {} }) => {
      assert.deepEqual([typeof logId, typeof callMs], ["string", "number"]);
      return { stage, level, id, ...facts };
    });
    const call = "POST /open-apis/im/v1/messages/…/reply";
    const message = "A call of the Open API failed";
    assert.deepEqual(failed, {
      stage: "log",
      level: "warn",
      id: "event-1",
      message,
      call,
      apiCode: 230011,
      status: 400,
    });
    const one = { call: "POST /open-apis/im/v1/messages", status: 200, apiCode: 0 };
    assert.deepEqual(succeeded, { stage: "called", level: "debug", id: "event-1", ...one });
    assert.equal(trace.entries.length, 2, "a call for a token belongs to no event");
  });

  const scope = (...subjects: unknown[]) => ({
    permission_violations: subjects.map((subject) => ({ type: "action_scope_required", subject })),
  });
  const path = "ROOT -> body -> elements -> [0](tag: markdown) -> content";
  const told: readonly { body: object; parts: Readonly<Record<string, string>> }[] = [
    {
      body: { code: 99991672, error: scope("im:message", "im:message:send_as_bot", "CANARY", "ou_1 wrote", 5, null) },
      parts: { scopes: "im:message im:message:send_as_bot" },
    },
    { body: { code: 230099, msg: "ErrCode: 12345678901" }, parts: {} },
    {
      body: {
        code: 99992402,
        error: { field_violations: [{ field: "page_size", value: "CANARY" }, { field: "a b" }] },
      },
      parts: { fields: "page_size" },
    },
    {
      body: { code: 230099, msg: `Failed, ext=ErrCode: 11310; ErrMsg: CANARY; ErrorValue: CANARY; ErrPath: ${path}; ` },
      parts: { errCode: "11310", errPath: path },
    },
    { body: { code: 230099, msg: "ErrCode: 12345678901; ErrPath: CANARY words of a card" }, parts: {} },
    { body: { code: 230001, msg: `CANARY${"x".repeat(600)} ErrCode: 5` }, parts: {} },
    { body: { code: 230001, msg: 5, error: { permission_violations: {}, field_violations: "CANARY" } }, parts: {} },
    {
      body: { code: 230001, error: scope(...Array.from({ length: 9 }, (_, nth) => `a:${nth}`)) },
      parts: { scopes: "a:0 a:1 a:2 a:3 a:4 a:5 a:6 a:7" },
    },
  ];
  for (const { body, parts } of told) {
    test(`is told with names and numbers of the platform's words: ${JSON.stringify(parts)}`, async (t) => {
      const trace = recordTrace();
      t.after(trace.stop);
      const platform = createServer((request, response) => {
        if (request.url === tokenPath) return response.end('{"code":0,"tenant_access_token":"t-1","expire":7200}');
        return response.writeHead(400).end(JSON.stringify(body));
      });
      const port = await listenOnLoopback(platform);
      t.after(() => platform.close());
      const { run } = await startApi(t, { origin: `http://127.0.0.1:${port}` });
      const error = await thrown(run().request("POST", messagesPath, toChat));
      const {
        message: _,
        call: __,
        status: ___,
        apiCode: ____,
        callMs: _____,
        logId: ______,
        ...facts
      } = trace.entries[0]?.facts ?? {};
      assert.deepEqual(facts, parts);
      for (const [name, value] of Object.entries(parts)) assert.ok(error.message.includes(`, ${name} ${value}`));
      const failure = error instanceof OpenApiError ? error : error.cause;
      assert.ok(failure instanceof OpenApiError);
      const { msg } = body as { msg?: unknown };
      assert.equal(failure.platformMessage, typeof msg === "string" ? msg.slice(0, 500) : undefined);
      // Whoever prints the error, or logs it, does not print what was sent.
      const printed = [
        inspect(error, { depth: 20, showHidden: true }),
        ...trace.entries.map((entry) => JSON.stringify(entry)),
      ];
      assert.doesNotMatch(printed.join("\n"), /CANARY/);
    });
  }
});

describe("the card that was clicked", () => {
  async function clicked(t: Parameters<typeof startApi>[0]) {
    const started = await startApi(t);
    const sent = await started.run().request("POST", messagesPath, {
      ...toChat,
      body: { receive_id: groupChat, msg_type: "interactive", content: card("before") },
    });
    const messageId = String(sent.data.message_id);
    const token = "c-0123456789";
    started.simulator.registerCardToken({ token, messageId });
    const click = { token, clickedAtMs: started.clock.nowMs() };
    const shown = () => started.simulator.message(messageId)?.content ?? "";
    return { ...started, messageId, click, shown };
  }
  const after = (title: string) => JSON.parse(card(title)) as Record<string, unknown>;

  test("is updated twice with its credential; the third time is told what to do instead, and not asked for", async (t) => {
    const { run, simulator, click, shown, called } = await clicked(t);
    simulator.callbackAnswered(click.token);
    const { updateCard } = run();
    await updateCard(after("one"), click);
    await updateCard({ type: "raw", data: after("two") }, click);
    assert.match(shown(), /two/);
    const third = await thrown(updateCard(after("three"), click));
    assert.ok(third instanceof NonRetryableError);
    assert.equal((third as Error) instanceof CardTokenError, true);
    assert.match(third.message, /PATCH \/open-apis\/im\/v1\/messages\/:message_id/);
    assert.equal(called("/card/update"), 2);
    // Another run of the same job has not counted: the platform has.
    const other = await thrown(run().updateCard(after("three"), click));
    assert.ok(other instanceof CardTokenError);
    assert.match(other.message, /300040.*PATCH/);
  });

  test("is not updated half an hour later, nor without a credential", async (t) => {
    const { run, simulator, clock, click, called } = await clicked(t);
    simulator.callbackAnswered(click.token);
    await clock.advance(30 * 60_000 - 1);
    await run().updateCard(after("late"), click);
    await clock.advance(1);
    assert.ok((await thrown(run().updateCard(after("later"), click))) instanceof CardTokenError);
    assert.equal(called("/card/update"), 1);
    const unknownTime = await thrown(run().updateCard(after("later"), { ...click, clickedAtMs: null }));
    assert.ok(unknownTime instanceof CardTokenError && /300030/.test(unknownTime.message));
    for (const token of [undefined, "", 5]) {
      assert.ok((await thrown(run().updateCard(after("x"), { ...click, token }))) instanceof CardTokenError);
    }
    assert.ok((await thrown(run().updateCard(after("x"), { ...click, token: "odd" }))) instanceof CardTokenError);
  });

  test("an update that was refused has not used up one of the two", async (t) => {
    const { run, simulator, click, shown } = await clicked(t);
    simulator.callbackAnswered(click.token);
    const { updateCard } = run();
    simulator.addRule({ path: cardPath, times: 2, fault: { kind: "answer", code: 10500 } });
    for (let nth = 0; nth < 2; nth++) assert.ok((await thrown(updateCard(after("x"), click))) instanceof OpenApiError);
    await updateCard(after("one"), click);
    await updateCard(after("two"), click);
    assert.match(shown(), /two/);
  });

  test("two that are under way count: a third is not begun", async (t) => {
    const { run, simulator, click } = await clicked(t);
    simulator.callbackAnswered(click.token);
    const { updateCard } = run();
    const results = await Promise.allSettled(["one", "two", "three"].map((title) => updateCard(after(title), click)));
    assert.deepEqual(
      results.map(({ status }) => status),
      ["fulfilled", "fulfilled", "rejected"],
    );
  });
});

describe("the app's secrets", () => {
  test("C-74: are not taken along by a redirect, neither the secret nor a token", async (t) => {
    const got: string[] = [];
    const thief = createServer((request, response) => {
      got.push(request.headers.authorization ?? "none");
      response.end('{"code":0}');
    });
    const thiefPort = await listenOnLoopback(thief);
    t.after(() => {
      thief.close();
      thief.closeAllConnections();
    });
    const location = `http://127.0.0.1:${thiefPort}/`;
    const platform = createServer((request, response) => {
      if (request.url === tokenPath) response.end('{"code":0,"tenant_access_token":"t-secret","expire":7200}');
      else response.writeHead(307, { location }).end();
    });
    const platformPort = await listenOnLoopback(platform);
    t.after(() => {
      platform.close();
      platform.closeAllConnections();
    });
    const { run } = await startApi(t, { origin: `http://127.0.0.1:${platformPort}` });
    const error = await thrown(run().request("GET", messagesPath));
    assert.ok(error instanceof OpenApiError && error.status === 307);
    const client = await run().lark();
    const other = await thrown(client.request({ method: "GET", url: messagesPath }));
    assert.ok(other instanceof OpenApiError && other.status === 307);
    assert.deepEqual(got, []);
  });

  test("C-74: are sent to no other origin by the official client either", async (t) => {
    const { run } = await startApi(t);
    const client = await run().lark();
    const error = await thrown(client.request({ method: "GET", url: "https://example.com/open-apis/im/v1/messages" }));
    assert.ok(error instanceof NonRetryableError);
    assert.match(error.message, /Cannot call https:\/\/example.com: .* Check LARK_DOMAIN/);
  });

  test("are in no error, however deep one looks, nor is what was sent", async (t) => {
    const { run, simulator } = await startApi(t);
    const canary = "canary-in-a-message";
    const data = { receive_id: groupChat, ...text(canary) };
    const errors: Error[] = [];
    for (const fault of [
      { kind: "answer", code: 230002 },
      { kind: "answer", code: 10500 },
      { kind: "close" },
    ] as const) {
      const rule = simulator.addRule({ path: messagesPath, times: 99, fault });
      errors.push(await thrown(run().request("POST", messagesPath, { ...toChat, body: data })));
      const client = await run().lark();
      const params = { receive_id_type: "chat_id" } as const;
      errors.push(await thrown(client.im.message.create({ params, data })));
      rule.remove();
    }
    simulator.addRule({ path: tokenPath, times: 9, fault: { kind: "close" } });
    simulator.revokeTokens();
    errors.push(await thrown(run().request("POST", messagesPath, { ...toChat, body: data })));
    for (const error of errors) {
      const whole = inspect(error, { depth: 20, showHidden: true, maxStringLength: null });
      assert.ok(!/Bearer|t-[0-9a-f]{8}/.test(whole), whole);
      assert.ok(!whole.includes(selfBuilt.appSecret), whole);
      assert.ok(!whole.includes(canary), whole);
    }
  });
});
