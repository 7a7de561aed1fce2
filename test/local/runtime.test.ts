// first: it starts processes and waits for their timeouts.
import assert from "node:assert/strict";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import type { SQS } from "@aws-sdk/client-sqs";
import { limits } from "../../infra/limits.js";
import { projectOf } from "../../infra/project.js";
import { webhookConfig } from "../../lib/aws/config.ts";
import { generate } from "../../lib/cli/handlers/generate.ts";
import { classify } from "../../lib/feishu/classify.ts";
import type { Envelope, SealedRequest } from "../../lib/feishu/envelope.ts";
import { seal } from "../../lib/feishu/seal.ts";
import { clientOf } from "../../lib/local/exchange.ts";
import { type Runtime, startRuntime } from "../../lib/local/runtime.ts";
import { openSqs, queueUrl } from "../../lib/local/sqs.ts";
import { eventBody, eventText } from "../support/events.ts";
import { type Asked, ask as askRaw, assertRefused } from "../support/page.ts";
import { temporaryProject } from "../support/project.ts";
import { seeded } from "../support/random.ts";
import { until } from "../support/until.ts";

const env = {
  ENCRYPT_KEY: "runtime-test-encrypt-key",
  VERIFICATION_TOKEN: "runtime-test-verification-token",
  APP_ID: "cli_00000000000000aa",
};
const { keys } = webhookConfig({
  ...env,
  EVENTS_QUEUE_URL: "http://127.0.0.1/events",
  QUARANTINE_QUEUE_URL: "http://127.0.0.1/quarantine",
});
const random = seeded(71);
/** Between two messages during a reload. Without it, they would take the time that the new processes need to start. */
const paceMs = 250;

/** A handler that leaves a line for each run: what a person would call the side effect. */
const effectHandler = (type: string, mark = "") => `
import { appendFileSync } from "node:fs";
import { onAnyEvent } from "larkpost";
export default { ...onAnyEvent(async (_event, { id, attempt }) => {
  appendFileSync(new URL("../../effects.txt", import.meta.url), \`${mark}\${id} \${attempt}\\n\`);
}), type: ${JSON.stringify(type)} };
`;

/**
 * A handler that blocks its process until there is a file, and then leaves a line with two numbers of its lane. The first
 * run for one event asks for ten minutes.
 */
const slowHandler = `
import { appendFileSync, existsSync } from "node:fs";
import { onAnyEvent, RetryLaterError } from "larkpost";
const go = new URL("../../go", import.meta.url);
export default { ...onAnyEvent(({ chat }, { id, attempt }) => {
  while (!existsSync(go)) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 20);
  if (id === "slow-5" && attempt === 1) throw new RetryLaterError("not now", { delaySeconds: 600 });
  const { MAX_ATTEMPTS, HOLD_SECONDS } = process.env;
  const line = [chat, id, MAX_ATTEMPTS, HOLD_SECONDS].join(" ");
  appendFileSync(new URL("../../effects.txt", import.meta.url), "slow " + line + "\\n");
}), type: "test.slow_v1" };
`;

/** Leaves an event in the queue of a lane that is no more. */
async function leaveEvent(stateFolder: string, id: string): Promise<void> {
  const { exchange, close } = await openSqs(join(stateFolder, "sqs"));
  const client = clientOf<SQS>("AmazonSQS", exchange);
  await client.createQueue({ QueueName: "events-old.fifo" });
  const MessageBody = eventBody({ id, type: "test.effect_v1", app: env.APP_ID });
  const QueueUrl = queueUrl("http://127.0.0.1", "events-old.fifo");
  await client.sendMessage({ QueueUrl, MessageBody, MessageGroupId: "a", MessageDeduplicationId: id });
  await close();
}

/** A handler of card actions that does what the button's value says: JavaScript, of which Node need not strip types. */
const cardHandler = (answer: string) => `
import { onCallback } from "larkpost";
export default onCallback("card.action.trigger", async ({ action }, { defer }) => {
  if (action.value.do === "die") process.exit(5);
  if (action.value.do === "block") Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
  if (action.value.do === "tell") return { toast: { content: process.env.CALLBACK_DEADLINE_MS } };
  if (action.value.do === "defer") await defer({});
  if (action.value.do === "list") return { toast: { content: process.moduleLoadList.join() } };
  return { toast: { type: "success", content: ${JSON.stringify(answer)} + action.value.order } };
}, { deferred() {} });
`;

function sealed(id: string, type: string, event: object = { about: id }): SealedRequest {
  // Many authentic events name no app; whoever received them, did.
  const app_id = id.startsWith("nameless") ? undefined : env.APP_ID;
  const text = JSON.stringify({
    schema: "2.0",
    header: { event_id: id, event_type: type, token: "", app_id, tenant_key: "tenant" },
    event,
  });
  const envelope = { ...classify(text), requestId: null, transport: "webhook" } as unknown as Envelope;
  return seal(envelope, { keys, app: "default", nowMs: Date.now(), nonce: random.hex(8), iv: random.bytes(16) });
}

function click(id: string, value: object): SealedRequest {
  const action = { tag: "button", value };
  return sealed(id, "card.action.trigger", { operator: { open_id: "ou_1" }, token: `c-${id}`, action });
}

async function post(url: string, request: SealedRequest): Promise<number> {
  return (await ask(url, request)).status;
}

function ask(url: string, { headers, rawBody }: SealedRequest) {
  return askRaw(url, { headers: Object.fromEntries(headers), body: String(rawBody) });
}

/** Pushes as the platform does: again while the answer is 503, since a busy machine may meet the webhook's deadline. */
async function accepted(url: string, id: string, type: string, event?: object): Promise<void> {
  const request = sealed(id, type, event);
  assert.equal(
    await until("another answer than 503", async () => {
      const status = await post(url, request);
      return status !== 503 && status;
    }),
    200,
  );
}

describe("the local runtime", () => {
  let project: Awaited<ReturnType<typeof temporaryProject>>;
  let runtime: Runtime;
  const lines: Record<string, unknown>[] = [];
  const stages = new Map<unknown, unknown[]>();
  const notices: string[] = [];
  const effects = () => {
    const file = join(project.root, "effects.txt");
    return existsSync(file) ? readFileSync(file, "utf8").trim().split("\n") : [];
  };
  const stagesOf = (id: string) => stages.get(id) ?? [];

  before(async () => {
    project = await temporaryProject(
      {
        "test.effect_v1": effectHandler("test.effect_v1"),
        "test.slow_v1": slowHandler,
        // One file: Node keeps what it compiled of it when the process ends by itself.
        "test.end_v1": `
import { onAnyEvent } from "larkpost";
export default { ...onAnyEvent(({ about }) => {
  if (about === "crash") process.exit(3);
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
}), type: "test.end_v1" };
`,
      },
      { "card.action.trigger": 'export { default } from "../card.js";\n' },
    );
    writeFileSync(join(project.root, "functions/card.js"), cardHandler("order "));
    await leaveEvent(project.state, "left-over");
    const slow = {
      types: ["test.slow_v1"],
      order: "chat",
      concurrency: 4,
      timeoutSeconds: 60,
      attempts: 3,
      holdSeconds: 1,
    };
    runtime = await startRuntime({
      root: project.root,
      stateFolder: project.state,
      port: 0,
      project: {
        ...projectOf({ lanes: { slow } }, { handled: ["test.slow_v1"] }),
        // Twenty handlers at once: with a hundred, a busy machine has not enough time for each.
        limits: {
          ...limits,
          maxConcurrency: 2,
          workerTimeoutSeconds: 7,
          callbackTimeoutSeconds: 4,
          callbackDeadlineMs: 2_400,
        },
      },
      env,
      onLine(name, line) {
        lines.push({ ...line, by: name });
        stages.set(line["id"], [...stagesOf(String(line["id"])), line["stage"]]);
      },
      onNotice: (notice) => notices.push(notice),
    });
  });
  after(async () => {
    await runtime.stop();
    project.remove();
  });

  test("listens on loopback only, the embedded services too", () => {
    assert.equal(new URL(runtime.url).hostname, "127.0.0.1");
    assert.deepEqual(new Set(runtime.addresses), new Set(["127.0.0.1"]));
  });

  test("the embedded services answer who has the access key of this run, and nobody else: no page, not even with the key", async () => {
    const key = runtime.accessKeyId;
    /** The access key as AWS's signature names it; neither service checks the signature itself. */
    const signedWith = (accessKeyId: string) => ({
      authorization: `AWS4-HMAC-SHA256 Credential=${accessKeyId}/20260101/us-east-1/sqs/aws4_request, SignedHeaders=host, Signature=0`,
    });
    const { authorization } = signedWith(key);
    const strangers: Readonly<Record<string, Asked["headers"]>> = {
      "no credentials": {},
      "the usual credentials of an emulator": signedWith("local"),
      "another run's key": signedWith(`local${"0".repeat(32)}`),
      "a part of the key": signedWith(key.slice(0, -1)),
      "more than the key": signedWith(`${key}0`),
      "the key in another place": { authorization: `Bearer ${key}` },
      "the key as a region": { authorization: authorization.replace(`${key}/20260101/us-east-1`, `x/20260101/${key}`) },
      "a header that Node's fetch sends": { authorization, "sec-fetch-mode": "cors" },
      "a page": { authorization, origin: "https://page.example" },
    };
    for (const [url, target] of [
      [runtime.endpoints.sqs, "AmazonSQS.ListQueues"],
      [runtime.endpoints.dynamo, "DynamoDB_20120810.ListTables"],
    ] as const) {
      const own = { "content-type": "application/x-amz-json-1.0", "x-amz-target": target };
      const called = { ...own, "x-amz-date": "20260101T000000Z" };
      const callWith = (headers: Asked["headers"]) => askRaw(url, { headers: { ...called, ...headers }, body: "{}" });
      for (const [who, headers] of Object.entries(strangers)) assertRefused(await callWith(headers), who);
      const query = `/?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=${key}/20260101/us-east-1/sqs/aws4_request`;
      assertRefused(await askRaw(url + query, { method: "GET" }), "a presigned URL");
      const upgrade = { connection: "upgrade", upgrade: "websocket" };
      assertRefused(await askRaw(url, { method: "GET", headers: upgrade }), "an upgrade");
      for (const method of ["GET", "OPTIONS"]) {
        assertRefused(await askRaw(url, { method, headers: { authorization, origin: "null" } }), method);
      }
      const host = new URL(url).host.replace("127.0.0.1", "localhost");
      for (const headers of [{ authorization }, { authorization, host }]) {
        const { status, body } = await callWith(headers);
        assert.equal(status, 200, body);
        assert.match(body, /events|ledger/);
      }
    }
  });

  test("both addresses take any Host and Origin, as a tunnel sends them: there the signature decides, on one path each", async () => {
    const tunnel = { host: "a-tunnel.example", origin: "https://page.example", "sec-fetch-site": "cross-site" };
    const event = sealed("by-tunnel", "test.effect_v1");
    const pushed = { headers: { ...Object.fromEntries(event.headers), ...tunnel }, body: String(event.rawBody) };
    const pushOnce = async () => {
      const { status } = await askRaw(runtime.url, pushed);
      return status !== 503 && status;
    };
    assert.equal(await until("another answer than 503", pushOnce), 200);
    const clicked = click("click-by-tunnel", { order: 1 });
    const asked = { headers: { ...Object.fromEntries(clicked.headers), ...tunnel }, body: String(clicked.rawBody) };
    assert.equal((await askRaw(runtime.callbackUrl, asked)).status, 200);
    await until("the event completed", () => stagesOf("by-tunnel").includes("handled"));

    const forged = { headers: tunnel, body: eventText({ id: "forged", type: "test.effect_v1", app: env.APP_ID }) };
    for (const [url, status] of [
      [runtime.url, 401],
      [runtime.callbackUrl, 401],
      [new URL("/", runtime.url).href, 401],
      [new URL("/base/callback", runtime.url).href, 401],
      [new URL("/elsewhere", runtime.url).href, 404],
    ] as const) {
      assert.equal((await askRaw(url, forged)).status, status, url);
      assert.equal((await askRaw(url, { method: "GET", headers: tunnel })).status, status === 404 ? 404 : 200, url);
    }
    assert.deepEqual(stagesOf("forged"), []);
  });

  test("what waits in the queue of a lane that is no more is run by the default worker", async () => {
    await until("its end", () => stagesOf("left-over").includes("handled"));
    const notice =
      '1 event waits in the queue of the lane "old", which larkpost.config.js lacks: the default worker runs them';
    assert.ok(notices.includes(notice), notices.join("\n"));
  });

  test("15 events of a lane whose handler blocks delay no other event by a second, and run in their chats' order, also behind a retry", async () => {
    const ids = Array.from({ length: 15 }, (_, index) => `slow-${index}`);
    const chatOf = (index: number) => `chat-${index % 5}`;
    for (const [index, id] of ids.entries()) {
      await accepted(runtime.url, id, "test.slow_v1", { chat: chatOf(index) });
    }
    await until("the lane is blocked", () => ids.some((id) => stagesOf(id).includes("started")));
    // On a busy machine one may take longer.
    const waitsMs: number[] = [];
    for (let index = 0; index < 5 && !waitsMs.some((ms) => ms <= 1_000); index++) {
      const sentMs = performance.now();
      await accepted(runtime.url, `fast-${index}`, "test.effect_v1");
      await until("it starts", () => stagesOf(`fast-${index}`).includes("started"));
      waitsMs.push(performance.now() - sentMs);
    }
    assert.ok(Math.min(...waitsMs) <= 1_000, `a fast event waited ${waitsMs} ms`);
    assert.ok(!ids.some((id) => stagesOf(id).includes("handled")), "the lane was not blocked");
    writeFileSync(join(project.root, "go"), "");
    await until("all have ended", () => ids.every((id) => stagesOf(id).includes("handled")));
    const slow = effects().filter((line) => line.startsWith("slow "));
    for (let chat = 0; chat < 5; chat++) {
      const expected = ids.flatMap((id, index) => (index % 5 === chat ? [`slow chat-${chat} ${id} 3 1`] : []));
      assert.deepEqual(
        slow.filter((line) => line.includes(` chat-${chat} `)),
        expected,
      );
    }
    const ofRetried = stagesOf("slow-5").filter((stage) => stage !== "queued");
    assert.deepEqual(ofRetried, ["started", "failed", "started", "handled"]);
    const handled = lines.filter(({ id, stage }) => stage === "handled" && ids.includes(String(id)));
    assert.deepEqual(new Set(handled.map(({ by, lane }) => `${by} ${lane}`)), new Set(["workerSlow slow"]));
    assert.ok(lines.every(({ by, lane }) => lane === undefined || by === "workerSlow"));
  });

  test("runs the handler of each of 24 events once", async () => {
    const ids = Array.from({ length: 24 }, (_, index) => `many-${index}`);
    const waiting = [...ids];
    // As many at once as `send` does.
    const lanes = Array.from({ length: 16 }, async () => {
      for (let id = waiting.shift(); id !== undefined; id = waiting.shift()) {
        await accepted(runtime.url, id, "test.effect_v1");
      }
    });
    await Promise.all(lanes);
    await until("24 completions", () => ids.every((id) => stagesOf(id).includes("handled")));
    assert.deepEqual(
      effects()
        .filter((line) => line.startsWith("many-"))
        .map((line) => line.split(" ")[0])
        .sort(),
      ids.toSorted(),
    );
  });

  test("C-41: an event and a deferred click that name no app are handled", async () => {
    await accepted(runtime.url, "nameless", "test.effect_v1");
    assert.equal((await ask(runtime.callbackUrl, click("nameless-click", { do: "defer" }))).status, 200);
    const isDone = (name: string) =>
      lines.some(({ id, stage, by }) => stage === "handled" && by === "worker" && String(id).startsWith(name));
    await until("both are done", () => isDone("nameless") && isDone("nameless-click"));
  });

  test("a repeated push is acked and leaves one run and duplicates", async () => {
    for (let push = 0; push < 5; push++) await accepted(runtime.url, "again", "test.effect_v1");
    await until("four duplicates", () => stagesOf("again").filter((stage) => stage === "duplicate").length >= 4);
    assert.equal(effects().filter((line) => line.startsWith("again ")).length, 1);
  });

  test("a forged push is refused with 401, and its handler does not run", async () => {
    const request = sealed("forged", "test.effect_v1");
    const forged = { ...request, headers: new Map([...request.headers, ["x-lark-signature", "0".repeat(64)]]) };
    assert.equal(await post(runtime.url, forged), 401);
    assert.deepEqual(stagesOf("forged"), []);
  });

  test("a click on a card is answered by its handler, within the request, and is not queued", async () => {
    const { status, body } = await ask(runtime.callbackUrl, click("click", { order: 17 }));
    assert.deepEqual([status, JSON.parse(body)], [200, { toast: { type: "success", content: "order 17" } }]);
    await until("the answer is told", () => stagesOf("click").includes("handled"));
    assert.deepEqual(stagesOf("click"), ["started", "handled"]);
    assert.deepEqual(new Set(lines.filter(({ id }) => id === "click").map(({ by }) => by)), new Set(["callback"]));
  });

  test("the same click again, with doubled slashes in its path, gets the same answer from one run", async () => {
    const request = click("twice", { order: 18 });
    const first = await ask(runtime.callbackUrl, request);
    const again = await ask(runtime.callbackUrl.replace("/callback", "//callback/"), request);
    // The next second may have begun.
    const date = first.headers.date;
    assert.deepEqual({ ...again, headers: { ...again.headers, date } }, first);
    await until("the duplicate is told", () => stagesOf("twice").includes("duplicate"));
    assert.equal(stagesOf("twice").filter((stage) => stage === "started").length, 1);
  });

  test("what a click's handler puts off is run by the worker", async () => {
    assert.equal((await ask(runtime.callbackUrl, click("later", { do: "defer", order: 19 }))).status, 200);
    const done = await until("the deferred work is done", () =>
      lines.find(({ stage, by, id }) => stage === "handled" && by === "worker" && String(id).startsWith("later")),
    );
    assert.equal(done["type"], "card.action.trigger");
  });

  test("a forged click is refused with 401, and its handler does not run", async () => {
    const request = click("forged-click", { order: 20 });
    const forged = { ...request, headers: new Map([...request.headers, ["x-lark-signature", "0".repeat(64)]]) };
    assert.equal(await post(runtime.callbackUrl, forged), 401);
    assert.deepEqual(stagesOf("forged-click"), []);
  });

  test("a click's handler that ends its process fails that click alone: pushes are acked, the next click is answered", async () => {
    const crash = post(runtime.callbackUrl, click("die", { do: "die" }));
    const pushes = Array.from({ length: 10 }, (_, index) =>
      post(runtime.url, sealed(`beside-${index}`, "test.effect_v1")),
    );
    assert.equal(await crash, 500);
    const { status, body } = await ask(runtime.callbackUrl, click("after-death", { order: 21 }));
    assert.equal(status, 200);
    assert.match(body, /order 21/);
    assert.deepEqual(new Set(await Promise.all(pushes)), new Set([200]));
    assert.ok(notices.some((notice) => /the callback function's process ended \(exit code 5\)/.test(notice)));
    assert.ok(!notices.some((notice) => /the webhook function's process ended/.test(notice)));
  });

  test("a click's handler that blocks its process delays no acknowledgement, and is ended at its timeout", async () => {
    const blocked = post(runtime.callbackUrl, click("blocked", { do: "block" }));
    await until("the blocking handler is entered", () => stagesOf("blocked").includes("started"));
    for (let index = 0; index < 5; index++) {
      assert.equal(await post(runtime.url, sealed(`aside-${index}`, "test.effect_v1")), 200);
    }
    assert.ok(!notices.some((notice) => /the callback function ran for/.test(notice)), "it was not blocked any more");
    assert.equal(await blocked, 500);
    assert.ok(notices.some((notice) => /the callback function ran for 4 s; its process is ended/.test(notice)));
    assert.match((await ask(runtime.callbackUrl, click("unblocked", { order: 23 }))).body, /order 23/);
  });

  test("a callback's deadline is the limits'", async () => {
    assert.match((await ask(runtime.callbackUrl, click("limit", { do: "tell" }))).body, /"2400"/);
  });

  test("a function has loaded neither TLS nor fetch, which what it calls on this machine does not need", async () => {
    const { body } = await ask(runtime.callbackUrl, click("loaded", { do: "list" }));
    const loaded = JSON.parse(body).toast.content.split(",");
    const unneeded = ["tls", "https", "internal/deps/undici/undici"].map((name) => `NativeModule ${name}`);
    assert.ok(loaded.includes("NativeModule http"), body);
    assert.deepEqual(
      loaded.filter((name: string) => unneeded.includes(name)),
      [],
    );
  });

  test("an added event handler and a changed callback handler are live without a restart, no event sent meanwhile is lost, and no click fails", async () => {
    const ids: string[] = [];
    let isLive = false;
    const meanwhile = async (act: (index: number) => Promise<void>) => {
      for (let index = 0; !isLive; index++) {
        await act(index);
        await pause(paceMs);
      }
    };
    const sending = meanwhile(async (index) => {
      const id = `live-${index}`;
      ids.push(id);
      await accepted(runtime.url, id, "test.effect_v1");
    });
    const clicking = meanwhile(async (index) => {
      assert.equal(await post(runtime.callbackUrl, click(`meanwhile-${index}`, { order: index })), 200);
    });
    project.write("test.added_v1", effectHandler("test.added_v1", "added "));
    writeFileSync(join(project.root, "functions/card.js"), cardHandler("changed "));
    await generate({ root: project.root });
    await runtime.reload();
    assert.match((await ask(runtime.callbackUrl, click("changed", { order: 22 }))).body, /"changed 22"/);
    await accepted(runtime.url, "new", "test.added_v1");
    await until("the new handler's line", () => effects().includes("added new 1"));
    isLive = true;
    await Promise.all([sending, clicking]);
    await until("every event completed", () => ids.every((id) => stagesOf(id).includes("handled")));
  });

  test("W3: a handler that ends or blocks the process never delays an acknowledgement", async () => {
    await accepted(runtime.url, "crash", "test.end_v1");
    const back = "an event will be tried again in 1 s: the worker function's process ended (exit code 3)";
    await until("the process has ended", () => notices.some((notice) => notice.startsWith(back)));
    await accepted(runtime.url, "block", "test.end_v1");
    await until("the blocking handler is entered", () => stagesOf("block").includes("started"));
    for (let index = 0; index < 10; index++) {
      await accepted(runtime.url, `behind-${index}`, "test.effect_v1");
    }
    assert.ok(!notices.some((notice) => notice.includes("the worker function ran for")), "it blocks still");
  });
});
