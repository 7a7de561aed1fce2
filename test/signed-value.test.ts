import assert from "node:assert/strict";
import crypto, { createHash, createHmac, hkdfSync } from "node:crypto";
import { registerHooks, syncBuiltinESMExports } from "node:module";
import { after, before, beforeEach, describe, test } from "node:test";
import type { SQSBatchResponse, SQSEvent } from "aws-lambda";
import fc from "fast-check";
import type { HttpHandler } from "../lib/aws/entries/answering.ts";
import { secretSource } from "../lib/aws/secrets.ts";
import { ConfigError } from "../lib/errors.ts";
import type { SealedRequest } from "../lib/feishu/envelope.ts";
import { onCallback, onEvent } from "../lib/handler.ts";
import type { Run } from "../lib/handling/run.ts";
import { toolMaker } from "../lib/handling/tools.ts";
import type { ApiOptions } from "../lib/open-api/client.ts";
import { appSigner, cardSigner, readValue, type Signer, signValue } from "../lib/signed-value.ts";
import { toLine } from "../lib/trace/log.ts";
import { clientTo } from "./support/aws.ts";
import { startCallback } from "./support/callback-http.ts";
import { eventBody, record } from "./support/events.ts";
import { httpApi } from "./support/http-events.ts";
import { oldCardText, oldPush, oldRing } from "./support/old-card.ts";
import { appId, encryptKey, push, startMs, v2Text, verificationToken } from "./support/push.ts";
import { type Services, startServices } from "./support/services.ts";
import { startStore } from "./support/ssm.ts";
import { recordTrace } from "./support/trace.ts";

const appSecret = "CANARY app secret of some length";
const tenant = "tenant-1";
const amount = "CANARY-AMOUNT";
const signer = appSigner(async () => appSecret);
/** The key that is derived from the app's secret, written out once more. */
const key = Buffer.from(hkdfSync("sha256", appSecret, "", "larkpost card value", 32));

const trace = recordTrace();
beforeEach(() => {
  trace.entries.length = 0;
});
after(() => {
  trace.stop();
});

let clicks = 0;
/** A click on a card's button, unlike any other; what is given as `undefined` is left out. */
function click(value: unknown, options: { action?: unknown; tenant?: string; nowMs?: number } = {}): SealedRequest {
  const { action = { tag: "button", value }, tenant: tenant_key = tenant, nowMs } = options;
  const event = { operator: { open_id: "ou_5f1d3c0b2a" }, token: "c-41f0d27b9e", action };
  const header = { event_id: `click-${++clicks}`, event_type: "card.action.trigger", tenant_key };
  return push(v2Text({ header, event }), nowMs === undefined ? {} : { nowMs });
}

const base64url = (value: unknown) => Buffer.from(JSON.stringify(value)).toString("base64url");
/** As a handler has it, with another secret or another time. */
const contextOf = (own: Signer = signer, nowMs = startMs) => ({
  tenant,
  signCard: cardSigner(own, { nowMs: () => nowMs }),
});
const signed = (value: unknown, of = tenant) => signValue(value, { ...contextOf(), tenant: of });
const sealed = async (text: string) => `${text}.${await signer.sign("card value", text)}`;
const reading = { signer, tenant, nowMs: startMs };
const reasons = () => trace.entries.filter(({ stage }) => stage === "failed").map(({ facts }) => facts?.["reason"]);

/** Characters that a parser or an encoding might stumble over. */
const letters = fc.constantFrom(
  "a",
  "0",
  '"',
  "\\",
  ".",
  "-",
  "=",
  "\0",
  "\n",
  "\u00e9",
  "\u4e2d",
  "\u2028",
  "\ud800",
  "\u{1f44b}",
);

const values: [what: string, value: unknown][] = [
  ["an object", { order: "17", amount: 12.5, urgent: true, note: null }],
  ["numbers", [0, -1, 1e21, 0.1, 9_007_199_254_740_991]],
  ["texts of any alphabet", { note: "\u653e\u884c \u{1f44b} \ud800 \0 \u2028 </script>", "": "" }],
  ["nested parts", { a: [{ b: { c: [[], {}, [null]] } }] }],
  ["names of an object's own", JSON.parse('{"__proto__":{"role":"admin"},"constructor":1,"_signed":"x"}')],
  ["a text", "release"],
  ["an empty text", ""],
  ["a number", 17],
  ["false", false],
  ["null", null],
  ["a list", ["a", "b"]],
  ["what nests 1,000 deep", JSON.parse(`${"[".repeat(1000)}${"]".repeat(1000)}`)],
];

describe("a signed value", () => {
  for (const [what, value] of values) {
    test(`C-77: reaches the handler as it was: ${what}`, async () => {
      const callback = startCallback({ signer, handlerOptions: { signedValues: true } });
      const { callback: given, context } = await callback.hands(click(await signed(value)));
      assert.deepEqual(given.action.value, value);
      assert.equal(context.isSigned, true);
      assert.equal(({} as { role?: unknown }).role, undefined);
    });
  }

  test("C-77: reaches the handler as it was, whatever JSON holds", async () => {
    const anyValue = fc.jsonValue({ stringUnit: letters, maxDepth: 4 });
    await fc.assert(
      fc.asyncProperty(anyValue, async (value) => {
        const read = await readValue(JSON.parse(JSON.stringify(await signed(value))), reading);
        assert.deepEqual(read, { state: "signed", value: JSON.parse(JSON.stringify(value)), purpose: null });
      }),
      { numRuns: 40, seed: 20_261 },
    );
  });

  test("C-77: reaches the handler of an old card callback as it was", async () => {
    const keys = oldRing();
    const callback = startCallback({ keys, signer, handlerOptions: { signedValues: true } });
    const value = await signed({ order: "17" });
    const { callback: given, context } = await callback.hands(oldPush(oldCardText({ action: { value } })));
    assert.deepEqual([given.action.value, context.isSigned], [{ order: "17" }, true]);
    const forged = { _signed: value._signed.replace(/.$/, (last) => (last === "A" ? "B" : "A")) };
    await callback.fails(oldPush(oldCardText({ action: { value: forged } })), "card.action.trigger_v1");
    await callback.fails(oldPush(oldCardText({ action: { value: { order: "17" } } })), "card.action.trigger_v1");
    await callback.fails(oldPush(oldCardText({ tenant_key: "another", action: { value } })), "card.action.trigger_v1");
  });

  test("shows what it holds to whoever looks, and no key", async () => {
    const { _signed } = await signed({ amount });
    const [text = "", mac = ""] = _signed.split(".");
    assert.deepEqual(JSON.parse(Buffer.from(text, "base64url").toString()), [2, tenant, null, null, { amount }]);
    assert.equal(mac, createHmac("sha256", key).update(text).digest("base64url"));
  });
});

/** What a client may make of a value, its name first. Each is refused whether or not the handler asks for signed ones. */
async function forgeries(): Promise<[what: string, value: unknown, as?: string][]> {
  const { _signed } = await signed({ amount: 5 });
  const [text = "", mac = ""] = _signed.split(".");
  const of = (value: unknown) => ({ _signed: value });
  const otherApp = appSigner(async () => "the secret of another app");
  const changed = base64url([2, tenant, null, null, { amount: 999 }]);
  const macs: [string, string][] = [
    ["cut short", mac.slice(0, -1)],
    ["empty", ""],
    ["one letter long", mac.slice(0, 1)],
    ["doubled", mac + mac],
    ["in upper case", mac.toUpperCase()],
    ["in hex", Buffer.from(mac, "base64url").toString("hex")],
    ["padded", `${mac}=`],
    ["ended by a line break", `${mac}\n`],
    ["begun by a space", ` ${mac}`],
    ["ended by NUL", `${mac}\0`],
    ["of zeros", "A".repeat(43)],
    ["made without a key", createHash("sha256").update(text).digest("base64url")],
    ["made with the app's secret itself", createHmac("sha256", appSecret).update(text).digest("base64url")],
    ["made with an empty key", createHmac("sha256", "").update(text).digest("base64url")],
    ["made with the Encrypt Key", createHmac("sha256", encryptKey).update(text).digest("base64url")],
    [
      "of the parts before they were encoded",
      await signer.sign("card value", JSON.stringify([2, tenant, null, null, { amount: 5 }])),
    ],
    ["of another value", await signer.sign("card value", changed)],
    ["of a text of the app's own", await signer.sign("text", text)],
  ];
  return [
    ["another amount under the same mac", of(`${changed}.${mac}`)],
    ["another app's secret", await signValue({ amount: 5 }, contextOf(otherApp))],
    ["another tenant's card", await signed({ amount: 5 }, "tenant-2")],
    ["a card of another tenant's, clicked there", of(_signed), "tenant-2"],
    ["a card of no tenant's", await signValue({ amount: 5 }, { ...contextOf(), tenant: null })],
    ["another version, signed by the app", of(await sealed(base64url([1, tenant, { amount: 5 }])))],
    ["a version in words", of(await sealed(base64url(["2", tenant, null, null, { amount: 5 }])))],
    ["a list of nothing", of(await sealed(base64url([])))],
    ["the text in padded base64", of(`${text}=.${mac}`)],
    ["the text in another base64", of(`${text.replaceAll("-", "+").replaceAll("_", "/")}+.${mac}`)],
    ["the text plain", of(`${JSON.stringify([2, tenant, null, null, { amount: 5 }])}.${mac}`)],
    ["no mac", of(text)],
    ["no text", of(`.${mac}`)],
    ["three parts", of(`${text}.${mac}.${mac}`)],
    ["a mac before its text", of(`${mac}.${text}`)],
    ["a space before it", of(` ${_signed}`)],
    ["a line break behind it", of(`${_signed}\n`)],
    ["nothing", of("")],
    ["a dot", of(".")],
    ["a text of many letters", of(`${"A".repeat(20_000)}.${mac}`)],
    ["a mac of many letters", of(`${text}.${"A".repeat(20_000)}`)],
    ["many dots", of(".".repeat(20_000))],
    ...macs.map(([how, given]): [string, unknown] => [`a mac ${how}`, of(`${text}.${given}`)]),
    ["a member beside it", { _signed, amount: 999 }],
    ["an empty member beside it", { _signed, "": null }],
    ["__proto__ beside it", JSON.parse(`{"_signed":${JSON.stringify(_signed)},"__proto__":{"amount":999}}`)],
    ["constructor beside it", { _signed, constructor: { prototype: { amount: 999 } } }],
    ...[null, true, 5, 0, [], {}, [_signed], { _signed }, { toString: _signed }, { length: 1 }].map(
      (value): [string, unknown] => [`${JSON.stringify(value).slice(0, 24)} for a text`, of(value)],
    ),
  ];
}

describe("a forged value", () => {
  test("C-77: gets a message, and no handler; nothing is remembered, stored or told", async () => {
    const cases = await forgeries();
    assert.ok(cases.length > 50);
    for (const signedValues of [true, false]) {
      const callback = startCallback({ signer, handlerOptions: { signedValues } });
      for (const [what, value, as = tenant] of cases) {
        trace.entries.length = 0;
        await assert.doesNotReject(callback.fails(click(value, { tenant: as })), what);
        const failed = trace.entries.filter(({ stage }) => stage === "failed");
        assert.deepEqual(
          failed.map(({ level, facts }) => [level, facts?.["reason"]]),
          [["error", "value-forged"]],
          what,
        );
        const lines = trace.entries.map((entry) => JSON.stringify(toLine(entry))).join();
        assert.ok(!lines.includes("CANARY") && !lines.includes("_signed"), what);
      }
    }
  });

  test("C-77: is told from the right one by each of its characters", async () => {
    const { _signed } = await signed({ amount });
    for (let at = 0; at < _signed.length; at++) {
      const letter = _signed.charAt(at);
      for (const other of [letter === "A" ? "B" : "A", letter === "9" ? "8" : "9", "-", "_", ".", "=", "/", ""]) {
        if (other === letter) continue;
        const changed = _signed.slice(0, at) + other + _signed.slice(at + 1);
        const { state } = await readValue({ _signed: changed }, reading);
        assert.equal(state, "forged", `${at}: ${letter} became ${other}`);
      }
    }
  });

  test("C-77: of some other spelling of the last letter, which stands for the same bytes, is refused too", async () => {
    const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    const { _signed } = await signed({ amount });
    const last = letters.indexOf(_signed.slice(-1));
    for (const next of [1, 2, 3]) {
      const spelt = _signed.slice(0, -1) + letters.charAt((last & ~3) | ((last + next) & 3));
      const bytes = (of: string) => Buffer.from(of.split(".")[1] ?? "", "base64url").toString("hex");
      assert.equal(bytes(spelt), bytes(_signed));
      assert.equal((await readValue({ _signed: spelt }, reading)).state, "forged");
    }
  });

  test("C-77: is compared in constant time: all of it, wherever it begins to differ", async (t) => {
    const compared = t.mock.method(crypto, "timingSafeEqual");
    syncBuiltinESMExports();
    t.after(() => {
      t.mock.restoreAll();
      syncBuiltinESMExports();
    });
    const { _signed } = await signed({ amount });
    const [text = "", mac = ""] = _signed.split(".");
    for (const given of [mac, `A${mac.slice(1)}`, `${mac.slice(0, -1)}A`, "B".repeat(43)]) {
      await readValue({ _signed: `${text}.${given}` }, reading);
    }
    assert.deepEqual(
      compared.mock.calls.map(({ arguments: [a, b] }) => [a.byteLength, b.byteLength]),
      [43, 43, 43, 43].map((length) => [length, length]),
    );
  });

  test("what is no signed value is unsigned, and reading it never fails", async () => {
    const { _signed } = await signed({ amount });
    const inherited = Object.create({ _signed });
    for (const value of [undefined, null, true, 5, "", _signed, `{"_signed":"${_signed}"}`, [], [_signed], {}]) {
      assert.deepEqual(await readValue(value, reading), { state: "unsigned" }, JSON.stringify(value));
    }
    for (const value of [inherited, { signed: _signed }, { _Signed: _signed }, { constructor: _signed }]) {
      assert.deepEqual(await readValue(value, reading), { state: "unsigned" });
    }
    await fc.assert(
      fc.asyncProperty(fc.jsonValue({ stringUnit: letters, maxDepth: 3 }), fc.anything(), async (json, anything) => {
        for (const value of [json, anything, { _signed: json }, { _signed: anything }]) {
          const { state } = await readValue(value, reading);
          assert.notEqual(state, "signed");
        }
      }),
      { numRuns: 40, seed: 20_261 },
    );
  });
});

describe("a text that a handler signed for itself", () => {
  test("C-77: is no card's value, whatever it says", async () => {
    const own = (text: string) => signer.sign("text", text);
    const { _signed } = await signed({ amount });
    const [text = "", mac = ""] = _signed.split(".");
    assert.notEqual(await own(text), mac);
    for (const content of [text, `card value ${text}`, _signed, base64url([2, tenant, null, null, { amount: 999 }])]) {
      const read = await readValue({ _signed: `${content}.${await own(content)}` }, reading);
      assert.deepEqual(read, { state: "forged" }, content);
    }
    assert.equal(await signer.isSigned("text", text, await own(text)), true);
    assert.equal(await signer.isSigned("text", text, mac), false);
  });

  test("C-77: is signed by a handler's own sign, which is another one than a card's", async () => {
    const options = { signer, api: { clock: { nowMs: () => startMs } } as ApiOptions };
    const envelope = { id: "1", type: "x", app: null, tenant, requestId: null } as Run["envelope"];
    const run = { envelope, key: () => "", signal: new AbortController().signal, remainingMs: () => 1 };
    const context = { ...(await toolMaker({ ...options, secrets: async () => ({}) })(run)), tenant };
    const { _signed } = await signValue(5, context);
    const [text = "", mac = ""] = _signed.split(".");
    assert.deepEqual(await readValue({ _signed }, reading), { state: "signed", value: 5, purpose: null });
    assert.notEqual(await context.sign(text), mac);
    assert.equal(await context.sign(text), await signer.sign("text", text));
  });
});

describe("a value that was signed for a purpose", () => {
  const purposes = ["release", "refund"];

  test("reaches the handler that names it, which is told the purpose", async () => {
    const callback = startCallback({ signer, handlerOptions: { signedValues: { purposes } } });
    for (const purpose of purposes) {
      const value = await signValue({ amount }, contextOf(), { purpose });
      const { callback: given, context } = await callback.hands(click(value));
      assert.deepEqual([given.action.value, context.isSigned, context.purpose], [{ amount }, true, purpose]);
    }
    const unsigned = await startCallback().hands(click({ amount }));
    assert.equal(unsigned.context.purpose, null);
  });

  const longest = "p".repeat(64);
  const cases: [signedFor: string | undefined, signedValues: boolean | { purposes: string[] } | undefined][] = [
    ["release", { purposes: ["refund"] }],
    ["release", { purposes: [] }],
    ["release", true],
    ["release", false],
    ["release", undefined],
    ["release", { purposes: ["Release", "release ", "releas", ""] }],
    [longest, { purposes: [`${longest}p`] }],
    [undefined, { purposes: ["release", "null", ""] }],
  ];
  for (const [purpose, signedValues] of cases) {
    test(`gets a message where it was ${purpose?.slice(0, 8)} and ${JSON.stringify(signedValues)?.slice(0, 60)} is taken`, async () => {
      const handlerOptions = signedValues === undefined ? {} : { signedValues };
      const callback = startCallback({ signer, handlerOptions });
      await callback.fails(click(await signValue({ amount }, contextOf(), { purpose })));
      assert.deepEqual(reasons(), ["value-purpose"]);
    });
  }

  test("an unsigned value gets a message there, too", async () => {
    const callback = startCallback({ signer, handlerOptions: { signedValues: { purposes } } });
    await callback.fails(click({ amount, purpose: "release" }));
    assert.deepEqual(reasons(), ["value-unsigned"]);
  });

  test("is a text of 1 to 64 characters", async () => {
    await signValue(5, contextOf(), { purpose: longest });
    for (const purpose of ["", `${longest}p`, 5, {}, ["release"]]) {
      await assert.rejects(signValue(5, contextOf(), { purpose: purpose as string }), {
        name: "TypeError",
        message: "Cannot sign the value: purpose is not a text of 1 to 64 characters",
      });
    }
  });
});

describe("a value that ends", () => {
  const until = async (expiresInSeconds: number) => signValue({ amount }, contextOf(), { expiresInSeconds });

  test("is as good as any until then, and from then on not: whoever clicks reads that it has", async () => {
    const callback = startCallback({ signer, handlerOptions: { signedValues: true } });
    const { callback: given } = await callback.hands(click(await until(0.001)));
    assert.deepEqual(given.action.value, { amount });
    await callback.clock.advance(60_000);
    // The door's clock says the time now, the signer's when it was signed.
    for (const [seconds, isOver] of [
      [59.999, true],
      [60, true],
      [60.001, false],
    ] as const) {
      trace.entries.length = 0;
      const before = callback.seen.length;
      const { body } = await callback.deliver(click(await until(seconds)));
      assert.equal(callback.seen.length - before, isOver ? 0 : 1, `${seconds} s`);
      if (!isOver) continue;
      const { type, i18n } = JSON.parse(body).toast;
      assert.deepEqual(
        [type, i18n],
        ["error", { en_us: "This card has expired", zh_cn: "\u8be5\u5361\u7247\u5df2\u8fc7\u671f" }],
      );
      // No error: people do click on old cards, and the alarm counts errors.
      const told = trace.entries.filter(({ stage }) => stage === "failed");
      assert.deepEqual(
        told.map(({ level, facts }) => [level, facts?.["reason"]]),
        [["warn", "value-expired"]],
      );
    }
    assert.equal(callback.claimed.length, 2);
  });

  test("is refused also where no signed value is asked for, and with a purpose", async () => {
    const value = await signValue(5, contextOf(), { expiresInSeconds: 60, purpose: "release" });
    assert.equal((await readValue(value, { ...reading, nowMs: startMs + 60_000 })).state, "expired");
    assert.deepEqual(await readValue(value, { ...reading, nowMs: startMs + 59_999 }), {
      ...{ state: "signed", value: 5, purpose: "release" },
    });
    // A forged one is forged, however old; so is another tenant's.
    assert.equal((await readValue(value, { ...reading, tenant: "tenant-2", nowMs: startMs + 60_000 })).state, "forged");
  });

  test("without an end it has none", async () => {
    const value = await signed(5);
    assert.equal((await readValue(value, { ...reading, nowMs: Number.MAX_SAFE_INTEGER })).state, "signed");
  });

  test("ends in a number of seconds above 0", async () => {
    for (const expiresInSeconds of [0, -1, -0, Number.NaN, Infinity, -Infinity, 1e306, "soon", {}]) {
      await assert.rejects(signValue(5, contextOf(), { expiresInSeconds: expiresInSeconds as number }), {
        name: "TypeError",
        message: `Cannot sign the value: expiresInSeconds is ${expiresInSeconds}, not a number above 0`,
      });
    }
  });
});

describe("an unsigned value", () => {
  const bare = [undefined, null, "release", 17, true, [], {}, { amount: 5 }, ["_signed"]];

  test("C-77: reaches a handler that does not ask for a signed one as it came, without any key", async () => {
    // The door's own signer rejects whatever it is asked.
    for (const value of bare) {
      const { callback: given, context } = await startCallback().hands(click(value));
      assert.deepEqual([given.action.value, context.isSigned], [value, false]);
    }
  });

  test("C-77: gets a message where a signed one is asked for, and no handler", async () => {
    const callback = startCallback({ handlerOptions: { signedValues: true } });
    const { _signed } = await signed({ amount });
    for (const value of [...bare, _signed, `{"_signed":"${_signed}"}`, { signed: _signed }]) {
      trace.entries.length = 0;
      await callback.fails(click(value));
      assert.deepEqual(reasons(), ["value-unsigned"]);
    }
  });

  test("C-77: is not let by because there is no action to hold it, or one that is none", async () => {
    const callback = startCallback({ handlerOptions: { signedValues: true } });
    const value = await signed({ amount });
    for (const action of [
      null,
      "button",
      5,
      true,
      [],
      [{ value }],
      {},
      { value: null },
      { VALUE: value },
      { value: [value] },
    ]) {
      await callback.fails(click(undefined, { action }));
    }
    const parts = { operator: { open_id: "ou_1" }, token: "c-1" };
    const event = (more: object) =>
      push(v2Text({ header: { event_type: "card.action.trigger" }, event: { ...parts, ...more } }));
    await callback.fails(event({}));
    await callback.fails(event({ value }));
    await callback.fails(event(JSON.parse(`{"__proto__":{"action":{"value":${JSON.stringify(value)}}}}`)));
    const { context } = await startCallback().hands(event({}));
    assert.equal(context.isSigned, false);
  });
});

describe("without the app's secret", () => {
  const none = appSigner(secretSource({}, clientTo("http://127.0.0.1:1")).appSecret);
  const down = appSigner(() => Promise.reject(new Error("the store cannot be asked")));

  for (const [what, without] of [
    ["there is none", none],
    ["the store is down", down],
  ] as const) {
    test(`C-77: a signed value gets a message while ${what}, and an unsigned one its handler`, async () => {
      const callback = startCallback({ signer: without });
      await callback.fails(click(await signed({ amount: 5 })));
      await callback.fails(click({ _signed: "x.y" }));
      await callback.hands(click({ amount: 5 }));
    });
  }

  test("nothing is signed, and the error says what to set", async () => {
    await assert.rejects(signValue(5, contextOf(none)), (error) => {
      assert.ok(error instanceof ConfigError);
      assert.match(error.message, /APP_SECRET is not set/);
      return true;
    });
  });

  test("the one of the moment counts: a value signed with the one before it is refused", async () => {
    let secret = "the secret before";
    const changing = appSigner(async () => secret);
    const value = await signValue(5, contextOf(changing));
    assert.equal((await readValue(value, { ...reading, signer: changing })).state, "signed");
    secret = "the secret after";
    assert.equal((await readValue(value, { ...reading, signer: changing })).state, "forged");
  });
});

describe("the worker's function and the callback's", () => {
  interface Lists {
    cards: unknown[];
    clicks: { value: unknown; isSigned: boolean }[];
    events: object;
    callbacks: object;
  }
  const lists: Lists = {
    cards: [],
    clicks: [],
    events: {
      "test.event": async () => ({
        default: onEvent("test.event" as never, async (event: { value: unknown }, context) => {
          lists.cards.push(await signValue(event.value, context));
        }),
      }),
    },
    callbacks: {
      "card.action.trigger": async () => ({
        default: onCallback(
          "card.action.trigger",
          ({ action }, { isSigned }) => {
            lists.clicks.push({ value: action.value, isSigned });
            return { toast: { type: "success", content: "Released" } };
          },
          { signedValues: true },
        ),
      }),
    },
  };
  // The generated lists give way to these; all else of the two functions is as it is deployed.
  Object.assign(globalThis, { testLists: lists });
  const hooks = registerHooks({
    resolve: (specifier, context, next) => {
      const [, name] = /^\.\/(events|callbacks)\.gen\.ts$/.exec(specifier) ?? [];
      if (name === undefined) return next(specifier, context);
      const source = `export const ${name} = globalThis.testLists.${name};`;
      return { url: `data:text/javascript,${encodeURIComponent(source)}`, shortCircuit: true };
    },
  });

  const envBefore = { ...process.env };
  const listeners = process.listeners("unhandledRejection");
  let services: Services;
  before(async () => {
    services = await startServices();
  });
  after(async () => {
    hooks.deregister();
    process.env = envBefore;
    process.removeAllListeners("unhandledRejection");
    for (const listener of listeners) process.on("unhandledRejection", listener);
    await services.stop();
  });
  beforeEach(() => {
    lists.cards.length = 0;
    lists.clicks.length = 0;
  });

  let loads = 0;
  /** Loads both anew, as a platform does with these settings. */
  async function load(settings: Readonly<Record<string, string>>) {
    process.env = { ...envBefore, ...services.env, APP_ID: appId, ...settings };
    const nth = ++loads;
    const worker: { handler(event: SQSEvent): Promise<SQSBatchResponse> } = await import(
      `../functions/worker.ts?signs=${nth}`
    );
    const callback: { handler: HttpHandler } = await import(`../functions/callback.ts?signs=${nth}`);
    let ids = 0;
    return {
      /** Has an event's handler sign a value; gives the value for the card, or `undefined` when the record is to be retried. */
      async sign(value: unknown): Promise<unknown> {
        const id = `event-${nth}-${++ids}`;
        const body = eventBody({ id, app: appId, tenant, event: { value } });
        const { batchItemFailures } = await worker.handler({ Records: [record(body, { id })] } as SQSEvent);
        return batchItemFailures.length > 0 ? undefined : lists.cards.at(-1);
      },
      /** Clicks on a card with that value; gives the toast's type. */
      async click(value: unknown): Promise<string> {
        const nowMs = Date.now();
        const event = { operator: { open_id: "ou_1" }, token: "c-1", action: { tag: "button", value } };
        const header = { event_id: `click-${nth}-${++ids}`, event_type: "card.action.trigger", tenant_key: tenant };
        const request = httpApi(push(v2Text({ header, event }), { nowMs }), { path: "/callback" });
        const { statusCode, body } = await callback.handler(request);
        assert.equal(statusCode, 200, body);
        return JSON.parse(body).toast.type;
      },
    };
  }

  const value = { order: "17", amount: 12.5, note: "\u653e\u884c \u{1f44b}", parts: [{ role: "admin" }] };

  /** Signs in one, clicks in the other, and holds what the handler got against what was signed. */
  async function roundTrip({ sign, click }: Awaited<ReturnType<typeof load>>): Promise<void> {
    const card = await sign(value);
    assert.ok(card);
    assert.equal(await click(card), "success");
    assert.deepEqual(lists.clicks, [{ value, isSigned: true }]);
    const { _signed } = card as { _signed: string };
    const mac = _signed.slice(_signed.indexOf("."));
    for (const forged of [
      value,
      { _signed: base64url([2, tenant, null, null, { ...value, amount: 1 }]) + mac },
      { ...(card as object), amount: 1 },
    ]) {
      assert.equal(await click(forged), "error");
    }
    assert.equal(lists.clicks.length, 1);
  }

  test("C-77: sign and verify a card's value with the secret of the environment", async () => {
    await roundTrip(
      await load({ ENCRYPT_KEY: encryptKey, VERIFICATION_TOKEN: verificationToken, APP_SECRET: appSecret }),
    );
  });

  test("C-77: sign and verify it with the stored secret, and ask the store once each", async (t) => {
    const store = await startStore();
    t.after(() => store.stop());
    const parameter = "/larkpost/test/app";
    const stored = (members: object) =>
      JSON.stringify({
        appId,
        encryptKeys: [{ value: encryptKey }],
        verificationTokens: [{ value: verificationToken }],
        ...members,
      });
    store.put(parameter, stored({ appSecret }));
    const settings = { ...store.env, SECRETS_PARAMETER: parameter };
    const pair = await load(settings);
    await roundTrip(pair);
    assert.ok(await pair.sign("once more"));
    assert.equal(store.asked(), 2);
    for (const line of trace.entries.map((entry) => JSON.stringify(toLine(entry)))) assert.ok(!line.includes("CANARY"));

    // Stored without it: what was signed gets a message, and who signs is tried again.
    const card = await pair.sign(value);
    store.put(parameter, stored({}));
    const without = await load(settings);
    assert.equal(await without.click(card), "error");
    assert.equal(await without.sign(value), undefined);

    // Another app's secret.
    store.put(parameter, stored({ appSecret: "the secret of another app" }));
    const other = await load(settings);
    assert.equal(await other.click(card), "error");
    assert.equal(await other.click(await other.sign(value)), "success");
  });

  test("C-77: refuse a signed value where APP_SECRET is not set", async () => {
    const keys = { ENCRYPT_KEY: encryptKey, VERIFICATION_TOKEN: verificationToken };
    const { click, sign } = await load(keys);
    assert.equal(await sign(value), undefined);
    assert.equal(await click(await signed(value)), "error");
    assert.equal(lists.clicks.length, 0);
  });
});
