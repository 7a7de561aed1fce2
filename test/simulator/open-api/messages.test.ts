import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import fc from "fast-check";
import { checkCard } from "../../../lib/feishu/card.ts";
import type { OpenApiOptions } from "../../../lib/simulator/open-api/open-api.ts";
import { bot, defaultTenant, groupChat, mei, tomas } from "../../../lib/simulator/samples/facts.ts";
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
    when: "an element_id is an object",
    card: version2({ tag: "hr", element_id: { toString: "a" } }),
    ...{ errCode: 300301, path: "body -> elements -> [0](tag: hr)", says: /ElementID \{"toString":"a"\}/ },
  },
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
  simulator.setTemplates({ AAq1: { variables: { order: "number" } } });
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

const nested = (depth: number): object =>
  depth === 0 ? { tag: "hr" } : { tag: "interactive_container", elements: [nested(depth - 1)] };
const tables = (count: number) => ({ tag: "markdown", content: "| a |\n| - |\n| 1 |\n\n".repeat(count) });
const doubtful: readonly [when: string, card: object, warning: RegExp][] = [
  [
    "an older member of config",
    { schema: "2.0", config: { wide_screen_mode: true } },
    /^ROOT -> config: version 2.0 has no wide_screen_mode/,
  ],
  ["an older member of the card", { schema: "2.0", fallback: {} }, /^ROOT: version 2.0 has no fallback/],
  ["a card of version 2.0 for one person", { schema: "2.0", config: { update_multi: false } }, /is shared/],
  ["a body without its version", { body: {} }, /^ROOT -> body: .*ignores body/],
  ["a member of version 1.0 only", version2({ tag: "div", extra: button }), /\(tag: div\): div has extra in version 1/],
  ["a component of version 2.0 only", { elements: [{ tag: "audio" }] }, /audio is for version 2.0/],
  ["a text in the place of a component", version2({ tag: "plain_text", content: "x" }), /is a part of a component/],
  ["a multiple choice outside of a form", version2({ tag: "multi_select_static" }), /is for forms/],
  ["a submit button outside of a form", version2(submit), /form_action_type is for a button in a form/],
  [
    "what a container of 1.0 may not hold",
    { elements: [{ tag: "interactive_container", elements: [{ tag: "hr" }] }] },
    /interactive_container of version 1.0 cannot hold hr/,
  ],
  [
    "what a form of 1.0 may not hold",
    { elements: [form({ tag: "div" }, submit)] },
    /form of version 1.0 cannot hold div/,
  ],
  ["six levels in a component", version2(nested(6)), /5 levels/],
  ["six tables in markdown", version2(tables(6)), /more than 5 tables/],
  [
    "a variable in a text",
    version2({ tag: "markdown", content: `Order ${"$"}{order}` }),
    /\{order\} is shown as it is/,
  ],
];
test("warns of what is uncertain about a card that is taken, and where it is", () => {
  for (const [when, card, warning] of doubtful) {
    const { faults, warnings } = checkCard(card);
    assert.deepEqual([faults, warnings.length], [[], 1], when);
    assert.match(`${warnings[0]?.path}: ${warnings[0]?.message}`, warning, when);
  }
  for (const card of [
    version2(nested(5)),
    version2(tables(5)),
    { elements: [form(inColumn({ tag: "div" }), submit)] },
  ]) {
    assert.deepEqual(checkCard(card), { faults: [], warnings: [] });
  }
  const template = () => ({ variables: { order: "number" } }) as const;
  const data = { template_id: "AAq1", template_variable: { n: 1 } };
  assert.deepEqual(
    checkCard({ type: "template", data }, { template }).warnings.map(({ message }) => message),
    ["the template's variable order has no value", "the template has no variable n"],
  );
});

test("checks whatever a card is, without an end or an exception", () => {
  const cycle: Record<string, unknown> = {};
  cycle["a"] = cycle;
  const deep = JSON.parse(`${'{"elements":['.repeat(500)}${"]}".repeat(500)}`);
  for (const card of [undefined, null, 1, "x", [], 1n, cycle, deep]) {
    assert.deepEqual(
      checkCard(card).faults.map(({ code, path }) => [code, path]),
      [[200621, "ROOT"]],
    );
  }
  const names = ["tag", "elements", "columns", "body", "text", "name", "content", "toString", "element_id", "data"];
  const tags = ["form", "column_set", "column", "button", "note", "markdown", "constructor", "img", "table"];
  const anything = fc.letrec((tie) => ({
    node: fc.oneof(
      { maxDepth: 6 },
      fc.constantFrom<unknown>(...tags, null, 1, true, "", "2.0"),
      fc.array(tie("node"), { maxLength: 3 }),
      fc.dictionary(fc.constantFrom(...names), tie("node"), { maxKeys: 5 }),
    ),
  })).node;
  fc.assert(
    fc.property(anything, fc.constantFrom("1.0", "2.0"), (elements, schema) => {
      const card = { schema, elements, body: { elements: [elements].flat() }, header: elements };
      const { faults, warnings } = checkCard(card);
      assert.ok([...faults, ...warnings].every(({ path }) => path.startsWith("ROOT")));
    }),
    { numRuns: 200 },
  );
  // A model may write such a line, and a callback has 2.3 s.
  const before = process.cpuUsage();
  assert.deepEqual(checkCard(version2({ tag: "markdown", content: `|${"-".repeat(20_000)}x` })).warnings, []);
  const { user } = process.cpuUsage(before);
  assert.ok(user < 1_000_000, `${user} µs`);
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
  for (let i = 0; i < 5; i++) assert.equal(await code("PATCH", shown, { content: card(`${i}`) }), 0);
  assert.equal(await code("PATCH", shown, { content: card("sixth of a second") }), 230020);

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

/** A card entity of version 2.0 with a text, a button and a container. */
const entity = (config: object = {}) => ({
  schema: "2.0",
  config,
  body: {
    elements: [
      { tag: "markdown", element_id: "answer", content: "" },
      { tag: "button", element_id: "stop", text: { tag: "plain_text", element_id: "label", content: "Stop" } },
      { tag: "collapsible_panel", element_id: "panel", elements: [{ tag: "hr", element_id: "line" }] },
    ],
  },
});
const cardkit = "cardkit/v1/cards";

/** An entity, sent to the group, and calls on it with rising sequences. */
async function startEntity(t: TestContext, card: object = entity(), options: Partial<OpenApiOptions> = {}) {
  const started = await startWithToken(t, options);
  const { call, simulator, clock } = started;
  const created = (await call("POST", cardkit, { type: "card_json", data: JSON.stringify(card) })).body;
  assert.equal(created.code, 0, created.msg);
  const cardId: string = created.data.card_id;
  const content = JSON.stringify({ type: "card", data: { card_id: cardId } });
  const reference = { receive_id: groupChat, msg_type: "interactive", content };
  let sequence = 0;
  /** @param body Without a sequence of its own, it gets the next one. Each call comes after a second. */
  const on = async (method: string, path: string, body: object) => {
    await clock.advance(1_000);
    return (await call(method, `${cardkit}/${cardId}${path}`, { sequence: ++sequence, ...body })).body.code;
  };
  const ids = () => JSON.stringify(simulator.card(cardId).card).match(/(?<="element_id":")\w+/g);
  return { ...started, cardId, reference, on, ids };
}

test("a card entity is streamed, changed and read back state by state, and its message shows it", async (t) => {
  const { call, simulator, cardId, reference, on, ids } = await startEntity(t, entity({ streaming_mode: true }));
  assert.match(cardId, /^\d{19}$/);
  const { message_id } = (await call("POST", toChat, reference)).body.data;
  const changes: unknown[] = [];
  simulator.onMessage(({ what, message, streamed }) =>
    changes.push([what, message.messageId === message_id, streamed]),
  );

  assert.equal(await on("PUT", "/elements/answer/content", { content: "Pallet 17" }), 0);
  assert.equal(await on("PUT", "/elements/answer/content", { content: "Pallet 17 is on its way" }), 0);
  assert.equal(await on("PUT", "/elements/label/content", { content: "Halt" }), 0, "a plain text inside an element");
  const elements = JSON.stringify([{ tag: "hr", element_id: "rule" }]);
  assert.equal(await on("POST", "/elements", { type: "insert_after", target_element_id: "answer", elements }), 0);
  assert.equal(
    await on("POST", "/elements", { type: "append", target_element_id: "panel", elements: '[{"tag":"hr"}]' }),
    0,
  );
  assert.deepEqual(ids(), ["answer", "rule", "stop", "label", "panel", "line"]);
  const element = JSON.stringify({ tag: "markdown", content: "done" });
  assert.equal(await on("PUT", "/elements/rule", { element }), 0);
  assert.equal(await on("PATCH", "/elements/rule", { partial_element: '{"element_id":"end"}' }), 0);
  assert.equal(await on("DELETE", "/elements/stop", {}), 0);
  const actions = [
    { action: "delete_elements", params: { element_ids: ["line"] } },
    { action: "add_elements", params: { type: "append", elements: [{ tag: "hr", element_id: "last" }] } },
    { action: "partial_update_element", params: { element_id: "end", partial_element: { content: "all done" } } },
    { action: "update_element", params: { element_id: "last", element: { tag: "markdown", content: "!" } } },
    { action: "partial_update_setting", params: { settings: { config: { streaming_mode: false } } } },
  ];
  assert.equal(await on("POST", "/batch_update", { actions: JSON.stringify(actions) }), 0);
  assert.deepEqual(ids(), ["answer", "end", "panel", "last"]);
  assert.deepEqual(changes.slice(0, 4), [
    ["updated", true, "Pallet 17"],
    ["updated", true, " is on its way"],
    ["updated", true, "Halt"],
    ["updated", true, undefined],
  ]);
  const { history, isStreaming, messageId } = simulator.card(cardId);
  assert.deepEqual([isStreaming, messageId], [false, message_id]);
  assert.deepEqual(
    history().map(({ what, sequence }) => `${what} ${sequence}`),
    [
      ...["created null", "streamed 1", "streamed 2", "streamed 3", "added elements 4", "added elements 5"],
      ...["replaced an element 6", "changed an element 7", "deleted an element 8", "batch 9"],
    ],
  );
  assert.match(JSON.stringify(simulator.card(message_id).history()[2]?.card), /Pallet 17 is on its way/);
  const message = simulator.message(message_id);
  assert.ok(message !== undefined && simulator.shownContent(message).includes("all done"));
  assert.throws(() => simulator.card("7"), RangeError);
});

test("streaming closes ten minutes after it was turned on last; the first call after that is told so", async (t) => {
  const { on, clock, simulator, cardId } = await startEntity(t);
  const stream = () => on("PUT", "/elements/answer/content", { content: `${clock.nowMs()}` });
  const turnOn = () => on("PATCH", "/settings", { settings: JSON.stringify({ config: { streaming_mode: true } }) });
  assert.equal(await stream(), 300309, "it was never on");
  assert.equal(await turnOn(), 0);
  await clock.advance(10 * 60_000 - 1_001);
  assert.equal(await stream(), 0);
  assert.equal(await turnOn(), 0);
  await clock.advance(10 * 60_000 - 1_001);
  assert.equal(await stream(), 0);
  await clock.advance(1);
  assert.equal(await stream(), 200850);
  assert.equal(await stream(), 300309);
  assert.equal(simulator.card(cardId).isStreaming, false);
  assert.equal(
    await on("PATCH", "/elements/answer", { partial_element: '{"content":"x"}' }),
    0,
    "it needs no streaming",
  );
  assert.equal(await turnOn(), 0);
  assert.equal(await stream(), 0);
});

test("an entity is sent once, takes ten operations a second, and lives fourteen days", async (t) => {
  const other = { ...selfBuilt, appId: "cli_00000000000000c3" };
  const { call, send, tenantToken, reference, cardId, on, clock } = await startEntity(t, entity(), {
    apps: [selfBuilt, other],
  });
  const theirs = await tenantToken(other);
  assert.equal((await send("POST", toChat, reference, theirs)).body.code, 230099);
  assert.equal((await call("POST", toChat, { ...reference, uuid: "u-1" })).body.code, 0);
  assert.equal((await call("POST", toChat, { ...reference, uuid: "u-1" })).body.code, 0, "the same message");
  assert.match((await call("POST", toChat, reference)).body.msg, /^Failed to create card content, ext=ErrCode: 11310;/);
  const stranger = { ...reference, content: reference.content.replace(cardId, "7000000000000000000") };
  assert.equal((await call("POST", toChat, stranger)).body.code, 230099);

  const settings = '{"config":{}}';
  const codes: number[] = [];
  let answer = await call("PATCH", `${cardkit}/${cardId}/settings`, { settings, sequence: 1 });
  for (let sequence = 2; sequence <= 11; sequence++) {
    codes.push(answer.body.code);
    answer = await call("PATCH", `${cardkit}/${cardId}/settings`, { settings, sequence });
  }
  assert.deepEqual([codes, answer.status, answer.body.code], [Array(10).fill(0), 429, 99991400]);
  assert.deepEqual(answer.headers.get("x-ogw-ratelimit-reset"), "1");
  assert.equal(await on("PATCH", "/settings", { settings, sequence: 12 }), 0);
  assert.equal(
    (await send("PATCH", `${cardkit}/${cardId}/settings`, { settings, sequence: 13 }, theirs)).body.code,
    300311,
  );
  await clock.advance(14 * 24 * hour);
  const fresh = await tenantToken();
  const late = await send("PATCH", `${cardkit}/${cardId}/settings`, { settings, sequence: 14 }, fresh);
  assert.equal(late.body.code, 200750);
});

test("a card that is sent as it is gets an entity, and no operation while a click on it is answered", async (t) => {
  const { call, simulator } = await startWithToken(t);
  const body = { receive_id: groupChat, msg_type: "interactive", content: JSON.stringify(entity()) };
  const { message_id } = (await call("POST", toChat, body)).body.data;
  const convert = async () => (await call("POST", `${cardkit}/id_convert`, { message_id })).body.data.card_id;
  const cardId = await convert();
  assert.equal(await convert(), cardId);
  const patch = async (sequence: number) =>
    (await call("PATCH", `${cardkit}/${cardId}/elements/answer`, { partial_element: '{"content":"x"}', sequence })).body
      .code;
  assert.equal(await patch(1), 0);
  simulator.registerCardToken({ token: "c-1", messageId: message_id });
  assert.equal(await patch(2), 200810);
  simulator.callbackAnswered("c-1");
  assert.equal(await patch(2), 0);
  assert.match(JSON.stringify(simulator.card(message_id).card), /"content":"x"/);
  const words = (await call("POST", toChat, { receive_id: groupChat, ...text("x") })).body.data.message_id;
  assert.equal((await call("POST", `${cardkit}/id_convert`, { message_id: words })).body.code, 10002);
});

const noElement = "/elements/none";
const wrongOperations: readonly [code: number, method: string, path: string, body: object][] = [
  [10002, "PATCH", "/settings", { settings: "{}", sequence: "1" }],
  [10002, "PATCH", "/settings", { settings: "{}", sequence: 2 ** 31 }],
  [10002, "PATCH", "/settings", { settings: "{}", uuid: "u".repeat(65) }],
  [300317, "PATCH", "/settings", { settings: "{}", sequence: 0 }],
  [200220, "PATCH", "/settings", { settings: "config" }],
  [300122, "PATCH", "/settings", { settings: '{"config":[]}' }],
  [300302, "PATCH", "/settings", { settings: '{"config":{"update_multi":false}}' }],
  [10002, "PUT", "", { card: { type: "template", data: "{}" } }],
  [300307, "PUT", "", { card: { type: "card_json", data: "" } }],
  [300303, "PUT", "", { card: { type: "card_json", data: '{"elements":[]}' } }],
  [200220, "PUT", "", { card: { type: "card_json", data: '{"schema":"2.0","body":{"elements":[{"tag":"note"}]}}' } }],
  [200220, "PUT", "", { card: { type: "card_json", data: `{"schema":"2.0","a":${"[".repeat(99)}${"]".repeat(99)}}` } }],
  [200220, "POST", "/elements", { type: "append", elements: "{}" }],
  [10002, "POST", "/elements", { type: "replace", elements: '[{"tag":"hr"}]' }],
  [300315, "POST", "/elements", { type: "append", target_element_id: "line", elements: '[{"tag":"hr"}]' }],
  [300315, "POST", "/elements", { type: "insert_before", elements: '[{"tag":"hr"}]' }],
  [300315, "POST", "/elements", { type: "insert_before", target_element_id: "label", elements: '[{"tag":"hr"}]' }],
  [300301, "POST", "/elements", { type: "append", elements: '[{"tag":"hr","element_id":"answer"}]' }],
  [300305, "POST", "/elements", { type: "append", elements: JSON.stringify(Array(196).fill({ tag: "hr" })) }],
  [200860, "PATCH", "/elements/answer", { partial_element: JSON.stringify({ content: kilobytes(30) }) }],
  [300121, "PUT", noElement, { element: '{"tag":"hr"}' }],
  [200220, "PUT", "/elements/answer", { element: "{}" }],
  [300313, "PATCH", noElement, { partial_element: "{}" }],
  [300312, "PATCH", "/elements/answer", { partial_element: '{"tag":"hr"}' }],
  [300314, "DELETE", noElement, {}],
  [10002, "PUT", "/elements/answer/content", { content: "" }],
  [10002, "PUT", "/elements/answer/content", { content: "x".repeat(100_001) }],
  [300313, "PUT", `${noElement}/content`, { content: "x" }],
  [300310, "PUT", "/elements/line/content", { content: "x" }],
  [10002, "POST", "/batch_update", { actions: '[{"action":"explode"}]' }],
  [10002, "POST", "/batch_update", { actions: '[{"action":"delete_elements"}]' }],
  [
    300314,
    "POST",
    "/batch_update",
    { actions: '[{"action":"delete_elements","params":{"element_ids":["line","line"]}}]' },
  ],
];
test("what cannot be done to a card entity is refused with the page's code, and changes nothing", async (t) => {
  const { call, on, simulator, cardId } = await startEntity(t, entity({ streaming_mode: true }));
  assert.equal(await on("PATCH", "/settings", { settings: "{}", uuid: "u-1" }), 0);
  assert.equal(await on("PATCH", "/settings", { settings: "{}", uuid: "u-1" }), 200770);
  const before = simulator.card(cardId);
  for (const [code, method, path, body] of wrongOperations) {
    assert.equal(await on(method, path, body), code, `${method} ${path} ${JSON.stringify(body).slice(0, 100)}`);
  }
  assert.deepEqual([simulator.card(cardId).card, simulator.card(cardId).history().length], [before.card, 2]);
  for (const [code, body] of [
    [10002, { type: "card", data: "{}" }],
    [300307, { type: "card_json", data: "" }],
    [200220, { type: "card_json", data: "[]" }],
    [300303, { type: "card_json", data: '{"elements":[]}' }],
    [200220, { type: "template", data: "{}" }],
    [0, { type: "template", data: '{"template_id":"AAq1"}' }],
  ] as const) {
    assert.equal((await call("POST", cardkit, body)).body.code, code, JSON.stringify(body));
  }
  assert.equal((await call("PATCH", `${cardkit}/7/settings`, { settings: "{}", sequence: 1 })).body.code, 200740);
});

test("a chat's messages are listed page by page, and a thread's apart from its chat", async (t) => {
  const { call, clock, simulator } = await startWithToken(t);
  const ids: string[] = [];
  for (const words of ["1", "2", "3"]) {
    ids.push((await call("POST", toChat, { receive_id: groupChat, ...text(words) })).body.data.message_id);
    await clock.advance(60_000);
  }
  const [root = "", second = "", third = ""] = ids;
  const reply = (await call("POST", `im/v1/messages/${root}/reply`, { ...text("re"), reply_in_thread: true })).body
    .data;
  const list = async (query: string) => (await call("GET", `im/v1/messages?${query}`)).body;
  const inChat = `container_id_type=chat&container_id=${groupChat}`;
  const idsOf = ({ data }: { data: { items: { message_id: string }[] } }) => data.items.map((item) => item.message_id);

  const first = await list(`${inChat}&page_size=2`);
  assert.deepEqual([idsOf(first), first.data.has_more], [[root, second], true]);
  const rest = await list(`${inChat}&page_size=2&page_token=${first.data.page_token}`);
  assert.deepEqual([idsOf(rest), rest.data.has_more, rest.data.page_token], [[third], false, undefined]);
  assert.deepEqual(idsOf(await list(`${inChat}&sort_type=ByCreateTimeDesc`)), [third, second, root]);
  const startSeconds = Math.floor((simulator.message(second)?.createdAtMs ?? 0) / 1000);
  const within = `${inChat}&start_time=${startSeconds}&end_time=${startSeconds + 59}`;
  assert.deepEqual(idsOf(await list(within)), [second]);
  const inThread = `container_id_type=thread&container_id=${reply.thread_id}`;
  const thread = await list(inThread);
  assert.deepEqual(idsOf(thread), [root, reply.message_id]);
  assert.equal(thread.data.items[0].thread_id, reply.thread_id);
  assert.equal(simulator.sent().length, 4);

  for (const [query, code] of [
    [`container_id_type=user&container_id=${groupChat}`, 230001],
    [`${inChat}&start_time=now`, 230001],
    [`${inChat}&page_token=x`, 230001],
    ["container_id_type=chat&container_id=nowhere", 230002],
    ["container_id_type=thread&container_id=omt_none", 230002],
  ] as const) {
    assert.equal((await list(query)).code, code, query);
  }
});

const tag = (name: string, fields: object) => ({ tag: name, ...fields });
const words = (value: string, ...style: string[]) => tag("text", { text: value, style });
const post = (...content: object[][]) => ({ zh_cn: { title: "Pallet", content }, en_us: { content: [] } });
const mention = (key: string, who: string) => ({ tag: "at", user_id: key, user_name: who });
const received: { when: string; msgType: string; sent: object; content: unknown; mentioned?: string[] }[] = [
  {
    ...{ when: "a text mentions people, and has styles", msgType: "text", mentioned: [mei.open_id, tomas.open_id] },
    sent: {
      text: `<at user_id="${mei.user_id}"></at> <at user_id="all"></at> <b>now<i>!</i></b> <at user_id="${tomas.union_id}">T</at> <at user_id="${mei.open_id}">M</at>`,
    },
    content: { text: "@_user_1 @_all now! @_user_2 @_user_1" },
  },
  { when: "styles do not match", msgType: "text", sent: { text: "1 <b> 2" }, content: { text: "1 <b> 2" } },
  {
    ...{ when: "a post mentions a person", msgType: "post", mentioned: [mei.open_id] },
    sent: post([tag("at", { user_id: mei.open_id }), tag("text", { text: "x", style: ["bold"] })], [tag("hr", {})]),
    content: {
      title: "Pallet",
      content: [[{ ...mention("@_user_1", "Mei Okafor"), style: [] }, words("x", "bold")], [tag("hr", {})]],
    },
  },
  {
    ...{ when: "a post has Markdown", msgType: "post", mentioned: [mei.open_id] },
    sent: post([
      tag("md", {
        text: `**a** *b* ~~c~~ [d](https://e)\n---\n- <at user_id="${mei.open_id}">M</at>\n![x](img_v3_1)\n\`\`\`go\n*f*\n\`\`\``,
      }),
    ]),
    content: {
      title: "Pallet",
      content: [
        [
          ...[words("a", "bold"), words(" "), words("b", "italic"), words(" "), words("c", "lineThrough"), words(" ")],
          tag("a", { href: "https://e", text: "d", style: [] }),
        ],
        [tag("hr", {})],
        [words("- "), { ...mention("@_user_1", "Mei Okafor"), style: [] }],
        [tag("img", { image_key: "img_v3_1" })],
        [tag("code_block", { language: "GO", text: "*f*" })],
      ],
    },
  },
  {
    ...{ when: "it is a card of version 1.0", msgType: "interactive", mentioned: [mei.open_id] },
    sent: {
      header: { title: tag("plain_text", { content: "Order" }) },
      elements: [
        tag("div", { text: tag("lark_md", { content: `**17** <at id=${mei.open_id}></at>` }) }),
        tag("action", {
          actions: [
            tag("button", { text: tag("plain_text", { content: "Go" }), type: "primary" }),
            tag("select_static", { options: [{ text: tag("plain_text", { content: "S" }), value: "s" }] }),
          ],
        }),
        tag("note", { elements: [tag("plain_text", { content: "why" })] }),
      ],
    },
    content: {
      title: "Order",
      elements: [
        [words("17", "bold"), words(" "), { ...mention("@_user_1", "Mei Okafor"), style: [] }],
        [tag("button", { text: "Go", type: "primary" }), tag("select_static", { options: ["S"] })],
        [tag("note", { elements: [tag("text", { text: "why" })] })],
      ],
    },
  },
  {
    when: "it is a card of version 2.0",
    msgType: "interactive",
    sent: version2(inColumn(tag("markdown", { content: "x" })), form(submit), tag("img", { img_key: "img_v3_1" })),
    content: {
      title: "",
      elements: [
        [words("x")],
        [tag("button", { text: "Send", type: "default" })],
        [tag("img", { image_key: "img_v3_1" })],
      ],
    },
  },
  {
    when: "it divides the chat",
    msgType: "system",
    sent: { type: "divider", params: { divider_text: { text: "New" } } },
    content: { template: "{divider_text}", from_user: [], to_chatters: [], divider_text: { text: "New" } },
  },
];
test("a message comes back as the platform returns it: mentions numbered, in one language, a card in lines", async (t) => {
  const { call, simulator } = await startWithToken(t);
  for (const { when, msgType, sent, content, mentioned = [] } of received) {
    const body = { receive_id: groupChat, msg_type: msgType, content: JSON.stringify(sent) };
    const { data, msg } = (await call("POST", toChat, body)).body;
    assert.ok(data.message_id !== undefined, msg);
    for (const { body, mentions = [] } of [
      data,
      (await call("GET", `im/v1/messages/${data.message_id}`)).body.data.items[0],
    ]) {
      assert.deepEqual(JSON.parse(body.content), content, when);
      const found = mentions.map((one: Record<string, string>, index: number) => {
        assert.deepEqual([one["key"], one["id_type"]], [`@_user_${index + 1}`, "open_id"]);
        return one["id"];
      });
      assert.deepEqual(found, mentioned, when);
    }
    if (msgType === "interactive") {
      const whole = await call("GET", `im/v1/messages/${data.message_id}?card_msg_content_type=user_card_content`);
      assert.deepEqual(JSON.parse(whole.body.data.items[0].body.content), sent);
    }
  }

  const said = { chatId: groupChat, userId: mei.open_id, content: text("@_user_1 hello").content };
  const { messageId } = simulator.say(said);
  for (const [query, id, idType, sender] of [
    ["", bot.open_id, "open_id", mei.open_id],
    ["?user_id_type=user_id", selfBuilt.appId, "app_id", mei.user_id],
  ] as const) {
    const [item] = (await call("GET", `im/v1/messages/${messageId}${query}`)).body.data.items;
    assert.equal(item.body.content, said.content);
    assert.deepEqual(item.mentions, [
      { key: "@_user_1", id, id_type: idType, name: "Larkpost", tenant_key: defaultTenant },
    ]);
    assert.equal(item.sender.id, sender);
  }
});

test("messages of one chat are forwarded together, and a thread whole", async (t) => {
  const { call, simulator } = await startWithToken(t);
  const create = async (chat: string) =>
    (await call("POST", toChat, { receive_id: chat, ...text("x") })).body.data.message_id as string;
  const [one, two, gone, elsewhere] = [
    await create(groupChat),
    await create(groupChat),
    await create(groupChat),
    await create(meisChat),
  ];
  await call("DELETE", `im/v1/messages/${gone}`);
  const merge = async (message_id_list: unknown, uuid = "") =>
    (
      await call("POST", `im/v1/messages/merge_forward?receive_id_type=chat_id&uuid=${uuid}`, {
        receive_id: meisChat,
        message_id_list,
      })
    ).body;
  const merged = (await merge([one, gone, two, elsewhere], "u-1")).data;
  assert.deepEqual([merged.message.msg_type, merged.message.chat_id], ["merge_forward", meisChat]);
  assert.deepEqual(merged.invalid_message_id_list, [gone, elsewhere]);
  const { items } = (await call("GET", `im/v1/messages/${merged.message.message_id}`)).body.data;
  assert.deepEqual(
    items.map((item: Record<string, string>) => [item["message_id"], item["upper_message_id"]]),
    [
      [merged.message.message_id, undefined],
      [one, merged.message.message_id],
      [two, merged.message.message_id],
    ],
  );
  assert.equal((await merge([one], "u-1")).data.message.message_id, merged.message.message_id, "once per uuid");
  assert.equal((await merge([gone])).code, 230065);
  assert.equal((await merge([])).code, 230001);

  const reply = (await call("POST", `im/v1/messages/${one}/reply`, { ...text("re"), reply_in_thread: true })).body.data;
  const forward = (thread: string) =>
    call("POST", `im/v1/threads/${thread}/forward?receive_id_type=chat_id`, { receive_id: meisChat });
  const whole = (await forward(reply.thread_id)).body.data;
  assert.deepEqual(simulator.message(whole.message_id)?.mergedIds, [one, reply.message_id]);
  assert.equal((await forward("omt_none")).body.code, 230064);
});

test("who has read a message, whom it urges and what is pinned are the bot's to ask and to do", async (t) => {
  const { call, send, tenantToken, clock, simulator } = await startWithToken(t);
  const activities: string[] = [];
  simulator.onActivity(({ what, about }) => activities.push(`${what} ${about}`));
  const create = async () => (await call("POST", toChat, { receive_id: groupChat, ...text("x") })).body.data.message_id;
  const id = await create();
  const theirs = simulator.say({ chatId: groupChat, userId: mei.open_id, content: text("y").content }).messageId;
  simulator.read(id, mei.open_id);
  const readers = async (of: string, query = "user_id_type=union_id") =>
    (await call("GET", `im/v1/messages/${of}/read_users?${query}`)).body;
  assert.deepEqual((await readers(id)).data.items, [
    { user_id_type: "union_id", user_id: mei.union_id, timestamp: String(clock.nowMs()), tenant_key: defaultTenant },
  ]);
  assert.equal((await readers(theirs)).code, 230012);
  assert.equal((await readers(id, "user_id_type=email")).code, 230001);

  const urge = async (kind: string, user_id_list: unknown) =>
    (await call("PATCH", `im/v1/messages/${id}/urgent_${kind}?user_id_type=open_id`, { user_id_list })).body;
  assert.deepEqual((await urge("app", [mei.open_id, "ou_absent"])).data, { invalid_user_id_list: ["ou_absent"] });
  assert.equal((await urge("sms", [])).code, 230001);
  assert.equal((await urge("phone", [mei.open_id])).code, 0);

  const { pin } = (await call("POST", "im/v1/pins", { message_id: id })).body.data;
  assert.deepEqual([pin.message_id, pin.operator_id], [id, selfBuilt.appId]);
  await call("POST", "im/v1/pins", { message_id: id });
  await call("POST", "im/v1/pins", { message_id: theirs });
  const page = (await call("GET", `im/v1/pins?chat_id=${groupChat}&page_size=1`)).body.data;
  assert.deepEqual([page.items, page.has_more], [[pin], true]);
  assert.equal((await call("DELETE", `im/v1/pins/${id}`)).body.code, 0);
  assert.deepEqual(simulator.pins(), [theirs]);
  assert.equal((await call("GET", "im/v1/pins?chat_id=nowhere")).body.code, 230002);
  assert.deepEqual(activities, [
    "urged 1 person by app",
    "urged 1 person by phone",
    `pinned ${id}`,
    `pinned ${theirs}`,
    `unpinned ${id}`,
  ]);

  await clock.advance(7 * 24 * hour + 1);
  const late = await send("GET", `im/v1/messages/${id}/read_users`, undefined, await tenantToken());
  assert.equal(late.body.code, 230033);
});

test("a file of a message is downloaded through the message that holds it; a bot sends and downloads only its own", async (t) => {
  const { call, simulator, token, url } = await startWithToken(t);
  const key = simulator.keep("image", Buffer.from("the bytes"));
  const content = JSON.stringify({ image_key: key });
  const { messageId } = simulator.say({ chatId: groupChat, userId: mei.open_id, msgType: "image", content });
  const path = (of: string, name = key, type = "image") => `im/v1/messages/${of}/resources/${name}?type=${type}`;
  const headers = { authorization: `Bearer ${token}` };
  const file = await fetch(`${url}/open-apis/${path(messageId)}`, { headers });
  assert.equal(await file.text(), "the bytes");
  const shown = { receive_id: groupChat, msg_type: "interactive", content: card("x") };
  const sent = (await call("POST", toChat, shown)).body.data.message_id;
  for (const [to, code] of [
    [path(messageId, key, "audio"), 234001],
    [path("om_"), 234001],
    [path(messageId, "img_v3_other"), 234003],
    [path(sent), 234043],
  ] as const) {
    assert.equal((await call("GET", to)).body.code, code, to);
  }
  assert.equal((await call("GET", `im/v1/images/${key}`)).body.code, 234008);
  assert.equal((await call("GET", "im/v1/images/img_v3_other")).body.code, 234005);

  const form = new FormData();
  for (const [name, value] of Object.entries({ file_type: "mp4", file_name: "a.mp4", duration: "900" })) {
    form.set(name, value);
  }
  form.set("file", new Blob(["bytes"]), "a.mp4");
  const uploaded = await fetch(`${url}/open-apis/im/v1/files`, { method: "POST", headers, body: form });
  const { file_key } = ((await uploaded.json()) as { data: { file_key: string } }).data;
  const send = (msg_type: string, value: object) =>
    call("POST", toChat, { receive_id: groupChat, msg_type, content: JSON.stringify(value) });
  const video = await send("media", { file_key });
  assert.deepEqual(JSON.parse(video.body.data.body.content), { file_key, file_name: "a.mp4", duration: 900 });
  for (const [msgType, value, code] of [
    ["file", { file_key }, 230055],
    ["audio", { file_key }, 230055],
    ["image", { image_key: key }, 230017],
    ["post", { zh_cn: { content: [[{ tag: "img", image_key: key }]] } }, 230017],
    ["file", { file_key: "file_v3_elsewhere" }, 0],
  ] as const) {
    assert.equal((await send(msgType, value)).body.code, code, msgType);
  }
  simulator.world.removeBot(groupChat, selfBuilt.appId);
  assert.equal((await call("GET", path(messageId))).body.code, 234004);
});
