import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { type AddressInfo, createServer as createTcpServer, type Socket } from "node:net";
import { after, before, beforeEach, describe, type TestContext, test } from "node:test";
import { SQS } from "@aws-sdk/client-sqs";
import { WebSocketServer } from "ws";
import { receiverQueues } from "../../lib/aws/queues.ts";
import { fromSdk } from "../../lib/aws/sdk.ts";
import { LongConnectionError } from "../../lib/errors.ts";
import { controlMethod, dataMethod, encodeFrame, type Frame, headerOf } from "../../lib/feishu/frame.ts";
import { toLongConnection } from "../../lib/simulator/long-connection/server.ts";
import { listenOnLoopback } from "../../lib/simulator/loopback.ts";
import { startPlatform, toMessage } from "../../lib/simulator/platform/platform.ts";
import { settled, type TestClock, testClock } from "../support/clock.ts";
import { ingressBehaves } from "../support/ingress.ts";
import {
  appSecret,
  collectingPorts,
  type PlatformEnd,
  refuse,
  startClient,
  startLine,
  startPlatformEnd,
} from "../support/long-connection.ts";
import { appId, v1Text, v2Text } from "../support/push.ts";
import { startSlowAws } from "../support/slow-aws.ts";
import { recordTrace } from "../support/trace.ts";
import { until } from "../support/until.ts";

const trace = recordTrace();
beforeEach(() => {
  trace.entries.length = 0;
});
const told = (stage: string) => trace.entries.filter((entry) => entry.stage === stage);
/** How the connection ended last. */
const disconnected = (count = 1) => until("it is told", () => told("disconnected")[count - 1]);
/** Lets the wait pass that was told last: not much more, or what it led to would be late in turn. */
const waitOut = async (clock: TestClock, count = 1) => {
  const { facts } = await disconnected(count);
  await clock.advance(Number(facts?.["waitMs"]));
};

const cardAction = v2Text({
  header: { event_type: "card.action.trigger" },
  event: { token: "c-1", action: { value: {} }, context: { open_message_id: "om_1" } },
});
const replies = (frames: readonly Frame[]) => frames.filter(({ method }) => method === dataMethod);
const answerOf = (frame: Frame | undefined) => JSON.parse(Buffer.from(frame?.payload ?? []).toString("utf8"));

describe("over the long connection", () => {
  let server: PlatformEnd;
  let store = collectingPorts();
  let stop = async (): Promise<void> => {};
  before(async () => {
    server = await startPlatformEnd();
    const client = startClient(
      { after() {} },
      {
        origin: server.origin,
        ports: {
          send: (envelope, signal) => store.ports.send(envelope, signal),
          quarantine: (envelope, signal) => store.ports.quarantine(envelope, signal),
        },
      },
    );
    stop = client.stop;
    await client.connected();
  });
  after(async () => {
    await stop();
    await server.close();
  });

  ingressBehaves(
    "the long connection",
    () => {
      store = collectingPorts();
      const { queued, quarantined, first } = store;
      return {
        ...{ queued, quarantined },
        async deliver({ text }) {
          const { status, body } = await server.deliver(text, { appId });
          assert.ok(status !== null, "no reply came");
          return { status, body: body === "" ? {} : JSON.parse(body) };
        },
        breakQueues: () => first(refuse),
      };
    },
    { proof: "connection" },
  );
});

/** The bytes of a message of this text: encoded once, however often they are sent. */
function bytesOf(text: string, headers: Readonly<Record<string, string>> = {}): Uint8Array {
  return encodeFrame({
    ...{ seqId: 1n, logId: 1n, service: 1, method: dataMethod, payload: Buffer.from(text) },
    headers: Object.entries({ type: "event", message_id: "m-1", sum: "1", seq: "0", ...headers }),
  });
}

/** What a count is, once it was not less than that and has not changed for some turns of the event loop. */
async function atRest(least: number, count: () => number): Promise<number> {
  let same = 0;
  let before = 0;
  await until("it reads no more", () => {
    same = count() === before && count() >= least ? same + 1 : 0;
    before = count();
    return same === 10;
  });
  return before;
}

describe("a frame", () => {
  test("L1: is acknowledged only after its event is stored, and echoed with the time that took", async (t) => {
    const { connection, deliver, queued, first } = await startLine(t);
    const storing = Promise.withResolvers<void>();
    const isAsked = Promise.withResolvers<void>();
    first(() => {
      isAsked.resolve();
      return storing.promise;
    });
    const delivery = deliver(v2Text(), { requestId: "trace-1" });
    await isAsked.promise;
    await settled();
    assert.deepEqual(replies(connection.received), []);
    storing.resolve();
    assert.equal((await delivery).status, 200);
    assert.equal(queued[0]?.requestId, "trace-1");
    assert.equal(queued[0]?.transport, "long-connection");
    const [reply] = replies(connection.received);
    assert.deepEqual(answerOf(reply), { code: 200 });
    // Ids of 64 bits, as a double could not hold them.
    assert.equal(reply?.seqId, (1n << 60n) + 1n);
    assert.equal(reply?.logId, (1n << 63n) + 1n);
    assert.equal(reply?.service, 33_554_678);
    assert.equal(reply?.logIdNew, "trace-1");
    assert.deepEqual(
      reply?.headers.map(([name]) => name),
      ["type", "message_id", "sum", "seq", "trace_id", "timestamp", "instance_id", "biz_rt"],
    );
    assert.match(headerOf(reply as Frame, "biz_rt") ?? "", /^\d+$/);
  });

  test("of a callback is answered in base64, and asked for once", async (t) => {
    const answers = [{ toast: { type: "info", content: "\u4f60\u597d \u{1f44b}" } }, {}];
    const { connection, deliver, queued } = await startLine(t, {
      callback: () => ({ status: 200, body: answers.shift() ?? {} }),
    });
    const first = await deliver(cardAction);
    assert.deepEqual(JSON.parse(first.body), { toast: { type: "info", content: "\u4f60\u597d \u{1f44b}" } });
    assert.equal((await deliver(cardAction)).status, 200);
    assert.deepEqual(answerOf(replies(connection.received)[1]), { code: 200 });
    assert.deepEqual(queued, []);
  });

  test("of a callback whose port fails is answered 500", async (t) => {
    const { deliver } = await startLine(t, { callback: () => Promise.reject(new Error("no table")) });
    assert.equal((await deliver(cardAction)).status, 500);
  });

  test("that a queue never answers for is answered 500 within the platform's 3 s, from its first part", async (t) => {
    const clock = testClock();
    const { connection, deliver, first } = await startLine(t, { clock });
    first(() => new Promise(() => {}));
    const delivery = deliver(v2Text());
    await until("it is in hand", () => clock.pending >= 4);
    await clock.advance(2_599);
    assert.deepEqual(replies(connection.received), []);
    await clock.advance(1);
    assert.equal((await delivery).status, 500);
    assert.equal(told("unavailable").length, 1);
  });

  test("of type card is answered like any other when it holds a callback, and 500 when it does not", async (t) => {
    const body = { toast: { type: "info", content: "done" } };
    const { deliver, queued, quarantined } = await startLine(t, { callback: () => ({ status: 200, body }) });
    assert.deepEqual(JSON.parse((await deliver(cardAction, { type: "card" })).body), body);
    for (const text of [v2Text(), '{"open_id":"ou_1","action":{"tag":"button"}}', "{"]) {
      assert.equal((await deliver(text, { type: "card" })).status, 500);
    }
    assert.deepEqual([queued.length, quarantined.length], [0, 0]);
    assert.deepEqual(
      told("ignored").map(({ level, facts }) => [level, facts?.["reason"]]),
      [1, 2, 3].map(() => ["error", "card"]),
    );
  });

  test("in seven parts, out of order and cut within characters, is one event", async (t) => {
    const { deliver, queued } = await startLine(t);
    const text = v2Text({ event: { text: "\u4f60\u597d \u{1f44b}".repeat(100) } });
    assert.equal((await deliver(text, { parts: 7 })).status, 200);
    assert.equal(queued.length, 1);
    assert.deepEqual(queued[0]?.event, JSON.parse(text).event);
  });

  test("L6: whose other parts never come gets no reply, is forgotten after 10 s, and that is told", async (t) => {
    const clock = testClock();
    const { connection, deliver, queued } = await startLine(t, { clock });
    const part = (id: string): Frame => ({
      ...{ seqId: 1n, logId: 1n, service: 1, method: dataMethod, payload: Buffer.from("{") },
      headers: Object.entries({ type: "event", message_id: id, sum: "2", seq: "0" }),
    });
    connection.send(part("never whole"));
    connection.send({ ...part("no number"), headers: Object.entries({ type: "event", sum: "two" }) });
    await until("the bad one is told", () => told("ignored").some(({ facts }) => facts?.["reason"] === "part"));
    await clock.advance(10_000);
    assert.equal((await deliver(v2Text())).status, 200);
    assert.deepEqual(told("ignored")[1]?.facts, { reason: "incomplete", count: 1 });
    assert.equal(replies(connection.received).length, 1);
    assert.equal(queued.length, 1);
  });

  test("L7: that is none, or of no known kind, is told and disturbs nothing", async (t) => {
    const { connection, deliver, queued } = await startLine(t);
    connection.sendRaw("a text");
    connection.sendRaw(Buffer.from("08", "hex"));
    connection.send({ seqId: 1n, logId: 1n, service: 1, method: 7, headers: [["type", "event"]] });
    connection.send({ seqId: 1n, logId: 1n, service: 1, method: dataMethod, headers: [["type", "parcel"]] });
    connection.send({ seqId: 1n, logId: 1n, service: 1, method: 0, headers: [["type", "ping"]] });
    assert.equal((await deliver(v2Text())).status, 200);
    assert.equal(queued.length, 1);
    assert.deepEqual(
      told("ignored").map(({ facts }) => facts?.["reason"]),
      ["frame", "frame", "type", "type"],
    );
    assert.equal(replies(connection.received).length, 1);
  });

  test("L8: of a type that nobody handles is stored and acknowledged", async (t) => {
    const { deliver, queued } = await startLine(t);
    assert.equal((await deliver(v2Text({ header: { event_type: "brand.new_v9" } }))).status, 200);
    assert.equal((await deliver(v1Text({ event: { type: "brand_new" } }))).status, 200);
    assert.deepEqual(
      queued.map(({ type }) => type),
      ["brand.new_v9", "brand_new"],
    );
  });

  /** Waits for the replies to so many messages, each of them a 200. */
  const allStored = async (connection: { readonly received: readonly Frame[] }, count: number) => {
    await until("all replies", () => replies(connection.received).length === count);
    for (const reply of replies(connection.received)) assert.deepEqual(answerOf(reply), { code: 200 });
  };

  test("waits in the socket while 64 others are in hand, and is not lost", async (t) => {
    const { connection, queued, first } = await startLine(t, { answerWithinMs: 60_000 });
    let inHand = 0;
    const released = Promise.withResolvers<void>();
    first(() => {
      inHand++;
      return released.promise;
    });
    // Larger than what one read of the socket takes, so that a pause shows.
    const bytes = bytesOf(v2Text({ event: { text: "x".repeat(70_000) } }));
    for (let count = 0; count < 80; count++) connection.sendRaw(bytes);
    const most = await atRest(64, () => inHand);
    assert.ok(most < 70, `${most} are in hand`);
    released.resolve();
    await allStored(connection, 80);
    assert.equal(queued.length, 80);
  });

  test("is not read with 32 MiB in hand, nor when one of them is done and 32 MiB are left", async (t) => {
    const { connection, first } = await startLine(t, { answerWithinMs: 60_000 });
    const stores: PromiseWithResolvers<void>[] = [];
    first(() => {
      const store = Promise.withResolvers<void>();
      stores.push(store);
      return store.promise;
    });
    const inHand = (least: number) => atRest(least, () => stores.length);
    connection.sendRaw(bytesOf(v2Text({ header: { event_id: "small" } })));
    await inHand(1);
    // A message's last frame and its payload count, so one of 1 MiB is 2 MiB in hand.
    const bytes = bytesOf(v2Text({ event: { text: "x".repeat(1_048_576) } }));
    for (let count = 0; count < 19; count++) connection.sendRaw(bytes);
    assert.equal(await inHand(17), 17);
    stores[0]?.resolve();
    await allStored(connection, 1);
    assert.equal(await inHand(17), 17, "16 × 2 MiB are still there");
    stores[1]?.resolve();
    assert.equal(await inHand(18), 18);
    first(async () => {});
    for (const { resolve } of stores) resolve();
    await allStored(connection, 20);
  });
});

test("70 frames at once are each stored and answered 200, with 32 calls at once: a call that waits is not taken for slow", async (t) => {
  const queue = await startSlowAws(t, 50);
  const credentials = { accessKeyId: "an id", secretAccessKey: "a secret" };
  const patience = { sqs: 30_000, dynamodb: 30_000, ssm: 30_000 };
  const sqs = new SQS({ endpoint: queue.endpoint, region: "local", credentials });
  const client = fromSdk({ sqs }, patience);
  t.after(() => client.destroy());
  const url = `${queue.endpoint}/000000000000/events`;
  const ports = receiverQueues(client, { eventsQueueUrl: url, quarantineQueueUrl: url });
  const { deliver } = await startLine(t, { ports, clock: testClock() });
  // More than a connection has in hand, which are twice as many as may call at once.
  const deliveries = Array.from({ length: 70 }, () => deliver(v2Text(), { deadlineMs: 60_000 }));
  assert.deepEqual(new Set((await Promise.all(deliveries)).map(({ status }) => status)), new Set([200]));
  assert.equal(queue.calls, 70);
  assert.ok(queue.most <= 32, `${queue.most} calls at once`);
});

test("L2: events that come while the queue is down for an hour are pushed again until they are stored", async (t) => {
  const clock = testClock();
  const { server, queued, first } = await startLine(t, { clock, config: { PingInterval: 3_600 } });
  const platform = startPlatform({ deliver: toLongConnection(server, { appId }), clock, random: Math.random });
  first(refuse);
  const ids = Array.from({ length: 20 }, (_, index) => `event-${index}`);
  const deliveries = ids.map((id) => platform.push(toMessage(v2Text({ header: { event_id: id } }))));
  // To each push and no further: a reply takes real time, and would be late by a clock that went on.
  for (const [pushes, waitMs] of [0, 15_000, 300_000].entries()) {
    await clock.advance(waitMs);
    await until("the pushes failed", () => told("unavailable").length === 20 * (pushes + 1));
  }
  await clock.advance(3_600_000 - 315_000);
  first(async () => {});
  await clock.advance(315_000);
  for (const delivery of await Promise.all(deliveries)) {
    assert.equal(delivery.outcome, "delivered");
    assert.deepEqual(
      delivery.attempts.map(({ result }) => result.status),
      [500, 500, 500, 200],
    );
  }
  assert.deepEqual(queued.map(({ id }) => id).sort(), ids.sort());
});

describe("a connection", () => {
  test("L3: that has gone silent is replaced within the ping interval and 10 s", async (t) => {
    const clock = testClock();
    const line = await startLine(t, { clock, config: { PingInterval: 30 }, random: () => 0.999 });
    // A connection that lives is left alone.
    for (let minute = 0; minute < 3; minute++) {
      const pings = line.connection.received.length;
      await clock.advance(30_000);
      await until("a ping", () => line.connection.received.length > pings);
      await settled();
    }
    const startMs = clock.nowMs();
    line.connection.blackhole();
    await clock.advance(30_000);
    assert.equal(line.client.isConnected, true);
    await clock.advance(9_000);
    assert.equal(line.client.isConnected, false);
    assert.equal((await disconnected()).facts?.["reason"], "nothing came within the ping interval");
    await clock.advance(1_000);
    await line.client.connected();
    assert.ok(clock.nowMs() - startMs <= 40_000);
    assert.equal(line.server.discoveries, 2);
  });

  test("L3: on which nothing ever comes is replaced as well", async (t) => {
    const clock = testClock();
    const { client, server } = await startRawPeer(t, clock);
    await clock.advance(130_000);
    await client.connected();
    assert.equal(server.discoveries, 2);
  });

  test("whose peer sends and does not read is paused with 32 MiB in hand, and replaced after 5 s of that", async (t) => {
    const clock = testClock();
    const store = collectingPorts();
    const { queued } = store;
    const { client, server, socket } = await startRawPeer(t, clock, store);
    // The reply repeats the headers.
    const frame = bytesOf(v2Text(), { padding: "x".repeat(1_048_576) });
    const stuck = (least: number) => atRest(least, () => queued.length);
    socket.pause();
    for (let count = 0; count < 56; count++) socket.send(frame);
    const stored = await stuck(33);
    assert.ok(stored < 52, `${stored} MiB are in hand or in the kernel`);
    await clock.advance(4_999);
    // As long as it reads at all, one message after the other, it is kept.
    socket.on("message", () => socket.pause());
    await until("a reply is through", () => {
      socket.resume();
      return queued.length > stored;
    });
    await stuck(stored + 1);
    await clock.advance(4_999);
    assert.deepEqual(told("disconnected"), []);
    await clock.advance(1);
    assert.equal((await disconnected()).facts?.["reason"], "the peer does not read its replies");
    await waitOut(clock);
    await client.connected();
    assert.equal(server.discoveries, 2);
  });

  test("whose peer does not even read its first reply is replaced 5 s after it, whatever comes meanwhile", async (t) => {
    const clock = testClock();
    const store = collectingPorts();
    const { queued } = store;
    const { socket } = await startRawPeer(t, clock, store);
    socket.pause();
    // The reply repeats the headers, and is more than the kernel takes.
    for (const length of [8 * 1_048_576, 1]) {
      socket.send(bytesOf(v2Text(), { padding: "x".repeat(length) }));
      await until("it is stored", () => queued.length === (length === 1 ? 2 : 1));
      await settled();
      assert.deepEqual(told("disconnected"), []);
      await clock.advance(2_500);
    }
    assert.equal((await disconnected()).facts?.["reason"], "the peer does not read its replies");
  });

  test("pings at once, at the server's interval, and at another one from the pong that names it", async (t) => {
    const clock = testClock();
    const line = await startLine(t, { clock, config: { PingInterval: 20 } });
    const pings = () => line.connection.received.filter(({ method }) => method === controlMethod);
    const pinged = (count: number) => until(`ping ${count}`, () => pings().length === count);
    /** The pong to the last ping is in: it came before a message whose reply is back. */
    const pongIsIn = async () => assert.equal((await line.deliver(v2Text())).status, 200);
    await pinged(1);
    assert.deepEqual(pings()[0], {
      ...{ seqId: 0n, logId: 0n, service: 33_554_678, method: controlMethod },
      headers: [["type", "ping"]],
    });
    await pongIsIn();
    // Nothing follows this one: the watch has to take the interval over as well.
    const storing = Promise.withResolvers<void>();
    line.first(() => storing.promise);
    const before = line.deliver(v2Text());
    const pong = { seqId: 0n, logId: 0n, service: 1, method: controlMethod, headers: [["type", "pong"]] as const };
    line.connection.send({ ...pong, payload: Buffer.from('{"PingInterval":100}') });
    line.server.configure({ PingInterval: 100 });
    for (let turn = 0; turn < 5; turn++) await settled();
    storing.resolve();
    await before;
    await clock.advance(99_999);
    assert.equal(pings().length, 1);
    assert.equal(line.client.isConnected, true, "the longer interval passed for silence");
    for (const [index, config] of [{}, { PingInterval: 0 }, { PingInterval: -1 }, { ReconnectCount: 3 }].entries()) {
      line.server.configure(config);
      await clock.advance(1);
      await pinged(2 + index);
      await pongIsIn();
      await clock.advance(99_999);
      assert.equal(pings().length, 2 + index);
    }
  });

  test("that is dropped is followed by another, after a random part of the server's nonce", async (t) => {
    const clock = testClock();
    const config = { ReconnectNonce: 20, ReconnectInterval: 100, PingInterval: 3_600 };
    const line = await startLine(t, { clock, config, random: () => 0.5 });
    await clock.advance(6_000);
    line.connection.drop();
    assert.equal((await disconnected()).facts?.["waitMs"], 10_000);
    line.server.answerNext({ status: 500, body: "" }, { status: 200, body: '{"code":1}' });
    await clock.advance(9_999);
    assert.equal(line.server.discoveries, 1);
    await clock.advance(1);
    // From the second attempt on, the interval counts.
    assert.deepEqual((await disconnected(2)).facts, {
      ...{ reason: "discovery answered 500", code: undefined, waitMs: 100_000 },
    });
    await clock.advance(100_000);
    assert.equal((await disconnected(3)).facts?.["waitMs"], 100_000);
    await clock.advance(100_000);
    await line.client.connected();
    assert.equal(line.server.discoveries, 4);
  });

  test("L10: is dialled at most ten times a minute, and never waits over 30 s for the first time", async (t) => {
    const clock = testClock();
    const line = await startLine(t, {
      clock,
      config: { ReconnectNonce: 3_600, PingInterval: 3_600 },
      random: () => 0.999,
    });
    line.connection.drop();
    assert.ok(Number((await disconnected()).facts?.["waitMs"]) <= 30_000);
    line.server.configure({ ReconnectNonce: 1 });
    await clock.advance(30_000);
    await line.client.connected();
    for (let drop = 2; drop < 12; drop++) {
      const startMs = clock.nowMs();
      line.server.connections()[0]?.drop();
      await disconnected(drop);
      for (let second = 0; !line.client.isConnected && second < 10; second++) {
        await clock.advance(1_000);
        await settled();
        if (line.server.discoveries > drop) await line.client.connected();
      }
      assert.ok(clock.nowMs() - startMs >= 6_000, `the ${drop}. came after ${clock.nowMs() - startMs} ms`);
      await until("the platform sees it", () => line.server.connections().length === 1);
    }
  });

  test("that never was is dialled after 6, 8, 16 … 60 s, until the server has named its interval", async (t) => {
    const clock = testClock();
    const server = await startPlatformEnd({ clock, config: { ReconnectInterval: 200 } });
    t.after(() => server.close());
    server.answerNext(...Array.from({ length: 8 }, () => ({ status: 503, body: "" })));
    server.refuseNext({ "Handshake-Status": "500" }, { "Handshake-Status": "500" });
    const ports = collectingPorts().ports;
    const client = startClient(t, { origin: server.origin, ports, clock, random: () => 0.5 });
    for (const [index, seconds] of [6, 6, 6, 8, 16, 32, 60, 60, 200, 200].entries()) {
      assert.equal((await disconnected(index + 1)).facts?.["waitMs"], seconds * 1_000);
      await waitOut(clock, index + 1);
    }
    await client.connected();
  });

  for (const [count, reason] of [
    [0, "the connection was closed (1006)"],
    [2, "discovery answered 503"],
  ] as const) {
    test(`ends for good, with a reason, once the server's count of attempts is used up: ${count}`, async (t) => {
      const clock = testClock();
      const line = await startLine(t, { clock, config: { ReconnectCount: count, ReconnectInterval: 10 } });
      line.server.answerNext(...Array.from({ length: 9 }, () => ({ status: 503, body: "" })));
      line.connection.drop();
      for (let attempt = 1; attempt <= count; attempt++) await waitOut(clock, attempt);
      await assert.rejects(line.client.done, (error: unknown) => {
        assert.ok(error instanceof LongConnectionError);
        const allowed = `Cannot connect: the platform allows ${count} attempts, and the last failed: `;
        assert.ok(error.message.startsWith(allowed) && error.message.endsWith(reason), error.message);
        return true;
      });
      assert.equal(line.server.discoveries, count + 1);
      assert.equal(clock.pending, 0);
    });
  }
});

test("L12: a stop ends only when its socket is gone, and a stopped one dials no more", async (t) => {
  const line = await startLine(t);
  const storing = Promise.withResolvers<void>();
  const isAsked = Promise.withResolvers<void>();
  line.first(() => {
    isAsked.resolve();
    return storing.promise;
  });
  const delivery = line.deliver(v2Text());
  await isAsked.promise;
  let isStopped = false;
  const stopped = line.client.stop().then(() => {
    isStopped = true;
  });
  await settled();
  assert.deepEqual([isStopped, line.client.isConnected], [false, true]);
  storing.resolve();
  assert.equal((await delivery).status, 200);
  await stopped;
  assert.equal(line.client.isConnected, false);
  await until("the platform sees it", () => line.server.connections().length === 0);
  assert.equal(line.server.discoveries, 1);
});

describe("L9: a stop", () => {
  test("reads no more, answers what is in hand, and closes with 1000", async (t) => {
    const clock = testClock();
    const line = await startLine(t, { clock });
    const storing = Promise.withResolvers<void>();
    const isAsked = Promise.withResolvers<void>();
    line.first(() => {
      isAsked.resolve();
      return storing.promise;
    });
    const delivery = line.deliver(v2Text());
    await isAsked.promise;
    const stopped = line.client.stop();
    const late = line.deliver(v2Text({ header: { event_id: "late" } }));
    await settled();
    await clock.advance(2_000);
    storing.resolve();
    assert.equal((await delivery).status, 200);
    assert.deepEqual((await late).delivered, false);
    await stopped;
    await line.client.done;
    assert.deepEqual(
      line.queued.map(({ id }) => id),
      ["event-1"],
    );
    assert.equal(line.client.isConnected, false);
    assert.equal(clock.pending, 0);
  });

  test("gives what is in hand 5 s at most", async (t) => {
    const clock = testClock();
    const line = await startLine(t, { clock, answerWithinMs: 60_000 });
    const isAsked = Promise.withResolvers<void>();
    line.first(() => {
      isAsked.resolve();
      return new Promise(() => {});
    });
    void line.deliver(v2Text());
    await isAsked.promise;
    const stopped = line.client.stop();
    await clock.advance(4_999);
    assert.equal(line.client.isConnected, true);
    await clock.advance(1);
    await until("it is closed", () => !line.client.isConnected, { withinMs: 2_000 });
    await stopped;
  });

  test("does not wait for a peer that is gone", async (t) => {
    const clock = testClock();
    const line = await startLine(t, { clock });
    line.connection.blackhole();
    const stopped = line.client.stop();
    await settled();
    await clock.advance(1_000);
    assert.equal(line.client.isConnected, false);
    await stopped;
    assert.equal(clock.pending, 0);
  });

  test("amid a wait, a discovery call or a handshake ends it at once", async (t) => {
    const clock = testClock();
    const line = await startLine(t, { clock });
    line.connection.drop();
    await disconnected();
    await line.client.stop();
    assert.equal(clock.pending, 0);
    const [deaf, mute] = [await startMute(t), await startMute(t)];
    const calling = startClient(t, { origin: deaf.origin, ports: line.ports, clock });
    await until("the call is out", () => deaf.sockets.length > 0);
    await calling.stop();
    await calling.done;
    line.server.answerNext(mute.discovery);
    const dialling = startClient(t, { origin: line.server.origin, ports: line.ports, clock });
    await until("the dial is out", () => mute.sockets.length === 1);
    await dialling.stop();
    await dialling.done;
    assert.equal(clock.pending, 0);
    await until("nothing is left open", () => mute.sockets[0]?.destroyed);
  });
});

/** Takes connections, and never says a word. */
async function startMute(t: { after(fn: () => void): void }) {
  const sockets: Socket[] = [];
  const server = createTcpServer((socket) => {
    socket.on("error", () => {});
    socket.on("data", () => {});
    sockets.push(socket);
  });
  const port = await listenOnLoopback(server);
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const host = `127.0.0.1:${port}`;
  const body = JSON.stringify({ code: 0, data: { URL: `ws://${host}/ws?ticket=CANARY-TICKET` } });
  return { sockets, origin: `http://${host}`, discovery: { status: 200, body } };
}

describe("the way to a connection", () => {
  const fatal = [
    { code: 514, says: /APP_ID and APP_SECRET/ },
    { code: 403, says: /enabled, self-built/ },
    { code: 1_000_040_344, says: /is missing/ },
    { code: 9499, says: /^Cannot connect: the platform answered 9499: it refused the app$/ },
  ];
  for (const { code, says } of fatal) {
    test(`L4: ends with a clear line when discovery answers ${code}, after one call`, async (t) => {
      const server = await startPlatformEnd();
      t.after(() => server.close());
      server.answerNext({ status: 200, body: JSON.stringify({ code, msg: "" }) });
      const client = startClient(t, { origin: server.origin, ports: collectingPorts().ports });
      await assert.rejects(client.done, (error: unknown) => {
        assert.ok(error instanceof LongConnectionError);
        assert.equal(error.platformCode, code);
        assert.match(error.message, says);
        return true;
      });
      assert.equal(server.discoveries, 1);
    });
  }

  test("is not told by an answer longer than any of the platform's", async (t) => {
    const clock = testClock();
    const server = await startPlatformEnd({ clock });
    t.after(() => server.close());
    server.answerNext({ status: 200, body: JSON.stringify({ code: 514, msg: "x".repeat(1_000_000) }) });
    startClient(t, { origin: server.origin, ports: collectingPorts().ports, clock });
    assert.equal((await disconnected()).facts?.["reason"], "discovery answered something that is not the platform's");
  });

  test("tells what the platform said to either call, without the secret and the ticket that it repeats", async (t) => {
    const clock = testClock();
    const server = await startPlatformEnd({ clock });
    t.after(() => server.close());
    const body = JSON.stringify({ code: 1_000_040_351, msg: "CANARY-TICKET of the wrong domain" });
    const refusing = createServer().on("upgrade", (_request, socket) => {
      socket.on("error", () => {});
      socket.end(`HTTP/1.1 400 Bad Request\r\ncontent-length: ${body.length}\r\nconnection: close\r\n\r\n${body}`);
    });
    const port = await listenOnLoopback(refusing);
    t.after(() => refusing.close());
    // Nothing that the address holds can break what is read.
    const URL = `ws://127.0.0.1:${port}/ws?ticket=CANARY-TICKET&device_id=${encodeURIComponent('"},"body')}`;
    server.answerNext(
      { status: 400, body: JSON.stringify({ code: 1, msg: `not with ${appSecret}` }) },
      { status: 200, body: JSON.stringify({ code: 0, data: { URL } }) },
    );
    const client = startClient(t, { origin: server.origin, ports: collectingPorts().ports, clock });
    const { reason, code } = (await disconnected()).facts ?? {};
    assert.deepEqual([reason, code], ['the platform answered 1, "not with …": it is busy', 1]);
    await waitOut(clock);
    await assert.rejects(client.done, {
      ...{ name: "LongConnectionError", platformCode: 1_000_040_351 },
      message:
        'Cannot connect: the connection was refused with 1000040351, "… of the wrong domain": the app is at the other ' +
        'domain. Set LARK_DOMAIN to "lark" or "feishu"',
    });
  });

  test("L4: ends when the upgrade is forbidden; another refusal gets a new address", async (t) => {
    const clock = testClock();
    const server = await startPlatformEnd({ clock });
    t.after(() => server.close());
    server.refuseNext({ "Handshake-Status": "514" }, { "handshake-status": "403" });
    const client = startClient(t, { origin: server.origin, ports: collectingPorts().ports, clock });
    assert.equal((await disconnected()).facts?.["reason"], "the connection was refused with 514");
    await waitOut(clock);
    await assert.rejects(client.done, { name: "LongConnectionError", platformCode: 403 });
    assert.equal(server.discoveries, 2);
    assert.equal(clock.pending, 0);
  });

  test("L5: waits 30 s or more while the app has all its connections, and says so at level error", async (t) => {
    const clock = testClock();
    const server = await startPlatformEnd({ clock });
    t.after(() => server.close());
    const full = { status: 200, body: '{"code":1000040350,"data":null}' };
    server.answerNext(full);
    server.refuseNext({ "Handshake-Status": "514", "Handshake-Autherrcode": "1000040350" });
    const client = startClient(t, { origin: server.origin, ports: collectingPorts().ports, clock, random: () => 0 });
    for (const attempt of [1, 2]) {
      const { level, facts } = await disconnected(attempt);
      assert.deepEqual([level, facts?.["code"]], ["error", 1_000_040_350]);
      await clock.advance(29_999);
      assert.equal(server.discoveries, attempt);
      await clock.advance(Number(facts?.["waitMs"]) - 29_999);
    }
    await client.connected();
    assert.equal(server.discoveries, 3);
  });

  test("L13: leads to the platform's hosts alone, and tells neither address nor ticket nor secret", async (t) => {
    const clock = testClock();
    const server = await startPlatformEnd({ clock });
    t.after(() => server.close());
    const elsewhere = await startMute(t);
    const { port } = new URL(elsewhere.origin);
    const addresses = [
      `wss://evil.example/ws?ticket=CANARY-TICKET`,
      `wss://feishu.cn.evil.example/ws?ticket=CANARY-TICKET`,
      `ws://msg.feishu.cn/ws?ticket=CANARY-TICKET`,
      `http://127.0.0.1:${port}/ws?ticket=CANARY-TICKET`,
      `wss://open.feishu.cn@evil.example/ws?ticket=CANARY-TICKET`,
    ];
    server.answerNext(...addresses.map((URL) => ({ status: 200, body: JSON.stringify({ code: 0, data: { URL } }) })), {
      status: 200,
      body: JSON.stringify({ code: 0, data: { URL: `${elsewhere.discovery.body}` } }),
    });
    const client = startClient(t, { origin: server.origin, ports: collectingPorts().ports, clock });
    for (let attempt = 1; attempt <= addresses.length + 1; attempt++) {
      assert.match(String((await disconnected(attempt)).facts?.["reason"]), /^discovery named (an|no) address/);
      await waitOut(clock, attempt);
    }
    await client.connected();
    assert.equal(elsewhere.sockets.length, 0);
    const all = trace.entries.map((entry) => JSON.stringify({ ...entry, error: String(entry.error) })).join("\n");
    for (const mark of ["CANARY-TICKET", "ticket=", appSecret]) assert.ok(!all.includes(mark), mark);
  });

  test("L3: gives discovery 15 s and the handshake 10 s", async (t) => {
    const clock = testClock();
    const [deaf, mute] = [await startMute(t), await startMute(t)];
    const calling = startClient(t, { origin: deaf.origin, ports: collectingPorts().ports, clock });
    await until("the call is out", () => deaf.sockets.length > 0);
    await clock.advance(14_999);
    assert.equal(told("disconnected").length, 0);
    await clock.advance(1);
    assert.equal((await disconnected()).facts?.["reason"], "discovery failed (DEADLINE)");
    await calling.stop();

    const server = await startPlatformEnd({ clock });
    t.after(() => server.close());
    server.answerNext(mute.discovery);
    const client = startClient(t, { origin: server.origin, ports: collectingPorts().ports, clock });
    await until("the dial is out", () => mute.sockets.length === 1);
    await clock.advance(9_999);
    assert.equal(told("disconnected").length, 1);
    await clock.advance(1);
    assert.equal((await disconnected(2)).facts?.["reason"], "the connection did not open in time");
    await until("the socket is gone", () => mute.sockets[0]?.destroyed);
    await waitOut(clock, 2);
    await client.connected();
  });

  test("is never a redirect, which would take the secret elsewhere", async (t) => {
    const bodies: string[] = [];
    const server = createServer(async (request, response) => {
      bodies.push(`${request.url} ${Buffer.concat(await request.toArray()).toString()}`);
      response.writeHead(307, { location: "/elsewhere" }).end();
    });
    const port = await listenOnLoopback(server);
    t.after(() => {
      server.closeAllConnections();
      server.close();
    });
    const origin = `http://127.0.0.1:${port}`;
    const client = startClient(t, { origin, ports: collectingPorts().ports, clock: testClock() });
    await disconnected();
    await client.stop();
    assert.deepEqual(bodies, [`/callback/ws/endpoint ${JSON.stringify({ AppID: appId, AppSecret: appSecret })}`]);
  });
});

/** A client of ours, and its peer as a bare WebSocket; the next connection is to the platform's end. */
async function startRawPeer(t: TestContext, clock: TestClock, { ports } = collectingPorts()) {
  const peer = new WebSocketServer({ host: "127.0.0.1", port: 0 });
  await once(peer, "listening");
  const server = await startPlatformEnd({ clock });
  t.after(() => {
    for (const socket of peer.clients) socket.terminate();
    peer.close();
    return server.close();
  });
  const URL = `ws://127.0.0.1:${(peer.address() as AddressInfo).port}/`;
  server.answerNext({ status: 200, body: JSON.stringify({ code: 0, data: { URL } }) });
  const client = startClient(t, { origin: server.origin, ports, clock });
  await client.connected();
  const [socket] = peer.clients;
  assert.ok(socket !== undefined);
  return { client, server, socket };
}
