import assert from "node:assert/strict";
import { test } from "node:test";
import type { AppTicket } from "../../../lib/simulator/open-api/apps.ts";
import { groupChat } from "../../../lib/simulator/samples/facts.ts";
import { marketplace, selfBuilt, startOpenApi, text } from "../../support/open-api.ts";

const minute = 60_000;
const sendPath = "im/v1/messages?receive_id_type=chat_id";
const message = { receive_id: groupChat, ...text("x") };

test("a token is the same while 30 minutes are left; then a new one overlaps it, and both work to their ends", async (t) => {
  const { clock, send, simulator } = await startOpenApi(t);
  const { appId: app_id, appSecret: app_secret } = selfBuilt;
  const ask = async () => (await send("POST", "auth/v3/tenant_access_token/internal", { app_id, app_secret })).body;
  const works = async (token: string) => (await send("POST", sendPath, message, token)).body.code === 0;

  const first = await ask();
  assert.match(first.tenant_access_token, /^t-/);
  assert.equal(first.expire, 7_200);
  await clock.advance(90 * minute);
  const again = await ask();
  assert.deepEqual([again.tenant_access_token, again.expire], [first.tenant_access_token, 1_800]);

  await clock.advance(1);
  const second = await ask();
  assert.notEqual(second.tenant_access_token, first.tenant_access_token);
  assert.equal(second.expire, 7_200);
  assert.deepEqual([await works(first.tenant_access_token), await works(second.tenant_access_token)], [true, true]);

  await clock.advance(30 * minute - 1);
  assert.deepEqual([await works(first.tenant_access_token), await works(second.tenant_access_token)], [false, true]);
  await clock.advance(90 * minute + 1);
  assert.equal(await works(second.tenant_access_token), false);
  assert.equal(simulator.tokensIssued(), 2);
});

test("a self-built app's own token is its tenant's token", async (t) => {
  const { send, tenantToken } = await startOpenApi(t);
  const { appId: app_id, appSecret: app_secret } = selfBuilt;
  const { body } = await send("POST", "auth/v3/app_access_token/internal", { app_id, app_secret });
  assert.equal(body.app_access_token, body.tenant_access_token);
  assert.equal(await tenantToken(), body.tenant_access_token);
});

const { appId: app_id, appSecret: app_secret } = selfBuilt;
const isv = { app_id: marketplace.appId, app_secret: marketplace.appSecret };
const refusals = [
  { when: "the secret is wrong", path: "tenant_access_token/internal", body: { app_id, app_secret: "x" }, code: 10015 },
  {
    when: "the app is unknown",
    path: "tenant_access_token/internal",
    body: { app_id: "cli_x", app_secret },
    code: 10003,
  },
  { when: "the secret is missing", path: "tenant_access_token/internal", body: { app_id }, code: 10003 },
  { when: "the secret is no text", path: "app_access_token/internal", body: { app_id, app_secret: {} }, code: 10003 },
  { when: "the body is not JSON", path: "tenant_access_token/internal", body: "{", code: 10003 },
  { when: "a marketplace app takes the other way", path: "tenant_access_token/internal", body: isv, code: 10005 },
  { when: "a self-built app asks for a ticket", path: "app_ticket/resend", body: { app_id, app_secret }, code: 10016 },
  { when: "the ticket is missing", path: "app_access_token", body: isv, code: 10003 },
  { when: "the ticket is wrong", path: "app_access_token", body: { ...isv, app_ticket: "g-1" }, code: 10012 },
  {
    when: "the app's own token is wrong",
    path: "tenant_access_token",
    body: { app_access_token: "a-1", tenant_key: "t" },
    code: 99991664,
  },
];
for (const { when, path, body, code } of refusals) {
  test(`gives no token with code ${code} when ${when}`, async (t) => {
    const { send, simulator } = await startOpenApi(t);
    const answer = await send("POST", `auth/v3/${path}`, body);
    assert.equal(answer.body.code, code);
    assert.equal(simulator.tokensIssued(), 0);
  });
}

test("a marketplace app gets a token per tenant where it is installed, with its newest ticket or the one before", async (t) => {
  const tickets: AppTicket[] = [];
  const { send, simulator } = await startOpenApi(t, {
    apps: [{ ...marketplace, tenants: ["tenant-1"] }],
    onAppTicket: (ticket) => tickets.push(ticket),
  });
  const own = (app_ticket: string | undefined) => send("POST", "auth/v3/app_access_token", { ...isv, app_ticket });
  for (let i = 0; i < 2; i++) assert.equal((await send("POST", "auth/v3/app_ticket/resend", isv)).body.code, 0);
  simulator.issueAppTicket(marketplace.appId);
  assert.deepEqual(
    tickets.map(({ appId }) => appId),
    Array(3).fill(marketplace.appId),
  );
  const [oldest, before, newest] = tickets.map(({ ticket }) => ticket);
  assert.equal((await own(oldest)).body.code, 10012);
  assert.equal((await own(before)).body.code, 0);
  const { app_access_token } = (await own(newest)).body;
  assert.match(app_access_token, /^a-/);

  const ofTenant = (tenant_key: string) =>
    send("POST", "auth/v3/tenant_access_token", { app_access_token, tenant_key });
  assert.equal((await ofTenant("tenant-2")).body.code, 10013);
  const { tenant_access_token } = (await ofTenant("tenant-1")).body;
  assert.equal((await send("POST", sendPath, message, tenant_access_token)).body.data.sender.tenant_key, "tenant-1");
  // The app's own token is not for messages.
  assert.equal((await send("POST", sendPath, message, app_access_token)).body.code, 99991671);
  assert.equal((await own("")).body.code, 10003);
});

test("a call needs a token of the right kind that is valid", async (t) => {
  const { send, tenantToken, simulator } = await startOpenApi(t);
  const code = async (token?: string) => (await send("POST", sendPath, message, token)).body.code;
  assert.equal(await code(), 99991661);
  assert.equal(await code("x-1"), 99991671);
  assert.equal(await code("u-1"), 99991668);
  assert.equal(await code("t-1"), 99991663);
  const token = await tenantToken();
  assert.equal(await code(token), 0);
  assert.equal(await code(`${token} x`), 99991661);
  assert.equal(await code(`x Bearer ${token}`), 99991661);
  simulator.revokeTokens("cli_another");
  assert.equal(await code(token), 0);
  simulator.revokeTokens(selfBuilt.appId);
  assert.equal(await code(token), 99991663);
  const next = await tenantToken();
  assert.notEqual(next, token);
  assert.equal(await code(next), 0);
});

test("an app that was stopped gets no token, and its tokens do nothing", async (t) => {
  const { send, tenantToken, simulator } = await startOpenApi(t);
  const token = await tenantToken();
  simulator.setDisabled(app_id, true);
  assert.equal((await send("POST", sendPath, message, token)).body.code, 99991662);
  assert.equal((await send("POST", "auth/v3/tenant_access_token/internal", { app_id, app_secret })).body.code, 10014);
  simulator.setDisabled(app_id, false);
  assert.equal((await send("POST", sendPath, message, token)).body.code, 0);
});
