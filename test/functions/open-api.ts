import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { basename } from "node:path";
import { test } from "node:test";
import type { Message } from "@aws-sdk/client-sqs";
import type { build } from "../../lib/cli/deploy/build.ts";
import { toRecord } from "../../lib/local/poller.ts";
import { groupChat, mei } from "../../lib/simulator/samples/facts.ts";
import { type EventParts, eventBody, record } from "../support/events.ts";
import { httpApi } from "../support/http-events.ts";
import { marketplace, selfBuilt, startOpenApi } from "../support/open-api.ts";
import { sealNow } from "../support/sealed.ts";
import type { Services } from "../support/services.ts";
import type { Store } from "../support/ssm.ts";
import { inFreshProcess, type Step } from "./fresh-process.ts";

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
  given: () => {
    readonly built: Awaited<ReturnType<typeof build>>;
    readonly services: Services;
    readonly store: Store;
    /** With these, a function has its keys from the store. */
    readonly stored: Readonly<Record<string, string | null>>;
    /** What the webhook has queued. */
    readonly queued: () => Promise<Message[]>;
  },
): void {
  /** Calls a function in a fresh process, with a simulated Open API. */
  async function run(
    name: "worker" | "callback",
    steps: readonly Omit<Step, "file">[],
    { url, simulator }: Awaited<ReturnType<typeof startOpenApi>>,
  ) {
    const { built, services } = given();
    const file = built.find((one) => one.name === name)?.file ?? assert.fail(name);
    const done = await inFreshProcess(
      steps.map((step) => ({ ...step, file })),
      { ...services.env, ...keys, APP_SECRET: selfBuilt.appSecret, LARK_DOMAIN: url, LOG_LEVEL: "error" },
    );
    const sent = simulator.messages(groupChat);
    return {
      texts: sent.map(({ content }) => JSON.parse(content).text),
      tenants: sent.map(({ tenant }) => tenant),
      answers: done.map(({ answer }) => answer),
      loaded: done.map(({ loaded }) => loaded),
    };
  }

  const ways = ["nothing", "request", "send", "lark", "check"] as const;
  function assertLoaded(loaded: readonly (readonly string[])[]): void {
    const has = (chunk: RegExp) => loaded.map((urls) => urls.some((url) => chunk.test(url)));
    assert.deepEqual(has(api), [false, true, true, true, true], "the API's chunk, from the first call on");
    assert.deepEqual(has(messages), [false, false, true, true, true], "what a handler says in one line, when it does");
    assert.deepEqual(has(client), [false, false, false, true, true], "the official client's, when it is asked for");
    assert.deepEqual(has(cardRules), [false, false, false, false, true], "the rules for cards, when one is checked");
  }

  test("the worker completes once what was queued; a handler loads nothing of the Open API until it calls, and the official client only when it asks for that; and a marketplace's app acts in the event's tenant, by the ticket that its worker was sent", async (t) => {
    const { services, store, stored, queued } = given();
    const batch = (parts: EventParts) => {
      const id = randomUUID();
      return { event: { Records: [record(eventBody({ id, ...parts }), { id })] } };
    };
    const Records = (await queued()).map((message) => toRecord(message, services.urls.eventsQueueUrl));
    const asked = store.asked();
    const tickets: string[] = [];
    const simulated = await startOpenApi(t, { onAppTicket: ({ ticket }) => void tickets.push(ticket) });
    simulated.simulator.issueAppTicket(marketplace.appId);
    const ofTenant = { app: marketplace.appId, tenant: "their-tenant" };
    const settings = { APP_ID: marketplace.appId, APP_SECRET: marketplace.appSecret, MARKETPLACE_APP: "true" };
    const steps = [
      { event: { Records }, settings: { ...stored, APP_SECRET: null } },
      { event: { Records } },
      ...ways.map((how) => batch({ type: eventType, app: keys.APP_ID, event: { how } })),
      {
        ...batch({ ...ofTenant, type: eventType, event: { how: "request" } }),
        settings: { ...keys, SECRETS_PARAMETER: null, ...settings },
      },
      batch({ ...ofTenant, type: "app_ticket", event: { app_ticket: tickets[0] } }),
      batch({ ...ofTenant, type: eventType, event: { how: "lark" } }),
    ];
    const { answers, loaded, texts, tenants } = await run("worker", steps, simulated);
    // The marketplace's first one waits for a ticket; it would have been hidden, were it in a queue.
    assert.deepEqual(
      answers.map(({ batchItemFailures }) => batchItemFailures.length),
      [0, 0, ...ways.map(() => 0), 1, 0, 0],
    );
    assert.deepEqual(texts, ["request", "send", "lark", "lark"]);
    assert.equal(tenants.at(-1), "their-tenant");
    assertLoaded(loaded.slice(2, 2 + ways.length));
    assert.equal(store.asked() - asked, 1, "once, while the function was loaded");
  });

  test("nor does a callback's", async (t) => {
    const clicks = ways.map((how) => {
      const header = {
        ...{ event_id: randomUUID(), event_type: callbackType, app_id: keys.APP_ID, tenant_key: "t" },
        ...{ token: keys.VERIFICATION_TOKEN, create_time: String(Date.now() * 1000) },
      };
      const action = { tag: "button", value: { how } };
      const event = { token: "c-1", operator: { open_id: mei.open_id }, action, context: {} };
      return { event: httpApi(sealNow(JSON.stringify({ schema: "2.0", header, event }), keys), { path: "/callback" }) };
    });
    const { answers, loaded, texts } = await run("callback", clicks, await startOpenApi(t));
    assert.deepEqual(
      answers.map(({ body }) => body),
      ways.map(() => "{}"),
    );
    assert.deepEqual(texts, ["request", "send", "lark"]);
    assertLoaded(loaded);
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
