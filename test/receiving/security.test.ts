import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { gzipSync, inflateRawSync } from "node:zlib";
import { webhookConfig } from "../../lib/aws/config.ts";
import { fromApiGateway } from "../../lib/aws/gateway.ts";
import { toBody, toGroupId } from "../../lib/aws/record.ts";
import { ConfigError } from "../../lib/errors.ts";
import { classify } from "../../lib/feishu/classify.ts";
import type { EventEnvelope } from "../../lib/feishu/envelope.ts";
import { isToken } from "../../lib/feishu/keys.ts";
import { open, openMessage } from "../../lib/feishu/open.ts";
import { matches } from "../../lib/feishu/signature.ts";
import { wholeNumber } from "../../lib/settings/environment.ts";
import { appSigner, readValue } from "../../lib/signed-value.ts";
import { clean } from "../../lib/trace/clean.ts";
import { describeError } from "../../lib/trace/error.ts";
import { jsonLines, levelOf, toLine } from "../../lib/trace/log.ts";
import { subscribe } from "../../lib/trace/trace.ts";
import { startCallback } from "../support/callback-http.ts";
import { httpApi, loadBalancer, refusal, restApi, shapes, startWebhook } from "../support/http-events.ts";
import {
  bare,
  challengeText,
  ciphertextOf,
  encryptKey,
  push,
  ring,
  signedPush,
  startMs,
  unsigned,
  v1Text,
  v2Text,
  verificationToken,
  withHeaders,
} from "../support/push.ts";
import { recordTrace } from "../support/trace.ts";

const trace = recordTrace();
const event = push(v2Text());
const signature = event.headers.get("x-lark-signature") ?? "";

/**
 * Milliseconds of computing, the least of three runs: what the work costs, whatever else the machine and the process do meanwhile.
 * Once a run costs less than `enoughMs`, there is no further one. The kernel counts a thread's time in ticks of 4 ms or 10 ms, so
 * that a few milliseconds may be none.
 */
async function cost(work: () => unknown, enoughMs = 0): Promise<number> {
  let best = Number.POSITIVE_INFINITY;
  for (let run = 0; run < 3 && best >= enoughMs; run++) {
    const before = process.threadCpuUsage();
    await work();
    const { user, system } = process.threadCpuUsage(before);
    best = Math.min(best, (user + system) / 1000);
  }
  return best;
}

describe("refuses with the one fixed answer, and stores nothing,", () => {
  const refused = [
    { row: "C-01", when: "a plain event without signature headers", request: bare(v2Text()) },
    { row: "C-01", when: "a plain 1.0 event without signature headers", request: bare(v1Text()) },
    { row: "C-02", when: "a captured ciphertext without signature headers", request: bare(event.rawBody) },
    {
      row: "C-02",
      when: "an encrypted callback without signature headers",
      request: unsigned(v2Text({ header: { event_type: "card.action.trigger" } })),
    },
    { row: "C-02", when: "an encrypted text that is no envelope, unsigned", request: unsigned("5") },
    {
      row: "C-03",
      when: "an event whose signature header is missing",
      request: withHeaders(event, { "x-lark-signature": undefined }),
    },
    {
      row: "C-04",
      when: "an event whose timestamp header is missing",
      request: withHeaders(event, { "x-lark-request-timestamp": undefined }),
    },
    {
      row: "C-05",
      when: "an event whose nonce header is missing",
      request: withHeaders(event, { "x-lark-request-nonce": undefined }),
    },
    { row: "C-05", when: "an event whose nonce is empty, rightly signed", request: push(v2Text(), { nonce: "" }) },
    { row: "C-06", when: "an empty signature", request: withHeaders(event, { "x-lark-signature": "" }) },
    { row: "C-06", when: "a signature of one space", request: withHeaders(event, { "x-lark-signature": " " }) },
    {
      row: "C-06",
      when: "a signature of one character",
      request: withHeaders(event, { "x-lark-signature": signature.slice(0, 1) }),
    },
    {
      row: "C-06",
      when: "a signature of 63 characters",
      request: withHeaders(event, { "x-lark-signature": signature.slice(1) }),
    },
    {
      row: "C-06",
      when: "a signature of 65 characters",
      request: withHeaders(event, { "x-lark-signature": `${signature}0` }),
    },
    {
      row: "C-08",
      when: "a signature that is not hex",
      request: withHeaders(event, { "x-lark-signature": "z".repeat(64) }),
    },
    {
      row: "C-08",
      when: "a signature of 64 bytes in 32 characters",
      request: withHeaders(event, { "x-lark-signature": "\u00e9".repeat(32) }),
    },
    {
      row: "C-09",
      when: "a signature sent twice",
      request: withHeaders(event, { "x-lark-signature": `${signature},${signature}` }),
    },
    {
      row: "C-09",
      when: "a right and a wrong signature",
      request: withHeaders(event, { "x-lark-signature": `${signature}, ${"0".repeat(64)}` }),
    },
    {
      row: "C-09",
      when: "a timestamp sent twice",
      request: withHeaders(event, { "x-lark-request-timestamp": "1760000000,1760000000" }),
    },
    {
      row: "C-15",
      when: "an event signed with the verification token",
      request: push(v2Text(), { encryptKey: verificationToken }),
    },
    { row: "C-22", when: "a signed event in plain text although a key is set", request: signedPush(v2Text()) },
    { row: "C-22", when: "a signed empty object", request: signedPush("{}") },
    {
      row: "C-29",
      when: "an unsigned challenge over 4 KiB",
      request: unsigned(challengeText({ challenge: "c".repeat(3100) })),
    },
    { row: "C-31", when: "a challenge with a wrong token", request: unsigned(challengeText({ token: "wrong" })) },
    { row: "C-31", when: "a challenge without a token", request: unsigned(challengeText({ token: undefined })) },
    { row: "C-31", when: "a challenge whose token is a number", request: unsigned(challengeText({ token: 5 })) },
    { row: "C-31", when: "a challenge whose token is empty", request: unsigned(challengeText({ token: "" })) },
    { row: "C-33", when: "a plain challenge although a key is set", request: bare(challengeText()) },
    { row: "C-34", when: "a challenge that is an object", request: unsigned(challengeText({ challenge: { a: 1 } })) },
    { row: "C-34", when: "a challenge that is a number", request: unsigned(challengeText({ challenge: 5 })) },
    { row: "C-34", when: "a challenge of 10 KB", request: push(challengeText({ challenge: "c".repeat(10_000) })) },
    {
      row: "C-36",
      when: "a token that is an array with the right one",
      request: push(v2Text({ header: { token: [verificationToken] } })),
    },
    {
      row: "C-37",
      when: "the right token under a wrong signature",
      request: withHeaders(event, { "x-lark-signature": "0".repeat(64) }),
    },
    {
      row: "C-37",
      when: "a wrong token under the right signature",
      request: push(v2Text({ header: { token: "wrong" } })),
    },
    {
      row: "C-37",
      when: "a wrong token in a callback under the right signature",
      request: push(v2Text({ header: { token: "wrong", event_type: "card.action.trigger" } })),
    },
    { row: "C-41", when: "an event of another app", request: push(v2Text({ header: { app_id: "cli_other" } })) },
    {
      row: "C-59",
      when: "a gzip bomb",
      request: bare(gzipSync(Buffer.alloc(2_000_000)), { headers: { "content-encoding": "gzip" } }),
    },
    {
      row: "C-59",
      when: "a compressed body signed before its compression",
      request: {
        ...event,
        rawBody: gzipSync(event.rawBody),
        headers: new Map([...event.headers, ["content-encoding", "gzip"]]),
      },
    },
  ] as const;
  for (const { row, when, request } of refused) {
    test(`${row}: ${when}`, async () => {
      const webhook = startWebhook();
      await webhook.refuses(request);
      await webhook.refuses(request, { base64: true });
    });
  }

  test("C-10: a header given as a list of two, or of none, in any shape", async () => {
    const webhook = startWebhook();
    for (const values of [[signature, signature], [signature, "x"], [], ["x", signature]]) {
      for (const toEvent of [restApi, loadBalancer]) {
        const posted = toEvent(event);
        await webhook.refuses({
          ...posted,
          multiValueHeaders: { ...(posted["multiValueHeaders"] as object), "x-lark-signature": values },
        });
      }
      const posted = httpApi(event);
      await webhook.refuses({ ...posted, headers: { ...(posted["headers"] as object), "x-lark-signature": values } });
    }
  });

  test("C-11: a header given in two spellings with different values", async () => {
    for (const other of ["0".repeat(64), ""]) {
      const posted = httpApi(event);
      const headers = posted["headers"] as Record<string, unknown>;
      await startWebhook().refuses({ ...posted, headers: { ...headers, "X-Lark-Signature": other } });
      await startWebhook().refuses({ ...posted, headers: { "X-LARK-SIGNATURE": other, ...headers } });
    }
  });

  test("C-12: headers that stand under __proto__ or constructor", async () => {
    const proof = Object.fromEntries(event.headers);
    for (const name of ["__proto__", "constructor"]) {
      const headers: Record<string, unknown> = Object.create(null) as Record<string, unknown>;
      headers[name] = proof;
      await startWebhook().refuses({ ...httpApi(event), headers });
      await startWebhook().refuses({ ...restApi(event), headers, multiValueHeaders: headers });
    }
    // An event is parsed JSON, in which __proto__ is a member like any other.
    await startWebhook().refuses({
      ...httpApi(event),
      ...JSON.parse(`{"headers":{"__proto__":${JSON.stringify(proof)}}}`),
    });
  });

  test("C-13: a body that brings its own headers", async () => {
    const headers = Object.fromEntries(event.headers);
    await startWebhook().refuses(bare(JSON.stringify({ headers, encrypt: ciphertextOf(v2Text()) })));
    await startWebhook().refuses(bare(JSON.stringify({ ...headers, encrypt: ciphertextOf(v2Text()) })));
    await startWebhook().refuses(unsigned(v2Text({ envelope: { headers } })));
  });

  test("C-19, C-20: what is too old or from the future", async () => {
    for (const nowMs of [startMs - 8 * 3600_000 - 1000, startMs + 301_000])
      await startWebhook().refuses(push(v2Text(), { nowMs }));
    const callback = v2Text({ header: { event_type: "card.action.trigger" } });
    await startWebhook().refuses(push(callback, { nowMs: startMs - 301_000 }));
  });

  const ciphertexts = [
    5,
    null,
    [],
    {},
    true,
    { length: 2_147_483_648 },
    { type: "Buffer", data: [1, 2] },
    { length: 50_000_000 },
    "",
    "=",
    "\0",
  ];
  test("C-24: a ciphertext that is no text, and takes neither memory nor time for it", async () => {
    const before = process.memoryUsage().rss;
    for (const encrypt of ciphertexts) await startWebhook().refuses(bare(JSON.stringify({ encrypt })));
    // One of these bodies asks for 2 GiB, if it is believed.
    assert.ok(process.memoryUsage().rss - before < 100_000_000);
  });

  test("C-25: and keeps the same in quarantine when it is signed", async () => {
    for (const encrypt of ciphertexts) {
      const reason = typeof encrypt === "string" ? "padding" : "encrypt";
      await startWebhook().quarantines(signedPush(JSON.stringify({ encrypt })), reason);
    }
  });

  const sample = ciphertextOf(v2Text());
  const damaged = [
    { row: "C-26", when: "an illegal character", encrypt: `*${sample}` },
    { row: "C-26", when: "a space", encrypt: `${sample.slice(0, 40)} ${sample.slice(40)}` },
    { row: "C-26", when: "a line break", encrypt: `${sample}\n` },
    { row: "C-26", when: "text after the padding", encrypt: `${sample}====AAAA` },
    { row: "C-26", when: "the URL-safe alphabet", encrypt: sample.replaceAll("+", "-").replaceAll("/", "_") },
    ...[0, 1, 15, 16, 17, 31].map((bytes) => ({
      row: "C-27",
      when: `${bytes} bytes`,
      encrypt: Buffer.alloc(bytes, 3).toString("base64"),
    })),
    { row: "P1", when: "another key", encrypt: ciphertextOf(v2Text(), { encryptKey: "another key" }) },
  ];
  for (const { row, when, encrypt } of damaged) {
    test(`${row}: a ciphertext with ${when}, unsigned; signed it is kept in quarantine`, async () => {
      assert.notEqual(encrypt, sample);
      const body = JSON.stringify({ encrypt });
      await startWebhook().refuses(bare(body));
      await startWebhook().quarantines(signedPush(body), "padding");
    });
  }

  test("C-55: bytes that are not UTF-8, unsigned; signed they are kept in quarantine", async () => {
    const bodies = [
      Buffer.from([0xff, 0xfe]),
      Buffer.from([0xc0, 0xaf]),
      Buffer.from('{"encrypt":"x"}', "utf16le"),
      Buffer.from([0xed, 0xa0, 0x80]),
    ];
    bodies.push(Buffer.concat([event.rawBody, Buffer.from([0x80])]));
    for (const body of bodies) await startWebhook().refuses(bare(body));
    // UTF-16 without a mark is valid UTF-8 with NULs in it, and so only bad JSON.
    for (const body of bodies)
      await startWebhook().quarantines(signedPush(body), body.includes("e\0n") ? "json" : "utf8");
  });

  test("C-28: every fault of an unsigned body, to the byte the same", async () => {
    const [padding, flipped] = [ciphertextOf(challengeText()), Buffer.from(ciphertextOf(challengeText()), "base64")];
    flipped.writeUInt8(flipped.readUInt8(flipped.length - 17) ^ 0x40, flipped.length - 17);
    const faults = [
      JSON.stringify({ encrypt: flipped.toString("base64") }),
      JSON.stringify({ encrypt: padding.slice(0, -4) }),
      JSON.stringify({ encrypt: ciphertextOf("no JSON") }),
      JSON.stringify({ encrypt: ciphertextOf(challengeText({ token: "wrong" })) }),
      JSON.stringify({ encrypt: ciphertextOf(v2Text()) }),
      JSON.stringify({ encrypt: ciphertextOf("[".repeat(80)) }),
      JSON.stringify({ encrypt: ciphertextOf(challengeText({ challenge: 5 })) }),
      "no JSON",
      "",
      "null",
      Buffer.from([0xff]),
    ];
    const answers = new Set<string>();
    for (const fault of faults) answers.add(JSON.stringify(await startWebhook().deliver(bare(fault))));
    for (const { request } of refused) answers.add(JSON.stringify(await startWebhook().deliver(request)));
    assert.deepEqual([...answers], [JSON.stringify(refusal)]);
  });
});

describe("takes", () => {
  test("V3, V1: a signed body with white space, as it came", async () => {
    const pretty = JSON.stringify({ encrypt: ciphertextOf(v2Text()) }, null, 4).replaceAll("\n", "\r\n");
    await startWebhook().queues(signedPush(pretty));
    await startWebhook().queues(signedPush(`\ufeff${pretty}`));
  });

  test("V1, C-55: a text with a byte order mark inside the encryption", async () => {
    assert.equal((await startWebhook().queues(push(`\ufeff${v2Text()}`))).id, "event-1");
  });

  for (const { name, toEvent } of shapes) {
    test(`V2, C-11: header names in any spelling, through ${name}`, async () => {
      const spellings = [
        (header: string) => header,
        (header: string) => header.toUpperCase(),
        (header: string) => header.replace(/(^|-)[a-z]/g, (letter) => letter.toUpperCase()),
        (header: string) => [...header].map((letter, at) => (at % 2 ? letter.toUpperCase() : letter)).join(""),
      ];
      for (const spell of spellings) {
        const headers = new Map([...event.headers].map(([header, value]) => [spell(header), value]));
        await startWebhook().queues(toEvent({ ...event, headers }));
      }
    });
  }

  test("C-11: a header given in two spellings with one value", async () => {
    const posted = httpApi(event);
    const headers = posted["headers"] as Record<string, unknown>;
    await startWebhook().queues({ ...posted, headers: { ...headers, "X-Lark-Signature": signature } });
  });

  test("C-07: a signature in upper case", async () => {
    await startWebhook().queues(withHeaders(event, { "x-lark-signature": signature.toUpperCase() }));
  });

  test("C-12: headers named __proto__ and constructor, which say nothing", async () => {
    const posted = httpApi(event);
    const headers = JSON.parse(
      `{"__proto__":{"x-lark-signature":"x"},"constructor":"x",${JSON.stringify(posted["headers"]).slice(1)}`,
    );
    await startWebhook().queues({ ...posted, headers });
  });

  test("V6: an unsigned challenge that is encrypted with our key and carries our token", async () => {
    const webhook = startWebhook();
    const { statusCode, body } = await webhook.deliver(unsigned(challengeText()));
    assert.deepEqual([statusCode, body], [200, '{"challenge":"7c5a9b1e-4d2f"}']);
    assert.deepEqual([webhook.queued, webhook.quarantined], [[], []]);
    await webhook.refuses(unsigned(challengeText({ token: "wrong" })));
  });

  test("V6: a challenge with some signature headers, or with wrong ones taken away", async () => {
    for (const headers of [
      { "x-lark-request-timestamp": "1" },
      { "x-lark-signature": "x" },
      { "x-lark-request-nonce": "x", "x-lark-signature": "" },
    ]) {
      assert.equal((await startWebhook().deliver(unsigned(challengeText(), { headers }))).statusCode, 200);
    }
    const headers = { "x-lark-request-timestamp": "1760000000", "x-lark-request-nonce": "1", "x-lark-signature": "x" };
    await startWebhook().refuses(unsigned(challengeText(), { headers }));
  });

  const challenges = ["<script>alert(1)</script>", "a\r\nset-cookie: b=c", '"}{"', "\u2028", "\u{1f44b}", ""];
  for (const challenge of challenges) {
    test(`C-34: the challenge ${JSON.stringify(challenge)}, and gives it back as JSON only`, async () => {
      const { statusCode, headers, body } = await startWebhook().deliver(unsigned(challengeText({ challenge })));
      assert.equal(statusCode, 200);
      assert.deepEqual(JSON.parse(body), { challenge });
      assert.deepEqual(headers, refusal.headers);
    });
  }

  test("C-23: a signed push with more beside the ciphertext, which says nothing", async () => {
    const beside = {
      schema: "2.0",
      header: { event_id: "forged", event_type: "forged", token: "x", app_id: "x" },
      event: {},
      type: "url_verification",
    };
    const { id, type } = await startWebhook().queues(
      signedPush(JSON.stringify({ ...beside, encrypt: ciphertextOf(v2Text()) })),
    );
    assert.deepEqual([id, type], ["event-1", "im.message.receive_v1"]);
  });

  const contentTypes = [
    "multipart/form-data; boundary=x",
    "application/x-www-form-urlencoded",
    "text/xml",
    "",
    "application/json; charset=gbk",
    "x".repeat(8000),
  ];
  for (const contentType of contentTypes) {
    test(`C-60: a signed push that calls itself ${JSON.stringify(contentType.slice(0, 40))}`, async () => {
      await startWebhook().queues(withHeaders(event, { "content-type": contentType }));
    });
  }

  test("C-60: a signed push without a content type", async () => {
    await startWebhook().queues(withHeaders(event, { "content-type": undefined }));
  });

  test("C-59: a signed push that says it is compressed, without expanding it", async () => {
    await startWebhook().queues(withHeaders(event, { "content-encoding": "gzip" }));
  });

  test("C-63: a push under a forged host, whose sender stays the gateway's word", async () => {
    trace.entries.length = 0;
    const forged = {
      host: "evil.example",
      "x-forwarded-for": "127.0.0.1",
      "x-forwarded-host": "evil.example",
      "x-forwarded-proto": "http",
      forwarded: "for=127.0.0.1",
    };
    const webhook = startWebhook();
    await webhook.queues(withHeaders(event, forged));
    for (const { toEvent } of shapes) await webhook.refuses(toEvent(bare(v2Text(), { headers: forged })));
    const sources = trace.entries.filter(({ stage }) => stage === "refused").map(({ facts }) => facts?.["sourceIp"]);
    // A load balancer names the sender in a header only, which anyone can write.
    assert.deepEqual(sources, ["203.0.113.7", "203.0.113.7", "203.0.113.7", undefined]);
  });

  test("C-50: a push with __proto__ in the query and the headers, and nothing is polluted", async () => {
    const polluted = JSON.parse('{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}}}');
    const posted = {
      ...httpApi(event, { query: "__proto__[polluted]=1&constructor[prototype][polluted]=1" }),
      queryStringParameters: polluted,
      stageVariables: polluted,
    };
    await startWebhook().queues(posted);
    await startWebhook().queues({ ...restApi(event), queryStringParameters: polluted, pathParameters: polluted });
    assert.equal(({} as { polluted?: unknown }).polluted, undefined);
  });

  const callbacks = ["card.action.trigger", "url.preview.get", "profile.view.get"];
  for (const type of callbacks) {
    test(`a ${type} at the events' address: a toast that names the right one, and nothing is queued`, async () => {
      const webhook = startWebhook();
      const { statusCode, body } = await webhook.deliver(push(v2Text({ header: { event_type: type } })));
      assert.equal(statusCode, 200);
      const { toast } = JSON.parse(body) as { toast: { type: string; content: string } };
      assert.equal(toast.type, "error");
      assert.match(toast.content, /\/callback/);
      assert.deepEqual([webhook.queued, webhook.quarantined], [[], []]);
    });
  }

  test("C-18: the same push again and again, since the worker knows what it has done", async () => {
    const webhook = startWebhook();
    for (let again = 0; again < 20; again++) assert.equal((await webhook.queues(event)).id, "event-1");
  });
});

describe("without an Encrypt Key, when that is allowed,", () => {
  const plain = () => startWebhook({ keys: ring({ encryptKeys: [] }) });

  test("C-46: a token decides, and another one is refused", async () => {
    await plain().queues(bare(v2Text()));
    await plain().queues(bare(v1Text()));
    await plain().refuses(bare(v2Text({ header: { token: "another" } })));
    await plain().refuses(bare(v1Text({ envelope: { token: undefined } })));
    await plain().refuses(bare("{"));
    await plain().refuses(bare(challengeText({ token: "another" })));
  });

  test("C-46, P8: a token before what is too deep to read proves its origin, and another does not", async () => {
    const deep = (token: string) =>
      v2Text({ header: { token }, event: { a: 0 } }).replace('"a":0', `"a":${"[".repeat(100)}`);
    await plain().quarantines(bare(deep(verificationToken)), "depth");
    await plain().refuses(bare(deep("another")));
    await plain().refuses(bare("[".repeat(100)));
  });

  test("C-46: signature headers prove nothing", async () => {
    await plain().refuses(signedPush(v2Text({ header: { token: "another" } })));
    await plain().refuses(push(v2Text()));
  });
});

describe("the address", () => {
  const cases: [path: string, status: number][] = [
    ["/webhook", 200],
    ["/webhook/", 200],
    ["//webhook", 200],
    ["//webhook//", 200],
    ["/", 200],
    ["", 200],
    ["/Webhook", 404],
    ["/WEBHOOK", 404],
    ["/webhook/default", 404],
    ["/callback", 404],
    ["/webhook%2f", 404],
    ["/%77ebhook", 404],
    ["/webhook#fragment", 404],
    ["/webhook?x=y", 404],
    ["/../webhook", 200],
    ["/webhook/..", 404],
    ["/%2e%2e", 404],
    ["/__proto__", 404],
    ["/constructor", 404],
    [`/${"x".repeat(10_000)}`, 404],
    ["/w\u00e9bhook", 404],
    ["/webhook\0", 404],
  ];
  for (const [path, status] of cases) {
    test(`C-42, C-62, E11: ${JSON.stringify(path.slice(0, 24))} is answered ${status}, never redirected`, async () => {
      for (const { toEvent } of shapes) {
        const webhook = startWebhook();
        const response = await webhook.post(toEvent(event, { path }));
        assert.equal(response.statusCode, status);
        assert.equal(webhook.queued.length, status === 200 ? 1 : 0);
        assert.equal(webhook.quarantined.length, 0);
      }
    });
  }

  test("C-62: a query decides nothing", async () => {
    const query = `token=${verificationToken}&x-lark-signature=${signature}`;
    await startWebhook().queues(event, { query });
    await startWebhook().refuses(bare(v2Text()), { query });
  });

  for (const method of ["GET", "HEAD"]) {
    test(`C-61: ${method} is answered as a health check, whatever it carries and however the function is set up`, async () => {
      const raise = () => assert.fail("the keys were asked for");
      for (const { toEvent } of shapes) {
        for (const path of ["/", "/webhook", "/feishu/webhook"]) {
          const webhook = startWebhook({ keys: raise });
          const { statusCode, headers, body } = await webhook.post(toEvent(event, { method, path }));
          assert.deepEqual([statusCode, body], [200, method === "GET" ? "{}" : ""]);
          assert.deepEqual(headers, refusal.headers);
          assert.deepEqual([webhook.queued, webhook.quarantined], [[], []]);
        }
        assert.equal((await startWebhook().post(toEvent(event, { method, path: "/other" }))).statusCode, 404);
      }
    });
  }

  for (const method of ["PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "post", "get", "", "X"]) {
    test(`C-61: ${JSON.stringify(method)} is answered 405 with what is allowed, and stores nothing`, async () => {
      for (const { toEvent } of shapes) {
        const webhook = startWebhook();
        const { statusCode, headers } = await webhook.post(toEvent(event, { method }));
        assert.equal(statusCode, 405);
        assert.deepEqual(headers, { ...refusal.headers, allow: "GET, HEAD, POST" });
        assert.deepEqual([webhook.queued, webhook.quarantined], [[], []]);
      }
    });
  }

  test("C-61: X-HTTP-Method-Override changes nothing, either way", async () => {
    await startWebhook().queues(withHeaders(event, { "x-http-method-override": "GET" }));
    const overridden = withHeaders(event, { "x-http-method-override": "POST", "x-method-override": "POST" });
    const webhook = startWebhook();
    assert.equal((await webhook.deliver(overridden, { method: "GET" })).statusCode, 200);
    assert.equal((await webhook.deliver(overridden, { method: "PUT" })).statusCode, 405);
    assert.deepEqual([webhook.queued, webhook.quarantined], [[], []]);
  });
});

describe("a body", () => {
  test("E6, C-57: at the limit is stored, one byte more is too large", async () => {
    const grown = (bytes: number) => Buffer.concat([event.rawBody, Buffer.alloc(bytes - event.rawBody.length, " ")]);
    for (const base64 of [false, true]) {
      await startWebhook().queues(signedPush(grown(1_048_576)), { base64 });
      const webhook = startWebhook();
      const { statusCode, body } = await webhook.deliver(signedPush(grown(1_048_577)), { base64 });
      assert.deepEqual([statusCode, body], [413, '{"error":"payload too large"}']);
      assert.deepEqual([webhook.queued, webhook.quarantined], [[], []]);
    }
  });

  test("C-57: that is too large is neither decoded nor hashed nor parsed", async (context) => {
    const text = "A".repeat(1_400_000);
    const posted = { ...httpApi(event), body: text, isBase64Encoded: true };
    const decoded = context.mock.method(Buffer, "from");
    const parsed = context.mock.method(JSON, "parse");
    assert.equal((await startWebhook().post(posted)).statusCode, 413);
    assert.deepEqual([decoded.mock.callCount(), parsed.mock.callCount()], [0, 0]);
  });

  test("C-57: is told apart by its length alone, so its size is counted in bytes", async () => {
    const webhook = startWebhook();
    // Characters of three bytes each: under the limit in characters, over it in bytes.
    assert.equal((await webhook.post({ ...httpApi(event), body: "\u4e2d".repeat(400_000) })).statusCode, 413);
    assert.equal((await webhook.post({ ...httpApi(event), body: "\u4e2d".repeat(300_000) })).statusCode, 401);
  });

  test("C-51, P8: nested 100,000 deep is kept in quarantine", async () => {
    const [open, close] = ["[".repeat(100_000), "]".repeat(100_000)];
    const inEvent = v2Text({ event: { a: 0 } }).replace('"a":0', `"a":${open}${close}`);
    for (const bomb of [open, '{"a":'.repeat(100_000), inEvent]) await startWebhook().quarantines(push(bomb), "depth");
    await startWebhook().quarantines(signedPush(`{"encrypt":${open}${close}}`), "encrypt");
    await startWebhook().quarantines(signedPush(open), "json");
  });

  const list = (item: string, count: number) =>
    v2Text({ event: { a: 0 } }).replace('"a":0', `"a":[${Array(count).fill(item).join(",")}]`);
  const members = (count: number) =>
    v2Text({ event: { a: 0 } }).replace(
      '"a":0',
      Array.from({ length: count }, (_, i) => `"${i.toString(36)}":1`).join(","),
    );
  const worst: [what: string, text: (n: number) => string, n: number][] = [
    ["numbers", (n) => list("1", n), 190_000],
    ["empty objects", (n) => list("{}", n), 130_000],
    ["short texts", (n) => list('""', n), 260_000],
    ["members", (n) => members(n), 40_000],
    ["quotes", (n) => v2Text({ event: { a: '"'.repeat(n) } }), 380_000],
    ["backslashes", (n) => v2Text({ event: { a: "\\".repeat(n) } }), 380_000],
    ["emoji", (n) => v2Text({ event: { a: "\u{1f44b}".repeat(n) } }), 190_000],
    ["one long name", (n) => v2Text({ event: { ["n".repeat(n)]: 1 } }), 760_000],
    ["open brackets in a text", (n) => v2Text({ event: { a: "[{".repeat(n) } }), 380_000],
  ];
  for (const [what, text, n] of worst) {
    test(`R11, C-52: full of ${what}, costs little more than to parse it`, async () => {
      // Without an id: it is made of all that the event holds.
      const of = (count: number) => text(count).replace('"event_id":"event-1",', "");
      const answer = async (content: string, enoughMs: number) => {
        const posted = httpApi(push(content));
        return cost(async () => {
          const webhook = startWebhook({ ports: { send: async (envelope) => void toBody(envelope) } });
          assert.equal((await webhook.post(posted)).statusCode, 200);
        }, enoughMs);
      };
      const whole = of(n);
      const parseMs = await cost(() => JSON.parse(whole), 50);
      const eighthMs = await answer(of(n / 8), 10);
      // The constant parts are for ticks, and for hashing, decrypting and packing a megabyte.
      const mostMs = Math.min(10 * parseMs + 150, 24 * eighthMs + 100);
      const wholeMs = await answer(whole, mostMs);
      assert.ok(wholeMs < mostMs, `${wholeMs} ms, after ${eighthMs} for an eighth of it, and ${parseMs} to parse`);
    });
  }

  const beside: [what: string, text: (n: number) => string][] = [
    ["numbers", (n) => `"x":[${"1,".repeat(n)}1]`],
    ["empty objects", (n) => `"x":[${"{},".repeat(n)}1]`],
    ["short texts", (n) => `"x":[${'"",'.repeat(n)}1]`],
    ["quotes", (n) => `"x":"${'\\"'.repeat(n)}"`],
    ["backslashes", (n) => `"x":"${"\\\\".repeat(n)}"`],
    ["members", (n) => `${'"x":1,'.repeat(n)}"x":1`],
    ["tokens", (n) => `${'"token":"x",'.repeat(n)}"x":1`],
    ["names with escapes", (n) => `${'"\\u0074oken":"x",'.repeat(n)}"x":1`],
  ];
  for (const [what, text] of beside) {
    test(`R11, C-52: full of ${what} beside its event, costs in proportion to its length`, async () => {
      for (const place of ["before", "behind"] as const) {
        const of = (n: number) =>
          v2Text().replace(/"event":(.*)}$/, place === "before" ? `${text(n)},$&` : `"event":$1,${text(n)}}`);
        const n = 200_000_000 / text(1_000).length;
        const [eighth, whole] = [of(n / 8), of(n)];
        const eighthMs = await cost(() => assert.equal(classify(eighth).kind, "event"), 2);
        const mostMs = 24 * eighthMs + 100;
        const wholeMs = await cost(() => assert.equal(classify(whole).kind, "event"), mostMs);
        assert.ok(wholeMs < mostMs, `${place}: ${wholeMs} ms, after ${eighthMs} for an eighth of it`);
      }
    });
  }
});

describe("C-76: a card's callback without its credential or without a person", () => {
  const operator = { open_id: "ou_5f1d3c0b2a" };
  const action = { tag: "button", value: {} };
  const click = (members: string) =>
    push(
      v2Text({ header: { event_type: "card.action.trigger" }, event: { action } }).replace(
        /"action":/,
        `${members}${members === "" ? "" : ","}"action":`,
      ),
    );
  const own = (name: string, value: unknown) => `"${name}":${JSON.stringify(value)}`;
  const blanks: unknown[] = [
    ...["", " ", "\t\r\n", "\u00a0", "\u3000", "\ufeff", "\u200b", "\u2060\u200d", "\0", "-", null],
    ...[0, 1, 42, true, false, [], ["c-1"], [[]], {}, { length: 3 }, { toString: "c-1" }, { token: "c-1" }],
  ];

  test("gets a message when event.token is blank, absent or no text, and nobody is called", async () => {
    const callback = startCallback();
    const person = own("operator", operator);
    const cases = [
      person,
      ...blanks.map((token) => `${own("token", token)},${person}`),
      `"__proto__":{"token":"c-1"},${person}`,
      `"constructor":{"prototype":{"token":"c-1"}},${person}`,
      `"Token":"c-1","tokens":"c-1",${person}`,
      `"token":"c-1","token":"",${person}`,
    ];
    for (const members of cases) {
      trace.entries.length = 0;
      await assert.doesNotReject(callback.fails(click(members)), members);
      assert.deepEqual(
        trace.entries.filter(({ stage }) => stage === "failed").map(({ level, facts }) => [level, facts]),
        [["error", { reason: "incomplete", field: "event.token" }]],
      );
    }
  });

  test("gets a message when the operator is absent, none, or has no id, and nobody is called", async () => {
    const callback = startCallback();
    const token = own("token", "c-1");
    const ids = ["open_id", "union_id", "user_id"];
    const cases = [
      token,
      ...[...blanks, "ou_1", [operator]].map((person) => `${token},${own("operator", person)}`),
      ...blanks.flatMap((id) => ids.map((name) => `${token},${own("operator", { [name]: id })}`)),
      ...blanks.map((id) => `${token},${own("operator", { open_id: id, union_id: id, user_id: id, tenant_key: "t" })}`),
      `${token},"operator":{"__proto__":{"open_id":"ou_1"}}`,
      `${token},"operator":{"constructor":"ou_1","toString":"ou_1","tenant_key":"tenant-1"}`,
      `${token},"__proto__":{"operator":{"open_id":"ou_1"}}`,
      `${token},"open_id":"ou_1"`,
    ];
    for (const members of cases) {
      trace.entries.length = 0;
      await assert.doesNotReject(callback.fails(click(members)), members);
      assert.deepEqual(
        trace.entries.filter(({ stage }) => stage === "failed").map(({ level, facts }) => [level, facts]),
        [["error", { reason: "incomplete", field: "event.operator" }]],
      );
    }
  });

  test("and one with both is handled, whichever of the ids the person has", async () => {
    for (const name of ["open_id", "union_id", "user_id"]) {
      const callback = startCallback();
      const person = { [name]: "\u5f20", tenant_key: "tenant-1" };
      const { callback: given } = await callback.hands(click(`${own("token", "c-1")},${own("operator", person)}`));
      assert.deepEqual([given.operator, callback.claimed.length], [person, 1]);
    }
  });

  test("is another thing than a preview without them, which does nothing in anyone's name", async () => {
    const { callback } = await startCallback().hands(
      push(v2Text({ header: { event_type: "url.preview.get" }, event: { context: { url: "https://e.example/" } } })),
    );
    assert.equal(callback.context.url, "https://e.example/");
  });
});

describe("a webhook that is not configured", () => {
  test("C-32, C-44, C-45: answers 503 to everything but a health check, right or wrong, and stores nothing", async () => {
    const webhook = startWebhook({
      keys: () => {
        throw new ConfigError("Cannot start: ENCRYPT_KEY is not set");
      },
    });
    const requests = [
      event,
      unsigned(challengeText()),
      bare(v2Text()),
      bare(""),
      withHeaders(event, { "x-lark-signature": "x" }),
    ];
    for (const request of requests) {
      for (const { toEvent } of shapes) {
        const { statusCode, body } = await webhook.post(toEvent(request));
        assert.deepEqual([statusCode, body], [503, '{"error":"unavailable"}']);
      }
      assert.equal((await webhook.deliver(request, { method: "PUT" })).statusCode, 503);
      assert.equal((await webhook.deliver(request, { path: "/other" })).statusCode, 503);
    }
    assert.deepEqual([webhook.queued, webhook.quarantined], [[], []]);
  });
});

describe("C-38: the token comparison", () => {
  test("looks at digests of one length, so that a token of any length is answered alike", () => {
    const tokens = ring({ verificationTokens: ["one", "another token"] }).get("default")?.verificationTokens ?? [];
    assert.deepEqual(
      tokens.map(({ digest }) => digest.length),
      [64, 64],
    );
    assert.ok(isToken("one", tokens) && isToken("another token", tokens));
    for (const token of ["", "on", "one ", "o".repeat(1_000_000), "\ud800", 1, null, undefined, ["one"]])
      assert.equal(isToken(token, tokens), false);
    assert.equal(isToken("", []), false);
  });
});

describe("C-66, C-67, C-68, C-69: secrets and payloads", () => {
  test("are in no log line at debug level, in no printable trace and in no answer", async () => {
    const marks = {
      key: "CANARY-KEY-5f1d",
      token: "CANARY-TOKEN-77ab",
      payload: "CANARY-PAYLOAD-90c3",
      nonce: "CANARY-NONCE-1e2f",
      challenge: "CANARY-CHALLENGE-6b",
      other: "CANARY-OTHER-44",
      error: "CANARY-ERROR-d0",
    };
    const keys = ring({ encryptKeys: [marks.key], verificationTokens: [marks.token] });
    const output: string[] = [];
    const write = jsonLines({
      level: "debug",
      write: (line) => output.push(line),
      clock: { nowMs: () => startMs, after: () => () => {} },
    });
    const unsubscribe = [
      subscribe("log", write),
      subscribe("printable", (entry) => output.push(JSON.stringify(toLine(entry)))),
    ];
    try {
      const members = { secret: marks.payload, token: marks.payload };
      const header = { token: marks.token };
      const sealed = { encryptKey: marks.key, nonce: marks.nonce };
      const good = push(v2Text({ header, event: members }), sealed);
      const requests = [
        good,
        push(v1Text({ envelope: header, event: members }), sealed),
        push(v2Text({ header: { ...header, event_id: undefined }, event: members }), sealed),
        push(v2Text({ header: { token: marks.other }, event: members }), sealed),
        push(v2Text({ header: { ...header, app_id: "cli_other" }, event: members }), sealed),
        push(v2Text({ header: { ...header, event_type: "card.action.trigger" }, event: members }), sealed),
        push(JSON.stringify({ schema: marks.payload, ...members }), sealed),
        push(marks.payload, sealed),
        signedPush(marks.payload, sealed),
        signedPush(JSON.stringify({ encrypt: marks.payload }), sealed),
        unsigned(challengeText({ ...header, challenge: marks.challenge }), sealed),
        unsigned(challengeText({ token: marks.other, challenge: marks.challenge }), sealed),
        withHeaders(good, { "x-lark-signature": marks.other, authorization: marks.other, cookie: marks.other }),
        withHeaders(good, { "x-lark-request-timestamp": marks.other }),
        bare(v2Text({ header, event: members })),
        bare(marks.payload),
        bare(marks.payload.repeat(60_000)),
      ];
      const answers: string[] = [];
      const fault = Object.assign(
        new Error(`${marks.error} ${v2Text({ event: members })}\n    at /${marks.error}/x.ts:1:1`),
        {
          code: `${marks.error} ${marks.payload}`,
          body: marks.payload,
          $metadata: { requestId: marks.payload },
          cause: new Error(marks.error),
        },
      );
      const refuse = () => Promise.reject(fault);
      for (const ports of [{}, { send: refuse, quarantine: refuse }]) {
        for (const toEvent of shapes.map((shape) => shape.toEvent)) {
          for (const request of requests) {
            const webhook = startWebhook({ keys, ports });
            answers.push(JSON.stringify(await webhook.post(toEvent(request, { query: `secret=${marks.other}` }))));
            answers.push(JSON.stringify(await webhook.post(toEvent(request, { path: `/${marks.other}` }))));
          }
        }
      }
      const echoed = answers.filter((answer) => answer.includes(marks.challenge));
      assert.equal(echoed.length, 8, "a challenge with our token is the one text that goes back");
      const all = [...output, ...answers.filter((answer) => !answer.includes(marks.challenge))].join("\n");
      assert.ok(output.length > 300);
      for (const [name, mark] of Object.entries(marks)) assert.ok(!all.includes(mark), `the ${name} got out`);
      // Nor in another spelling: the signature, the ciphertext, the derived key.
      const { encrypt } = JSON.parse(Buffer.from(good.rawBody).toString()) as { encrypt: string };
      for (const derived of [
        good.headers.get("x-lark-signature") ?? "?",
        encrypt.slice(20, 60),
        Buffer.from(marks.key).toString("base64"),
        Buffer.from(marks.token).toString("hex"),
      ]) {
        assert.ok(!all.includes(derived));
      }
      for (const line of output) assert.doesNotThrow(() => JSON.parse(line));
    } finally {
      for (const stop of unsubscribe) stop();
      subscribe("log", (entry) => trace.entries.push(entry));
    }
  });

  test("C-67: the Verification Token is in nothing that is stored, where plain text brings it along", async () => {
    const token = "CANARY-TOKEN";
    const keys = ring({ encryptKeys: [], verificationTokens: [token] });
    const head = `"header":{"event_type":"x","token":"${token}"}`;
    const deep = `${"[".repeat(100)}${"]".repeat(100)}`;
    const unreadable = [
      `{"schema":"3.0",${head},"event":{}}`,
      `{"schema":"2.0","token":"${token}",${head},"event":[]}`,
      `{"schema":"2.0","token":"${token}"}`,
      `{"type":"event_callback","token":"${token}","event":{}}`,
      `{"type":"event_callback","token":"${token}","event":{"type":"card.action.trigger"}}`,
      `{"token":"another","token":"${token}"}`,
      `{ "token" :\n"\\u0043ANARY\\u002dTOKEN" }`,
      `{"\\u0074oken":"\\u0043ANARY-TOKEN","note":"\u4f60\u597d \u{1f44b}"}`,
      `{"schema":"2.0",${head},"event":${deep}}`,
      `{"schema":"2.0","event":${deep},${head}}`,
      `{"event":${deep},"token":"${token}"}`,
      `{"token":"${token}","pad":"${"x".repeat(700_000)}\u4f60${"\u{1f44b}".repeat(60_000)}"}`,
    ];
    const events = [v2Text({ header: { token } }), v1Text({ envelope: { token } })];
    const { queued, quarantined, post } = startWebhook({ keys });
    for (const text of [...unreadable, ...events]) {
      assert.equal((await post(httpApi(bare(text)))).statusCode, 200, text.slice(0, 80));
    }
    assert.deepEqual([queued.length, quarantined.length], [events.length, unreadable.length]);
    // The long connection brings plain text as well, and bytes that nobody can read.
    const frames = [...unreadable, v2Text({ header: { token, app_id: "cli_other" } }), `{"token":"${token}",`];
    for (const text of [...frames, Buffer.concat([Buffer.from(`{"token":"${token}","a":"`), Buffer.from([0xff])])]) {
      const opened = openMessage(Buffer.from(text), { appId: "cli_a", requestId: null });
      assert.ok(opened.kind === "unreadable");
      quarantined.push(opened);
    }
    for (const envelope of [...queued, ...quarantined]) {
      const { text, deflated = "", encoding } = JSON.parse(toBody(envelope));
      const bytes = text === undefined ? inflateRawSync(Buffer.from(deflated, "base64")) : Buffer.from(text, encoding);
      const stored = bytes.toString();
      assert.match(stored, /"(t|\\u0074)oken" ?:\s*""/, stored.slice(0, 80));
      assert.doesNotMatch(stored, /CANARY|u0043ANARY/, stored.slice(0, 80));
    }
    assert.ok(quarantined.some((envelope) => toBody(envelope).includes("\u4f60\u597d")));
  });

  test("C-66: a fault of ours is answered with one body and told by its class", async () => {
    trace.entries.length = 0;
    for (const fault of [
      new TypeError(encryptKey),
      new RangeError("x"),
      "text",
      undefined,
      null,
      { message: encryptKey },
    ]) {
      const webhook = startWebhook({ ports: { send: () => Promise.reject(fault) } });
      const { statusCode, body } = await webhook.deliver(event);
      assert.deepEqual([statusCode, body], [503, '{"error":"unavailable"}']);
    }
    assert.equal(trace.entries.filter(({ stage }) => stage === "unavailable").length, 6);
  });
});

describe("C-80: no pattern of ours takes more than twice as long for twice the text:", () => {
  const env = {
    ENCRYPT_KEY: "an encrypt key of some length",
    VERIFICATION_TOKEN: "a verification token of some length",
    APP_ID: "cli_a",
    EVENTS_QUEUE_URL: "http://127.0.0.1/events",
    QUARANTINE_QUEUE_URL: "http://127.0.0.1/quarantine",
  };
  const opened = open(event, { keys: ring(), nowMs: startMs }) as EventEnvelope;
  const attempt = (work: () => unknown) => {
    try {
      work();
    } catch {
      // Most of these texts are refused: how long that takes is the question.
    }
  };
  const stacked = (lines: string) => {
    const error = new Error("x");
    error.stack = `Error: x\n${lines}`;
    return error;
  };
  const patterns: [what: string, work: (text: string) => unknown][] = [
    ["a signature", (text) => matches(text, "0".repeat(64))],
    [
      "a timestamp",
      (text) => attempt(() => open(push(v2Text(), { timestamp: text }), { keys: ring(), nowMs: startMs })),
    ],
    ["a create time", (text) => classify(v2Text({ header: { create_time: text } }))],
    ["an event's text", (text) => classify(v2Text({ event: { text } }))],
    ["a tenant", (text) => toGroupId(text)],
    ["a text for the queue", (text) => toBody({ ...opened, text: v2Text({ event: { text } }) })],
    ["a setting", (text) => attempt(() => webhookConfig({ ...env, ENCRYPT_KEY: text }))],
    ["an address", (text) => attempt(() => webhookConfig({ ...env, EVENTS_QUEUE_URL: `http://${text}` }))],
    ["a number", (text) => attempt(() => wholeNumber({ N: text }, "N"))],
    ["an id", (text) => clean(text, 1_000_000)],
    ["a code", (text) => describeError(Object.assign(new Error("x"), { code: text, name: text }))],
    ["a message", (text) => describeError(new Error(text))],
    ["a frame", (text) => describeError(stacked(`    at ${text}`))],
    ["a frame with a place", (text) => describeError(stacked(`    at f (/${text}:1:1)`))],
    [
      "many frames",
      (text) => describeError(stacked(text.replaceAll(text.slice(0, 20), "    at f (/node_modules/x:1:1)\n"))),
    ],
    ["a path", (text) => fromApiGateway({ rawPath: text })],
    ["a header", (text) => fromApiGateway({ headers: { [text]: text } })],
    ["a level", (text) => levelOf(text)],
    [
      "a signed value",
      (text) =>
        readValue({ _signed: text }, { signer: appSigner(async () => "the secret of an app"), tenant: null, nowMs: 1 }),
    ],
    [
      "a mac",
      (text) =>
        readValue(
          { _signed: `a.${text}` },
          { signer: appSigner(async () => "the secret of an app"), tenant: null, nowMs: 1 },
        ),
    ],
  ];
  const seeds = [
    "a",
    "0",
    "1:1",
    "your-",
    "x",
    "<",
    "$" + "{",
    "{{",
    "/",
    "(",
    "=",
    "\\",
    '"',
    " ",
    "\n",
    "\u2028",
    "\ud800",
    "\uffff",
    "    at ",
    "/a:1",
  ];
  for (const [what, work] of patterns) {
    test(what, async () => {
      for (const seed of seeds) {
        // What almost matches costs most: a long run, and then a character that spoils it.
        const hostile = (length: number) => `${seed.repeat(Math.ceil(length / seed.length))}!`;
        const [once, twice] = [hostile(15_000), hostile(30_000)];
        const quick = await cost(() => work(twice), 5);
        if (quick < 5) continue;
        const onceMs = await cost(() => work(once));
        assert.ok(quick < 3 * onceMs + 30, `${JSON.stringify(seed)}: ${quick} ms after ${onceMs} ms for half of it`);
      }
    });
  }
});
