import assert from "node:assert/strict";
import { createServer } from "node:net";
import { after, before, describe, test } from "node:test";
import { queueUrl } from "../../lib/local/sqs.ts";
import { serveHealth } from "../../lib/long-connection/health.ts";
import { listenOnLoopback } from "../../lib/simulator/loopback.ts";
import { type Faults, firstTry, startFaults } from "../support/faults.ts";
import { appSecret, collectingPorts, startClient, startPlatformEnd } from "../support/long-connection.ts";
import { startProcess } from "../support/long-connection-process.ts";
import { appId, v2Text } from "../support/push.ts";
import { type Services, startServices } from "../support/services.ts";
import { until } from "../support/until.ts";

// Real processes, and real time: they wait more than they work, so they run side by side.

async function freePort(): Promise<number> {
  const server = createServer();
  const port = await listenOnLoopback(server);
  await new Promise((resolve) => server.close(resolve));
  return port;
}

describe("the process of the long connection", { concurrency: true }, () => {
  let services: Services;
  let faults: Faults;
  let env: Record<string, string>;
  before(async () => {
    services = await startServices();
    faults = await startFaults(services.endpoints.sqs);
    env = {
      ...services.env,
      EVENTS_QUEUE_URL: queueUrl(faults.endpoint, "events"),
      QUARANTINE_QUEUE_URL: queueUrl(faults.endpoint, "quarantine"),
      ...{ APP_ID: appId, APP_SECRET: appSecret },
    };
  });
  after(async () => {
    await faults.stop();
    await services.stop();
  });

  test("says on its machine whether it is connected, tells no secret, and stopped amid a store finishes it", async (t) => {
    const server = await startPlatformEnd({ config: { PingInterval: 1, ReconnectNonce: 1 } });
    t.after(() => server.close());
    const port = await freePort();
    const running = startProcess({
      ...{ ...env, LARK_DOMAIN: server.origin, HEALTH_PORT: String(port), LOG_LEVEL: "debug" },
    });
    t.after(() => running.kill("SIGKILL"));
    const health = () =>
      fetch(`http://127.0.0.1:${port}/`).then(
        ({ status }) => status,
        () => undefined,
      );
    await running.connected();
    assert.equal(await health(), 200);
    const answered = await server.deliver(
      v2Text({ header: { event_type: "url.preview.get" }, event: { context: { url: "https://example.com" } } }),
      { appId },
    );
    assert.equal(answered.status, 200);
    server.connections()[0]?.drop();
    await until("it says that it is not connected", async () => (await health()) === 503);
    await until("it is connected again", async () => (await health()) === 200, { everyMs: 50 });

    // The first try of the store is never answered; amid it the signal comes, and the second try does.
    faults.inject("SendMessage", { kind: "stall" }, firstTry);
    const unwatch = faults.watch(({ attempt }) => void (attempt === 1 && running.kill("SIGTERM")));
    const delivery = await server.deliver(v2Text({ header: { event_id: "amid" } }), { appId });
    unwatch();
    assert.equal(delivery.status, 200);
    assert.equal(await running.ended, 0);
    assert.equal(await services.count(services.urls.eventsQueueUrl), 1);
    assert.deepEqual(
      running.lines.filter(({ level }) => level === "error"),
      [],
    );
    for (const mark of [appSecret, "ticket", "ws://", "hello"]) assert.ok(!running.text().includes(mark), mark);
  });

  test("cannot say how it is on a port that is taken, and says so in a clear line", async (t) => {
    const server = createServer();
    const port = await listenOnLoopback(server);
    t.after(() => server.close());
    await assert.rejects(
      serveHealth(port, () => true),
      {
        ...{ name: "ConfigError", message: `Cannot start: HEALTH_PORT ${port} cannot be listened on (EADDRINUSE)` },
      },
    );
  });

  test("L3: a connection that has gone silent is replaced within the ping interval and 10 s of real time", async (t) => {
    const server = await startPlatformEnd({ config: { PingInterval: 1 } });
    t.after(() => server.close());
    const client = startClient(t, { origin: server.origin, ports: collectingPorts().ports, random: () => 0.5 });
    await client.connected();
    const connection = await until("the platform sees it", () => server.connections()[0]);
    await until("two pings", () => connection.received.length >= 2);
    const startMs = performance.now();
    connection.blackhole();
    await until("another one stands", () => server.connections().length === 2 && client.isConnected);
    const tookMs = performance.now() - startMs;
    assert.ok(tookMs <= 11_000, `it took ${Math.round(tookMs)} ms`);
    connection.drop();
  });
});
