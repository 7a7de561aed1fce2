import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { describe, test } from "node:test";
import { promisify } from "node:util";
import {
  type MessageContent,
  NonRetryableError,
  OpenApiError,
  type Receiver,
  RetryLaterError,
  resourcesOf,
} from "larkpost";
import { callbackContextFor, checkAnswer, contextFor, verdictOf, withOpenApi } from "larkpost/test";
import { systemClock } from "../../lib/clock.ts";
import { bot } from "../../lib/simulator/samples/facts.ts";
import { nodeEnv } from "../support/node-env.ts";

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

test("the environment that larkpost.config.js sets is there when a handler's file is loaded", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "larkpost-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const environment = { CRM_URL: "https://crm.example.com", SET: "by the file", CASES_TABLE: { Ref: "CasesTable" } };
  writeFileSync(join(folder, "larkpost.config.js"), `export default ${JSON.stringify({ environment })};`);
  writeFileSync(join(folder, "package.json"), '{"type":"module"}');
  writeFileSync(
    join(folder, "handler.js"),
    "const { CRM_URL, SET, CASES_TABLE } = process.env; console.log(CRM_URL, SET, CASES_TABLE);",
  );
  const kit = import.meta.resolve("../../lib/testing/context.ts");
  writeFileSync(join(folder, "one.test.js"), `import ${JSON.stringify(kit)};\nimport "./handler.js";`);
  const env = { ...nodeEnv, SET: "outside" };
  const { stdout } = await promisify(execFile)(process.execPath, ["one.test.js"], { cwd: folder, env });
  assert.equal(stdout, "https://crm.example.com outside undefined\n");
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
    const timers = t.mock.method(systemClock, "after").mock;
    const path = "/open-apis/im/v1/messages";
    const send = () => context.request("POST", path, { query: { receive_id_type: "chat_id" }, body: text });
    simulator.addRule({ path, times: 3, fault: { kind: "close" } });
    await assert.rejects(send(), OpenApiError);
    simulator.addRule({ path, fault: { kind: "answer", code: 230002 } });
    await assert.rejects(send(), NonRetryableError);
    // Deadlines are longer.
    const longestPauseMs = 2_000;
    assert.ok(timers.callCount() > 0);
    assert.ok(timers.calls.every(({ arguments: [ms] }) => ms > longestPauseMs));
    // A handler that is right on the platform must not die of what the simulator lacks.
    await assert.rejects(context.request("POST", "/open-apis/drive/v1/files/box_1", { body: {} }), {
      name: "OpenApiError",
      message:
        /: the simulated Feishu has no POST \/open-apis\/drive\/v1\/files\/…: give it an answer in test\/simulated\//,
    });
  });
});

describe("what a handler says", () => {
  const png = Buffer.from("89504e470d0a1a0a", "hex");
  const card = { schema: "2.0", body: { elements: [{ tag: "markdown", content: "Pallet 17" }] } };
  const readme = join(import.meta.dirname, "../../README.md");

  const contents: readonly {
    what: string;
    content: MessageContent;
    type: string;
    says: RegExp;
    name?: string;
    bytes?: number;
  }[] = [
    { what: "a text", content: "hello", type: "text", says: /^{"text":"hello"}$/ },
    { what: "Markdown", content: { markdown: "**17**" }, type: "post", says: /"tag":"md","text":"\*\*17\*\*"/ },
    { what: "a card", content: card, type: "interactive", says: /^{"schema":"2.0","body"/ },
    { what: "a raw card", content: { type: "raw", data: card }, type: "interactive", says: /^{"schema":"2.0","body"/ },
    {
      what: "a template",
      content: { type: "template", data: { template_id: "AAq1" } },
      type: "interactive",
      says: /^{"type":"template","data":{"template_id":"AAq1"}}$/,
    },
    { what: "an image", content: { image: png }, type: "image", says: /"image_key":"img_v3_/, name: "message" },
    { what: "an image's key", content: { image: "img_v2_1-a" }, type: "image", says: /^{"image_key":"img_v2_1-a"}$/ },
    { what: "a path", content: { file: readme }, type: "file", says: /"file_key":"file_v3_/, name: "README.md" },
    {
      what: "a stream",
      content: { file: Readable.from([png, png]), name: 'a"b.docx' },
      type: "file",
      says: /"file_key":"file_v3_/,
      name: 'a"b.docx',
    },
    {
      what: "a stream of text",
      content: { file: Readable.from(["17 ", "pallets €"]), name: "list.txt" },
      type: "file",
      says: /"file_key":"file_v3_/,
      name: "list.txt",
      bytes: 14,
    },
    { what: "a file's key", content: { file: "file_v2_1-a" }, type: "file", says: /^{"file_key":"file_v2_1-a"}$/ },
  ];
  for (const { what, content, type, says, name, bytes } of contents) {
    test(`is ${what}`, async (t) => {
      const { event, context: bare } = contextFor("im.message.receive_v1");
      const { context, sent, simulator } = await withOpenApi(t, bare);
      const uploads: string[] = [];
      simulator.onActivity((activity) => void (activity.what === "uploaded" && uploads.push(activity.about ?? "")));
      const { messageId } = await context.reply(content);
      const [message, ...more] = sent();
      assert.deepEqual([message?.messageId, message?.msgType, more.length], [messageId, type, 0]);
      assert.match(message?.content ?? "", says);
      const { parentId, threadId } = message ?? {};
      assert.deepEqual([parentId, threadId], [event.message.message_id, undefined]);
      assert.deepEqual(
        uploads.map((about) => / (\S*) \(/.exec(about)?.[1]),
        name === undefined ? [] : [name],
      );
      if (bytes !== undefined) assert.match(uploads[0] ?? "", new RegExp(`\\(${bytes} bytes\\)`));
    });
  }

  test("is in the thread, where the event is in one, and to the message of a reaction, or of the card that was clicked", async (t) => {
    const inThread = contextFor("im.message.receive_v1", { event: { message: { thread_id: "omt_1" } } });
    const reaction = contextFor("im.message.reaction.created_v1");
    const click = callbackContextFor("card.action.trigger");
    const old = callbackContextFor("card.action.trigger_v1");
    const about = [
      [inThread.context, inThread.event.message.message_id, true],
      [reaction.context, reaction.event.message_id, false],
      [click.context, click.callback.context?.open_message_id, false],
      [old.context, old.callback.open_message_id, false],
    ] as const;
    for (const [bare, messageId, isThread] of about) {
      const { context, sent } = await withOpenApi(t, bare);
      await context.reply("hello");
      const [{ parentId, threadId } = assert.fail()] = sent();
      assert.deepEqual([parentId, threadId !== undefined], [messageId, isThread], bare.type);
      assert.ok(messageId);
    }
    const { context } = await withOpenApi(t, contextFor("im.chat.updated_v1").context);
    await assert.rejects(context.reply("hello"), (error) => {
      return error instanceof NonRetryableError && /the event is about no message. Use send/.test(error.message);
    });
  });

  test("may be a reaction, which stays", async (t) => {
    const { event, context: bare } = contextFor("im.message.receive_v1");
    const { context, simulator } = await withOpenApi(t, bare);
    await context.react("OnIt");
    await assert.rejects(context.react("No emoji"), NonRetryableError);
    const emojis = simulator.reactions(event.message.message_id).map(({ emoji }) => emoji);
    assert.deepEqual(emojis, ["OnIt"]);
  });

  test("goes to a chat or a person by each kind of id", async (t) => {
    const { context, simulator } = await withOpenApi(t, contextFor("im.chat.updated_v1").context);
    const [{ open_id, union_id, user_id, email } = assert.fail()] = simulator.world.users();
    const [chat = assert.fail()] = simulator.world.chats();
    const receivers: Receiver[] = [chat.chatId, open_id, union_id, email, { type: "user_id", id: user_id }];
    for (const to of receivers) await context.send(to, "hello");
    const direct = simulator.sent().slice(1);
    assert.equal(simulator.sent()[0]?.chatId, chat.chatId);
    assert.deepEqual([direct.length, new Set(direct.map(({ chatId }) => chatId)).size], [4, 1]);
    // A mistake in the code: no attempt after this one would go better.
    await assert.rejects(context.send(user_id, "hello"), (error) => {
      const advice = `Cannot send to "${user_id}": .* say which: \\{ type: "user_id", id: "${user_id}" \\}$`;
      return error instanceof NonRetryableError && new RegExp(advice).test(error.message);
    });
  });

  test("is not sent, and never again, when its file is larger than Feishu takes", async (t) => {
    const { context, simulator } = await withOpenApi(t, contextFor("im.message.receive_v1").context);
    const image = Readable.from(Array(11).fill(Buffer.alloc(1024 * 1024)));
    await assert.rejects(context.reply({ image }), (error) => {
      return error instanceof NonRetryableError && /Feishu takes 10 MB/.test(error.message);
    });
    assert.deepEqual(simulator.calls(), []);
  });

  test("is not sent where its text or file is missing, nor as an empty card", async (t) => {
    const { context, simulator } = await withOpenApi(t, contextFor("im.message.receive_v1").context);
    for (const content of [
      undefined,
      null,
      5,
      [],
      { markdown: undefined },
      { image: undefined },
      { file: null },
      { file: { path: readme } },
    ]) {
      await assert.rejects(
        context.reply(content as never),
        /^NonRetryableError: Cannot send the (message|Markdown|image|file): it is n/,
      );
    }
    assert.deepEqual(simulator.calls(), []);
  });

  test("can be about a file of the message, which is downloaded up to a limit", async (t) => {
    const sample = contextFor("im.message.receive_v1");
    const { simulator, context } = await withOpenApi(t, sample.context);
    const { message_id: messageId, chat_id: chatId } = sample.event.message;
    const key = simulator.keep("file", Buffer.from("17 pallets"));
    const content = JSON.stringify({ file_key: key, file_name: "list.txt" });
    simulator.say({ messageId, chatId, userId: simulator.world.users()[0]?.open_id ?? "", msgType: "file", content });
    const [resource = assert.fail()] = resourcesOf({ ...sample.event.message, message_type: "file", content });
    const { bytes, name, type } = await context.download(resource);
    assert.deepEqual([String(bytes), name, type], ["17 pallets", "list.txt", "application/octet-stream"]);
    assert.equal((await context.download(resource, { maxBytes: 10 })).bytes.length, 10);
    await assert.rejects(context.download(resource, { maxBytes: 9 }), NonRetryableError);
    const refused = ({ cause }: Error) => cause instanceof OpenApiError && cause.apiCode === 234003;
    await assert.rejects(context.download({ ...resource, key: "file_v3_none" }), refused);
    const calls = simulator.calls().length;
    for (const odd of [{ key: ".." }, { key: "" }, { messageId: "." }]) {
      await assert.rejects(context.download({ ...resource, ...odd }), /is not an id/);
    }
    await assert.rejects(context.download(resource, { maxBytes: Number.NaN }), /maxBytes is NaN/);
    assert.equal(simulator.calls().length, calls);
  });

  test("knows this bot from others, and asks who it is once, and only for a message that mentions somebody else than people", async (t) => {
    const asked = (simulator: { calls(): readonly { path: string }[] }) =>
      simulator.calls().filter(({ path }) => path === "/open-apis/bot/v3/info").length;
    const mention = (open_id: string, key: string, mentioned_type: string) => {
      return { key, id: { open_id }, name: key.slice(1), mentioned_type };
    };
    const message = (mentions: object[], text: string) => {
      const event = { message: { message_type: "text", content: JSON.stringify({ text }), mentions } };
      return contextFor("im.message.receive_v1", { event: event as never }).context;
    };
    const { open_id: mine } = bot;
    const cases = [
      { context: message([], "hi"), says: ["hi", false, 0] },
      { context: message([mention("ou_1", "@_user_1", "user")], "@_user_1 hi"), says: ["@_user_1 hi", false, 0] },
      { context: message([mention(mine, "@_user_1", "bot")], "@_user_1 hi"), says: ["hi", true, 1] },
      { context: message([mention("ou_2", "@_user_1", "bot")], "@_user_1 hi"), says: ["@_user_1 hi", false, 1] },
      { context: contextFor("im.chat.updated_v1").context, says: ["", false, 0] },
    ];
    for (const { context: bare, says } of cases) {
      const { context, simulator } = await withOpenApi(t, bare);
      assert.deepEqual([await context.text(), await context.mentionsMe(), asked(simulator)], says);
    }
    const [, , { context: bare } = assert.fail()] = cases;
    const { context, simulator } = await withOpenApi(t, bare);
    simulator.setAnswers([{ "GET /open-apis/bot/v3/info": { open_id: mine } }]);
    await assert.rejects(context.mentionsMe(), /the answer has no bot.open_id/);
    simulator.setAnswers([]);
    assert.equal(await context.mentionsMe(), true);
  });
});
