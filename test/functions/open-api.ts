import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { randomUUID } from "node:crypto";
import { basename } from "node:path";
import { type TestContext, test } from "node:test";
import { promisify } from "node:util";
import type { build } from "../../lib/cli/deploy/build.ts";
import { groupChat, mei } from "../../lib/simulator/samples/facts.ts";
import { type EventParts, eventBody, record } from "../support/events.ts";
import { httpApi } from "../support/http-events.ts";
import { marketplace, selfBuilt, startOpenApi } from "../support/open-api.ts";
import { sealNow } from "../support/sealed.ts";
import type { Services } from "../support/services.ts";

const keys = {
  ENCRYPT_KEY: "bundle-test-encrypt-key",
  VERIFICATION_TOKEN: "bundle-test-verification-token",
  APP_ID: selfBuilt.appId,
};

/** A handler's file that calls the API as its event says. */
const source = (declare: string) => `
import { ${declare}, checkCard } from "larkpost";
export default ${declare}("TYPE", async (event: never, { request, lark, send }) => {
  const { how } = JSON.parse(JSON.stringify(event)).action?.value ?? event;
  const data = { receive_id: "${groupChat}", msg_type: "text", content: JSON.stringify({ text: how }) };
  if (how === "request") {
    await request("POST", "/open-apis/im/v1/messages", { query: { receive_id_type: "chat_id" }, body: data });
  }
  if (how === "send") await send("${groupChat}", how);
  if (how === "lark") {
    await (await lark()).im.message.create({ params: { receive_id_type: "chat_id" }, data });
  }
  if (how === "check" && (await checkCard({ elements: [{ tag: "divider" }] })).faults.length !== 1) throw new Error(how);
  return {};
});`;

/** Which chunk of a bundle a file's name begins with. */
const api = /\/chunks\/client-/;
const messages = /\/chunks\/message-calls-/;
const client = /\/chunks\/official-client-/;
const cardRules = /\/chunks\/card-\d/;

const eventType = "contact.user.created_v3";
const callbackType = "card.action.trigger";

/** Handler files for the project whose bundles are given to `openApiInBundles`. */
export const callers = {
  events: { [eventType]: source("onEvent").replace("TYPE", eventType) },
  callbacks: { [callbackType]: source("onCallback").replace("TYPE", callbackType) },
};

/** What handlers load of the Open API, and when, in built functions. */
export function openApiInBundles(
  given: () => { readonly built: Awaited<ReturnType<typeof build>>; readonly services: Services },
): void {
  /** Invokes a function in a fresh process, and says which chunks were loaded by the end of each invocation. */
  async function trace(
    t: TestContext,
    name: "worker" | "callback",
    invocations: readonly unknown[],
    settings: Readonly<Record<string, string>> = {},
    simulated?: Awaited<ReturnType<typeof startOpenApi>>,
  ) {
    const { url, simulator } = simulated ?? (await startOpenApi(t));
    const script = `
      import { registerHooks } from "node:module";
      import { pathToFileURL } from "node:url";
      const loaded = [];
      registerHooks({ load: (url, context, next) => (loaded.push(url), next(url, context)) });
      const { handler } = await import(pathToFileURL(process.env.ENTRY).href);
      const seen = [];
      for (const event of JSON.parse(process.env.EVENTS)) seen.push({ answer: await handler(event), loaded: [...loaded] });
      process.stderr.write(JSON.stringify(seen));
      process.exit();`;
    const { built, services } = given();
    const { PATH, NODE_COMPILE_CACHE } = process.env;
    const env = {
      ...{ PATH, NODE_COMPILE_CACHE, ...services.env, ...keys, LOG_LEVEL: "error" },
      ...{ APP_SECRET: selfBuilt.appSecret, LARK_DOMAIN: url, ...settings },
      ...{ ENTRY: built.find((one) => one.name === name)?.file, EVENTS: JSON.stringify(invocations) },
    };
    const args = ["--input-type=module", "-e", script];
    const { stderr } = await promisify(execFile)(process.execPath, args, { env, timeout: 60_000 });
    const seen = JSON.parse(stderr) as { answer: unknown; loaded: string[] }[];
    const texts = simulator.messages(groupChat).map(({ content }) => JSON.parse(content).text);
    const tenants = simulator.messages(groupChat).map(({ tenant }) => tenant);
    return { texts, tenants, answers: seen.map(({ answer }) => answer), loaded: seen.map(({ loaded }) => loaded) };
  }

  const ways = ["nothing", "request", "send", "lark", "check"] as const;
  function assertLoaded(loaded: readonly string[][]): void {
    const has = (chunk: RegExp) => loaded.map((urls) => urls.some((url) => chunk.test(url)));
    assert.deepEqual(has(api), [false, true, true, true, true], "the API's chunk, from the first call on");
    assert.deepEqual(has(messages), [false, false, true, true, true], "what a handler says in one line, when it does");
    assert.deepEqual(has(client), [false, false, false, true, true], "the official client's, when it is asked for");
    assert.deepEqual(has(cardRules), [false, false, false, false, true], "the rules for cards, when one is checked");
  }

  test("a worker's handler loads nothing of it until it calls, and the official client only when it asks for that", async (t) => {
    const batches = ways.map((how) => ({
      Records: [record(eventBody({ id: randomUUID(), type: eventType, app: keys.APP_ID, event: { how } }))],
    }));
    const { answers, loaded, texts } = await trace(t, "worker", batches);
    assert.deepEqual(
      answers,
      ways.map(() => ({ batchItemFailures: [] })),
    );
    assert.deepEqual(texts, ["request", "send", "lark"]);
    assertLoaded(loaded);
  });

  test("nor does a callback's", async (t) => {
    const clicks = ways.map((how) => {
      const header = {
        ...{ event_id: randomUUID(), event_type: callbackType, app_id: keys.APP_ID, tenant_key: "t" },
        ...{ token: keys.VERIFICATION_TOKEN, create_time: String(Date.now() * 1000) },
      };
      const action = { tag: "button", value: { how } };
      const event = { token: "c-1", operator: { open_id: mei.open_id }, action, context: {} };
      return httpApi(sealNow(JSON.stringify({ schema: "2.0", header, event }), keys), { path: "/callback" });
    });
    const { answers, loaded, texts } = await trace(t, "callback", clicks);
    assert.deepEqual(
      answers.map((answer) => (answer as { body: string }).body),
      ways.map(() => "{}"),
    );
    assert.deepEqual(texts, ["request", "send", "lark"]);
    assertLoaded(loaded);
  });

  test("a marketplace's app acts in the event's tenant, by the ticket that its worker was sent", async (t) => {
    const tickets: string[] = [];
    const simulated = await startOpenApi(t, { onAppTicket: ({ ticket }) => void tickets.push(ticket) });
    simulated.simulator.issueAppTicket(marketplace.appId);
    const batch = (parts: EventParts) => {
      const id = randomUUID();
      return { Records: [record(eventBody({ id, app: marketplace.appId, tenant: "their-tenant", ...parts }), { id })] };
    };
    const batches = [
      batch({ type: eventType, event: { how: "request" } }),
      batch({ type: "app_ticket", event: { app_ticket: tickets[0] } }),
      batch({ type: eventType, event: { how: "lark" } }),
    ];
    const settings = { APP_ID: marketplace.appId, APP_SECRET: marketplace.appSecret, MARKETPLACE_APP: "true" };
    const { answers, texts, tenants } = await trace(t, "worker", batches, settings, simulated);
    // The first one waits for a ticket; it would have been hidden, were it in a queue.
    assert.deepEqual(
      answers.map((answer) => (answer as { batchItemFailures: unknown[] }).batchItemFailures.length),
      [1, 0, 0],
    );
    assert.deepEqual([texts, tenants], [["lark"], ["their-tenant"]]);
  });

  test("the official client is a chunk of its own in both, and no part of it is elsewhere", () => {
    for (const name of ["worker", "callback"]) {
      const { outputs } = given().built.find((one) => one.name === name)?.metafile ?? assert.fail();
      const holding = Object.entries(outputs).filter(([, { inputs }]) =>
        Object.keys(inputs).some((path) => path.includes("@larksuiteoapi/node-sdk/")),
      );
      assert.equal(holding.length, 1);
      const [[path, { inputs }] = assert.fail()] = holding;
      assert.match(path, /official-client-/);
      assert.deepEqual(
        Object.keys(inputs).flatMap((input) => (/node_modules\/|^builtin:/.test(input) ? [] : [basename(input)])),
        ["official-client.ts"],
      );
    }
  });
}
