// alone: it loads functions, which take the process for their own.
import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { after, before, beforeEach, test } from "node:test";
import { DynamoDB } from "@aws-sdk/client-dynamodb";
import { SQS } from "@aws-sdk/client-sqs";
import { callback } from "../../../lib/aws/entries/callback.ts";
import { webhook } from "../../../lib/aws/entries/webhook.ts";
import { worker } from "../../../lib/aws/entries/worker.ts";
import type { Lane } from "../../../lib/aws/lanes.ts";
import { type Hop, senderOf } from "../../../lib/cli/deploy/probe.ts";
import { type Subject, tryHops } from "../../../lib/cli/desk/hops.ts";
import type { CallbackList, EventList } from "../../../lib/handler.ts";
import { smokeType } from "../../../lib/handling/dispatcher.ts";
import { idempotencyKey } from "../../../lib/handling/idempotency.ts";
import { startGateway } from "../../../lib/local/gateway.ts";
import { startPoller } from "../../../lib/local/poller.ts";
import { queueUrl } from "../../../lib/local/sqs.ts";
import { parseSecrets } from "../../../lib/settings/app-secrets.ts";
import { listenOnLoopback } from "../../../lib/simulator/loopback.ts";
import { type Cloud, startCloud } from "../../support/cloud.ts";
import { denied, type Faults, startFaults, throttled } from "../../support/faults.ts";
import { temporaryProject } from "../../support/project.ts";
import { type Services, startServices } from "../../support/services.ts";
import { recordTrace } from "../../support/trace.ts";
import { larkpost, secrets } from "../run.ts";

const appSecret = "an-app-secret-of-the-tests";
const { encryptKey, verificationToken, appId } = secrets;
const stored = {
  ...{ appId, appSecret },
  encryptKeys: [{ value: encryptKey }],
  verificationTokens: [{ value: verificationToken }],
};
/** Files that would take the event and the click, if any file got them. */
const file = (type: string) => async () => ({ default: { type, handle: () => assert.fail("no handler may run") } });
const lists = {
  events: { _default: file("_default"), [smokeType]: file(smokeType) } as unknown as EventList,
  callbacks: { "card.action.trigger": file("card.action.trigger") } as unknown as CallbackList,
};

const lanes = {
  ai: { types: ["im.message.receive_v1"], order: "message.chat_id" },
  bulk: { types: ["contact.*"] },
};
const laneQueues = ["events-ai.fifo", "events-bulk"];

const trace = recordTrace();
let project: Awaited<ReturnType<typeof temporaryProject>>;
let cloud: Cloud;
let services: Services;
let sqsFaults: Faults;
let dynamoFaults: Faults;
let address: string;
let stop: () => Promise<void>;

const echo = createServer((request, response) => {
  response.statusCode = 404;
  request.pipe(response);
});

before(async () => {
  [project, cloud, services] = await Promise.all([temporaryProject({}), startCloud(), startServices()]);
  writeFileSync(join(project.root, "serverless.yml"), "service: larkpost\n");
  [sqsFaults, dynamoFaults] = await Promise.all([
    startFaults(services.exchangeSqs),
    startFaults(services.exchangeDynamo),
  ]);
  const env = {
    ...services.env,
    AWS_ENDPOINT_URL_SQS: sqsFaults.endpoint,
    LANES: JSON.stringify(lanes),
    ...{ APP_ID: appId, ENCRYPT_KEY: encryptKey, VERIFICATION_TOKEN: verificationToken, APP_SECRET: appSecret },
  };
  const work = await worker({ env, ...lists });
  const gateway = await startGateway({
    port: 0,
    invoke: await webhook({ env }),
    routes: new Map([["callback", await callback({ env, callbacks: lists.callbacks })]]),
  });
  address = `http://127.0.0.1:${gateway.port}`;
  await listenOnLoopback(echo);
  for (const QueueName of laneQueues) await services.callSqs("CreateQueue", { QueueName });
  const credentials = { accessKeyId: "local", secretAccessKey: "local" };
  const sqs = new SQS({ region: "us-east-1", credentials, endpoint: services.endpoints.sqs });
  const pollers = ["events", ...laneQueues].map((name) =>
    startPoller({
      client: sqs,
      queueUrl: queueUrl(services.endpoints.sqs, name),
      ...{ batchSize: 10, concurrency: 1, visibilityTimeoutSeconds: 30, waitSeconds: 4 },
      ...{ onProblem: () => {}, hasCrashed: () => false, whenUp: async () => {} },
      invoke: (event) => work(event),
    }),
  );
  stop = async () => {
    await Promise.all(pollers.map((poller) => poller.stop()));
    await Promise.all(pollers.map((poller) => poller.drained()));
    await Promise.all([gateway.stop(), cloud.stop(), sqsFaults.stop(), dynamoFaults.stop()]);
    echo.closeAllConnections();
    echo.close();
    sqs.destroy();
    await services.stop();
  };
});
beforeEach(() => {
  for (const faults of [sqsFaults, dynamoFaults]) faults.reset();
  trace.entries.length = 0;
  cloud.store.become("up");
  cloud.store.put("/larkpost/prod/app", JSON.stringify(stored));
  putStack({ RequestAddress: `${address}/webhook`, CallbackAddress: `${address}/callback` });
});
after(async () => {
  await stop();
  project.remove();
});

function putStack(addresses: Readonly<Record<string, string>>): void {
  const EventsQueueUrl = queueUrl(sqsFaults.endpoint, "events");
  const values = { ...addresses, EventsQueueUrl, LedgerTableName: services.ledgerTable };
  const Outputs = Object.fromEntries(Object.entries(values).map(([name, Value]) => [name, { Value }]));
  cloud.putStack("larkpost-prod", { Resources: {}, Outputs });
}

/** @param local What a running `npm start` has written. */
async function smoke(args: readonly string[], { local }: { local?: object } = {}) {
  const { root } = project;
  mkdirSync(join(root, ".larkpost"), { recursive: true });
  writeFileSync(join(root, ".larkpost/local.json"), JSON.stringify(local ?? {}));
  const env = {
    ...cloud.env,
    AWS_ENDPOINT_URL_SQS: sqsFaults.endpoint,
    AWS_ENDPOINT_URL_DYNAMODB: dynamoFaults.endpoint,
    HOME: root,
  };
  const ended = await larkpost(["smoke", ...args], { root, env: local === undefined ? env : { HOME: root } });
  for (const secret of [encryptKey, verificationToken, appSecret]) {
    assert.ok(!`${ended.stdout}${ended.stderr}`.includes(secret), "a secret was printed");
  }
  return ended;
}
const stage = (...args: string[]) => smoke(["--stage", "prod", "--region", "eu-west-1", ...args]);
const running = () => ({
  ...{ url: `${address}/webhook`, appId, encryptKey, verificationToken, appSecret },
  services: { sqs: sqsFaults.endpoint, dynamo: dynamoFaults.endpoint, accessKeyId: "local" },
});

const ofEvent = (at: string) =>
  String.raw`  ✔ ${at} answers a challenge, \d+ ms\n  ✔ refuses a forged event, \d+ ms\n  ✔ stores an event, \d+ ms
  ✔ the worker takes it from the queue, \d+ ms\n  ✔ the ledger has it as done, \d+ ms\n`;

test("follows a push of a stage through queue, worker and ledger, and clicks; no file gets either", async () => {
  dynamoFaults.inject("GetItem", throttled, (_call, nth) => nth <= 2);
  const { code, stdout, stderr } = await stage();
  assert.deepEqual([code, stderr], [0, ""]);
  const [request, callbacks] = [`${address}/webhook`, `${address}/callback`].map(ofEvent);
  const clicked = String.raw`  ✔ answers a click with a signed value, \d+ ms\n✔ All 11 hops, in \d+\.\d s\n`;
  assert.match(stdout, new RegExp(`^Tries the stage prod in eu-west-1:\n${request}${callbacks}${clicked}$`));
  const handled = trace.entries.filter(({ stage }) => stage === "handled").map(({ type }) => type);
  assert.deepEqual(handled.toSorted(), ["card.action.trigger", smokeType, smokeType]);
  assert.equal(trace.entries.filter(({ stage }) => stage === "refused").length, 2);
});

test("follows an event of each lane through its queue and its worker, also without address", async () => {
  const ofLane = (lane: string, stored: string) =>
    [stored, "the worker takes it from the queue", "the ledger has it as done"]
      .map((text) => `  ✔ lane ${lane}: ${text}, \\d+ ms\n`)
      .join("");
  const followed = async (addresses: Readonly<Record<string, string>>, ...args: string[]) => {
    trace.entries.length = 0;
    const sent: unknown[] = [];
    const unwatch = sqsFaults.watch(({ action, body }) => action === "SendMessage" && sent.push(body["QueueUrl"]));
    putStack({ ...addresses, Lanes: JSON.stringify(lanes) });
    const { code, stdout, stderr } = await stage(...args);
    unwatch();
    assert.deepEqual([code, stderr], [0, ""]);
    assert.deepEqual(
      sent.map((url) => String(url).split("/").at(-1)),
      ["events", ...laneQueues],
    );
    const handled = trace.entries.filter(({ stage }) => stage === "handled").map(({ type }) => type);
    assert.deepEqual(handled, [smokeType, `${smokeType}.ai`, `${smokeType}.bulk`]);
    return stdout;
  };
  const ofLanes = `${ofLane("ai", "stores an event")}${ofLane("bulk", "stores an event")}✔ All 11 hops`;
  assert.match(
    await followed({ RequestAddress: `${address}/webhook` }),
    new RegExp(`the ledger has it as done, \\d+ ms\n${ofLanes}`),
  );
  const { hops } = JSON.parse(await followed({}, "--json")) as { hops: Hop[] };
  assert.deepEqual(
    hops.map(({ hop, lane }) => `${lane ?? "default"} ${hop}`),
    ["default", "ai", "bulk"].flatMap((lane) => ["push", "queue", "ledger"].map((hop) => `${lane} ${hop}`)),
  );
  const pushed = hops.filter(({ hop }) => hop === "push").map(({ text }) => text);
  assert.deepEqual([...new Set(pushed)], ["there is no address: the queue stores an event"]);
  sqsFaults.inject("SendMessage", denied, ({ body }) => String(body["QueueUrl"]).endsWith("-bulk"));
  const failed = await stage();
  assert.match(failed.stdout, /✖ lane bulk: the queue does not store an event: AccessDeniedException\n/);
  assert.match(failed.stderr, /^The hop "push" of the lane bulk of the stage prod in eu-west-1 fails\. You need/);
});

test("tries the running npm start without --stage, by its own state", async () => {
  const { code, stdout, stderr } = await smoke(["--json"], { local: running() });
  assert.deepEqual([code, stderr], [0, ""]);
  const { isOk, hops } = JSON.parse(stdout) as { isOk: boolean; hops: Hop[] };
  assert.equal(isOk, true);
  const way = ["challenge", "forged push", "push", "queue", "ledger"];
  assert.deepEqual(
    hops.map(({ hop }) => hop),
    [...way, ...way, "click"],
  );
  assert.deepEqual([...new Set(hops.map(({ address: at }) => at))], [`${address}/webhook`, `${address}/callback`]);
  assert.equal((await smoke(["--region", "eu-west-1"])).code, 2);
  const none = await smoke([], { local: { ...running(), services: undefined } });
  assert.match(none.stderr, /^Cannot try it: there is no npm start\. Run it in another terminal, or pass --stage\n$/);
  const ended = await smoke([], { local: { ...running(), url: "http://127.0.0.1:9/webhook" } });
  assert.equal(ended.code, 1);
  assert.match(ended.stdout, /✖ http:\/\/127\.0\.0\.1:9\/webhook does not answer a challenge: connection refused\n/);
  assert.match(ended.stderr, /^The hop "challenge" of npm start fails\. Check that it runs/);
  // Its ciphertext is not printed.
  const echoed = `http://127.0.0.1:${(echo.address() as AddressInfo).port}/webhook`;
  const back = await smoke([], { local: { ...running(), url: echoed } });
  assert.equal(back.code, 1);
  assert.match(back.stdout, /✖ .* does not answer a challenge: answered 404 with what was sent to it\n/);
  assert.match(back.stderr, /^The hop "challenge" .* fails\. Something else answers there/);
});

test("puts the event of a stage without address into the queue, and clicks unsigned without an app secret", async () => {
  putStack({});
  const without = await stage();
  assert.deepEqual([without.code, without.stderr], [0, ""]);
  assert.match(without.stdout, /✔ there is no address: the queue stores an event[\s\S]*✔ All 3 hops/);
  putStack({ CallbackAddress: `${address}/callback` });
  cloud.store.put("/larkpost/prod/app", JSON.stringify({ ...stored, appSecret: undefined }));
  assert.match((await stage()).stdout, /✔ answers a click \(no app secret is stored: its value is not signed\)/);
});

const refusals: {
  readonly when: string;
  readonly plant: () => unknown;
  readonly stdout?: RegExp;
  readonly stderr: RegExp;
}[] = [
  {
    when: "the webhook may not send to the queue",
    plant: () => sqsFaults.inject("SendMessage", denied),
    stdout: /✖ does not store an event: answered 503/,
    stderr: /^The hop "push" of the stage prod in eu-west-1 fails\. The log's stages `unavailable` and `misconfigured`/,
  },
  {
    when: "this user may not read the ledger",
    plant: () => dynamoFaults.inject("GetItem", denied),
    stdout: /✖ the ledger does not say whether it has the event: AccessDeniedException\n/,
    stderr: /^The hop "ledger" .* fails\. You need the right dynamodb:GetItem\n$/,
  },
  {
    when: "the functions have other keys",
    plant: () => {
      const encryptKeys = [{ value: "another-key-of-the-tests" }];
      cloud.store.put("/larkpost/prod/app", JSON.stringify({ ...stored, encryptKeys }));
    },
    stdout: /✖ .* does not answer a challenge: answered 401/,
    stderr:
      /^The hop "challenge" .* fails\. The functions have other keys\. They read changed ones within 5 minutes\n$/,
  },
  {
    when: "the callback function has another app secret",
    plant: () => cloud.store.put("/larkpost/prod/app", JSON.stringify({ ...stored, appSecret: "another-secret" })),
    stdout: /✖ does not answer a click as it should: answered 200/,
    stderr: /^The hop "click" .* fails\. The callback's log says why: `value-forged` is another APP_SECRET/,
  },
  {
    when: "the keys cannot be read",
    plant: () => cloud.store.become("denied"),
    stderr: /^Cannot ask SSM for \/larkpost\/prod\/app: AccessDeniedException \(ssm:GetParameter\)/,
  },
  {
    when: "no keys are stored",
    plant: () => cloud.store.put("/larkpost/prod/app", undefined),
    stderr:
      /^Cannot try it: there is no \/larkpost\/prod\/app\. Run "npm run secrets -- set --stage prod --region eu-west-1"\n$/,
  },
  {
    when: "nothing may be put into the queue of a stage without address",
    plant: () => {
      putStack({});
      sqsFaults.inject("SendMessage", denied);
    },
    stdout: /✖ the queue does not store an event: AccessDeniedException\n/,
    stderr: /^The hop "push" .* fails\. You need the right sqs:SendMessage\n$/,
  },
];
for (const { when, plant, stdout, stderr } of refusals) {
  test(`exits with 1 when ${when}, and says what to check`, async () => {
    plant();
    const ended = await stage();
    assert.equal(ended.code, 1);
    assert.match(ended.stderr, stderr);
    if (stdout !== undefined) assert.match(ended.stdout, stdout);
  });
}

/** Follows an event into a queue that nobody takes from. `meanwhile` runs at the first look, and a look takes 20 s. */
async function lost(meanwhile: () => Promise<unknown>, ofLanes: readonly Lane[] = []): Promise<Hop | undefined> {
  const settings = { region: "us-east-1", credentials: { accessKeyId: "local", secretAccessKey: "local" } };
  let nowMs = Date.now();
  const startMs = nowMs;
  const subject: Subject = {
    ...{ name: "a queue", addresses: [], callbackAddresses: [], appSecret: undefined },
    ...senderOf(parseSecrets(JSON.stringify(stored))),
    dynamo: new DynamoDB({ ...settings, endpoint: services.endpoints.dynamo }),
    sqs: new SQS({ ...settings, endpoint: sqsFaults.endpoint }),
    table: services.ledgerTable,
    eventsUrl: services.urls.quarantineQueueUrl,
    lanes: ofLanes,
    clock: {
      nowMs: () => nowMs,
      after(_ms, fire) {
        const first = nowMs === startMs ? meanwhile() : Promise.resolve();
        nowMs += 20_000;
        void first.then(fire);
        return () => {};
      },
    },
  };
  const hops: Hop[] = [];
  await tryHops(subject, (hop) => hops.push(hop));
  subject.dynamo.destroy();
  subject.sqs.destroy();
  await services.callSqs("PurgeQueue", { QueueUrl: services.urls.quarantineQueueUrl });
  return hops.at(-1);
}

const take = () => services.take(services.urls.quarantineQueueUrl);
const losses = [
  {
    when: "waits in the queue",
    meanwhile: async () => {},
    text: "the worker does not take it from the queue within 60 s: 1 wait there, 0 are being handled",
    advice: /^Nothing takes events: look whether the worker is paused/,
  },
  { when: "is behind others that run", meanwhile: take, text: "0 wait there, 1 are", advice: /^The worker is at work/ },
  {
    when: "went to another ledger",
    meanwhile: () => services.callSqs("PurgeQueue", { QueueUrl: services.urls.quarantineQueueUrl }),
    text: "0 wait there, 0 are",
    advice: /^The event has left the queue: another worker takes from it/,
  },
  {
    when: "waits in its lane's queue, and not in the events queue",
    async meanwhile() {
      await take();
      await services.callSqs("CreateQueue", { QueueName: "quarantine-bulk" });
    },
    ofLanes: [{ name: "bulk", types: [] }],
    text: "1 wait there, 0 are being handled",
    advice: /^Nothing takes events: look whether the worker is paused/,
  },
  {
    when: "fails in the worker",
    async meanwhile() {
      const [message] = await take();
      const [, id = ""] = /event_id\W+(\w+)/.exec(message?.Body ?? "") ?? [];
      const key = idempotencyKey({ app: appId, handler: smokeType, id });
      const client = new DynamoDB({
        region: "us-east-1",
        credentials: { accessKeyId: "local", secretAccessKey: "local" },
        endpoint: services.endpoints.dynamo,
      });
      await client.putItem({
        TableName: services.ledgerTable,
        Item: { pk: { S: `claim#${key}` }, phase: { S: "open" } },
      });
      client.destroy();
    },
    text: 'the ledger does not have it as done within 60 s, but as "open"',
    advice: /^The worker's lines of \w{32} in the log say why$/,
  },
  {
    when: "is lost, and nobody may ask where",
    meanwhile: async () => sqsFaults.inject("GetQueueAttributes", denied),
    text: "What waits is not known: AccessDeniedException",
    advice: /^You need the right sqs:GetQueueAttributes/,
  },
];
for (const { when, meanwhile, ofLanes, text, advice } of losses) {
  test(`gives up after a minute when the event ${when}, and says so`, async () => {
    const hop = await lost(meanwhile, ofLanes);
    assert.equal(hop?.isOk, false);
    assert.ok(hop.text.includes(text), hop.text);
    assert.match(hop.advice ?? "", advice);
  });
}
