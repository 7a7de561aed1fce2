import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { NonRetryableError } from "../../lib/errors.ts";
import { callbackTypes } from "../../lib/feishu/classify.ts";
import {
  type CallbackList,
  type Context,
  type EventList,
  type KeyContext,
  onAnyEvent,
  onCallback,
  onEvent,
} from "../../lib/handler.ts";
import {
  callbackDispatcher,
  type Dispatch,
  dispatcher,
  jobDispatcher,
  keepingTickets,
  smokeType,
} from "../../lib/handling/dispatcher.ts";

const list = (loaders: Record<string, () => Promise<{ default: unknown }>>): Dispatch =>
  dispatcher(loaders as unknown as EventList);
const handler = (type: string) => ({ type, handle: () => {} });

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
const misfits = {
  "no default export": undefined,
  null: null,
  "a function": () => {},
  "an array": [],
  "a handler of another type": handler("test.other"),
  "a type without a handler": { type: "test.one" },
  "a handler that is no function": { type: "test.one", handle: "handle" },
};
describe("the dispatcher", () => {
  test("finds the handler of a type, and loads its file only then", async () => {
    const loaded: string[] = [];
    const load = (type: string) => async () => {
      loaded.push(type);
      return { default: handler(type) };
    };
    const dispatch = list({ "test.one": load("test.one"), "test.two": load("test.two") });
    assert.deepEqual(loaded, []);
    const file = dispatch("test.two");
    assert.deepEqual([file?.name, loaded], ["test.two", []]);
    assert.equal((await file?.load())?.name, "test.two");
    await dispatch("test.two")?.load();
    assert.deepEqual(loaded, ["test.two"], "once");
  });

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
      assert.equal((await dispatch(type)?.load())?.name, "_default");
    }
  });

  test("completes an event of the smoke test before any file, also that of any event", async () => {
    const file = () => assert.fail("nothing may be loaded");
    for (const loaders of [{}, { _default: file }, { _default: file, [smokeType]: file }]) {
      for (const type of [smokeType, `${smokeType}.ai`]) {
        const found = await list(loaders)(type)?.load();
        assert.deepEqual([found?.name, await found?.handle({}, {} as Context)], [smokeType, undefined]);
      }
    }
  });

  test("prefers a type's own file to the handler of any event", async () => {
    const dispatch = dispatcher({
      "im.message.receive_v1": async () => ({ default: onEvent("im.message.receive_v1", () => {}) }),
      _default: () => assert.fail("not this one"),
    });
    assert.equal((await dispatch("im.message.receive_v1")?.load())?.name, "im.message.receive_v1");
  });

  test("keeps the key that a handler gives its events", async () => {
    const key = () => "key";
    const dispatch = list({ "test.one": async () => ({ default: { ...handler("test.one"), key } }) });
    assert.equal((await dispatch("test.one")?.load())?.key, key);
  });

  for (const [what, exported] of Object.entries(misfits)) {
    test(`refuses a file that exports ${what}, and says which`, async () => {
      await assert.rejects(
        async () => list({ "test.one": async () => ({ default: exported }) })("test.one")?.load(),
        /^ConfigError: Cannot load functions\/events\/test\.one\.ts: .*Check the file's name and type$/,
      );
    });
  }

  test("rejects when a file cannot be loaded, and finds the others all the same", async () => {
    const broken = new SyntaxError("Unexpected token");
    let loads = 0;
    const dispatch = list({
      "test.broken": () =>
        ++loads < 2 ? Promise.reject(broken) : Promise.resolve({ default: handler("test.broken") }),
      "test.one": async () => ({ default: handler("test.one") }),
    });
    await assert.rejects(async () => dispatch("test.broken")?.load(), broken);
    assert.equal((await dispatch("test.one")?.load())?.name, "test.one");
    assert.equal((await dispatch("test.broken")?.load())?.name, "test.broken", "a failure is not kept");
  });
});

describe("a marketplace app's ticket", () => {
  const context = { createdAtMs: 7 } as Context;
  const event = { app_ticket: "g-1" };
  const handled: string[] = [];
  const own = { type: "app_ticket", handle: () => void handled.push("own"), key: () => "own key" };

  for (const [what, files] of Object.entries({ without: {}, before: { app_ticket: async () => ({ default: own }) } })) {
    test(`is kept as a handler runs, ${what} a handler of the app's own`, async () => {
      handled.length = 0;
      const kept: unknown[] = [];
      const keep = async (...ticket: unknown[]) => {
        kept.push(ticket);
        handled.push("kept");
      };
      const file = keepingTickets(list(files), keep)("app_ticket");
      const handler = await file?.load();
      assert.deepEqual(kept, [], "not while it loads");
      await handler?.handle(event, context);
      assert.deepEqual(kept, [["g-1", 7]]);
      assert.deepEqual(handled, what === "without" ? ["kept"] : ["kept", "own"]);
      assert.deepEqual([file?.name, handler?.name], ["app_ticket", "app_ticket"]);
      assert.equal(handler?.key, what === "without" ? undefined : own.key);
    });
  }

  test("that cannot be kept fails its event, and no other type is touched", async () => {
    handled.length = 0;
    const refused = new Error("the table is away");
    const dispatch = keepingTickets(list({ app_ticket: async () => ({ default: own }) }), () =>
      Promise.reject(refused),
    );
    const handler = await dispatch("app_ticket")?.load();
    await assert.rejects(async () => handler?.handle(event, context), refused);
    assert.deepEqual(handled, []);
    assert.equal(dispatch("test.other"), undefined);
  });
});

describe("the dispatcher of callbacks", () => {
  const callbacks = (loaders: Record<string, () => Promise<{ default: unknown }>>) =>
    callbackDispatcher(loaders as unknown as CallbackList);
  const card = "card.action.trigger";

  for (const type of [...names, "_default"]) {
    test(`C8, C-47: has no handler for a type named ${JSON.stringify(type)}, nor one of any callback`, () => {
      assert.equal(callbacks({ [card]: async () => ({ default: handler(card) }) })(type), undefined);
    });
  }

  test("C9: remembers what may change something, unless its file says otherwise, and nothing that only asks", async () => {
    for (const type of callbackTypes) {
      const found = await callbacks({ [type]: async () => ({ default: handler(type) }) })(type);
      assert.equal(found?.dedupe, /^card/.test(type) ? "required" : "off", type);
      for (const dedupe of ["required", "off"]) {
        const asked = await callbacks({ [type]: async () => ({ default: { ...handler(type), dedupe } }) })(type);
        assert.equal(asked?.dedupe, dedupe);
      }
    }
  });

  test("keeps what a file declares", async () => {
    const deferred = () => {};
    const deferredKey = () => "one";
    const onGiveUp = () => {};
    const given = { deferred, deferredKey, onGiveUp };
    const found = onCallback(card, () => ({}), { signedValues: true, dedupe: "off", ...given });
    const loaded = await callbacks({ [card]: async () => ({ default: found }) })(card);
    const { handle } = found;
    const options = { dedupe: "off", signedValues: true, purposes: [null], ...given };
    assert.deepEqual(loaded, { name: card, handle, ...options });
  });

  test("whoever asks for signed values in any words gets no others, and names what they are for", async () => {
    const load = (signedValues: unknown) =>
      callbacks({ [card]: async () => ({ default: { ...handler(card), signedValues } }) })(card);
    for (const [given, signedValues, purposes] of [
      [{ purposes: ["release", "refund"] }, true, ["release", "refund"]],
      ["always", true, [null]],
      [false, false, [null]],
      [undefined, false, [null]],
    ] as const) {
      const loaded = await load(given);
      assert.deepEqual([loaded?.signedValues, loaded?.purposes], [signedValues, purposes]);
    }
  });

  for (const [what, exported] of Object.entries(misfits)) {
    test(`refuses a file that exports ${what}, and says which`, async () => {
      await assert.rejects(
        async () => callbacks({ "test.one": async () => ({ default: exported }) })("test.one"),
        /^ConfigError: Cannot load functions\/callbacks\/test\.one\.ts: .*Check the file's name and type$/,
      );
    });
  }

  test("C5: finds what was put off under a name of its own, so that no event's handler shares its key", async () => {
    const deferred = () => "done";
    const file = async (name: string) => ({ default: { ...handler(name), deferred, deferredKey: () => "key" } });
    const events = list({ "test.one": () => file("test.one"), _default: () => file("_default") });
    const jobs = jobDispatcher(events, callbacks({ [card]: () => file(card) }));
    for (const [of, type, name] of [
      ["callback", card, "callbacks/card.action.trigger"],
      ["event", "test.one", "events/test.one"],
      ["event", "test.other", "events/_default"],
    ] as const) {
      const found = await jobs({ of, type, depth: 1 }).load();
      assert.deepEqual([found.name, found.handle], [name, deferred]);
    }
    const keys = await Promise.all([1, 2].map((depth) => jobs({ of: "callback", type: card, depth }).load()));
    assert.deepEqual(
      keys.map(({ key }) => key?.({}, {} as KeyContext)),
      ["key", undefined],
      "work that a chain goes on with is no second click",
    );
  });

  test("C5: finds for work whose file or deferred is gone what fails for good", async () => {
    const without = callbacks({ [card]: async () => ({ default: handler(card) }) });
    const events = list({ "test.one": async () => ({ default: handler("test.one") }) });
    for (const [of, type] of [
      ["callback", card],
      ["callback", "url.preview.get"],
      ["callback", "constructor"],
      ["event", "test.one"],
      ["event", card],
    ] as const) {
      const found = await jobDispatcher(events, without)({ of, type, depth: 1 }).load();
      const run = () => found.handle({}, {} as Context);
      assert.throws(run, (error) => error instanceof NonRetryableError && error.message.includes(`${of}s/${type}.ts`));
    }
  });

  test("C5: rejects for work whose file cannot be loaded, so that it is tried again", async () => {
    const broken = new SyntaxError("Unexpected token");
    await assert.rejects(
      jobDispatcher(
        dispatcher({}),
        callbacks({ [card]: () => Promise.reject(broken) }),
      )({ of: "callback", type: card, depth: 1 }).load(),
      broken,
    );
  });
});
