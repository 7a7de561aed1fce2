import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, beforeEach, describe, test } from "node:test";
import { DynamoDB } from "@aws-sdk/client-dynamodb";
import { rememberSeconds } from "../../../lib/aws/ledger.ts";
import { queueUrl } from "../../../lib/local/sqs.ts";
import { lockState } from "../../../lib/local/state.ts";
import { type Cloud, startCloud } from "../../support/cloud.ts";
import { denied, type Faults, startFaults, throttled } from "../../support/faults.ts";
import { temporaryProject } from "../../support/project.ts";
import { type Services, startServices } from "../../support/services.ts";
import { larkpost, secrets } from "../run.ts";
import { bodyOf, deathOf, makeState, putLetters, valuesOf } from "./letters.ts";

const { encryptKey, verificationToken, appId } = secrets;
const notAfter = Date.now() + 7_200_000;
const lanes = { vip: { types: ["im.message.receive_v1"], order: "chat" } };

let project: Awaited<ReturnType<typeof temporaryProject>>;
let services: Services;
before(async () => {
  [project, services] = await Promise.all([temporaryProject({}), startServices()]);
});
after(async () => {
  await services.stop();
  project.remove();
});

async function status(args: readonly string[], env: Readonly<Record<string, string>> = {}) {
  const ended = await larkpost(["status", ...args], { root: project.root, env: { HOME: project.root, ...env } });
  for (const secret of [encryptKey, verificationToken, "CANARY"]) {
    assert.ok(!`${ended.stdout}${ended.stderr}`.includes(secret), "a secret was printed");
  }
  return ended;
}

describe("npm run status, on a stage", () => {
  let cloud: Cloud;
  let faults: Faults;
  const stage = (...args: string[]) =>
    status(["--stage", "prod", "--region", "eu-west-1", ...args], {
      ...cloud.env,
      AWS_ENDPOINT_URL_SQS: faults.endpoint,
    });

  before(async () => {
    writeFileSync(join(project.root, "serverless.yml"), "service: larkpost\n");
    [cloud, faults] = await Promise.all([startCloud(), startFaults(services.exchangeSqs)]);
    for (const QueueName of ["events-vip.fifo", "dead-letters.fifo"]) {
      await services.callSqs("CreateQueue", { QueueName, Attributes: { FifoQueue: "true" } });
    }
    const url = (name: string) => queueUrl(faults.endpoint, name);
    const values = {
      RequestAddress: "https://bot.example/webhook",
      CallbackAddress: "https://bot.example/callback",
      ...{ AppId: appId, Release: "9.8.7", Lanes: JSON.stringify(lanes), LedgerTableName: "ledger" },
      ...{ EventsQueueUrl: url("events"), QuarantineQueueUrl: url("quarantine") },
      ...{ DeadLetterQueueUrl: url("dead-letters"), DeadLetterFifoQueueUrl: url("dead-letters.fifo") },
    };
    const named = ["webhook", "callback", "worker", "workerVip"].map((name) => [
      name,
      { Type: "AWS::Lambda::Function", Properties: { FunctionName: `larkpost-prod-${name}`, Code: {} } },
    ]);
    const Outputs = Object.fromEntries(Object.entries(values).map(([name, Value]) => [name, { Value }]));
    cloud.putStack("larkpost-prod", { Resources: Object.fromEntries(named), Outputs });
    cloud.functions.changedAt = new Date(Date.now() - 330_000).toISOString();
    for (const [name, value] of [
      ["larkpost-prod-worker-stages started", 60],
      ["larkpost-prod-worker-stages failed", 3],
      ["larkpost-prod-worker-vip-stages started", 10],
      ["larkpost-prod-worker-vip-stages dead", 1],
      ["ApproximateAgeOfOldestMessage events-vip.fifo", 400],
    ] as const) {
      cloud.metrics.set(name, value);
    }
    const send = (name: string, input: object) =>
      services.callSqs("SendMessage", { QueueUrl: queueUrl(services.endpoints.sqs, name), ...input });
    await send("events", { MessageBody: bodyOf("waits") });
    await send("events", { MessageBody: bodyOf("later"), DelaySeconds: 600 });
    for (const id of ["one", "two"]) {
      await send("dead-letters", { MessageBody: bodyOf(id), MessageAttributes: valuesOf(deathOf({ id })) });
    }
    // A record of the lane that SQS moved itself.
    const moved = { MessageBody: bodyOf("moved"), MessageGroupId: "oc_1", MessageDeduplicationId: "moved" };
    await send("dead-letters.fifo", moved);
  });
  beforeEach(() => {
    faults.reset();
    cloud.denied.clear();
    cloud.store.become("up");
    const stored = {
      ...{ appId, appSecret: "CANARY-secret" },
      encryptKeys: [{ value: encryptKey }, { value: `${encryptKey}-before`, notAfter }],
      verificationTokens: [{ value: verificationToken }],
    };
    cloud.store.put("/larkpost/prod/app", JSON.stringify(stored));
  });
  after(() => Promise.all([cloud.stop(), faults.stop()]));

  test("shows versions, addresses, queues of all lanes, runs, dead letters and keys, and takes no message", async () => {
    faults.inject("GetQueueAttributes", throttled, (_call, nth) => nth <= 2);
    const { code, stdout, stderr } = await stage();
    assert.deepEqual([code, stderr], [0, ""]);
    for (const line of [
      /^the stage prod in eu-west-1: larkpost-prod, \w+_COMPLETE, deployed \d+ d ago, release 9\.8\.7, app cli_\w+$/m,
      /^ {2}Code {7}larkpost-prod-webhook {2}sha256 [0-9a-f]{12}… {2}5 min ago$/m,
      /^ {13}larkpost-prod-workerVip {2}sha256 /m,
      /^ {2}Address {4}https:\/\/bot\.example\/webhook\n {13}https:\/\/bot\.example\/callback$/m,
      /^ {2}Queues {5}events {13}1 waiting, 1 delayed$/m,
      /^ {13}events-vip\.fifo {4}0 waiting, the oldest for 6 min$/m,
      /^ {13}dead-letters {7}2 waiting\n {13}dead-letters\.fifo {2}1 waiting$/m,
      /^ {2}Last hour {2}140 runs: 132 done or told to wait, 6 failed, 2 dead$/m,
      /^ {2}Dead {7}3\n {13}0a1b2c3d {2}2 × {2}attemptsExhausted {2}test\.event {2}TypeError {2}\S+:3:9 {2}3 min ago$/m,
      /^ {13}[0-9a-f]{8} {2}1 × {2}movedBySqs {2}test\.event {2}\d+ s ago$/m,
      /^ {13}npm run dead -- list --stage prod --region eu-west-1$/m,
      /^ {2}Keys {7}\/larkpost\/prod\/app, version \d+, stored 3 d ago, with the app secret$/m,
      new RegExp(`^ {13}Encrypt Key: current, another until ${new Date(notAfter).toISOString()}$`, "m"),
      /^ {13}Verification Token: current$/m,
    ]) {
      assert.match(stdout, line);
    }
    assert.equal((await services.take(services.urls.deadLetterQueueUrl, { hiddenSeconds: 0 })).length, 2);
    const json = JSON.parse((await stage("--json")).stdout) as Record<string, Record<string, unknown>>;
    assert.deepEqual(
      [json["stack"]?.["release"], json["runs"]?.["started"], json["dead"]?.["total"]],
      ["9.8.7", 140, 3],
    );
  });

  const rights = {
    "lambda:GetFunction": { label: "Code", deny: () => cloud.denied.add("lambda:GetFunction") },
    "cloudwatch:GetMetricData": { label: "Last hour", deny: () => cloud.denied.add("cloudwatch:GetMetricData") },
    "ssm:GetParameter": { label: "Keys", deny: () => cloud.store.become("denied") },
    "sqs:GetQueueAttributes": { label: "Queues", deny: () => faults.inject("GetQueueAttributes", denied) },
    "sqs:ReceiveMessage": { label: "Dead", deny: () => faults.inject("ReceiveMessage", denied) },
  };
  for (const missing of [
    ["lambda:GetFunction", "ssm:GetParameter", "sqs:ReceiveMessage"],
    ["cloudwatch:GetMetricData", "sqs:GetQueueAttributes"],
  ] as const) {
    test(`names the rights ${missing.join(", ")} when they are missing, prints the rest, and exits with 1`, async () => {
      for (const right of missing) rights[right].deny();
      const { code, stdout } = await stage();
      assert.equal(code, 1);
      for (const [right, { label }] of Object.entries(rights)) {
        // Without their numbers, no letters are looked at.
        const [because] = missing.filter((one) => one === right || (label === "Dead" && /GetQueue/.test(one)));
        const said = because === undefined ? "(?!not known)" : `not known: (?!Cannot).*You need the right ${because}$`;
        assert.match(stdout, new RegExp(`^  ${label} +${said}`, "m"));
      }
      assert.match(stdout, /^ {2}Address /m);
    });
  }

  test("shows the long connection's stack, or names the right that it lacks", async () => {
    const name = "larkpost-prod-long-connection";
    cloud.putStack(name, { Resources: {} });
    assert.match((await stage()).stdout, /^ {2}Connection long connection, UPDATE_COMPLETE, deployed \d+ d ago$/m);
    cloud.denied.add(`cloudformation:DescribeStacks ${name}`);
    const { code, stdout } = await stage();
    assert.equal(code, 1);
    const said = "not known: AccessDenied. You need the right cloudformation:DescribeStacks";
    assert.ok(stdout.includes(`  Connection ${said}\n`), stdout);
    cloud.stacks.delete(name);
  });

  test("says what to run when no keys are stored, and when there is no such stack", async () => {
    cloud.store.put("/larkpost/prod/app", undefined);
    const { code, stdout } = await stage();
    assert.equal(code, 1);
    assert.match(
      stdout,
      /^ {2}Keys {7}not known: there is no \/larkpost\/prod\/app\. Store the keys: "npm run secrets -- set --stage prod --region eu-west-1"$/m,
    );
    cloud.stacks.clear();
    assert.match((await stage()).stderr, /^Cannot say how it is: there is no stack larkpost-prod in eu-west-1\./);
  });
});

test("npm run status, on this machine: the queues by their file, the ledger while npm start runs", async () => {
  const state = join(project.root, ".larkpost");
  const none = await status([]);
  assert.deepEqual([none.code, none.stderr], [0, ""]);
  assert.match(
    none.stdout,
    /^this machine \(.+\): npm start does not run\n.*\n {2}Queues {5}none yet\n {2}Dead {7}none\n$/,
  );
  await makeState(state);
  putLetters(state, [{ id: "dead", attributes: deathOf({ id: "dead" }) }]);
  const client = new DynamoDB({
    ...{ region: "us-east-1", endpoint: services.endpoints.dynamo },
    credentials: { accessKeyId: "local", secretAccessKey: "local" },
  });
  const row = (pk: string, phase: string, agoSeconds: number) => {
    const expiresAtSeconds = { N: String(Math.floor(Date.now() / 1000) - agoSeconds + rememberSeconds) };
    return client.putItem({ TableName: "ledger", Item: { pk: { S: pk }, phase: { S: phase }, expiresAtSeconds } });
  };
  await row("claim#a", "done", 10);
  await row("claim#b", "open", 60);
  await row("claim#c", "done", 3_700);
  await row("answer#d", "done", 10);
  client.destroy();
  const local = { sqs: services.endpoints.sqs, dynamo: services.endpoints.dynamo, accessKeyId: "local" };
  writeFileSync(
    join(state, "local.json"),
    JSON.stringify({ url: "http://127.0.0.1:3000/webhook", appId, services: local }),
  );
  const stopped = await status([]);
  assert.doesNotMatch(stopped.stdout, /Address|Last hour/);
  assert.match(
    stopped.stdout,
    /^ {2}Queues {5}dead-letters {2}1 waiting(, the oldest for \d+ s)?\n {13}events {8}0 waiting$/m,
  );
  assert.match(stopped.stdout, /^ {2}Dead {7}1\n {13}0a1b2c3d {2}1 × .*\n {13}npm run dead -- list$/m);
  const unlock = lockState(state);
  try {
    const running = await status([]);
    assert.match(running.stdout, /^this machine \(.+\): npm start runs, app cli_\w+\n/);
    assert.match(
      running.stdout,
      /^ {2}Address {4}http:\/\/127\.0\.0\.1:3000\/webhook\n {13}http:\/\/127\.0\.0\.1:3000\/callback$/m,
    );
    assert.match(running.stdout, /^ {2}Last hour {2}events in the ledger: 1 done, 1 open$/m);
    const json = JSON.parse((await status(["--json"])).stdout) as { isRunning: boolean; events: { done: number } };
    assert.deepEqual([json.isRunning, json.events.done], [true, 1]);
  } finally {
    unlock();
  }
});
