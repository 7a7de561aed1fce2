import assert from "node:assert/strict";
import { test } from "node:test";
import { groupChat, mei } from "../../../lib/simulator/samples/facts.ts";
import {
  card,
  kilobytes,
  marketplace,
  meisChat,
  selfBuilt,
  startWithToken,
  text,
  toChat,
} from "../../support/open-api.ts";

const hour = 3_600_000;

const refusals = [
  { when: "the kind of receiver is unknown", query: "phone", body: {}, code: 230001 },
  { when: "there is no receiver", query: "chat_id", body: { receive_id: undefined }, code: 230001 },
  { when: "the receiver is of another kind", query: "open_id", body: {}, code: 230034 },
  { when: "the chat's id is none", query: "chat_id", body: { receive_id: "../x" }, code: 230034 },
  { when: "the type is unknown", query: "chat_id", body: { msg_type: "toString" }, code: 230001 },
  { when: "the content is an object", query: "chat_id", body: { content: { text: "x" } }, code: 230001 },
  { when: "the content is not JSON", query: "chat_id", body: { content: "hello" }, code: 230001 },
  { when: "the content is of another type", query: "chat_id", body: { content: '{"image_key":"i"}' }, code: 230001 },
  {
    when: "the content nests without end",
    query: "chat_id",
    body: { content: `{"text":"x","a":${"[".repeat(99)}${"]".repeat(99)}}` },
    code: 230001,
  },
  { when: "a text is over 150 KB", query: "chat_id", body: text(kilobytes(150)), code: 230025 },
  { when: "a post has no language", query: "chat_id", body: { msg_type: "post", content: "{}" }, code: 230001 },
  { when: "a post has no lines", query: "chat_id", body: { msg_type: "post", content: '{"zh_cn":{}}' }, code: 230001 },
  {
    when: "a card is over 30 KB",
    query: "chat_id",
    body: { msg_type: "interactive", content: card(kilobytes(15)) },
    code: 230025,
  },
];
test("takes a text of 150 KB and a card of 30 KB, and nothing longer", async (t) => {
  const { call } = await startWithToken(t);
  for (const [msg_type, make, limit] of [
    ["text", (words: string) => text(words).content, 150 * 1_024],
    ["interactive", card, 30 * 1_024],
  ] as const) {
    for (const [more, code] of [
      [0, 0],
      [1, 230025],
    ] as const) {
      const content = make("x").padEnd(limit + more);
      assert.equal((await call("POST", toChat, { receive_id: groupChat, msg_type, content })).body.code, code);
    }
  }
});

for (const { when, query, body, code } of refusals) {
  test(`refuses a message with code ${code} when ${when}, and keeps none`, async (t) => {
    const { call, simulator } = await startWithToken(t);
    const whole = { receive_id: groupChat, ...text("x"), ...body };
    const answer = await call("POST", `im/v1/messages?receive_id_type=${query}`, whole);
    assert.deepEqual([answer.status, answer.body.code], [400, code]);
    assert.equal(typeof answer.body.msg, "string");
    assert.deepEqual(simulator.messages(), []);
  });
}

const button = { tag: "button", name: "b", text: { tag: "plain_text", content: "Send" } };
const submit = { ...button, form_action_type: "submit" };
const field = { tag: "input", name: "note" };
const version2 = (...elements: unknown[]) => ({ schema: "2.0", body: { elements } });
const form = (...elements: unknown[]) => ({ tag: "form", name: "f", elements });
const inColumn = (element: object) => ({ tag: "column_set", columns: [{ tag: "column", elements: [element] }] });
const badJson = /ErrMsg: parse card json err, please check whether the card json is correct/;

const badCards: { when: string; card: object; errCode: number; path: string; says: RegExp }[] = [
  {
    when: "version 2.0 no longer has the component",
    card: version2({ tag: "hr" }, { tag: "note", elements: [] }),
    ...{ errCode: 200861, path: "body -> elements -> [1](tag: note)" },
    says: /ErrMsg: cards of schema V2 no longer support this capability; ErrorValue: unsupported tag note; $/,
  },
  {
    when: "the component is in a column",
    card: version2(inColumn({ tag: "action", actions: [] })),
    errCode: 200861,
    path: "body -> elements -> [0](tag: column_set) -> columns -> [0](tag: column) -> elements -> [0](tag: action)",
    says: /unsupported tag action/,
  },
  {
    when: "no version has the component",
    card: { elements: [{ tag: "divider" }] },
    ...{ errCode: 200621, path: "elements -> [0](tag: divider)", says: /not support tag: divider/ },
  },
  {
    when: "an element has no tag",
    card: version2({ content: "x" }),
    ...{ errCode: 200621, path: "body -> elements -> [0]", says: badJson },
  },
  {
    when: "the elements are in the place of version 1.0",
    card: { schema: "2.0", elements: [] },
    ...{ errCode: 200621, path: "", says: /unknown property, property: elements, path: ROOT/ },
  },
  {
    when: "version 2.0 lacks the member",
    card: version2({ ...field, multiline: true }),
    ...{ errCode: 200621, path: "body -> elements -> [0](tag: input)", says: /property: multiline/ },
  },
  {
    when: "a text lacks the member",
    card: version2({ tag: "div", text: { tag: "plain_text", content: "x", text_weight: "bold" } }),
    ...{ errCode: 200621, path: "body -> elements -> [0](tag: div) -> text(tag: plain_text)", says: /text_weight/ },
  },
  {
    when: "the header lacks the member",
    card: { ...version2(), header: { tag: "plain_text", content: "x" } },
    ...{ errCode: 200621, path: "header", says: /property: tag/ },
  },
  {
    when: "the header is none",
    card: { header: "Order 17", elements: [] },
    ...{ errCode: 200621, path: "header", says: badJson },
  },
  { when: "the version is none", card: { schema: "3.0" }, errCode: 200621, path: "", says: /1.0 nor 2.0/ },
  {
    when: "a form is in a column",
    card: version2(inColumn(form(submit))),
    errCode: 200621,
    path: "body -> elements -> [0](tag: column_set) -> columns -> [0](tag: column) -> elements -> [0](tag: form)",
    says: /type of element is not supported; ErrorValue: tag: form/,
  },
  {
    when: "a form has no name",
    card: version2({ tag: "form", elements: [submit] }),
    ...{ errCode: 11310, path: "body -> elements -> [0](tag: form)", says: /form's name is required/ },
  },
  {
    when: "a form has no submit button",
    card: version2(form(field, button)),
    ...{ errCode: 300123, path: "body -> elements -> [0](tag: form)", says: /there is no submit button/ },
  },
  {
    when: "a field has no name",
    card: { elements: [form({ tag: "date_picker" }, submit)] },
    ...{ errCode: 200530, path: "elements -> [0](tag: form) -> elements -> [0](tag: date_picker)", says: /a name/ },
  },
  {
    when: "two fields have one name",
    card: version2(form(field, submit), { ...form({ ...submit, name: "b2" }, field), name: "g" }),
    ...{ errCode: 200530, path: "body -> elements -> [1](tag: form) -> elements -> [1](tag: input)", says: /note/ },
  },
  {
    when: "two elements have one element_id",
    card: version2({ tag: "hr", element_id: "a" }, { ...button, text: { ...button.text, element_id: "a" } }),
    ...{ errCode: 300301, path: "body -> elements -> [1](tag: button) -> text(tag: plain_text)", says: /Duplicate/ },
  },
  ...["footer-sep", "1st", "a23456789012345678901", ""].map((element_id) => ({
    when: `an element_id is "${element_id}"`,
    card: version2({ tag: "hr", element_id }),
    ...{ errCode: 300301, path: "body -> elements -> [0](tag: hr)", says: /elementID format error/ },
  })),
  {
    when: "version 2.0 has over 200 elements",
    card: version2(...Array.from({ length: 201 }, () => ({ tag: "hr" }))),
    ...{ errCode: 11310, path: "", says: /element exceeds the limit/ },
  },
  {
    when: "there are six tables",
    card: version2(...Array.from({ length: 6 }, () => ({ tag: "table", columns: [{ name: "a" }], rows: [] }))),
    ...{ errCode: 11310, path: "body -> elements -> [5](tag: table)", says: /card table number over limit/ },
  },
  {
    when: "an image is an address",
    card: version2({ tag: "img", img_key: "https://example.com/a.png" }),
    ...{ errCode: 200570, path: "body -> elements -> [0](tag: img)", says: /image key https:/ },
  },
  {
    when: "an image of a text was never uploaded",
    card: version2({ tag: "markdown", content: "![a](img_v3_1)" }),
    ...{ errCode: 200570, path: "body -> elements -> [0](tag: markdown)", says: /image key img_v3_1/ },
  },
  {
    when: "there is no such template",
    card: { type: "template", data: { template_id: "AAq2" } },
    ...{ errCode: 200380, path: "data", says: /template does not exist.*templateID: AAq2/ },
  },
  {
    when: "a template's variable has another type",
    card: { type: "template", data: { template_id: "AAq1", template_variable: { order: "17" } } },
    ...{ errCode: 200732, path: "data", says: /varName: order, expectType: number, actualType: string/ },
  },
];
test("refuses a card as the platform does: with the code, the place and the words of the first fault", async (t) => {
  const { call, simulator } = await startWithToken(t, { isStrict: true });
  simulator.addTemplate("AAq1", { variables: { order: "number" } });
  for (const { when, card, errCode, path, says } of badCards) {
    const content = JSON.stringify(card);
    const answer = await call("POST", toChat, { receive_id: groupChat, msg_type: "interactive", content });
    const { code, msg } = answer.body;
    const place = path === "" ? "ROOT" : `ROOT -> ${path}`;
    assert.deepEqual([answer.status, code], [400, 230099], when);
    const start = `Failed to create card content, ext=ErrCode: ${errCode}; ErrPath: ${place}; ErrMsg: `;
    assert.equal(msg.slice(0, start.length), start, when);
    assert.match(msg, says, when);
  }
  assert.deepEqual(simulator.messages(), []);

  for (const [what, card] of [
    ["an empty card", {}],
    ["a member that version 1.0 ignores", { elements: [{ ...field, multiline: true }] }],
    ["an older member of config", { ...version2(), config: { wide_screen_mode: true } }],
    ["whatever a button's value holds", version2({ ...button, value: { tag: "note" } })],
    ["translated texts", version2({ tag: "markdown", content: "x", i18n_content: { zh_cn: "x" } })],
    ["a form with its fields in columns", version2(form(inColumn(field), inColumn(submit)))],
    [
      "a template with its variable",
      { type: "template", data: { template_id: "AAq1", template_variable: { order: 17 } } },
    ],
  ] as const) {
    const content = JSON.stringify(card);
    const body = { receive_id: groupChat, msg_type: "interactive", content };
    assert.equal((await call("POST", toChat, body)).body.code, 0, what);
  }
});

test("takes every type of message, and text and cards up to their limits", async (t) => {
  const { call } = await startWithToken(t);
  const contents = [
    ["text", { text: kilobytes(149) }],
    ["post", { zh_cn: { title: "t", content: [[{ tag: "text", text: "x" }], []] } }],
    ["post", { zh_cn: { content: [] }, en_us: { content: [] } }],
    ["image", { image_key: "img_v3_1" }],
    ["file", { file_key: "file_v3_1" }],
    ["audio", { file_key: "file_v3_1" }],
    ["media", { file_key: "file_v3_1", image_key: "img_v3_1" }],
    ["sticker", { file_key: "file_v3_1" }],
    ["share_chat", { chat_id: groupChat }],
    ["share_user", { user_id: mei.open_id }],
    ["system", { type: "divider" }],
    ["interactive", { schema: "2.0", body: { elements: [{ tag: "markdown", content: kilobytes(29) }] } }],
    ["interactive", { type: "template", data: { template_id: "AAq1" } }],
    ["interactive", { type: "card", data: { card_id: "7371713483664506900" } }],
    ["interactive", { i18n_elements: { zh_cn: [] } }],
  ] as const;
  for (const [msg_type, content] of contents) {
    const body = { receive_id: groupChat, msg_type, content: JSON.stringify(content) };
    const answer = (await call("POST", toChat, body)).body;
    assert.deepEqual([answer.code, answer.data.msg_type], [0, msg_type], answer.msg);
  }
});

test("each kind of receiver leads to the chat with that user, the one that sampled events name", async (t) => {
  const { call, simulator } = await startWithToken(t);
  const email = "mei.okafor@warehouse.example";
  for (const [type, id] of [...Object.entries(mei), ["email", email], ["chat_id", meisChat]]) {
    const answer = (await call("POST", `im/v1/messages?receive_id_type=${type}`, { receive_id: id, ...text("x") }))
      .body;
    assert.equal(answer.data?.chat_id, meisChat, `${type}: ${answer.msg}`);
  }
  assert.equal(simulator.messages(meisChat).length, 5);
  assert.deepEqual(
    simulator.world.chats().filter(({ kind, bots }) => kind === "p2p" && bots.has(selfBuilt.appId)).length,
    2,
  );
});

test("a thread is kept by its replies, and can be forwarded to", async (t) => {
  const { call } = await startWithToken(t);
  const root = (await call("POST", toChat, { receive_id: groupChat, ...text("x") })).body.data.message_id;
  const reply = async (parent: string, extra: object) =>
    (await call("POST", `im/v1/messages/${parent}/reply`, { ...text("re"), ...extra })).body.data;
  const first = await reply(root, { reply_in_thread: true });
  assert.match(first.thread_id, /^omt_/);
  const second = await reply(first.message_id, {});
  assert.deepEqual([second.thread_id, second.root_id, second.parent_id], [first.thread_id, root, first.message_id]);
  const forward = `im/v1/messages/${root}/forward?receive_id_type=thread_id`;
  assert.equal((await call("POST", forward, { receive_id: first.thread_id })).body.data.thread_id, first.thread_id);
  assert.equal((await call("POST", forward, { receive_id: "omt_none" })).body.code, 230019);
});

test("a message can be changed by its sender only, and not once it is recalled", async (t) => {
  const other = { ...selfBuilt, appId: "cli_00000000000000c3" };
  const { call, send, tenantToken, clock, simulator } = await startWithToken(t, { apps: [selfBuilt, other] });
  const create = async (body: object) =>
    (await call("POST", toChat, { receive_id: groupChat, ...body })).body.data.message_id;
  const words = `im/v1/messages/${await create(text("x"))}`;
  const shown = `im/v1/messages/${await create({ msg_type: "interactive", content: card("x") })}`;
  const code = async (method: string, path: string, body?: unknown) => (await call(method, path, body)).body.code;

  const theirs = await tenantToken(other);
  assert.equal((await send("PUT", words, text("y"), theirs)).body.code, 230071);
  assert.equal((await send("PATCH", shown, { content: card("y") }, theirs)).body.code, 230027);
  assert.equal((await send("DELETE", words, undefined, theirs)).body.code, 230026);
  assert.equal(await code("PATCH", words, { content: card("y") }), 230001);
  assert.equal(await code("PUT", shown, text("y")), 230054);
  assert.equal(await code("PUT", words, { msg_type: "interactive", content: card("y") }), 230001);
  assert.equal(await code("PATCH", shown, { content: card("y").replace("true", "false") }), 230001);
  assert.equal(await code("PATCH", shown, { content: card(kilobytes(15)) }), 230025);
  const single = `im/v1/messages/${await create({ msg_type: "interactive", content: '{"elements":[]}' })}`;
  assert.equal(await code("PATCH", single, { content: card("y") }), 230001);

  for (let i = 0; i < 20; i++) assert.equal(await code("PUT", words, text(`${i}`)), 0);
  assert.equal(await code("PUT", words, text("21st")), 230072);

  await clock.advance(14 * 24 * hour);
  simulator.revokeTokens();
  const fresh = await tenantToken();
  assert.equal((await send("PATCH", shown, { content: card("z") }, fresh)).body.code, 0);
  await clock.advance(1);
  assert.equal((await send("PATCH", shown, { content: card("z") }, fresh)).body.code, 230031);
  assert.equal((await send("DELETE", words, undefined, fresh)).body.code, 0);
  for (const [method, path, body, expected] of [
    ["DELETE", words, undefined, 230110],
    ["PUT", words, text("y"), 230011],
    ["POST", `${words}/reply`, text("y"), 230011],
    ["POST", `${words}/forward?receive_id_type=chat_id`, { receive_id: groupChat }, 230065],
  ] as const) {
    assert.equal((await send(method, path, body, fresh)).body.code, expected);
  }
});

test("what is in a chat is closed to a bot that is not", async (t) => {
  const { call, simulator } = await startWithToken(t);
  const { data } = (await call("POST", toChat, { receive_id: groupChat, ...text("x") })).body;
  simulator.world.removeBot(groupChat, selfBuilt.appId);
  for (const [method, path, body] of [
    ["GET", "", undefined],
    ["PUT", "", text("y")],
    ["DELETE", "", undefined],
    ["POST", "/reply", text("y")],
    ["POST", "/forward?receive_id_type=open_id", { receive_id: mei.open_id }],
  ] as const) {
    assert.equal(
      (await call(method, `im/v1/messages/${data.message_id}${path}`, body)).body.code,
      230002,
      method + path,
    );
  }
  assert.equal(simulator.messages().length, 1);
});

test("a card callback's token works after the answer, twice, for half an hour", async (t) => {
  const { call, clock, simulator } = await startWithToken(t);
  const body = { receive_id: groupChat, msg_type: "interactive", content: card("x") };
  const messageId = (await call("POST", toChat, body)).body.data.message_id;
  const update = async (token: unknown, content: unknown = JSON.parse(card("y"))) =>
    (await call("POST", "interactive/v1/card/update", { token, card: content })).body.code;

  simulator.registerCardToken({ token: "c-1", messageId });
  assert.equal(await update("c-1"), 10002);
  assert.equal(simulator.message(messageId)?.history.length, 1);
  simulator.callbackAnswered("c-1");
  assert.equal(await update("c-1", { elements: [] }), 300090);
  assert.equal(await update("c-1", { elements: [], open_ids: [7] }), 200320);
  assert.equal(await update("c-1", { elements: [], open_ids: [mei.open_id] }), 0);
  assert.equal(await update("c-1"), 0);
  assert.equal(await update("c-1"), 300040);
  assert.equal(simulator.message(messageId)?.history.length, 3);
  assert.doesNotMatch(simulator.message(messageId)?.history[1]?.content ?? "", /open_ids/);

  simulator.registerCardToken({ token: "c-2", messageId, atMs: clock.nowMs() - hour / 2 + 1 });
  simulator.callbackAnswered("c-2");
  assert.equal(await update("c-2"), 0);
  await clock.advance(1);
  assert.equal(await update("c-2"), 300030);

  for (const token of ["1", "c-1 x", "x c-1", undefined]) assert.equal(await update(token), 300020);
  assert.equal(await update("c-3"), 0, "nobody registered it: it may come from elsewhere");
  assert.equal(await update("c-3", "a card"), 10002);
  assert.equal(await update("c-3", { schema: "2.0", body: { elements: [{ tag: "note" }] } }), 11311);
  assert.equal(await update("c-3", JSON.parse(card(kilobytes(15)))), 100000);
  const longest = JSON.parse(card(""));
  longest.elements[0].text.content = "x".repeat(30 * 1_024 - card("").length);
  assert.equal(await update("c-3", longest), 0);
  assert.equal((await call("POST", "interactive/v1/card/update", "[]")).body.code, 100030);

  await call("DELETE", `im/v1/messages/${messageId}`);
  simulator.registerCardToken({ token: "c-4", messageId });
  simulator.callbackAnswered("c-4");
  assert.equal(await update("c-4"), 200000);
});

test("a callback's token is of no use to another app", async (t) => {
  const other = { ...selfBuilt, appId: "cli_00000000000000c3" };
  const { call, send, tenantToken, simulator } = await startWithToken(t, { apps: [selfBuilt, other] });
  const body = { receive_id: groupChat, msg_type: "interactive", content: card("x") };
  const messageId = (await call("POST", toChat, body)).body.data.message_id;
  simulator.registerCardToken({ token: "c-1", messageId });
  simulator.callbackAnswered("c-1");
  const update = { token: "c-1", card: JSON.parse(card("y")) };
  const theirs = await tenantToken(other);
  assert.equal((await send("POST", "interactive/v1/card/update", update, theirs)).body.code, 200310);
});

test("each bot has a chat of its own with a user", async (t) => {
  const other = { ...selfBuilt, appId: "cli_00000000000000c3" };
  const { call, send, tenantToken } = await startWithToken(t, { apps: [selfBuilt, other, marketplace] });
  const toMei = ["POST", "im/v1/messages?receive_id_type=open_id", { receive_id: mei.open_id, ...text("x") }] as const;
  const theirs = (await send(...toMei, await tenantToken(other))).body.data.chat_id;
  assert.notEqual(theirs, (await call(...toMei)).body.data.chat_id);
  assert.equal((await call("POST", toChat, { receive_id: theirs, ...text("x") })).body.code, 230002);
});

test("reactions are added, listed page by page and removed, each by whoever added it", async (t) => {
  const other = { ...selfBuilt, appId: "cli_00000000000000c3" };
  const { call, send, tenantToken, simulator, clock } = await startWithToken(t, { apps: [selfBuilt, other] });
  const theirs = await tenantToken(other);
  const activities: unknown[] = [];
  simulator.onActivity((activity) => activities.push(activity));
  const create = async () =>
    (await call("POST", toChat, { receive_id: groupChat, ...text("x") })).body.data.message_id as string;
  const [first, second] = [await create(), await create()];
  const path = (messageId: string, rest = "") => `im/v1/messages/${messageId}/reactions${rest}`;
  const react = async (messageId: string, emoji_type: unknown) =>
    (await call("POST", path(messageId), { reaction_type: { emoji_type } })).body;

  const added = (await react(first, "THUMBSUP")).data;
  assert.deepEqual(added, {
    reaction_id: simulator.reactions(first)[0]?.reactionId,
    operator: { operator_id: selfBuilt.appId, operator_type: "app" },
    action_time: String(clock.nowMs()),
    reaction_type: { emoji_type: "THUMBSUP" },
  });
  assert.equal((await react(first, "THUMBSUP")).data.reaction_id, added.reaction_id, "each emoji counts once");
  await react(first, "OK");
  const theirOk = (await send("POST", path(first), { reaction_type: { emoji_type: "OK" } }, theirs)).body.data;

  const pageOne = (await call("GET", path(first, "?page_size=2"))).body.data;
  assert.deepEqual([pageOne.items.length, pageOne.has_more], [2, true]);
  const pageTwo = (await call("GET", path(first, `?page_size=2&page_token=${pageOne.page_token}`))).body.data;
  assert.deepEqual(pageTwo, { items: [theirOk], has_more: false });
  const oks = (await call("GET", path(first, "?reaction_type=OK&user_id_type=union_id"))).body.data;
  assert.equal(oks.items.length, 2);

  for (const [what, code] of [
    [["POST", path(first), { reaction_type: { emoji_type: "thumbsup" } }], 231001],
    [["POST", path(first), {}], 231001],
    [["POST", path("om_"), { reaction_type: { emoji_type: "OK" } }], 231003],
    [["GET", path(first, "?reaction_type=thumbsup")], 231001],
    [["GET", path(first, "?page_token=page_4")], 231012],
    [["GET", path(first, "?page_size=0")], 231012],
    [["GET", path(first, "?user_id_type=email")], 231014],
    [["DELETE", path(first, `/${theirOk.reaction_id}`)], 231007],
    [["DELETE", path(second, `/${added.reaction_id}`)], 231010],
    [["DELETE", path(first, "/none")], 231011],
  ] as const) {
    const [method, to, body] = what;
    assert.equal((await call(method, to, body)).body.code, code, `${method} ${to}`);
  }
  assert.deepEqual((await call("DELETE", path(first, `/${added.reaction_id}`))).body.data, added);
  assert.deepEqual(
    simulator.reactions().map(({ emoji, operator }) => [emoji, operator.id]),
    [
      ["OK", selfBuilt.appId],
      ["OK", other.appId],
    ],
  );
  assert.deepEqual(activities.at(-1), { what: "unreacted", about: "THUMBSUP", chatId: groupChat });

  simulator.world.removeBot(groupChat, selfBuilt.appId);
  assert.equal((await react(first, "OK")).code, 231002);
  assert.equal((await call("GET", path(first))).body.code, 231008);
  simulator.world.addBot(groupChat, selfBuilt.appId);
  await call("DELETE", `im/v1/messages/${first}`);
  assert.equal((await react(first, "OK")).code, 231003, "it is recalled");
});
