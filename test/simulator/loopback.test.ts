import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type IncomingMessage } from "node:http";
import { connect } from "node:net";
import { type TestContext, test } from "node:test";
import { WebSocket } from "ws";
import { discoveryPath } from "../../lib/feishu/discovery.ts";
import { startLongConnectionServer } from "../../lib/simulator/long-connection/server.ts";
import { guard, listenOnLoopback } from "../../lib/simulator/loopback.ts";
import { testClock } from "../support/clock.ts";
import { selfBuilt, startOpenApi } from "../support/open-api.ts";
import { ask, assertRefused, pages } from "../support/page.ts";

const { appId, appSecret } = selfBuilt;

async function startPlatform(t: TestContext) {
  const openApi = await startOpenApi(t);
  const options = { clock: testClock(), random: () => 0, openApi: openApi.simulator.handle };
  const server = await startLongConnectionServer({ apps: [{ appId, appSecret }], ...options });
  t.after(server.close);
  const ticketed = async () => {
    const body = JSON.stringify({ AppID: appId, AppSecret: appSecret });
    const answer = await ask(server.origin + discoveryPath, { body });
    return JSON.parse(answer.body).data.URL as string;
  };
  return { openApi, server, ticketed };
}

for (const { from, headers } of pages) {
  test(`the simulated platform refuses ${from}, though it knows the app's secret`, async (t) => {
    const { openApi, server, ticketed } = await startPlatform(t);
    const body = JSON.stringify({ app_id: appId, app_secret: appSecret, AppID: appId, AppSecret: appSecret });
    for (const origin of [openApi.url, server.origin]) {
      for (const path of ["/open-apis/auth/v3/tenant_access_token/internal", discoveryPath, "/"]) {
        // Which method it is makes no difference to any page.
        for (const method of headers === pages[0]?.headers ? ["POST", "OPTIONS", "GET"] : ["POST"]) {
          const sent = method === "POST" ? body : "";
          assertRefused(await ask(origin + path, { method, headers, body: sent }), `${method} ${origin}${path}`);
        }
      }
    }
    assert.deepEqual([openApi.simulator.calls().length, server.discoveries], [0, 0]);

    const socket = new WebSocket(await ticketed(), { headers });
    await assert.rejects(once(socket, "open"), /403/);
    assert.equal(server.connections().length, 0);
  });
}

test("the simulated platform serves what runs on this machine: Node's fetch, and a WebSocket without an origin", async (t) => {
  const { openApi, server, ticketed } = await startPlatform(t);
  await openApi.tenantToken();
  const url = openApi.url.replace("127.0.0.1", "localhost");
  assert.equal((await fetch(`${url}/nowhere`)).status, 501);
  const socket = new WebSocket(await ticketed());
  await once(socket, "open");
  assert.equal(server.connections(appId).length, 1);
});

test("a guarded server hears of no page's request, by whichever event it would come", async (t) => {
  const heard: string[] = [];
  const server = guard(createServer());
  for (const event of ["request", "checkContinue", "checkExpectation", "upgrade", "connect"]) {
    server.on(event, ({ socket }: IncomingMessage) => {
      heard.push(event);
      socket.destroy();
    });
  }
  const port = await listenOnLoopback(server);
  t.after(() => server.close());
  const own = `Host: 127.0.0.1:${port}\r\n`;
  const requests = [
    ...["Expect: 100-continue\r\n", "Expect: more\r\n", "Connection: Upgrade\r\nUpgrade: websocket\r\n"].map(
      (line) => `GET / HTTP/1.1\r\n${own}Origin: https://page.example\r\n${line}\r\n`,
    ),
    `CONNECT page.example:80 HTTP/1.1\r\nHost: page.example:80\r\n\r\n`,
    `GET http://127.0.0.1:${port}/ HTTP/1.1\r\nHost: page.example\r\n\r\n`,
    `GET / HTTP/1.0\r\n\r\n`,
  ];
  for (const text of requests) {
    const socket = connect(port, "127.0.0.1");
    socket.write(text);
    let answer = "";
    for await (const chunk of socket.setEncoding("utf8")) answer += chunk;
    assert.match(answer, /^HTTP\/1\.1 403 Forbidden\r\n.*"error":"forbidden"/s, text);
  }
  assert.deepEqual(heard, []);
});

test("a guard holds although a listener was there before, or comes later", async (t) => {
  const heard: string[] = [];
  const server = createServer((_request, response) => {
    heard.push("before");
    response.end();
  });
  guard(server);
  server.prependListener("request", () => heard.push("later"));
  const port = await listenOnLoopback(server);
  t.after(() => server.close());
  assertRefused(await ask(`http://127.0.0.1:${port}`, { headers: { origin: "https://page.example" } }), "guarded");
  assert.deepEqual(heard, []);
  assert.equal((await ask(`http://127.0.0.1:${port}`)).status, 200);
  assert.deepEqual(heard, ["later", "before"]);
});
