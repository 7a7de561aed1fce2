// in turn: they share the web frameworks.
import assert from "node:assert/strict";
import { connect } from "node:net";
import { after, before, beforeEach, describe, test } from "node:test";
import type { Receiver } from "../../lib/aws/entries/http.ts";
import type { SealedRequest } from "../../lib/feishu/envelope.ts";
import { bodyWithinMs, readBody } from "../../lib/receiving/body.ts";
import { answerWithinMs, bodyLimitBytes } from "../../lib/receiving/http.ts";
import { receive } from "../../lib/receiving/receiver.ts";
import { cardText } from "../support/callbacks.ts";
import { settled, testClock } from "../support/clock.ts";
import { doors, type Got, mount, openDoor, type Sent } from "../support/doors.ts";
import { refusal } from "../support/http-events.ts";
import { ingressBehaves } from "../support/ingress.ts";
import { collectingPorts, refuse } from "../support/long-connection.ts";
import {
  bare,
  challengeText,
  ciphertextOf,
  push,
  ring,
  signedPush,
  startMs,
  unsigned,
  v2Text,
} from "../support/push.ts";
import { recordTrace } from "../support/trace.ts";
import { until } from "../support/until.ts";

const trace = recordTrace();
beforeEach(() => {
  trace.entries.length = 0;
});

const json: readonly [string, string] = ["content-type", "application/json"];
const toSent = ({ headers, rawBody }: SealedRequest): Sent => ({
  headers: [...new Map([json, ...headers])],
  body: rawBody,
});
/** A push as long as a body may be. */
const longest = toSent(signedPush(JSON.stringify({ encrypt: ciphertextOf(v2Text()) }).padEnd(bodyLimitBytes)));
const tooLong = Buffer.from(JSON.stringify({ encrypt: "x".repeat(bodyLimitBytes) }));
const jsonOf = ({ status, text }: Got) => ({ status, body: JSON.parse(text) as unknown });
const refused = { status: 401, body: JSON.parse(refusal.body) as unknown };

test("a body over the limit is counted, and nothing of it is kept", async () => {
  async function* parts() {
    for (let part = 0; part < 3; part++) yield Buffer.alloc(bodyLimitBytes / 2);
  }
  const { bodyBytes, rawBody } = await readBody(parts(), testClock(startMs));
  assert.deepEqual([bodyBytes, rawBody().length], [1.5 * bodyLimitBytes, 0]);
});

test("a body that comes too late is read no further", async () => {
  const clock = testClock(startMs);
  const [mayCome, isLeft] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  let parts = 0;
  async function* late() {
    try {
      await mayCome.promise;
      for (; parts < 3; parts++) yield Buffer.alloc(1);
    } finally {
      isLeft.resolve();
    }
  }
  const reading = readBody(late(), clock);
  await clock.advance(bodyWithinMs);
  await reading;
  mayCome.resolve();
  await isLeft.promise;
  assert.equal(parts, 0);
});

for (const door of doors) {
  describe(`the door of ${door.name}`, () => {
    let store = collectingPorts();
    let clock = testClock(startMs);
    let opened: Awaited<ReturnType<typeof openDoor>>;
    before(async () => {
      const receiver: Receiver = {
        clock: { nowMs: () => clock.nowMs(), after: (ms, fire) => clock.after(ms, fire) },
        keys: () => ring(),
        receive: (envelope, context) => receive(envelope, store.ports, context),
      };
      opened = await openDoor(door, receiver);
    });
    after(() => opened.stop());
    beforeEach(() => {
      clock = testClock(startMs);
      store = collectingPorts(() => ({ status: 200, body: { toast: { type: "success", content: "Approved" } } }));
    });

    const send = async (sent: Sent) => opened.send(sent);
    const stored = () => store.queued.length + store.quarantined.length;
    /** Sends, and expects the one answer to whatever is not authentic. */
    async function refuses(sent: Sent): Promise<void> {
      assert.deepEqual(jsonOf(await send(sent)), refused);
      assert.equal(stored(), 0);
      assert.equal(clock.pending, 0);
    }

    // What a body says is read behind the door: it is held once, and here that the door leads there.
    if (door === doors[0]) {
      ingressBehaves(`the door of ${door.name}`, () => {
        store = collectingPorts();
        const { queued, quarantined, first } = store;
        return {
          queued,
          quarantined,
          deliver: async ({ text }) => jsonOf(await send(toSent(push(text)))),
          breakQueues: () => first(refuse),
        };
      });
    }

    test("P2, V7: keeps what is no envelope in quarantine, and acknowledges nothing that a queue refuses", async () => {
      const sent = toSent(push("5"));
      assert.deepEqual(jsonOf(await send(sent)), { status: 200, body: {} });
      assert.deepEqual([store.quarantined.length, store.queued.length], [1, 0]);
      store.first(refuse);
      assert.equal((await send(sent)).status, 503);
    });

    test("answers a challenge, which is not signed", async () => {
      const body = { challenge: "7c5a9b1e-4d2f" };
      assert.deepEqual(jsonOf(await send(toSent(unsigned(challengeText())))), { status: 200, body });
    });

    test("V8: refuses a forged push with 401 and one body, and stores nothing", async () => {
      await refuses(toSent(push(v2Text(), { encryptKey: "another key" })));
      await refuses(toSent(unsigned(v2Text())));
      await refuses(toSent(bare("{}")));
    });

    test("takes events and callbacks at one address", async () => {
      const body = { toast: { type: "success", content: "Approved" } };
      assert.deepEqual(jsonOf(await send(toSent(push(cardText())))), { status: 200, body });
      assert.equal(stored(), 0);
      assert.deepEqual(jsonOf(await send(toSent(push(v2Text())))), { status: 200, body: {} });
      assert.equal(store.queued.length, 1);
    });

    test("V1: verifies the bytes as they were sent, whatever white space they have", async () => {
      const spaced = `{ "encrypt" :\t"${ciphertextOf(v2Text())}" }\n`;
      assert.equal((await send(toSent(signedPush(spaced)))).status, 200);
      assert.equal(store.queued.length, 1);
    });

    test("sends JSON that no page can read or sniff", async () => {
      const { headers } = await send(toSent(bare("{}")));
      for (const [name, value] of Object.entries(refusal.headers)) assert.equal(headers[name], value);
      assert.deepEqual(
        Object.keys(headers).filter((name) => name.startsWith("access-control")),
        [],
      );
    });

    test("C7: answers GET and HEAD, for health checks, and no other method than POST", async () => {
      const health = await send({ method: "GET" });
      assert.deepEqual(jsonOf(health), { status: 200, body: {} });
      const head = await send({ method: "HEAD" });
      assert.deepEqual([head.status, head.text], [200, ""]);
      for (const method of ["PUT", "DELETE"]) {
        const { status, headers } = await send({ method });
        assert.deepEqual([status, headers["allow"]], [405, "GET, HEAD, POST"]);
      }
      assert.equal(stored(), 0);
    });

    if (door.protocol === undefined) {
      test("keeps the connection behind a health check, for the push that follows on it", async () => {
        const { headers, rawBody } = push(v2Text());
        const socket = connect(opened.port, "127.0.0.1").setEncoding("latin1");
        const head = [...headers].map(([name, value]) => `${name}: ${value}\r\n`).join("");
        socket.write(
          `GET ${mount} HTTP/1.1\r\nhost: a\r\n\r\nPOST ${mount} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n`,
        );
        socket.write(`content-length: ${rawBody.length}\r\n${head}\r\n${Buffer.from(rawBody)}`);
        let text = "";
        for await (const part of socket) text += part;
        assert.deepEqual(text.match(/HTTP\/1\.1 \d+/g), ["HTTP/1.1 200", "HTTP/1.1 200"]);
      });
    }

    test("C7: answers at its own path, with a query too, and leaves any other", async () => {
      const request = toSent(push(v2Text()));
      assert.equal((await send({ ...request, path: "/webhook/event?x=1" })).status, 200);
      for (const path of ["/", "/webhook", "/webhook/events", "/callback"]) {
        assert.equal((await send({ ...request, path })).status, 404, path);
      }
      assert.equal(store.queued.length, 1);
    });

    test("joins a header that comes twice, so that no check reads only one of them", async () => {
      const { headers = [], ...request } = toSent(push(v2Text()));
      const others = door === doors[0] ? ["x-lark-request-timestamp", "x-lark-request-nonce"] : [];
      for (const name of ["x-lark-signature", ...others]) {
        await refuses({ ...request, headers: [...headers, [name, "another"]] });
        await refuses({ ...request, headers: [[name, "another"], ...headers] });
      }
    });

    test("takes a body up to the limit, and refuses a longer one with 413, also without its length", async () => {
      assert.equal((await send(longest)).status, 200);
      const length: readonly [string, string] = ["content-length", String(tooLong.length)];
      for (const headers of [[json], [json, length]]) {
        const { status } = await send({ headers, body: [tooLong.subarray(0, 9), tooLong.subarray(9)] });
        assert.equal(status, 413);
      }
      assert.equal(stored(), 1);
    });

    test("R5: answers 503 at 1.8 s while the queue never answers", async () => {
      const isAsked = Promise.withResolvers<void>();
      store.first(() => {
        isAsked.resolve();
        return new Promise(() => {});
      });
      const answer = send(toSent(push(v2Text())));
      await isAsked.promise;
      await clock.advance(answerWithinMs);
      assert.equal((await answer).status, 503);
      assert.equal(clock.pending, 0);
    });

    test("survives a sender who goes away while the answer is under way", async () => {
      const [isAsked, mayStore] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
      store.first(() => {
        isAsked.resolve();
        return mayStore.promise;
      });
      const { abort, closed } = opened.begin(toSent(push(v2Text())));
      await isAsked.promise;
      abort();
      await closed;
      mayStore.resolve();
      await until("it is stored", () => store.queued[0]);
      await settled();
      assert.equal(clock.pending, 0);
      assert.equal((await send(toSent(push(v2Text())))).status, 200);
    });

    if (door.isBehindParser === undefined) {
      test("refuses a body that does not come within 1.5 s, and ends the connection, or its stream", async () => {
        const kept: readonly [string, string] = ["connection", "keep-alive"];
        const headers = door.protocol === "http2" ? [] : [kept];
        const { answer, closed } = opened.begin({ headers, body: Buffer.from("{"), isOpen: true });
        await until("it is read", () => clock.pending === 1);
        await clock.advance(bodyWithinMs - 1);
        assert.equal(clock.pending, 1);
        await clock.advance(1);
        assert.deepEqual(jsonOf(await answer), refused);
        await closed;
        assert.deepEqual([stored(), clock.pending], [0, 0]);
      });

      test("R5: counts the time that a body takes: answers 503 at 1.8 s while the queue never answers", async () => {
        const isAsked = Promise.withResolvers<void>();
        store.first(() => {
          isAsked.resolve();
          return new Promise(() => {});
        });
        const { headers, rawBody } = push(v2Text());
        const { answer, finish } = opened.begin({ headers: [...headers], body: rawBody.subarray(0, 9), isOpen: true });
        await until("it is read", () => clock.pending === 1);
        await clock.advance(bodyWithinMs - 1);
        finish(rawBody.subarray(9));
        await isAsked.promise;
        await clock.advance(answerWithinMs - bodyWithinMs + 1);
        assert.equal(clock.pending, 0);
        assert.equal((await answer).status, 503);
      });

      test("stores nothing of a body that is cut off, and answers the next", async () => {
        const { rawBody, headers } = push(v2Text());
        const length: readonly [string, string] = ["content-length", String(rawBody.length)];
        const { abort } = opened.begin({ headers: [length, ...headers], body: rawBody.subarray(0, 50), isOpen: true });
        await until("it is read", () => clock.pending === 1);
        abort();
        await until("it is refused", () => trace.entries.some(({ stage }) => stage === "refused"));
        assert.deepEqual([stored(), clock.pending], [0, 0]);
        assert.equal((await send(toSent(push(v2Text())))).status, 200);
      });

      test("P1: keeps bytes that are no text in quarantine as they came", async () => {
        const bytes = Buffer.from([0x7b, 0xff, 0x00, 0xfe]);
        assert.equal((await send(toSent(signedPush(bytes)))).status, 200);
        assert.deepEqual(
          store.quarantined.map(({ rawBody }) => Buffer.from(rawBody)),
          [bytes],
        );
      });
    }

    test("logs the socket's address of a refused request, never a header's", async () => {
      const forged: readonly [string, string] = ["x-forwarded-for", "203.0.113.9"];
      await send({ headers: [json, forged], body: Buffer.from("{}") });
      const { facts } = trace.entries.find(({ stage }) => stage === "refused") ?? {};
      assert.match(String(facts?.["sourceIp"]), door.hasNoSource ? /^undefined$/ : /^(::ffff:)?127\.0\.0\.1$/);
    });
  });
}
