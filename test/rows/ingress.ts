import assert from "node:assert/strict";
import { answerGateway, type HttpResponse } from "../../lib/aws/gateway.ts";
import { UnauthenticatedError } from "../../lib/errors.ts";
import type { SealedRequest } from "../../lib/feishu/envelope.ts";
import { defaultApp } from "../../lib/feishu/keys.ts";
import { open } from "../../lib/feishu/open.ts";
import { answerWithinMs } from "../../lib/receiving/http.ts";
import { type ReceiverPorts, receive } from "../../lib/receiving/receiver.ts";
import { jsonLines } from "../../lib/trace/log.ts";
import { subscribe } from "../../lib/trace/trace.ts";
import { testClock } from "../support/clock.ts";
import { garbageCollector } from "../support/garbage.ts";
import { httpApi, shapes, startWebhook } from "../support/http-events.ts";
import {
  bare,
  challengeText,
  ciphertextOf,
  push,
  ring,
  rings,
  signedPush,
  startMs,
  unsigned,
  v1Text,
  v2Text,
  withHeaders,
} from "../support/push.ts";
import { type Random, seeded } from "../support/random.ts";
import type { Row } from "./row.ts";

/** A row whose cases are numbered; what it fails with names the case and the seed. */
function row(
  given: Omit<Row, "run"> & { start: (random: Random, n: number) => (index: number) => unknown | Promise<unknown> },
): Row {
  const { start, ...rest } = given;
  return {
    ...rest,
    async run({ n, seed, progress }) {
      const silent = subscribe("log", () => {});
      let index = 0;
      try {
        const check = start(seeded(seed), n);
        for (; index < n; index++) {
          await check(index);
          if (index % 100 === 99) progress(index + 1);
        }
      } catch (error) {
        const message = error instanceof Error ? error.message : String(error);
        throw new Error(`${rest.id} does not hold with seed ${seed}, case ${index}: ${message}`, { cause: error });
      } finally {
        silent();
      }
      progress(n);
    },
  };
}

/** As `pick`, where `undefined` is one of the things. */
function oneOf(random: Random, items: readonly unknown[]): unknown {
  return items[random.below(items.length)];
}

/** Characters that a parser, a digest or a log might stumble over, of one to four bytes. */
const characters = [
  "a",
  "Z",
  "0",
  " ",
  "\\",
  '"',
  "\n",
  "\r",
  "\t",
  "\0",
  "\u007f",
  "\u00e9",
  "\u4e2d",
  "\u2028",
  "\ufeff",
  "\uffff",
  "\u{1f44b}",
  "\u{10ffff}",
  "\ud800",
];

function text(random: Random, longest: number): string {
  return Array.from({ length: random.below(longest + 1) }, () => random.pick(characters)).join("");
}

/** Any JSON value, with hostile texts. */
export function value(random: Random, depth = 0): unknown {
  const kinds = depth > 3 ? 5 : 7;
  switch (random.below(kinds)) {
    case 0:
      return text(random, 20);
    case 1:
      return random.below(2 ** 31) - 2 ** 30;
    case 2:
      return random.next() * 1e6;
    case 3:
      return random.chance(0.5);
    case 4:
      return null;
    case 5:
      return Array.from({ length: random.below(4) }, () => value(random, depth + 1));
    default:
      return Object.fromEntries(
        Array.from({ length: random.below(4) }, () => [text(random, 8), value(random, depth + 1)]),
      );
  }
}

/** The same JSON, written in some other way: white space, escapes, members in another order. */
function rewritten(random: Random, json: unknown): string {
  const space = () => (random.chance(0.2) ? random.pick([" ", "\n", "\r\n", "\t", "   "]) : "");
  const write = (item: unknown): string => {
    if (typeof item === "string") return quoted(random, item);
    if (Array.isArray(item)) return `[${item.map((one) => space() + write(one) + space()).join(",")}]`;
    if (typeof item !== "object" || item === null) return JSON.stringify(item);
    const members = Object.entries(item)
      .map((member) => ({ member, order: random.next() }))
      .sort((a, b) => a.order - b.order);
    return `{${members.map(({ member: [name, one] }) => `${space()}${quoted(random, name)}${space()}:${space()}${write(one)}`).join(",")}${space()}}`;
  };
  return space() + write(json) + space();
}

function quoted(random: Random, item: string): string {
  const plain = JSON.stringify(item);
  if (!random.chance(0.3)) return plain;
  const escaped = (unit: string) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`;
  return `"${[...Array(item.length).keys()].map((at) => escaped(item.charAt(at))).join("")}"`;
}

const v1 = row({
  id: "V1",
  title: "accepts a signed body to the byte as it was sent, however it is written",
  full: 1_000,
  sample: 60,
  start: (random) => async (index) => {
    const event = { n: index, anything: value(random) };
    const envelope = random.chance(0.5) ? v2Text({ event }) : v1Text({ event });
    const mark = () => (random.chance(0.2) ? "\ufeff" : "");
    const encrypted = ciphertextOf(mark() + rewritten(random, JSON.parse(envelope)), { iv: random.bytes(16) });
    const outer = rewritten(random, { ...(random.chance(0.3) ? { more: value(random) } : {}), encrypt: encrypted });
    const request = signedPush(mark() + outer, { nonce: random.hex(1 + random.below(30)) });
    const queued = await startWebhook().queues(random.pick(shapes).toEvent(request, { base64: random.chance(0.5) }));
    assert.deepEqual(queued.event["anything"], JSON.parse(JSON.stringify(event.anything)));
  },
});

const wrongTypes: unknown[] = [
  undefined,
  null,
  0,
  1,
  -1,
  Number.NaN,
  true,
  false,
  [],
  {},
  [[]],
  { length: 64 },
  { toString: "x" },
];

const v8 = row({
  id: "V8",
  title: "answers any timestamp, nonce, signature and body without a fault, and accepts none that is made up",
  full: 1_000_000,
  sample: 300,
  start: (random) => {
    const keys = ring();
    const good = push(v2Text());
    const fuzzed = (name: string): string => {
      const right = good.headers.get(name) ?? "";
      switch (random.below(8)) {
        case 0:
          return right;
        case 1:
          return "";
        case 2:
          return text(random, 80);
        case 3:
          return random.hex(random.below(130));
        case 4:
          return right.slice(0, random.below(right.length));
        case 5:
          return right + random.pick([" ", "0", ",", "\0", right]);
        case 6:
          return right.replace(/./, "\u0660");
        default:
          return String(random.next() * 10 ** random.below(400));
      }
    };
    const names = ["x-lark-request-timestamp", "x-lark-request-nonce", "x-lark-signature"];
    return async (index) => {
      const isKept = index % 50 === 0;
      const headers = new Map(names.map((name) => [name, isKept ? (good.headers.get(name) ?? "") : fuzzed(name)]));
      const isRight = names.every((name) => headers.get(name) === good.headers.get(name));
      // With all three right, the body must be wrong.
      const rawBody = isRight || random.chance(0.5) ? Buffer.from(`${text(random, 40)} `) : good.rawBody;
      try {
        open({ app: defaultApp, headers, rawBody }, { keys, nowMs: startMs });
        assert.fail(`accepted ${JSON.stringify([...headers])}`);
      } catch (error) {
        if (!(error instanceof UnauthenticatedError)) throw error;
      }
      if (index % 10 > 0) return;
      // At the door the parts can be of any type at all.
      const posted = httpApi({ headers, rawBody });
      const typed = Object.fromEntries(
        names.map((name) => [name, random.chance(0.5) ? oneOf(random, wrongTypes) : headers.get(name)]),
      );
      const wrong = names.some((name) => typeof typed[name] !== "string");
      await startWebhook().refuses({
        ...posted,
        headers: typed,
        ...(wrong ? {} : { body: oneOf(random, wrongTypes) }),
      });
    };
  },
});

const r5 = row({
  id: "R5",
  title: "answers 503 at 1.8 s while the queue never answers",
  full: 500,
  sample: 40,
  start: (random) => async () => {
    const clock = testClock(startMs);
    const never = () => new Promise<never>(() => {});
    const webhook = startWebhook({ clock, ports: { send: never, quarantine: never } });
    let answeredAtMs: number | undefined;
    const request = random.chance(0.5) ? push(v2Text()) : signedPush("{");
    const answer = webhook.deliver(request).finally(() => {
      answeredAtMs = clock.nowMs() - startMs;
    });
    await clock.advance(random.below(answerWithinMs));
    assert.equal(answeredAtMs, undefined);
    await clock.advance(answerWithinMs - (clock.nowMs() - startMs));
    assert.equal((await answer).statusCode, 503);
    assert.equal(answeredAtMs, answerWithinMs);
  },
});

const r10 = row({
  id: "R10",
  title: "keeps 64 interleaved requests of 8 apps apart, in a ring of keys and in one process",
  full: 10_000,
  sample: 8,
  start: (random) => {
    const count = 8;
    const names = Array.from({ length: count }, (_, app) => `app-${app}`);
    const inputs = names.map((name) => ({
      appId: `cli_${name}`,
      encryptKeys: [`the encrypt key of ${name}`],
      verificationTokens: [`the verification token of ${name}`],
    }));
    const all = rings(Object.fromEntries(names.map((name, app) => [name, inputs[app] ?? {}])));
    const each = inputs.map((input) => ring(input));
    const clock = testClock(startMs);
    // Sealed once, since it is the opening that is looked at: of each app events, challenges, and another app's events.
    const sealed = names.map((name, app) => {
      const [token, key] = [`the verification token of ${name}`, `the encrypt key of ${name}`];
      const other = `the encrypt key of app-${(app + 1) % count}`;
      return Array.from({ length: 4 }, (_, at) => {
        const event = v2Text({ header: { event_id: `${name}/${at}`, token, app_id: `cli_${name}`, tenant_key: name } });
        return {
          event: push(event, { encryptKey: key, app: name, headers: { "x-request-id": `${name}/${at}` } }),
          challenge: unsigned(challengeText({ token, challenge: `${name}/${at}` }), { encryptKey: key, app: name }),
          foreign: push(event, { encryptKey: other, app: name }),
        };
      });
    });
    const lull = async () => {
      for (let turns = random.below(6); turns > 0; turns--) await undefined;
    };
    return async () => {
      const stored: string[] = [];
      const one = async (app: number): Promise<void> => {
        const name = `app-${app}`;
        const at = random.below(4);
        const requests = sealed[app]?.[at];
        assert.ok(requests);
        const kind = random.pick(["event", "event", "challenge", "foreign"] as const);
        const ports: ReceiverPorts = {
          async send(envelope) {
            await lull();
            assert.deepEqual([envelope.app, envelope.tenant, envelope.requestId], [`cli_${name}`, name, envelope.id]);
            stored.push(envelope.id);
            await lull();
          },
          quarantine: () => assert.fail("nothing is to be quarantined"),
        };
        await lull();
        const response: HttpResponse = await answerGateway(httpApi(requests[kind]), {
          clock,
          keys: () => each[app] ?? all,
          receive: async (envelope, context) => {
            await lull();
            const answer = await receive(envelope, ports, context);
            await lull();
            return answer;
          },
        });
        if (kind === "event") assert.deepEqual([response.statusCode, response.body], [200, "{}"]);
        else if (kind === "challenge") assert.equal(response.body, JSON.stringify({ challenge: `${name}/${at}` }));
        else assert.equal(response.statusCode, 401);
        if (kind === "event") assert.ok(stored.includes(`${name}/${at}`));
        // And through one ring for all: the route decides which keys are tried.
        if (random.chance(0.1)) {
          const route = random.pick(names);
          const opened = () => open({ ...requests.event, app: route }, { keys: all, nowMs: startMs });
          if (route === name) assert.equal(opened().kind, "event");
          else assert.throws(opened, UnauthenticatedError);
        }
      };
      await Promise.all(Array.from({ length: 64 }, (_, lane) => one(lane % count)));
      assert.equal(clock.pending, 0);
    };
  },
});

const r14 = row({
  id: "R14",
  title: "accepts a sender whose clock is up to two minutes off",
  full: 1_000,
  sample: 60,
  start: (random, n) => async (index) => {
    const skewMs = index === 0 ? -120_000 : index === n - 1 ? 120_000 : random.below(240_001) - 120_000;
    const type = random.pick(["im.message.receive_v1", "card.action.trigger"]);
    const nowMs = startMs + skewMs;
    const timestamp = random.chance(0.5) ? String(nowMs) : String(Math.floor(nowMs / 1000));
    const { statusCode } = await startWebhook().deliver(push(v2Text({ header: { event_type: type } }), { timestamp }));
    assert.equal(statusCode, 200);
  },
});

const c14 = row({
  id: "C-14",
  title: "refuses a push in which one bit of body, timestamp, nonce or signature is flipped",
  full: 40_000,
  sample: 200,
  start: (random) => {
    const good = push(v2Text());
    const flip = (bytes: Uint8Array): Buffer => {
      const flipped = Buffer.from(bytes);
      const at = random.below(flipped.length);
      flipped.writeUInt8(flipped.readUInt8(at) ^ (1 << random.below(8)), at);
      return flipped;
    };
    const names = ["x-lark-request-timestamp", "x-lark-request-nonce", "x-lark-signature"];
    return async (index) => {
      const name = names[index % 4];
      if (name === undefined) return startWebhook().refuses({ ...good, rawBody: flip(good.rawBody) });
      const right = good.headers.get(name) ?? "";
      let wrong = right;
      // A digit of the signature in upper case is the same digit.
      while (wrong.toLowerCase() === right) wrong = flip(Buffer.from(right)).toString("latin1");
      await startWebhook().refuses(withHeaders(good, { [name]: wrong }));
    };
  },
});

const c18 = row({
  id: "C-18",
  title: "acknowledges a replay inside the window each time, under the same id",
  full: 1_000,
  sample: 40,
  start: (random) => {
    const clock = testClock(startMs);
    const webhook = startWebhook({ clock });
    const request = push(v2Text());
    return async () => {
      await clock.advance(random.below(20_000));
      assert.equal((await webhook.queues(request)).id, "event-1");
    };
  },
});

/** Requests of every kind that an attacker could begin with: none of them is accepted as it stands. */
function hostileSeeds(random: Random): { request: SealedRequest; isSigned: boolean }[] {
  const iv = () => random.bytes(16);
  const event = () =>
    random.chance(0.5) ? v2Text({ event: { a: value(random) } }) : v1Text({ event: { a: value(random) } });
  const makers: (() => { request: SealedRequest; isSigned: boolean })[] = [
    () => ({ request: push(event(), { iv: iv() }), isSigned: true }),
    () => ({ request: push(v2Text({ header: { event_type: "card.action.trigger" } }), { iv: iv() }), isSigned: true }),
    // One with our token would be a challenge all the same when its signature is gone.
    () => ({ request: push(challengeText({ token: random.hex(32) }), { iv: iv() }), isSigned: true }),
    () => ({ request: signedPush(text(random, 100)), isSigned: true }),
    () => ({ request: unsigned(event(), { iv: iv() }), isSigned: false }),
    () => ({ request: unsigned(challengeText({ token: random.hex(32) }), { iv: iv() }), isSigned: false }),
    () => ({ request: unsigned(challengeText(), { iv: iv(), encryptKey: random.hex(32) }), isSigned: false }),
    () => ({ request: bare(event()), isSigned: false }),
    () => ({ request: bare(challengeText()), isSigned: false }),
    () => ({ request: bare(JSON.stringify({ encrypt: value(random) })), isSigned: false }),
    () => ({ request: bare(random.bytes(random.below(200))), isSigned: false }),
  ];
  return Array.from({ length: 200 }, (_, at) => (makers[at % makers.length] as (typeof makers)[number])());
}

const c83 = row({
  id: "C-83",
  title: "accepts and stores no fuzzed request, and answers none with a fault of ours",
  full: 1_000_000,
  sample: 300,
  start: (random) => {
    const seeds = hostileSeeds(random);
    const names = ["x-lark-request-timestamp", "x-lark-request-nonce", "x-lark-signature"];
    const webhook = startWebhook();
    /** Damages the bytes anywhere: a bit, a cut, an insertion, a doubling. */
    const mutate = (bytes: Uint8Array): Buffer => {
      const at = random.below(bytes.length + 1);
      const [head, tail] = [bytes.subarray(0, at), bytes.subarray(at)];
      switch (random.below(5)) {
        case 0:
          return Buffer.from(head);
        case 1:
          return Buffer.concat([head, Buffer.from(text(random, 10)), tail]);
        case 2:
          return Buffer.concat([head, random.bytes(1 + random.below(8)), tail]);
        case 3:
          return Buffer.concat([bytes, tail]);
        default:
          return Buffer.concat([head, Buffer.from([random.below(256)]), tail.subarray(1)]);
      }
    };
    const wrongHeader = (headers: Record<string, unknown>) => {
      const name = random.pick(names);
      const right = String(headers[name] ?? "");
      headers[name] = oneOf(random, [
        undefined,
        "",
        `${right},${right}`,
        [right, right],
        text(random, 70),
        random.hex(64),
        random.below(1e9),
        mutate(Buffer.from(right)).toString("latin1"),
      ]);
      return typeof headers[name] === "string" && headers[name].toLowerCase() === right.toLowerCase();
    };
    return async () => {
      const { request, isSigned } = random.pick(seeds);
      let { rawBody } = request;
      const { toEvent } = random.pick(shapes);
      const headers: Record<string, unknown> = Object.fromEntries(request.headers);
      // What is signed rightly is not hostile, so at least one part of it goes wrong; the rest is already.
      if (isSigned && random.chance(0.5)) while (wrongHeader(headers));
      else if (isSigned || random.chance(0.7)) {
        do rawBody = mutate(rawBody);
        while (Buffer.from(rawBody).equals(Buffer.from(request.rawBody)));
      }
      if (!isSigned && random.chance(0.3)) for (const name of names) headers[name] = text(random, 70);
      for (let more = random.below(4); more > 0; more--)
        headers[text(random, 12)] = oneOf(random, [text(random, 30), 5, null, ["a", "b"], {}]);
      const method = random.chance(0.05) ? random.pick(["PUT", "", "post", text(random, 5)]) : "POST";
      const path = random.chance(0.05) ? `/${text(random, 10)}` : "/webhook";
      const posted = toEvent({ headers: new Map(), rawBody }, { method, path, base64: random.chance(0.3) });
      if ("headers" in posted) posted["headers"] = headers;
      if ("multiValueHeaders" in posted) {
        posted["multiValueHeaders"] = Object.fromEntries(
          Object.entries(headers).map(([name, one]) => [name, Array.isArray(one) ? one : [one]]),
        );
      }
      // Of the event's own members any may be missing, or be something else.
      for (let more = random.below(3); random.chance(0.2) && more > 0; more--)
        posted[random.pick(["requestContext", "isBase64Encoded", "body", "rawPath", "path", "queryStringParameters"])] =
          oneOf(random, wrongTypes);
      const { statusCode } = await webhook.post(posted);
      assert.ok(
        [401, 404, 405].includes(statusCode),
        `it answered ${statusCode} to ${JSON.stringify(posted).slice(0, 2000)}`,
      );
      assert.deepEqual([webhook.queued.length, webhook.quarantined.length], [0, 0]);
    };
  },
});

const c64: Row = {
  id: "C-64",
  title: "answers a flood of distinct bad requests without a fault, in steady memory and with a bounded log",
  full: 60_000,
  sample: 400,
  async run({ n, seed, progress }) {
    const random = seeded(seed);
    const clock = testClock(Math.ceil(startMs / 60_000) * 60_000);
    const linesPerMinute = new Map<number, number>();
    let longest = 0;
    const minute = () => Math.floor(clock.nowMs() / 60_000);
    const write = (line: string) => {
      linesPerMinute.set(minute(), (linesPerMinute.get(minute()) ?? 0) + 1);
      longest = Math.max(longest, Buffer.byteLength(line));
    };
    const stop = subscribe("log", jsonLines({ level: "info", clock, write }));
    try {
      const webhook = startWebhook({ clock });
      const collect = garbageCollector();
      /** What one collection cannot free yet, the next one frees: finalizers run in between. */
      const usedBytes = async () => {
        collect();
        await new Promise((resolve) => setImmediate(resolve));
        collect();
        return process.memoryUsage().heapUsed;
      };
      let heapBytes = 0;
      for (let index = 0; index < n; index++) {
        const id = text(random, 400);
        const headers = { "x-request-id": id, "x-tt-logid": id, [`x-${index}`]: id };
        const request = random.chance(0.5)
          ? unsigned(v2Text({ event: { index } }), { headers })
          : bare(text(random, 300) + index, { headers });
        const { statusCode } = await webhook.deliver(request);
        assert.equal(statusCode, 401);
        if (index % 1000 === 999) {
          // A thousand a second.
          await clock.advance(1000);
          progress(index + 1);
        }
        // Measured once everything is warm.
        if (index === Math.floor(n / 2)) heapBytes = await usedBytes();
      }
      const grownBytes = (await usedBytes()) - heapBytes;
      const mostBytes = Math.min(10_000_000, 100_000 + 250 * n);
      assert.ok(grownBytes < mostBytes, `the heap grew by ${grownBytes} bytes`);
      assert.ok(longest <= 1024, `a line has ${longest} bytes`);
      await clock.advance(60_000);
      await webhook.deliver(bare("x"));
      assert.equal(linesPerMinute.get(minute()), n > 100 ? 2 : 1, "the next minute tells how many were not printed");
      assert.ok(Math.max(...linesPerMinute.values()) <= 101, "too many lines were printed in one minute");
      assert.deepEqual([webhook.queued.length, webhook.quarantined.length], [0, 0]);
    } catch (error) {
      throw new Error(`C-64 does not hold with seed ${seed}: ${error instanceof Error ? error.message : error}`, {
        cause: error,
      });
    } finally {
      stop();
    }
  },
};

export const ingressRows: readonly Row[] = [r5, r10, r14, v1, v8, c14, c18, c64, c83];
