import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { stripVTControlCharacters } from "node:util";
import { botLine, entryFacts } from "../../../lib/cli/chat/lines.ts";
import { classify } from "../../../lib/feishu/classify.ts";
import { RefusedAction, startConversation } from "../../../lib/simulator/chat/conversation.ts";
import { createJournal, type Entry } from "../../../lib/simulator/chat/journal.ts";
import { openApi } from "../../../lib/simulator/open-api/open-api.ts";
import type { Message } from "../../../lib/simulator/platform/platform.ts";
import type { PushResult } from "../../../lib/simulator/platform/push.ts";
import { bot, groupChat, mei, tomas } from "../../../lib/simulator/samples/facts.ts";
import { settled, testClock } from "../../support/clock.ts";
import { meisChat, selfBuilt } from "../../support/open-api.ts";
import { seeded } from "../../support/random.ts";

const card = (text: string) => ({
  config: { update_multi: true },
  elements: [{ tag: "button", text: { tag: "plain_text", content: text }, value: { order: 17 } }],
});

/** Mei, a bot that is called through the Open API, and a transport that answers as told. */
function setUp(
  t: TestContext,
  respond: (message: Message, number: number) => Partial<PushResult> | object = () => ({}),
) {
  const clock = testClock();
  const random = seeded(23);
  const newId = () => random.hex(32);
  const problems: unknown[] = [];
  const api = openApi({ clock, newId, apps: [selfBuilt], onProblem: (problem) => problems.push(problem) });
  const pushed: Message[] = [];
  const conversation = startConversation({
    ...{ api, newId, clock, appId: selfBuilt.appId, random: () => 0.5 },
    async deliver(message, { number }) {
      pushed.push(message);
      const answer = respond(message, number);
      if ("status" in answer) return { ...{ status: 500, ms: 1, body: "", delivered: false }, ...answer } as PushResult;
      return { status: 200, ms: 1, body: JSON.stringify(answer), delivered: true };
    },
  });
  t.after(() => {
    conversation.stop();
    assert.deepEqual(problems, []);
  });

  async function call(method: string, path: string, body: object) {
    const post = async (url: string, content: object, authorization?: string) => {
      const answer = await api.handle({
        method,
        url: `/open-apis${url}`,
        authorization,
        body: JSON.stringify(content),
      });
      return JSON.parse(answer?.body ?? "{}");
    };
    const { appId: app_id, appSecret: app_secret } = selfBuilt;
    const url = "/open-apis/auth/v3/tenant_access_token/internal";
    const given = { method: "POST", url, authorization: undefined, body: JSON.stringify({ app_id, app_secret }) };
    const token = JSON.parse((await api.handle(given))?.body ?? "{}");
    return post(path, body, `Bearer ${token.tenant_access_token}`);
  }

  const send = async (content: object) => {
    const body = { receive_id: mei.open_id, msg_type: "interactive", content: JSON.stringify(content) };
    return (await call("POST", "/im/v1/messages?receive_id_type=open_id", body)).data.message_id as string;
  };
  const entries = (what?: Entry["what"]) =>
    conversation.after(0).filter((one) => what === undefined || one.what === what);
  const eventOf = (message: Message | undefined) => {
    const found = classify(message?.text ?? "");
    assert.ok(found.kind === "event" || found.kind === "callback");
    // biome-ignore lint/suspicious/noExplicitAny: the payload's shape is what is looked at.
    return found.event as any;
  };
  return { clock, api, conversation, pushed, call, send, entries, eventOf };
}

test("what the user says alone with the bot is an event in their chat, which the bot can reply to", async (t) => {
  const { conversation, pushed, eventOf, call, entries } = setUp(t);
  const id = conversation.say("hello", "p2p");
  await settled();
  const { sender, message } = eventOf(pushed[0]);
  assert.deepEqual([pushed[0]?.id, pushed[0]?.type], [id, "im.message.receive_v1"]);
  assert.deepEqual([sender.sender_id, message.chat_id, message.chat_type], [mei, meisChat, "p2p"]);
  assert.deepEqual([message.content, message.mentions], ['{"text":"hello"}', undefined]);
  const reply = { msg_type: "text", content: '{"text":"hi Mei"}' };
  assert.equal((await call("POST", `/im/v1/messages/${message.message_id}/reply`, reply)).code, 0);
  assert.deepEqual(
    entries("said").map((entry) => "by" in entry && [entry.by, entry.message.chat.id, entry.message.text]),
    [
      ["user", meisChat, "hello"],
      ["bot", meisChat, "hi Mei"],
    ],
  );
});

test("an approval that begins or ends is pushed once a bot has subscribed to its definition", async (t) => {
  const { call, clock, pushed, eventOf } = setUp(t);
  const approval_code = "77617265-686F";
  const create = async (uuid?: string) => {
    const request = { approval_code, open_id: mei.open_id, form: "[]", ...(uuid === undefined ? {} : { uuid }) };
    return (await call("POST", "/approval/v4/instances", request)).data.instance_code as string;
  };
  await create();
  await settled();
  assert.deepEqual(pushed, []);
  await call("POST", `/approval/v4/approvals/${approval_code}/subscribe`, {});
  const instance_code = await create("u-1");
  const startedAt = String(clock.nowMs());
  await clock.advance(60_000);
  await call("POST", "/approval/v4/instances/cancel?user_id_type=open_id", {
    ...{ approval_code, instance_code, user_id: mei.open_id },
  });
  await settled();
  const common = { approval_code, instance_code, uuid: "u-1" };
  for (const [index, own] of [
    { status: "PENDING", operate_time: startedAt },
    { status: "CANCELED", operate_time: String(clock.nowMs()) },
  ].entries()) {
    const event = { ...common, ...own, instance_operate_time: own.operate_time };
    assert.partialDeepStrictEqual(eventOf(pushed[index]), event);
  }
});

test("what the bot does besides, and a call that is not simulated, is told", async (t) => {
  const { conversation, call, entries } = setUp(t);
  const messageId = (await call("POST", `/im/v1/messages/om_1/reply`, { msg_type: "text", content: '{"text":"x"}' }))
    .data.message_id;
  await call("POST", `/im/v1/messages/${messageId}/reactions`, { reaction_type: { emoji_type: "OK" } });
  await call("GET", "/drive/v1/files", {});
  const about =
    "the simulated Feishu has no GET /open-apis/drive/v1/files: give it an answer in test/simulated/, or use a real app";
  const chat = { id: groupChat, kind: "group", name: "Warehouse shifts" };
  assert.deepEqual(
    entries("did").map(({ n: _, ...entry }) => entry),
    [
      { what: "did", did: "reacted", about: "OK", chat },
      { what: "did", did: "missing", about, chat: null },
    ],
  );
  assert.deepEqual(
    entries("did").map((entry) =>
      [botLine(entry), entryFacts(entry)].map((line) => stripVTControlCharacters(line ?? "")),
    ),
    [
      ["bot reacted  OK  in Warehouse shifts", JSON.stringify({ bot: "reacted", about: "OK", chat })],
      [`! ${about}`, JSON.stringify({ notice: about })],
    ],
  );
  assert.equal(conversation.count(), 3);
});

test("in the group the user mentions the bot", async (t) => {
  const { conversation, pushed, eventOf } = setUp(t);
  conversation.say("hello", "group");
  await settled();
  const { message } = eventOf(pushed[0]);
  assert.deepEqual([message.chat_id, message.chat_type], [groupChat, "group"]);
  assert.equal(message.content, '{"text":"@_user_1 hello"}');
  assert.deepEqual([message.mentions[0].key, message.mentions[0].id], ["@_user_1", bot]);
});

test("an event that is not acknowledged is told, and pushed again as the ladder says", async (t) => {
  const { clock, conversation, pushed, entries } = setUp(t, (_message, number) =>
    number === 1 ? { status: 503, problem: "answered 503" } : {},
  );
  const id = conversation.say("hello", "p2p");
  await settled();
  const { n: _, ...told } = entries("undelivered")[0] ?? { n: 0 };
  assert.deepEqual(told, { what: "undelivered", id, problem: "answered 503", againMs: 15_000 });
  await clock.advance(15_000);
  assert.deepEqual([pushed.length, pushed[1]?.text === pushed[0]?.text], [2, true]);
  assert.equal(entries("undelivered").length, 1);
});

test("a choice asks with the button's value; the toast is told, and the card of the answer takes its place", async (t) => {
  const { conversation, api, send, pushed, eventOf, entries } = setUp(t, () => ({
    toast: { type: "success", content: "Released" },
    card: { type: "raw", data: card("Done") },
  }));
  const messageId = await send(card("Release"));
  const id = conversation.choose({ messageId, version: 1, number: 1 });
  await settled();
  const { operator, token, action, context } = eventOf(pushed[0]);
  assert.equal(operator.open_id, mei.open_id);
  assert.deepEqual(action, { tag: "button", value: { order: 17 } });
  assert.deepEqual(context, { open_message_id: messageId, open_chat_id: meisChat });
  assert.match(token, /^c-/);
  assert.deepEqual(
    entries().map(({ what }) => what),
    ["said", "answered", "updated"],
    "the toast comes first",
  );
  const [answer] = entries("answered");
  assert.ok(answer?.what === "answered");
  assert.deepEqual([answer.id, answer.view.toast], [id, { type: "success", text: "Released" }]);
  assert.deepEqual(JSON.parse(api.message(messageId)?.content ?? ""), card("Done"));
});

test("a card entity is shown as it is, its text as it is streamed, and its button can be chosen", async (t) => {
  const { conversation, call, send, entries, pushed, eventOf } = setUp(t);
  const button = { tag: "button", text: { tag: "plain_text", content: "Stop" } };
  const answer = { tag: "markdown", element_id: "answer", content: "Pallet" };
  const elements = [answer, { ...button, behaviors: [{ type: "callback", value: { stop: 1 } }] }];
  const data = JSON.stringify({ schema: "2.0", config: { streaming_mode: true }, body: { elements } });
  const { card_id } = (await call("POST", "/cardkit/v1/cards", { type: "card_json", data })).data;
  const messageId = await send({ type: "card", data: { card_id } });
  const content = { content: "Pallet 17", sequence: 1 };
  await call("PUT", `/cardkit/v1/cards/${card_id}/elements/answer/content`, content);
  assert.deepEqual(
    entries().map((entry) => stripVTControlCharacters(botLine(entry) ?? "")),
    [`bot created  card ${card_id}`, "bot said     Pallet  [Stop]  to Mei Okafor", "bot streamed   17  to Mei Okafor"],
  );
  conversation.choose({ messageId, version: 2, number: 1 });
  await settled();
  assert.deepEqual(eventOf(pushed[0]).action, { tag: "button", value: { stop: 1 } });
});

test("the token of a choice updates the card only after the answer", async (t) => {
  const { conversation, send, call, pushed, eventOf } = setUp(t);
  const messageId = await send(card("Release"));
  conversation.choose({ messageId, version: 1, number: 1 });
  const { token } = eventOf(pushed[0]);
  const update = () => call("POST", "/interactive/v1/card/update", { token, card: card("Later") });
  await settled();
  assert.equal((await update()).code, 0);
  const refusing = setUp(t, () => ({ status: 500 }));
  const other = await refusing.send(card("Release"));
  refusing.conversation.choose({ messageId: other, version: 1, number: 1 });
  await settled();
  const refused = { token: refusing.eventOf(refusing.pushed[0]).token, card: card("Later") };
  assert.equal((await refusing.call("POST", "/interactive/v1/card/update", refused)).code, 10002);
});

test("a card in an answer that is none is an error at the client, and changes nothing", async (t) => {
  const { conversation, api, send, entries } = setUp(t, () => ({
    card: { type: "raw", data: { elements: [{ tag: "divider" }] } },
  }));
  const messageId = await send(card("Release"));
  conversation.choose({ messageId, version: 1, number: 1 });
  await settled();
  const [answer] = entries("answered");
  assert.ok(answer?.what === "answered");
  assert.deepEqual(answer.view, {
    ...{ isTaken: false, code: 200673 },
    problem:
      "ErrCode: 200621; ErrPath: ROOT -> elements -> [0](tag: divider); ErrMsg: parse card json err, please check whether the card " +
      "json is correct; ErrorValue: not support tag: divider; ",
  });
  assert.equal(api.message(messageId)?.history.length, 1);
});

test("a card of schema 2.0 that is answered with one of 1.0 is an error at the client; the other way round is none", async (t) => {
  const button = { tag: "button", text: { tag: "plain_text", content: "Release" } };
  const second = {
    schema: "2.0",
    body: { elements: [{ ...button, behaviors: [{ type: "callback", value: {} }] }] },
  };
  for (const [shown, answered, code] of [
    [second, card("Done"), 200830],
    [second, second, null],
    [card("Release"), second, null],
  ] as const) {
    const { conversation, send, entries } = setUp(t, () => ({ card: { type: "raw", data: answered } }));
    conversation.choose({ messageId: await send(shown), version: 1, number: 1 });
    await settled();
    const [answer] = entries("answered");
    assert.equal(answer?.what === "answered" && answer.view.code, code);
    assert.equal(entries("updated").length, code === null ? 1 : 0);
  }
});

test("a form is submitted with what was typed for each of its fields; a field alone is sent as it is", async (t) => {
  const { conversation, pushed, eventOf, send } = setUp(t);
  const plain = (content: string) => ({ tag: "plain_text", content });
  const submit = { tag: "button", name: "go", text: plain("Go"), form_action_type: "submit" };
  const elements = [
    {
      tag: "form",
      name: "f",
      elements: [{ tag: "input", name: "note", required: true }, { tag: "date_picker", name: "day" }, submit],
    },
    { tag: "picker_time", behaviors: [{ type: "callback", value: { order: 17 } }] },
    { tag: "input", placeholder: plain("Why") },
  ];
  const messageId = await send({ schema: "2.0", body: { elements } });
  const choose = (number: number, ...typed: string[]) => conversation.choose({ messageId, version: 1, number, typed });
  assert.throws(() => choose(1, "", "2026-12-01"), /note is required/);
  assert.throws(() => choose(1, "x", "soon"), /day is a date, like/);
  choose(1, "late", "2026-12-01");
  choose(1, "late");
  choose(2, "07:05");
  choose(3, "because");
  await settled();
  assert.deepEqual(
    pushed.map((message) => eventOf(message).action),
    [
      {
        ...{ tag: "button", name: "go", timezone: "Asia/Shanghai" },
        form_value: { note: "late", day: "2026-12-01 +0800" },
      },
      { tag: "button", name: "go", timezone: "Asia/Shanghai", form_value: { note: "late" } },
      { tag: "picker_time", value: { order: 17 }, timezone: "Asia/Shanghai", option: "07:05 +0800" },
      { tag: "input", input_value: "because" },
    ],
  );
});

test("two users write in the group, and what a user sends and does is pushed as its event", async (t) => {
  const { conversation, pushed, eventOf, send, api, call, entries } = setUp(t);
  const messageId = await send(card("Release"));
  const doubtful = await send({ schema: "2.0", config: { wide_screen_mode: true }, body: { elements: [] } });
  assert.deepEqual(
    entries("said").map((entry) => "message" in entry && [entry.message.messageId, entry.message.warnings?.length]),
    [
      [messageId, undefined],
      [doubtful, 1],
    ],
  );
  conversation.say("hello", "group", "tomas");
  conversation.act({ does: "post", chat: "group", text: "Shift | one | two" }, "mei");
  conversation.act({ does: "image", chat: "p2p", name: "a.png", bytes: Buffer.from("the image") }, "tomas");
  conversation.act({ does: "file", chat: "group", name: "a.pdf", bytes: Buffer.from("the file") }, "mei");
  conversation.act({ does: "thread", messageId, text: "why?" }, "mei");
  conversation.act({ does: "react", messageId, emoji: "THUMBSUP" }, "mei");
  conversation.act({ does: "menu", key: "report" }, "tomas");
  conversation.act({ does: "enter" }, "tomas");
  await settled();
  const events = pushed.map((message) => eventOf(message));
  const [hello, post, image, file, thread, reaction, menu, enter] = events;
  assert.deepEqual(
    pushed.map(({ type }) => type),
    [
      ...Array.from({ length: 5 }, () => "im.message.receive_v1"),
      ...["im.message.reaction.created_v1", "application.bot.menu_v6"],
      "im.chat.access_event.bot_p2p_chat_entered_v1",
    ],
  );
  assert.deepEqual([hello.sender.sender_id, hello.message.chat_id], [tomas, groupChat]);
  assert.deepEqual(JSON.parse(post.message.content), {
    title: "Shift",
    content: [
      [
        { tag: "at", user_id: "@_user_1", user_name: "Larkpost", style: [] },
        { tag: "text", text: " one", style: [] },
      ],
      [{ tag: "text", text: "two", style: [] }],
    ],
  });
  assert.deepEqual([post.message.message_type, post.message.mentions.length], ["post", 1]);
  assert.deepEqual(
    [image.message.message_type, image.message.chat_type, image.message.mentions],
    ["image", "p2p", undefined],
  );
  const path = `/im/v1/messages/${image.message.message_id}`;
  assert.equal((await call("GET", path, {})).data.items[0].body.content, image.message.content);
  const { file_key: key, file_name: name } = JSON.parse(file.message.content);
  assert.deepEqual([name, typeof key], ["a.pdf", "string"]);
  const { root_id, parent_id, thread_id, chat_id } = thread.message;
  assert.deepEqual(
    [root_id, parent_id, thread_id, chat_id],
    [messageId, messageId, `omt_${messageId.slice(3)}`, meisChat],
  );
  assert.deepEqual(
    [reaction.message_id, reaction.reaction_type.emoji_type, reaction.user_id],
    [messageId, "THUMBSUP", mei],
  );
  assert.deepEqual(
    api.reactions(messageId).map(({ emoji }) => emoji),
    ["THUMBSUP"],
  );
  assert.deepEqual([menu.event_key, menu.operator], ["report", { operator_name: "Tomas Reyes", operator_id: tomas }]);
  assert.deepEqual(enter.operator_id, tomas);
  assert.notEqual(enter.chat_id, meisChat);

  const refused: [act: () => void, says: RegExp][] = [
    [() => conversation.act({ does: "react", messageId, emoji: "NO_SUCH" }, "mei"), /./],
    [() => conversation.act({ does: "react", messageId: "om_0", emoji: "OK" }, "mei"), /no such message/],
    [() => conversation.act({ does: "thread", messageId: "om_0", text: "x" }, "mei"), /no such message/],
    [() => conversation.choose({ messageId, version: 1, number: 1, as: "tomas" }), /tomas is not in that chat/],
  ];
  for (const [act, says] of refused) {
    assert.throws(act, (error) => error instanceof RefusedAction && says.test(error.message));
  }
});

test("a choice is made only on the card as it was shown", async (t) => {
  const { conversation, send, call, pushed } = setUp(t);
  const messageId = await send(card("Release"));
  const refuses = (on: object, says: RegExp) =>
    assert.throws(
      () => conversation.choose({ messageId, version: 1, number: 1, ...on }),
      (error) => error instanceof RefusedAction && says.test(error.message),
    );
  refuses({ number: 2 }, /has no \[2\]/);
  refuses({ number: 0 }, /has no/);
  refuses({ messageId: "om_x" }, /no such card/);
  await call("PATCH", `/im/v1/messages/${messageId}`, { content: JSON.stringify(card("Destroy")) });
  refuses({}, /has changed/);
  await call("DELETE", `/im/v1/messages/${messageId}`, {});
  refuses({ version: 3 }, /is recalled/);
  await settled();
  assert.deepEqual(pushed, []);
});

test("the end of what was said, and of what a callback put off, is told once it is final", async (t) => {
  const { conversation, send, entries } = setUp(t);
  const id = conversation.say("hello", "p2p");
  const type = "im.message.receive_v1";
  for (const stage of ["started", "failed", "handled", "duplicate", "handled"]) {
    conversation.onStage(stage, id, type, stage === "failed" ? "Error: no" : undefined);
  }
  conversation.onStage("handled", "somebody else's", type);
  const messageId = await send(card("Release"));
  const callback = conversation.choose({ messageId, version: 1, number: 1 });
  conversation.onStage("deferred", callback, "card.action.trigger");
  conversation.onStage("handled", callback, "card.action.trigger");
  await settled();
  conversation.onStage("handled", `${callback}#deferred`, "card.action.trigger");
  assert.deepEqual(
    entries("ended").map((entry) => entry.what === "ended" && [entry.id, entry.stage, entry.reason]),
    [
      [id, "failed", "Error: no"],
      [id, "handled", null],
      [`${callback}#deferred`, "handled", null],
    ],
  );
  const [answer] = entries("answered");
  assert.equal(answer?.what === "answered" && answer.deferred, `${callback}#deferred`);
});

test("what cannot be said is refused in words, and nothing is pushed", async (t) => {
  const { conversation, pushed } = setUp(t);
  assert.throws(() => conversation.say("", "p2p"), RefusedAction);
  assert.throws(() => conversation.say("x".repeat(200_000), "p2p"), /reaches its limit/);
  await settled();
  assert.deepEqual(pushed, []);
});

const handlers: readonly [stages: readonly string[], trouble: string | null][] = [
  [["started", "handled"], null],
  [["failed", "started", "handled", "failed"], null],
  [["started", "failed"], "failed"],
  [["started", "late", "failed"], "late"],
  [["unhandled"], "unhandled"],
  [[], null],
];
for (const [stages, trouble] of handlers) {
  test(`a click's answer tells of its handler: ${stages.join(", ") || "nothing"}`, async (t) => {
    const { conversation, send, entries } = setUp(t);
    const id = conversation.choose({ messageId: await send(card("Release")), version: 1, number: 1 });
    for (const stage of stages) conversation.onStage(stage, id, "card.action.trigger");
    await settled();
    const [answer] = entries("answered");
    assert.equal(answer?.what === "answered" && answer.trouble, trouble);
  });
}

test("a conversation keeps its last thousand facts, and gives those after a number", () => {
  const { record, after } = createJournal();
  const numbers = (n: number) => after(n).map((entry) => entry.n);
  for (let n = 1; n <= 1_000; n++) record({ what: "undelivered", id: "e", problem: "x", againMs: null });
  assert.equal(numbers(0)[0], 1);
  record({ what: "undelivered", id: "e", problem: "x", againMs: null });
  assert.deepEqual([numbers(0)[0], numbers(0).length, numbers(1_000)], [2, 1_000, [1_001]]);
});
