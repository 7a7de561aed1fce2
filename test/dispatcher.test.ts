import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { type Dispatch, dispatcher } from "../lib/dispatcher.ts";
import { type EventList, onAnyEvent, onEvent } from "../lib/handler.ts";

const list = (loaders: Record<string, () => Promise<{ default: unknown }>>): Dispatch =>
  dispatcher(loaders as unknown as EventList);
const handler = (type: string) => ({ type, handle: () => {} });

describe("the dispatcher", () => {
  test("finds the handler of a type, and loads its file only then", async () => {
    const loaded: string[] = [];
    const load = (type: string) => async () => {
      loaded.push(type);
      return { default: handler(type) };
    };
    const dispatch = list({ "test.one": load("test.one"), "test.two": load("test.two") });
    assert.deepEqual(loaded, []);
    assert.equal((await dispatch("test.two"))?.name, "test.two");
    assert.deepEqual(loaded, ["test.two"]);
  });

  const names = [
    "constructor",
    "__proto__",
    "toString",
    "hasOwnProperty",
    "prototype",
    "",
    "../../x",
    "test.one\u0000",
    "TEST.ONE",
  ];
  for (const type of names) {
    test(`C-47: has no handler for a type named ${JSON.stringify(type)}`, () => {
      assert.equal(list({ "test.one": async () => ({ default: handler("test.one") }) })(type), undefined);
    });
  }

  test("C-47: looks a type of 1 MB up without loading anything", () => {
    const dispatch = list({ "test.one": () => assert.fail("nothing may be loaded") });
    assert.equal(dispatch("test.one".repeat(131_072)), undefined);
  });

  test("P7: gives a type without a file to the handler of any event, also one named as its file", async () => {
    const dispatch = dispatcher({ _default: async () => ({ default: onAnyEvent(() => {}) }) });
    for (const type of ["test.unknown", "constructor", "__proto__", "_default"]) {
      assert.equal((await dispatch(type))?.name, "_default");
    }
  });

  test("prefers a type's own file to the handler of any event", async () => {
    const dispatch = dispatcher({
      "im.message.receive_v1": async () => ({ default: onEvent("im.message.receive_v1", () => {}) }),
      _default: () => assert.fail("not this one"),
    });
    assert.equal((await dispatch("im.message.receive_v1"))?.name, "im.message.receive_v1");
  });

  test("keeps the key that a handler gives its events", async () => {
    const key = () => "key";
    const dispatch = list({ "test.one": async () => ({ default: { ...handler("test.one"), key } }) });
    assert.equal((await dispatch("test.one"))?.key, key);
  });

  const misfits = {
    "no default export": undefined,
    null: null,
    "a function": () => {},
    "an array": [],
    "a handler of another type": handler("test.other"),
    "a type without a handler": { type: "test.one" },
    "a handler that is no function": { type: "test.one", handle: "handle" },
  };
  for (const [what, exported] of Object.entries(misfits)) {
    test(`refuses a file that exports ${what}, and says which`, async () => {
      await assert.rejects(
        async () => list({ "test.one": async () => ({ default: exported }) })("test.one"),
        /^TypeError: Cannot load functions\/events\/test\.one\.ts: .*Check the file's name and type$/,
      );
    });
  }

  test("rejects when a file cannot be loaded, and finds the others all the same", async () => {
    const broken = new SyntaxError("Unexpected token");
    const dispatch = list({
      "test.broken": () => Promise.reject(broken),
      "test.one": async () => ({ default: handler("test.one") }),
    });
    await assert.rejects(async () => dispatch("test.broken"), broken);
    assert.equal((await dispatch("test.one"))?.name, "test.one");
  });
});
