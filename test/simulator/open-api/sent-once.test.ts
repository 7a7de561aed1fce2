import assert from "node:assert/strict";
import { test } from "node:test";
import { groupChat, mei } from "../../../lib/simulator/samples/facts.ts";
import { meisChat, selfBuilt, startWithToken, text, toChat } from "../../support/open-api.ts";
import { until } from "../../support/until.ts";

const hour = 3_600_000;

test("a uuid sends at most one message in an hour, whatever it says; after it, another", async (t) => {
  const { call, clock, simulator } = await startWithToken(t);
  const say = async (words: string, uuid: unknown) =>
    (await call("POST", toChat, { receive_id: groupChat, ...text(words), uuid })).body;
  const first = await say("one", "u-1");
  assert.equal((await say("another", "u-1")).data.message_id, first.data.message_id);
  assert.notEqual((await say("one", "u-2")).data.message_id, first.data.message_id);
  await clock.advance(hour - 1);
  const late = (await call("POST", `im/v1/messages/${first.data.message_id}/reply`, { ...text("re"), uuid: "u-1" }))
    .body;
  assert.equal(late.data.message_id, first.data.message_id);
  await clock.advance(1);
  assert.notEqual((await say("one", "u-1")).data.message_id, first.data.message_id);
  assert.deepEqual(
    simulator.messages(groupChat).map(({ content }) => JSON.parse(content).text),
    ["one", "one", "one"],
  );
  assert.equal((await say("x", "é".repeat(50))).code, 0);
  assert.equal((await say("x", "é".repeat(51))).code, 230001);
  assert.equal((await say("x", 7)).code, 230001);
});

test("a uuid of a send that was refused is free, and one app's uuid is not another's", async (t) => {
  const other = { ...selfBuilt, appId: "cli_00000000000000c3" };
  const { call, send, tenantToken, simulator } = await startWithToken(t, { apps: [selfBuilt, other] });
  const body = { receive_id: groupChat, ...text("x"), uuid: "u-1" };
  simulator.world.removeBot(groupChat, selfBuilt.appId);
  assert.equal((await call("POST", toChat, body)).body.code, 230002);
  simulator.world.addBot(groupChat, selfBuilt.appId);
  assert.equal((await call("POST", toChat, body)).body.code, 0);
  const { body: theirs } = await send("POST", toChat, body, await tenantToken(other));
  assert.equal(theirs.data.sender.id, other.appId);
  assert.equal(simulator.messages(groupChat).length, 2);
});

test("a forward's uuid counts for its target alone", async (t) => {
  const { call, simulator } = await startWithToken(t);
  const { data } = (await call("POST", toChat, { receive_id: groupChat, ...text("x") })).body;
  const forward = async (chat: string) => {
    const path = `im/v1/messages/${data.message_id}/forward?receive_id_type=chat_id&uuid=u-1`;
    return (await call("POST", path, { receive_id: chat })).body.data.message_id;
  };
  assert.equal(await forward(meisChat), await forward(meisChat));
  assert.notEqual(await forward(meisChat), await forward(groupChat));
  assert.equal(simulator.messages().length, 3);
});

test("while a message is still being sent, its uuid is answered with 230049", async (t) => {
  const { call, clock, simulator } = await startWithToken(t);
  const body = { receive_id: groupChat, ...text("x"), uuid: "u-1" };
  simulator.addRule({ method: "POST", delayMs: 5_000 });
  const slow = call("POST", toChat, body);
  await until("the answer is held back", () => clock.pending > 0);
  assert.equal((await call("POST", toChat, body)).body.code, 230049);
  await clock.advance(5_000);
  const { data } = (await slow).body;
  assert.equal((await call("POST", toChat, body)).body.data.message_id, data.message_id);
  assert.equal(simulator.messages().length, 1);
});

test("rules use themselves up in their order, for the calls that fit them", async (t) => {
  const { call, simulator } = await startWithToken(t);
  const body = { receive_id: groupChat, ...text("x") };
  const parent = (await call("POST", toChat, body)).body.data.message_id;
  const reply = async () => (await call("POST", `im/v1/messages/${parent}/reply`, text("re"))).status;
  const path = "/open-apis/im/v1/messages/:message_id/reply";
  simulator.addRule({ method: "post", path, times: 2, fault: { kind: "rate-limit", resetSeconds: 9, status: 400 } });
  const broken = simulator.addRule({ path, fault: { kind: "answer", code: 10500 } });
  const never = simulator.addRule({ path, times: 99, fault: { kind: "answer", code: 230020, status: 418 } });
  assert.equal((await call("POST", toChat, body)).status, 200);
  assert.equal(broken.left(), 1);
  assert.deepEqual([await reply(), await reply(), await reply(), await reply()], [400, 400, 500, 418]);
  assert.deepEqual([broken.left(), never.left()], [0, 98]);
  never.remove();
  assert.equal(await reply(), 200);
  assert.equal(simulator.messages().length, 3);
});

test("a closed connection did nothing; a lost answer did all, and its uuid tells", async (t) => {
  const { callOverHttp: call, simulator } = await startWithToken(t);
  const body = { receive_id: groupChat, ...text("x"), uuid: "u-1" };
  simulator.addRule({ method: "POST", fault: { kind: "close" } });
  await assert.rejects(call("POST", toChat, body), /fetch failed/);
  assert.equal(simulator.messages().length, 0);
  simulator.addRule({ method: "POST", fault: { kind: "lose-answer" } });
  await assert.rejects(call("POST", toChat, body), /fetch failed/);
  assert.equal(simulator.messages().length, 1);
  const { data } = (await call("POST", toChat, body)).body;
  assert.equal(data.message_id, simulator.messages()[0]?.messageId);
  assert.equal(simulator.messages().length, 1);
  assert.deepEqual(
    simulator.calls().map(({ status, code }) => [status, code]),
    [
      [200, 0],
      [null, null],
      [null, null],
      [200, 0],
    ],
  );
});

test("an answer that is held back ends with the server, and leaves no timer behind", async (t) => {
  const { callOverHttp, clock, simulator, close } = await startWithToken(t);
  simulator.addRule({ delayMs: hour });
  const held = assert.rejects(callOverHttp("GET", `contact/v3/users/${mei.open_id}`));
  await until("the answer is held back", () => clock.pending > 0);
  await close();
  await held;
  await until("no timer is left", () => clock.pending === 0, { withinMs: 10_000 });
});
