import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { resolve } from "node:path";
import { after, afterEach, before, beforeEach, describe, mock, test } from "node:test";
import { promisify } from "node:util";
import type { HttpResponse } from "../../lib/aws/gateway.ts";
import { fromRecord } from "../../lib/aws/record.ts";
import { publish, subscribe } from "../../lib/trace/trace.ts";
import { goBy, patientClock, settled } from "../support/clock.ts";
import { functionUrl, httpApi, loadBalancer, refusal, restApi, shapes, startWebhook } from "../support/http-events.ts";
import { ingressBehaves } from "../support/ingress.ts";
import { nodeEnv } from "../support/node-env.ts";
import {
  appId,
  bare,
  challengeText,
  encryptKey,
  push,
  ring,
  signedPush,
  unsigned,
  v2Text,
  verificationToken,
} from "../support/push.ts";
import { type Services, startServices } from "../support/services.ts";
import { messageOf, recordTrace } from "../support/trace.ts";

const trace = recordTrace();
beforeEach(() => {
  trace.entries.length = 0;
});
before(() => goBy(mock, patientClock()));
after(() => mock.restoreAll());

const toJson = ({ statusCode, body }: HttpResponse) => ({ status: statusCode, body: JSON.parse(body) as unknown });

// The four shapes of AWS's doors give the same request (E8).
ingressBehaves("a gateway", () => {
  let isBroken = false;
  const refuse = async () => {
    if (isBroken) throw new Error("the queue refuses");
  };
  const webhook = startWebhook({
    ports: {
      send: (envelope) => refuse().then(() => void webhook.queued.push(envelope)),
      quarantine: (envelope) => refuse().then(() => void webhook.quarantined.push(envelope)),
    },
  });
  return {
    deliver: async ({ text }) => toJson(await webhook.deliver(push(text))),
    queued: webhook.queued,
    quarantined: webhook.quarantined,
    breakQueues: () => {
      isBroken = true;
    },
  };
});

describe("an observer of the webhook", () => {
  const unsubscribe: (() => void)[] = [];
  afterEach(() => {
    for (const stop of unsubscribe.splice(0)) stop();
  });

  test("R7: that throws, or fails later, disturbs neither its request nor the next hundred", async () => {
    const late: PromiseWithResolvers<never>[] = [];
    unsubscribe.push(
      subscribe("throws", () => {
        throw new Error("an observer's fault");
      }),
      subscribe("throws nothing", () => {
        throw undefined;
      }),
      subscribe("fails later", async () => {
        throw new Error("an observer's later fault");
      }),
      subscribe("fails much later", () => {
        const one = Promise.withResolvers<never>();
        late.push(one);
        return one.promise;
      }),
    );
    const webhook = startWebhook();
    await webhook.queues(push(v2Text()));
    await webhook.refuses(bare("x"));
    assert.ok(late.length >= 4);
    for (const { reject } of late.splice(0)) reject(new Error("an observer's much later fault"));
    // Unheard rejections would fail this test, as they end a function's process.
    await settled();
    for (let i = 0; i < 100; i++) await webhook.queues(push(v2Text()));
    for (const { reject } of late) reject(new Error("an observer's much later fault"));
    await settled();
  });

  test("R8: is told of everything before the answer leaves, and of nothing after", async () => {
    const webhook = startWebhook();
    await webhook.queues(push(v2Text()));
    const stages = trace.stages();
    assert.deepEqual(stages, ["received", "queued", "answered"]);
    await settled();
    assert.deepEqual(trace.stages(), stages);
  });

  test("can be replaced and taken away", () => {
    const seen: string[] = [];
    const stop = subscribe("one", () => seen.push("first"));
    subscribe("one", () => seen.push("second"));
    stop();
    publish({ stage: "log", level: "info" });
    assert.deepEqual(seen, ["second"]);
    unsubscribe.push(subscribe("one", () => {}));
  });
});

describe("the webhook function", () => {
  let services: Services;
  let env: Record<string, string>;
  before(async () => {
    services = await startServices();
    const { DEAD_LETTER_QUEUE_URL: _, LEDGER_TABLE: __, ...both } = services.env;
    env = { ...both, ENCRYPT_KEY: encryptKey, VERIFICATION_TOKEN: verificationToken, APP_ID: appId };
    for (const name of ["AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL_SQS"])
      process.env[name] = env[name];
  });
  after(() => services.stop());

  let loads = 0;
  /** Loads the function anew, as a platform does with these settings. */
  async function load(settings: Readonly<Record<string, string | undefined>>) {
    const names = [
      "ENCRYPT_KEY",
      "VERIFICATION_TOKEN",
      "APP_ID",
      "EVENTS_QUEUE_URL",
      "QUARANTINE_QUEUE_URL",
      "ALLOW_UNENCRYPTED",
    ];
    for (const name of names) {
      const value = settings[name];
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
    }
    const loaded: typeof import("../../functions/webhook.ts") = await import(
      `../../functions/webhook.ts?load=${++loads}`
    );
    return loaded.handler;
  }

  const counts = async () => [
    await services.count(services.urls.eventsQueueUrl),
    await services.count(services.urls.quarantineQueueUrl),
  ];
  const nowMs = () => Date.now();

  test("E8: stores the same push in the queue whichever of AWS's four doors it came through", async () => {
    const handler = await load(env);
    const request = push(v2Text({ event: { text: "\u4f60\u597d \u{1f44b}" } }), {
      nowMs: nowMs(),
      headers: { "X-Tt-Logid": "log-1" },
    });
    for (const [at, toEvent] of [httpApi, restApi, functionUrl, loadBalancer].entries()) {
      const { statusCode, body } = await handler(toEvent(request, { base64: at % 2 === 1 }));
      assert.deepEqual([statusCode, body], [200, "{}"]);
    }
    const messages = await services.take(services.urls.eventsQueueUrl);
    assert.equal(messages.length, 4);
    const envelopes = messages.map(({ Body = "" }) => fromRecord({ body: Body }));
    for (const envelope of envelopes) {
      assert.deepEqual(envelope, envelopes[0]);
      assert.ok(envelope.kind === "event" && envelope.requestId === "log-1");
      assert.equal(envelope.event["text"], "\u4f60\u597d \u{1f44b}");
    }
  });

  test("R15: has at most two parameters: Node 24 runs no other", async () => {
    const handler = await load(env);
    assert.ok(handler.length <= 2);
  });

  test("V6, C-01: answers a challenge and refuses a stranger without touching a queue", async () => {
    const handler = await load(env);
    const before = await counts();
    for (const { toEvent } of shapes) {
      assert.deepEqual(toJson(await handler(toEvent(unsigned(challengeText())))), {
        status: 200,
        body: { challenge: "7c5a9b1e-4d2f" },
      });
      const { multiValueHeaders: _, ...answer } = await handler(toEvent(bare(v2Text())));
      assert.deepEqual(answer, refusal);
    }
    assert.deepEqual(await counts(), before);
  });

  test("P1: keeps what it cannot read in quarantine, with the reason", async () => {
    const handler = await load(env);
    assert.equal((await handler(httpApi(signedPush("{", { nowMs: nowMs() })))).statusCode, 200);
    const [message, ...more] = await services.take(services.urls.quarantineQueueUrl);
    assert.deepEqual(more, []);
    assert.equal(message?.MessageAttributes?.["reason"]?.StringValue, "json");
  });

  test("V7: answers 503 while its queue does not exist, and 200 as soon as it does", async () => {
    const handler = await load({ ...env, EVENTS_QUEUE_URL: `${services.endpoints.sqs}/000000000000/missing` });
    const request = push(v2Text(), { nowMs: nowMs() });
    assert.equal((await handler(httpApi(request))).statusCode, 503);
    assert.equal((await (await load(env))(httpApi(request))).statusCode, 200);
  });

  const broken = [
    ["ENCRYPT_KEY", undefined],
    ["VERIFICATION_TOKEN", ""],
    ["APP_ID", " "],
    ["EVENTS_QUEUE_URL", "a value with a line break\n"],
    ["QUARANTINE_QUEUE_URL", "undefined"],
  ] as const;
  for (const [name, value] of broken) {
    test(`R3, C-44: starts without a usable ${name}, answers 503 to every push and says why once`, async () => {
      const before = await counts();
      const handler = await load({ ...env, [name]: value });
      for (let again = 0; again < 2; again++) {
        for (const request of [push(v2Text(), { nowMs: nowMs() }), unsigned(challengeText()), bare("x")]) {
          assert.deepEqual(toJson(await handler(httpApi(request))), { status: 503, body: { error: "unavailable" } });
        }
        assert.equal((await handler(httpApi(bare(""), { method: "GET" }))).statusCode, 200, "a health check");
      }
      const told = trace.entries.filter(({ level }) => level === "error" || level === "warn");
      assert.deepEqual(
        told.map(({ stage }) => stage),
        ["misconfigured"],
      );
      assert.match(messageOf(told[0]), new RegExp(`^Cannot start: ${name} `));
      assert.deepEqual(await counts(), before);
    });
  }

  test("C-45, C-46: takes plain text only where that is allowed, and warns of it once", async () => {
    const plain = { ...env, ENCRYPT_KEY: undefined };
    const right = httpApi(bare(v2Text()));
    assert.equal((await (await load(plain))(right)).statusCode, 503);
    trace.entries.length = 0;
    const handler = await load({ ...plain, ALLOW_UNENCRYPTED: "true" });
    assert.equal((await handler(right)).statusCode, 200);
    assert.equal((await handler(httpApi(bare(v2Text({ header: { token: "another" } }))))).statusCode, 401);
    const told = trace.entries.filter(({ stage }) => stage === "misconfigured");
    assert.deepEqual(
      told.map(({ level }) => level),
      ["warn"],
    );
    const both = await load({ ...env, ALLOW_UNENCRYPTED: "true" });
    assert.equal((await both(right)).statusCode, 401, "with a key the permission changes nothing");
  });

  describe("as a process of its own", () => {
    const root = resolve(import.meta.dirname, "../..");
    const marks = { key: "CANARY-KEY-a1b2c3", token: "CANARY-TOKEN-d4e5f6", payload: "CANARY-PAYLOAD-071829" };
    /** The statuses of requests one after another, of large ones at once, and of what comes to a load without a token. */
    let statuses: Readonly<Record<"first" | "atOnce" | "unconfigured", readonly number[]>>;
    let stdout: string;
    let lines: readonly Readonly<Record<string, unknown>>[];
    const stored: number[] = [];
    let signature: string;

    before(async () => {
      const sealed = { encryptKey: marks.key, nowMs: nowMs() };
      const mine = (members: object) => push(v2Text({ header: { token: marks.token }, event: members }), sealed);
      const event = mine({ text: marks.payload });
      signature = event.headers.get("x-lark-signature") ?? "?";
      const requests = [
        event,
        unsigned(challengeText({ token: marks.token }), sealed),
        signedPush(marks.payload, sealed),
        bare(marks.payload),
        push(v2Text({ event: { text: marks.payload } }), sealed),
      ];
      const source = `
        import { readFileSync } from "node:fs";
        const given = JSON.parse(readFileSync(0, "utf8"));
        const { handler } = await import("./functions/webhook.ts");
        const all = { first: [], atOnce: [], unconfigured: [] };
        const add = (list, { statusCode }) => list.push(statusCode);
        for (const event of given.first) add(all.first, await handler(event));
        await Promise.all(Array.from({ length: 16 }, async () => add(all.atOnce, await handler(given.large))));
        delete process.env.VERIFICATION_TOKEN;
        const other = await import("./functions/webhook.ts?unconfigured");
        for (const event of given.unconfigured) add(all.unconfigured, await other.handler(event));
        process.stderr.write(JSON.stringify(all));`;
      const settings = { ...env, ENCRYPT_KEY: marks.key, VERIFICATION_TOKEN: marks.token, LOG_LEVEL: "debug" };
      const heap = { NODE_OPTIONS: "--max-old-space-size=64" };
      const [queued = 0, quarantined = 0] = await counts();
      // One that does not end by itself is ended after a minute, and the promise rejects.
      const running = promisify(execFile)(process.execPath, ["--input-type=module", "-e", source], {
        cwd: root,
        env: { ...nodeEnv, ...settings, ...heap },
        timeout: 60_000,
      });
      const given = {
        first: shapes.flatMap(({ toEvent }) => requests.map((request) => toEvent(request))),
        large: httpApi(mine({ text: "x".repeat(780_000) })),
        unconfigured: [event, unsigned(challengeText())].map((request) => httpApi(request)),
      };
      running.child.stdin?.end(JSON.stringify(given));
      const said = await running;
      statuses = JSON.parse(said.stderr);
      stdout = said.stdout;
      lines = stdout
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line));
      const [queuedNow = 0, quarantinedNow = 0] = await counts();
      stored.push(queuedNow - queued, quarantinedNow - quarantined);
    });

    test("R8, C-67, C-68: prints lines of JSON without a secret at debug level, and ends when it is done", () => {
      assert.deepEqual(
        statuses.first,
        shapes.flatMap(() => [200, 200, 200, 401, 401]),
      );
      for (const stage of ["received", "queued", "challenged", "quarantined", "refused", "answered"]) {
        assert.ok(
          lines.some((line) => line["stage"] === stage),
          stage,
        );
      }
      for (const mark of [...Object.values(marks), signature]) assert.ok(!stdout.includes(mark), mark);
    });

    test("R3: prints one line when it is not configured, and answers all the same", () => {
      assert.deepEqual(statuses.unconfigured, [503, 503]);
      const [line, ...more] = lines.filter(({ stage }) => stage === "misconfigured");
      assert.deepEqual(more, []);
      assert.deepEqual([line?.["level"], line?.["errorCode"]], ["error", "CONFIG"]);
      assert.match(String(line?.["message"]), /^Cannot start: VERIFICATION_TOKEN is not set/);
    });

    test("R6: takes 16 bodies of almost 1 MiB at once with a heap of 64 MB, and answers each", () => {
      assert.equal(statuses.atOnce.length, 16);
      // One process takes them all, so some may meet the deadline: stored or pushed again, never lost and never a crash.
      for (const status of statuses.atOnce) assert.ok(status === 200 || status === 503, String(status));
      const acked = statuses.atOnce.filter((status) => status === 200).length;
      assert.equal(stored[1], 4);
      assert.ok((stored[0] ?? 0) >= 4 + acked, String(stored));
    });
  });
});

test("V7: what was refused under a wrong key is accepted, once, when the key is put right", async () => {
  const request = push(v2Text());
  const wrong = startWebhook({ keys: ring({ encryptKeys: ["an old key, not yet replaced"] }) });
  for (let attempt = 0; attempt < 4; attempt++) await wrong.refuses(request);
  await startWebhook().queues(request);
});
