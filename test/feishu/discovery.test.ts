import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { defaultConfig, mergeConfig, readDiscovery, readRefusal } from "../../lib/feishu/discovery.ts";

const apiHost = "open.feishu.cn";
const config = defaultConfig;
const read = (body: unknown, status = 200, host = apiHost) =>
  readDiscovery({ status, body: typeof body === "string" ? body : JSON.stringify(body) }, { config, apiHost: host });
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

  const services = { "": 0, "service_id=": 0, "service_id=x": 0, "service_id=1.5": 0, "service_id=4294967296": 0 };
  for (const [query, serviceId] of Object.entries({ ...services, "service_id=-1": -1 })) {
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
    [1_000_040_345, "fatal"],
    [-1, "fatal"],
    [1_000_040_350, "limit"],
  ];
  for (const [code, kind] of codes) {
    test(`L4, L5: of code ${code} means ${kind}, with or without data`, () => {
      for (const more of [{}, { data: null }, { data: {} }, { data: "x" }, { data: { URL: "wss://x.feishu.cn/" } }]) {
        const found = read({ code, msg: "CANARY", ...more });
        assert.deepEqual([found.kind, found.kind !== "connect" && found.code], [kind, code]);
        assert.ok(!JSON.stringify(found).includes("CANARY"));
      }
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
    test(`under the status ${status} means retry, whatever it holds`, () => {
      assert.equal(read({ code: 514 }, status).kind, "retry");
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
  const cases: [status: number, headers: Record<string, string>, kind: string, code: number][] = [
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
  for (const [status, headers, kind, code] of cases) {
    test(`L4, L5: with ${status} and ${JSON.stringify(headers)} means ${kind}`, () => {
      const found = readRefusal(status, headers);
      assert.deepEqual([found.kind, found.code], [kind, code]);
      assert.ok(found.reason.length > 10);
    });
  }
});
