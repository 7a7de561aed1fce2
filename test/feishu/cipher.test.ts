import assert from "node:assert/strict";
import { createCipheriv } from "node:crypto";
import { describe, test } from "node:test";
import fc from "fast-check";
import { aesKey, decrypt, encrypt, utf8 } from "../../lib/feishu/cipher.ts";
import answers from "../fixtures/known-answers.json" with { type: "json" };
import { anyCharacter } from "../support/unicode.ts";

const key = aesKey("test key");
const iv = Buffer.from("000102030405060708090a0b0c0d0e0f", "hex");
const refused = { text: "", intact: false };

/** Encrypts bytes as they stand: their padding is the test's own. */
function encryptPadded(padded: Buffer): string {
  const cipher = createCipheriv("aes-256-cbc", key, iv).setAutoPadding(false);
  return Buffer.concat([iv, cipher.update(padded), cipher.final()]).toString("base64");
}

describe("decrypt", () => {
  // https://open.feishu.cn/document/ukTMukTMukTM/uYDNxYjL2QTM24iN0EjN/event-subscription-configure-/choose-a-subscription-mode/send-notifications-to-developers-server
  test("gives the published plain text for the published pair", () => {
    const published = "P37w+VZImNgPEO1RBhJ6RtKl7n6zymIbEG1pReEzghk=";
    assert.deepEqual(decrypt(published, key), { text: "hello world", intact: true });
    assert.equal(encrypt("hello world", key, Buffer.from(published, "base64").subarray(0, 16)), published);
  });

  test("agrees with two other implementations in both directions", () => {
    assert.ok(answers.ciphertexts.length >= 10);
    for (const { encryptKey, text, iv: hex, encrypt: expected } of answers.ciphertexts) {
      assert.equal(encrypt(text, aesKey(encryptKey), Buffer.from(hex, "hex")), expected);
      assert.deepEqual(decrypt(expected, aesKey(encryptKey)), { text, intact: true });
    }
  });

  test("gives back any text that was encrypted", () => {
    fc.assert(
      fc.property(fc.string({ unit: anyCharacter }), fc.uint8Array({ minLength: 16, maxLength: 16 }), (text, anyIv) => {
        // A leading byte order mark is no part of the text.
        assert.deepEqual(decrypt(encrypt(text, key, anyIv), key), { text: text.replace(/^\ufeff/, ""), intact: true });
      }),
      { seed: 11, numRuns: 40 },
    );
  });

  test("gives the same text whatever the same key decrypted or refused before", () => {
    const own = aesKey("a key of its own");
    const texts = ["", "a", "b".repeat(15), "c".repeat(16), '{"schema":"2.0"}'.repeat(9000)];
    const sealed = texts.map((text, n) => encrypt(text, own, Buffer.alloc(16, n)));
    const before = ["", "AAAA", Buffer.alloc(48, 7).toString("base64"), ...sealed];
    for (const first of before) {
      for (const [n, second] of sealed.entries()) {
        decrypt(first, own);
        assert.deepEqual(decrypt(second, own), { text: texts[n], intact: true });
      }
    }
  });

  test("takes every padding length from 1 to 16", () => {
    for (let length = 0; length < 32; length++) {
      const text = "a".repeat(length);
      assert.deepEqual(decrypt(encrypt(text, key, iv), key), { text, intact: true });
    }
  });

  const paddings = [
    { when: "the last byte is 0", last: [0] },
    { when: "the last byte is 17", last: [17] },
    { when: "the last byte is 255", last: [255] },
    { when: "one of two bytes differs", last: [3, 2] },
    { when: "the first of sixteen differs", last: [15, ...Array(15).fill(16)] },
    { when: "a byte in the middle differs", last: [4, 5, 4, 4] },
  ];
  for (const { when, last } of paddings) {
    test(`P1: does not believe a text whose padding is wrong: ${when}`, () => {
      const padded = Buffer.concat([Buffer.alloc(32 - last.length, "a"), Buffer.from(last)]);
      assert.equal(decrypt(encryptPadded(padded), key).intact, false);
    });
  }

  const sample = encrypt('{"schema":"2.0"} plus some more text', key, iv);
  const spellings = [
    { when: "a character of no alphabet", text: `${sample.slice(0, 8)}!${sample.slice(8)}` },
    { when: "an illegal character in place of a legal one", text: `${sample.slice(0, 8)}!${sample.slice(9)}` },
    { when: "the URL-safe alphabet", text: encrypt("x", key, Buffer.alloc(16, 0xfb)).replaceAll("+", "-") },
    { when: "a space inside", text: `${sample.slice(0, 8)} ${sample.slice(8)}` },
    { when: "a line break inside", text: `${sample.slice(0, 8)}\n${sample.slice(8)}` },
    { when: "a line break at the end", text: `${sample}\n` },
    { when: "text after the padding", text: `${encrypt("x".repeat(20), key, iv)}AAAA` },
    { when: "missing padding", text: encrypt("x", key, iv).replace(/=+$/, "") },
    { when: "padding too long", text: `${sample}=` },
    { when: "a two-byte character", text: `é${sample.slice(1)}` },
  ];
  for (const { when, text } of spellings) {
    test(`C-26: takes base64 in its one strict spelling only, not with ${when}`, () => {
      assert.notEqual(text, sample);
      assert.deepEqual(decrypt(text, key), refused);
    });
  }

  test("C-26: refuses every character of no alphabet, wherever it stands", () => {
    for (let unit = 0; unit <= 0xffff; unit++) {
      const character = String.fromCharCode(unit);
      if (/[A-Za-z0-9+/]/.test(character)) continue;
      const at = unit % (sample.length - 4);
      const text = sample.slice(0, at) + character + sample.slice(at + 1);
      assert.equal(decrypt(text, key).intact, false, `U+${unit.toString(16)} at ${at}`);
    }
  });

  test("C-26: refuses bits that the last base64 digit cannot carry", () => {
    // "QUI=" and "QUJ=" decode to the same two bytes; only the first is what an encoder writes.
    const honest = encrypt("x", key, iv);
    assert.ok(honest.endsWith("="));
    const at = honest.indexOf("=") - 1;
    const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const twin = honest.slice(0, at) + alphabet[alphabet.indexOf(honest.charAt(at)) + 1] + honest.slice(at + 1);
    assert.ok(Buffer.from(twin, "base64").equals(Buffer.from(honest, "base64")));
    assert.deepEqual(decrypt(twin, key), refused);
  });

  for (const length of [0, 1, 15, 16, 17, 31, 33, 47]) {
    test(`C-27: refuses ${length} bytes, which are no initialisation vector and whole blocks`, () => {
      assert.deepEqual(decrypt(Buffer.alloc(length, 7).toString("base64"), key), refused);
    });
  }

  const notUtf8 = [
    { when: "a lone continuation byte", bytes: [0x61, 0x80] },
    { when: "an overlong slash", bytes: [0xc0, 0xaf] },
    { when: "a surrogate", bytes: [0xed, 0xa0, 0x80] },
    { when: "a character cut in half", bytes: [0xf0, 0x9f, 0x91] },
    { when: "UTF-16", bytes: [0xff, 0xfe, 0x7b, 0x00] },
    { when: "a code point over U+10FFFF", bytes: [0xf4, 0x90, 0x80, 0x80] },
  ];
  for (const { when, bytes } of notUtf8) {
    test(`C-55: does not believe a text that is not UTF-8: ${when}`, () => {
      const padding = 16 - (bytes.length % 16);
      const padded = Buffer.concat([Buffer.from(bytes), Buffer.alloc(padding, padding)]);
      assert.deepEqual(decrypt(encryptPadded(padded), key), refused);
    });
  }

  test("answers any text and any key without throwing", () => {
    fc.assert(
      fc.property(fc.oneof(fc.string({ unit: anyCharacter }), fc.base64String()), (text) => {
        assert.equal(typeof decrypt(text, key).intact, "boolean");
      }),
      { seed: 12, numRuns: 40 },
    );
  });
});

describe("utf8", () => {
  test("C-55: drops one byte order mark and keeps every other character", () => {
    assert.equal(utf8(Buffer.from("\ufeffa\ufeff")), "a\ufeff");
    assert.equal(utf8(Buffer.from("")), "");
    assert.equal(utf8(Buffer.from([0xef, 0xbb])), undefined);
  });

  test("reads a view that is a part of a larger buffer", () => {
    const all = Buffer.from("xx\u4f60\u597dxx");
    assert.equal(utf8(new Uint8Array(all.buffer, all.byteOffset + 2, 6)), "\u4f60\u597d");
  });
});
