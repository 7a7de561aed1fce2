import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { type Classified, callbackTypes, classify, type Notice } from "../../lib/feishu/classify.ts";
import { maxDepth } from "../../lib/feishu/json.ts";
import { challengeText, v1Text, v2Text, verificationToken } from "../support/push.ts";

function notice(text: string): Notice & { kind: string; token: unknown } {
  const classified: Classified = classify(text);
  assert.ok(classified.kind === "event" || classified.kind === "callback", `it is ${classified.kind}`);
  return classified;
}

const reasonOf = (text: string) => {
  const classified = classify(text);
  return classified.kind === "unreadable" ? classified.reason : classified.kind;
};

describe("classify", () => {
  test("reads a 2.0 event", () => {
    const { text, ...facts } = notice(v2Text());
    assert.deepEqual(facts, {
      kind: "event",
      token: verificationToken,
      schema: "2.0",
      id: "event-1",
      type: "im.message.receive_v1",
      app: "cli_00000000000000a1",
      tenant: "tenant-1",
      createdAtMs: 1_759_999_999_000,
      header: {
        event_id: "event-1",
        event_type: "im.message.receive_v1",
        create_time: "1759999999000",
        token: "",
        app_id: "cli_00000000000000a1",
        tenant_key: "tenant-1",
      },
      event: { message: { text: "hello" } },
    });
    assert.equal(text, v2Text({ header: { token: "" } }));
  });

  test("P3: reads a 1.0 event, whose id is its uuid", () => {
    const { text, ...facts } = notice(v1Text());
    assert.deepEqual(facts, {
      kind: "event",
      token: verificationToken,
      schema: "1.0",
      id: "uuid-1",
      type: "approval_instance",
      app: "cli_00000000000000a1",
      tenant: "tenant-1",
      createdAtMs: 1_759_999_999_123,
      header: { ts: "1759999999.1234567", uuid: "uuid-1", token: "", type: "event_callback" },
      event: { type: "approval_instance", app_id: "cli_00000000000000a1", tenant_key: "tenant-1" },
    });
    assert.equal(text, v1Text({ envelope: { token: "" } }));
  });

  test("P3: does not take the uuid inside a 1.0 event for the push's own", () => {
    assert.equal(notice(v1Text({ event: { uuid: "of-the-instance" } })).id, "uuid-1");
  });

  test("C8: reads each callback type as a callback in schema 2.0, and never as an event", () => {
    assert.ok(callbackTypes.size >= 3);
    for (const type of callbackTypes) {
      assert.equal(notice(v2Text({ header: { event_type: type } })).kind, "callback");
      const { kind, token } = classify(v1Text({ event: { type } }));
      assert.deepEqual([kind, token], ["unreadable", verificationToken]);
    }
  });

  test("keeps header members that it does not know, and the card's own token", () => {
    const { header, event } = notice(v2Text({ header: { resource_id: "doc-1" }, event: { token: "c-card" } }));
    assert.equal(header["resource_id"], "doc-1");
    assert.equal(event["token"], "c-card");
  });

  test("C-35: a 2.0 event whose inner type is url_verification is an event", () => {
    const event = { type: "url_verification", challenge: "x", token: verificationToken };
    assert.equal(notice(v2Text({ event })).kind, "event");
    assert.equal(notice(v2Text({ event, envelope: { type: "url_verification", challenge: "x" } })).kind, "event");
  });

  test("C-35: a 1.0 body of type url_verification is a challenge, whatever else it holds", () => {
    assert.equal(classify(v1Text({ envelope: { type: "url_verification", challenge: "x" } })).kind, "challenge");
    assert.deepEqual(classify(challengeText()), {
      kind: "challenge",
      token: verificationToken,
      challenge: "7c5a9b1e-4d2f",
    });
  });

  const unreadable = [
    { when: "null", text: "null", reason: "json" },
    { when: "a number", text: "5", reason: "json" },
    { when: "a text", text: '"x"', reason: "json" },
    { when: "an array", text: "[]", reason: "json" },
    { when: "true", text: "true", reason: "json" },
    { when: "nothing", text: "", reason: "json" },
    { when: "JSON with something after it", text: `${v2Text()}\u0080\u0000`, reason: "json" },
    { when: "two objects", text: "{}{}", reason: "json" },
    { when: "an empty object", text: "{}", reason: "schema" },
    { when: "schema 3.0", text: v2Text({ envelope: { schema: "3.0" } }), reason: "schema" },
    { when: "schema as a number", text: v2Text({ envelope: { schema: 2 } }), reason: "schema" },
    { when: "schema null", text: v2Text({ envelope: { schema: null } }), reason: "schema" },
    { when: "2.0 without a header", text: v2Text({ envelope: { header: undefined } }), reason: "header" },
    { when: "2.0 whose header is an array", text: v2Text({ envelope: { header: [] } }), reason: "header" },
    { when: "2.0 without an event", text: v2Text({ envelope: { event: undefined } }), reason: "event" },
    { when: "2.0 whose event is a text", text: v2Text({ event: "x" }), reason: "event" },
    { when: "2.0 without a type", text: v2Text({ header: { event_type: undefined } }), reason: "header.event_type" },
    { when: "2.0 with an empty type", text: v2Text({ header: { event_type: "" } }), reason: "header.event_type" },
    {
      when: "2.0 whose type is an object",
      text: v2Text({ header: { event_type: { a: 1 } } }),
      reason: "header.event_type",
    },
    { when: "1.0 of another type", text: v1Text({ envelope: { type: "event" } }), reason: "schema" },
    { when: "1.0 without an event", text: v1Text({ envelope: { event: undefined } }), reason: "event" },
    { when: "1.0 whose event has no type", text: v1Text({ event: { type: undefined } }), reason: "event.type" },
  ];
  for (const { when, text, reason } of unreadable) {
    test(`P2, P3: says that it cannot read ${when}`, () => assert.equal(reasonOf(text), reason));
  }

  test("P8: reads an envelope of the greatest depth, and none that is deeper", () => {
    // The envelope and its event are the first two levels.
    const nested = (levels: number) => `${"[".repeat(levels)}${"]".repeat(levels)}`;
    const text = (levels: number) => v2Text({ event: { a: 0 } }).replace('"a":0', `"a":${nested(levels)}`);
    assert.equal(notice(text(maxDepth - 2)).kind, "event");
    assert.equal(reasonOf(text(maxDepth - 1)), "depth");
    assert.equal(reasonOf(text(100_000)), "depth");
    // In an order that is not the platform's.
    const turned = (levels: number) => text(levels).replace(/^\{(.*),("event":.*)\}$/, "{$2,$1}");
    assert.equal(notice(turned(maxDepth - 2)).kind, "event");
    assert.equal(reasonOf(turned(maxDepth - 1)), "depth");
  });

  test("P5: reads seconds, milliseconds and microseconds as the same instant", () => {
    const at = (value: unknown) => notice(v2Text({ header: { create_time: value } })).createdAtMs;
    const instantMs = 1_735_689_600_000;
    for (const value of [
      "1735689600",
      "1735689600000",
      "1735689600000000",
      "1735689600.000",
      1735689600,
      1735689600000,
    ]) {
      assert.equal(at(value), instantMs, JSON.stringify(value));
    }
    assert.equal(at("1735689600.4182073"), instantMs + 418);
    assert.equal(at("0"), 0);
  });

  test("P5: says null of what is not a time", () => {
    const garbage = [
      ...["", "x", "-1", "1e9", "0x10", " 1735689600", "1735689600 ", "1,5", ".5", "5.", "\u0661\u0662", "NaN"],
      ...["17356896000", "173568960000000000", "9".repeat(400), null, true, {}, [], ["1735689600"], -1, 1e30, 0.5e-9],
    ];
    for (const value of garbage) {
      assert.equal(notice(v2Text({ header: { create_time: value } })).createdAtMs, null, JSON.stringify(value));
    }
    assert.equal(notice(v2Text({ header: { create_time: undefined } })).createdAtMs, null);
  });

  test("P4: gives an event without an id one that is its own", () => {
    const without = (event: unknown, header = {}) => v2Text({ header: { event_id: undefined, ...header }, event });
    const { id } = notice(without({ a: 1 }));
    assert.match(id, /^sha256:[0-9a-f]{64}$/);
    assert.equal(notice(without({ a: 1 })).id, id, "the same push has the same id");
    assert.equal(notice(notice(without({ a: 1 })).text).id, id, "and so has what the queue carries");
    assert.equal(notice(without({ a: 1 }, { token: "rotated" })).id, id, "a token says nothing of the event");
    assert.notEqual(notice(without({ a: 2 })).id, id, "another event");
    assert.notEqual(notice(without({ a: 1 }, { event_type: "other" })).id, id, "another type");
    assert.notEqual(notice(without({ a: 1 }, { tenant_key: "other" })).id, id, "another tenant");
    assert.notEqual(notice(without({ a: 1 }, { create_time: "1759999999001" })).id, id, "another time");
  });

  test("P4: does not see the time of sending in a 1.0 event without a uuid", () => {
    const without = (ts: string, event = {}) => v1Text({ envelope: { uuid: undefined, ts }, event });
    assert.equal(notice(without("1759999999.1")).id, notice(without("1760000500.2")).id);
    assert.notEqual(notice(without("1759999999.1")).id, notice(without("1759999999.1", { a: 1 })).id);
  });

  test("P4: tells events apart whose numbers a double cannot", () => {
    const without = (digits: string) =>
      v2Text({ header: { event_id: undefined }, event: { a: 0 } }).replace('"a":0', `"a":${digits}`);
    assert.notEqual(notice(without("12345678901234567890")).id, notice(without("12345678901234567891")).id);
  });

  test("P4, C-48: an id that is no text, or empty, is no id", () => {
    for (const event_id of ["", 5, null, {}, ["event-1"], true]) {
      assert.match(notice(v2Text({ header: { event_id } })).id, /^sha256:/, JSON.stringify(event_id));
    }
  });

  test("P6, C-53: keeps 64-bit numbers and odd ones to the letter", () => {
    for (const digits of ["12345678901234567890", "-0", "1e400", "1.0", "9".repeat(10_000)]) {
      const text = v2Text({ event: { a: 0 } }).replace('"a":0', `"a":${digits}`);
      assert.ok(notice(text).text.includes(`"a":${digits}}`));
    }
  });

  test("C-54: of a name given twice the last value counts, in the check as in the use", () => {
    const twice = v2Text().replace('"event_id":"event-1"', '"event_id":"first","event_id":"last"');
    assert.equal(notice(twice).id, "last");
    assert.equal(notice(notice(twice).text).id, "last");
    const token = v2Text().replace('"token":', '"token":"other","token":');
    assert.equal(notice(token).token, verificationToken);
    assert.ok(!notice(token).text.includes("other"));
  });

  test("C-49: members named like those of every object are data", () => {
    const dangerous = '{"__proto__":{"polluted":true},"constructor":{"prototype":{"polluted":true}}}';
    const { event, header } = notice(
      v2Text({ event: { a: 0 } })
        .replace('"a":0', `"a":${dangerous}`)
        .replace('"header":{', '"header":{"__proto__":{"app_id":"cli_evil","polluted":true},')
        .replace('"schema"', '"__proto__":{"schema":"9"},"schema"'),
    );
    assert.equal(({} as { polluted?: unknown }).polluted, undefined);
    assert.equal(Object.getPrototypeOf(event), Object.prototype);
    assert.equal(Object.getPrototypeOf(header), Object.prototype);
    assert.equal((header as { polluted?: unknown }).polluted, undefined);
  });

  test("C-49: what an object inherits is not its member", () => {
    assert.equal(reasonOf('{"__proto__":{"schema":"2.0","header":{"event_type":"x"},"event":{}}}'), "schema");
    assert.equal(reasonOf('{"__proto__":{"type":"url_verification","challenge":"x"}}'), "schema");
  });
});
