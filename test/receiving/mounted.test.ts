// in turn: they share the web frameworks.
import assert from "node:assert/strict";
import { createServer, type RequestListener } from "node:http";
import { devNull } from "node:os";
import { after, afterEach, before, beforeEach, describe, mock, type TestContext, test } from "node:test";
import Router from "@koa/router";
import bodyParser from "body-parser";
import expressApp from "express";
import fastifyApp from "fastify";
import Koa from "koa";
import { koaBody } from "koa-body";
import { type CallbackList, onCallback } from "larkpost";
import { challengeOf, decrypt } from "larkpost/feishu";
import {
  createReceiver,
  express,
  fastify,
  fetchHandler,
  keepRawBody,
  koa,
  nodeListener,
  type Receiver,
} from "larkpost/http";
import { fromRecord } from "../../lib/aws/record.ts";
import { cardText, cardType } from "../support/callbacks.ts";
import { goBy, patientClock, settled } from "../support/clock.ts";
import { mount, openDoor, type Sent } from "../support/doors.ts";
import {
  appId,
  challengeText,
  ciphertextOf,
  encryptKey,
  push,
  unsigned,
  v1Text,
  v2Text,
  verificationToken,
} from "../support/push.ts";
import { type Services, startServices } from "../support/services.ts";
import { messageOf, recordTrace } from "../support/trace.ts";
import { until } from "../support/until.ts";

const trace = recordTrace();
beforeEach(() => {
  trace.entries.length = 0;
});
before(() => goBy(mock, patientClock()));
after(() => mock.restoreAll());

const keys = { ENCRYPT_KEY: encryptKey, VERIFICATION_TOKEN: verificationToken, APP_ID: appId };
const callbacks: CallbackList = {
  [cardType]: async () => ({
    default: onCallback(
      cardType,
      async ({ action }, { defer }) => {
        await defer(action.value);
        return { toast: { type: "success", content: "Approved" } };
      },
      { deferred: async () => {} },
    ),
  }),
};

let services: Services;
let env: NodeJS.ProcessEnv;
before(async () => {
  services = await startServices();
  env = { ...services.env, ...keys, APP_SECRET: "an app secret for tests" };
});
after(() => services.stop());
afterEach(() => services.take(services.urls.eventsQueueUrl));

/** Serves a host on 127.0.0.1 until the test ends. */
async function serve(t: TestContext, host: RequestListener) {
  const opened = await openDoor({ name: "a host", serve: () => createServer(host) }, createReceiver({ env }));
  t.after(() => opened.stop());
  return opened;
}

function toSent({ headers, rawBody }: ReturnType<typeof push>): Sent {
  return { headers: [...new Map([["content-type", "application/json"] as const, ...headers])], body: rawBody };
}

const pushNow = (text: string) => toSent(push(text, { nowMs: Date.now() }));

/** What the events queue has by now. */
async function queued(): Promise<string[]> {
  const messages = await services.take(services.urls.eventsQueueUrl);
  return messages.map(({ Body = "" }) => fromRecord({ body: Body })).map(({ kind, ...rest }) => typeOf(kind, rest));
}

function typeOf(kind: string, rest: object): string {
  return `${kind} ${"type" in rest ? rest.type : ""}`;
}

/** A challenge, an event and a callback at one address: answered, queued, and answered with its deferred work queued. */
async function takesAll(t: TestContext, host: RequestListener): Promise<void> {
  const { send } = await serve(t, host);
  const answers = [];
  for (const sent of [toSent(unsigned(challengeText())), pushNow(v2Text()), pushNow(cardText({ id: t.name }))]) {
    const { status, text } = await send(sent);
    answers.push([status, JSON.parse(text)]);
  }
  const toast = { toast: { type: "success", content: "Approved" } };
  assert.deepEqual(answers, [
    [200, { challenge: "7c5a9b1e-4d2f" }],
    [200, {}],
    [200, toast],
  ]);
  assert.equal((await send(toSent(push(v2Text(), { encryptKey: "another key" })))).status, 401);
  // What was deferred is delayed, and counted all the same.
  assert.deepEqual(await queued(), ["event im.message.receive_v1"]);
  assert.equal(await services.count(services.urls.eventsQueueUrl), 2);
  await services.callSqs("PurgeQueue", { QueueUrl: services.urls.eventsQueueUrl });
}

describe("the examples of Feishu's manual, with our names", () => {
  test("seed 004, http: an address of a server that is there already", (t) =>
    takesAll(t, nodeListener(createReceiver({ env, callbacks }), { path: mount })));

  test("seed 004, Express with body-parser", (t) => {
    const app = expressApp().use(bodyParser.json({ verify: keepRawBody }));
    return takesAll(t, app.use(mount, express(createReceiver({ env, callbacks }))));
  });

  test("seed 004, Koa with koa-body", (t) => {
    const app = new Koa().use(koaBody({ includeUnparsed: true }));
    return takesAll(t, app.use(koa(createReceiver({ env, callbacks }), { path: mount })).callback());
  });

  test("seed 004, koa-router", (t) => {
    const router = new Router().post(mount, koa(createReceiver({ env, callbacks })));
    return takesAll(
      t,
      new Koa()
        .use(koaBody({ includeUnparsed: true }))
        .use(router.routes())
        .callback(),
    );
  });

  test("seed 004, an adapter of one's own: a Request from whatever a server has", (t) => {
    const handle = fetchHandler(createReceiver({ env, callbacks }));
    return takesAll(t, async (incoming, outgoing) => {
      const parts: Buffer[] = [];
      for await (const part of incoming) parts.push(part as Buffer);
      const { method = "", headersDistinct } = incoming;
      const headers = Object.entries(headersDistinct).map(([name, values = []]) => [name, values.join()] as const);
      const init = {
        method,
        headers: headers.map(([...pair]) => pair as [string, string]),
        body: Buffer.concat(parts),
      };
      const response = await handle(new Request("http://127.0.0.1/", init));
      outgoing.writeHead(response.status, Object.fromEntries(response.headers)).end(await response.text());
    });
  });

  test("seed 004, challenge: its text alone, from a request that checks the address", () => {
    const nowMs = Date.now();
    const options = { keys: { appId, encryptKeys: [encryptKey], verificationTokens: [verificationToken] }, nowMs };
    const { headers, rawBody } = unsigned(challengeText());
    assert.equal(challengeOf({ headers, rawBody }, options), "7c5a9b1e-4d2f");
    assert.equal(challengeOf(push(v2Text(), { nowMs }), options), undefined);
  });

  test("seed 004, AESCipher: decrypt", () => {
    assert.equal(decrypt(ciphertextOf("content"), { encryptKey }), "content");
    assert.equal(decrypt("content", { encryptKey }), undefined);
  });

  test("seed 002, http.HandleFunc: events of v2.0 and v1.0, and one that no SDK knows", async (t) => {
    const { send } = await serve(t, nodeListener(createReceiver({ env }), { path: "/webhook/event" }));
    const types = ["im.message.receive_v1", "im.message.message_read_v1", "contact.user.created_v3"];
    const texts = types.map((event_type) => v2Text({ header: { event_type, event_id: event_type } }));
    const custom = v1Text({ event: { type: "out_approval" } });
    for (const text of [...texts, custom]) assert.equal((await send(pushNow(text))).status, 200);
    const expected = [...types, "out_approval"].map((type) => `event ${type}`);
    assert.deepEqual((await queued()).sort(), expected.sort());
  });

  test('seed 003, @app.route("/event", methods=["POST"]): v2.0 and the old "message"', async (t) => {
    const app = expressApp().post("/event", express(createReceiver({ env })));
    const { send } = await serve(t, app);
    const texts = [v2Text(), v1Text({ event: { type: "message" } })];
    for (const text of texts) assert.equal((await send({ ...pushNow(text), path: "/event" })).status, 200);
    assert.deepEqual((await queued()).sort(), ["event im.message.receive_v1", "event message"]);
  });
});

describe("a receiver", () => {
  test("gives a callback that comes again its first answer", async (t) => {
    let calls = 0;
    const counting: CallbackList = {
      [cardType]: async () => ({
        default: onCallback(cardType, async () => ({ toast: { type: "info", content: `${++calls}` } })),
      }),
    };
    const { send } = await serve(t, nodeListener(createReceiver({ env, callbacks: counting })));
    for (let push = 0; push < 2; push++) {
      const { text } = await send(pushNow(cardText({ id: "callback-again" })));
      assert.deepEqual(JSON.parse(text), { toast: { type: "info", content: "1" } });
    }
  });

  test("without callbacks needs no ledger, and says that a callback came to the wrong address", async (t) => {
    const { LEDGER_TABLE: _, ...rest } = env;
    const { send } = await serve(t, nodeListener(createReceiver({ env: rest })));
    assert.equal((await send(pushNow(v2Text()))).status, 200);
    const { status, text } = await send(pushNow(cardText({ id: "misdirected" })));
    assert.deepEqual([status, JSON.parse(text).toast.type], [200, "error"]);
  });

  test("R3: with a wrong setting answers 503 to every push and 200 to a health check, and says why once", async (t) => {
    const { AWS_CONFIG_FILE } = process.env;
    process.env["AWS_CONFIG_FILE"] = devNull;
    t.after(() => {
      if (AWS_CONFIG_FILE === undefined) delete process.env["AWS_CONFIG_FILE"];
      else process.env["AWS_CONFIG_FILE"] = AWS_CONFIG_FILE;
    });
    for (const [name, list] of [
      ["EVENTS_QUEUE_URL", undefined],
      ["LEDGER_TABLE", callbacks],
      ["AWS_REGION", undefined],
    ] as const) {
      trace.entries.length = 0;
      const wrong = { ...env, [name]: "" };
      const { send } = await serve(t, nodeListener(createReceiver({ env: wrong, ...(list && { callbacks: list }) })));
      for (let again = 0; again < 2; again++) {
        assert.equal((await send(pushNow(v2Text()))).status, 503);
        assert.equal((await send({ method: "GET" })).status, 200);
      }
      const told = trace.entries.filter(({ level }) => level === "error");
      assert.deepEqual(
        told.map(({ stage }) => stage),
        ["misconfigured"],
      );
      assert.match(messageOf(told[0]), new RegExp(`^Cannot start: ${name} is (empty|not set)`));
    }
  });

  for (const [when, given] of [
    ["has none", { AWS_ACCESS_KEY_ID: undefined, AWS_SECRET_ACCESS_KEY: undefined }],
    ["names a profile", { AWS_PROFILE: "mine", AWS_ENDPOINT_URL_SQS: "nowhere" }],
  ] as const) {
    test(`finds its credentials where the SDK does, if the environment ${when}`, async (t) => {
      const { AWS_ACCESS_KEY_ID = "", AWS_SECRET_ACCESS_KEY = "" } = env;
      const elsewhere = { AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL_SQS: env["AWS_ENDPOINT_URL_SQS"] };
      const saved = Object.keys(elsewhere).map((name) => [name, process.env[name]] as const);
      t.after(() => {
        for (const [name, value] of saved) {
          if (value === undefined) delete process.env[name];
          else process.env[name] = value;
        }
      });
      Object.assign(process.env, elsewhere);
      const { send } = await serve(t, nodeListener(createReceiver({ env: { ...env, ...given } })));
      // The first request may come before the SDK is loaded.
      for (let count = 1; (await send(pushNow(v2Text()))).status !== 200; count++)
        assert.ok(count < 20, "never queued");
      assert.deepEqual([...new Set(await queued())], ["event im.message.receive_v1"]);
    });
  }

  test("installs nothing in its process: the host's errors stay the host's", async (t) => {
    const names = ["uncaughtException", "unhandledRejection", "SIGTERM", "SIGINT", "exit", "beforeExit"];
    const found = () => [...names.map((name) => process.listenerCount(name)), Error.stackTraceLimit];
    const before = found();
    const app = expressApp().use(mount, express(createReceiver({ env, callbacks })));
    app.get("/broken", () => {
      throw new Error("the host's own");
    });
    app.use(((error, _request, response, _next) => {
      response.status(500).send(error.message);
    }) satisfies expressApp.ErrorRequestHandler);
    const { send } = await serve(t, app);
    const { status, text } = await send({ method: "GET", path: "/broken" });
    assert.deepEqual([status, text], [500, "the host's own"]);
    assert.equal((await send(pushNow(v2Text()))).status, 200);
    assert.deepEqual(found(), before);
  });
});

test("an answer that the host has begun by itself is left to it", async (t) => {
  const listener = nodeListener(createReceiver({ env }));
  const { send } = await serve(t, (request, response) => {
    listener(request, response);
    response.writeHead(200).write("mi");
    const isAnswered = () => trace.entries.some(({ stage }) => stage === "answered");
    void until("the receiver has answered", isAnswered)
      .then(settled)
      .then(() => response.end("ne"));
  });
  assert.equal((await send(pushNow(v2Text()))).text, "mine");
});

describe("a body that was read before", () => {
  const hosts: readonly [when: string, advice: RegExp, host: (receiver: Receiver) => Promise<RequestListener>][] = [
    [
      "express.json() kept nothing",
      /express\.json\(\{ verify: keepRawBody \}\)/,
      async (receiver) => expressApp().use(expressApp.json()).use(mount, express(receiver)),
    ],
    [
      "a listener had it decoded",
      /before the body parser/,
      async (receiver) => (request, response) => nodeListener(receiver)(request.setEncoding("utf8"), response),
    ],
    [
      "koa-body kept nothing",
      /koaBody\(\{ includeUnparsed: true \}\)/,
      async (receiver) => new Koa().use(koaBody()).use(koa(receiver)).callback(),
    ],
    [
      "a hook of Fastify read it",
      /onRequest/,
      async (receiver) => {
        const app = fastifyApp();
        app.addHook("onRequest", async ({ raw }) => {
          for await (const _ of raw);
        });
        await app.register(fastify(receiver));
        await app.ready();
        return (request, response) => app.routing(request, response);
      },
    ],
    ...(
      [
        ["a route of a fetch runtime read it", (request) => request.text()],
        ["a route of a fetch runtime is about to read it", (request) => request.body?.getReader()],
      ] as [string, (request: Request) => unknown][]
    ).map(([when, read]): (typeof hosts)[number] => [
      when,
      /before anything reads its body/,
      async (receiver) => async (incoming, outgoing) => {
        const { method = "" } = incoming;
        const request = new Request("http://127.0.0.1/", method === "POST" ? { method, body: "{}" } : { method });
        await read(request);
        const response = await fetchHandler(receiver)(request);
        outgoing.writeHead(response.status).end(await response.text());
      },
    ]),
  ];
  for (const [when, advice, host] of hosts) {
    test(`is refused when ${when}, with the sentence that says how to mount it`, async (t) => {
      const { send } = await serve(t, await host(createReceiver({ env })));
      const { status, text } = await send(pushNow(v2Text()));
      assert.equal(status, 503);
      assert.match(JSON.parse(text).error, advice);
      const [told] = trace.entries.filter(({ level }) => level === "error");
      assert.deepEqual([told?.stage, told?.facts?.["message"]], ["misconfigured", JSON.parse(text).error]);
      assert.equal((await send({ method: "GET" })).status, 200);
      assert.deepEqual(await queued(), []);
    });
  }

  const kept: readonly [how: string, parser: expressApp.RequestHandler][] = [
    ["bytes, by express.raw()", expressApp.raw({ type: "*/*" })],
    ["text, by express.text()", expressApp.text({ type: "*/*" })],
  ];
  for (const [how, parser] of kept) {
    test(`is taken when it was kept as ${how}`, async (t) => {
      const app = expressApp()
        .use(parser)
        .use(mount, express(createReceiver({ env })));
      const { send } = await serve(t, app);
      assert.equal((await send(pushNow(v2Text()))).status, 200);
      assert.deepEqual(await queued(), ["event im.message.receive_v1"]);
    });
  }
});

describe("a door without a path of its own", () => {
  test("of Fastify takes what no other route does, and leaves OPTIONS to the host", async (t) => {
    const app = fastifyApp();
    app.get("/health", async () => "mine");
    app.options("*", async () => "cors");
    await app.register(fastify(createReceiver({ env })));
    await app.ready();
    const { send } = await serve(t, (request, response) => app.routing(request, response));
    assert.equal((await send({ method: "GET", path: "/health" })).text, "mine");
    assert.equal((await send({ method: "OPTIONS" })).text, "cors");
    assert.equal((await send(pushNow(v2Text()))).status, 200);
    assert.deepEqual(await queued(), ["event im.message.receive_v1"]);
  });

  test("of node:http with a path is middleware: it passes other paths on", async (t) => {
    const app = expressApp().use(nodeListener(createReceiver({ env }), { path: mount }));
    app.get("/", (_request, response) => void response.send("mine"));
    const { send } = await serve(t, app);
    assert.equal((await send({ method: "GET", path: "/" })).text, "mine");
    assert.equal((await send({ ...pushNow(v2Text()), path: `${mount}/` })).status, 200);
    const plain = await serve(t, nodeListener(createReceiver({ env })));
    assert.equal((await plain.send({ ...pushNow(v2Text()), path: "/anywhere" })).status, 200);
  });
});
