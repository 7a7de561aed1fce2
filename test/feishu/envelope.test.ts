import assert from "node:assert/strict";
import { createHash, createHmac } from "node:crypto";
import { describe, test } from "node:test";
import fc from "fast-check";
import { UnauthenticatedError } from "../../lib/errors.ts";
import { callbackTypes, classify, type UnreadableReason } from "../../lib/feishu/classify.ts";
import type { Envelope, SealedRequest } from "../../lib/feishu/envelope.ts";
import { defaultApp, type KeyRing } from "../../lib/feishu/keys.ts";
import { bounds, open } from "../../lib/feishu/open.ts";
import { seal } from "../../lib/feishu/seal.ts";
import {
  appId,
  bare,
  challengeText,
  ciphertextOf,
  encryptKey,
  type PushOptions,
  push,
  ring,
  rings,
  signedPush,
  startMs,
  unsigned,
  v1Text,
  v2Text,
  verificationToken,
  withHeaders,
} from "../support/push.ts";
import { anyCharacter } from "../support/unicode.ts";

const keys = ring();
const plain = ring({ encryptKeys: [] });

const opened = (request: SealedRequest, nowMs = startMs, with_: KeyRing = keys) =>
  open(request, { keys: with_, nowMs });

function refusalOf(request: SealedRequest, nowMs = startMs, with_: KeyRing = keys): string {
  try {
    return `accepted as ${opened(request, nowMs, with_).kind}`;
  } catch (error) {
    assert.ok(error instanceof UnauthenticatedError, `it threw ${String(error)}`);
    return error.reason;
  }
}

/** A JSON document of any shape, with names that matter to a parser more often than chance has it. */
const anyJson = fc.dictionary(
  fc.oneof(
    fc.string({ unit: anyCharacter }),
    fc.constantFrom("token", "header", "event", "encrypt", "__proto__", "schema", "type"),
  ),
  fc.jsonValue({ stringUnit: anyCharacter, maxDepth: 4 }),
  { maxKeys: 5 },
);
const name = fc.oneof(
  fc.string({ unit: anyCharacter, minLength: 1, maxLength: 20 }),
  fc.constantFrom("im.message.receive_v1", "constructor"),
);
const requestId = fc.oneof(fc.constant(null), fc.stringMatching(/^[0-9A-Fa-f-]{1,40}$/));

const v2 = fc
  .record({
    event_id: name,
    event_type: fc.oneof(name, fc.constantFrom(...callbackTypes)),
    create_time: fc.stringMatching(/^\d{0,17}$/),
    tenant_key: name,
    app_id: fc.constantFrom(appId, undefined),
    more: anyJson,
    event: anyJson,
  })
  .map(({ more, event, ...header }) =>
    JSON.stringify({ ...more, schema: "2.0", header: { ...header, token: "" }, event }),
  );
const v1 = fc
  .record({ uuid: name, ts: fc.stringMatching(/^\d{10}\.\d{1,9}$/), type: name, tenant_key: name, event: anyJson })
  .map(({ uuid, ts, event, ...rest }) =>
    JSON.stringify({ ts, uuid, token: "", type: "event_callback", event: { ...event, ...rest, app_id: appId } }),
  );

const notices = fc.tuple(fc.oneof(v2, v1), requestId).map(([text, id]): Envelope => {
  const message = classify(text);
  assert.ok(message.kind === "event" || message.kind === "callback", `the generator made ${message.kind}`);
  const { token: _, kind, ...notice } = message;
  return { kind, ...notice, requestId: id, transport: "webhook", receivedBy: appId };
});
const challenges = fc.tuple(fc.string({ unit: anyCharacter, maxLength: 300 }), requestId).map(
  ([challenge, id]): Envelope => ({
    kind: "challenge",
    challenge,
    requestId: id,
    transport: "webhook",
    receivedBy: appId,
  }),
);
const rawBodies: fc.Arbitrary<[UnreadableReason, Buffer]> = fc.oneof(
  fc.uint8Array({ maxLength: 50 }).map((bytes): [UnreadableReason, Buffer] => ["utf8", Buffer.from([...bytes, 0xff])]),
  fc
    .constantFrom("", "null", "5", '"x"', "[]", "{", "{}{}")
    .map((text): [UnreadableReason, Buffer] => ["json", Buffer.from(text)]),
  fc
    .jsonValue()
    .map((value): [UnreadableReason, Buffer] => ["encrypt", Buffer.from(JSON.stringify({ encrypt: [value] }))]),
  fc
    .string()
    .map((text): [UnreadableReason, Buffer] => ["padding", Buffer.from(JSON.stringify({ encrypt: `!${text}` }))]),
  fc
    .jsonValue({ maxDepth: 2 })
    .map((value): [UnreadableReason, Buffer] => [
      "schema",
      Buffer.from(JSON.stringify({ encrypt: ciphertextOf(JSON.stringify({ value })) })),
    ]),
);
const unreadables = fc.tuple(rawBodies, requestId).map(
  ([[reason, rawBody], id]): Envelope => ({
    kind: "unreadable",
    reason,
    rawBody,
    requestId: id,
    transport: "webhook",
    receivedBy: appId,
  }),
);

describe("open", () => {
  const kinds: [string, fc.Arbitrary<Envelope>][] = [
    ["events and callbacks of both schemas", notices],
    ["challenges", challenges],
    ["bodies that cannot be read", unreadables],
  ];
  for (const [what, envelopes] of kinds) {
    test(`gives back what was sealed: ${what}`, () => {
      fc.assert(
        fc.property(
          envelopes,
          fc.uint8Array({ minLength: 16, maxLength: 16 }),
          fc.stringMatching(/^\w{1,20}$/),
          (envelope, iv, nonce) => {
            const sealed = seal(envelope, { keys, app: defaultApp, nowMs: startMs, nonce, iv });
            assert.deepEqual(opened(sealed), envelope);
          },
        ),
        { seed: 41, numRuns: 40 },
      );
    });
  }

  test("gives back what was sealed without an Encrypt Key: events, callbacks and challenges", () => {
    fc.assert(
      fc.property(fc.oneof(notices, challenges), (envelope) => {
        const sealed = seal(envelope, {
          keys: plain,
          app: defaultApp,
          nowMs: startMs,
          nonce: "1",
          iv: Buffer.alloc(16),
        });
        assert.deepEqual(
          [...sealed.headers.keys()].filter((header) => header.startsWith("x-lark")),
          [],
        );
        assert.deepEqual(opened(sealed, startMs, plain), envelope);
      }),
      { seed: 42, numRuns: 40 },
    );
  });

  test("parses each part of a push once where it is as the platform writes it: the body not at all, the event alone", (t) => {
    const event = { message: { text: "hello" } };
    const text = v2Text({ event });
    const part = JSON.stringify(event);
    const parse = t.mock.method(JSON, "parse");
    opened(push(text));
    assert.deepEqual(
      parse.mock.calls.map(({ arguments: [parsed] }) => parsed),
      [`${text.slice(0, text.lastIndexOf(part))}null}`, part],
    );
  });

  test("carries the platform's own request id, and the gateway's when that is missing or empty", () => {
    const id = (headers: Record<string, string>) => opened(push(v2Text(), { headers })).requestId;
    assert.equal(id({ "x-tt-logid": "a", "x-request-id": "b" }), "a");
    assert.equal(id({ "x-tt-logid": "", "x-request-id": "b" }), "b");
    assert.equal(id({}), null);
  });

  test("V4: takes a retry with its first timestamp at each step of the platform's ladder", () => {
    const request = push(v2Text());
    for (const ageMs of [0, 15_000, 300_000, 3600_000, 6 * 3600_000, 7 * 3600_000 + 315_000, bounds.eventAgeMs]) {
      assert.equal(opened(request, startMs + ageMs).kind, "event");
    }
    assert.equal(refusalOf(request, startMs + bounds.eventAgeMs + 1000), "timestamp");
  });

  test("C-19: refuses an event after 8 hours and a callback after 5 minutes", () => {
    const callback = push(v2Text({ header: { event_type: "card.action.trigger" } }));
    assert.equal(refusalOf(push(v2Text()), startMs + 8 * 3600_000 + 1000), "timestamp");
    assert.equal(opened(callback, startMs + 300_000).kind, "callback");
    assert.equal(refusalOf(callback, startMs + 301_000), "timestamp");
  });

  test("C-20: refuses what was signed over 5 minutes in the future", () => {
    assert.equal(opened(push(v2Text()), startMs - 300_000).kind, "event");
    assert.equal(refusalOf(push(v2Text()), startMs - 301_000), "timestamp");
  });

  test("C-21: understands seconds and milliseconds", () => {
    for (const timestamp of [String(startMs / 1000), String(startMs)]) {
      const request = push(v2Text(), { timestamp });
      assert.equal(opened(request).kind, "event");
      assert.equal(refusalOf(request, startMs + bounds.eventAgeMs + 1000), "timestamp");
    }
  });

  const timestamps = [
    ...[
      "1e9",
      "0x68e77800",
      " 1760000000",
      "1760000000 ",
      "-1",
      "-1760000000",
      "1760000000.5",
      "NaN",
      "Infinity",
      "null",
    ],
    ...[
      "undefined",
      "1",
      "176000000",
      "17600000000",
      "176000000000",
      "17600000000000",
      "\u0661\u0667\u0666\u0660\u0660\u0660\u0660\u0660\u0660\u0660",
    ],
    ...["+176000000", "1_76000000", "9".repeat(400), "2025-10-09", "1760000000\n", "0000000000"],
  ];
  for (const timestamp of timestamps) {
    test(`C-17: refuses the timestamp ${JSON.stringify(timestamp.slice(0, 24))}, rightly signed`, () => {
      assert.equal(refusalOf(push(v2Text(), { timestamp })), "timestamp");
    });
  }

  test("C-16: refuses digits moved between timestamp and nonce, though the digest is the same", () => {
    const request = push(v2Text(), { timestamp: "1760000000", nonce: "5678901234" });
    assert.equal(opened(request).kind, "event");
    const all = "17600000005678901234";
    for (let at = 1; at < all.length; at++) {
      // At 10 digits it is the request itself; at 13 the same second, in milliseconds.
      if (at === 10 || at === 13) continue;
      const moved = withHeaders(request, {
        "x-lark-request-timestamp": all.slice(0, at),
        "x-lark-request-nonce": all.slice(at),
      });
      assert.equal(refusalOf(moved), "timestamp", `${at} digits`);
    }
    const shifted = withHeaders(request, {
      "x-lark-request-timestamp": all.slice(0, 13),
      "x-lark-request-nonce": all.slice(13),
    });
    assert.equal(refusalOf(shifted, startMs + bounds.eventAgeMs + 1000), "timestamp", "nobody gains a second");
    const emptied = withHeaders(request, { "x-lark-request-timestamp": all, "x-lark-request-nonce": "" });
    assert.equal(refusalOf(emptied), "unsigned");
  });

  const body = Buffer.from(JSON.stringify({ encrypt: ciphertextOf(v2Text()) }));
  const stamp = "17600000008406917523";
  const forgeries = [
    {
      when: "the verification token as key",
      signature: createHash("sha256")
        .update(stamp + verificationToken)
        .update(body)
        .digest("hex"),
    },
    { when: "an empty key", signature: createHash("sha256").update(stamp).update(body).digest("hex") },
    {
      when: "the text undefined as key",
      signature: createHash("sha256").update(`${stamp}undefined`).update(body).digest("hex"),
    },
    {
      when: "SHA-1",
      signature: createHash("sha1")
        .update(stamp + encryptKey)
        .update(body)
        .digest("hex"),
    },
    { when: "an HMAC of the body", signature: createHmac("sha256", encryptKey).update(body).digest("hex") },
    {
      when: "an HMAC of all parts",
      signature: createHmac("sha256", encryptKey).update(stamp).update(body).digest("hex"),
    },
    {
      when: "the AES key",
      signature: createHash("sha256")
        .update(stamp)
        .update(createHash("sha256").update(encryptKey).digest())
        .update(body)
        .digest("hex"),
    },
    {
      when: "the decrypted text",
      signature: createHash("sha256")
        .update(stamp + encryptKey + v2Text())
        .digest("hex"),
    },
    {
      when: "the app id as key",
      signature: createHash("sha256")
        .update(stamp + appId)
        .update(body)
        .digest("hex"),
    },
  ];
  for (const { when, signature } of forgeries) {
    test(`C-15: refuses a signature made with ${when}`, () => {
      const request = withHeaders(signedPush(body), { "x-lark-signature": signature });
      assert.equal(refusalOf(request), "signature");
    });
  }

  test("the text undefined never stands in for a missing header", () => {
    for (const missing of ["x-lark-request-timestamp", "x-lark-request-nonce"]) {
      const options: PushOptions = missing.endsWith("nonce") ? { nonce: "undefined" } : { timestamp: "undefined" };
      assert.equal(refusalOf(withHeaders(push(v2Text(), options), { [missing]: undefined })), "unsigned");
    }
  });

  test("C-22: refuses a signed event in plain text although a key is set", () => {
    assert.equal(refusalOf(signedPush(v2Text())), "plaintext");
    assert.equal(refusalOf(signedPush(challengeText())), "plaintext");
  });

  test("C-23: what stands beside the ciphertext is ignored", () => {
    const beside = {
      schema: "9",
      header: { event_id: "forged" },
      event: { forged: true },
      token: "x",
      type: "url_verification",
    };
    const request = signedPush(JSON.stringify({ ...beside, encrypt: ciphertextOf(v2Text()) }));
    assert.deepEqual(opened(request), opened(push(v2Text())));
  });

  test("C-54: of two ciphertexts the last counts, as in every parser", () => {
    const [first, last] = [
      ciphertextOf(v2Text({ header: { event_id: "first" } })),
      ciphertextOf(v2Text({ header: { event_id: "last" } })),
    ];
    const envelope = opened(signedPush(`{"encrypt":${JSON.stringify(first)},"encrypt":${JSON.stringify(last)}}`));
    assert.ok(envelope.kind === "event" && envelope.id === "last");
  });

  test("length extension of a captured push ends in quarantine, never in the queue", () => {
    // Who holds a signed body can sign that body followed by padding bytes and a suffix, without the key.
    const extended = Buffer.concat([body, Buffer.from([0x80, 0, 0, 0]), Buffer.from('{"encrypt":"x"}')]);
    const envelope = opened(signedPush(extended));
    assert.ok(envelope.kind === "unreadable" && envelope.reason === "utf8");
  });

  test("C-36: takes a token that is exactly ours, and no other value", () => {
    const values: unknown[] = [
      1,
      0,
      true,
      false,
      null,
      [verificationToken],
      { toString: verificationToken },
      {},
      "",
      " ",
      verificationToken.slice(0, -1),
      `${verificationToken}\0`,
      `${verificationToken} `,
      verificationToken.toUpperCase(),
      undefined,
    ];
    for (const token of values) {
      assert.equal(refusalOf(push(v2Text({ header: { token } }))), "token", `2.0: ${JSON.stringify(token)}`);
      assert.equal(refusalOf(push(v1Text({ envelope: { token } }))), "token", `1.0: ${JSON.stringify(token)}`);
      assert.equal(refusalOf(push(challengeText({ token }))), "token", `signed challenge: ${JSON.stringify(token)}`);
      assert.equal(refusalOf(unsigned(challengeText({ token }))), "unsigned", `challenge: ${JSON.stringify(token)}`);
      assert.equal(
        refusalOf(bare(v2Text({ header: { token } })), startMs, plain),
        "token",
        `plain: ${JSON.stringify(token)}`,
      );
    }
  });

  test("C-37: looks for the token where the schema has it, nowhere else", () => {
    const elsewhere = { token: verificationToken };
    assert.equal(
      refusalOf(push(v2Text({ header: { token: undefined }, envelope: elsewhere, event: elsewhere }))),
      "token",
    );
    assert.equal(
      refusalOf(push(v1Text({ envelope: { token: undefined, header: elsewhere }, event: elsewhere }))),
      "token",
    );
  });

  test("C-39, C-40: an app's route takes pushes of that app with that app's key only", () => {
    const two = rings({
      a: { appId: "cli_a", encryptKeys: ["key of app a"], verificationTokens: ["token of app a"] },
      b: { appId: "cli_b", encryptKeys: ["key of app b"], verificationTokens: ["token of app b"] },
    });
    const of = (app: "a" | "b") => v2Text({ header: { app_id: `cli_${app}`, token: `token of app ${app}` } });
    const sent = (app: "a" | "b", key: "a" | "b", route: "a" | "b") =>
      push(of(app), { encryptKey: `key of app ${key}`, app: route });
    for (const app of ["a", "b"] as const) {
      const { kind, receivedBy } = opened(sent(app, app, app), startMs, two);
      assert.deepEqual([kind, receivedBy], ["event", `cli_${app}`]);
    }
    assert.equal(refusalOf(sent("a", "a", "b"), startMs, two), "signature");
    assert.equal(refusalOf(sent("a", "b", "a"), startMs, two), "signature");
    assert.equal(refusalOf(sent("a", "b", "b"), startMs, two), "token");
    const challenge = unsigned(challengeText({ token: "token of app a" }), { encryptKey: "key of app b", app: "a" });
    assert.equal(refusalOf(challenge, startMs, two), "unsigned");
  });

  test("C-41: refuses a push for another app, and takes one that names none", () => {
    assert.equal(refusalOf(push(v2Text({ header: { app_id: "cli_other" } }))), "app");
    assert.equal(refusalOf(push(v1Text({ event: { app_id: "cli_other" } }))), "app");
    assert.equal(
      refusalOf(push(v2Text({ header: { app_id: "cli_other", event_type: "card.action.trigger" } }))),
      "app",
    );
    assert.equal(refusalOf(bare(v2Text({ header: { app_id: "cli_other" } })), startMs, plain), "app");
    assert.equal(opened(push(v2Text({ header: { app_id: undefined } }))).kind, "event");
    assert.equal(opened(push(v1Text({ event: { app_id: undefined } }))).kind, "event");
  });

  test("C-42: knows a route by its exact name only", () => {
    for (const app of [
      "../",
      "%2e%2e",
      "__proto__",
      "constructor",
      "toString",
      "Default",
      "",
      "x".repeat(10_000),
      "d\u00e9fault",
    ]) {
      assert.equal(refusalOf({ ...push(v2Text()), app }), "app", app.slice(0, 20));
    }
  });

  test("C-43: takes the old and the new key while both are in force, and none that is retired", () => {
    const rotating = (notAfter: number) =>
      ring({
        encryptKeys: ["the new encrypt key", { value: "the old encrypt key", notAfter }],
        verificationTokens: ["the new token", { value: "the old token", notAfter }],
      });
    const sent = (key: string, token: string) =>
      push(v2Text({ header: { token: `the ${token} token` } }), { encryptKey: `the ${key} encrypt key` });
    const during = rotating(startMs + 1);
    for (const key of ["old", "new"]) {
      for (const token of ["old", "new"]) assert.equal(opened(sent(key, token), startMs, during).kind, "event");
      const challenge = unsigned(challengeText({ token: "the old token" }), { encryptKey: `the ${key} encrypt key` });
      assert.equal(opened(challenge, startMs, during).kind, "challenge");
    }
    const after = rotating(startMs);
    assert.equal(opened(sent("new", "new"), startMs, after).kind, "event");
    assert.equal(refusalOf(sent("old", "new"), startMs, after), "signature");
    assert.equal(refusalOf(sent("new", "old"), startMs, after), "token");
    const challenge = unsigned(challengeText({ token: "the new token" }), { encryptKey: "the old encrypt key" });
    assert.equal(refusalOf(challenge, startMs, after), "unsigned");
  });

  test("C-43: when every key is retired nothing is accepted, and nothing read as plain text", () => {
    const retired = ring({ encryptKeys: [{ value: encryptKey, notAfter: startMs }] });
    assert.equal(refusalOf(push(v2Text()), startMs, retired), "signature");
    assert.equal(refusalOf(bare(v2Text()), startMs, retired), "unsigned");
    assert.equal(refusalOf(bare(challengeText()), startMs, retired), "unsigned");
    const noToken = ring({ verificationTokens: [{ value: verificationToken, notAfter: startMs }] });
    assert.equal(refusalOf(push(v2Text()), startMs, noToken), "token");
    assert.equal(refusalOf(unsigned(challengeText()), startMs, noToken), "unsigned");
  });

  test("C-29: reads no unsigned body over 4 KiB", () => {
    const fits = unsigned(challengeText({ challenge: "c".repeat(2000) }));
    const padded = (length: number) => ({
      ...fits,
      rawBody: Buffer.concat([fits.rawBody, Buffer.alloc(length - fits.rawBody.length, " ")]),
    });
    assert.equal(opened(padded(4096)).kind, "challenge");
    assert.equal(refusalOf(padded(4097)), "too-large-unsigned");
  });

  test("C-46: without an Encrypt Key the token alone decides", () => {
    assert.equal(opened(bare(v2Text()), startMs, plain).kind, "event");
    assert.equal(opened(bare(v1Text()), startMs, plain).kind, "event");
    assert.equal(opened(bare(challengeText()), startMs, plain).kind, "challenge");
    assert.equal(refusalOf(bare(v2Text({ header: { token: "another" } })), startMs, plain), "token");
    assert.equal(refusalOf(bare(challengeText({ token: "another" })), startMs, plain), "token");
    assert.equal(refusalOf(bare("{}"), startMs, plain), "token");
    assert.equal(refusalOf(bare("nonsense"), startMs, plain), "token");
    assert.equal(refusalOf(bare(Buffer.from([0xff])), startMs, plain), "malformed");
  });

  test("without an Encrypt Key an encrypted body is refused, and the log can say why", () => {
    assert.equal(refusalOf(push(v2Text()), startMs, plain), "unexpected-encryption");
    assert.equal(refusalOf(unsigned(challengeText()), startMs, plain), "unexpected-encryption");
  });

  test("without an Encrypt Key an envelope with our token that nobody can read goes to quarantine", () => {
    const envelope = opened(bare(v2Text({ envelope: { schema: "3.0" } })), startMs, plain);
    assert.ok(envelope.kind === "unreadable" && envelope.reason === "schema");
  });

  test("C-34: echoes a challenge that is a text of at most 4,096 characters", () => {
    const signed = (challenge: unknown) => push(challengeText({ challenge }));
    assert.equal(opened(signed("c".repeat(4096))).kind, "challenge");
    for (const challenge of ["c".repeat(4097), 5, null, {}, ["c"], true, undefined]) {
      assert.equal(refusalOf(signed(challenge)), "challenge");
      assert.equal(refusalOf(bare(challengeText({ challenge })), startMs, plain), "challenge");
    }
    for (const challenge of [5, null, {}, ["c"], true, undefined]) {
      assert.equal(refusalOf(unsigned(challengeText({ challenge }))), "challenge");
    }
  });
});
