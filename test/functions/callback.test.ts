// in turn: they share the official SDK.

import assert from "node:assert/strict";
import { fork } from "node:child_process";
import { once } from "node:events";
import { createServer, type RequestListener, type Server } from "node:http";
import { registerHooks } from "node:module";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, describe, mock, test } from "node:test";
import { adaptDefault, EventDispatcher, LoggerLevel } from "@larksuiteoapi/node-sdk";
import { callbackTryMs } from "../../lib/aws/entries/callback.ts";
import type { HttpResponse } from "../../lib/aws/gateway.ts";
import { fromRecord } from "../../lib/aws/record.ts";
import { systemClock } from "../../lib/clock.ts";
import { NonRetryableError } from "../../lib/errors.ts";
import type { SealedRequest } from "../../lib/feishu/envelope.ts";
import type { DeferredContext, Tools } from "../../lib/handler.ts";
import { fallback } from "../../lib/handling/fallback.ts";
import { listenOnLoopback } from "../../lib/simulator/loopback.ts";
import { jsonLines } from "../../lib/trace/log.ts";
import {
  cardText,
  cardType,
  objectOf,
  previewText,
  previewType,
  type TestCallbacks,
  toast,
} from "../support/callbacks.ts";
import { endsAtOnce, goBy, inTime, patientClock, testClock } from "../support/clock.ts";
import { firstTry, startFaults } from "../support/faults.ts";
import { functionUrl, httpApi, loadBalancer, restApi, shapes } from "../support/http-events.ts";
import { nodeEnv } from "../support/node-env.ts";
import { appId, bare, challengeText, encryptKey, push, unsigned, v2Text, verificationToken } from "../support/push.ts";
import { type Services, startServices } from "../support/services.ts";
import { type Store, startStore } from "../support/ssm.ts";
import { messageOf, recordTrace } from "../support/trace.ts";
import { until } from "../support/until.ts";
import { toRecord } from "../support/worker.ts";

const trace = recordTrace();
beforeEach(() => {
  trace.entries.length = 0;
});
before(() => goBy(mock, patientClock()));
after(() => mock.restoreAll());

/** What the generated list holds in these tests; a load of a function reads it. */
const list: Record<string, () => Promise<unknown>> = {};
Object.assign(globalThis, { testCallbacks: list });
const hooks = registerHooks({
  resolve(specifier, context, next) {
    const isList = /^\.\/(callbacks|events)\.gen\.ts$/.test(specifier);
    const source = "export const callbacks = globalThis.testCallbacks; export const events = {};";
    return isList ? { url: `data:text/javascript,${source}`, shortCircuit: true } : next(specifier, context);
  },
});
after(() => hooks.deregister());

let services: Services;
let env: Record<string, string>;
before(async () => {
  services = await startServices();
  env = { ...services.env, ENCRYPT_KEY: encryptKey, VERIFICATION_TOKEN: verificationToken, APP_ID: appId };
});
after(() => services.stop());

const leaks = ["unhandledRejection", "uncaughtException"];
let loads = 0;
/** Loads a function anew, as a platform does with these settings and these handlers. */
async function load(
  name: "callback" | "worker",
  callbacks: TestCallbacks,
  settings: Record<string, string | undefined> = {},
) {
  for (const type of Object.keys(list)) delete list[type];
  for (const [type, given] of Object.entries(callbacks)) {
    const file = typeof given === "function" ? { handle: given } : given;
    list[type] = async () => ({ default: { type, ...file } });
  }
  return loadAsIs(name, settings);
}

async function loadAsIs(name: "callback" | "worker", settings: Record<string, string | undefined> = {}) {
  for (const [variable, value] of Object.entries({ CALLBACK_DEADLINE_MS: undefined, ...env, ...settings })) {
    if (value === undefined) delete process.env[variable];
    else process.env[variable] = value;
  }
  // In a function of its own it takes over what was dropped; here the test runner is to hear of that.
  const others = leaks.map((leak) => process.listeners(leak as "uncaughtException"));
  const { handler } = await import(`../../functions/${name}.ts?callback=${++loads}`);
  for (const [at, leak] of leaks.entries()) {
    process.removeAllListeners(leak);
    for (const other of others[at] ?? []) process.on(leak, other);
  }
  return handler as (event: unknown) => Promise<HttpResponse>;
}

const nowMs = () => Date.now();
const pushed = (text: string) => push(text, { nowMs: nowMs() });
const toCallback = (request: SealedRequest, method = "POST") => httpApi(request, { path: "/callback", method });
const counts = async () => [
  await services.count(services.urls.eventsQueueUrl),
  await services.count(services.urls.quarantineQueueUrl),
];
let ids = 0;
const newId = () => `callback-${++ids}`;

describe("the callback function", () => {
  test("C8: hands a card's click to its handler and stores none of it, whichever of AWS's four doors it came through", async () => {
    const seen: unknown[] = [];
    const card = ({ action }: { action: unknown }) => {
      seen.push(action);
      return toast("done");
    };
    const handler = await load("callback", { [cardType]: card });
    const before = await counts();
    for (const [at, toEvent] of [httpApi, restApi, functionUrl, loadBalancer].entries()) {
      const path = toEvent === functionUrl ? "/" : "/callback";
      const event = toEvent(pushed(cardText({ id: newId() })), { base64: at % 2 === 1, path });
      assert.deepEqual(objectOf(await handler(event)), toast("done"));
    }
    assert.deepEqual(seen, Array(4).fill({ value: { key: "approve" }, tag: "button" }));
    assert.deepEqual(await counts(), before);
  });

  test("C8: queues an event that comes to its address, answers a challenge, and refuses a stranger", async () => {
    const handler = await load("callback", { "im.message.receive_v1": () => assert.fail("it ran") });
    const [queued = 0, quarantined = 0] = await counts();
    const event = pushed(v2Text({ header: { event_id: "at-the-wrong-door" } }));
    assert.deepEqual(objectOf(await handler(toCallback(event))), {});
    assert.deepEqual(await counts(), [queued + 1, quarantined]);
    const [message] = await services.take(services.urls.eventsQueueUrl);
    const envelope = fromRecord({ body: message?.Body ?? "" });
    assert.ok(envelope.kind === "event" && envelope.id === "at-the-wrong-door");
    const challenge = objectOf(await handler(toCallback(unsigned(challengeText()))));
    assert.deepEqual(challenge, { challenge: "7c5a9b1e-4d2f" });
    for (const { toEvent } of shapes) {
      assert.equal((await handler(toEvent(bare(cardText()), { path: "/callback" }))).statusCode, 401);
    }
    assert.equal((await handler(httpApi(event, { path: "/webhook" }))).statusCode, 404);
    assert.deepEqual(await counts(), [queued + 1, quarantined]);
  });

  test("R15: has at most two parameters, and so has the worker's: Node 24 runs no other", async () => {
    for (const name of ["callback", "worker"] as const) assert.ok((await load(name, {})).length <= 2, name);
  });

  test("C4: runs a click that comes twice, at once or later, once", async () => {
    let runs = 0;
    const slow = async () => {
      const run = ++runs;
      await new Promise((resolve) => setTimeout(resolve, 60));
      return toast(`run ${run}`);
    };
    const handler = await load("callback", { [cardType]: slow });
    const request = toCallback(pushed(cardText({ id: newId() })));
    const answers = await Promise.all([handler(request), handler(request)]);
    answers.push(await handler(request));
    for (const answer of answers) assert.deepEqual(objectOf(answer), toast("run 1"));
    assert.equal(runs, 1);
  });

  test("C5: has what was put off in the queue when its answer is out; the worker function does it", async () => {
    const done: unknown[] = [];
    const callbacks: TestCallbacks = {
      [cardType]: {
        handle: async (_, { defer }) => {
          await defer({ order: 42 });
          return toast("received");
        },
        deferred: (payload, context) => {
          const { id, callback } = context as DeferredContext<"card.action.trigger">;
          done.push({ payload, id, value: callback.action.value });
        },
      },
    };
    const handler = await load("callback", callbacks);
    const id = newId();
    const [queued = 0] = await counts();
    assert.deepEqual(objectOf(await handler(toCallback(pushed(cardText({ id }))))), toast("received"));
    assert.equal((await counts())[0], queued + 1);
    assert.deepEqual(trace.stages(), ["received", "started", "deferred", "handled", "answered"]);

    const worker = await load("worker", callbacks);
    const records = (await services.take(services.urls.eventsQueueUrl, { waitSeconds: 10 })).map(toRecord);
    assert.equal(records.length, 1);
    assert.deepEqual(await worker({ Records: records }), { batchItemFailures: [] });
    for (const event of [{}, undefined, { Records: {} }]) {
      await assert.rejects(worker(event), /^TypeError: Cannot handle the event: it is no SQS event, /);
    }
    assert.deepEqual(done, [{ payload: { order: 42 }, id: `${id}#deferred`, value: { key: "approve" } }]);
  });

  test("C-67: gives handlers and deferred work their further secrets, and logs none, whatever fails with it", async () => {
    const canary = "CANARY-of-the-crm-token";
    const seen: unknown[] = [];
    const read = ({ secrets }: Tools) => {
      seen.push(secrets["CRM_TOKEN"]);
      return secrets["CRM_TOKEN"];
    };
    const callbacks: TestCallbacks = {
      [cardType]: {
        handle: async (_, context) => {
          await context.defer({});
          return toast(String(read(context)?.length));
        },
        deferred: (_, context) => {
          throw new NonRetryableError(`the CRM refused ${read(context)}`, { cause: new Error(read(context)) });
        },
      },
    };
    const settings = { EXTRA_SECRETS: "CRM_TOKEN", CRM_TOKEN: canary };
    const handler = await load("callback", callbacks, settings);
    assert.deepEqual(objectOf(await handler(toCallback(pushed(cardText({ id: newId() }))))), toast(`${canary.length}`));
    const worker = await load("worker", callbacks, settings);
    const records = (await services.take(services.urls.eventsQueueUrl, { waitSeconds: 10 })).map(toRecord);
    assert.deepEqual(await worker({ Records: records }), { batchItemFailures: [] });
    assert.deepEqual(seen, Array(3).fill(canary));
    const [dead] = await services.take(services.urls.deadLetterQueueUrl);
    const lines: string[] = [];
    const write = jsonLines({ level: "debug", write: (line) => lines.push(line), clock: systemClock });
    for (const entry of trace.entries) write(entry);
    assert.ok(lines.some((line) => line.includes('"stage":"dead"')) && dead !== undefined);
    for (const text of [...lines, JSON.stringify(dead)]) assert.ok(!text.includes("CANARY"), text);
  });

  test("C5, C9: says that it failed while the queue or the table is not there, and runs nothing blindly", async () => {
    let runs = 0;
    const card = {
      deferred: () => {},
      handle: async (_: unknown, { defer }: { defer: (payload: unknown) => Promise<void> }) => {
        runs++;
        await defer({});
        return toast("received");
      },
    };
    const noQueue = { EVENTS_QUEUE_URL: `${services.endpoints.sqs}/000000000000/missing` };
    const withoutQueue = await load("callback", { [cardType]: card }, noQueue);
    const click = () => toCallback(pushed(cardText({ id: newId() })));
    assert.deepEqual(objectOf(await withoutQueue(click())), fallback(cardType, "failed"));
    assert.equal(runs, 1);
    const withoutTable = await load("callback", { [cardType]: card }, { LEDGER_TABLE: "missing" });
    assert.deepEqual(objectOf(await withoutTable(click())), fallback(cardType, "failed"));
    assert.equal(runs, 1);
    const failed = trace.entries.findLast(({ stage }) => stage === "failed");
    assert.equal(failed?.facts?.["reason"], "store");
    assert.equal(failed?.error instanceof Error && (failed.error.cause as Error).name, "ResourceNotFoundException");
  });

  test("C6: loads its handlers' files while it starts, and one that fails is told when it is needed", async () => {
    let loaded = 0;
    for (const type of Object.keys(list)) delete list[type];
    list[previewType] = async () => {
      loaded++;
      return { default: { type: previewType, handle: () => ({ inline: { title: "a title" } }) } };
    };
    list[cardType] = () => Promise.reject(new SyntaxError("Unexpected token"));
    const handler = await loadAsIs("callback");
    assert.equal(loaded, 1);
    assert.deepEqual(objectOf(await handler(toCallback(pushed(previewText())))), { inline: { title: "a title" } });
    const click = toCallback(pushed(cardText({ id: newId() })));
    assert.deepEqual(objectOf(await handler(click)), fallback(cardType, "failed"));
  });

  test("C1: starts although a handler's file never ends loading, and answers that one's callbacks in time", async (t) => {
    const clock = testClock(Date.now());
    goBy(t.mock, clock);
    for (const type of Object.keys(list)) delete list[type];
    list[cardType] = () => new Promise(() => {});
    list[previewType] = async () => ({ default: { type: previewType, handle: () => ({ inline: { title: "t" } }) } });
    const handler = await inTime(clock, loadAsIs("callback", { CALLBACK_DEADLINE_MS: "200" }), 100);
    assert.deepEqual(objectOf(await handler(toCallback(pushed(previewText())))), { inline: { title: "t" } });
    const late = handler(toCallback(pushed(cardText({ id: newId() }))));
    await clock.advance(199);
    assert.ok(!trace.stages().includes("late"));
    await clock.advance(1);
    assert.ok(await endsAtOnce(late));
    assert.deepEqual(objectOf(await late), fallback(cardType, "late"));
  });

  const settings = ["ENCRYPT_KEY", "VERIFICATION_TOKEN", "APP_ID", "EVENTS_QUEUE_URL", "LEDGER_TABLE"];
  test("R3, C-44: starts without a usable setting, answers 503 to every push and says why once", async () => {
    for (const name of [...settings, "CALLBACK_DEADLINE_MS"]) {
      trace.entries.length = 0;
      const handler = await load("callback", { [cardType]: () => assert.fail("it ran") }, { [name]: " " });
      for (const request of [pushed(cardText()), unsigned(challengeText()), bare("x")]) {
        assert.equal((await handler(toCallback(request))).statusCode, 503);
      }
      assert.equal((await handler(toCallback(bare(""), "GET"))).statusCode, 200, "a health check");
      const told = trace.entries.filter(({ level }) => level === "error" || level === "warn");
      assert.deepEqual(
        told.map(({ stage }) => stage),
        ["misconfigured"],
      );
      assert.match(messageOf(told[0]), new RegExp(`^Cannot start: ${name} `));
    }
  });

  test("C2: outlives what its handlers let go of, and says at once that it failed to whoever waits for it", async () => {
    const path = join(import.meta.dirname, "../support/callback-process.ts");
    const child = fork(path, ["callback"], { env: { ...nodeEnv, ...env }, silent: true });
    try {
      await once(child, "message");
      const answer = async (letsGo?: string) => {
        const answered = Promise.race([once(child, "message"), once(child, "exit")]);
        child.send({ text: cardText({ id: newId(), event: { action: { tag: "button", value: { letsGo } } } }) });
        return objectOf((await answered)[0] as HttpResponse);
      };
      for (const what of ["a promise", "a timer", "an emitter"]) {
        assert.deepEqual(await answer(what), fallback(cardType, "failed"), what);
      }
      assert.deepEqual(await answer(), toast("received"));
    } finally {
      child.kill("SIGKILL");
    }
    await services.take(services.urls.eventsQueueUrl);
  });

  test("C1: answers one stalled try at the table by another: the handler runs, and its answer is remembered", async (t) => {
    const clock = testClock(Date.now());
    goBy(t.mock, clock);
    const faults = await startFaults(services.endpoints.dynamo);
    try {
      for (const action of ["PutItem", "UpdateItem"]) {
        let runs = 0;
        const handler = await load(
          "callback",
          { [cardType]: () => toast(`run ${++runs}`) },
          { AWS_ENDPOINT_URL_DYNAMODB: faults.endpoint },
        );
        faults.inject(action, { kind: "stall" }, firstTry);
        const click = toCallback(pushed(cardText({ id: newId() })));
        const answer = handler(click);
        await until("a try stalls", () => faults.injected("stall") === 1);
        await clock.advance(callbackTryMs.dynamodb + 100);
        assert.deepEqual(objectOf(await answer), toast("run 1"), action);
        assert.equal(faults.injected("stall"), 1);
        faults.reset();
        assert.deepEqual(objectOf(await handler(click)), toast("run 1"), action);
        assert.deepEqual(trace.stages().at(-2), "duplicate");
      }
    } finally {
      await faults.stop();
    }
  });

  describe("with SECRETS_PARAMETER", () => {
    const parameter = "/larkpost/test/app";
    const stored = (key: string) =>
      JSON.stringify({ appId, encryptKeys: [{ value: key }], verificationTokens: [{ value: verificationToken }] });
    const unset = { ENCRYPT_KEY: undefined, VERIFICATION_TOKEN: undefined };
    const whileStored = async (check: (store: Store) => Promise<void>) => {
      const store = await startStore();
      store.put(parameter, stored(encryptKey));
      const { AWS_ENDPOINT_URL_SSM } = store.env;
      try {
        Object.assign(process.env, { SECRETS_PARAMETER: parameter, AWS_ENDPOINT_URL_SSM });
        await check(store);
      } finally {
        delete process.env["SECRETS_PARAMETER"];
        await store.stop();
      }
    };

    test("C1: answers 503 200 ms behind its deadline while its keys do not come", (t) =>
      whileStored(async (store) => {
        const clock = testClock(Date.now());
        goBy(t.mock, clock);
        store.become("stalled");
        const handler = await inTime(clock, load("callback", {}, { ...unset, CALLBACK_DEADLINE_MS: "150" }), 100);
        const late = handler(toCallback(pushed(cardText())));
        await clock.advance(349);
        assert.ok(!trace.stages().includes("unavailable"));
        await clock.advance(1);
        assert.ok(await endsAtOnce(late));
        assert.equal((await late).statusCode, 503);
      }));

    test("K2: takes a key that was changed meanwhile, once it may look again", (t) =>
      whileStored(async (store) => {
        const handler = await load("callback", { [cardType]: () => toast("done") }, unset);
        const click = (key: string) =>
          handler(toCallback(push(cardText({ id: newId() }), { nowMs: nowMs(), encryptKey: key })));
        assert.deepEqual(objectOf(await click(encryptKey)), toast("done"));
        store.put(parameter, stored("another encrypt key"));
        assert.equal((await click("another encrypt key")).statusCode, 401);
        t.mock.method(systemClock, "nowMs", () => nowMs() + 31_000);
        assert.deepEqual(objectOf(await click("another encrypt key")), toast("done"));
      }));
  });
});

describe("an answer over HTTP", () => {
  const servers: Server[] = [];
  afterEach(() => {
    for (const server of servers.splice(0)) server.close();
  });
  async function listen(listener: RequestListener): Promise<string> {
    const server = createServer(listener);
    servers.push(server);
    const port = await listenOnLoopback(server);
    return `http://127.0.0.1:${port}/callback`;
  }

  /** The function behind a gateway of its own. */
  function gateway(handler: (event: unknown) => Promise<HttpResponse>): RequestListener {
    return (request, response) => {
      const chunks: Buffer[] = [];
      request.on("data", (chunk: Buffer) => chunks.push(chunk));
      request.on("end", () => {
        const headers = new Map(Object.entries(request.headers).map(([name, value]) => [name, String(value)]));
        const event = httpApi({ headers, rawBody: Buffer.concat(chunks) }, { path: request.url ?? "" });
        void handler(event).then((answer) => response.writeHead(answer.statusCode, answer.headers).end(answer.body));
      });
    };
  }

  async function post(url: string, { headers, rawBody }: SealedRequest) {
    const response = await fetch(url, { method: "POST", headers: [...headers], body: Buffer.from(rawBody) });
    return { status: response.status, type: response.headers.get("content-type"), body: await response.json() };
  }

  // The answers of the vendor's own examples.
  const answers: [type: string, text: () => string, answer: object][] = [
    [
      cardType,
      () => cardText({ id: newId() }),
      {
        toast: {
          type: "success",
          content: "\u5361\u7247\u4ea4\u4e92\u6210\u529f",
          i18n: { zh_cn: "\u5361\u7247\u4ea4\u4e92\u6210\u529f", en_us: "card action success" },
        },
      },
    ],
    [previewType, previewText, { inline: { title: "\u94fe\u63a5\u9884\u89c8\u6d4b\u8bd5" } }],
    [
      cardType,
      () => cardText({ id: newId() }),
      { card: { type: "raw", data: { schema: "2.0", config: { update_multi: true }, body: { elements: [] } } } },
    ],
    [
      previewType,
      previewText,
      {
        inline: { i18n_title: { zh_cn: "\u8ba2\u5355", en_us: "Order" }, url: { copy_url: "https://shop.example" } },
        card: { type: "template", data: { template_id: "AAq", template_variable: { order: "42" } } },
      },
    ],
    [cardType, () => cardText({ id: newId() }), {}],
  ];
  test("is what the official SDK would send", async () => {
    let answer: object = {};
    const handles = { [cardType]: () => answer, [previewType]: () => answer };
    const dispatcher = new EventDispatcher({ encryptKey, verificationToken, loggerLevel: LoggerLevel.error });
    (dispatcher.register as (handles: object) => unknown).call(dispatcher, handles);
    const theirs = await listen(adaptDefault("/callback", dispatcher, { autoChallenge: true }) as RequestListener);
    const ours = await listen(gateway(await load("callback", handles)));
    for (const [type, text, given] of answers) {
      answer = given;
      const request = pushed(text());
      const [sent, expected] = [await post(ours, request), await post(theirs, request)];
      assert.deepEqual([sent.status, sent.body], [expected.status, expected.body], type);
      assert.deepEqual([sent.status, sent.body], [200, answer]);
      assert.match(sent.type ?? "", /^application\/json/);
    }
  });
});
