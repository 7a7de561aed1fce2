// in turn: they share the official SDK.
import assert from "node:assert/strict";
import dns from "node:dns";
import { createServer } from "node:http";
import { createServer as createTlsServer } from "node:https";
import { connect, type Socket } from "node:net";
import { Readable } from "node:stream";
import { after, before, describe, type TestContext, test } from "node:test";
import { getCACertificates, setDefaultCACertificates } from "node:tls";
import { inspect } from "node:util";
import { WebSocketServer } from "ws";
import { systemClock } from "../../lib/clock.ts";
import { OpenApiError } from "../../lib/errors.ts";
import { openApi } from "../../lib/open-api/client.ts";
import { apiConfig } from "../../lib/open-api/config.ts";
import { listenOnLoopback } from "../../lib/simulator/loopback.ts";
import { memoryTokens } from "../../lib/testing/tokens.ts";
import { tokenPath } from "../support/api.ts";
import { collectingPorts, startClient } from "../support/long-connection.ts";
import { authority, identity } from "../support/platform-tls.ts";
import { appId } from "../support/push.ts";
import { recordTrace } from "../support/trace.ts";
import { until } from "../support/until.ts";

const credentials = "larkpost:CANARY-PASSWORD";

const trusted = getCACertificates("default");
before(() => setDefaultCACertificates([...trusted, authority]));
after(() => setDefaultCACertificates(trusted));

/** The platform over TLS on 127.0.0.1: its token, messages, files, discovery and WebSocket. */
async function startPlatform(t: TestContext) {
  const got: string[] = [];
  const platform = createTlsServer(identity, async (request, response) => {
    const { method, url = "", headers } = request;
    await request.toArray();
    got.push(`${method} ${headers.host?.split(":")[0]}${url}`);
    const URL = `wss://msg-frontier.feishu.cn:${port}/ws?ticket=CANARY-TICKET`;
    response.setHeader("content-type", "application/json");
    if (url === tokenPath) response.end('{"code":0,"tenant_access_token":"t-1","expire":7200}');
    else response.end(JSON.stringify({ code: 0, data: { URL, file_key: "file_1" } }));
  });
  const sockets = new WebSocketServer({ server: platform });
  sockets.on("connection", (_socket, { headers }) => got.push(`UPGRADE ${headers.host?.split(":")[0]}`));
  const port = await listenOnLoopback(platform);
  t.after(() => {
    for (const socket of sockets.clients) socket.terminate();
    sockets.close();
    platform.closeAllConnections();
    platform.close();
  });
  // Every name is this machine's.
  const look = (_name: string, { all }: { all?: boolean }, done: (error: null, ...found: unknown[]) => void) =>
    all === true ? done(null, [{ address: "127.0.0.1", family: 4 }]) : done(null, "127.0.0.1", 4);
  t.mock.method(dns, "lookup", look as never);
  return { got, port, origin: `https://open.feishu.cn:${port}` };
}

/** A proxy that knows the platform's hosts by itself, and may want a password. */
async function startProxy(t: TestContext, wanted?: string) {
  const asked: string[] = [];
  const open = new Set<Socket>();
  const server = createServer((_request, response) => response.writeHead(500).end());
  server.on("connect", (request, socket: Socket) => {
    asked.push(String(request.url));
    open.add(socket.on("error", () => {}));
    const given = Buffer.from(
      String(request.headers["proxy-authorization"]).replace("Basic ", ""),
      "base64",
    ).toString();
    if (wanted !== undefined && given !== wanted)
      return socket.end("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n");
    const target = connect(Number(request.url?.split(":")[1]), "127.0.0.1", () => {
      socket.write("HTTP/1.1 200 Connection established\r\n\r\n");
      target.pipe(socket).pipe(target);
    });
    open.add(target.on("error", () => {}));
    return undefined;
  });
  const port = await listenOnLoopback(server);
  t.after(() => {
    for (const socket of open) socket.destroy();
    server.closeAllConnections();
    server.close();
  });
  return { asked, host: `127.0.0.1:${port}` };
}

/** The calls of a handler, and the long connection, with the settings of this environment. */
function start(t: TestContext, env: Readonly<Record<string, string>>) {
  const { warnings, isMarketplace: _, ...platform } = apiConfig({ ...env }, appId);
  const { origin, proxyEnv } = platform;
  const appSecret = async () => "an app secret for tests";
  const api = openApi({ ...platform, appSecret, store: memoryTokens(), clock: systemClock, random: () => 0 });
  const signal = new AbortController().signal;
  const run = api.forRun({ key: "key-1", tenant: null, signal, remainingMs: () => 20_000 });
  const upload = async () => {
    const file = Readable.from([Buffer.from("the bytes")]) as unknown as Buffer;
    return (await run.lark()).im.file.create({ data: { file_type: "stream", file_name: "a.txt", file } });
  };
  const dial = () => startClient(t, { origin, proxyEnv, ports: collectingPorts().ports });
  return { ...run, upload, dial, warnings };
}

/** The code with which a call found no answer. */
async function unanswered(call: Promise<unknown>): Promise<string | undefined> {
  const error = await call.then(
    () => assert.fail("it was answered"),
    (thrown: unknown) => thrown,
  );
  assert.ok(error instanceof OpenApiError);
  assert.doesNotMatch(inspect(error, { depth: 20, showHidden: true }), /CANARY/);
  return /there was no answer \((.*)\)$/.exec(error.message)?.[1];
}

describe("a proxy", () => {
  const path = "/open-apis/im/v1/messages/om_1";
  for (const [name, password] of [
    ["HTTPS_PROXY", undefined],
    ["https_proxy", undefined],
    ["HTTPS_PROXY", credentials],
  ] as const) {
    const how = password === undefined ? "" : " with its password";
    test(`of ${name}${how} takes calls, uploads, discovery and the socket, and reads none of them`, async (t) => {
      const { got, origin, port } = await startPlatform(t);
      const proxy = await startProxy(t, password);
      const at = password === undefined ? proxy.host : `${password}@${proxy.host}`;
      const { request, upload, dial, warnings } = start(t, { [name]: `http://${at}`, LARK_DOMAIN: origin });
      assert.deepEqual(warnings, []);
      await request("GET", path);
      assert.equal((await upload())?.file_key, "file_1");
      const client = dial();
      await client.connected();
      await client.stop();
      assert.deepEqual(got, [
        `POST open.feishu.cn${tokenPath}`,
        `GET open.feishu.cn${path}`,
        "POST open.feishu.cn/open-apis/im/v1/files",
        "POST open.feishu.cn/callback/ws/endpoint",
        "UPGRADE msg-frontier.feishu.cn",
      ]);
      assert.deepEqual([...new Set(proxy.asked)], [`open.feishu.cn:${port}`, `msg-frontier.feishu.cn:${port}`]);
    });
  }

  for (const name of ["NO_PROXY", "no_proxy"]) {
    test(`is not asked for a host of ${name}`, async (t) => {
      const { got, origin } = await startPlatform(t);
      const proxy = await startProxy(t);
      const env = { HTTPS_PROXY: `http://${proxy.host}`, [name]: "localhost,.feishu.cn", LARK_DOMAIN: origin };
      const { request, upload, dial } = start(t, env);
      await request("GET", path);
      await upload();
      await dial().connected();
      assert.equal(got.length, 5);
      assert.deepEqual(proxy.asked, []);
    });
  }

  for (const host of ["127.0.0.1", "localhost"]) {
    test(`is not asked for ${host}, over TLS or without`, async (t) => {
      const { port } = await startPlatform(t);
      const proxy = await startProxy(t);
      const env = { HTTPS_PROXY: `http://${proxy.host}`, http_proxy: `http://${proxy.host}` };
      const open = createServer((_request, response) =>
        response.end('{"code":0,"tenant_access_token":"t-1","expire":9}'),
      );
      const openPort = await listenOnLoopback(open);
      t.after(() => open.close());
      await start(t, { ...env, LARK_DOMAIN: `http://127.0.0.1:${openPort}` }).request("GET", path);
      const { request } = start(t, { ...env, LARK_DOMAIN: `https://${host}:${port}`, ALLOW_OTHER_DOMAIN: "true" });
      await request("GET", path).catch(() => {});
      assert.deepEqual(proxy.asked, []);
    });
  }

  test("that refuses its password is named by a code, and no line and no error holds the password", async (t) => {
    const { got, origin } = await startPlatform(t);
    const proxy = await startProxy(t, "another:password");
    const trace = recordTrace();
    t.after(trace.stop);
    const { request, upload, dial } = start(t, {
      HTTPS_PROXY: `http://${credentials}@${proxy.host}`,
      LARK_DOMAIN: origin,
    });
    assert.equal(await unanswered(request("GET", path)), "ERR_PROXY_TUNNEL");
    assert.equal(await unanswered(upload()), "ERR_PROXY_TUNNEL");
    const client = dial();
    const entry = await until("it is said", () => trace.entries.find(({ stage }) => stage === "disconnected"));
    assert.equal(entry.facts?.["reason"], "discovery failed (ERR_PROXY_TUNNEL)");
    await client.stop();
    assert.doesNotMatch(inspect(trace.entries, { depth: 20, showHidden: true }), /CANARY/);
    assert.deepEqual(got, []);
  });

  test("does not stand between us and the platform's certificate: one of another name gets no request", async (t) => {
    const { got, port } = await startPlatform(t);
    const proxy = await startProxy(t);
    const trace = recordTrace();
    t.after(trace.stop);
    const origin = `https://other.feishu.cn:${port}`;
    const { request, upload, dial } = start(t, { HTTPS_PROXY: `http://${proxy.host}`, LARK_DOMAIN: origin });
    const code = "ERR_TLS_CERT_ALTNAME_INVALID";
    assert.equal(await unanswered(request("GET", path)), code);
    assert.equal(await unanswered(upload()), code);
    const client = dial();
    const entry = await until("it is said", () => trace.entries.find(({ stage }) => stage === "disconnected"));
    assert.equal(entry.facts?.["reason"], `discovery failed (${code})`);
    await client.stop();
    assert.deepEqual(got, []);
  });

  const unused: readonly { env: Readonly<Record<string, string>>; warning: string }[] = [
    {
      env: { HTTP_PROXY: "http://127.0.0.1:9" },
      warning: "HTTP_PROXY is set and not used: the platform is called over HTTPS. Set HTTPS_PROXY",
    },
    {
      env: { all_proxy: "http://127.0.0.1:9" },
      warning: "all_proxy is set and not used: the platform is called over HTTPS. Set HTTPS_PROXY",
    },
    {
      env: { HTTPS_PROXY: "socks5://CANARY@127.0.0.1:9" },
      warning: "HTTPS_PROXY is set and not used: it is not an http(s) URL",
    },
    {
      env: { HTTPS_PROXY: "xhttp://127.0.0.1:9" },
      warning: "HTTPS_PROXY is set and not used: it is not an http(s) URL",
    },
    {
      env: { HTTPS_PROXY: "http://CANARY:50%off@127.0.0.1:9" },
      warning: "HTTPS_PROXY is set and not used: it is not an http(s) URL",
    },
    {
      env: { HTTPS_PROXY: "http://CANARY@127.0.0.1:9\n" },
      warning: "HTTPS_PROXY is set and not used: it is not an http(s) URL",
    },
    { env: { https_proxy: "CANARY:9" }, warning: "https_proxy is set and not used: it is not an http(s) URL" },
  ];
  for (const { env, warning } of unused) {
    test(`that cannot be used is said, without its value: ${Object.keys(env)}`, () => {
      assert.deepEqual(apiConfig(env, appId).warnings, [warning]);
      assert.deepEqual(apiConfig(env, appId).proxyEnv, {});
    });
  }
});
