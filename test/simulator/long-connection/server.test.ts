// in turn: they share the official SDK.
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect } from "node:net";
import { describe, type TestContext, test } from "node:test";
import * as lark from "@larksuiteoapi/node-sdk";
import { WebSocket } from "ws";
import { decodeFrame, encodeFrame, type Frame, headerOf, pingFrame } from "../../../lib/feishu/frame.ts";
import { startLongConnectionServer, toLongConnection } from "../../../lib/simulator/long-connection/server.ts";
import { startPlatform, toMessage } from "../../../lib/simulator/platform/platform.ts";
import { settled, testClock } from "../../support/clock.ts";
import {
  appIdOf,
  appSecret,
  collectingPorts,
  startClient,
  startLine,
  startPlatformEnd,
} from "../../support/long-connection.ts";
import { selfBuilt, startOpenApi } from "../../support/open-api.ts";
import { appId, v2Text } from "../../support/push.ts";
import { seeded } from "../../support/random.ts";
import { recordTrace } from "../../support/trace.ts";
import { until } from "../../support/until.ts";

recordTrace();

async function discover(origin: string, body: unknown, path = "/callback/ws/endpoint") {
  const text = typeof body === "string" ? body : JSON.stringify(body);
  const response = await fetch(origin + path, { method: "POST", body: text });
  const answer = (await response.json()) as { code: number; data?: { URL?: string; ClientConfig?: object } | null };
  return { status: response.status, ...answer };
}
const credentials = { AppID: appId, AppSecret: appSecret };

test("one domain serves both, as the platform's: the Open API, with bodies of any size and files, and discovery", async (t) => {
  const { simulator } = await startOpenApi(t);
  const clock = testClock();
  const { appId: id, appSecret: secret } = selfBuilt;
  const apps = [{ appId: id, appSecret: secret }];
  const both = await startLongConnectionServer({ apps, openApi: simulator.handle, clock, random: () => 0 });
  t.after(both.close);
  const post = async (path: string, body: unknown, token = "") => {
    const headers = { authorization: `Bearer ${token}`, "content-type": "application/json" };
    const response = await fetch(both.origin + path, { method: "POST", headers, body: JSON.stringify(body) });
    return { response, body: (await response.json()) as Record<string, unknown> };
  };
  const { appId: app_id, appSecret: app_secret } = selfBuilt;
  const answer = await post("/open-apis/auth/v3/tenant_access_token/internal", { app_id, app_secret });
  assert.equal(answer.body["code"], 0);
  assert.match(answer.response.headers.get("x-tt-logid") ?? "", /./);
  const message = { receive_id: "ou_0123456789abcdef0123456789abcdef", msg_type: "text", content: '{"text":"hi"}' };
  const path = "/open-apis/im/v1/messages?receive_id_type=open_id";
  const token = String(answer.body["tenant_access_token"]);
  assert.equal((await post(path, message, token)).body["code"], 0);
  assert.equal(simulator.messages().length, 1);
  assert.equal((await post(path, message)).body["code"], 99991661);
  const { data } = await discover(both.origin, { AppID: id, AppSecret: secret });
  assert.deepEqual(data?.ClientConfig, {
    ...{ ReconnectCount: -1, ReconnectInterval: 120, ReconnectNonce: 30, PingInterval: 120 },
  });

  // Over 256 KiB, over the limit of a text, and over that of a body.
  for (const [length, status, code] of [
    [300 * 1024, 400, 230025],
    [1024 * 1024, 413, 9499],
  ] as const) {
    const content = JSON.stringify({ text: "x".repeat(length) });
    const refused = await post(path, { ...message, content }, token);
    assert.deepEqual([refused.response.status, refused.body["code"]], [status, code]);
  }

  const png = new Uint8Array(Buffer.from("\x89PNG\r\n\x1a\n", "latin1"));
  const image = (length: number) => {
    const content = new Uint8Array(length);
    content.set(png);
    return content;
  };
  const bytesOf = (length: number) =>
    new Uint8Array(Buffer.concat([png, Buffer.alloc(length, "\0\r\n--\xff", "latin1")]));
  for (const [kind, fields] of [
    ["image", { image_type: "message" }],
    ["file", { file_type: "stream", file_name: "pallet.bin" }],
  ] as const) {
    const upload = async (content: Uint8Array<ArrayBuffer> | string, texts: object = fields) => {
      const form = new FormData();
      for (const [name, value] of Object.entries(texts)) form.set(name, String(value));
      form.set(kind, typeof content === "string" ? content : new Blob([content]));
      const headers = { authorization: `Bearer ${token}` };
      const response = await fetch(`${both.origin}/open-apis/im/v1/${kind}s`, { method: "POST", headers, body: form });
      return (await response.json()) as { code: number; data: Record<string, string> };
    };
    // A file may be longer than any text.
    const bytes = bytesOf(1024 * 1024);
    const key = (await upload(bytes)).data[`${kind}_key`];
    const get = (name = key, as = token) =>
      fetch(`${both.origin}/open-apis/im/v1/${kind}s/${name}`, { headers: { authorization: `Bearer ${as}` } });
    assert.deepEqual(new Uint8Array(await (await get()).arrayBuffer()), bytes);
    assert.equal(((await (await get("another")).json()) as { code: number }).code, 234005);
    assert.equal((await get(key, "")).status, 400);
    assert.equal((await upload(new Uint8Array())).code, 234010);
    assert.equal((await upload("a text")).code, 234001);
    assert.equal((await upload(png, {})).code, 234001);
    assert.equal((await upload(png, { ...fields, [`${kind}_type`]: "gif" })).code, 234001);
    assert.equal((await upload(png.toReversed())).code, kind === "image" ? 234011 : 0);
    const limit = (kind === "image" ? 10 : 30) * 1024 * 1024;
    const url = `/open-apis/im/v1/${kind}s`;
    const authorization = `Bearer ${token}`;
    for (const [length, code] of [
      [limit, 0],
      [limit + 1, 234006],
    ] as const) {
      const form = { ...fields, [kind]: image(length) };
      const kept = await simulator.handle({ method: "POST", url, authorization, body: "", form });
      assert.equal(JSON.parse(kept?.body ?? "").code, code);
    }
  }
  const headers = { authorization: `Bearer ${token}`, "content-type": "multipart/form-data; boundary=x" };
  const noForm = await fetch(`${both.origin}/open-apis/im/v1/images`, { method: "POST", headers, body: "no form" });
  assert.equal(((await noForm.json()) as { code: number }).code, 234001);

  const alone = await startLongConnectionServer({ apps: [], clock, random: () => 0 });
  t.after(alone.close);
  assert.equal((await fetch(`${alone.origin}/open-apis/x`)).status, 404);
});

/** Dials an address; resolves with the socket, or with the headers that refused it. */
async function dial(t: TestContext, url: string) {
  const { promise, resolve, reject } = Promise.withResolvers<WebSocket | Record<string, unknown>>();
  const socket = new WebSocket(url);
  t.after(() => socket.terminate());
  socket.on("open", () => resolve(socket));
  socket.on("unexpected-response", (_request, response) => resolve(response.headers));
  socket.on("error", reject);
  return promise;
}

describe("the official client", () => {
  const silent = { error() {}, warn() {}, info() {}, debug() {}, trace() {} };
  const config = { PingInterval: 1, ReconnectCount: -1, ReconnectInterval: 1, ReconnectNonce: 0 };

  /** The official client is the judge of the simulator: what it understands is the platform's protocol. */
  async function startOfficial(t: TestContext, dispatcher: lark.EventDispatcher) {
    const server = await startPlatformEnd({ config });
    t.after(() => server.close());
    const ready = Promise.withResolvers<void>();
    const client = new lark.WSClient({
      ...{ appId, appSecret, domain: server.origin, logger: silent, loggerLevel: lark.LoggerLevel.error },
      onReady: () => ready.resolve(),
      onError: ready.reject,
    });
    t.after(() => client.close({ force: true }));
    await client.start({ eventDispatcher: dispatcher });
    await ready.promise;
    return server;
  }

  test("connects, pings, receives an event in parts, and answers a callback", async (t) => {
    const seen: unknown[] = [];
    const dispatcher = new lark.EventDispatcher({ logger: silent }).register({
      "im.message.receive_v1": async (event: unknown) => void seen.push(event),
      "card.action.trigger": async () => ({ toast: { type: "info", content: "\u4f60\u597d" } }),
    } as Parameters<lark.EventDispatcher["register"]>[0]);
    const server = await startOfficial(t, dispatcher);
    const connection = await until("it is connected", () => server.connections()[0]);
    const text = v2Text({ event: { text: "\u4f60\u597d \u{1f44b}" } });
    for (const parts of [1, 5]) {
      const { status, delivered, body } = await server.deliver(text, { appId, parts });
      assert.deepEqual([status, delivered, body], [200, true, ""]);
    }
    assert.deepEqual(
      seen.map((event) => (event as { text: string }).text),
      ["\u4f60\u597d \u{1f44b}", "\u4f60\u597d \u{1f44b}"],
    );
    const action = v2Text({ header: { event_type: "card.action.trigger" }, event: { action: {} } });
    const answered = await server.deliver(action, { appId });
    assert.deepEqual(JSON.parse(answered.body), { toast: { type: "info", content: "\u4f60\u597d" } });
    // What it writes is read to the letter, and its ping is ours.
    const [ping] = connection.received;
    assert.deepEqual(ping, pingFrame(33_554_678));
    const reply = connection.received.at(-1);
    assert.deepEqual(
      reply?.headers.map(([name]) => name),
      ["type", "message_id", "sum", "seq", "trace_id", "timestamp", "instance_id", "biz_rt"],
    );
    assert.equal(reply?.logIdNew, headerOf(reply as NonNullable<typeof reply>, "trace_id"));
    const pings = connection.received.length;
    await until("it pings again, at the interval it was told", () => connection.received.length > pings);
  });

  test("says 500 for a handler that throws, and connects anew after a drop", async (t) => {
    const dispatcher = new lark.EventDispatcher({ logger: silent }).register({
      "im.message.receive_v1": () => Promise.reject(new Error("a handler's fault")),
    });
    const server = await startOfficial(t, dispatcher);
    await until("it is connected", () => server.connections()[0]);
    const { status, delivered } = await server.deliver(v2Text(), { appId });
    assert.deepEqual([status, delivered], [500, false]);
    const before = server.connections()[0];
    before?.drop();
    await until(
      "another one stands",
      () => server.connections()[0] !== undefined && server.connections()[0] !== before,
    );
    assert.equal(server.discoveries, 2);
  });
});

describe("discovery", () => {
  test("answers as the platform does to whoever asks wrongly", async (t) => {
    const apps = [
      { appId, appSecret },
      { appId: appIdOf("forbidden"), appSecret, isForbidden: true },
    ];
    const server = await startLongConnectionServer({ apps, clock: testClock(), random: Math.random });
    t.after(() => server.close());
    const ask = async (body: unknown, path?: string) => {
      const { status, code } = await discover(server.origin, body, path);
      return [status, code];
    };
    assert.deepEqual(await ask(credentials), [200, 0]);
    assert.deepEqual(await ask({ ...credentials, AppSecret: "wrong" }), [200, 514]);
    assert.deepEqual(await ask({ ...credentials, AppID: "__proto__" }), [200, 514]);
    assert.deepEqual(await ask({ ...credentials, AppID: appIdOf("forbidden") }), [200, 403]);
    assert.deepEqual(await ask({ AppID: "", AppSecret: "" }), [200, 1_000_040_344]);
    for (const body of [{}, "[]", "x", "", { app_id: appId, app_secret: appSecret }]) {
      assert.deepEqual(await ask(body), [400, 9_499]);
    }
    assert.deepEqual(await ask(credentials, "/callback/ws"), [404, 404]);
    assert.deepEqual(await ask(JSON.stringify(credentials).padEnd(1_048_576)), [200, 0]);
    assert.deepEqual(await ask(JSON.stringify(credentials).padEnd(1_048_577)), [400, 9_499]);
    server.answerNext({ status: 503, body: '{"code":1}' });
    assert.deepEqual(await ask(credentials), [503, 1]);
    assert.deepEqual(await ask(credentials), [200, 0]);
  });

  test("gives an address that is good for one connection", async (t) => {
    const server = await startPlatformEnd();
    t.after(() => server.close());
    const { data } = await discover(server.origin, credentials);
    const url = data?.URL ?? "";
    assert.match(url, /^ws:\/\/127\.0\.0\.1:\d+\/ws\/v2\?device_id=\d+&service_id=33554678&ticket=[0-9a-f]{32}$/);
    for (const wrong of [url.replace(/.$/, "x"), url.replace("/ws/v2", "/ws")]) {
      const refused = (await dial(t, wrong)) as Record<string, unknown>;
      assert.equal(refused["handshake-status"], "514");
    }
    const fresh = (await discover(server.origin, credentials)).data?.URL ?? "";
    assert.ok((await dial(t, fresh)) instanceof WebSocket);
    assert.equal(((await dial(t, fresh)) as Record<string, unknown>)["handshake-status"], "514");
    assert.equal(server.connections().length, 1);
  });

  test("refuses the 51st connection of an app, here and at the upgrade, until one of them ends", async (t) => {
    const server = await startPlatformEnd({ appIds: [appId, appIdOf("another")] });
    t.after(() => server.close());
    const addresses: string[] = [];
    for (let index = 0; index <= 50; index++) {
      addresses.push((await discover(server.origin, credentials)).data?.URL ?? "");
    }
    const [spare = "", ...rest] = addresses;
    const sockets = await Promise.all(rest.map((url) => dial(t, url)));
    assert.equal(server.connections(appId).length, 50);
    assert.equal((await discover(server.origin, credentials)).code, 1_000_040_350);
    assert.equal(((await dial(t, spare)) as Record<string, unknown>)["handshake-autherrcode"], "1000040350");
    assert.equal((await discover(server.origin, { ...credentials, AppID: appIdOf("another") })).code, 0);
    (sockets[0] as WebSocket).terminate();
    await until("one is gone", () => server.connections(appId).length === 49);
    assert.equal((await discover(server.origin, credentials)).code, 0);
  });

  test("and the upgrade outlive whatever is sent to them", async (t) => {
    const server = await startPlatformEnd();
    t.after(() => server.close());
    const { port } = new URL(server.origin);
    const upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n";
    for (const request of [
      `GET // HTTP/1.1\r\nHost: x\r\n${upgrade}\r\n`,
      "GET /%zz?%zz HTTP/1.1\r\n\r\n",
      "\0\0\r\n\r\n",
    ]) {
      const socket = connect(Number(port), "127.0.0.1");
      socket.on("error", () => {});
      socket.end(request);
      await new Promise((resolve) => socket.resume().once("close", resolve));
    }
    for (let hangUp = 0; hangUp < 5; hangUp++) {
      const socket = connect(Number(port), "127.0.0.1");
      socket.on("error", () => {});
      await once(socket, "connect");
      socket.write(`GET /ws/v2 HTTP/1.1\r\nHost: x\r\n${upgrade}\r\n`, () => socket.resetAndDestroy());
      await once(socket, "close");
    }
    assert.equal((await discover(server.origin, credentials)).code, 0);
  });
});

describe("a message of the simulator", () => {
  test("goes to one of an app's clients, at random, and to no other app's", async (t) => {
    const random = seeded(5);
    const apps = [appId, appIdOf("another")].map((id) => ({ appId: id, appSecret }));
    const server = await startLongConnectionServer({ apps, clock: testClock(), random: random.next });
    t.after(() => server.close());
    const stores = [collectingPorts(), collectingPorts(), collectingPorts()];
    for (const [index, { ports }] of stores.entries()) {
      const id = index === 2 ? appIdOf("another") : appId;
      await startClient(t, { origin: server.origin, ports, appId: id }).connected();
    }
    for (let event = 0; event < 40; event++) assert.ok((await server.deliver(v2Text(), { appId })).delivered);
    const [first = 0, second = 0, other] = stores.map(({ queued }) => queued.length);
    assert.equal(first + second, 40);
    assert.ok(first > 5 && second > 5, `${first} and ${second}`);
    assert.equal(other, 0);
  });

  test("has failed when no client is there, none replies within 3 s, or the connection ends before", async (t) => {
    const clock = testClock();
    const server = await startPlatformEnd({ clock });
    t.after(() => server.close());
    const { ms: _, ...alone } = await server.deliver(v2Text(), { appId });
    assert.deepEqual(alone, {
      ...{ status: null, body: "", delivered: false },
      ...{ problem: "no client is connected", code: "ENOTCONN" },
    });
    const line = await startLine(t, { clock });
    line.connection.blackhole();
    const late = line.deliver(v2Text());
    await clock.advance(2_999);
    let isOver = false;
    void late.then(() => {
      isOver = true;
    });
    await settled();
    assert.equal(isOver, false);
    await clock.advance(1);
    const { problem, code, ms } = await late;
    assert.deepEqual([problem, code, ms], ["no reply within 3 s", "ETIMEDOUT", 3_000]);
    const cut = line.deliver(v2Text());
    line.connection.drop();
    assert.equal((await cut).code, "ECONNRESET");
  });

  test("is judged by the reply's code alone: what holds none, or another's id, does not acknowledge", async (t) => {
    const clock = testClock();
    const server = await startPlatformEnd({ clock });
    t.after(() => server.close());
    const socket = (await dial(t, (await discover(server.origin, credentials)).data?.URL ?? "")) as WebSocket;
    const connection = await until("the platform sees it", () => server.connections()[0]);
    const payloads = ['{"code":200}', '{"code":"200"}', "200", "", '{"code":500,"data":"e30="}', '{"data":5}'];
    const statuses: (number | null)[] = [];
    for (const payload of payloads) {
      const asked = new Promise<Buffer>((resolve) => socket.once("message", resolve));
      const delivery = server.deliver(v2Text(), { appId });
      const frame = decodeFrame(await asked);
      assert.ok(frame !== undefined);
      const stranger = frame.headers.map(([name, value]) => [name, name === "message_id" ? "x" : value] as const);
      socket.send(encodeFrame({ ...frame, headers: stranger, payload: Buffer.from('{"code":200}') }));
      socket.send("a text");
      socket.send(encodeFrame({ ...frame, payload: Buffer.from(payload) }));
      statuses.push((await delivery).status);
    }
    assert.deepEqual(statuses, [200, null, null, null, 500, null]);

    // A callback's reply may have no answer.
    const push = toLongConnection(server, { appId });
    const callback = toMessage(v2Text({ header: { event_type: "card.action.trigger" }, event: { token: "c" } }));
    const bodies: string[] = [];
    for (const payload of ['{"code":200}', '{"code":200,"data":"bnVsbA=="}', '{"code":500}']) {
      const asked = new Promise<Buffer>((resolve) => socket.once("message", resolve));
      const delivery = push(callback, { number: 1 });
      socket.send(encodeFrame({ ...(decodeFrame(await asked) as Frame), payload: Buffer.from(payload) }));
      bodies.push((await delivery).body);
    }
    assert.deepEqual(bodies, ["{}", "{}", ""]);
    // Of what a client sends, the last thousand frames are kept.
    for (let seq = 1n; seq <= 1_001n; seq++) socket.send(encodeFrame({ ...pingFrame(33_554_678), seqId: seq }));
    await until("the last frame is read", () => connection.received.at(-1)?.seqId === 1_001n);
    assert.equal(connection.received.length, 1_000);
  });

  test("that is an event is pushed again by the ladder, a callback is not", async (t) => {
    const clock = testClock();
    const line = await startLine(t, {
      clock,
      config: { PingInterval: 3_600 },
      callback: () => ({ status: 503, body: {} }),
    });
    let refusals = 2;
    line.first(async () => {
      if (refusals-- > 0) throw new Error("the queue refuses");
    });
    const platform = startPlatform({
      deliver: toLongConnection(line.server, { appId, parts: 3 }),
      ...{ clock, random: Math.random },
    });
    const pushed = platform.push(toMessage(v2Text()));
    const pushes = () => line.connection.received.filter(({ method }) => method === 1).length;
    for (const [count, waitMs] of [15_000, 300_000].entries()) {
      await until("it is refused", () => pushes() === count + 1);
      await settled();
      await clock.advance(waitMs);
    }
    const { outcome, attempts } = await pushed;
    assert.equal(outcome, "delivered");
    assert.deepEqual(
      attempts.map(({ result }) => result.status),
      [500, 500, 200],
    );
    const asked = await platform.push(
      toMessage(v2Text({ header: { event_type: "card.action.trigger" }, event: { token: "c" } })),
    );
    assert.deepEqual([asked.outcome, asked.attempts.length, asked.view?.isTaken], ["failed", 1, false]);
  });
});
