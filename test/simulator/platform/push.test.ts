import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { once } from "node:events";
import { createServer, type RequestListener } from "node:http";
import { connect, type Socket } from "node:net";
import { after, test } from "node:test";
import { Worker } from "node:worker_threads";
import { gzipSync } from "node:zlib";
import type { SealedRequest } from "../../../lib/feishu/envelope.ts";
import { appKeys, defaultApp } from "../../../lib/feishu/keys.ts";
import { listenOnLoopback } from "../../../lib/simulator/loopback.ts";
import {
  ackDeadlineMs,
  challengeDeadlineMs,
  connectDeadlineMs,
  type PushResult,
  push,
  sealEnvelope,
  spoilSignature,
} from "../../../lib/simulator/platform/push.ts";
import { checkAddress, toWebhook } from "../../../lib/simulator/platform/webhook.ts";
import { sampleText } from "../../../lib/simulator/samples/samples.ts";
import { endsAtOnce } from "../../support/clock.ts";

const nowMs = 1_760_000_000_000;
const appId = "cli_0123456789abcdef";
const ring = (encryptKeys: { value: string }[]) =>
  new Map([[defaultApp, appKeys({ appId, encryptKeys, verificationTokens: [{ value: "a token" }] })]]);
const text = sampleText("im.message.receive_v1", { nowMs, appId, newId: () => "0".repeat(32) });
const sealed = sealEnvelope(text, { keys: ring([{ value: "a key" }]), nowMs, requestId: "r-1" });

const stops: (() => void)[] = [];
after(() => {
  for (const stop of stops) stop();
});

const path = "/webhook?a=1";

async function listen(answer: RequestListener): Promise<string> {
  const server = createServer(answer);
  const port = await listenOnLoopback(server);
  stops.push(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${port}${path}`;
}

test("posts the sealed bytes with the platform's headers in the platform's spelling", async () => {
  let seen: { method?: string | undefined; url?: string | undefined; names: string[]; body: Buffer } | undefined;
  const url = await listen(async (request, response) => {
    const chunks: Buffer[] = await request.toArray();
    const names = request.rawHeaders.filter((_, index) => index % 2 === 0);
    seen = { method: request.method, url: request.url, names, body: Buffer.concat(chunks) };
    assert.equal(request.headers["content-type"], "application/json;charset=utf-8");
    assert.match(request.headers["user-agent"] ?? "", /./);
    response.end("{}");
  });
  const { ms, ...result } = await push(url, sealed);
  assert.deepEqual(result, { status: 200, body: "{}", delivered: true });
  assert.ok(ms >= 0);
  assert.equal(seen?.method, "POST");
  assert.equal(seen?.url, "/webhook?a=1");
  assert.deepEqual(seen?.body, sealed.rawBody);
  for (const name of ["X-Lark-Request-Timestamp", "X-Lark-Request-Nonce", "X-Lark-Signature", "X-Tt-Logid"]) {
    assert.ok(seen?.names.includes(name), name);
  }
});

for (const status of [201, 204, 299, 300, 301, 302, 307, 399, 400, 401, 404, 413, 429, 500, 503]) {
  test(`an answer with ${status} is not delivered`, async () => {
    let requests = 0;
    const url = await listen((_, response) => {
      requests++;
      response.writeHead(status, status < 400 && status >= 300 ? { location: "/elsewhere" } : {}).end();
    });
    const { ms: _, problem, ...result } = await push(url, sealed);
    assert.deepEqual(result, { status, body: "", delivered: false });
    const why = ["only exactly 200 acknowledges", "the platform does not follow redirects"][
      Math.floor(status / 100) - 2
    ];
    assert.equal(problem, `answered ${status}${why === undefined ? "" : `: ${why}`}`);
    assert.equal(requests, 1, "a redirect is not followed");
  });
}

const late: readonly { when: string; answer: RequestListener; reached: string; status: number | null }[] = [
  { when: "nothing is answered", answer: () => {}, reached: "http.server.request.start", status: null },
  {
    when: "the head comes but the body does not end",
    answer: (_, response) => response.write("{"),
    reached: "http.client.response.finish",
    status: 200,
  },
];
for (const { when, answer, reached, status } of late) {
  test(`is not delivered when ${when} before the deadline`, async (t) => {
    const url = await listen(answer);
    // Only timers of our own code: those of the sockets are not touched.
    t.mock.timers.enable({ apis: ["setTimeout"] });
    const isReached = published(reached);
    const pushed = push(url, sealed, { deadlineMs: 40 });
    await isReached;
    t.mock.timers.tick(40);
    assert.ok(await endsAtOnce(pushed));
    const result = await pushed;
    assert.equal(result.delivered, false);
    assert.equal(result.status, status);
    assert.equal(result.code, "ETIMEDOUT");
    assert.equal(result.problem, "no answer within 0.04 s");
  });
}

/** Resolves when Node has published a request to this channel, and whoever listens behind it has been called. */
async function published(channel: string): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const reached = (message: unknown) => {
    // Other files' tests share the process.
    const { request } = message as { request: { readonly path?: string; readonly url?: string } };
    if ((request.path ?? request.url) === path) resolve();
  };
  subscribe(channel, reached);
  await promise;
  unsubscribe(channel, reached);
  await new Promise((turned) => setImmediate(turned));
}

test("reads an answer that was packed because the platform allows it", async () => {
  for (const [body, sent] of [
    ['{"toast":{}}', gzipSync('{"toast":{}}')],
    ["no gzip", Buffer.from("no gzip")],
  ] as const) {
    const url = await listen((request, response) => {
      assert.equal(request.headers["accept-encoding"], "gzip");
      response.writeHead(200, { "content-encoding": "gzip" }).end(sent);
    });
    const { ms: _, ...result } = await push(url, sealed);
    assert.deepEqual(result, { status: 200, body, delivered: true });
  }
});

test("a server that hangs up, or is not there, is a failed push and no exception", async () => {
  const reset = await push(await listen((request) => request.socket.destroy()), sealed);
  assert.deepEqual([reset.delivered, reset.status, reset.code], [false, null, "ECONNRESET"]);
  const nobody = await push("http://127.0.0.1:1/webhook", sealed);
  assert.deepEqual([nobody.delivered, nobody.status, nobody.problem], [false, null, "connection refused"]);
});

test("is not delivered when no connection comes about in its share of the deadline", async () => {
  // A server that never accepts: once the few places of its backlog are taken, the next one waits to connect.
  const server = new Worker(
    `const { parentPort } = require("node:worker_threads");
     const server = require("node:net").createServer();
     server.listen({ port: 0, host: "127.0.0.1", backlog: 1 }, () => {
       parentPort.postMessage(server.address().port);
       Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
     });`,
    { eval: true },
  );
  const [port] = (await once(server, "message")) as [number];
  const fillers: Socket[] = [];
  try {
    const send = () => push(`http://127.0.0.1:${port}/webhook`, sealed, { connectMs: 60, deadlineMs: 120 });
    for (let n = 0; n < 4; n++) fillers.push(connect(port, "127.0.0.1").on("error", () => {}));
    const { ms: _, ...result } = await send();
    assert.deepEqual(result, {
      ...{ status: null, body: "", delivered: false },
      ...{ problem: "not connected within 0.06 s", code: "ECONNECTTIMEOUT" },
    });
  } finally {
    for (const filler of fillers) filler.destroy();
    await server.terminate();
  }
});

test("an aborted push rejects with the reason", async () => {
  const reason = new Error("enough");
  await assert.rejects(push("http://127.0.0.1:1/", sealed, { signal: AbortSignal.abort(reason) }), reason);
  const controller = new AbortController();
  const url = await listen(() => controller.abort(reason));
  await assert.rejects(push(url, sealed, { signal: controller.signal }), reason);
});

test("a spoilt signature differs in the signature alone; without a key there is none to spoil", () => {
  const spoilt = spoilSignature(sealed) as SealedRequest;
  assert.notEqual(spoilt.headers.get("x-lark-signature"), sealed.headers.get("x-lark-signature"));
  assert.match(spoilt.headers.get("x-lark-signature") ?? "", /^[0-9a-f]{64}$/);
  assert.equal(spoilt.rawBody, sealed.rawBody);
  const plain = sealEnvelope(text, { keys: ring([]), nowMs, requestId: "r-1" });
  assert.equal(spoilSignature(plain), undefined);
});

/** What the platform's documents say, written down once more: an answer in 3 s, a connection in 2 s, a challenge in 1 s. */
const documentedMs = { answer: 3_000, connection: 2_000, challenge: 1_000 };

test("waits as long as the platform's documents say", () => {
  assert.deepEqual(
    { answer: ackDeadlineMs, connection: connectDeadlineMs, challenge: challengeDeadlineMs },
    documentedMs,
  );
});

const waits: readonly { what: string; ms: number; ask: (url: string) => Promise<PushResult> }[] = [
  { what: "a push", ms: documentedMs.answer, ask: (url) => push(url, sealed) },
  {
    what: "an event from the platform",
    ms: documentedMs.answer,
    async ask(url) {
      const deliver = toWebhook({ url, keys: ring([]), clock: { nowMs: () => nowMs }, randomBytes });
      return deliver({ kind: "event", id: "e-1", type: "im.message.receive_v1", text }, { number: 1 });
    },
  },
  {
    what: "the check of an address",
    ms: documentedMs.challenge,
    async ask(url) {
      const options = { url, keys: ring([]), clock: { nowMs: () => nowMs }, randomBytes };
      return (await checkAddress("c-1", options)).result;
    },
  },
];
for (const { what, ms, ask } of waits) {
  test(`${what} is late after ${ms / 1000} s`, async (t) => {
    const arrived = Promise.withResolvers<void>();
    const url = await listen(() => arrived.resolve());
    // Only timers of our own code: those of the sockets are not touched.
    t.mock.timers.enable({ apis: ["setTimeout"] });
    let isOver = false;
    const asked = ask(url).finally(() => {
      isOver = true;
    });
    await arrived.promise;
    t.mock.timers.tick(ms - 1);
    await new Promise((turned) => setImmediate(turned));
    assert.equal(isOver, false, "the last millisecond counts");
    t.mock.timers.tick(1);
    await new Promise((turned) => setImmediate(turned));
    assert.equal(isOver, true, "and not one more");
    const { delivered, code, problem } = await asked;
    assert.deepEqual([delivered, code, problem], [false, "ETIMEDOUT", `no answer within ${ms / 1000} s`]);
  });
}
