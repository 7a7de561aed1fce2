import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import { refused } from "../../../lib/simulator/open-api/answer.ts";
import type { Message } from "../../../lib/simulator/open-api/messages.ts";
import { answers, loadOwn } from "../../../lib/simulator/open-api/own-answers.ts";
import { isId } from "../../../lib/simulator/open-api/world.ts";
import { department, groupChat, mei, tomas } from "../../../lib/simulator/samples/facts.ts";
import { card, kilobytes, meisChat, selfBuilt, startWithToken, text, toChat } from "../../support/open-api.ts";

test("takes an id that nobody has seen for one that exists: events come from elsewhere", async (t) => {
  const { call, simulator } = await startWithToken(t);
  const parent = "om_0123456789abcdef0123456789abcdef";
  const reply = (await call("POST", `im/v1/messages/${parent}/reply`, text("re"))).body.data;
  assert.deepEqual([reply.parent_id, reply.root_id, reply.chat_id], [parent, parent, groupChat]);
  assert.equal((await call("GET", `im/v1/messages/${parent}`)).body.data.items[0].sender.id_type, "open_id");
  assert.equal(simulator.message(parent)?.isAssumed, true);
  // A sampled click names a card that nobody sent.
  const clicked = `${parent}0`;
  assert.equal((await call("PATCH", `im/v1/messages/${clicked}`, { content: card("x") })).body.code, 0);
  assert.equal((await call("PATCH", `im/v1/messages/${parent}`, { content: card("x") })).body.code, 0);
  assert.equal((await call("PUT", `im/v1/messages/${clicked}0`, text("x"))).body.code, 0);

  const toUser = "im/v1/messages?receive_id_type=open_id";
  assert.equal((await call("POST", toUser, { receive_id: "ou_new", ...text("x") })).body.data.chat_id, "oc_new");
  assert.equal((await call("POST", toChat, { receive_id: "oc_other", ...text("x") })).body.code, 0);
  assert.equal((await call("GET", "contact/v3/users/9c2f?user_id_type=user_id")).body.data.user.user_id, "9c2f");
  for (const id of ["om_", "om_%2e%2e", "x", "om_a b"]) {
    assert.equal((await call("POST", `im/v1/messages/${id}/reply`, text("re"))).body.code, 230001, id);
  }
  const long = "0".repeat(80);
  for (const [type, id] of [
    ["open_id", `ou_${long}`],
    ["union_id", `on_${long}`],
    ["user_id", long],
    ["email", `${long}@${long}`],
    ["chat_id", `oc_${long}`],
    ["message_id", `om_${long}`],
  ] as const) {
    assert.deepEqual(
      [id, `${id}0`, `@${id}`, ` ${id}`, `${id} `].map((one) => isId(type, one)),
      [...[true, false, false, false, false]],
      type,
    );
  }
});

test("each of the platform's codes has the status that its page gives", () => {
  const statuses = new Map<number, readonly number[]>([
    [200, [10003, 10005, 10012, 10013, 10014, 10015, 10016]],
    [404, [99991201]],
    [405, [99991301]],
    [429, [99991400]],
    [500, [10500]],
    [
      400,
      [
        ...[9499, 99991661, 99991662, 99991663, 99991664, 99991668, 99991671],
        ...[230001, 230002, 230011, 230019, 230025, 230026, 230027, 230031, 230034, 230049, 230054, 230061, 230065],
        ...[230071, 230072, 230099, 230110, 10002, 11311, 100000, 100030, 200000, 200310, 200320],
        ...[300020, 300030, 300040, 300090, 40001, 41012],
        ...[230012, 230033, 230064, 232001, 232002, 232006, 232008, 232011, 232012, 232043, 234004, 234011, 234043],
        ...[40015, 1390001, 1390003, 1390004],
        ...[200220, 200740, 200750, 200770, 200810, 200850, 200860, 300121, 300122, 300301, 300302, 300303, 300305],
        ...[300307, 300309, 300310, 300311, 300312, 300313, 300314, 300315, 300317],
        ...[231001, 231002, 231003, 231007, 231008, 231010, 231011, 231012, 231014],
      ],
    ],
  ]);
  for (const [status, codes] of statuses) {
    for (const code of codes) {
      const answer = refused(code);
      assert.deepEqual([answer.status, answer.body["code"]], [status, code]);
      assert.notEqual(answer.body["msg"], refused(1).body["msg"], `${code}`);
    }
  }
});

test("a strict simulator knows only what it was told", async (t) => {
  const { call, simulator } = await startWithToken(t, { isStrict: true });
  const unknown = "om_0123456789abcdef0123456789abcdef";
  assert.equal((await call("POST", `im/v1/messages/${unknown}/reply`, text("re"))).body.code, 230001);
  assert.equal((await call("POST", toChat, { receive_id: "oc_other", ...text("x") })).body.code, 230002);
  const toUser = "im/v1/messages?receive_id_type=open_id";
  assert.equal((await call("POST", toUser, { receive_id: "ou_new", ...text("x") })).body.code, 230034);
  assert.equal((await call("GET", "contact/v3/users/ou_new")).body.code, 41012);
  assert.equal((await call("GET", `contact/v3/users/${tomas.open_id}?user_id_type=x`)).body.code, 40001);
  const late = { token: "c-1", card: JSON.parse(card("x")) };
  assert.equal((await call("POST", "interactive/v1/card/update", late)).body.code, 300030);

  const { content } = text("is pallet 17 on its way?");
  const asked = simulator.say({ messageId: unknown, chatId: meisChat, userId: mei.open_id, content });
  const reply = (await call("POST", `im/v1/messages/${unknown}/reply`, text("yes"))).body.data;
  assert.deepEqual([reply.chat_id, reply.parent_id], [meisChat, asked.messageId]);
  assert.deepEqual(
    simulator.messages(meisChat).map(({ sender }) => sender.kind),
    ["user", "app"],
  );
});

test("every answer has a log id of its own, and the log names no secret", async (t) => {
  const { call, send, simulator, token } = await startWithToken(t);
  await call("POST", toChat, { receive_id: groupChat, ...text("between us") });
  await call("GET", "nothing/here?secret=in-the-query");
  await send("POST", "auth/v3/tenant_access_token/internal", { app_id: selfBuilt.appId, app_secret: "wrong" });
  const calls = simulator.calls();
  assert.deepEqual(
    calls.map(({ method, path, status, code }) => `${method} ${path.slice("/open-apis/".length)} ${status} ${code}`),
    [
      "POST auth/v3/tenant_access_token/internal 200 0",
      "POST im/v1/messages 200 0",
      "GET nothing/here 501 -501",
      "POST auth/v3/tenant_access_token/internal 200 10015",
    ],
  );
  assert.equal(new Set(calls.map(({ logId }) => logId)).size, 4);
  const printed = JSON.stringify(calls);
  for (const secret of [token, selfBuilt.appSecret, "between us", "in-the-query", "wrong"]) {
    assert.ok(!printed.includes(secret), secret);
  }
});

test("a call that is not simulated is named, and answered so that nobody takes it for the platform", async (t) => {
  const { call, simulator } = await startWithToken(t);
  const activities: unknown[] = [];
  simulator.onActivity((activity) => activities.push(activity));
  for (const [method, path] of [
    ["GET", "drive/v1/files/box_1"],
    ["DELETE", "im/v1/messages"],
  ] as const) {
    const about = `the simulated Feishu has no ${method} /open-apis/${path}: give it an answer in test/simulated/, or use a real app`;
    const { status, body } = await call(method, `${path}?token=a-secret`);
    assert.deepEqual([status, body], [501, { code: -501, msg: about, data: {} }]);
    assert.deepEqual(activities.splice(0), [{ what: "missing", about }]);
  }
});

test("a project answers calls itself: with data, a whole body, bytes or a function, declares templates, and a file that changes is loaded anew", async (t) => {
  const { call, simulator, token, url } = await startWithToken(t);
  const root = mkdtempSync(join(tmpdir(), "answers-"));
  t.after(() => rmSync(root, { recursive: true }));
  const file = join(root, "test/simulated/drive.ts");
  mkdirSync(dirname(file), { recursive: true });
  const load = async (source: string) => {
    writeFileSync(file, source);
    await loadOwn(root, simulator);
  };
  const files = async () => (await call("GET", "drive/v1/files")).body;
  await load('export default { "GET /open-apis/drive/v1/files": { files: [] as string[] } };');
  assert.deepEqual(await files(), { code: 0, msg: "success", data: { files: [] } });
  await load('export default { "GET /open-apis/drive/v1/files": { code: 1061004, msg: "forbidden." } };');
  assert.deepEqual(await files(), { code: 1061004, msg: "forbidden." });
  for (const [source, problem] of [
    [
      "export const files = 1;",
      /^Error: Cannot load test\/simulated\/drive.ts: it has no answers as its default export/,
    ],
    ['export default { "GET /drive": {} };', /"GET \/drive" is not a method and a path/],
    ["export default {", /^Error: Cannot load test\/simulated\/drive.ts: /],
  ] as const) {
    await assert.rejects(load(source), problem);
  }
  assert.equal((await files()).code, 1061004, "what cannot be loaded changes nothing");

  const lines = { tag: "markdown", content: `Order ${"$"}{order}: ${"$"}{parts}` };
  const picked = {
    tag: "select_static",
    placeholder: { tag: "plain_text", content: "Dock" },
    options: `${"$"}{docks}`,
  };
  const template = { variables: { order: "number" }, card: { schema: "2.0", body: { elements: [lines, picked] } } };
  await load(`export const templates = { AAq1: ${JSON.stringify(template)} };`);
  const toGroup = async (template_variable: object) => {
    const content = JSON.stringify({ type: "template", data: { template_id: "AAq1", template_variable } });
    const body = { receive_id: groupChat, msg_type: "interactive", content };
    return (await call("POST", "im/v1/messages?receive_id_type=chat_id", body)).body;
  };
  assert.equal((await toGroup({ order: "17" })).code, 230099);
  const docks = [{ value: "n" }];
  const { data } = await toGroup({ order: 17, parts: 'a "b"', docks });
  const shown = JSON.parse(simulator.shownContent(simulator.message(data.message_id) as Message));
  assert.deepEqual(shown.body.elements, [
    { ...lines, content: 'Order 17: a "b"' },
    { ...picked, options: docks },
  ]);
  await load("export default {};");
  assert.equal((await toGroup({ order: "17" })).code, 0, "the templates are gone with their file");

  simulator.setAnswers([
    answers({
      "POST /open-apis/drive/v1/files/:token/copy": ({ params, body, query, caller }) => {
        return { code: 0, copied: params.token, name: body["name"], type: query.get("type"), by: caller.appId };
      },
      "GET /open-apis/drive/v1/files/:token/download": ({ params }) => Buffer.from(params.token),
      "GET /open-apis/bot/v3/info": { code: 0, bot: { app_name: "Mine" } },
    }),
  ]);
  assert.deepEqual((await call("POST", "drive/v1/files/box_1/copy?type=doc", { name: "x" })).body, {
    ...{ msg: "success", code: 0, copied: "box_1", name: "x", type: "doc", by: selfBuilt.appId },
  });
  const headers = { authorization: `Bearer ${token}` };
  const downloaded = await fetch(`${url}/open-apis/drive/v1/files/box_1/download`, { headers });
  assert.equal(await downloaded.text(), "box_1");
  assert.equal((await call("GET", "bot/v3/info")).body.bot.app_name, "Mine", "it comes before the simulator's own");
  assert.equal((await files()).code, -501, "the earlier answers are gone");
});

test("whatever comes in is answered with a code, and the next call works", async (t) => {
  const { callOverHttp: call, url, token, simulator } = await startWithToken(t);
  const body = { receive_id: groupChat, ...text("x") };
  const deep = `{"receive_id":${"[".repeat(100_000)}`;
  // The body and its member are the first two of 64 levels.
  const nested = (levels: number) =>
    JSON.stringify({ ...body, receive_id: "../x", more: [0] }).replace(
      "0]",
      `${"[".repeat(levels)}${"]".repeat(levels)}]`,
    );
  const attempts = [
    ["POST", toChat, "{", 400, 230001],
    ["POST", toChat, "", 400, 230001],
    ["POST", toChat, "null", 400, 230001],
    ["POST", toChat, "[]", 400, 230001],
    ["POST", toChat, deep, 400, 230001],
    ["POST", toChat, `${deep}${"]".repeat(100_000)}}`, 400, 230001],
    ["POST", toChat, '{"__proto__":{"receive_id":"oc_x"},"msg_type":"__proto__","content":"{}"}', 400, 230001],
    ["POST", toChat, `{"content":"${kilobytes(1024)}"}`, 413, 9499],
    ["POST", toChat, "{".padEnd(1_048_576), 400, 230001],
    ["POST", toChat, "{".padEnd(1_048_577), 413, 9499],
    ["POST", toChat, nested(62), 400, 230034],
    ["POST", toChat, nested(63), 400, 230001],
    ["POST", "im/v1/messages?receive_id_type=__proto__&receive_id_type=chat_id&%zz", body, 400, 230001],
    ["GET", "im/v1/messages/%zz", undefined, 501, -501],
    ["GET", "im/v1/messages/", undefined, 501, -501],
    ["PATCH", "im/v1/messages", {}, 501, -501],
    ["PUT", "im/v1/messages/constructor", text("x"), 400, 230001],
    ["POST", "../../etc/passwd", {}, 501, -501],
    ["GET", "contact/v3/users/%00", undefined, 400, 41012],
    ["POST", "interactive/v1/card/update", '{"token":{"toString":1},"card":null}', 400, 300020],
  ] as const;
  for (const [method, path, sent, status, code] of attempts) {
    const answer = await call(method, path, sent);
    const what = `${method} ${path} ${JSON.stringify(sent)?.slice(0, 60)}`;
    assert.deepEqual([answer.status, answer.body.code], [status, code], what);
    assert.equal(typeof answer.body.msg, "string", what);
    assert.match(answer.headers.get("x-tt-logid") ?? "", /^\d{14}[0-9A-F]{32}$/, what);
  }
  assert.equal((await fetch(url)).status, 501);
  const half = await fetch(`${url}/open-apis/${toChat}`, {
    method: "POST",
    headers: { authorization: `Bearer ${token}` },
    body: Buffer.concat([Buffer.from('{"receive_id":"'), Buffer.from([0xff, 0xc0]), Buffer.from('"}')]),
  });
  assert.equal(((await half.json()) as { code: number }).code, 230001);
  assert.deepEqual(simulator.messages(), []);
  assert.equal((await call("POST", toChat, body)).body.code, 0);
});

test("nothing that is sent makes it fail: each call gets its code", async (t) => {
  const { call, simulator, token, clock } = await startWithToken(t);
  const elements = [{ tag: "markdown", element_id: "a", content: "x" }];
  const data = JSON.stringify({ schema: "2.0", body: { elements } });
  const cardId = (await call("POST", "cardkit/v1/cards", { type: "card_json", data })).body.data.card_id;
  const segment = fc.constantFrom(
    "open-apis",
    "im",
    "v1",
    "messages",
    ":message_id",
    "om_1",
    "reply",
    "__proto__",
    "%",
    "",
  );
  const known = fc.constantFrom(
    "/open-apis/im/v1/messages?receive_id_type=chat_id",
    "/open-apis/im/v1/messages?receive_id_type=email",
    "/open-apis/im/v1/messages/om_1/reply",
    "/open-apis/im/v1/messages/om_1/forward?receive_id_type=thread_id",
    "/open-apis/im/v1/messages/om_1",
    "/open-apis/im/v1/messages/om_1/reactions",
    "/open-apis/im/v1/messages/merge_forward?receive_id_type=chat_id",
    `/open-apis/im/v1/messages?container_id_type=chat&container_id=${groupChat}&page_token=page_1`,
    "/open-apis/im/v1/messages/om_1/urgent_app",
    "/open-apis/im/v1/pins",
    "/open-apis/im/v1/chats",
    `/open-apis/im/v1/chats/${groupChat}/members`,
    "/open-apis/cardkit/v1/cards",
    `/open-apis/cardkit/v1/cards/${cardId}`,
    `/open-apis/cardkit/v1/cards/${cardId}/elements`,
    `/open-apis/cardkit/v1/cards/${cardId}/elements/a`,
    `/open-apis/cardkit/v1/cards/${cardId}/batch_update`,
    `/open-apis/cardkit/v1/cards/${cardId}/settings`,
    "/open-apis/contact/v3/users/batch_get_id",
    "/open-apis/approval/v4/instances",
    "/open-apis/interactive/v1/card/update",
    "/open-apis/contact/v3/users/ou_1?user_id_type=union_id",
    "/open-apis/auth/v3/app_access_token",
    "/open-apis/auth/v3/tenant_access_token",
  );
  const url = fc.oneof(
    known,
    fc.array(segment).map((parts) => `/${parts.join("/")}`),
    fc.string(),
  );
  const value = fc.oneof(
    fc.jsonValue(),
    fc.nat(),
    fc.constantFrom(
      ...["card_json", "append", "[{}]", '[{"action":"add_elements","params":{"type":"append","elements":[{}]}}]'],
      ...['{"tag":"hr"}', '{"config":{"streaming_mode":true}}', data],
    ),
    fc.constantFrom("text", "post", "interactive", groupChat, "c-1", '{"text":"x"}', '{"zh_cn":{"content":[[null]]}}'),
    fc.constantFrom(card("x"), '{"schema":"2.0","body":{},"config":[]}', '{"type":"template","data":null}', {
      elements: [],
    }),
  );
  const name = fc.constantFrom(
    "receive_id",
    "msg_type",
    "content",
    "uuid",
    "token",
    "card",
    "app_access_token",
    "__proto__",
    ...["sequence", "type", "data", "settings", "actions", "elements", "element", "partial_element", "id_list"],
    ...["message_id_list", "user_id_list", "reaction_type", "name", "form", "approval_code", "emails"],
  );
  const body = fc.oneof(
    fc.dictionary(name, value).map((fields) => JSON.stringify(fields)),
    fc.json(),
    fc.string(),
  );
  const method = fc.constantFrom("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS");
  const authorization = fc.constantFrom(`Bearer ${token}`, `Bearer ${token}`, "Bearer", "Basic x", undefined);
  await fc.assert(
    fc.asyncProperty(fc.record({ method, url, authorization, body }), async (request) => {
      await clock.advance(100);
      const answer = await simulator.handle(request);
      assert.ok(answer !== null && answer.status !== 500);
      assert.equal(typeof JSON.parse(answer.body).code, "number");
    }),
    { numRuns: 600 },
  );
});

test("a listener that throws is reported, and costs the bot nothing", async (t) => {
  const problems: unknown[] = [];
  const { call, simulator } = await startWithToken(t, { onProblem: (problem) => problems.push(problem) });
  const heard: string[] = [];
  simulator.onMessage(() => {
    throw new Error("cannot print");
  });
  const stop = simulator.onMessage(({ message }) => heard.push(message.chatId));
  assert.equal((await call("POST", toChat, { receive_id: groupChat, ...text("x") })).status, 200);
  stop();
  assert.equal((await call("POST", toChat, { receive_id: groupChat, ...text("x") })).status, 200);
  assert.deepEqual(heard, [groupChat]);
  assert.deepEqual(problems.map(String), Array(2).fill("Error: cannot print"));
});

test("an own answer that is none is refused, and reported with its call and what is wrong", async (t) => {
  const problems: unknown[] = [];
  const { call, simulator } = await startWithToken(t, { onProblem: (problem) => problems.push(problem) });
  const wrong = [() => Promise.resolve({}), () => undefined, { big: 10n }];
  for (const own of wrong) {
    simulator.setAnswers([{ "GET /open-apis/drive/v1/files": own as object }]);
    assert.equal((await call("GET", "drive/v1/files")).body.code, 10500);
  }
  const begin = 'TypeError: Cannot answer "GET /open-apis/drive/v1/files" as test/simulated/ says: it is ';
  const ends = [/^a promise, and/, /^not an object$/, /^not JSON: TypeError: /];
  assert.equal(problems.length, ends.length);
  for (const [nth, end] of ends.entries()) assert.match(String(problems[nth]).replace(begin, ""), end);
});

test("chats are made, listed, read and changed, and their members come and go", async (t) => {
  const { call, simulator } = await startWithToken(t);
  const activities: string[] = [];
  simulator.onActivity(({ what, about }) => activities.push(`${what} ${about}`));
  const body = { name: "Night shift", description: "22 to 6", user_id_list: [mei.user_id] };
  const create = async () => (await call("POST", "im/v1/chats?user_id_type=user_id&uuid=u-1", body)).body.data;
  const made = await create();
  assert.equal((await create()).chat_id, made.chat_id, "once per uuid");
  const chat = `im/v1/chats/${made.chat_id}`;
  const found = (await call("GET", chat)).body.data;
  assert.deepEqual(
    [found.name, found.description, found.user_count, found.bot_count, found.owner_id],
    ["Night shift", "22 to 6", "1", "1", undefined],
  );
  const first = (await call("GET", "im/v1/chats?page_size=1")).body.data;
  assert.deepEqual([first.items[0].chat_id, first.items[0].owner_id, first.has_more], [groupChat, mei.open_id, true]);
  const rest = (await call("GET", `im/v1/chats?page_token=${first.page_token}`)).body.data;
  assert.deepEqual(
    rest.items.map(({ chat_id }: { chat_id: string }) => chat_id),
    [made.chat_id],
  );

  const add = { id_list: [tomas.union_id, "no id"] };
  const added = (await call("POST", `${chat}/members?member_id_type=union_id`, add)).body.data;
  assert.deepEqual(added.not_existed_id_list, ["no id"]);
  const members = (await call("GET", `${chat}/members?member_id_type=user_id`)).body.data;
  assert.deepEqual(
    members.items.map(({ member_id }: { member_id: string }) => member_id),
    [mei.user_id, tomas.user_id],
  );
  assert.equal(members.member_total, 2);
  assert.equal((await call("PUT", chat, { name: "Nights", owner_id: tomas.open_id })).body.code, 0);
  assert.equal((await call("PUT", chat, { owner_id: mei.open_id })).body.code, 232002, "the bot owns it no more");
  assert.equal((await call("DELETE", `${chat}/members`, { id_list: [mei.open_id] })).body.code, 0);
  const { name, owner_id, user_count } = (await call("GET", `${chat}?user_id_type=union_id`)).body.data;
  assert.deepEqual([name, owner_id, user_count], ["Nights", tomas.union_id, "1"]);
  assert.equal((await call("GET", `${chat}/members/is_in_chat`)).body.data.is_in_chat, true);
  assert.deepEqual(activities, [
    "created chat Night shift",
    "added 1 member",
    "changed chat Nights",
    "removed 1 member",
  ]);

  for (const [code, method, path, sent] of [
    [232001, "POST", "im/v1/chats", { name: 1 }],
    [232001, "POST", "im/v1/chats", { user_id_list: mei.open_id }],
    [232043, "POST", "im/v1/chats", { user_id_list: ["no id"] }],
    [232001, "GET", "im/v1/chats?user_id_type=email", undefined],
    [232006, "GET", "im/v1/chats/nowhere", undefined],
    [232006, "GET", "im/v1/chats/nowhere/members/is_in_chat", undefined],
    [232008, "PUT", `im/v1/chats/${meisChat}`, { name: "x" }],
    [232001, "POST", `${chat}/members`, {}],
    [232001, "GET", `${chat}/members?page_token=x`, undefined],
  ] as const) {
    assert.equal((await call(method, path, sent)).body.code, code, `${method} ${path}`);
  }
  assert.equal(
    (await call("DELETE", `${chat}/members?member_id_type=app_id`, { id_list: [selfBuilt.appId] })).body.code,
    0,
  );
  assert.equal((await call("GET", chat)).body.code, 232011);
  assert.equal((await call("POST", toChat, { receive_id: made.chat_id, ...text("x") })).body.code, 230002);
});

test("people are found by their addresses, read together, and have a department", async (t) => {
  const { call } = await startWithToken(t);
  const email = "mei.okafor@warehouse.example";
  const wanted = { emails: [email, "nobody@warehouse.example"], mobiles: ["13000000000"] };
  const { user_list } = (await call("POST", "contact/v3/users/batch_get_id?user_id_type=user_id", wanted)).body.data;
  assert.deepEqual(
    user_list.map((user: Record<string, string>) => [user["user_id"], user["email"] ?? user["mobile"]]),
    [
      [mei.user_id, email],
      [undefined, "nobody@warehouse.example"],
      [undefined, "13000000000"],
    ],
  );
  const names = ({ data }: { data: { items: { name: string }[] } }) => data.items.map(({ name }) => name);
  const both = `contact/v3/users/batch?user_ids=${mei.open_id}&user_ids=${tomas.open_id}`;
  assert.deepEqual(names((await call("GET", both)).body), ["Mei Okafor", "Tomas Reyes"]);
  const members = `contact/v3/users/find_by_department?department_id=${department}&page_size=1`;
  assert.deepEqual(names((await call("GET", members)).body), ["Mei Okafor"]);
  const { body } = await call("GET", `contact/v3/departments/${department}`);
  assert.deepEqual([body.data.department.name, body.data.department.leader_user_id], ["Warehouse", mei.open_id]);
  for (const [code, method, path, sent] of [
    [40001, "POST", "contact/v3/users/batch_get_id", { emails: email }],
    [40001, "POST", "contact/v3/users/batch_get_id", { emails: Array(51).fill(email) }],
    [40001, "GET", "contact/v3/users/batch", undefined],
    [40015, "GET", "contact/v3/users/find_by_department?department_id=od-none", undefined],
    [40015, "GET", "contact/v3/departments/od-none", undefined],
  ] as const) {
    assert.equal((await call(method, path, sent)).body.code, code, `${method} ${path}`);
  }
});

test("an approval is requested once per uuid, read, and ended by the test; one that an event names is approved", async (t) => {
  const { call, simulator, clock } = await startWithToken(t);
  const request = { approval_code: "77617265-686F", user_id: mei.user_id, form: "[]", uuid: "u-1" };
  const path = "approval/v4/instances";
  const create = async (body: object = {}) => (await call("POST", path, { ...request, ...body })).body;
  const code = (await create()).data.instance_code;
  assert.match(code, /^[0-9A-F]{8}(-[0-9A-F]{4}){3}-[0-9A-F]{12}$/);
  assert.equal((await create()).data.instance_code, code);
  const read = async (of = code) => (await call("GET", `${path}/${of}`)).body;
  const { status, open_id, start_time, end_time } = (await read()).data;
  assert.deepEqual([status, open_id, start_time, end_time], ["PENDING", mei.open_id, String(clock.nowMs()), "0"]);
  simulator.decide(code, "REJECTED");
  assert.deepEqual([(await read()).data.status, simulator.approvals().length], ["REJECTED", 1]);
  assert.equal((await read("5A2C0F1E-0000-4000-8000-000000000000")).data.status, "APPROVED");
  assert.equal((await read("none")).code, 1390003);
  assert.equal((await create({ form: "{}" })).code, 1390001);
  assert.equal((await create({ user_id: "", uuid: "u-2" })).code, 1390004);
  assert.throws(() => simulator.decide("none", "APPROVED"), RangeError);
});

test("an approval's tasks are approved, refused and passed on by whom they ask, and who requested it cancels it", async (t) => {
  const { call, simulator } = await startWithToken(t);
  const approval_code = "77617265-686F";
  const create = async (body: object = {}) => {
    const request = { approval_code, open_id: mei.open_id, form: "[]", ...body };
    const { instance_code } = (await call("POST", "approval/v4/instances", request)).body.data;
    const read = async () => (await call("GET", `approval/v4/instances/${instance_code}`)).body.data;
    const act = async (does: string, taskId: string, user_id: string, more: object = {}) => {
      const task = { approval_code, instance_code, task_id: taskId, user_id, ...more };
      return (await call("POST", `approval/v4/${does}?user_id_type=open_id`, task)).body.code;
    };
    return { instance_code, read, act, ids: (await read()).task_list.map(({ id }: { id: string }) => id) };
  };
  const both = await create({ node_approver_user_id_list: [{ key: "n", value: [mei.user_id, tomas.user_id] }] });
  const [meis, tomass] = both.ids;
  for (const [does, id, who, more, code] of [
    ["tasks/approve", tomass, mei.open_id, {}, 1390010],
    ["tasks/approve", meis, mei.open_id, { approval_code: "other" }, 1390002],
    ["tasks/approve", meis, mei.open_id, { instance_code: "none" }, 1390003],
    ["tasks/approve", meis, "nobody", {}, 1390004],
    ["tasks/approve", meis, mei.open_id, {}, 0],
    ["tasks/approve", meis, mei.open_id, {}, 1390010],
    ["tasks/transfer", tomass, tomas.open_id, {}, 1390001],
    ["tasks/transfer", tomass, tomas.open_id, { transfer_user_id: mei.open_id }, 0],
  ] as const) {
    assert.equal(await both.act(does, id, who, more), code, `${does} ${who}`);
  }
  const { status, task_list } = await both.read();
  const statuses = task_list.map((task: Record<string, string>) => [task["open_id"], task["status"]]);
  assert.deepEqual(
    [status, statuses],
    [
      "PENDING",
      [
        [mei.open_id, "APPROVED"],
        [tomas.open_id, "TRANSFERRED"],
        [mei.open_id, "PENDING"],
      ],
    ],
  );
  assert.equal(await both.act("tasks/approve", task_list[2].id, mei.open_id), 0);
  assert.equal((await both.read()).status, "APPROVED");

  const refused = await create();
  assert.equal(await refused.act("tasks/reject", refused.ids[0], tomas.open_id), 0);
  const { status: ended, timeline } = await refused.read();
  assert.deepEqual([ended, timeline.at(-1).type], ["REJECTED", "REJECT"]);

  const canceled = await create();
  for (const [who, code] of [
    [tomas.open_id, 1390001],
    [mei.open_id, 0],
    [mei.open_id, 1390001],
  ] as const) {
    assert.equal(await canceled.act("instances/cancel", "", who), code);
  }
  assert.deepEqual(
    simulator.approvals().map(({ status }) => status),
    ["APPROVED", "REJECTED", "CANCELED"],
  );
  const codes = [both, refused, canceled].map(({ instance_code }) => instance_code);
  const list = async (query: string) => (await call("GET", `approval/v4/instances?approval_code=${query}`)).body;
  const all = `${approval_code}&start_time=0&end_time=9999999999999`;
  assert.deepEqual((await list(all)).data.instance_code_list, codes);
  assert.deepEqual((await list(`${approval_code}&start_time=0&end_time=1`)).data.instance_code_list, []);
  assert.equal((await list(approval_code)).code, 1390001);

  const definition = `approval/v4/approvals/${approval_code}`;
  assert.equal((await call("GET", definition)).body.data.status, "ACTIVE");
  for (const [does, code] of [
    ["unsubscribe", 1390007],
    ["subscribe", 0],
    ["subscribe", 1390007],
    ["unsubscribe", 0],
  ] as const) {
    assert.equal((await call("POST", `${definition}/${does}`)).body.code, code, does);
  }
});
