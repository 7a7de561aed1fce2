import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { fill, inspect, maxDepth } from "../../lib/feishu/json.ts";
import { anyCharacter } from "../support/unicode.ts";

const emptied = (text: string) => fill(text, inspect(text).tokens, "");

describe("inspect", () => {
  test("P8: counts objects and arrays alike, and none that stand inside a text", () => {
    assert.equal(inspect("5").depth, 0);
    assert.equal(inspect("{}").depth, 1);
    assert.equal(inspect('{"a":[{"b":[]}],"c":{}}').depth, 4);
    assert.equal(inspect('{"a":"[[[[{{{{","b":"\\"[["}').depth, 1);
    assert.equal(inspect('{"a":"\\\\"}[[').depth, 2);
  });

  test("P8: counts on where a text is too deep, and finds the token behind that", () => {
    assert.equal(inspect("[".repeat(100_000)).depth, 100_000);
    assert.equal(inspect('{"a":'.repeat(100_000)).depth, 100_000);
    const deep = `{"a":${"[".repeat(maxDepth)}${"]".repeat(maxDepth)},"token":`;
    assert.equal(emptied(`${deep}"SECRET"}`), `${deep}""}`);
  });

  test("answers any text without throwing", () => {
    const noise = fc.stringMatching(/^[{}[\]":,\\ auet0]*$/);
    fc.assert(
      fc.property(fc.oneof(noise, fc.string({ unit: anyCharacter }), fc.json()), (text) => {
        const { depth, tokens } = inspect(text);
        assert.ok(depth >= 0 && depth <= text.length);
        for (const [start, end] of tokens) assert.ok(start >= 0 && end > start && end <= text.length);
      }),
      { seed: 31, numRuns: 40 },
    );
  });
});

describe("the token in a text", () => {
  const places = [
    { where: "the header of a 2.0 envelope", text: '{"schema":"2.0","header":{"token":"SECRET"},"event":{}}' },
    { where: "the top of a 1.0 envelope", text: '{"token":"SECRET","type":"event_callback","event":{}}' },
    { where: "a text with white space", text: '{ "header" :\n\t{ "x" : 1 , "token" : "SECRET" } }' },
    { where: "a member name with escapes", text: '{"\\u0068eader":{"\\u0074\\u006f\\u006b\\u0065\\u006e":"SECRET"}}' },
    { where: "two headers", text: '{"header":{"token":"SECRET"},"header":{"token":"SECRET"}}' },
    { where: "a name given twice", text: '{"token":"SECRET","token":"SECRET"}' },
    {
      where: "a header after arrays and objects",
      text: '{"a":[1,"x",{"token":"y"}],"b":{"token":"z"},"header":{"c":[["token"]],"token":"SECRET"}}',
    },
    { where: "a token with quotes and backslashes in it", text: '{"token":"SECRET\\\\\\"SECRET\\\\"}' },
  ];
  for (const { where, text } of places) {
    test(`is emptied in ${where}`, () => {
      assert.ok(text.includes("SECRET"));
      assert.ok(!emptied(text).includes("SECRET"), emptied(text));
      JSON.parse(emptied(text));
    });
  }

  const others = [
    { what: "a card's own token", text: '{"header":{"x":"y"},"event":{"token":"c-1"}}' },
    { what: "a token deeper in the header", text: '{"header":{"more":{"token":"deep"}}}' },
    { what: "a text that says token", text: '{"a":"token","b":"\\"token\\":\\"x\\""}' },
    { what: "an array after a member called token", text: '{"token":["x","y"],"list":["token","z"]}' },
    { what: "an array in the header", text: '{"header":{"list":["token","z"],"x":"y"}}' },
    { what: "a member whose name begins like it", text: `{"token${"x".repeat(100)}":"y","token2":"z"}` },
  ];
  for (const { what, text } of others) {
    test(`is no other thing: ${what} stays`, () => assert.equal(emptied(text), text));
  }

  test("P6: is the only thing that changes, whatever the text holds", () => {
    const value = fc.jsonValue({ maxDepth: 3 });
    fc.assert(
      fc.property(
        fc.dictionary(fc.string(), value),
        fc.dictionary(fc.string(), value),
        fc.string(),
        (top, inner, token) => {
          const message = { ...top, header: { ...inner, token }, token };
          const text = JSON.stringify(message);
          const empty = { ...top, header: { ...inner, token: "" }, token: "" };
          assert.equal(emptied(text), JSON.stringify(empty));
          assert.equal(fill(emptied(text), inspect(emptied(text)).tokens, token), text);
        },
      ),
      { seed: 32, numRuns: 40 },
    );
  });
});

describe("the event in a text", () => {
  const event = (text: string) => text.slice(...inspect(text).event);
  const cases = [
    { when: "it comes first", text: '{"event":{"a":[1,{"b":2}]},"x":1}', is: '{"a":[1,{"b":2}]}' },
    { when: "it comes last", text: '{"x":{"event":1},"event":{"a":"}"}}', is: '{"a":"}"}' },
    { when: "there is white space", text: '{ "event" : { "a" : 1 } , "x":1}', is: ' { "a" : 1 } ' },
    { when: "it comes twice", text: '{"event":{"a":1},"event":{"a":2}}', is: '{"a":2}' },
    { when: "it is a number", text: '{"event":12345678901234567890}', is: "12345678901234567890" },
    { when: "its name has escapes", text: '{"\\u0065vent":[]}', is: "[]" },
    { when: "there is none", text: '{"a":{"event":1},"b":["event",1],"c":"event"}', is: "" },
  ];
  for (const { when, text, is } of cases) {
    test(`P4: is found when ${when}`, () => {
      JSON.parse(text);
      assert.equal(event(text), is);
    });
  }

  test("P4: is the whole of it, whatever the text holds", () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.jsonValue()), fc.jsonValue(), (top, value) => {
        const { event: _, ...others } = top;
        assert.equal(event(JSON.stringify({ ...others, event: value, after: 1 })), JSON.stringify(value));
      }),
      { seed: 33, numRuns: 40 },
    );
  });
});
