import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";
import { checkConfig } from "../../../lib/cli/check/settings.ts";
import { senderOf } from "../../../lib/cli/deploy/probe.ts";
import type { Resource } from "../../../lib/cli/deploy/stack.ts";
import { type Addressed, addressChecks } from "../../../lib/cli/desk/doctor/addresses.ts";
import { type Check, examine, withinMs } from "../../../lib/cli/desk/doctor/check.ts";
import { localChecks } from "../../../lib/cli/desk/doctor/doctor.ts";
import { causes, type Finding } from "../../../lib/cli/desk/doctor/finding.ts";
import { findMachine, type Machine } from "../../../lib/cli/desk/doctor/machine.ts";
import { platformChecks, type WithApp } from "../../../lib/cli/desk/doctor/platform.ts";
import { probeLogId } from "../../../lib/cli/start/render.ts";
import { keepRecent } from "../../../lib/cli/state/recent.ts";
import { systemClock } from "../../../lib/clock.ts";
import { level, lockState } from "../../../lib/local/state.ts";
import { apiConfig } from "../../../lib/open-api/config.ts";
import { parseSecrets } from "../../../lib/settings/app-secrets.ts";
import { listenOnLoopback } from "../../../lib/simulator/loopback.ts";
import { testClock } from "../../support/clock.ts";
import { type Cloud, startCloud } from "../../support/cloud.ts";
import { account, queueUrl, region } from "../../support/cloudformation.ts";
import { temporaryProject } from "../../support/project.ts";
import { until } from "../../support/until.ts";
import { larkpost, projectFolder, secrets, startReceiver, temporaryRoot } from "../run.ts";
import { deathOf, makeState, putLetters } from "./letters.ts";

const { encryptKey, verificationToken, appId } = secrets;
const appSecret = "CANARY-of-the-app-secret";
const good = {
  ...{ appId, appSecret },
  encryptKeys: [{ value: encryptKey }],
  verificationTokens: [{ value: verificationToken }],
};
const parameter = "/larkpost/prod/app";
const keyArn = `arn:aws:kms:${region}:${account}:key/0f4c`;
const topicArn = `arn:aws:sns:${region}:${account}:pager`;
/** A label may have 63 characters, so nobody is asked for it. */
const unknownHost = `${"a".repeat(64)}.feishu.cn`;
const inAnHour = Date.now() + 3_600_000;

/** The causes that a test has planted and found. */
const planted = new Set<string>();

type Receiver = Awaited<ReturnType<typeof startReceiver>>;
type Answer = (received: Receiver["received"][number]) => { status?: number; body?: string };

/** The platform's answers, as far as the doctor asks. */
const platform = { code: 0, skewMs: 0, open: 2 as number | undefined };
const feishu = createServer((request, response) => {
  const isToken = request.url?.endsWith("/tenant_access_token/internal") === true;
  const token = platform.code === 0 ? { tenant_access_token: "t-CANARY", expire: 7_200 } : {};
  const answer = isToken ? token : { data: { online_instance_cnt: platform.open } };
  response.setHeader("date", new Date(Date.now() - platform.skewMs).toUTCString());
  response.end(JSON.stringify({ code: isToken ? platform.code : 0, ...answer }));
});

let project: Awaited<ReturnType<typeof temporaryProject>>;
let receiver: Receiver;
let origin: string;
let answer: Answer;
before(async () => {
  [project, receiver] = await Promise.all([
    temporaryProject({}),
    startReceiver({ answer: (received) => answer(received) }),
  ]);
  origin = `http://127.0.0.1:${await listenOnLoopback(feishu)}`;
  writeFileSync(join(project.root, "serverless.yml"), "service: larkpost\n");
});
function resetPlatform(): void {
  answer = () => ({});
  Object.assign(platform, { code: 0, skewMs: 0, open: 2 });
}
after(async () => {
  feishu.closeAllConnections();
  feishu.close();
  await receiver.stop();
  project.remove();
});

function badIds(findings: readonly Finding[]): string[] {
  return findings.flatMap(({ id, level }) => (level === "ok" ? [] : [id])).toSorted();
}

/** Whether those were found, and what is said of them. */
function assertFound(findings: readonly Finding[], ids: readonly string[], text: RegExp): void {
  const bad = findings.filter(({ id, level }) => level !== "ok" && ids.includes(id));
  const all = bad.map(({ what, cure }) => `${what}\n${cure}`).join("\n");
  assert.deepEqual(badIds(bad), ids.toSorted(), JSON.stringify(findings.filter(({ level }) => level !== "ok")));
  for (const { id, level, cure } of bad) {
    assert.equal(level, causes[id as keyof typeof causes]);
    assert.match(cure ?? "", /^[^\n]{10,}$/, "a cure is one line");
  }
  assert.match(all, text);
  for (const id of ids) planted.add(id);
}

function assertNoSecret(text: string): void {
  for (const secret of [encryptKey, verificationToken, "CANARY"]) {
    assert.ok(!text.includes(secret), "a secret was printed");
  }
}

async function doctor(args: readonly string[], env: Readonly<Record<string, string>>) {
  const ended = await larkpost(["doctor", ...args], { root: project.root, env: { HOME: project.root, ...env } });
  assertNoSecret(`${ended.stdout}${ended.stderr}`);
  return ended;
}

describe("npm run doctor, on a stage", () => {
  type Resources = Record<string, Resource>;
  /** What is planted: the stack, and the keys that are stored. */
  interface World {
    readonly resources: Resources;
    readonly outputs: Record<string, string>;
    readonly stored: Record<string, unknown>;
    status: string | undefined;
    /** In place of the keys. */
    parameter: { value: string | undefined } | undefined;
    readonly env: Record<string, string>;
  }
  interface Case {
    readonly ids: readonly (keyof typeof causes)[];
    readonly when: string;
    readonly plant: (world: World) => unknown;
    readonly text: RegExp;
    readonly args?: readonly string[];
  }

  let cloud: Cloud;
  const names = ["webhook", "callback", "worker", "workerVip"];
  const queues = ["events", "events-vip.fifo", "dead-letters", "dead-letters.fifo", "quarantine"];

  /** The stack as it is when all is well. */
  function resourcesOf(): Resources {
    const idOf = (name: string) => `${name.charAt(0).toUpperCase()}${name.slice(1)}LambdaFunction`;
    const Environment = { Variables: { LARK_DOMAIN: origin } };
    const functions = names.map((name) => [
      idOf(name),
      { Type: "AWS::Lambda::Function", Properties: { FunctionName: `larkpost-prod-${name}`, Code: {}, Environment } },
    ]);
    const mappings = ["worker", "workerVip"].map((name) => [
      `${name}Mapping`,
      {
        Type: "AWS::Lambda::EventSourceMapping",
        Properties: { FunctionName: { "Fn::GetAtt": [idOf(name), "Arn"] }, ScalingConfig: { MaximumConcurrency: 10 } },
      },
    ]);
    const alarms = ["dead-letters", "events-wait-vip"].map((name) => [
      `${name}Alarm`,
      {
        Type: "AWS::CloudWatch::Alarm",
        Properties: {
          AlarmName: `larkpost-prod-${name}`,
          AlarmDescription: `Page: something. First type "npm run doctor -- --stage prod --region ${region}". Runbook: docs/operate.md, heading "${name.replace("-vip", "")}".`,
          AlarmActions: [topicArn],
        },
      },
    ]);
    return {
      ...Object.fromEntries([...functions, ...mappings, ...alarms]),
      EventsQueue: { Type: "AWS::SQS::Queue", Properties: { QueueName: "events", KmsMasterKeyId: keyArn } },
      LedgerTable: {
        Type: "AWS::DynamoDB::Table",
        Properties: { TableName: "ledger", DeletionProtectionEnabled: true },
      },
    };
  }

  /** All is well. */
  function reset(): World {
    for (const all of [cloud.metrics, cloud.denied, cloud.throttled, cloud.keys, cloud.topics, cloud.said]) all.clear();
    for (const queue of queues) cloud.messages.set(queue, [0, 0, 0]);
    Object.assign(cloud.limits, { concurrency: 1_000, reservedElsewhere: 0 });
    const Action = "kms:*";
    const Statement = [
      { Effect: "Allow", Principal: { AWS: `arn:aws:iam::${account}:root` }, Action },
      { Effect: "Allow", Principal: { Service: `logs.${region}.amazonaws.com` }, Action },
    ];
    cloud.keys.set(keyArn, { policy: { Statement } });
    cloud.topics.set(topicArn, { TopicArn: topicArn, SubscriptionsConfirmed: "1" });
    cloud.store.become("up");
    cloud.store.stored(86_400);
    cloud.store.put("/larkpost/prod/extra", undefined);
    rmSync(join(project.root, "larkpost.config.js"), { force: true });
    resetPlatform();
    const lanes = { vip: { types: ["im.message.receive_v1"], order: "chat" } };
    return {
      resources: resourcesOf(),
      outputs: {
        RequestAddress: receiver.url,
        CallbackAddress: receiver.url.replace("webhook", "callback"),
        ...{ AppId: appId, Lanes: JSON.stringify(lanes), LedgerTableName: "ledger" },
        ...{ EventsQueueUrl: queueUrl("events"), QuarantineQueueUrl: queueUrl("quarantine") },
        ...{ DeadLetterQueueUrl: queueUrl("dead-letters"), DeadLetterFifoQueueUrl: queueUrl("dead-letters.fifo") },
      },
      stored: { ...good },
      ...{ status: undefined, parameter: undefined, env: {} },
    };
  }

  /** Changes properties of a resource. */
  function change({ resources }: World, id: string, properties: object): void {
    const { Type, Properties } = resources[id] as Resource;
    resources[id] = { Type, Properties: { ...Properties, ...properties } };
  }

  const sayOfLedger = (fields: object) => cloud.said.set("ledger", { ...cloud.said.get("ledger"), ...fields });

  const doctorOf = (world: World, ...args: string[]) => {
    const { resources: Resources, outputs, stored, status, parameter: other, env } = world;
    cloud.stacks.clear();
    cloud.holders.clear();
    const Outputs = Object.fromEntries(Object.entries(outputs).map(([name, Value]) => [name, { Value }]));
    if (Object.keys(Resources).length > 0) cloud.putStack("larkpost-prod", { Resources, Outputs }, status);
    // Of a stage whose name begins as this one's does.
    const Properties = {
      ...{ AlarmName: "larkpost-prod-eu-refused", AlarmDescription: "--stage prod-eu", ActionsEnabled: false },
    };
    cloud.putStack("larkpost-prod-eu", { Resources: { Alarm: { Type: "AWS::CloudWatch::Alarm", Properties } } });
    const service = { Type: "AWS::ECS::Service", Properties: { DesiredCount: 2 } };
    cloud.putStack("larkpost-prod-long-connection", { Resources: { service } });
    cloud.store.put(parameter, other === undefined ? JSON.stringify(stored) : other.value);
    return doctor(["--stage", "prod", "--region", region, ...args], { ...cloud.env, ...env });
  };

  before(async () => {
    cloud = await startCloud();
  });
  after(() => cloud.stop());

  test("finds nothing where nothing is wrong: a line for each check, and exit code 0", async () => {
    const { code, stdout, stderr } = await doctorOf(reset());
    assert.deepEqual([code, stderr], [0, ""]);
    assert.match(stdout, /^Looks at the stage prod in ap-southeast-1:\n(ok {4}.+\n){17}0 fail, 0 warn, 17 ok\n$/);
    const pushed = receiver.received.map(({ envelope }) => envelope?.kind ?? "forged").toSorted();
    assert.deepEqual(pushed, ["challenge", "challenge", "event", "event", "forged", "forged"]);
    for (const { envelope, headers } of receiver.received) {
      // The log tells them from those of an attacker.
      const isMarked = String(headers["x-tt-logid"]).startsWith(probeLogId);
      assert.equal(isMarked, envelope === undefined);
    }
  });

  /** What is planted in one round: none of it changes what another finds. */
  const rounds: readonly (readonly Case[])[] = [
    [
      {
        ids: ["stack-stuck"],
        when: "the stack is stuck",
        plant: (world) => {
          world.status = "UPDATE_ROLLBACK_FAILED";
        },
        text: /status is UPDATE_ROLLBACK_FAILED.*\nRepair .* "aws cloudformation continue-update-rollback --stack-name larkpost-prod/,
      },
      {
        ids: ["kms-key"],
        when: "the KMS key is disabled",
        plant: () =>
          cloud.keys.set(keyArn, { policy: {}, ...cloud.keys.get(keyArn), metadata: { KeyState: "Disabled" } }),
        text: /the key's state is Disabled\nEnable it, or pass another/,
      },
      {
        ids: ["concurrency-taken"],
        when: "more is reserved than the account has",
        plant: (world) => {
          change(world, "WebhookLambdaFunction", { ReservedConcurrentExecutions: 20 });
          cloud.limits.concurrency = 110;
        },
        text: /limits reserve 20 invocations at once.*\nReserve fewer/,
      },
      {
        ids: ["keys-overlap"],
        when: "an old key is still accepted",
        plant: ({ stored }) =>
          Object.assign(stored, {
            encryptKeys: [{ value: encryptKey }, { value: `${encryptKey}-old`, notAfter: inAnHour }],
          }),
        text: new RegExp(
          `an old Encrypt Key is still accepted, until ${new Date(inAnHour).toISOString()}\n.*"npm run secrets -- finish --stage prod`,
        ),
      },
      {
        ids: ["keys-short"],
        when: "a token is short",
        plant: ({ stored }) =>
          Object.assign(stored, { verificationTokens: [{ value: verificationToken }, { value: "short-one" }] }),
        text: /VERIFICATION_TOKEN is shorter than 16 characters\nCheck that it was copied whole/,
      },
      {
        ids: ["extra-missing"],
        when: "a secret of the project is not stored",
        plant: () =>
          writeFileSync(join(project.root, "larkpost.config.js"), 'export default { secrets: ["CRM_TOKEN"] };\n'),
        text: /\/larkpost\/prod\/extra has no CRM_TOKEN.*\nRun "npm run secrets -- set --extra CRM_TOKEN --stage prod/,
      },
      {
        ids: ["function-update-failed"],
        when: "a function's last update failed",
        plant: () =>
          cloud.said.set("larkpost-prod-webhook", {
            LastUpdateStatus: "Failed",
            LastUpdateStatusReason: "the role is gone",
          }),
        text: /the last update of larkpost-prod-webhook failed: the role is gone\nDeploy again/,
      },
      {
        ids: ["function-unusable"],
        when: "a function cannot run",
        plant: () => cloud.said.set("larkpost-prod-callback", { State: "Failed", StateReason: "KMS denies it" }),
        text: /larkpost-prod-callback cannot run: KMS denies it/,
      },
      {
        ids: ["code-differs"],
        when: "the workers of two lanes run different code",
        plant: () => cloud.said.set("larkpost-prod-workerVip", { CodeSha256: "AAAA" }),
        text: /the workers run different code: larkpost-prod-worker [0-9a-f]{12}, larkpost-prod-workerVip 000000/,
      },
      {
        ids: ["mapping-disabled"],
        when: "a lane's mapping is disabled",
        plant: () => cloud.said.set("larkpost-prod-workerVip mapping", { State: "Disabled" }),
        text: /larkpost-prod-workerVip is paused.*\n.*--uuid uuid-1 --enabled/,
      },
      {
        ids: ["mapping-problem"],
        when: "Lambda may not read a queue",
        plant: () =>
          cloud.said.set("larkpost-prod-worker mapping", { LastProcessingResult: "PROBLEM: Function call failed" }),
        text: /Lambda cannot take events to larkpost-prod-worker: PROBLEM: Function call failed/,
      },
      {
        ids: ["worker-throttled"],
        when: "Lambda throttles a lane's worker",
        plant: () => cloud.metrics.set("Throttles larkpost-prod-workerVip", 4),
        text: /Lambda throttled larkpost-prod-workerVip 8 times within the last hour/,
      },
      {
        ids: ["queue-missing"],
        when: "a queue is gone",
        plant: () => cloud.messages.delete("events-vip.fifo"),
        text: /there is no queue events-vip\.fifo\nHave it made again: "aws cloudformation create-change-set --stack-name larkpost-prod .* --deployment-mode REVERT_DRIFT /,
      },
      {
        ids: ["events-wait"],
        when: "events wait in a lane",
        plant: () => cloud.metrics.set("ApproximateAgeOfOldestMessage events-vip.fifo", 400),
        text: /the oldest event in events-vip\.fifo has waited for 7 min\n.*npm run logs -- --stage prod/,
      },
      {
        ids: ["events-stuck"],
        when: "events are stuck",
        plant: () => cloud.metrics.set("ApproximateAgeOfOldestMessage events", 1_000),
        text: /the oldest event in events has waited for 17 min/,
      },
      {
        ids: ["dead-letters", "dead-letters"],
        when: "dead letters wait",
        plant() {
          cloud.messages.set("dead-letters", [2, 1, 0]).set("dead-letters.fifo", [1, 0, 0]);
          // Letters may be old.
          cloud.metrics.set("ApproximateAgeOfOldestMessage dead-letters", 90_000);
        },
        text: /dead letters wait in dead-letters: 3\n.*"npm run dead -- list --stage prod --region ap-southeast-1"/,
      },
      {
        ids: ["quarantined"],
        when: "messages are in quarantine",
        plant: () => cloud.messages.set("quarantine", [1, 0, 0]),
        text: /messages that could not be read wait in quarantine: 1\n.*--queue quarantine"/,
      },
      {
        ids: ["ledger-missing"],
        when: "the ledger is gone",
        plant: ({ resources }) => delete resources["LedgerTable"],
        text: /there is no table ledger: nothing can run\nRestore it from the backup .*"aws dynamodb list-backups --table-name ledger --region ap-southeast-1 --backup-type SYSTEM" .* --region ap-southeast-1 --backup-arn …"$/,
      },
      {
        ids: ["alarms-without-topic"],
        when: "an alarm has no topic",
        plant: (world) => change(world, "events-wait-vipAlarm", { AlarmActions: [] }),
        text: /1 of 2 alarms tell nobody: they have no topic/,
      },
      {
        ids: ["alarms-ring"],
        when: "an alarm rings",
        plant: () => cloud.said.set("larkpost-prod-events-wait-vip", { StateValue: "ALARM" }),
        text: /the alarm events-wait-vip rings\nRead docs\/operate\.md, heading "events-wait"\n?/,
      },
      {
        ids: ["alarms-unheard"],
        when: "nobody is subscribed to the topic",
        plant: () => cloud.topics.set(topicArn, { TopicArn: topicArn, SubscriptionsConfirmed: "0" }),
        text: /nobody is subscribed to the topic .*\nSubscribe to it/,
      },
      {
        ids: ["address-unreachable"],
        when: "nothing listens at the request address",
        plant: ({ outputs }) => Object.assign(outputs, { RequestAddress: "http://127.0.0.1:9/webhook" }),
        text: /http:\/\/127\.0\.0\.1:9\/webhook does not answer a challenge: connection refused/,
      },
      {
        ids: ["platform-unreachable"],
        when: "the platform cannot be reached",
        plant: (world) =>
          change(world, "WorkerLambdaFunction", { Environment: { Variables: { LARK_DOMAIN: "http://127.0.0.1:9" } } }),
        text: /127\.0\.0\.1:9 cannot be reached from here \(ECONNREFUSED\)/,
      },
    ],
    [
      {
        ids: ["stack-rolled-back"],
        when: "the last deployment was taken back",
        plant: (world) => {
          world.status = "UPDATE_ROLLBACK_COMPLETE";
        },
        text: /the one before it runs\nLook why: "aws cloudformation describe-stack-events/,
      },
      {
        ids: ["kms-key", "kms-key"],
        when: "the KMS key's policy lets nobody use it",
        plant: () => cloud.keys.set(keyArn, { policy: { Statement: [] } }),
        text: /its policy leaves the roles of account 111122223333 out\nAllow arn:aws:iam::111122223333:root kms:Decrypt/,
      },
      {
        ids: ["concurrency-shared"],
        when: "a busy worker would leave the webhook no concurrency",
        plant: () => {
          cloud.limits.concurrency = 10;
        },
        text: /a busy worker leaves the webhook none\nLower it/,
      },
      {
        ids: ["not-checked"],
        when: "the project's own secrets are stored as something else",
        plant() {
          writeFileSync(join(project.root, "larkpost.config.js"), 'export default { secrets: ["CRM_TOKEN"] };\n');
          cloud.store.put("/larkpost/prod/extra", "[1]");
        },
        text: /not checked: the project's own secrets: Cannot read \/larkpost\/prod\/extra: .*\nDelete it, and store each again/,
      },
      {
        ids: ["ledger-unusable"],
        when: "the ledger's key is gone",
        plant: () => sayOfLedger({ TableStatus: "INACCESSIBLE_ENCRYPTION_CREDENTIALS" }),
        text: /the table ledger is INACCESSIBLE_ENCRYPTION_CREDENTIALS/,
      },
      {
        ids: ["ledger-forgets-nothing"],
        when: "the ledger has no time to live",
        plant: () => cloud.said.set("ledger TTL", { TimeToLiveStatus: "DISABLED" }),
        text: /has no time to live.*\nRun "aws dynamodb update-time-to-live --table-name ledger/,
      },
      {
        ids: ["ledger-unprotected"],
        when: "the ledger can be deleted",
        plant: () => sayOfLedger({ DeletionProtectionEnabled: false }),
        text: /can be deleted.*\nRun "aws dynamodb update-table --table-name ledger .*--deletion-protection-enabled"/,
      },
      {
        ids: ["alarms-off"],
        when: "the actions of alarms are off",
        plant: () => {
          for (const name of ["dead-letters", "events-wait-vip"])
            cloud.said.set(`larkpost-prod-${name}`, { ActionsEnabled: false });
        },
        text: /since their actions are off: dead-letters, events-wait-vip\n.*--alarm-names larkpost-prod-dead-letters larkpost-prod-events-wait-vip"/,
      },
      {
        ids: ["topic-unusable"],
        when: "the topic is gone",
        plant: () => cloud.topics.clear(),
        text: /there is no topic .*\nCreate it/,
      },
      {
        ids: ["address-other-keys", "address-other-keys"],
        when: "the keys were stored a moment ago",
        plant: () => {
          cloud.store.stored(60);
          answer = () => ({ status: 401 });
        },
        text: /answered 401.*\nIt has other keys than those stored/,
      },
      {
        ids: ["connections-other"],
        when: "another process has a long connection of the app",
        plant: () => {
          platform.open = 3;
        },
        text: /the app has 3 long connections, and 2 are expected/,
      },
    ],
    [
      {
        ids: ["function-stopped"],
        when: "somebody has throttled a function to nothing",
        plant: (world) => change(world, "WebhookLambdaFunction", { ReservedConcurrentExecutions: 0 }),
        text: /larkpost-prod-webhook has a concurrency of 0.*\n.*delete-function-concurrency --function-name larkpost-prod-webhook/,
      },
      {
        ids: ["function-missing", "mapping-missing"],
        when: "somebody has deleted a worker",
        plant: ({ resources }) => delete resources["WorkerVipLambdaFunction"],
        text: /there is no function larkpost-prod-workerVip\nHave it made again: "aws cloudformation create-change-set [\s\S]*nothing takes events to larkpost-prod-workerVip/,
      },
      {
        ids: ["host-unknown"],
        when: "a host of AWS is not known",
        plant: ({ env }) => Object.assign(env, { AWS_ENDPOINT_URL_DYNAMODB: `https://${unknownHost}` }),
        text: /not checked: the ledger: AWS's host is unknown, ENOTFOUND\nCheck the DNS/,
      },
      {
        ids: ["right-missing"],
        when: "the user may not look at the alarms",
        plant: () => cloud.denied.add("cloudwatch:DescribeAlarms"),
        text: /not checked: the alarms: AccessDenied \(cloudwatch:DescribeAlarms\)\nYou need the right cloudwatch:DescribeAlarms/,
      },
      {
        ids: ["not-checked"],
        when: "AWS throttles a call for long",
        plant: () => cloud.throttled.set("sns:GetTopicAttributes", 9),
        text: /not checked: the alarms' topics: Throttl.*\nType the command again/,
      },
      {
        ids: ["connections-none"],
        when: "the stage's long connection is not open",
        plant: () => {
          platform.open = 0;
        },
        text: /the app has no long connection/,
      },
    ],
    [
      {
        ids: ["right-missing", "right-missing"],
        when: "neither the key nor the topic may be looked at",
        plant: () => cloud.denied.add("kms:DescribeKey").add("sns:GetTopicAttributes"),
        text: /You need the right kms:DescribeKey\n.*the alarms' topics: .*\nYou need the right sns:GetTopicAttributes/,
      },
      {
        ids: ["secret-missing"],
        when: "no app secret is stored",
        plant: ({ stored }) => Object.assign(stored, { appSecret: undefined }),
        text: /has no App Secret.*\nRun "npm run secrets -- set .*" with APP_SECRET/,
      },
    ],
    [
      {
        ids: ["stack-missing"],
        when: "there is no such stack",
        plant: ({ resources }) => {
          for (const id of Object.keys(resources)) delete resources[id];
        },
        text: /there is no stack larkpost-prod in ap-southeast-1\nCheck --stage and --region/,
      },
      {
        ids: ["keys-missing"],
        when: "no keys are stored",
        plant: (world) => {
          world.parameter = { value: undefined };
        },
        text: /there is no \/larkpost\/prod\/app\nRun "npm run secrets -- set --stage prod --region ap-southeast-1"/,
      },
    ],
    [
      {
        ids: ["region-lacks"],
        when: "the region lacks what the stack needs",
        plant: ({ resources }) => {
          delete resources["EventsQueue"];
          for (const id of ["dead-lettersAlarm", "events-wait-vipAlarm"]) delete resources[id];
        },
        args: ["--region", "us-gov-east-1"],
        text: /no log lines in JSON.*\nUse another region/,
      },
      {
        ids: ["keys-unusable"],
        when: "what is stored is no JSON",
        plant: (world) => {
          world.parameter = { value: "CANARY" };
        },
        text: /cannot be used: they are not JSON\nDelete it, then store the keys again: "aws ssm delete-parameter --name \/larkpost\/prod\/app --region us-gov-east-1", "npm run secrets -- set --stage prod --region us-gov-east-1"$/,
      },
    ],
    [
      {
        ids: ["region-doubtful", "kms-key", "topic-unusable"],
        when: "the region is not known, and key and topic are of another",
        plant: () => {},
        args: ["--region", "eu-nowhere-1"],
        text: /is no region that Larkpost knows[\s\S]*is a key of ap-southeast-1/,
      },
      {
        ids: ["keys-other-app", "keys-ended"],
        when: "the keys are another app's, and no token is accepted any more",
        plant({ outputs, stored }) {
          Object.assign(outputs, { AppId: "cli_fedcba9876543210" });
          Object.assign(stored, { verificationTokens: [{ value: verificationToken, notAfter: 1 }] });
        },
        text: /has the keys of "cli_0123456789abcdef", and the stack is of "cli_fedcba9876543210"[\s\S]*no stored Verification Token is accepted any more/,
      },
    ],
    [
      {
        ids: ["right-missing"],
        when: "one missing right stops several checks",
        plant: () => cloud.denied.add("lambda:GetFunction"),
        text: /not checked: the concurrency, the functions, the workers' code, the platform: .*\nYou need the right lambda:GetFunction/,
      },
      {
        ids: ["keys-unusable"],
        when: "a stored key is padded",
        plant: ({ stored }) => Object.assign(stored, { encryptKeys: [{ value: `${encryptKey} ` }] }),
        text: /cannot be used: ENCRYPT_KEY begins or ends with white space\nDelete it, then store the keys again: "aws ssm/,
      },
    ],
    [
      {
        ids: ["right-missing"],
        when: "neither the keys nor the project's own secrets may be read",
        plant() {
          writeFileSync(join(project.root, "larkpost.config.js"), 'export default { secrets: ["CRM_TOKEN"] };\n');
          cloud.store.become("denied");
        },
        text: /not checked: the app's keys, the project's own secrets, .*\nYou need the right ssm:GetParameter/,
      },
    ],
    [
      {
        ids: ["credentials"],
        when: "there are no credentials",
        plant: ({ env }) =>
          Object.assign(env, { AWS_ACCESS_KEY_ID: "", AWS_SECRET_ACCESS_KEY: "", AWS_EC2_METADATA_DISABLED: "true" }),
        text: /not checked: the stack, .*the alarms.*: CredentialsProviderError\nRun "aws sso login"/,
      },
    ],
  ];
  for (const [index, round] of rounds.entries()) {
    describe(`round ${index + 1}`, () => {
      let code: number | null;
      let findings: Finding[];
      before(async () => {
        const world = reset();
        for (const { plant } of round) await plant(world);
        const args = round.flatMap(({ args: own = [] }) => own);
        const ended = await doctorOf(world, "--json", ...args);
        ({ findings } = JSON.parse(ended.stdout) as { findings: Finding[] });
        code = ended.code;
      });

      for (const { ids, when, text } of round) {
        test(`finds ${ids[0]} when ${when}`, () => assertFound(findings, ids, text));
      }

      test("finds nothing else, and exits with 1 if something fails", () => {
        const ids = round.flatMap((one) => one.ids);
        assert.deepEqual(badIds(findings), ids.toSorted());
        assert.equal(code, ids.some((id) => causes[id] === "fail") ? 1 : 0);
      });
    });
  }

  test("prints the cure below what is wrong", async () => {
    const world = reset();
    cloud.messages.set("quarantine", [1, 0, 0]);
    world.status = "UPDATE_ROLLBACK_FAILED";
    const { stdout } = await doctorOf(world);
    assert.match(stdout, /^warn {2}messages that .*: 1\n {6}Look what they are: "npm run dead/m);
    assert.match(stdout, /^fail {2}larkpost-prod: the stack's status.*\n {6}Repair what/m);
    assert.match(stdout, /\n1 fail, 1 warn, 15 ok\n$/);
  });

  test("is called wrongly with a region and no stage", async () => {
    assert.equal((await doctor(["--region", region], {})).code, 2);
  });
});

describe("npm run doctor, on this machine", () => {
  const app = { APP_ID: appId, APP_SECRET: appSecret, ENCRYPT_KEY: encryptKey, VERIFICATION_TOKEN: verificationToken };
  const state = () => join(project.root, ".larkpost");
  const ends: (() => unknown)[] = [];
  const writeProject = (name: string, text: string) => {
    writeFileSync(join(project.root, name), text);
    ends.push(() => rmSync(join(project.root, name)));
  };
  /** What a running `npm start` has written. */
  const run = (url: string) => {
    ends.push(lockState(state()));
    writeFileSync(join(state(), "local.json"), JSON.stringify({ url, appId, encryptKey, verificationToken }));
  };
  /** Node keeps a module, so that each root has one configuration. */
  const broken = temporaryRoot();
  before(() => {
    writeFileSync(join(broken.root, "larkpost.config.js"), "export default { limits: { maxAttempts: 0 } };\n");
  });
  after(broken.remove);
  beforeEach(() => {
    resetPlatform();
    platform.open = 1;
  });
  afterEach(async () => {
    for (const end of ends.splice(0)) await end();
    rmSync(state(), { recursive: true, force: true });
  });

  test("finds nothing where nothing is wrong, without a state and beside a running npm start", async () => {
    const none = await doctor([], { PORT: "0" });
    assert.deepEqual([none.code, none.stderr], [0, ""]);
    const missing = /\nwarn {2}no npm start runs with .*\n {6}Run it, .*\n0 fail, 1 warn, \d ok\n$/;
    assert.match(none.stdout.replaceAll(/^ok.*\n/gm, ""), missing);
    planted.add("start-missing");
    assert.ok(!existsSync(state()), "a state folder was made");
    run(receiver.url);
    // Another program has the port of the settings; npm start was given one of its own.
    const running = await doctor([], { PORT: new URL(origin).port, LARK_DOMAIN: origin, ...app });
    assert.deepEqual([running.code, running.stderr], [0, ""]);
    assert.match(running.stdout, /(ok {4}.+\n){13}0 fail, 0 warn, 13 ok\n$/);
  });

  const cases: readonly {
    readonly ids: readonly (keyof typeof causes)[];
    readonly when: string;
    readonly plant?: () => unknown;
    /** What cannot be planted on the machine that runs the test. */
    readonly given?: Partial<Machine>;
    readonly env?: Readonly<Record<string, string>>;
    readonly args?: readonly string[];
    readonly text: RegExp;
  }[] = [
    {
      ids: ["node-other"],
      when: "Node is newer than the functions'",
      given: { nodeVersion: "26.1.0" },
      text: /this is Node 26\.1\.0, and the functions run on Node 24\nRun "npm ci"/,
    },
    {
      ids: ["config-refused"],
      when: "larkpost.config.js has a mistake",
      given: { project: () => checkConfig(broken.root) },
      text: /larkpost\.config\.js:1: .*maxAttempts/,
    },
    {
      ids: ["setting-wrong", "setting-wrong"],
      when: ".env lacks a key, and has one with a blank behind it",
      plant: () =>
        writeProject(
          ".env",
          `APP_ID=${appId}\nAPP_SECRET=${appSecret}\nENCRYPT_KEY="${encryptKey} "\nLARK_DOMAIN=${origin}\n`,
        ),
      text: /\.env: VERIFICATION_TOKEN is not set\nCopy it[\s\S]*\.env:3: ENCRYPT_KEY begins or ends with white space\nCheck for a line break/,
    },
    {
      ids: ["setting-doubtful"],
      when: ".env has a line that Node does not read",
      plant: () => writeProject(".env", "lost\n"),
      text: /\.env:1: is not read: it has no =, and is no comment\nWrite it as NAME=value/,
    },
    {
      ids: ["secrets-unset"],
      when: "a secret of the project is not set",
      plant: () => writeProject("larkpost.config.js", 'export default { secrets: ["CRM_TOKEN"] };\n'),
      text: /CRM_TOKEN is not set: a handler that reads it fails here\nPut it into \.env/,
    },
    {
      ids: ["app-deployed"],
      when: "the app is a deployed stage's",
      plant: () => writeProject("larkpost.stages.json", JSON.stringify({ prod: { appId } })),
      env: app,
      text: /cli_0123456789abcdef is the app of the stage "prod"/,
    },
    {
      ids: ["app-refused"],
      when: "the secret in the environment is wrong",
      plant: () => {
        platform.code = 10015;
      },
      env: app,
      text: /code 10015: the App ID or the App Secret is wrong/,
    },
    {
      ids: ["port-taken"],
      when: "another program has the port",
      plant: () => {},
      env: { PORT: "taken" },
      text: /npm start cannot listen on the port \d+: another program listens on it\nStop that program/,
    },
    {
      ids: ["state-unusable"],
      when: "the state folder is none",
      args: ["--state", "serverless.yml"],
      text: /the state folder .*serverless\.yml cannot be used: .*\nCheck who owns it/,
    },
    {
      ids: ["state-unusable"],
      when: "the state folder cannot be made",
      args: ["--state", "serverless.yml/state"],
      text: /the state folder .*state cannot be used: ENOTDIR/,
    },
    {
      ids: ["state-held"],
      when: "another process has the state folder, and is no running npm start",
      plant: () => run("http://127.0.0.1:9/webhook"),
      text: new RegExp(
        `process ${process.pid} has the state folder .* and does not answer.*\\nWait until it has ended`,
      ),
    },
    {
      ids: ["state-left"],
      when: "a killed npm start has left a process with the ledger",
      async plant() {
        mkdirSync(state());
        const database = level(join(state(), "dynamodb"));
        await database.open();
        ends.push(() => database.close());
      },
      text: /what a killed npm start has left still has the ledger.*\n.*"lsof /,
    },
    {
      ids: ["state-other", "state-other"],
      when: "ledger and queues are no such files",
      plant() {
        for (const folder of ["dynamodb", "sqs"]) mkdirSync(join(state(), folder), { recursive: true });
        writeFileSync(join(state(), "dynamodb/CURRENT"), "MANIFEST-000009\n");
        new DatabaseSync(join(state(), "sqs/fauxqs.db")).exec("CREATE TABLE other (n)");
      },
      text: /the ledger in .* cannot be read: .*\nnpm start moves it aside[\s\S]*the queues in .* cannot be read: no such table/,
    },
    {
      ids: ["disk-full"],
      when: "the disk is nearly full",
      given: { freeBytes: () => 3 * 1_048_576 },
      text: /the disk of .* has 3 MB left/,
    },
    {
      ids: ["dead-letters"],
      when: "a dead letter waits",
      async plant() {
        await makeState(state());
        putLetters(state(), [{ id: "dead", attributes: deathOf({ id: "dead" }) }]);
      },
      text: /dead letters wait in dead-letters: 1\nLook which and why: "npm run dead -- list"/,
    },
    {
      ids: ["handler-blocks", "events-stuck"],
      when: "a handler blocks its function, since npm start runs, and events wait behind it",
      async plant() {
        await makeState(state());
        const sentAtMs = Date.now() - 1_000_000;
        putLetters(state(), [{ id: "waits", queue: "events", sentAtMs }]);
        const kept = keepRecent(state(), assert.fail);
        const line = (stage: string, id: string) => kept.line("worker", { stage, id, type: "a.b_v1", level: "warn" });
        for (const stage of ["started", "blocked"]) line(stage, "before");
        run(receiver.url);
        const startedAt = new Date(Date.now() + 1);
        utimesSync(join(state(), "local.json"), startedAt, startedAt);
        await until("the next millisecond", () => Date.now() > startedAt.getTime());
        for (const stage of ["started", "blocked"]) line(stage, "loops");
        for (const stage of ["started", "blocked", "handled"]) line(stage, "went-on");
        kept.close();
      },
      text: /perhaps that of a\.b_v1 \(loops\)\nIt loops, .* "npm run trace -- loops"[\s\S]*in events has waited for 17 min\n/,
    },
    {
      ids: ["address-other-keys", "address-other-keys"],
      when: "the running npm start has other keys",
      plant() {
        run(receiver.url);
        answer = () => ({ status: 401 });
      },
      text: /\/webhook does not answer a challenge: answered 401.*\nIt has other keys than those stored/,
    },
  ];
  for (const { ids, when, plant, given, env = {}, args = [], text } of cases) {
    test(`finds ${ids[0]} when ${when}, and nothing else`, async () => {
      await plant?.();
      let findings: Finding[];
      if (given !== undefined) {
        const machine = findMachine({ root: project.root, stateFolder: state(), args: "" });
        findings = await examine(localChecks, { ...machine, env: { PORT: "0" }, ...given }, systemClock);
      } else {
        const PORT = env["PORT"] === undefined ? "0" : String(receiver.port);
        const { code, stdout } = await doctor(["--json", ...args], { LARK_DOMAIN: origin, ...env, PORT });
        ({ findings } = JSON.parse(stdout) as { findings: Finding[] });
        assert.equal(code, ids.some((id) => causes[id] === "fail") ? 1 : 0);
      }
      assertFound(findings, ids, text);
      // In most of the cases none runs.
      assert.deepEqual(
        badIds(findings).filter((id) => id !== "start-missing"),
        ids.toSorted(),
      );
    });
  }
});

/** What is asked of a stage's addresses and of the platform, which needs nothing of AWS. */
interface Asked {
  host: string;
  keysAtMs: number;
  domain: string;
  appSecret: string | undefined;
}
const askedCases: readonly {
  readonly ids: readonly (keyof typeof causes)[];
  readonly when: string;
  readonly plant: (asked: Asked) => unknown;
  readonly text: RegExp;
}[] = [
  {
    ids: ["address-not-found", "address-not-found"],
    when: "both addresses answer 404",
    plant: () => {
      answer = () => ({ status: 404, body: "" });
    },
    text: /\/callback does not answer a challenge: answered 404\nSomething else answers at that path/,
  },
  {
    ids: ["address-redirects"],
    when: "the callback address redirects",
    plant: () => {
      answer = ({ path }) => (path === "/callback" ? { status: 301, body: "" } : {});
    },
    text: /\/callback does not answer a challenge: answered 301.*\nFeishu follows no redirect/,
  },
  {
    ids: ["address-of-another", "address-of-another"],
    when: "something answers 200 and no challenge",
    plant: () => {
      answer = () => ({ status: 200, body: "<html>" });
    },
    text: /\/webhook does not answer a challenge: answered 200 <html>/,
  },
  {
    ids: ["address-changes-body", "address-changes-body"],
    when: "a proxy drops the body of each request",
    plant: () => {
      answer = () => ({ status: 401 });
    },
    text: /answered 401.*\nWhat stands before the function drops or rewrites the body/,
  },
  {
    ids: ["address-changes-body"],
    when: "a proxy rewrites the body, so that a signature does not match",
    plant: (asked) => {
      // The challenge shows that the keys are the right ones, however new.
      asked.keysAtMs = Date.now() - 60_000;
      answer = ({ envelope, path }) => (path === "/webhook" && envelope?.kind === "event" ? { status: 401 } : {});
    },
    text: /\/webhook does not store an event: answered 401/,
  },
  {
    ids: ["address-unavailable"],
    when: "the webhook cannot store an event",
    plant: () => {
      answer = ({ envelope, path }) => (path === "/webhook" && envelope?.kind === "event" ? { status: 503 } : {});
    },
    text: /\/webhook does not store an event: answered 503.*\nThe log's stages `unavailable`/,
  },
  {
    ids: ["address-open"],
    when: "the callback address takes a forged event",
    plant: () => {
      answer = ({ envelope, path }) => (envelope === undefined && path === "/callback" ? { status: 200 } : {});
    },
    text: /\/callback does not refuse a forged event: answered 200.*\nAnybody may push there/,
  },
  {
    ids: ["platform-unknown"],
    when: "the platform's host is not known here",
    plant: (asked) => {
      asked.domain = `https://${unknownHost}`;
    },
    text: /the host a+\.feishu\.cn is unknown here\nCheck this machine's DNS/,
  },
  {
    ids: ["clock-wrong"],
    when: "the clock is behind",
    plant: () => {
      platform.skewMs = -400_000;
    },
    text: /this machine's clock is (399|400|401) s behind 127\.0\.0\.1:\d+'s/,
  },
  {
    ids: ["app-refused"],
    when: "the app secret is wrong",
    plant: () => {
      platform.code = 10003;
    },
    text: /refuses cli_0123456789abcdef: answered 200, code 10003: the App ID or the App Secret is wrong\nCopy both/,
  },
  {
    ids: ["app-refused"],
    when: "the app is disabled",
    plant: () => {
      platform.code = 10014;
    },
    text: /code 10014: the app is disabled.*\nEnable the app/,
  },
  {
    ids: ["connections-full"],
    when: "the app has all its long connections",
    plant: () => {
      platform.open = 50;
    },
    text: /the app has 50 long connections, and the platform takes no more/,
  },
  {
    ids: ["clock-wrong"],
    when: "the clock is ahead, and there is no secret",
    plant: (asked) => {
      asked.appSecret = undefined;
      platform.skewMs = 400_000;
    },
    text: /this machine's clock is (399|400|401) s ahead of /,
  },
  {
    ids: ["address-unknown", "address-unknown"],
    when: "an address's host has no record",
    plant: (asked) => {
      asked.host = `https://${unknownHost}`;
    },
    text: /the host is unknown\nThe host has no record in DNS/,
  },
];
for (const { ids, when, plant, text } of askedCases) {
  test(`finds ${ids[0]} when ${when}, and nothing else of the addresses and the platform`, async () => {
    resetPlatform();
    const asked: Asked = { host: `http://127.0.0.1:${receiver.port}`, keysAtMs: 0, domain: origin, appSecret };
    plant(asked);
    const subject: Addressed & WithApp = {
      addressed: async (kind) => ({
        addresses: [`${asked.host}/${kind === "Request" ? "webhook" : "callback"}`],
        keysAtMs: asked.keysAtMs,
        sender: senderOf(parseSecrets(JSON.stringify(good))),
      }),
      app: async () => ({
        ...apiConfig({ LARK_DOMAIN: asked.domain }, appId),
        appSecret: asked.appSecret,
        connections: [1, 2],
      }),
    };
    const findings = await examine<typeof subject>([...addressChecks, ...platformChecks], subject, systemClock);
    assertFound(findings, ids, text);
    assert.deepEqual(badIds(findings), ids.toSorted());
  });
}

test("finds not-checked when a check has no answer in time, makes the others, and names the right that a refusal does not", async () => {
  const clock = testClock();
  const check = { about: "a thing", fine: "all is well" };
  // Which does not name the right.
  const refusal = Object.assign(new Error("no"), { name: "AccessDeniedException" });
  const checks: Check<null>[] = [
    { ...check, id: "late", find: () => new Promise(() => {}) },
    { ...check, id: "good", find: async () => [] },
    { ...check, id: "none", find: async () => undefined },
    { ...check, id: "refused", right: "kms:DescribeKey", find: () => Promise.reject(refusal) },
  ];
  const examined = examine(checks, null, clock);
  await clock.advance(withinMs);
  const findings = await examined;
  assertFound(findings, ["not-checked", "right-missing"], /not checked: a thing: no answer within 20 s/);
  assert.equal(findings.find(({ id }) => id === "right-missing")?.cure, "You need the right kms:DescribeKey");
  assert.deepEqual(findings[0], { id: "good", level: "ok", what: "all is well", cure: null });
  assert.equal(clock.pending, 0);
});

test("each cause is planted by a test above, and is in the runbook of both languages", () => {
  for (const page of ["docs/operate.md", "docs/zh-CN/operate.md"]) {
    const text = readFileSync(join(projectFolder, page), "utf8");
    assert.deepEqual(
      Object.keys(causes).filter((id) => !text.includes(`\`${id}\``)),
      [],
      page,
    );
  }
  assert.deepEqual([...planted].toSorted(), Object.keys(causes).toSorted());
});
