import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { NonRetryableError, OpenApiError, RetryLaterError } from "larkpost";
import { callbackContextFor, checkAnswer, contextFor, verdictOf, withOpenApi } from "larkpost/test";

describe("contextFor", () => {
  test("makes another event at each call, as it comes from the worker", () => {
    const [first, second] = [contextFor("im.message.receive_v1"), contextFor("im.message.receive_v1")];
    assert.notEqual(first.context.id, second.context.id);
    assert.notEqual(first.event.message.message_id, second.event.message.message_id);
    const { type, schema, attempt, transport, signal, raw } = first.context;
    assert.deepEqual(
      [type, schema, attempt, transport, signal.aborted],
      ["im.message.receive_v1", "2.0", 1, "webhook", false],
    );
    assert.ok(raw.includes(first.event.message.message_id));
  });

  test("replaces members of the sample, and keeps the others", () => {
    const content = '{"text":"hello"}';
    const { event, context } = contextFor("im.message.receive_v1", { event: { message: { content } }, attempt: 3 });
    assert.deepEqual([event.message.content, event.message.message_type, context.attempt], [content, "text", 3]);
    assert.equal(JSON.parse(context.raw).event.message.content, content);
    const old = callbackContextFor("card.action.trigger_v1", { event: { open_id: "ou_1" } });
    assert.deepEqual([old.callback.open_id, old.callback.action.tag], ["ou_1", "button"]);
  });

  test("keeps what the handler defers, and gives what the deferred work gets", async () => {
    const { event, context, deferred, deferredContext } = contextFor("im.message.receive_v1");
    await context.defer({ polls: 1 }, { delaySeconds: 30 });
    await deferredContext.defer({ polls: 2 });
    assert.deepEqual(deferred, [
      { payload: { polls: 1 }, delaySeconds: 30 },
      { payload: { polls: 2 }, delaySeconds: 0 },
    ]);
    const { id, depth } = deferredContext;
    assert.deepEqual([id, deferredContext.event, depth], [`${context.id}#deferred`, event, 1]);
    assert.ok(context.remainingMs() > 0);
  });

  test("keeps what the handler logs", () => {
    const { context, logged } = contextFor("im.chat.updated_v1");
    context.log.info("A chat changed", { members: 3 });
    context.log.warn("It has no owner");
    assert.deepEqual(logged, [
      { level: "info", message: "A chat changed", fields: { members: 3 } },
      { level: "warn", message: "It has no owner", fields: {} },
    ]);
  });

  test("says how to get an Open API when the handler calls it", async () => {
    const { context } = contextFor("im.message.receive_v1");
    const advice = { message: "Give the context an Open API: withOpenApi(t, context)" };
    await assert.rejects(context.request("GET", "/open-apis/im/v1/chats"), advice);
    await assert.rejects(context.lark(), advice);
  });

  test("refuses the type of a callback, and callbackContextFor the type of an event", () => {
    assert.throws(
      () => contextFor("card.action.trigger" as never),
      /"card.action.trigger" is not the type of an event/,
    );
    assert.throws(() => callbackContextFor("app_ticket" as never), /"app_ticket" is not the type of a callback/);
  });
});

describe("callbackContextFor", () => {
  test("keeps what the handler defers", async () => {
    const { context, deferred } = callbackContextFor("card.action.trigger");
    await context.defer({ order: 42 });
    assert.deepEqual(deferred, [{ payload: { order: 42 }, delaySeconds: 0 }]);
    assert.deepEqual([context.isSigned, context.purpose], [false, null]);
  });

  test("gives what the deferred work gets, and keeps the cards that it shows", async () => {
    const { callback, context, deferredContext, cards } = callbackContextFor("card.action.trigger");
    assert.deepEqual([deferredContext.id, deferredContext.callback], [`${context.id}#deferred`, callback]);
    await deferredContext.updateCard({ schema: "2.0" });
    assert.deepEqual(cards, [{ schema: "2.0" }]);
  });

  test("words the old card callback as its own protocol does", () => {
    const { callback, context } = callbackContextFor("card.action.trigger_v1");
    assert.match(callback.open_id ?? "", /^ou_/);
    assert.equal(callback.action.tag, "button");
    assert.equal(context.schema, "1.0");
  });
});

test("verdictOf tells what the worker makes of a run", async () => {
  const throwing = (error: unknown) => async () => Promise.reject(error);
  const [later, never, other] = [
    new RetryLaterError("closed", { delaySeconds: 60 }),
    new NonRetryableError("gone"),
    new Error("x"),
  ];
  assert.deepEqual(await verdictOf(() => "whatever"), { verdict: "done" });
  assert.deepEqual(await verdictOf(throwing(later)), { verdict: "again", delaySeconds: 60, error: later });
  assert.deepEqual(await verdictOf(throwing(never)), { verdict: "dead", error: never });
  assert.deepEqual(await verdictOf(throwing(other)), { verdict: "again", error: other });
});

test("checkAnswer tells an answer that Feishu shows from one that it refuses", () => {
  assert.ok("answer" in checkAnswer("card.action.trigger", { toast: { type: "info", content: "Done" } }));
  assert.deepEqual(checkAnswer("card.action.trigger", { toast: "Done" }), {
    fault: { field: "toast", found: "is not an object" },
  });
});

describe("withOpenApi", () => {
  const text = { msg_type: "text", content: '{"text":"hello"}' };

  test("sends by both ways to the simulated Feishu, and ends with the test", async (t) => {
    const { event, context: bare } = contextFor("im.message.receive_v1");
    const { message_id } = event.message;
    let ended: typeof bare | undefined;
    await t.test("inside", async (inner) => {
      const { context, sent } = await withOpenApi(inner, bare);
      ended = context;
      await context.request("POST", `/open-apis/im/v1/messages/${message_id}/reply`, { body: text });
      const client = await context.lark();
      await client.im.v1.message.reply({ path: { message_id }, data: text });
      assert.deepEqual(
        sent().map(({ content }) => content),
        [text.content, text.content],
      );
      assert.equal(context.id, bare.id);
    });
    await assert.rejects(async () => ended?.request("GET", "/open-apis/im/v1/chats"), OpenApiError);
  });

  test("fails calls as a rule says, without a wait between two tries", async (t) => {
    const { context, simulator } = await withOpenApi(t, contextFor("im.message.receive_v1").context);
    const startMs = performance.now();
    const path = "/open-apis/im/v1/messages";
    const send = () => context.request("POST", path, { query: { receive_id_type: "chat_id" }, body: text });
    simulator.addRule({ path, times: 3, fault: { kind: "close" } });
    await assert.rejects(send(), OpenApiError);
    simulator.addRule({ path, fault: { kind: "answer", code: 230002 } });
    await assert.rejects(send(), NonRetryableError);
    assert.ok(performance.now() - startMs < 1_000);
    // A handler that is right on the platform must not die of what the simulator lacks.
    await assert.rejects(context.request("POST", "/open-apis/drive/v1/files/box_1", { body: {} }), {
      name: "OpenApiError",
      message:
        /: the simulated Feishu has no POST \/open-apis\/drive\/v1\/files\/…: give it an answer in test\/simulated\//,
    });
  });
});
