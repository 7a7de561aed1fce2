import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { serveControl } from "../../../lib/simulator/chat/control.ts";
import { startConversation } from "../../../lib/simulator/chat/conversation.ts";
import { openApi } from "../../../lib/simulator/open-api/open-api.ts";
import { testClock } from "../../support/clock.ts";
import { selfBuilt } from "../../support/open-api.ts";
import { ask, assertRefused, pages } from "../../support/page.ts";
import { seeded } from "../../support/random.ts";
import { until } from "../../support/until.ts";

const token = "a-token-of-this-run";

async function setUp(t: TestContext) {
  const clock = testClock();
  const random = seeded(29);
  const newId = () => random.hex(32);
  const { appId } = selfBuilt;
  const onProblem = (problem: unknown) => assert.fail(String(problem));
  const api = openApi({ clock, newId, apps: [selfBuilt], onProblem });
  const result = { status: 200, ms: 1, body: "{}", delivered: true };
  const deliver = async () => result;
  const conversation = startConversation({ api, newId, clock, appId, deliver, random: () => 0.5 });
  const server = await serveControl({ conversation, token, clock });
  t.after(async () => {
    conversation.stop();
    await server.close();
  });
  const call = async (method: string, path: string, body?: unknown, headers: Record<string, string> = bearer) => {
    const text = typeof body === "string" ? body : (JSON.stringify(body) ?? "");
    const answer = await ask(server.url + path, { method, headers, body: text });
    return { status: answer.status, body: JSON.parse(answer.body) as Record<string, unknown> };
  };
  return { clock, conversation, url: server.url, call };
}

const bearer = { authorization: `Bearer ${token}` };

const strangers: readonly { who: string; headers: Record<string, string> }[] = [
  { who: "has no token", headers: {} },
  { who: "guesses", headers: { authorization: "Bearer another-token-of-it" } },
  { who: "has a part of it", headers: { authorization: `Bearer ${token.slice(0, -1)}` } },
];
test("there is nothing to push over where there is no long connection", async (t) => {
  const { call } = await setUp(t);
  assert.deepEqual(await call("POST", "/push", { text: "{}" }), {
    status: 409,
    body: { error: "there is no long connection" },
  });
  assert.equal((await call("POST", "/push", {})).status, 400);
});

test("who does not know the token can neither talk nor listen", async (t) => {
  const { conversation, call } = await setUp(t);
  conversation.say("a secret", "p2p");
  for (const { who, headers } of strangers) {
    const attempts = [
      call("POST", "/say", { text: "hello" }, headers),
      call("POST", "/choose", { messageId: "om_1", version: 1, number: 1 }, headers),
      call("GET", "/said?after=0", undefined, headers),
      call("POST", "/push", { text: "{}" }, headers),
      call("GET", "/nowhere", undefined, headers),
    ];
    for (const { status, body } of await Promise.all(attempts)) {
      assert.deepEqual([status, body], [401, { error: "the token is missing or wrong" }], who);
    }
  }
  assert.equal(conversation.count(), 1);
});

test("no page of a browser can talk or listen, though it knows the token", async (t) => {
  const { conversation, url } = await setUp(t);
  for (const { from, headers } of pages) {
    for (const [method, path] of [
      ["POST", "/say"],
      ["POST", "/push"],
      ["GET", "/said?after=0"],
      ["OPTIONS", "/say"],
    ] as const) {
      const body = method === "POST" ? '{"text":"hello"}' : "";
      const answer = await ask(url + path, { method, body, headers: { ...bearer, ...headers } });
      assertRefused(answer, `${method} ${path} of ${from}`);
    }
  }
  assert.equal(conversation.count(), 0);
});

test("says what it is asked to say, and tells what was said", async (t) => {
  const { conversation, call } = await setUp(t);
  const { status, body } = await call("POST", "/say", { text: "hello" });
  assert.equal(status, 200);
  const { entries } = (await call("GET", "/said?after=0")).body as { entries: { id: string; n: number }[] };
  assert.deepEqual([entries[0]?.id, entries[0]?.n, entries.length], [body["id"], 1, 1]);
  assert.deepEqual((await call("GET", "/said?after=1")).body, { entries: [] });
  for (let i = 0; i < 300; i++) conversation.say("more", "p2p");
  assert.equal(
    ((await call("GET", "/said?after=1")).body["entries"] as unknown[]).length,
    200,
    "the rest is asked for",
  );
});

test("who waits for what comes next is told at once when it comes, and is not kept for ever", async (t) => {
  const { clock, conversation, call } = await setUp(t);
  const waiting = call("GET", "/next?after=0");
  await until("it waits", () => clock.pending > 0, { withinMs: 2_000 });
  conversation.say("hello", "p2p");
  assert.equal(((await waiting).body["entries"] as unknown[]).length, 1);
  const before = clock.pending;
  const late = call("GET", "/next?after=1");
  await until("it waits", () => clock.pending > before, { withinMs: 2_000 });
  await clock.advance(20_000);
  assert.deepEqual((await late).body, { entries: [] });
  assert.equal((await call("GET", "/next?after=0")).status, 200, "what is there already is not waited for");
});

const wrong: readonly [status: number, method: string, path: string, body?: unknown][] = [
  [400, "POST", "/say", "no JSON"],
  [400, "POST", "/say", { text: 1 }],
  [400, "POST", "/say", { text: "x", chat: "elsewhere" }],
  [409, "POST", "/say", { text: "" }],
  [400, "POST", "/choose", { messageId: "om_1" }],
  [400, "POST", "/choose", { messageId: "om_1", version: 1, number: 1, typed: [1] }],
  [409, "POST", "/choose", { messageId: "om_1", version: 1, number: 1 }],
  [400, "POST", "/say", { text: "x", as: "toString" }],
  [400, "POST", "/act", { does: "dance" }],
  [400, "POST", "/act", { does: "react", emoji: "OK" }],
  [400, "POST", "/act", { does: "post", text: "x", chat: "elsewhere" }],
  [409, "POST", "/act", { does: "react", emoji: "OK", messageId: "om_1" }],
  [409, "POST", "/act", { does: "image", path: "/nowhere/a.png", chat: "p2p" }],
  [400, "GET", "/said"],
  [400, "GET", "/said?after=-1"],
  [400, "GET", "/said?after=1x"],
  [404, "GET", "/say"],
  [404, "GET", "//"],
];
test("says what is wrong with a request that it cannot do, and does nothing", async (t) => {
  const { conversation, call } = await setUp(t);
  for (const [status, method, path, body] of wrong) {
    const answer = await call(method, path, body);
    const asked = `${method} ${path} ${JSON.stringify(body) ?? ""}`;
    assert.deepEqual([answer.status, typeof answer.body["error"]], [status, "string"], asked);
  }
  assert.equal(conversation.count(), 0);
});
