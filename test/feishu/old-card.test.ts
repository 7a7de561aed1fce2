import assert from "node:assert/strict";
import crypto, { createHash, createHmac } from "node:crypto";
import { syncBuiltinESMExports } from "node:module";
import { after, beforeEach, describe, test } from "node:test";
import fc from "fast-check";
import { callbackConfig, webhookConfig } from "../../lib/aws/config.ts";
import { UnauthenticatedError } from "../../lib/errors.ts";
import type { CallbackEnvelope, SealedRequest } from "../../lib/feishu/envelope.ts";
import { defaultApp, type KeyRing } from "../../lib/feishu/keys.ts";
import { open } from "../../lib/feishu/open.ts";
import { seal } from "../../lib/feishu/seal.ts";
import { fallback } from "../../lib/handling/fallback.ts";
import { startCallback } from "../support/callback-http.ts";
import { httpApi, refusal, startWebhook } from "../support/http-events.ts";
import { oldCardText, oldPush, oldRing } from "../support/old-card.ts";
import {
  appId,
  bare,
  challengeText,
  ciphertextOf,
  encryptKey,
  push,
  ring,
  signedPush,
  startMs,
  v1Text,
  v2Text,
  verificationToken,
  withHeaders,
} from "../support/push.ts";
import { type Random, seeded } from "../support/random.ts";
import { recordTrace } from "../support/trace.ts";

const trace = recordTrace();
beforeEach(() => {
  trace.entries.length = 0;
});
after(() => trace.stop());

const keys = oldRing();
/** Without an Encrypt Key, which must have been allowed. */
const plain = oldRing({ encryptKeys: [] });
const ringsWithCards: [when: string, keys: KeyRing][] = [
  ["with an Encrypt Key", keys],
  ["without an Encrypt Key", plain],
];
const oldType = "card.action.trigger_v1";
/** Told apart by its token, without being it. */
const idOf = (token: string) => `sha256:${createHash("sha256").update(`["${oldType}"]`).update(token).digest("hex")}`;
const card = oldPush(oldCardText());
const signature = card.headers.get("x-lark-signature") ?? "";

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

/** Posts to the callback's function; expects the one fixed answer, nobody called and nothing stored. */
async function refuses(request: SealedRequest, with_: KeyRing = keys): Promise<void> {
  const callback = startCallback({ keys: with_ });
  assert.deepEqual(await callback.deliver(request), refusal);
  assert.deepEqual([callback.seen, callback.claimed, callback.queued, callback.quarantined], [[], [], [], []]);
}

describe("an old card callback", () => {
  test("C-78: is off by default: one fixed 401, whatever it is signed with", async () => {
    const off = [
      ring(),
      ring({ encryptKeys: [] }),
      new Map([...keys].map(([at, app]) => [at, { ...app, oldCards: false }])),
    ];
    assert.throws(() => opened(card, startMs, ring()), /LEGACY_CARD_CALLBACK is off$/);
    for (const with_ of off) {
      for (const request of [card, bare(oldCardText()), signedPush(oldCardText())]) await refuses(request, with_);
    }
  });

  const settings = {
    ENCRYPT_KEY: encryptKey,
    VERIFICATION_TOKEN: verificationToken,
    APP_ID: appId,
    EVENTS_QUEUE_URL: "http://127.0.0.1:9/0/events",
    QUARANTINE_QUEUE_URL: "http://127.0.0.1:9/0/quarantine",
    LEDGER_TABLE: "ledger",
  };

  test("C-78: is let in by LEGACY_CARD_CALLBACK alone, and by the callback's function alone", async () => {
    for (const LEGACY_CARD_CALLBACK of [undefined, "", "false"]) {
      await refuses(card, callbackConfig({ ...settings, LEGACY_CARD_CALLBACK }).keys);
    }
    const on = { ...settings, LEGACY_CARD_CALLBACK: "true" };
    await startCallback({ keys: callbackConfig(on).keys }).hands(card);
    const unencrypted = { ...on, ENCRYPT_KEY: undefined, ALLOW_UNENCRYPTED: "true" };
    await startCallback({ keys: callbackConfig(unencrypted).keys }).hands(card);
    for (const env of [on, unencrypted]) {
      const webhook = startWebhook({ keys: webhookConfig(env).keys });
      await webhook.refuses(card);
    }
    const webhook = startWebhook({ keys: webhookConfig(on).keys });
    for (const request of [bare(challengeText()), oldPush(challengeText())]) await webhook.refuses(request);
  });

  test("C-78: is refused by the events' function as it is deployed, the setting set or not", async (t) => {
    const before = { ...process.env };
    t.after(() => {
      process.env = before;
    });
    const nowMs = Date.now();
    for (const LEGACY_CARD_CALLBACK of ["false", "true", "nonsense"]) {
      process.env = { ...before, ...settings, AWS_REGION: "us-east-1", LEGACY_CARD_CALLBACK };
      const load = `../../functions/webhook.ts?cards=${LEGACY_CARD_CALLBACK}`;
      const { handler }: typeof import("../../functions/webhook.ts") = await import(load);
      assert.deepEqual(await handler(httpApi(oldPush(oldCardText(), { nowMs }))), refusal);
      assert.deepEqual(await handler(httpApi(bare(challengeText()))), refusal);
    }
  });

  // Digits from another implementation of SHA-1.
  const token = "Jw4sTn8vKq2bXr6yHc0fMz5dLp9gUe3a";
  const known: [what: string, timestamp: string, nonce: string, body: string, digits: string][] = [
    [
      "a button",
      "1760000000",
      "305117942",
      '{"open_id":"ou_6a0c4e92d7","user_id":"b41f7c20","open_message_id":"om_3e8d5a610f","open_chat_id":"oc_7c2b9f04e1","tenant_key":"tenant-1","token":"c-9d0e3fa1","action":{"value":{"decision":"release"},"tag":"button"}}',
      "ba9cf766432c1aebc77c6bdecedbc51ff6e1e97c",
    ],
    [
      "a choice, spread over lines, with a number of 17 digits",
      "1760000007",
      "88140623",
      '{\r\n  "open_id": "ou_6a0c4e92d7",\r\n  "token": "c-9d0e3fa2",\r\n  "timezone": "Asia/Shanghai",\r\n  "action": {"tag": "select_static", "option": "2", "value": {"order": 90071992547409931}}\r\n}\n',
      "1121a12637042d7012525c5d70908c57d89adb93",
    ],
    [
      "a text of other alphabets, with escapes that need not be",
      "1760000011",
      "1",
      '{"open_id":"ou_6a0c4e92d7","token":"c-9d0e3fa3","action":{"tag":"button","value":{"note":"\u653e\u884c \u{1f44b} \\u003cb\\u003e \\u0026 \\/"}}}',
      "b6b2984bdfd1e2a8f76568024b28cae2806d46f6",
    ],
  ];
  for (const [what, timestamp, nonce, body, digits] of known) {
    test(`C-78: is verified over its bytes: ${what}`, async () => {
      const own = oldRing({ verificationTokens: [token] });
      const headers = {
        "x-lark-request-timestamp": timestamp,
        "x-lark-request-nonce": nonce,
        "x-lark-signature": digits,
      };
      const request = bare(body, { headers });
      for (const answer of [{ toast: { type: "info", content: "\u597d" } }, { elements: [], config: {} }, null]) {
        const callback = startCallback({ keys: own, answer: () => answer });
        const { callback: given, context } = await callback.hands(request);
        assert.deepEqual(given, JSON.parse(body));
        assert.deepEqual([context.raw, context.id, context.type], [body, idOf(given.token), oldType]);
        const again = await callback.deliver(request);
        assert.deepEqual([again.statusCode, JSON.parse(again.body)], [200, answer ?? {}]);
      }
      // What reads the same and is written otherwise has another signature.
      for (const other of [JSON.stringify(JSON.parse(body)), `${body} `, ` ${body}`, body.replace("\\u003c", "<")]) {
        if (other !== body) await refuses(bare(other, { headers }), own);
      }
      await refuses(request);
    });
  }

  test("C-78: is taken under a signature in lower and in upper case", () => {
    for (const spelt of [signature.toLowerCase(), signature.toUpperCase()]) {
      assert.equal(opened(withHeaders(card, { "x-lark-signature": spelt })).kind, "callback");
    }
  });

  test("C-78: is fresh for 5 minutes either way, the last second included", () => {
    for (const when of [{ nowMs: startMs }, { timestamp: String(startMs) }]) {
      const request = oldPush(oldCardText(), when);
      for (const offMs of [-300_000, -1, 0, 1, 300_000])
        assert.equal(opened(request, startMs + offMs).kind, "callback");
      for (const offMs of [-300_001, 300_001, 8 * 3600_000])
        assert.equal(refusalOf(request, startMs + offMs), "timestamp");
    }
    for (const timestamp of [
      "",
      " 1760000000",
      "1760000000 ",
      "1e9",
      "NaN",
      "176000000",
      "17600000000",
      "-1760000000",
    ]) {
      assert.equal(refusalOf(oldPush(oldCardText(), { timestamp })), timestamp === "" ? "unsigned" : "timestamp");
    }
  });

  test("C-78: gains no time from digits moved between timestamp and nonce", () => {
    const request = oldPush(oldCardText(), { timestamp: "1760000000", nonce: "5678901234" });
    const all = "17600000005678901234";
    for (let at = 0; at <= all.length; at++) {
      const headers = { "x-lark-request-timestamp": all.slice(0, at), "x-lark-request-nonce": all.slice(at) };
      const moved = withHeaders(request, headers);
      if (at === 10 || at === 13) assert.equal(refusalOf(moved, startMs + 301_000), "timestamp");
      else assert.match(refusalOf(moved), /^(timestamp|unsigned)$/);
    }
  });

  test("C-78, C-43: is taken under each token that is in force, and under none that is retired", async () => {
    const rotating = (notAfter: number) =>
      oldRing({ verificationTokens: ["the new token", { value: "the old token", notAfter }] });
    const sent = (which: string) => oldPush(oldCardText(), { verificationToken: `the ${which} token` });
    for (const which of ["new", "old"])
      assert.equal(opened(sent(which), startMs, rotating(startMs + 1)).kind, "callback");
    assert.equal(opened(sent("new"), startMs, rotating(startMs)).kind, "callback");
    assert.equal(refusalOf(sent("old"), startMs, rotating(startMs)), "signature");
    const none = oldRing({ verificationTokens: [{ value: verificationToken, notAfter: startMs }] });
    for (const request of [card, bare(challengeText()), oldPush(oldCardText(), { verificationToken: "" })]) {
      await refuses(request, none);
    }
  });

  const names = ["x-lark-request-timestamp", "x-lark-request-nonce", "x-lark-signature"];
  test("C-78: is refused while a header of the three is missing, empty or given twice", async () => {
    for (let which = 1; which < 8; which++) {
      const chosen = names.filter((_, at) => which & (1 << at));
      for (const change of [
        () => undefined,
        () => "",
        (name: string) => `${card.headers.get(name)},${card.headers.get(name)}`,
      ]) {
        const request = withHeaders(card, Object.fromEntries(chosen.map((name) => [name, change(name)])));
        for (const [, with_] of ringsWithCards) await refuses(request, with_);
      }
    }
    for (const nonce of ["", "undefined"])
      await refuses(withHeaders(oldPush(oldCardText(), { nonce }), { "x-lark-request-nonce": undefined }));
  });

  test("C-78: is compared in constant time, with each token there is", async (t) => {
    const compared = t.mock.method(crypto, "timingSafeEqual");
    syncBuiltinESMExports();
    t.after(() => {
      t.mock.restoreAll();
      syncBuiltinESMExports();
    });
    const two = oldRing({ verificationTokens: [verificationToken, "another token"] });
    for (const given of [signature, `0${signature.slice(1)}`, `${signature.slice(0, -1)}x`, "f".repeat(40)]) {
      refusalOf(withHeaders(card, { "x-lark-signature": given }), startMs, two);
    }
    // The one that is not hex is none to compare.
    assert.deepEqual(
      compared.mock.calls.map(({ arguments: [a, b] }) => [a.byteLength, b.byteLength]),
      Array(6).fill([40, 40]),
    );
  });
});

describe("an old card callback that is forged", () => {
  const stamp = "17600000001640209375";
  const bytes = Buffer.from(card.rawBody);
  const sha1 = (...parts: (string | Buffer)[]) => {
    const digest = createHash("sha1");
    for (const part of parts) digest.update(part);
    return digest.digest("hex");
  };
  const digests: [how: string, digits: string][] = [
    ["the Encrypt Key", sha1(stamp, encryptKey, bytes)],
    ["no token", sha1(stamp, bytes)],
    ["the text undefined", sha1(stamp, "undefined", bytes)],
    ["the app's id", sha1(stamp, appId, bytes)],
    ["another token", sha1(stamp, "another token", bytes)],
    ["the card's own token", sha1(stamp, "c-41f0d27b9e", bytes)],
    ["the token at the end", sha1(stamp, bytes, verificationToken)],
    ["the token twice", sha1(stamp, verificationToken, verificationToken, bytes)],
    ["the nonce first", sha1("16402093751760000000", verificationToken, bytes)],
    ["an HMAC", createHmac("sha1", verificationToken).update(stamp).update(bytes).digest("hex")],
    ["the body alone", sha1(bytes)],
    ["no body", sha1(stamp, verificationToken)],
    [
      "SHA-256 cut to 40 digits",
      createHash("sha256")
        .update(stamp + verificationToken)
        .update(bytes)
        .digest("hex")
        .slice(0, 40),
    ],
    [
      "SHA-256",
      createHash("sha256")
        .update(stamp + verificationToken)
        .update(bytes)
        .digest("hex"),
    ],
    ["SHA-256 without a key", createHash("sha256").update(stamp).update(bytes).digest("hex")],
    ["base64", Buffer.from(signature, "hex").toString("base64")],
    ["39 digits", signature.slice(1)],
    ["41 digits", `${signature}0`],
    ["40 zeros", "0".repeat(40)],
    ["64 zeros", "0".repeat(64)],
    ["40 letters that are no digits", "z".repeat(40)],
    ["40 characters of two bytes", "\u00e9".repeat(40)],
  ];
  for (const [when, with_] of ringsWithCards) {
    for (const [how, digits] of digests) {
      test(`C-78: is refused ${when}: signed with ${how}`, () =>
        refuses(withHeaders(card, { "x-lark-signature": digits }), with_));
    }

    // What a body holds must not choose how it is checked: it is the attacker's.
    const sealed = ciphertextOf(v2Text({ header: { event_type: "card.action.trigger" } }), {
      encryptKey: "the attacker's key",
    });
    const header = { event_type: "card.action.trigger", event_id: "1", app_id: appId, token: "c-41f0d27b9e" };
    const steering: [what: string, members: object][] = [
      ["schema", { schema: "2.0" }],
      ["encrypt", { encrypt: sealed }],
      ["schema and encrypt", { schema: "2.0", encrypt: sealed }],
      ["an empty encrypt", { encrypt: "" }],
      ["an encrypt that is none", { encrypt: null }],
      ["an older schema", { schema: "1.0" }],
      ["a header", { schema: "2.0", header, event: JSON.parse(oldCardText()) }],
      ["an envelope of the older schema", { type: "event_callback", uuid: "1", event: { type: oldType } }],
      ["a challenge", { type: "url_verification", challenge: "x" }],
      ["a challenge and a schema", { type: "url_verification", challenge: "x", schema: "2.0" }],
      ["headers", { headers: Object.fromEntries(card.headers) }],
      ["__proto__", JSON.parse('{"__proto__":{"schema":"2.0","encrypt":"x"}}')],
    ];
    for (const [what, members] of steering) {
      test(`C-78: is refused ${when}: ${what} beside the action, whatever it is signed with`, async () => {
        const body = oldCardText({ ...members });
        await refuses(bare(body), with_);
        await refuses({ ...card, rawBody: Buffer.from(body) }, with_);
        for (const verificationToken of ["", "another token", "undefined", encryptKey]) {
          await refuses(oldPush(body, { verificationToken }), with_);
        }
        for (const key of ["the attacker's key", "undefined", verificationToken]) {
          await refuses(signedPush(body, { encryptKey: key }), with_);
        }
        for (const chosen of [
          { "x-lark-signature": undefined },
          { "x-lark-signature": "" },
          { "x-lark-request-nonce": undefined },
        ]) {
          await refuses(withHeaders(oldPush(body), chosen), with_);
        }
      });

      test(`${what} beside the action changes nothing ${when} where the signature is right`, async () => {
        const callback = startCallback({ keys: with_ });
        const body = oldCardText({ ...members });
        const { type, callback: given } = await callback.hands(oldPush(body));
        assert.deepEqual([type, given], [oldType, JSON.parse(body)]);
        assert.deepEqual(callback.queued, []);
      });
    }

    test(`C-78: with the Encrypt Key's signature over a plain body is refused ${when}`, () =>
      refuses(signedPush(oldCardText()), with_));

    test(`C-78: an event under the old signature is no event ${when}: refused if it is wrong, kept aside if it is right`, async () => {
      const events = [
        v2Text(),
        v1Text(),
        push(v2Text()).rawBody,
        v2Text({ header: { event_type: "card.action.trigger" } }),
      ];
      for (const body of events) {
        await refuses(oldPush(body, { verificationToken: "another token" }), with_);
        const callback = startCallback({ keys: with_ });
        const { statusCode, body: answer } = await callback.deliver(oldPush(body));
        assert.deepEqual([statusCode, answer, callback.queued, callback.seen], [200, "{}", [], []]);
        assert.equal(callback.quarantined.length, 1);
      }
    });
  }

  test("C-78: is refused in each of 200 mutations of a right one (seed 20261)", async () => {
    const random = seeded(20_261);
    const text = oldCardText();
    let tried = 0;
    while (tried < 200) {
      const { what, request } = mutated(random, text);
      const right = oldPush(text);
      const isSame =
        Buffer.from(request.rawBody).equals(Buffer.from(right.rawBody)) &&
        names.every((name) => request.headers.get(name)?.toLowerCase() === right.headers.get(name));
      if (isSame) continue;
      tried++;
      const [, with_] = random.pick(ringsWithCards);
      const callback = startCallback({ keys: with_ });
      const response = await callback.deliver(request);
      const found = `case ${tried}, ${what}: ${JSON.stringify([...request.headers])} ${Buffer.from(request.rawBody)}`;
      assert.deepEqual(response, refusal, found);
      assert.deepEqual(
        [callback.seen, callback.claimed, callback.queued, callback.quarantined],
        [[], [], [], []],
        found,
      );
    }
  });
  const names = ["x-lark-request-timestamp", "x-lark-request-nonce", "x-lark-signature"];
});

/** One change that whoever has seen a right request could make. */
function mutated(random: Random, text: string): { what: string; request: SealedRequest } {
  const right = oldPush(text);
  const body = Buffer.from(right.rawBody);
  const at = random.below(body.length);
  const withBody = (rawBody: Buffer) => ({ ...right, rawBody });
  const withMembers = (members: object) => withBody(Buffer.from(JSON.stringify({ ...JSON.parse(text), ...members })));
  const [timestamp, nonce, digits] = [
    String(startMs / 1000),
    "1640209375",
    right.headers.get("x-lark-signature") ?? "",
  ];
  const changes: readonly [what: string, change: () => SealedRequest][] = [
    [
      "a flipped bit",
      () => {
        body.writeUInt8(body.readUInt8(at) ^ (1 << random.below(8)), at);
        return withBody(body);
      },
    ],
    ["a byte less", () => withBody(Buffer.concat([body.subarray(0, at), body.subarray(at + 1)]))],
    [
      "bytes more",
      () => withBody(Buffer.concat([body.subarray(0, at), random.bytes(1 + random.below(9)), body.subarray(at)])),
    ],
    ["cut short", () => withBody(body.subarray(0, at))],
    ["twice", () => withBody(Buffer.concat([body, body]))],
    [
      "padding as for a longer message",
      () => withBody(Buffer.concat([body, Buffer.from([0x80, 0, 0]), random.bytes(9), body])),
    ],
    ["a space", () => withBody(Buffer.concat([body, Buffer.from(random.pick([" ", "\n", "\0", "\ufeff"]))]))],
    ["written anew", () => withBody(Buffer.from(JSON.stringify(JSON.parse(text), null, 1 + random.below(4))))],
    ["schema", () => withMembers({ schema: random.pick(["2.0", "1.0", "", 2]) })],
    [
      "encrypt",
      () => withMembers({ encrypt: random.pick(["", "x", ciphertextOf(v2Text()), ciphertextOf(challengeText())]) }),
    ],
    ["both", () => withMembers({ schema: "2.0", encrypt: ciphertextOf(v2Text()) })],
    ["another value", () => withMembers({ action: { value: { amount: random.below(1000) }, tag: "button" } })],
    ["another person", () => withMembers({ open_id: `ou_${random.hex(10)}` })],
    ["a challenge", () => withMembers({ type: "url_verification", challenge: random.hex(8), token: random.hex(8) })],
    ["an event", () => withBody(Buffer.from(random.pick([v2Text(), v1Text(), "{}", "null", "[]", ""])))],
    [
      "another digit",
      () => {
        const place = random.below(40);
        return withHeaders(right, {
          "x-lark-signature": digits.slice(0, place) + random.hex(1) + digits.slice(place + 1),
        });
      },
    ],
    [
      "another signature",
      () => withHeaders(right, { "x-lark-signature": random.hex(random.pick([0, 1, 39, 40, 41, 64])) }),
    ],
    [
      "another time",
      () => withHeaders(right, { "x-lark-request-timestamp": String(Number(timestamp) + random.below(2001) - 1000) }),
    ],
    ["a time of any shape", () => withHeaders(right, { "x-lark-request-timestamp": random.hex(random.below(16)) })],
    ["another nonce", () => withHeaders(right, { "x-lark-request-nonce": random.hex(random.below(12)) })],
    [
      "digits moved",
      () => {
        const all = timestamp + nonce;
        // At 13 it is the same second, in milliseconds.
        const place = random.pick([...Array(20).keys()].filter((one) => one !== 13));
        return withHeaders(right, {
          "x-lark-request-timestamp": all.slice(0, place),
          "x-lark-request-nonce": all.slice(place),
        });
      },
    ],
    [
      "a header less",
      () =>
        withHeaders(right, {
          [random.pick(["x-lark-request-timestamp", "x-lark-request-nonce", "x-lark-signature"])]: undefined,
        }),
    ],
    [
      "another token",
      () => oldPush(text, { verificationToken: random.pick(["", random.hex(32), verificationToken.slice(1)]) }),
    ],
    [
      "the other signature",
      () => signedPush(text, { encryptKey: random.pick(["undefined", random.hex(16), verificationToken]) }),
    ],
    ["an old time", () => oldPush(text, { nowMs: startMs - 301_000 - random.below(1e9) })],
    ["a time to come", () => oldPush(text, { nowMs: startMs + 301_000 + random.below(1e9) })],
  ];
  const [what, change] = random.pick(changes);
  return { what, request: change() };
}

describe("an old card callback that is authentic", () => {
  test("C-78: is known by its token, so that a second push gets the first one's answer", async () => {
    let answers = 0;
    const callback = startCallback({ keys, answer: () => ({ toast: { type: "info", content: `${++answers}` } }) });
    const texts: unknown[] = [];
    for (const nonce of ["1", "2", "3"])
      texts.push(JSON.parse((await callback.deliver(oldPush(oldCardText(), { nonce }))).body));
    assert.deepEqual(texts, Array(3).fill({ toast: { type: "info", content: "1" } }));
    const other = await callback.deliver(oldPush(oldCardText({ token: "c-other" })));
    assert.equal(JSON.parse(other.body).toast.content, "2");
    assert.deepEqual(
      callback.seen.map(({ context }) => context.id),
      [idOf("c-41f0d27b9e"), idOf("c-other")],
    );
  });

  test("does not show its token, which updates the card, in what is logged and kept of it", async () => {
    const callback = startCallback({ keys, answer: () => undefined });
    await callback.hands(card);
    const { context } = callback.seen[0] ?? assert.fail("it did not run");
    assert.match(context.id, /^sha256:[0-9a-f]{64}$/);
    assert.ok(!JSON.stringify([trace.entries, callback.claimed]).includes("c-41f0d27b9e"));
  });

  test("tells of itself what it has: its tenant, its refresh token, no app and no time", () => {
    const headers = { "x-refresh-token": "refresh-1", "x-tt-logid": "log-1" };
    const envelope = opened(oldPush(oldCardText(), { headers }));
    assert.deepEqual(envelope, {
      kind: "callback",
      schema: "1.0",
      id: idOf("c-41f0d27b9e"),
      type: oldType,
      app: null,
      tenant: "tenant-1",
      createdAtMs: null,
      header: { refresh_token: "refresh-1" },
      event: JSON.parse(oldCardText()),
      text: oldCardText(),
      requestId: "log-1",
      transport: "webhook",
      receivedBy: appId,
    });
    const bare = opened(oldPush(oldCardText({ tenant_key: undefined })));
    assert.ok(bare.kind === "callback");
    assert.deepEqual([bare.tenant, bare.header, bare.requestId], [null, {}, null]);
  });

  test("is opened as it was sealed, its refresh token included", () => {
    const texts = fc.record({
      value: fc.jsonValue({ stringUnit: fc.constantFrom("a", '"', "\\", "\0", "\u4e2d", "\u{1f44b}"), maxDepth: 3 }),
      refresh: fc.option(fc.stringMatching(/^[\w-]{1,40}$/)),
    });
    fc.assert(
      fc.property(texts, ({ value, refresh }) => {
        const sent = oldPush(
          oldCardText({ action: { value } }),
          refresh === null ? {} : { headers: { "x-refresh-token": refresh } },
        );
        const envelope = opened(sent) as CallbackEnvelope;
        for (const with_ of [keys, plain]) {
          const options = { keys: with_, app: defaultApp, nowMs: startMs, nonce: "7", iv: Buffer.alloc(16, 7) };
          assert.deepEqual(opened(seal(envelope, options), startMs, with_), envelope);
        }
      }),
      { numRuns: 30, seed: 20_261 },
    );
  });

  const deep = `{"open_id":"ou_1","token":"c-1","action":{"value":${"[".repeat(100)}${"]".repeat(100)}}}`;
  const unreadable: [what: string, body: string | Buffer, reason: string][] = [
    ["bytes that are no text", Buffer.from([0x7b, 0xff, 0x7d]), "utf8"],
    [
      "bytes behind the end, as one who has no token can sign them",
      Buffer.concat([Buffer.from(oldCardText()), Buffer.from([0x80, 0, 0]), Buffer.from(oldCardText())]),
      "utf8",
    ],
    ["no JSON", "{", "json"],
    ["nothing", "", "json"],
    ["two of them", `${oldCardText()}${oldCardText()}`, "json"],
    ["null", "null", "json"],
    ["a list", `[${oldCardText()}]`, "json"],
    ["an empty object", "{}", "schema"],
    ["no action", oldCardText({ action: undefined }), "schema"],
    ["a text for an action", oldCardText({ action: "button" }), "schema"],
    ["a list for an action", oldCardText({ action: [] }), "schema"],
    ["null for an action", oldCardText({ action: null }), "schema"],
    ["too many levels", deep, "depth"],
    ["100,000 levels", "[".repeat(100_000), "depth"],
    ["a challenge with another token", challengeText({ token: "another" }), "schema"],
    ["a challenge without one", challengeText({ token: undefined }), "schema"],
  ];
  for (const [what, body, reason] of unreadable) {
    test(`C-78: and cannot be read is kept in quarantine and answered 200: ${what}`, async () => {
      for (const [, with_] of ringsWithCards) {
        const callback = startCallback({ keys: with_ });
        const request = oldPush(body);
        const { statusCode, body: answer } = await callback.deliver(request);
        assert.deepEqual([statusCode, answer, callback.seen, callback.queued], [200, "{}", [], []]);
        const [kept, ...more] = callback.quarantined;
        assert.deepEqual([kept?.reason, more], [reason, []]);
        assert.ok(Buffer.from(request.rawBody).equals(Buffer.from(kept?.rawBody ?? [])));
      }
    });
  }

  const blanks: unknown[] = ["", " ", "\u3000", "\u200b", 5, null, [], {}, ["c-1"], { toString: "c-1" }, undefined];
  for (const member of ["token", "open_id"]) {
    test(`C-76: whose ${member} is blank or no text gets a message, and no handler`, async () => {
      const callback = startCallback({ keys });
      for (const blank of blanks) {
        trace.entries.length = 0;
        await callback.fails(oldPush(oldCardText({ [member]: blank })), oldType);
        assert.deepEqual(
          trace.entries.filter(({ stage }) => stage === "failed").map(({ facts }) => facts),
          [{ reason: "incomplete", field: member }],
        );
      }
      await callback.fails(
        oldPush(oldCardText({ [member]: undefined }).replace("{", `{"__proto__":{"${member}":"c-1"},`)),
        oldType,
      );
    });
  }

  test("that nobody handles gets a message, and nothing is claimed", async () => {
    const callback = startCallback({ keys, types: ["card.action.trigger"] });
    const { statusCode, body } = await callback.deliver(card);
    assert.deepEqual([statusCode, JSON.parse(body), callback.claimed], [200, fallback(oldType, "unhandled"), []]);
  });
});

describe("the challenge of the old card callback's page", () => {
  const answered = '{"challenge":"7c5a9b1e-4d2f"}';

  test("C-78: is answered in plain text, unsigned and under the old signature, where old cards are let in", async () => {
    for (const [, with_] of ringsWithCards) {
      for (const request of [bare(challengeText()), oldPush(challengeText())]) {
        const { statusCode, body } = await startCallback({ keys: with_ }).deliver(request);
        assert.deepEqual([statusCode, body], [200, answered]);
      }
    }
  });

  test("C-31, C-33: is refused unsigned where they are not, although its token is ours", async () => {
    for (const request of [bare(challengeText()), oldPush(challengeText())]) await refuses(request, ring());
  });

  test("C-31: is refused unsigned where its token is another, missing or no text", async () => {
    for (const [, with_] of ringsWithCards) {
      for (const token of ["another", "", undefined, null, 5, [verificationToken], { toString: verificationToken }]) {
        await refuses(bare(challengeText({ token })), with_);
      }
      await refuses(oldPush(challengeText(), { verificationToken: "another token" }), with_);
    }
  });

  test("C-33: is refused unsigned, for all its token, where it is something else as well", async () => {
    for (const members of [{ schema: "2.0" }, { type: "event_callback" }, { type: ["url_verification"] }]) {
      await refuses(bare(challengeText(members)));
    }
  });

  test("C-29, C-34: is refused where it is no text, or large", async () => {
    for (const challenge of [5, null, {}, ["c"], undefined, "c".repeat(4097)]) {
      await refuses(bare(challengeText({ challenge })));
      await refuses(oldPush(challengeText({ challenge })));
    }
    await refuses(bare(`${challengeText()}${" ".repeat(4096)}`));
  });

  test("C-31: under a retired token is refused", async () => {
    const retired = oldRing({ verificationTokens: ["the new token", { value: verificationToken, notAfter: startMs }] });
    await refuses(bare(challengeText()), retired);
    await refuses(oldPush(challengeText()), retired);
  });
});
