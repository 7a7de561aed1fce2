import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { after, before, beforeEach, describe, test } from "node:test";
import { deflateRawSync, inflateRawSync } from "node:zlib";
import fc from "fast-check";
import { deferralsTo, receiverQueues } from "../../lib/aws/queues.ts";
import {
  attributeReserveBytes,
  fromRecord,
  messageLimitBytes,
  messageVersion,
  toBody,
  toGroupId,
} from "../../lib/aws/record.ts";
import { TooLargeError, UnknownVersionError } from "../../lib/errors.ts";
import {
  type CallbackEnvelope,
  type EventEnvelope,
  type JobEnvelope,
  jobId,
  type UnreadableEnvelope,
} from "../../lib/feishu/envelope.ts";
import { classifyOldCard } from "../../lib/feishu/old-card.ts";
import { open } from "../../lib/feishu/open.ts";
import { clientTo } from "../support/aws.ts";
import { cardText, cardType, previewText } from "../support/callbacks.ts";
import { chainLimits, jobOf } from "../support/events.ts";
import { httpApi, startWebhook } from "../support/http-events.ts";
import { appId, bare, push, ring, signedPush, startMs, v1Text, v2Text } from "../support/push.ts";
import { seeded } from "../support/random.ts";
import { type Services, startServices } from "../support/services.ts";
import { anyCharacter } from "../support/unicode.ts";

/** What SQS takes: #x9 | #xA | #xD | #x20 to #xD7FF | #xE000 to #xFFFD | #x10000 to #x10FFFF. */
const legal = /^[\t\n\r\u0020-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]*$/u;
const limit = messageLimitBytes - attributeReserveBytes;

function eventOf(text: string, requestId: string | null = null): EventEnvelope {
  const keys = ring({ encryptKeys: [] });
  const headers = requestId === null ? {} : { "x-tt-logid": requestId };
  const envelope = open(bare(text, { headers }), { keys, nowMs: startMs });
  assert.equal(envelope.kind, "event");
  return envelope as EventEnvelope;
}

const carried = { requestId: null, transport: "webhook", receivedBy: appId } as const;

function unreadableOf(rawBody: Uint8Array | string): UnreadableEnvelope {
  return { kind: "unreadable", reason: "json", rawBody: Buffer.from(rawBody), ...carried };
}

const messageOf = (body: string) => JSON.parse(body) as Record<string, unknown>;

/** Bytes that do not compress, the same for the same seed. */
function noiseBytes(outputLength: number, seed: number): Buffer {
  return createHash("shake256", { outputLength }).update(String(seed)).digest();
}

/** Letters that do not compress below six bits each. */
function noise(length: number, seed: number): string {
  return noiseBytes(Math.ceil(length * 0.75), seed)
    .toString("base64")
    .slice(0, length);
}

describe("an event as a message", () => {
  test("holds version, kind, transport, receiver's app, request id and the platform's text, and no token", () => {
    const envelope = eventOf(v2Text(), "log-1");
    assert.deepEqual(messageOf(toBody(envelope)), {
      ...{ v: 1, kind: "event", transport: "webhook", receivedBy: appId, requestId: "log-1" },
      text: v2Text({ header: { token: "" } }),
    });
  });

  test("comes back as it was", () => {
    const value = fc.jsonValue({ stringUnit: anyCharacter });
    const texts = fc.oneof(
      value.map((event) => v2Text({ event: { event } })),
      value.map((event) => v1Text({ event: { event } })),
      value.map((event) => v2Text({ header: { event_id: undefined }, event: { event } })),
    );
    fc.assert(
      fc.property(texts, fc.oneof(fc.constant(null), fc.stringMatching(/^[!-~]{1,128}$/)), (text, requestId) => {
        const envelope = eventOf(text, requestId);
        const body = toBody(envelope);
        assert.match(body, legal);
        assert.deepEqual(fromRecord({ body }), envelope);
      }),
      { seed: 61, numRuns: 100 },
    );
  });

  test("P6: keeps every digit", () => {
    const text = v2Text({ event: { n: 0 } }).replace('"n":0', '"n":12345678901234567890');
    const decoded = fromRecord({ body: toBody(eventOf(text)) });
    assert.ok(decoded.kind === "event" && decoded.text.includes("12345678901234567890"));
  });

  test("Q6: is compressed when it is large, and comes back as it was", () => {
    // From a little below the limit to a little above it.
    for (const around of [-600, -1, 0, 1, 600]) {
      const envelope = eventOf(v2Text({ event: { text: "\u4e2d".repeat(Math.floor((limit + around - 400) / 3)) } }));
      const body = toBody(envelope);
      assert.ok(Buffer.byteLength(body) <= limit, `${Buffer.byteLength(body)}`);
      assert.deepEqual(fromRecord({ body }), envelope);
    }
    const membersOf = (text: string) => {
      const envelope = eventOf(v2Text({ event: { text } }));
      const body = toBody(envelope);
      assert.deepEqual(fromRecord({ body }), envelope);
      return Object.keys(messageOf(body)).filter((name) => name === "text" || name === "deflated");
    };
    assert.deepEqual(membersOf("x".repeat(15_000)), ["text"]);
    assert.deepEqual(membersOf("x".repeat(17_000)), ["deflated"]);
  });

  test("Q6: is stored as it is where compression would make it too large", () => {
    // 91 characters that need no escape: 6.5 bits in each, of which base64 holds 6.
    const text = noiseBytes(limit - 1_000, 7).map((byte) => (35 + (byte % 92) === 92 ? 33 : 35 + (byte % 92)));
    const envelope = eventOf(v2Text({ event: { text: Buffer.from(text).toString() } }));
    const body = toBody(envelope);
    assert.ok(body.length <= limit && "text" in messageOf(body));
    assert.deepEqual(fromRecord({ body }), envelope);
  });

  test("Q6: counts bytes, not characters, and quotes as they are written", () => {
    for (const unit of ["\u4e2d", "\u{1f44b}", '"', "\\", "\u0001", "\ud800"]) {
      const envelope = eventOf(v2Text({ event: { text: unit.repeat(100_000) } }));
      const body = toBody(envelope);
      assert.ok(Buffer.byteLength(body) <= limit);
      assert.deepEqual(fromRecord({ body }), envelope);
    }
  });

  test("Q6: is too large when even compressed it does not fit, and the sender is told so", async () => {
    const text = v2Text({ event: { text: noise(limit + 2000, 1) } });
    assert.throws(() => toBody(eventOf(text)), TooLargeError);
    const send = async (envelope: EventEnvelope) => void toBody(envelope);
    const webhook = startWebhook({ keys: ring({ encryptKeys: [] }), ports: { send } });
    assert.equal((await webhook.deliver(bare(text))).statusCode, 413);
  });

  test("Q6: of the largest encrypted push fits, even when it does not compress", () => {
    const longest = Math.floor((messageLimitBytes * 3) / 4) - 1000;
    const request = push(v2Text({ event: { text: noise(longest, 2) } }));
    assert.ok(request.rawBody.length > messageLimitBytes - 2000 && request.rawBody.length <= messageLimitBytes);
    const envelope = open(request, { keys: ring(), nowMs: startMs });
    assert.ok(envelope.kind === "event" && Buffer.byteLength(toBody(envelope)) <= limit);
  });

  test("cuts an outside request id, and keeps it legal", () => {
    const body = toBody({ ...eventOf(v2Text()), requestId: `\uffff\ud800${"x".repeat(1_000_000)}` });
    assert.match(body, legal);
    assert.equal(String(messageOf(body)["requestId"]).length, 128);
  });
});

describe("a body in quarantine as a message", () => {
  test("holds the bytes as they came, as text when they are text", () => {
    const message = messageOf(toBody(unreadableOf('{"\u4f60":"\uffff')));
    assert.deepEqual(message, {
      v: 1,
      kind: "unreadable",
      transport: "webhook",
      receivedBy: appId,
      requestId: null,
      reason: "json",
      text: '{"\u4f60":"\uffff',
    });
  });

  test("C-55: says so when the bytes are not, and keeps them all the same", () => {
    for (const bytes of [Buffer.from([0xff, 0, 1]), Buffer.from("\ufeff{}"), Buffer.from([0xed, 0xa0, 0x80])]) {
      const body = toBody(unreadableOf(bytes));
      assert.match(body, legal);
      const { encoding, text } = messageOf(body);
      assert.equal(encoding, "base64");
      assert.ok(Buffer.from(String(text), "base64").equals(bytes));
    }
  });

  test("P1: is compressed when it would be too large, from the bytes and not from their base64", () => {
    const bytes = Buffer.concat([Buffer.alloc(300_000), seeded(3).bytes(750_000)]);
    const body = toBody(unreadableOf(bytes));
    assert.ok(body.length <= limit);
    const { encoding, deflated } = messageOf(body);
    assert.equal(encoding, "base64");
    assert.ok(inflateRawSync(Buffer.from(String(deflated), "base64")).equals(bytes));
  });
});

/** What a handler put off for a callback. */
function jobFor(text: string, payload: unknown, requestId: string | null = null): JobEnvelope {
  const headers = requestId === null ? {} : { "x-tt-logid": requestId };
  const envelope = open(bare(text, { headers }), { keys: ring({ encryptKeys: [] }), nowMs: startMs });
  assert.ok(envelope.kind === "callback" || envelope.kind === "event");
  return jobOf(envelope, payload);
}

/** The same for a click on an old card, which has no envelope. */
function oldJobOf(text: string, payload: unknown, header = {}): JobEnvelope {
  const card = classifyOldCard(text, header);
  assert.ok(card.kind === "callback");
  const { token: _, ...notice } = card;
  const callback: CallbackEnvelope = { ...notice, kind: "callback", ...carried };
  return jobOf(callback, payload);
}

const oldCard = (members: object = {}) =>
  JSON.stringify({
    ...{ open_id: "ou_1", user_id: "u1", open_message_id: "om_1", tenant_key: "tenant-1", token: "c-1" },
    ...{ action: { value: { key: "approve" }, tag: "button" }, ...members },
  });

describe("a job as a message", () => {
  test("C5: holds the callback's text and the payload, and no token of the app", () => {
    const message = messageOf(toBody(jobFor(cardText(), { order: 42 }, "log-1")));
    assert.deepEqual(message, {
      ...{ v: messageVersion, kind: "job", transport: "webhook", receivedBy: appId, requestId: "log-1", schema: "2.0" },
      ...{ of: "callback", place: "", key: "callback-1#deferred", depth: 1, chainStartedAtMs: 1_760_000_000_000 },
      payload: { order: 42 },
      text: cardText({ header: { token: "" } }),
    });
  });

  test("C5: comes back as it was, whatever the payload", () => {
    const value = fc.jsonValue({ stringUnit: anyCharacter });
    const jobs = fc.oneof(
      fc.tuple(value, value).map(([inner, payload]) => jobFor(cardText({ event: { inner } }), payload)),
      fc.tuple(value, value).map(([inner, payload]) => jobFor(previewText({ id: null, event: { inner } }), payload)),
      fc.tuple(value, value).map(([inner, payload]) => oldJobOf(oldCard({ inner }), payload)),
      fc.tuple(value, value).map(([inner, payload]) => jobFor(v2Text({ event: { inner } }), payload)),
      fc.tuple(value, value).map(([inner, payload]) => jobFor(v1Text({ event: { inner } }), payload)),
      value.map((payload): JobEnvelope => {
        const job = jobFor(v2Text(), payload);
        return { ...job, place: "x-_9", id: jobId(job.root, "x-_9"), key: "the key", depth: 17, chainStartedAtMs: 1 };
      }),
    );
    fc.assert(
      fc.property(jobs, (job) => {
        const body = toBody(job);
        assert.match(body, legal);
        // What a number like -0 is in JSON, it stays.
        assert.deepEqual(fromRecord({ body }), { ...job, payload: JSON.parse(JSON.stringify(job.payload)) });
      }),
      { seed: 64, numRuns: 100 },
    );
  });

  test("C5: of an old card comes back, also where the card says that it is something else", () => {
    for (const members of [
      {},
      { type: "event_callback", event: { type: "im.message.receive_v1" } },
      { type: "url_verification", challenge: "x" },
      { schema: "2.0", header: { event_type: cardType }, event: {} },
    ]) {
      const job = oldJobOf(oldCard(members), "p");
      assert.deepEqual(fromRecord({ body: toBody(job) }), job);
    }
  });

  test("C5: of an old card has the refresh token that came with it", () => {
    const job = oldJobOf(oldCard(), "p", { refresh_token: "refresh-1" });
    assert.deepEqual(fromRecord({ body: toBody(job) }), job);
  });

  test("C5: of the old card's type in an envelope of schema 2.0 comes back", () => {
    const job = jobFor(cardText({ header: { event_type: "card.action.trigger_v1" } }), "p");
    assert.deepEqual(fromRecord({ body: toBody(job) }), job);
  });

  test("C5: without a payload comes back without one", () => {
    const job = jobFor(cardText(), undefined);
    assert.deepEqual(fromRecord({ body: toBody(job) }), job);
  });

  test("C5: keeps every digit of what was clicked", () => {
    const text = cardText({ event: { n: 0 } }).replace('"n":0', '"n":12345678901234567890');
    const decoded = fromRecord({ body: toBody(jobFor(text, 1)) });
    assert.ok(decoded.kind === "job" && decoded.text.includes("12345678901234567890"));
  });

  for (const [what, inner, payload] of [
    ["callback", 1_200_000, 10],
    ["payload", 10, 1_200_000],
    ["callback and payload", 700_000, 700_000],
  ] as const) {
    test(`C5, Q6: is compressed when the ${what} would be too large, and comes back as it was`, () => {
      const job = jobFor(cardText({ event: { inner: "\u4e2d".repeat(inner / 3) } }), { text: "x".repeat(payload) });
      const body = toBody(job);
      assert.ok(Buffer.byteLength(body) <= limit, `${Buffer.byteLength(body)}`);
      assert.deepEqual(fromRecord({ body }), job);
    });
  }

  test("C5, Q6: that even compressed does not fit is refused, so that its handler hears of it", () => {
    assert.throws(() => toBody(jobFor(cardText(), noise(limit + 2_000, 5))), TooLargeError);
    assert.throws(() => toBody(jobFor(cardText({ event: { inner: noise(limit + 2_000, 6) } }), 1)), TooLargeError);
    // It would fit, but no reader would unpack so much.
    const long = "x".repeat(8 * messageLimitBytes);
    assert.throws(() => toBody(jobFor(cardText(), long)), TooLargeError);
    const most = jobFor(cardText(), long.slice(2_000));
    assert.deepEqual(fromRecord({ body: toBody(most) }), most);
  });

  test("C5: of an earlier release is what a callback deferred first, and its chain began with the click", () => {
    const { requestId, transport, receivedBy } = carried;
    const message = { v: 1, kind: "job", transport, receivedBy, requestId, schema: "2.0", payload: 1 };
    const decoded = fromRecord({ body: JSON.stringify({ ...message, text: cardText({ header: { token: "" } }) }) });
    assert.deepEqual(decoded, { ...jobFor(cardText(), 1), chainStartedAtMs: 1_760_000_000_175 });
  });

  const good = () => messageOf(toBody(jobFor(cardText(), { order: 42 })));
  const planted: [what: string, members: object][] = [
    ["an event", { text: v2Text() }],
    ["a callback that it calls an event", { of: "event" }],
    ["an event of schema 1.0", { text: v1Text() }],
    ["a challenge", { text: '{"type":"url_verification","challenge":"x"}' }],
    ["a text that is no JSON", { text: "{" }],
    ["a text that is too deep", { text: "[".repeat(100_000) }],
    ["no text", { text: undefined }],
    ["an old card that does not say so", { text: oldCard() }],
    ["an old card without an action", { schema: "1.0", text: "{}" }],
    ["garbage for compressed members", { text: undefined, payload: undefined, deflated: "AAAA" }],
    ["no version", { v: undefined }],
  ];
  for (const [what, members] of planted) {
    test(`C8, C-71: is not read out of ${what}`, () => {
      assert.equal(fromRecord({ body: JSON.stringify({ ...good(), ...members }) }).kind, "undecodable");
    });
  }

  test("C8: is no event, and an event is no job, whatever the message calls itself", () => {
    assert.equal(fromRecord({ body: JSON.stringify({ ...good(), kind: "event" }) }).kind, "undecodable");
    const event = messageOf(toBody(eventOf(v2Text())));
    assert.equal(fromRecord({ body: JSON.stringify({ ...event, kind: "job", payload: 1 }) }).kind, "undecodable");
  });

  test("C5: claims nothing that its text does not say, but for the payload", () => {
    const claims = { type: "other", refreshToken: "other", app: "cli_other", id: "other", event: {}, tenant: "other" };
    Object.assign(claims, { root: "other", place: "of/anything" });
    assert.deepEqual(fromRecord({ body: JSON.stringify({ ...good(), ...claims }) }), jobFor(cardText(), { order: 42 }));
  });

  test("W5: is kept for the release that knows it when its version is not ours", () => {
    assert.throws(
      () => fromRecord({ body: JSON.stringify({ ...good(), v: messageVersion + 1 }) }),
      UnknownVersionError,
    );
  });
});

describe("a message that is none of ours", () => {
  const good = messageOf(toBody(eventOf(v2Text())));
  const planted: [what: string, body: string][] = [
    ["no JSON", "hello"],
    ["nothing", ""],
    ["null", "null"],
    ["a number", "5"],
    ["an array", "[]"],
    ["an empty object", "{}"],
    ["another kind", JSON.stringify({ ...good, kind: "challenge" })],
    ["a kind that every object has", JSON.stringify({ ...good, kind: "constructor" })],
    ["a quarantined body", toBody(unreadableOf("x"))],
    ["no version", JSON.stringify({ ...good, v: undefined })],
    ["no text", JSON.stringify({ ...good, text: undefined })],
    ["an object for a text", JSON.stringify({ ...good, text: { schema: "2.0" } })],
    ["a text that is no envelope", JSON.stringify({ ...good, text: "{}" })],
    ["a challenge", JSON.stringify({ ...good, text: '{"type":"url_verification","challenge":"x"}' })],
    ["a callback", JSON.stringify({ ...good, text: v2Text({ header: { event_type: "card.action.trigger" } }) })],
    ["a text that is too deep", JSON.stringify({ ...good, text: "[".repeat(100_000) })],
    ["garbage for compressed text", JSON.stringify({ ...good, text: undefined, deflated: "AAAA" })],
    ["a number for compressed text", JSON.stringify({ ...good, text: undefined, deflated: 5 })],
    ["everything under __proto__", `{"__proto__":${JSON.stringify(good)}}`],
  ];
  for (const [what, body] of planted) {
    test(`C-70, C-71: is not read as an event: ${what}`, () => assert.equal(fromRecord({ body }).kind, "undecodable"));
  }

  test("C-70: cannot unpack to more than a push can hold, though it would be an event", () => {
    const bomb = deflateRawSync(v2Text().padEnd(8 * messageLimitBytes + 1), { level: 1 }).toString("base64");
    assert.ok(bomb.length < 100_000);
    const body = JSON.stringify({ ...good, text: undefined, deflated: bomb });
    assert.equal(fromRecord({ body }).kind, "undecodable");
  });

  test("W5: is kept for the release that knows it when its version is not ours", () => {
    for (const v of [3, 1000, 0, 1.5, "1", "2", null])
      assert.throws(() => fromRecord({ body: JSON.stringify({ ...good, v }) }), UnknownVersionError);
  });

  test("claims nothing that its text does not say", () => {
    const claims = { type: "other", app: "cli_other", id: "other", createdAtMs: 5, schema: "1.0" };
    const decoded = fromRecord({ body: JSON.stringify({ ...good, ...claims, transport: "pigeon", requestId: 5 }) });
    assert.deepEqual(decoded, eventOf(v2Text()));
  });
});

describe("a tenant as a message group", () => {
  test("Q8: is legal for any tenant, and its own", () => {
    const random = seeded(62);
    const groups = new Map<string, string>();
    for (let i = 0; i < 1000; i++) {
      const length = 1 + random.below(200);
      const tenant = String.fromCharCode(...Array.from({ length }, () => random.below(random.pick([128, 0x10000]))));
      const group = toGroupId(tenant);
      assert.match(group, /^[\x21-\x7e]{1,128}$/);
      groups.set(group, tenant);
    }
    assert.ok(groups.size > 990);
    assert.equal(toGroupId("13ab57cd9e02f468"), "13ab57cd9e02f468");
    assert.equal(toGroupId("x".repeat(128)), "x".repeat(128));
    for (const odd of ["", " ", "a b", "x".repeat(129), "\u4e2d", "a\n"])
      assert.match(toGroupId(odd), /^[0-9a-f]{64}$/);
  });
});

describe("over SQS", () => {
  let services: Services;
  before(async () => {
    services = await startServices();
  });
  // A send that a busy machine makes twice leaves a message to the next test.
  beforeEach(() => services.callSqs("PurgeQueue", { QueueUrl: services.urls.eventsQueueUrl }));
  after(() => services.stop());

  const queues = () => ({ ...services.urls, isMarketplace: true });
  const ports = () => receiverQueues(clientTo(services.endpoints.sqs), queues());
  /** Sends them all, takes them all, and gives the bodies back in the order of their events' ids. */
  async function roundTrip(envelopes: readonly EventEnvelope[]): Promise<Map<string, EventEnvelope>> {
    await Promise.all(envelopes.map((envelope) => ports().send(envelope, new AbortController().signal)));
    const decoded = new Map<string, EventEnvelope>();
    while (decoded.size < envelopes.length) {
      const messages = await services.take(services.urls.eventsQueueUrl, { waitSeconds: 1 });
      assert.ok(messages.length > 0, "a message is missing");
      for (const { Body = "" } of messages) {
        const envelope = fromRecord({ body: Body });
        assert.ok(envelope.kind === "event");
        decoded.set(envelope.id, envelope);
      }
    }
    return decoded;
  }

  test("Q7: every character of the first plane and a thousand beyond comes back as it was", async () => {
    const units = Array.from({ length: 0x10000 }, (_, unit) => unit);
    const random = seeded(63);
    const astral = Array.from({ length: 1000 }, () => 0x10000 + random.below(0x100000));
    // The last two of each plane are no characters, but legal.
    for (let plane = 1; plane <= 16; plane++) astral.push(plane * 0x10000 + 0xfffe, plane * 0x10000 + 0xffff);
    const texts = Array.from({ length: 16 }, (_, part) =>
      String.fromCharCode(...units.slice(part * 4096, (part + 1) * 4096)),
    );
    texts.push(String.fromCodePoint(...astral));
    // As they are in the platform's text where JSON lets them be, and as escapes.
    const escaped = (text: string) =>
      [...Array(text.length).keys()].map((at) => `\\u${text.charCodeAt(at).toString(16).padStart(4, "0")}`).join("");
    const envelopes = texts.flatMap((text, part) => [
      eventOf(v2Text({ header: { event_id: `raw-${part}` }, event: { text } })),
      eventOf(v2Text({ header: { event_id: `escaped-${part}` }, event: { text: "@" } }).replace("@", escaped(text))),
    ]);
    for (const envelope of envelopes) assert.match(toBody(envelope), legal);
    const decoded = await roundTrip(envelopes);
    for (const envelope of envelopes) {
      assert.deepEqual(decoded.get(envelope.id), envelope);
      const part = Number(envelope.id.split("-")[1]);
      assert.equal(decoded.get(envelope.id)?.event["text"], texts[part]);
    }
  });

  test("Q8: tenants of any kind are taken", async () => {
    const tenants = [
      "t",
      "x".repeat(128),
      "x".repeat(500),
      "a b",
      "\u4e2d\u6587",
      "\uffff",
      "a\0b",
      `!"#$%&'()*+,-./:;<=>?@[\\]^_\`{|}~`,
    ];
    const envelopes = tenants.map((tenant_key, at) =>
      eventOf(v2Text({ header: { event_id: `tenant-${at}`, tenant_key } })),
    );
    envelopes.push(eventOf(v2Text({ header: { event_id: "tenant-none", tenant_key: undefined } })));
    const decoded = await roundTrip(envelopes);
    for (const envelope of envelopes) assert.equal(decoded.get(envelope.id)?.tenant, envelope.tenant);
  });

  test("C5: jobs of any size and with any characters are taken, three seconds late, in their tenant's group", async () => {
    const { signal } = new AbortController();
    const { store } = deferralsTo(clientTo(services.endpoints.sqs), { ...queues(), ...chainLimits });
    const jobs = [
      jobFor(cardText({ id: "plain" }), { text: "\uffff \ufffe \0 \u{1f44b}" }),
      jobFor(cardText({ id: "large" }), "x".repeat(1_200_000)),
      jobFor(cardText({ id: "nobody", header: { tenant_key: undefined } }), null),
    ];
    const before = await services.count(services.urls.eventsQueueUrl);
    const sentAtMs = Date.now();
    for (const job of jobs) await store(job, { delaySeconds: 3, signal });
    assert.equal((await services.count(services.urls.eventsQueueUrl)) - before, jobs.length);
    assert.deepEqual(await services.take(services.urls.eventsQueueUrl), []);
    const decoded = new Map<string, unknown>();
    while (decoded.size < jobs.length) {
      for (const { Body = "" } of await services.take(services.urls.eventsQueueUrl, { waitSeconds: 5 })) {
        const job = fromRecord({ body: Body });
        assert.ok(job.kind === "job");
        decoded.set(job.id, job);
      }
    }
    assert.ok(Date.now() - sentAtMs >= 2_900);
    for (const job of jobs) assert.deepEqual(decoded.get(job.id), job);
  });

  test("Q6: a body of exactly 1 MiB is stored, one byte more is a 413, and never a 503", async () => {
    const sized = (bytes: number) => {
      const request = push(v2Text({ header: { event_id: "exactly" } }));
      return signedPush(Buffer.concat([request.rawBody, Buffer.alloc(bytes - request.rawBody.length, " ")]));
    };
    const webhook = startWebhook({ ports: ports() });
    assert.equal((await webhook.post(httpApi(sized(messageLimitBytes)))).statusCode, 200);
    assert.equal((await webhook.post(httpApi(sized(messageLimitBytes + 1)))).statusCode, 413);
    // Full of what does not compress: the largest event that a push can hold.
    const full = push(v2Text({ header: { event_id: "full" }, event: { text: noise(785_000, 3) } }));
    assert.equal((await webhook.post(httpApi(full))).statusCode, 200);
    const ids = new Set<string>();
    while (ids.size < 2) {
      const messages = await services.take(services.urls.eventsQueueUrl, { waitSeconds: 1 });
      assert.ok(messages.length > 0);
      for (const { Body = "" } of messages) ids.add((fromRecord({ body: Body }) as EventEnvelope).id);
    }
    assert.deepEqual([...ids].sort(), ["exactly", "full"]);
  });

  test("Q7, P1: quarantined bytes of any kind are taken, with their reason", async () => {
    const bodies = [
      Buffer.from("\uffff\ufffe\0"),
      Buffer.from([0xff, 0xfe, 0]),
      Buffer.from(""),
      Buffer.alloc(700_000, 0xff),
    ];
    for (const rawBody of bodies) await ports().quarantine(unreadableOf(rawBody), new AbortController().signal);
    const messages = await services.take(services.urls.quarantineQueueUrl);
    assert.equal(messages.length, bodies.length);
    for (const { MessageAttributes } of messages) assert.equal(MessageAttributes?.["reason"]?.StringValue, "json");
  });
});
