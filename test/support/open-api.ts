import assert from "node:assert/strict";
import type { TestContext } from "node:test";
import { type OpenApiOptions, openApi } from "../../lib/simulator/open-api/open-api.ts";
import { mei } from "../../lib/simulator/samples/facts.ts";
import { testClock } from "./clock.ts";
import { seeded } from "./random.ts";

export const selfBuilt = {
  kind: "self-built",
  appId: "cli_00000000000000a1",
  appSecret: "a secret of the self-built app",
} as const;
export const marketplace = {
  kind: "marketplace",
  appId: "cli_00000000000000b2",
  appSecret: "a secret of the marketplace app",
} as const;

export interface Reply {
  readonly status: number;
  readonly headers: Headers;
  // biome-ignore lint/suspicious/noExplicitAny: whatever the server says.
  readonly body: any;
}

/** The simulator on a free port and a clock that stands still; what fails inside fails the test. */
export async function startOpenApi(t: TestContext, options: Partial<OpenApiOptions> = {}) {
  const clock = testClock();
  const random = seeded(17);
  const problems: unknown[] = [];
  const simulator = openApi({
    clock,
    newId: () => random.hex(32),
    apps: [selfBuilt, marketplace],
    onProblem: (problem) => problems.push(problem),
    ...options,
  });
  const server = await simulator.listen();
  t.after(async () => {
    await server.close();
    assert.deepEqual(problems, []);
  });

  /** A call as the server reads it. HTTP would take most of its CPU. */
  async function send(method: string, path: string, body?: unknown, token?: string): Promise<Reply> {
    const authorization = token === undefined ? undefined : `Bearer ${token}`;
    const text = typeof body === "string" ? body : (JSON.stringify(body) ?? "");
    const answer = await simulator.handle({ method, url: `/open-apis/${path}`, authorization, body: text });
    assert.ok(answer !== null, "the connection is closed");
    return { status: answer.status, headers: new Headers(answer.headers), body: JSON.parse(answer.body) };
  }

  async function sendOverHttp(method: string, path: string, body?: unknown, token?: string): Promise<Reply> {
    const response = await fetch(`${server.url}/open-apis/${path}`, {
      method,
      headers: {
        "content-type": "application/json; charset=utf-8",
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
      },
      ...(body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body) }),
    });
    return { status: response.status, headers: response.headers, body: await response.json() };
  }

  async function tenantToken(app: { appId: string; appSecret: string } = selfBuilt): Promise<string> {
    const { appId: app_id, appSecret: app_secret } = app;
    const { body } = await send("POST", "auth/v3/tenant_access_token/internal", { app_id, app_secret });
    assert.equal(body.code, 0, body.msg);
    return body.tenant_access_token;
  }

  return { clock, random, simulator, url: server.url, send, sendOverHttp, tenantToken, close: server.close };
}

export function text(words: string) {
  return { msg_type: "text", content: JSON.stringify({ text: words }) };
}

/** A card that everyone sees alike, of version 1.0. */
export function card(title: string): string {
  return JSON.stringify({
    config: { update_multi: true },
    header: { title: { tag: "plain_text", content: title } },
    elements: [{ tag: "div", text: { tag: "plain_text", content: title } }],
  });
}

/** The same with a token of the self-built app, and calls that carry it. */
export async function startWithToken(t: TestContext, options: Partial<OpenApiOptions> = {}) {
  const started = await startOpenApi(t, options);
  const token = await started.tenantToken();
  const call = (method: string, path: string, body?: unknown) => started.send(method, path, body, token);
  const callOverHttp = (method: string, path: string, body?: unknown) =>
    started.sendOverHttp(method, path, body, token);
  return { ...started, token, call, callOverHttp };
}

export const toChat = "im/v1/messages?receive_id_type=chat_id";
export const meisChat = `oc_${mei.open_id.slice(3)}`;

export function kilobytes(count: number): string {
  return "x".repeat(count * 1024);
}
