import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { defaultConfig, mergeConfig, readDiscovery, readRefusal } from "../../lib/feishu/discovery.ts";

const apiHost = "open.feishu.cn";
const config = defaultConfig;
/** As long as one can be, with what URLs, JSON and base64 write otherwise. */
const secrets = ['A/b+"c>?\u00e9', "another-secret"];
const repeated = [
  ...secrets,
  ...['A/b+\\"c>?\u00e9', "A%2Fb%2B%22c%3E%3F%C3%A9", "A%2fb%2b%22c%3e%3f%c3%a9"],
  ...(["base64", "base64url"] as const).map((kind) => Buffer.from(secrets[0] ?? "").toString(kind)),
];
const read = (body: unknown, status = 200, host = apiHost) =>
  readDiscovery(
    { status, body: typeof body === "string" ? body : JSON.stringify(body) },
    { config, apiHost: host, secrets },
  );
const address = (URL: unknown, host = apiHost) => read({ code: 0, data: { URL } }, 200, host);

describe("the answer of discovery", () => {
  test("names an address, a service and how to keep the connection", () => {
    const URL = "wss://msg-frontier.feishu.cn/ws/v2?device_id=7&service_id=33554678&ticket=t";
    const ClientConfig = { ReconnectCount: 5, ReconnectInterval: 90, ReconnectNonce: 25, PingInterval: 60 };
    assert.deepEqual(read({ code: 0, msg: "", data: { URL, ClientConfig } }), {
      ...{ kind: "connect", url: URL, serviceId: 33_554_678 },
      config: {
        ...{ reconnectCount: 5, reconnectIntervalSeconds: 90 },
        ...{ reconnectNonceSeconds: 25, pingIntervalSeconds: 60 },
      },
    });
    assert.deepEqual(read({ code: 0, data: { URL } }), { kind: "connect", url: URL, serviceId: 33_554_678, config });
  });

  const services = { "": 0, "service_id=": 0, "service_id=x": 0, "service_id=1.5": 0, "service_id=2147483648": 0 };
  for (const [query, serviceId] of Object.entries({
    ...services,
    "service_id=-1": -1,
    "service_id=2147483647": 2_147_483_647,
  })) {
    test(`with the query "${query}" is of service ${serviceId}`, () => {
      const found = address(`wss://x.feishu.cn/ws?${query}`);
      assert.equal(found.kind === "connect" && found.serviceId, serviceId);
    });
  }

  const codes: [code: number, kind: string][] = [
    [1, "retry"],
    [1_000_040_343, "retry"],
    [514, "fatal"],
    [403, "fatal"],
    [1_000_040_344, "fatal"],
    [1_000_040_345, "retry"],
    [1_000_040_346, "fatal"],
    [1_000_040_351, "fatal"],
    [9499, "fatal"],
    [-1, "fatal"],
    [1_000_040_350, "limit"],
  ];
  for (const [code, kind] of codes) {
    test(`L4, L5: of code ${code} means ${kind}, with or without data`, () => {
      for (const more of [{}, { data: null }, { data: {} }, { data: "x" }, { data: { URL: "wss://x.feishu.cn/" } }]) {
        const found = read({ code, msg: "its words", ...more });
        assert.ok(found.kind !== "connect");
        assert.deepEqual([found.kind, found.code], [kind, code]);
        assert.ok(found.reason.startsWith(`the platform answered ${code}, "its words": `), found.reason);
      }
    });

    test(`L4, L5: of code ${code} means ${kind} with a 400, too, and retry while the server is in trouble`, () => {
      for (const status of [400, 401, 403, 404, 428, 430, 499]) assert.equal(read({ code }, status).kind, kind);
      const passing = kind === "fatal" ? "retry" : kind;
      for (const status of [429, 500, 502, 503]) assert.equal(read({ code }, status).kind, passing);
    });
  }

  const advice: [code: number, advice: RegExp][] = [
    [1, /: it is busy$/],
    [514, /Check APP_ID and APP_SECRET$/],
    [403, /Check that it is enabled, self-built, and set to receive events over the long connection$/],
    [1_000_040_344, /is missing. Check APP_ID and APP_SECRET$/],
    [1_000_040_346, /Check APP_ID$/],
    [1_000_040_350, /has its 50 connections already$/],
    [1_000_040_351, /at the other domain. Set LARK_DOMAIN to "lark" or "feishu"$/],
    [9499, /^the platform answered 9499: it refused the app$/],
  ];
  for (const [code, says] of advice) {
    test(`of code ${code} says what to do, and quotes no more than 200 characters`, () => {
      const reason = (msg: unknown) => {
        const found = read({ code, msg }, 400);
        return found.kind === "connect" ? "" : found.reason;
      };
      for (const msg of [undefined, "", 5, {}]) assert.match(reason(msg), says);
      assert.ok(reason("x".repeat(200)).includes(`, "${"x".repeat(200)}"`));
      assert.ok(reason("x".repeat(201)).includes(`, "${"x".repeat(200)}"`));
      assert.ok(reason('two\nlines and a "quote"').includes('"two\\nlines and a \\"quote\\""'));
    });
  }

  const unclear: unknown[] = ["", "<html></html>", "null", "[]", "5", {}, { code: "0" }, { code: 0 }];
  for (const body of [
    ...unclear,
    { code: 0, data: { URL: "" } },
    { code: 0, data: { URL: 5 } },
    { code: 0, data: [] },
  ]) {
    test(`that is ${JSON.stringify(body)} means retry`, () => assert.equal(read(body).kind, "retry"));
  }
  for (const status of [400, 404, 429, 500, 302, 204]) {
    test(`under the status ${status} means retry without a code of the platform's`, () => {
      const reason = `discovery answered ${status}`;
      const URL = "wss://x.feishu.cn/";
      for (const body of ["", "<html></html>", { code: 0, data: { URL } }, { code: "514" }]) {
        assert.deepEqual(read(body, status), { kind: "retry", reason });
      }
    });
  }

  const trusted: [url: string, host?: string][] = [
    ["wss://msg-frontier.feishu.cn/ws"],
    ["wss://msg-frontier.larksuite.com/ws"],
    ["wss://feishu.cn/ws"],
    ["wss://feishu.example.com/ws", "feishu.example.com"],
    ["wss://frontier.feishu.example.com/ws", "feishu.example.com"],
    ["ws://127.0.0.1:9/ws", "127.0.0.1"],
    ["ws://localhost:9/ws", "127.0.0.1"],
    ["ws://[::1]:9/ws", "localhost"],
  ];
  for (const [url, host] of trusted) {
    test(`L13: leads to ${url} from ${host ?? apiHost}`, () => assert.equal(address(url, host).kind, "connect"));
  }

  const foreign: [url: string, host?: string][] = [
    ["wss://evil.example/ws"],
    ["wss://evilfeishu.cn/ws"],
    ["wss://feishu.cn.evil.example/ws"],
    ["wss://open.feishu.cn@evil.example/ws"],
    ["wss://evil.example/feishu.cn"],
    ["wss://evil.example#.feishu.cn"],
    ["ws://msg-frontier.feishu.cn/ws"],
    ["https://msg-frontier.feishu.cn/ws"],
    ["file:///etc/passwd"],
    ["wss://127.0.0.1/ws"],
    ["ws://127.0.0.1/ws"],
    ["ws://169.254.169.254/latest", "127.0.0.1"],
    ["ws://127.0.0.1.evil.example/ws", "127.0.0.1"],
    ["wss://example.com/ws", "feishu.example.com"],
  ];
  for (const [url, host] of foreign) {
    test(`L13: does not lead to ${url} from ${host ?? apiHost}, and the reason holds no more than its host`, () => {
      const found = address(`${url}${url.includes("#") ? "" : "?ticket=CANARY"}`, host);
      assert.equal(found.kind, "retry");
      assert.ok(!JSON.stringify(found).includes("CANARY"));
    });
  }

  test("loses the fragment of an address, which no socket can be dialled with", () => {
    const found = address("wss://x.feishu.cn/ws?a=1#part");
    assert.equal(found.kind === "connect" && found.url, "wss://x.feishu.cn/ws?a=1");
  });
});

describe("the client's configuration", () => {
  test("keeps what is not named, and what cannot be meant", () => {
    const nothing: unknown[] = [undefined, null, {}, [], "x", 5, { PingInterval: null }];
    for (const value of [0, -1, Number.NaN, Number.POSITIVE_INFINITY, "60", true, {}]) {
      nothing.push({ PingInterval: value, ReconnectInterval: value, ReconnectNonce: value });
    }
    for (const value of [1.5, "3", null, Number.NaN]) nothing.push({ ReconnectCount: value });
    for (const given of nothing) assert.deepEqual(mergeConfig(config, given), config, JSON.stringify(given));
  });

  test("is taken over member by member, within bounds", () => {
    assert.equal(mergeConfig(config, { PingInterval: 97 }).pingIntervalSeconds, 97);
    assert.equal(mergeConfig(config, { PingInterval: 0.001 }).pingIntervalSeconds, 1);
    assert.equal(mergeConfig(config, { PingInterval: 1e9 }).pingIntervalSeconds, 3_600);
    for (const count of [-1, 0, 7]) assert.equal(mergeConfig(config, { ReconnectCount: count }).reconnectCount, count);
  });
});

describe("a refused upgrade", () => {
  const limit = { "handshake-status": "514", "handshake-autherrcode": "1000040350" };
  const cases: [status: number, headers: Record<string, string>, kind: string, code: number, body?: string][] = [
    [400, {}, "fatal", 403, '{"code":403,"msg":"its words"}'],
    [400, {}, "fatal", 1_000_040_351, '{"code":1000040351,"msg":"its words"}'],
    [400, {}, "limit", 1_000_040_350, '{"code":1000040350}'],
    [400, {}, "retry", 514, '{"code":514}'],
    [400, {}, "retry", 9499, '{"code":9499}'],
    [400, {}, "retry", 400, '{"code":"403"}'],
    [400, { "handshake-status": "403" }, "fatal", 403, '{"code":1}'],
    [200, { "handshake-status": "514", "handshake-autherrcode": "1000040351" }, "retry", 514],
    [200, { "handshake-status": "514" }, "retry", 514],
    [200, limit, "limit", 1_000_040_350],
    [200, { "handshake-status": "403" }, "fatal", 403],
    [200, { "handshake-status": "500", "handshake-autherrcode": "1000040350" }, "retry", 500],
    [200, { "handshake-status": "x" }, "retry", 200],
    [200, { "handshake-status": "" }, "retry", 200],
    [403, {}, "retry", 403],
    [502, {}, "retry", 502],
  ];
  for (const [status, headers, kind, code, body = ""] of cases) {
    test(`L4, L5: with ${status}, ${JSON.stringify(headers)} and "${body}" means ${kind}`, () => {
      const found = readRefusal(status, headers, body, []);
      assert.deepEqual([found.kind, found.code], [kind, code]);
      const words = body.includes("its words") ? ', "its words"' : "";
      assert.ok(found.reason.startsWith(`the connection was refused with ${code}${words}`), found.reason);
    });
  }

  test("says the platform's words of its header before those of the body", () => {
    const headers = { "handshake-status": "403", "handshake-msg": "of the header" };
    assert.match(
      readRefusal(200, headers, '{"msg":"of the body"}', []).reason,
      /403, "of the header": the app may not connect/,
    );
  });

  test("repeats no secret, in whatever form the platform's words have it", () => {
    for (const form of repeated) {
      const msg = `not with ${form}. ${"x".repeat(200)}`;
      const said = `"not with …. ${"x".repeat(188)}"`;
      const inBody = readRefusal(400, {}, JSON.stringify({ code: 1, msg }), secrets);
      assert.equal(inBody.reason, `the connection was refused with 1, ${said}: it is busy`);
      const inHeader = readRefusal(400, { "handshake-msg": msg }, "", secrets);
      assert.equal(inHeader.reason, `the connection was refused with 400, ${said}`);
      const discovered = read({ code: 1, msg });
      assert.equal("reason" in discovered && discovered.reason, `the platform answered 1, ${said}: it is busy`);
    }
  });
});
