import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { classify } from "../../../lib/feishu/classify.ts";
import { appKeys, defaultApp } from "../../../lib/feishu/keys.ts";
import { open } from "../../../lib/feishu/open.ts";
import { catalogue, find } from "../../../lib/simulator/catalogue.ts";
import { sealEnvelope } from "../../../lib/simulator/platform/push.ts";
import {
  hasSample,
  oldCardSample,
  sampleEnvelope,
  sampleText,
  sampleTypes,
} from "../../../lib/simulator/samples/samples.ts";

const nowMs = 1_760_000_000_123;
const appId = "cli_0123456789abcdef";
let ids = 0;
const options = { nowMs, appId, newId: () => (++ids).toString(16).padStart(32, "0") };
const pushable = catalogue.filter(({ type }) => type !== "card.action.trigger_v1");

for (const [name, encryptKeys] of [
  ["encrypted", [{ value: "an encrypt key" }]],
  ["plain", []],
] as const) {
  test(`every type of the catalogue makes an envelope that the receiver opens, ${name}`, () => {
    const keys = new Map([[defaultApp, appKeys({ appId, encryptKeys, verificationTokens: [{ value: "a token" }] })]]);
    for (const { type, version, kind } of pushable) {
      const text = sampleText(type, { ...options, schema: version });
      const envelope = open(sealEnvelope(text, { keys, nowMs, requestId: "r-1" }), { keys, nowMs });
      assert.ok(envelope.kind === kind, `${type}: ${envelope.kind}`);
      assert.deepEqual(
        { type: envelope.type, schema: envelope.schema, app: envelope.app, ms: envelope.createdAtMs },
        { type, schema: version, app: appId, ms: nowMs },
      );
      assert.match(envelope.id, /^[0-9a-f]{32}$/);
      assert.equal(envelope.requestId, "r-1");
      assert.equal(envelope.tenant === null, type === "app_ticket");
      // What is carried on is the sample to the letter: the token went in and was emptied again.
      assert.equal(envelope.text, text);
    }
  });
}

test("the written samples are of known types, in the schema that the catalogue says", () => {
  assert.equal(sampleTypes.length, 25);
  for (const type of sampleTypes) {
    assert.ok(hasSample(type));
    const envelope = sampleEnvelope(type, options);
    assert.equal(envelope["schema"] ?? "1.0", find(type)?.version, type);
  }
  assert.equal(hasSample("toString"), false);
});

test("an event's members and values stay: handlers' tests of projects assert on them", () => {
  const path = join(import.meta.dirname, "../../fixtures/samples.json");
  const expected = JSON.parse(readFileSync(path, "utf8")) as Record<string, object>;
  const fixed = { ...options, eventId: "an event" };
  const eventOf = (type: string) =>
    type === "card.action.trigger_v1" ? oldCardSample(fixed) : sampleEnvelope(type, fixed).event;
  assert.deepEqual(
    sampleTypes.filter((type) => !Object.hasOwn(expected, type)),
    [],
  );
  for (const [type, event] of Object.entries(expected)) assert.deepEqual(eventOf(type), event, type);
});

test("the same event id is the same event to the letter; another is another message", () => {
  const messageId = (text: string) => JSON.parse(text).event.message.message_id as string;
  const text = (eventId?: string) => sampleText("im.message.receive_v1", { ...options, eventId });
  assert.equal(text("x"), text("x"));
  assert.notEqual(messageId(text("x")), messageId(text("y")));
  assert.notEqual(messageId(text()), messageId(text()));
  assert.match(messageId(text()), /^om_[0-9a-f]{32}$/);
});

test("drive events name the file and its subscribers in the header", () => {
  const { header, event } = JSON.parse(sampleText("drive.file.edit_v1", options));
  assert.equal(header.resource_id, event.file_token);
  assert.deepEqual(header.user_list, [...event.subscriber_id_list, ...event.operator_id_list]);
});

test("a message's content is a JSON document in a string", () => {
  const { event } = JSON.parse(sampleText("im.message.receive_v1", options));
  assert.equal(typeof JSON.parse(event.message.content).text, "string");
});

test("a type that nobody knows is sent as schema 2.0, or as told", () => {
  for (const type of ["my.own.thing_v9", "__proto__", "constructor", "a b"]) {
    const message = classify(sampleText(type, options));
    assert.ok(message.kind === "event");
    assert.deepEqual([message.type, message.schema], [type, "2.0"]);
    assert.deepEqual(Object.keys(message.event), []);
  }
  const old = classify(sampleText("my_own_thing", { ...options, schema: "1.0" }));
  assert.ok(old.kind === "event" && old.schema === "1.0" && old.type === "my_own_thing");
});
