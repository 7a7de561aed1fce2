import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import { answerGateway } from "../../lib/aws/gateway.ts";
import { receiverQueues } from "../../lib/aws/queues.ts";
import { systemClock } from "../../lib/clock.ts";
import { dataMethod, decodeFrame, encodeFrame, type Frame } from "../../lib/feishu/frame.ts";
import { partJoiner } from "../../lib/feishu/parts.ts";
import { queueUrl } from "../../lib/local/sqs.ts";
import { receive } from "../../lib/receiving/receiver.ts";
import { subscribe } from "../../lib/trace/trace.ts";
import { testClock } from "../support/clock.ts";
import { appId, eventText } from "../support/events.ts";
import { garbageCollector } from "../support/garbage.ts";
import { httpApi } from "../support/http-events.ts";
import { appIdOf, appSecret, collectingPorts, startClient, startPlatformEnd } from "../support/long-connection.ts";
import { startProcess } from "../support/long-connection-process.ts";
import { ring, push as signed, v2Text } from "../support/push.ts";
import { type Random, seeded } from "../support/random.ts";
import { until } from "../support/until.ts";
import type { Worker } from "../support/worker.ts";
import type { Row } from "./row.ts";
import { assertOnceEach, byTheHundred, row, settleAll } from "./worker.ts";

/** Runs `check` with what it opens closed behind it; what it fails with names the seed. */
function lineRow(
  given: Omit<Row, "run"> & {
    check: (given: {
      t: { after(fn: () => unknown): void };
      random: Random;
      n: number;
      progress: (done: number) => void;
    }) => Promise<void>;
  },
): Row {
  const { check, ...rest } = given;
  return {
    ...rest,
    async run({ n, seed, progress }) {
      const closers: (() => unknown)[] = [subscribe("log", () => {})];
      try {
        await check({ t: { after: (fn) => void closers.push(fn) }, random: seeded(seed), n, progress });
      } catch (error) {
        const message = error instanceof Error ? error.message : String(error);
        throw new Error(`${rest.id} does not hold with seed ${seed}, n ${n}: ${message}`, { cause: error });
      } finally {
        for (const close of closers.reverse()) await close();
      }
    },
  };
}

/** The process of a user: connected to the simulator, and to embedded queues by way of the faults. */
function processEnv(bench: Worker, origin: string) {
  return {
    ...bench.env,
    AWS_ENDPOINT_URL_SQS: bench.sqsFaults.endpoint,
    EVENTS_QUEUE_URL: queueUrl(bench.sqsFaults.endpoint, "events"),
    ...{ APP_ID: appId, APP_SECRET: appSecret, LARK_DOMAIN: origin },
  };
}

const killEvery = 20;

/** What comes out of the events queue; it is gone from there. */
async function taken(bench: Worker): Promise<string[]> {
  const ids: string[] = [];
  for (let records = await bench.receive(); records.length > 0; records = await bench.receive()) {
    for (const { body } of records) ids.push(/event_id\\":\\"([^\\]+)/.exec(body)?.[1] ?? "none");
    await bench.remove(records);
  }
  return ids;
}

const wellFormed = (random: Random, payload: string): Frame => ({
  ...{ seqId: BigInt(random.below(1e9)), logId: BigInt(random.below(1e9)), service: 1, method: dataMethod },
  headers: Object.entries({
    ...{ type: random.pick(["event", "card", "ping", ""]), message_id: random.hex(4) },
    ...{ sum: random.pick(["1", "1", "2", "-1", "2147483647", "x"]), seq: random.pick(["0", "0", "1", "9"]) },
  }),
  payload: Buffer.from(payload),
});

/** Bytes that no platform sends, or almost none. */
function fuzzed(random: Random): Uint8Array | string {
  const text = eventText({ id: random.hex(8), event: { a: "\u4f60\u597d" } });
  const bytes = Buffer.from(encodeFrame(wellFormed(random, text)));
  switch (random.below(5)) {
    case 0:
      return random.bytes(random.below(200));
    case 1:
      return bytes.subarray(0, random.below(bytes.length));
    case 2:
      for (let flips = 1 + random.below(4); flips > 0; flips--) bytes[random.below(bytes.length)] = random.below(256);
      return bytes;
    case 3: {
      const at = random.below(text.length);
      return encodeFrame(
        wellFormed(random, text.slice(0, at) + random.pick(['"', "}", "\0", "[", ""]) + text.slice(at + 1)),
      );
    }
    default:
      return random.hex(random.below(100));
  }
}

export const longConnectionRows: readonly Row[] = [
  row({
    id: "L1",
    title: "kill -9 between a frame and its storage loses no event, and completes none twice",
    memory: true,
    full: 10_000,
    sample: 20,
    async check(given) {
      const { bench, random } = given;
      const server = await startPlatformEnd({ config: { PingInterval: 120 }, appIds: [appId] });
      const env = processEnv(bench, server.origin);
      let running = startProcess(env);
      /** Kills the process amid one of its next stores; whether that one comes through is drawn. */
      const killSoon = () => {
        const at = 1 + random.below(killEvery);
        let seen = 0;
        const died = Promise.withResolvers<void>();
        bench.sqsFaults.inject("SendMessage", { kind: random.chance(0.5) ? "cut" : "mute" }, () => {
          if (++seen !== at) return false;
          running.kill("SIGKILL");
          died.resolve();
          return true;
        });
        return died.promise;
      };
      const pushed = async (id: string) => {
        const text = eventText({ id });
        for (;;) {
          await until("a client is connected", () => server.connections(appId).length > 0);
          const { delivered } = await server.deliver(text, { appId, parts: 1 + random.below(3) });
          if (delivered) return;
        }
      };
      try {
        await byTheHundred(given, async (from, count) => {
          const ids = Array.from({ length: count }, (_, index) => `l1-${from + index}`);
          for (let at = 0; at < count; at += killEvery) {
            await running.connected();
            const killed = killSoon();
            const pushes = ids.slice(at, at + killEvery).map(pushed);
            await killed;
            assert.equal(await running.ended, "SIGKILL");
            running = startProcess(env);
            await Promise.all(pushes);
            bench.sqsFaults.reset();
          }
          await settleAll(bench, { "test.event": () => {} });
          assertOnceEach(bench, ids);
          assert.deepEqual(await bench.counts(), { queued: 0, dead: 0, quarantined: 0 });
        });
        // One that ends by itself keeps what Node has compiled for the next run.
        running.kill("SIGTERM");
        assert.equal(await running.ended, 0);
      } finally {
        running.kill("SIGKILL");
        await running.ended;
        await server.close();
      }
    },
  }),

  row({
    id: "L11",
    title: "an event that comes over HTTP and to two clients of the long connection completes once",
    memory: true,
    full: 2_000,
    sample: 10,
    async check(given) {
      const { bench, random } = given;
      const server = await startPlatformEnd({ appIds: [appId] });
      const stored = receiverQueues(bench.client, bench.urls);
      const closers: (() => unknown)[] = [() => server.close()];
      try {
        for (const _ of [1, 2]) {
          const t = { after: (fn: () => unknown) => void closers.push(fn) };
          await startClient(t, { origin: server.origin, appId, ports: stored }).connected();
        }
        const keys = ring({ appId });
        const overHttp = async (text: string) => {
          const nowMs = systemClock.nowMs();
          const answer = await answerGateway(httpApi(signed(text, { nowMs })), {
            ...{ clock: systemClock, keys: () => keys },
            receive: (envelope, context) => receive(envelope, stored, context),
          });
          assert.equal(answer.statusCode, 200);
        };
        const overFrames = async (text: string) =>
          assert.equal((await server.deliver(text, { appId, parts: 1 + random.below(3) })).status, 200);
        await byTheHundred(given, async (from, count) => {
          const ids = Array.from({ length: count }, (_, index) => `l11-${from + index}`);
          const texts = ids.map((id) => v2Text({ header: { event_id: id, event_type: "test.event", app_id: appId } }));
          for (const text of texts) await Promise.all([overFrames(text), overHttp(text), overFrames(text)]);
          assert.equal((await bench.counts()).queued, 3 * count);
          await settleAll(bench, { "test.event": () => {} });
          assertOnceEach(bench, ids);
        });
      } finally {
        for (const close of closers.reverse()) await close();
      }
    },
  }),

  lineRow({
    id: "L6",
    title: "parts of messages that never become whole take at most 50 MB",
    full: 100_000,
    sample: 600,
    async check({ random, n, progress }) {
      const collectGarbage = garbageCollector();
      /** What is in use, on the heap and beside it; the process's own size would count what was let go as well. */
      const usedBytes = () => {
        // The first lets go of the buffers' owners, the second of the buffers.
        for (let turn = 0; turn < 2; turn++) collectGarbage();
        const { heapUsed, external } = process.memoryUsage();
        return heapUsed + external;
      };
      // A sample shows only how many messages wait.
      const isMeasured = n >= 1_000;
      const before = isMeasured ? usedBytes() : 0;
      let most = 0;
      const joiner = partJoiner();
      const startMs = 1_760_000_000_000;
      for (let index = 0; index < n; index++) {
        const sum = random.chance(0.5) ? 2 + random.below(1_023) : 2 ** (1 + random.below(31));
        const ids = [`one of ${random.below(1_000)}`, `${index}${"x".repeat(random.below(100_000))}`];
        const bytes = encodeFrame({
          ...{ seqId: 1n, logId: 1n, service: 1, method: dataMethod },
          headers: Object.entries({
            ...{ type: "event", message_id: random.chance(0.9) ? ids[0] : ids[1] },
            ...{ sum: String(sum), seq: String(random.below(sum)) },
          } as Record<string, string>),
          payload: Buffer.alloc(random.pick([0, 1, 100, 4_000])),
        });
        // As it comes off a socket: a view of a larger read.
        const read = Buffer.alloc(isMeasured ? 128 * 1_024 : 100 + bytes.length);
        read.set(bytes, 100);
        const frame = decodeFrame(read.subarray(100, 100 + bytes.length));
        assert.ok(frame !== undefined);
        joiner.add(frame, startMs + Math.floor(index / 10_000));
        assert.ok(joiner.pending <= 256);
        if (index % 1_000 === 999) {
          most = Math.max(most, usedBytes() - before);
          progress(index + 1);
        }
      }
      assert.ok(most <= 50 * 1_048_576, `it grew by ${Math.round(most / 1_048_576)} MB`);
    },
  }),

  lineRow({
    id: "L7",
    title: "whatever frames come, the connection stands and the events between them are stored",
    full: 100_000,
    sample: 200,
    async check({ t, random, n, progress }) {
      const server = await startPlatformEnd({ config: { PingInterval: 3_600 }, appIds: [appId] });
      t.after(() => server.close());
      const { ports, queued, quarantined } = collectingPorts();
      const client = startClient(t, { origin: server.origin, appId, ports });
      await client.connected();
      const connection = await until("the platform sees it", () => server.connections()[0]);
      for (let index = 0; index < n; index++) {
        connection.sendRaw(fuzzed(random));
        if (index % 100 !== 99) continue;
        const id = `good-${index}`;
        assert.equal((await server.deliver(eventText({ id }), { appId })).status, 200);
        assert.ok(queued.some((envelope) => envelope.id === id));
        queued.length = 0;
        quarantined.length = 0;
        progress(index + 1);
      }
      assert.equal(client.isConnected, true);
      assert.equal(server.discoveries, 1);
    },
  }),

  lineRow({
    id: "L9",
    title: "restarts of one replica after the other lose no event",
    full: 200,
    sample: 3,
    async check({ t, random, n, progress }) {
      const server = await startPlatformEnd({ appIds: [appId] });
      t.after(() => server.close());
      const store = collectingPorts();
      store.first(() => sleep(random.below(20)));
      const start = async () => {
        const client = startClient(t, { origin: server.origin, appId, ports: store.ports });
        await client.connected();
        return client;
      };
      const replicas = [await start(), await start()];
      let isOver = false;
      let sent = 0;
      let acknowledged = 0;
      const lanes = Array.from({ length: 8 }, async () => {
        while (!isOver) {
          const text = eventText({ id: `l9-${sent++}` });
          while (!(await server.deliver(text, { appId })).delivered);
          acknowledged++;
        }
      });
      for (let restart = 0; restart < n; restart++) {
        const target = acknowledged + 20;
        await until("the load goes on", () => acknowledged >= target);
        const old = replicas[restart % 2];
        await old?.stop();
        await old?.done;
        replicas[restart % 2] = await start();
        progress(restart + 1);
      }
      isOver = true;
      await Promise.all(lanes);
      const stored = new Set(store.queued.map(({ id }) => id));
      assert.equal(acknowledged, sent);
      assert.deepEqual(
        Array.from({ length: sent }, (_, index) => `l9-${index}`).filter((id) => !stored.has(id)),
        [],
      );
      // One that was stored, and whose reply a restart cut off, would come twice: none was.
      assert.equal(store.queued.length, sent);
    },
  }),

  lineRow({
    id: "L10",
    title: "five replicas whose connections are dropped again and again dial ten times a minute each at most",
    full: 100,
    sample: 11,
    async check({ t, random, n, progress }) {
      const clock = testClock();
      const appIds = [1, 2, 3, 4, 5].map((replica) => appIdOf(`replica ${replica}`));
      const server = await startPlatformEnd({ clock, appIds, config: { ReconnectNonce: 1, PingInterval: 3_600 } });
      t.after(() => server.close());
      const waits = new Map<string, number>();
      const stop = subscribe("waits", ({ stage, app, facts }) => {
        if (stage === "disconnected") waits.set(app ?? "", Number(facts?.["waitMs"]));
      });
      t.after(stop);
      const replicas = appIds.map((id) => {
        const dialledAtMs: number[] = [];
        const client = startClient(t, {
          ...{ origin: server.origin, appId: id, ports: collectingPorts().ports, clock, random: random.next },
          onConnected: (now) => void (now && dialledAtMs.push(clock.nowMs())),
        });
        return { id, client, dialledAtMs };
      });
      await Promise.all(replicas.map(({ client }) => client.connected()));
      for (let drop = 1; drop <= n; drop++) {
        await clock.advance(random.below(2) * random.below(9_000));
        await until("the platform sees all", () => server.connections().length === replicas.length);
        waits.clear();
        for (const connection of server.connections()) connection.drop();
        await until("all know", () => waits.size === replicas.length);
        const droppedAtMs = clock.nowMs();
        const due = replicas
          .map(({ id, client }) => ({ client, atMs: droppedAtMs + (waits.get(id) ?? 0) }))
          .sort((a, b) => a.atMs - b.atMs);
        for (const { client, atMs } of due) {
          await clock.advance(Math.max(0, atMs - clock.nowMs()));
          await client.connected();
        }
        progress(drop);
      }
      for (const { dialledAtMs } of replicas) {
        assert.equal(dialledAtMs.length, n + 1);
        for (const [index, atMs] of dialledAtMs.entries()) {
          const within = dialledAtMs.slice(index).filter((later) => later < atMs + 60_000).length;
          assert.ok(within <= 10, `${within} attempts within a minute`);
        }
      }
    },
  }),

  lineRow({
    id: "L12",
    title: "however quickly it is started and stopped, there is never more than one socket",
    full: 1_000,
    sample: 20,
    async check({ t, random, n, progress }) {
      const server = await startPlatformEnd({ appIds: [appId] });
      t.after(() => server.close());
      const store = collectingPorts();
      let live = 0;
      const start = () =>
        startClient(t, {
          ...{ origin: server.origin, appId, ports: store.ports },
          onConnected(now) {
            live += now ? 1 : -1;
            assert.ok(live === 0 || live === 1, `${live} sockets`);
          },
        });
      for (let cycle = 0; cycle < n; cycle++) {
        const client = start();
        if (random.chance(0.3)) await until("it stands", () => live === 1);
        else for (let turn = random.below(12); turn > 0; turn--) await new Promise(setImmediate);
        if (random.chance(0.3)) server.connections()[0]?.drop(random.chance(0.5) ? 1001 : undefined);
        await client.stop();
        if (cycle % 100 === 99) progress(cycle + 1);
      }
      const client = start();
      await until("it stands", () => live === 1);
      await until("and nothing else does", () => server.connections().length === 1);
      await client.stop();
      assert.equal(live, 0);
      await until("nothing is left", () => server.connections().length === 0);
    },
  }),
];

const eventsPerSecond = 50;

/** Takes as long as it says: only `npm run soak` runs it. */
export const longConnectionSoakRows: readonly Row[] = [
  row({
    id: "G21L",
    title: `at ${eventsPerSecond} events a second and a drop each minute, nothing is lost and memory stays (seconds)`,
    full: 1_800,
    sample: 30,
    async check({ bench, random, n, progress }) {
      const config = { PingInterval: 5, ReconnectNonce: 1, ReconnectInterval: 6 };
      const server = await startPlatformEnd({ config, appIds: [appId] });
      const running = startProcess(processEnv(bench, server.origin));
      const inHand = new Set<Promise<void>>();
      const stored = new Map<string, number>();
      const sizes: { second: number; kb: number }[] = [];
      let sent = 0;
      const push = async (id: string) => {
        const text = eventText({ id, event: { text: "x".repeat(random.below(2_000)) } });
        while (!(await server.deliver(text, { appId, parts: random.pick([1, 1, 1, 3]) })).delivered) await sleep(500);
      };
      const drain = async () => {
        for (const id of await taken(bench)) stored.set(id, (stored.get(id) ?? 0) + 1);
      };
      try {
        await running.connected();
        const startMs = systemClock.nowMs();
        for (let second = 0; second < n; second++) {
          if (second % 60 === 30) for (const connection of server.connections()) connection.drop();
          for (let tenth = 0; tenth < 10; tenth++) {
            for (let event = 0; event < eventsPerSecond / 10; event++) {
              const pushing = push(`g21l-${sent++}`).finally(() => inHand.delete(pushing));
              inHand.add(pushing);
            }
            await sleep(Math.max(0, startMs + second * 1_000 + (tenth + 1) * 100 - systemClock.nowMs()));
          }
          if (second % 5 === 4) {
            const kb = Number(execFileSync("ps", ["-o", "rss=", "-p", String(running.pid)], { encoding: "utf8" }));
            sizes.push({ second, kb });
            await drain();
            bench.trace.entries.length = 0;
          }
          progress(second + 1);
        }
        await until("the last are acknowledged", () => inHand.size === 0);
        await drain();
        const lost = Array.from({ length: sent }, (_, index) => `g21l-${index}`).filter((id) => !stored.has(id));
        assert.deepEqual(lost, []);
        const typical = (from: number, to: number) => {
          const found = sizes.filter(({ second }) => second >= from && second < to).map(({ kb }) => kb);
          return found.sort((a, b) => a - b)[Math.floor(found.length / 2)] ?? 0;
        };
        if (n >= 900) {
          const growth = typical(n - 300, n) / typical(300, 600) - 1;
          process.stdout.write(`${sent} events; RSS ${typical(300, 600)} kB, at last ${typical(n - 300, n)} kB\n`);
          assert.ok(growth <= 0.05, `it grew by ${(growth * 100).toFixed(1)} %`);
        }
        running.kill("SIGTERM");
        assert.equal(await running.ended, 0);
      } finally {
        running.kill("SIGKILL");
        await running.ended;
        await server.close();
      }
    },
  }),
];
