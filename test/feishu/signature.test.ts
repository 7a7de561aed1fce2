import assert from "node:assert/strict";
import { createHash, createHmac } from "node:crypto";
import { describe, test } from "node:test";
import fc from "fast-check";
import { isSameDigest, matches, sign } from "../../lib/feishu/signature.ts";
import answers from "../fixtures/known-answers.json" with { type: "json" };
import { anyCharacter } from "../support/unicode.ts";

const parts = { timestamp: "1760000000", nonce: "8406917523", encryptKey: "test key", rawBody: Buffer.from("{}") };
const right = sign(parts);
/** A character of two bytes that ends like this one, and has no lower case. */
const alias = (character = "") => String.fromCharCode(0x2000 + character.charCodeAt(0));

// https://open.feishu.cn/document/ukTMukTMukTM/uYDNxYjL2QTM24iN0EjN/event-subscription-configure-/encrypt-key-encryption-configuration-case
describe("sign", () => {
  test("is the SHA-256 of timestamp, nonce, key and raw body, in lower-case hex", () => {
    assert.equal(right, createHash("sha256").update("17600000008406917523test key{}").digest("hex"));
    assert.match(right, /^[0-9a-f]{64}$/);
  });

  test("agrees with two other implementations", () => {
    assert.ok(answers.signatures.length >= 10);
    for (const { timestamp, nonce, encryptKey, bodyBase64, signature } of answers.signatures) {
      assert.equal(sign({ timestamp, nonce, encryptKey, rawBody: Buffer.from(bodyBase64, "base64") }), signature);
    }
  });
});

describe("sign, of any length", () => {
  const utf8Heads = ["", "k", "\u00e9\u4f60\ud83d\ude00\ud800", "\u4f60".repeat(5461), "k".repeat(16_384)];
  for (const length of [0, 1, 1024, 16_000, 16_335, 16_384, 20_000, 1_048_576]) {
    test(`is one digest over the parts in their order, with a body of ${length} bytes`, () => {
      const rawBody = Buffer.alloc(length, "body ");
      for (const nonce of utf8Heads) {
        const whole = Buffer.concat([Buffer.from(`1760000000${nonce}test key`), rawBody]);
        assert.equal(sign({ ...parts, nonce, rawBody }), createHash("sha256").update(whole).digest("hex"));
      }
    });
  }
});

describe("isSameDigest", () => {
  test("says so of equal digests only, and of nothing shorter or longer", () => {
    const other = sign({ ...parts, nonce: "8406917524" });
    assert.equal(isSameDigest(right, right), true);
    assert.equal(isSameDigest("", ""), false);
    assert.equal(isSameDigest(right, other), false);
    for (const part of ["", right.slice(0, 63), right.slice(0, 1), `${right}0`]) {
      assert.equal(isSameDigest(part, right), false);
      assert.equal(isSameDigest(right, part), false);
    }
    assert.equal(isSameDigest(right.slice(0, 40), right.slice(0, 40)), true);
    assert.equal(isSameDigest(right.slice(0, 40), other.slice(0, 40)), false);
  });
});

describe("matches", () => {
  test("accepts the right digest only", () => {
    assert.equal(matches(right, right), true);
    assert.equal(matches(sign({ ...parts, nonce: "8406917524" }), right), false);
  });

  test("C-07: accepts the right digest in upper case and in both", () => {
    assert.equal(matches(right.toUpperCase(), right), true);
    assert.equal(matches(right.slice(0, 32) + right.slice(32).toUpperCase(), right), true);
  });

  const wrongShapes = [
    { when: "empty", signature: "" },
    { when: "one space", signature: " " },
    { when: "one character", signature: right.slice(0, 1) },
    { when: "63 characters", signature: right.slice(0, 63) },
    { when: "65 characters", signature: `${right}0` },
    { when: "followed by a line break", signature: `${right}\n` },
    { when: "preceded by a space", signature: ` ${right}` },
    { when: "given twice", signature: `${right},${right}` },
    { when: "64 characters that are not hex", signature: "g".repeat(64) },
    { when: "64 characters of two bytes", signature: "\u00e9".repeat(64) },
    { when: "64 bytes in 32 characters", signature: "\u00e9".repeat(32) },
    { when: "of another character first, whose low byte is right", signature: alias(right[0]) + right.slice(1) },
    { when: "of another character last, whose low byte is right", signature: right.slice(0, -1) + alias(right.at(-1)) },
    { when: "full-width digits", signature: "\uff10".repeat(64) },
    { when: "base64", signature: Buffer.from(right, "hex").toString("base64") },
    { when: "preceded by 0x", signature: `0x${right.slice(2)}` },
  ];
  for (const { when, signature } of wrongShapes) {
    test(`C-06, C-08: refuses a signature that is ${when}, and does not throw`, () => {
      assert.equal(matches(signature, right), false);
    });
  }

  const otherDigests = [
    { when: "SHA-1", signature: createHash("sha1").update("17600000008406917523test key{}").digest("hex") },
    { when: "MD5", signature: createHash("md5").update("17600000008406917523test key{}").digest("hex") },
    { when: "an HMAC", signature: createHmac("sha256", "test key").update("17600000008406917523{}").digest("hex") },
    { when: "no key at all", signature: createHash("sha256").update("17600000008406917523{}").digest("hex") },
    { when: "nothing at all", signature: createHash("sha256").update("").digest("hex") },
    { when: "the body alone", signature: createHash("sha256").update("{}").digest("hex") },
  ];
  for (const { when, signature } of otherDigests) {
    test(`C-15: refuses a digest made with ${when}`, () => assert.equal(matches(signature, right), false));
  }

  test("C-14: refuses the right digest with any one digit changed", () => {
    for (let at = 0; at < 64; at++) {
      const digit = right[at] === "0" ? "1" : "0";
      assert.equal(matches(right.slice(0, at) + digit + right.slice(at + 1), right), false);
    }
  });

  test("answers any text without throwing", () => {
    fc.assert(
      fc.property(fc.oneof(fc.string({ unit: anyCharacter }), fc.string({ minLength: 64, maxLength: 64 })), (text) => {
        assert.equal(matches(text, right), false);
      }),
      { seed: 21, numRuns: 100 },
    );
  });
});
