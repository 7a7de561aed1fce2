import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { challengeOf, decrypt, encrypt, open, seal, sign, verify } from "larkpost/feishu";
import { aesKey, encrypt as encryptWith } from "../../lib/feishu/cipher.ts";
import answers from "../fixtures/known-answers.json" with { type: "json" };
import { odd, refuse } from "../support/hostile-values.ts";
import {
  appId,
  challengeText,
  encryptKey,
  push,
  startMs,
  unsigned,
  v1Text,
  v2Text,
  verificationToken,
} from "../support/push.ts";

const keys = { appId, encryptKeys: [encryptKey], verificationTokens: [verificationToken] };
const options = { keys, nowMs: startMs };
const sealing = { ...options, nonce: "8406917523", iv: Buffer.alloc(16, 7) };
/** Under any key, an empty one too. */
const sealedWith = (key: string, text: string) => encryptWith(text, aesKey(key), sealing.iv);
const refused = (reason: string) => ({ kind: "refused", reason });

describe("encrypt, decrypt, sign and verify", () => {
  test("agree with other implementations", () => {
    for (const { encryptKey, text, iv, encrypt: encrypted } of answers.ciphertexts) {
      assert.equal(encrypt(text, { encryptKey, iv: Buffer.from(iv, "hex") }), encrypted);
      assert.equal(decrypt(encrypted, { encryptKey }), text.replace(/^\ufeff/, ""));
    }
    for (const { bodyBase64, signature, ...rest } of answers.signatures) {
      const parts = { ...rest, rawBody: Buffer.from(bodyBase64, "base64") };
      assert.equal(sign(parts), signature);
      assert.equal(verify({ ...parts, signature }), true);
      assert.equal(verify({ ...parts, signature: signature.toUpperCase() }), true);
    }
  });

  const parts = { timestamp: "1760000000", nonce: "8406917523", encryptKey, rawBody: Buffer.from("{}") };
  test("verify refuses another signature, and that of other parts", () => {
    const signature = sign(parts) ?? "";
    for (const wrong of ["", signature.slice(1), `${signature}0`, signature.replace(/^./, "g")]) {
      assert.equal(verify({ ...parts, signature: wrong }), false);
    }
    for (const name of ["timestamp", "nonce", "encryptKey"] as const) {
      assert.equal(verify({ ...parts, [name]: `${parts[name]}0`, signature }), false);
    }
    assert.equal(verify({ ...parts, rawBody: Buffer.from("{} "), signature }), false);
  });

  test("nothing is signed, verified or encrypted with a part that is empty", () => {
    for (const name of ["timestamp", "nonce", "encryptKey"] as const) {
      const without = { ...parts, [name]: "" };
      assert.equal(sign(without), undefined);
      assert.equal(verify({ ...without, signature: sign(parts) ?? "" }), false);
    }
    assert.equal(encrypt("x", { encryptKey: "", iv: sealing.iv }), undefined);
    assert.equal(decrypt(sealedWith("", "x"), { encryptKey: "" }), undefined);
  });

  test("decrypt gives nothing under another key, or for a text that is not base64", () => {
    const encrypted = encrypt("x".repeat(40), { encryptKey, iv: sealing.iv }) ?? "";
    for (const wrong of ["", "a", encrypted.slice(4), `${encrypted} `, encrypted.replace(/^./, "*")]) {
      assert.equal(decrypt(wrong, { encryptKey }), undefined);
    }
    assert.notEqual(decrypt(encrypted, { encryptKey: "another" }), "x".repeat(40));
  });
});

describe("open and challengeOf", () => {
  const { headers, rawBody } = push(v2Text());

  test("take the headers as node:http, fetch or a Map has them", () => {
    const record = Object.fromEntries(headers);
    const titled = Object.fromEntries([...headers].map(([name, value]) => [name.toUpperCase(), value]));
    for (const given of [headers, record, titled, new Headers(record), { ...record, "x-tt-logid": ["a", "b"] }]) {
      const opened = open({ headers: given, rawBody }, options);
      assert.ok(opened.kind === "event" && opened.id === "event-1" && opened.requestId === null);
    }
  });

  test("give the challenge of a request that checks the address, and of no other", () => {
    assert.equal(challengeOf(unsigned(challengeText()), options), "7c5a9b1e-4d2f");
    assert.equal(challengeOf(push(v2Text()), options), undefined);
    assert.equal(challengeOf(unsigned(challengeText({ token: "another" })), options), undefined);
  });

  test("refuse what is not provably from Feishu, and say why", () => {
    const stranger = push(v2Text(), { encryptKey: "a stranger's key" });
    const late = { ...options, nowMs: startMs + 9 * 3600_000 };
    assert.deepEqual(open(stranger, options), refused("signature"));
    assert.deepEqual(open({ headers, rawBody: Buffer.concat([rawBody, rawBody]) }, options), refused("signature"));
    assert.deepEqual(open({ headers: {}, rawBody }, options), refused("unsigned"));
    assert.deepEqual(open({ headers, rawBody }, late), refused("timestamp"));
    assert.deepEqual(open(push(v2Text({ header: { app_id: "cli_other" } })), options), refused("app"));
    assert.equal(open(push("[]"), options).kind, "unreadable");
  });

  test("take a message under each key while one is changed", () => {
    const changing = { ...options, keys: { ...keys, encryptKeys: ["the next key", encryptKey] } };
    assert.equal(open({ headers, rawBody }, changing).kind, "event");
    assert.equal(open(push(v2Text(), { encryptKey: "the next key" }), changing).kind, "event");
  });

  const plain = push(v2Text(), { encryptKey: null });
  const badKeys = [
    { when: "no Encrypt Key", bad: { ...keys, encryptKeys: [] } },
    { when: "an empty Encrypt Key", bad: { ...keys, encryptKeys: [encryptKey, ""] } },
    { when: "an Encrypt Key that is not set", bad: { ...keys, encryptKeys: [undefined] } },
    { when: "a text for the list of keys", bad: { ...keys, encryptKeys: encryptKey } },
    { when: "no Verification Token", bad: { ...keys, verificationTokens: [] } },
    { when: "an empty app id", bad: { ...keys, appId: "" } },
  ];
  for (const { when, bad } of badKeys) {
    test(`refuse everything with ${when}`, () => {
      for (const request of [{ headers, rawBody }, plain, unsigned(challengeText())]) {
        assert.deepEqual(open(request, { ...options, keys: bad as typeof keys }), refused("options"));
      }
      assert.equal(seal(v2Text(), { ...sealing, keys: bad as typeof keys }), undefined);
    });
  }

  test("refuse everything at no time", () => {
    for (const nowMs of [Number.NaN, Number.POSITIVE_INFINITY, undefined as never]) {
      assert.deepEqual(open({ headers, rawBody }, { keys, nowMs }), refused("options"));
      assert.equal(seal(v2Text(), { ...sealing, nowMs }), undefined);
    }
  });
});

describe("seal", () => {
  for (const [what, text] of Object.entries({ "schema 2.0": v2Text(), "schema 1.0": v1Text() })) {
    test(`is undone by open: ${what}`, () => {
      const first = open(push(text), options);
      assert.ok(first.kind === "event");
      const next = { ...keys, encryptKeys: ["another key"], verificationTokens: ["another token"] };
      const sealed = seal(first.text, { ...sealing, keys: next });
      assert.ok(sealed);
      assert.deepEqual(open(sealed, options), refused("signature"));
      assert.deepEqual(open(sealed, { ...options, keys: next }), { ...first, requestId: null });
    });
  }

  test("signs no challenge, and open finds it", () => {
    const sealed = seal(challengeText({ token: "" }), sealing);
    assert.ok(sealed);
    assert.deepEqual([...sealed.headers], []);
    assert.equal(challengeOf(sealed, options), "7c5a9b1e-4d2f");
  });

  test("makes nothing of a text that Feishu does not push, or of an iv of another length", () => {
    for (const text of ["", "{}", "[]", "{", challengeText({ challenge: 5 })])
      assert.equal(seal(text, sealing), undefined);
    assert.equal(seal(v2Text(), { ...sealing, iv: Buffer.alloc(15) }), undefined);
    assert.equal(seal(v2Text(), { ...sealing, nonce: "" }), undefined);
  });
});

test("whatever they are given, they throw nothing and accept nothing", (t) => {
  // Node leaves it at 0 when it cannot describe a value in an error of its own.
  const { stackTraceLimit } = Error;
  t.after(() => {
    Error.stackTraceLimit = stackTraceLimit;
  });
  const others = [{ valueOf: refuse, toString: refuse }, [[encryptKey]], new ArrayBuffer(3), Object(encryptKey)];
  // A text is a nonce like any other, and 0 a time.
  const hostile = [...odd, ...others].filter((value) => typeof value !== "string" && value !== 0) as never[];
  const { headers, rawBody } = push(v2Text());
  const parts = { timestamp: "1760000000", nonce: "1", encryptKey, rawBody };
  for (const value of hostile) {
    const spoilt = <T extends object>(whole: T) =>
      [value, ...Object.keys(whole).map((name) => ({ ...whole, [name]: value }))] as T[];
    for (const bad of spoilt(keys)) {
      assert.deepEqual(open({ headers, rawBody }, { ...options, keys: bad }), refused("options"));
    }
    for (const bad of spoilt(options)) assert.deepEqual(open({ headers, rawBody }, bad), refused("options"));
    for (const bad of spoilt({ headers, rawBody })) {
      assert.equal(open(bad, options).kind, "refused");
      assert.equal(challengeOf(bad, options), undefined);
    }
    const throwing = {
      headers,
      get rawBody(): Uint8Array {
        throw value;
      },
    };
    assert.equal(open(throwing, options).kind, "refused");
    for (const bad of spoilt(sealing)) assert.equal(seal(v2Text(), bad), undefined);
    for (const bad of spoilt(parts)) assert.equal(sign(bad), undefined);
    for (const bad of spoilt({ ...parts, signature: sign(parts) ?? "" })) assert.equal(verify(bad), false);
    for (const bad of spoilt({ encryptKey, iv: sealing.iv })) assert.equal(encrypt("x", bad), undefined);
    for (const bad of spoilt({ encryptKey }))
      assert.equal(decrypt(answers.ciphertexts[0]?.encrypt ?? "", bad), undefined);
    assert.deepEqual(
      [seal(value, sealing), encrypt(value, sealing as never), decrypt(value, { encryptKey })],
      [undefined, undefined, undefined],
    );
  }
});
