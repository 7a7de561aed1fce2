import assert from "node:assert/strict";
import { once } from "node:events";
import { Agent, request } from "node:http";
import { connect } from "node:net";
import { after, before, describe, test } from "node:test";
import { startGateway } from "../../lib/local/gateway.ts";
import { until } from "../support/until.ts";

describe("the local gateway", () => {
  const events: Record<string, unknown>[] = [];
  const callbacks: Record<string, unknown>[] = [];
  let result: unknown;
  let gateway: Awaited<ReturnType<typeof startGateway>>;
  const url = (path = "/webhook") => `http://127.0.0.1:${gateway.port}${path}`;

  before(async () => {
    gateway = await startGateway({
      port: 0,
      invoke: async (event) => {
        events.push(event as Record<string, unknown>);
        if (result instanceof Error) throw result;
        return result;
      },
      routes: new Map([
        [
          "callback",
          async (event) => {
            callbacks.push(event as Record<string, unknown>);
            return { statusCode: 200, body: "from the callback function" };
          },
        ],
      ]),
    });
  });
  after(() => gateway.stop());

  /** Writes raw bytes and reads until the other side closes. */
  async function raw(text: string): Promise<string> {
    const socket = connect(gateway.port, "127.0.0.1");
    let answer = "";
    socket.setEncoding("utf8").on("data", (chunk: string) => {
      answer += chunk;
    });
    socket.write(text);
    await once(socket, "close");
    return answer;
  }

  test("hands a request on as an HTTP API event and its response back", async () => {
    result = { statusCode: 200, headers: { "content-type": "application/json; charset=utf-8" }, body: '{"ok":true}' };
    const response = await fetch(url("/webhook?x=1"), {
      method: "POST",
      body: '{"a":"日"}',
      headers: { "X-Lark-Nonce": "n" },
    });
    assert.equal(response.status, 200);
    assert.equal(response.headers.get("content-type"), "application/json; charset=utf-8");
    assert.deepEqual(await response.json(), { ok: true });
    const { headers, requestContext, ...event } = events.at(-1) as Record<string, Record<string, unknown>>;
    assert.deepEqual(event, {
      version: "2.0",
      routeKey: "$default",
      rawPath: "/webhook",
      rawQueryString: "x=1",
      body: '{"a":"日"}',
      isBase64Encoded: false,
    });
    assert.equal(headers?.["x-lark-nonce"], "n");
    const { timeEpoch, ...context } = requestContext ?? {};
    assert.equal(typeof timeEpoch, "number");
    const http = { method: "POST", path: "/webhook", sourceIp: "127.0.0.1", protocol: "HTTP/1.1" };
    assert.deepEqual(context, { stage: "$default", http });
  });

  test("hands bytes that are no text on as base64", async () => {
    result = { statusCode: 200, body: "{}" };
    const bytes = Buffer.from([0xff, 0xfe, 0, 1]);
    await fetch(url(), { method: "POST", body: bytes });
    assert.equal(events.at(-1)?.["isBase64Encoded"], true);
    assert.equal(events.at(-1)?.["body"], bytes.toString("base64"));
  });

  for (const path of ["/callback", "/callback/", "//callback//", "/callback?x=/webhook", "/base/callback"]) {
    test(`hands ${path} to the callback function`, async () => {
      const before = events.length;
      const response = await fetch(url(path), { method: "POST", body: "{}" });
      assert.equal(await response.text(), "from the callback function");
      assert.equal(callbacks.at(-1)?.["rawPath"], path.split("?")[0]);
      assert.equal(events.length, before);
    });
  }

  for (const path of [
    "/",
    "/webhook",
    "/callback/webhook",
    "/callback/more",
    "/callbacks",
    "/Callback",
    "/x?/callback",
    "/constructor",
  ]) {
    test(`hands ${path} to the webhook function`, async () => {
      result = { statusCode: 200, body: "{}" };
      const before = callbacks.length;
      await fetch(url(path), { method: "POST", body: "{}" });
      assert.equal(events.at(-1)?.["rawPath"], path.split("?")[0]);
      assert.equal(callbacks.length, before);
    });
  }

  const failures = [
    { when: "it throws", outcome: new Error("the function failed") },
    { when: "it returns nothing", outcome: undefined },
    { when: "its result has no status", outcome: { body: "{}" } },
  ];
  for (const { when, outcome } of failures) {
    test(`answers 500 for the function when ${when}, so that the platform pushes again`, async () => {
      result = outcome;
      assert.equal((await fetch(url(), { method: "POST", body: "{}" })).status, 500);
    });
  }

  test("C-58: a body that never comes gets 408, and the connection is closed", async () => {
    const before = events.length;
    const answer = await raw("POST /webhook HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{");
    assert.match(answer, /^HTTP\/1\.1 408 /);
    assert.equal(events.length, before);
  });

  test("E7: headers over 10 KB are refused and reach no function", async () => {
    const before = events.length;
    const answer = await raw(`POST /webhook HTTP/1.1\r\nhost: x\r\nx-big: ${"a".repeat(12_288)}\r\n\r\n`);
    assert.match(answer, /^HTTP\/1\.1 431 /);
    assert.equal(events.length, before);
  });

  test("a body over 10 MB is refused before it is read to its end", async () => {
    /** The status, or `undefined` for a connection that was cut. Unlike `fetch`, it makes no copy of the body. */
    const post = (body: Buffer) =>
      new Promise<number | undefined>((resolve) => {
        const posted = request(url(), { method: "POST", agent: false }, (response) => {
          resolve(response.statusCode);
          response.resume();
        });
        posted.on("error", () => resolve(undefined)).end(body);
      });
    const before = events.length;
    const body = Buffer.alloc(10_485_761, 97);
    assert.ok([undefined, 413].includes(await post(body)));
    assert.equal(events.length, before);
    result = { statusCode: 200 };
    assert.equal(await post(body.subarray(1)), 200);
  });

  test("a port that is taken is named in one line, with a way out", async () => {
    await assert.rejects(startGateway({ port: gateway.port, invoke: async () => undefined }), {
      name: "ConfigError",
      message: `Cannot start: the port ${gateway.port} is in use. Choose another with PORT or --port; PORT=0 takes a free one`,
    });
  });

  test("a client that goes on over its connection does not hold up the end", async () => {
    const answered = Promise.withResolvers<unknown>();
    let requests = 0;
    const own = await startGateway({
      port: 0,
      async invoke() {
        requests++;
        return answered.promise;
      },
    });
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    /** Asks again over the same connection, as long as there is one. */
    const ask = () => {
      const asked = request({ port: own.port, host: "127.0.0.1", agent }, (response) =>
        response.resume().on("end", ask),
      );
      asked.on("error", () => {}).end();
    };
    ask();
    await until("the first request", () => requests > 0);
    const stopped = own.stop();
    answered.resolve({ statusCode: 200, body: "{}" });
    await stopped;
    assert.ok(requests <= 2, `${requests} requests were answered after the end`);
    agent.destroy();
  });
});
