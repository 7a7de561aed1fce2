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
import { groupChat, mei, tomas } from "../../../lib/simulator/samples/facts.ts";
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
  const { call, url, token, simulator } = await startWithToken(t);
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
  const { simulator, token } = await startWithToken(t);
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
      const answer = await simulator.handle(request);
      assert.ok(answer !== null && answer.status !== 500);
      assert.equal(typeof JSON.parse(answer.body).code, "number");
    }),
    { numRuns: 2_000 },
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
