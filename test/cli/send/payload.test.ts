import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { UsageError } from "../../../lib/cli/command.ts";
import {
  applySetting,
  completeEnvelope,
  completeOldCard,
  parseSetting,
  readPayload,
  settingWarning,
} from "../../../lib/cli/send/payload.ts";

const payload = () => ({
  event: { message: { content: '{"text":"a"}', ids: [1, 2] }, count: 3, users: [{ name: "x" }], none: null },
});

function set(...settings: string[]) {
  const envelope = payload();
  for (const setting of settings) applySetting(envelope, parseSetting(setting));
  return envelope.event as Record<string, unknown> & ReturnType<typeof payload>["event"];
}

test("a text that is set stays a text, even if the value is JSON", () => {
  assert.equal(set('event.message.content={"text":"hi"}').message.content, '{"text":"hi"}');
  assert.equal(set("event.message.content=17").message.content, "17");
  assert.equal(set("event.message.content=").message.content, "");
});

test("any other value is JSON if it parses, else a text", () => {
  assert.equal(set("event.count=4").count, 4);
  assert.equal(set("event.count=four").count, "four");
  assert.deepEqual(set('event.new.deep={"a":[true]}')["new"], { deep: { a: [true] } });
  assert.equal(set("event.formula=a=b")["formula"], "a=b");
  assert.deepEqual(parseSetting("a=b"), { path: ["a"], value: "b" });
  assert.deepEqual(set("event.none.inside=1").none, { inside: 1 });
});

test("array members are set by index, and one may be added at the end", () => {
  assert.deepEqual(set("event.users.0.name=y", "event.users[1].name=z").users, [{ name: "y" }, { name: "z" }]);
  assert.deepEqual(set("event.message.ids[2]=3").message.ids, [1, 2, 3]);
});

const noJson = "event.message.content is a text with JSON in it, and what you set is no JSON";
const added = (path: string, likely: string) => `the payload has no ${path}, so it is added. Did you mean ${likely}?`;
for (const [setting, says] of [
  ["event.mesage.content=1", added("event.mesage", "event.message")],
  ["evnet.message.content=1", added("evnet", "event")],
  ["event.message.Content=1", added("event.message.Content", "event.message.content")],
  ['event.message.content={"text":"hi"', noJson],
  ["event.message.content=hi", noJson],
  ['event.message.content={"text":"hi"}', undefined],
  ["event.message.root_id=om_1", undefined],
  ["event.extra.deep=1", undefined],
  ["event.users.1.name=y", undefined],
  ["event.count=four", undefined],
] as const) {
  test(`of --set ${setting}, ${says === undefined ? "nothing is said" : "it is said what is likely to be wrong"}`, () => {
    assert.equal(settingWarning(payload(), parseSetting(setting)), says);
  });
}

const wrong = [
  "event",
  "=x",
  "event..a=1",
  ".event=1",
  "event.users.2.name=x",
  "event.users.length=0",
  "event.users.-1=0",
  "event.users.00=0",
  "event.count.a=1",
  "event.message.content.text=hi",
  "__proto__.polluted=1",
  "event.__proto__.polluted=1",
  "event.users.0.__proto__.polluted=1",
  "constructor.prototype.polluted=1",
  "event.message.constructor=1",
  "event.prototype=1",
  "message.content=hi",
];
for (const setting of wrong) {
  test(`refuses --set ${setting}`, () => {
    assert.throws(() => set(setting), UsageError);
    assert.equal(Reflect.get({}, "polluted"), undefined);
  });
}

test("no --set reaches outside the payload, whatever its path", () => {
  const before = Object.getOwnPropertyNames(Object.prototype).join();
  const part = fc.constantFrom("event", "a", "0", "__proto__", "constructor", "prototype", "toString", "users", "[0]");
  fc.assert(
    fc.property(fc.array(part, { minLength: 1, maxLength: 5 }), fc.string(), (path, value) => {
      try {
        set(`${path.join(".")}=${value}`);
      } catch (error) {
        assert.ok(error instanceof UsageError);
      }
      assert.equal(Object.getOwnPropertyNames(Object.prototype).join(), before);
      assert.equal(typeof {}.toString, "function");
    }),
    { seed: 20_261 },
  );
});

const facts = { nowMs: 1_760_000_000_000, appId: "cli_0123456789abcdef", newId: () => "fresh" };

test("tells an envelope in a file from an event alone", () => {
  assert.equal(readPayload('{"message":{}}', "f").is, "event");
  for (const text of [
    '{"schema":"2.0"}',
    '{"header":{}}',
    '{"type":"event_callback"}',
    '{"type":"url_verification"}',
  ]) {
    assert.equal(readPayload(text, "f").is, "envelope", text);
  }
  assert.equal(readPayload('{"open_message_id":"om_1","action":{}}', "f").is, "old card");
  for (const text of ['{"open_message_id":"om_1"}', '{"action":{}}'])
    assert.equal(readPayload(text, "f").is, "event", text);
  for (const text of ["", "[]", "1", "null", "{", '{"encrypt":"a"}'])
    assert.throws(() => readPayload(text, "f"), UsageError);
});

test("an envelope from a file gets the receiver's app, a tenant, and a fresh time and id", () => {
  const of = (type: string) => ({ event_id: "e", event_type: type, create_time: "1", app_id: "a", tenant_key: "t" });
  const fresh = { event_id: "fresh", app_id: facts.appId, tenant_key: "2d94f07b61c8e35a", token: "" };
  const headerOf = (type: string) => {
    return completeEnvelope(JSON.stringify({ schema: "2.0", header: of(type), event: {} }), facts)["header"];
  };
  const [event_type, callback_type] = ["im.message.receive_v1", "card.action.trigger"];
  assert.deepEqual(headerOf(event_type), { ...fresh, event_type, create_time: "1760000000000" });
  assert.deepEqual(headerOf(callback_type), { ...fresh, event_type: callback_type, create_time: "1760000000000000" });
  const old = (event: object) => {
    const text = JSON.stringify({ ts: "1.0", uuid: "u", type: "event_callback", event: { app_id: "a", ...event } });
    return completeEnvelope(text, { ...facts, eventId: "given" });
  };
  assert.deepEqual(old({ type: "t", tenant_key: "t" }), {
    ts: "1760000000.0000000",
    type: "event_callback",
    uuid: "given",
    token: "",
    event: { type: "t", app_id: facts.appId, tenant_key: "2d94f07b61c8e35a" },
  });
  assert.deepEqual(old({ type: "app_ticket" })["event"], { type: "app_ticket", app_id: facts.appId });
  const card = '{"open_message_id":"om_1","tenant_key":"t","token":"c-1","action":{}}';
  const own = { open_message_id: "om_1", action: {} };
  assert.deepEqual(completeOldCard(card, facts), { ...own, tenant_key: "2d94f07b61c8e35a", token: "c-fresh" });
  assert.deepEqual(completeOldCard(card, { ...facts, keep: true }), { ...own, tenant_key: "t", token: "c-1" });
});

test("with keep, an envelope from a file keeps its id, time, app and tenant, and is given what it lacks", () => {
  const kept = { ...facts, keep: true };
  const text = '{"schema":"2.0","header":{"event_id":"e","create_time":"1","app_id":"a","tenant_key":"t"}}';
  const own = completeEnvelope(text, kept);
  assert.deepEqual(own["header"], { event_id: "e", create_time: "1", app_id: "a", tenant_key: "t", token: "" });
  const bare = completeEnvelope('{"schema":"2.0","header":{"token":"other"},"event":{}}', kept);
  assert.deepEqual(bare["header"], {
    event_id: "fresh",
    create_time: "1760000000000",
    app_id: facts.appId,
    token: "",
  });
  const old = completeEnvelope('{"type":"event_callback","event":{"type":"t"}}', { ...kept, eventId: "given" });
  assert.deepEqual(old, {
    ts: "1760000000.0000000",
    type: "event_callback",
    uuid: "given",
    token: "",
    event: { app_id: facts.appId, type: "t" },
  });
});

test("numbers wider than a double keep their digits", () => {
  const envelope = completeEnvelope('{"schema":"2.0","header":{},"event":{"id":7123456789012345678,"x":1.0}}', facts);
  assert.match(JSON.stringify(envelope), /"event":\{"id":7123456789012345678,"x":1.0\}/);
});
