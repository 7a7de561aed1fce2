// in turn: they share a process of osls.
import assert from "node:assert/strict";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";
import { faultLine } from "../../../lib/cli/check/finding.ts";
import { awsClients, type Clients } from "../../../lib/cli/deploy/clients.ts";
import { checkStack } from "../../../lib/cli/deploy/preflight/preflight.ts";
import { regions } from "../../../lib/cli/deploy/regions.ts";
import { describeStack, type Stack } from "../../../lib/cli/deploy/stack.ts";
import { compile, oslsEnv, writeConfig } from "../../infra/stack.ts";
import { type Cloud, type CloudKey, startCloud } from "../../support/cloud.ts";
import { account, region } from "../../support/cloudformation.ts";
import { shareOsls } from "../../support/shared-osls.ts";
import { command, secrets } from "../run.ts";
import { smallProject } from "./deployment.ts";

const { appId } = secrets;
const keyArn = `arn:aws:kms:${region}:${account}:key/0f4c`;
const topicArn = `arn:aws:sns:${region}:${account}:pager`;
const parameter = "/larkpost/prod/app";
const good = {
  appId,
  encryptKeys: [{ value: secrets.encryptKey }],
  verificationTokens: [{ value: secrets.verificationToken }],
};

const forAccount = { Effect: "Allow", Principal: { AWS: `arn:aws:iam::${account}:root` }, Action: "kms:*" };
const forLogs = {
  Effect: "Allow",
  Principal: { Service: `logs.${region}.amazonaws.com` },
  Action: ["kms:Encrypt*", "kms:Decrypt*", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:Describe*"],
  Condition: {
    ArnLike: {
      "kms:EncryptionContext:aws:logs:arn": `arn:aws:logs:${region}:${account}:log-group:/aws/*/larkpost-prod*`,
    },
  },
};
const forCloudWatch = {
  Effect: "Allow",
  Principal: { Service: ["cloudwatch.amazonaws.com"] },
  Action: ["kms:Decrypt", "kms:GenerateDataKey*"],
};
const keyWith = (...Statement: object[]): CloudKey => ({ policy: { Statement } });

describe("the preflight of a deployment", () => {
  let cloud: Cloud;
  let clients: Clients;
  /** With a key and topics of the customer's; with Function URLs. */
  let stack: Stack;
  let withUrls: Stack;
  /** With what is the default; without an address. */
  let plain: Stack;
  let bare: Stack;
  const root = mkdtempSync(join(tmpdir(), "larkpost-preflight-"));
  const env = { ...process.env };

  before(async () => {
    cloud = await startCloud();
    Object.assign(process.env, cloud.env);
    clients = awsClients({ region });
    const extra = { customerKeyArn: keyArn, pageTopicArn: topicArn };
    const compiled = await Promise.all([
      compile("prod", { params: extra, config: { secrets: ["CRM_TOKEN"] } }),
      compile("prod", { params: { front: "functionUrl" } }),
      compile("prod"),
      compile("prod", { params: { front: "none" }, env: { AWS_REGION: "cn-north-1" } }),
    ]);
    const [one, two, three, four] = compiled.map(({ template }): Stack => {
      return { name: "larkpost-prod", service: "larkpost", stage: "prod", region, tags: {}, kept: [], template };
    });
    [stack, withUrls, plain, bare] = [one, two, three, four] as [Stack, Stack, Stack, Stack];
    writeFileSync(join(root, "larkpost.config.js"), 'export default { secrets: ["CRM_TOKEN"] };\n');
  });
  beforeEach(() => {
    for (const all of [cloud.stacks, cloud.holders, cloud.messages, cloud.denied, cloud.keys, cloud.topics])
      all.clear();
    Object.assign(cloud.limits, { concurrency: 1_000, reservedElsewhere: 0 });
    cloud.keys.set(keyArn, keyWith(forAccount, forLogs));
    cloud.topics.set(topicArn, { TopicArn: topicArn });
    cloud.store.put(parameter, JSON.stringify(good));
    cloud.store.put("/larkpost/prod/extra", '{"CRM_TOKEN":"x"}');
    rmSync(join(root, "larkpost.stages.json"), { force: true });
  });
  after(async () => {
    for (const name of Object.keys(cloud.env)) Reflect.deleteProperty(process.env, name);
    Object.assign(process.env, env);
    rmSync(root, { recursive: true });
    await cloud.stop();
  });

  async function check(checked: Stack, { force = false, resumes = false } = {}): Promise<string[]> {
    const deployed = await describeStack(clients.cloudFormation, checked.name);
    const context = { root, stack: checked, clients, account, deployed, force, resumes, adopt: false };
    return (await checkStack(context)).map(faultLine);
  }

  /** The stack with other properties of a resource. */
  function changed(id: string, properties: object, of = stack): Stack {
    const { template } = structuredClone(of);
    Object.assign(template.Resources[id]?.Properties ?? {}, properties);
    return { ...of, template };
  }

  function withVariables(variables: object): Stack {
    const { Properties = {} } = stack.template.Resources["WorkerLambdaFunction"] ?? {};
    const { Variables } = Properties["Environment"] as { Variables: object };
    return changed("WorkerLambdaFunction", { Environment: { Variables: { ...Variables, ...variables } } });
  }

  function withKey(keyArn: string): Stack {
    return changed("EventsQueue", { KmsMasterKeyId: keyArn });
  }

  function withTopic(arn: string): Stack {
    return changed("DeadLettersAlarm", { AlarmActions: [arn] });
  }

  /** The stack, with another key in KMS, or none. */
  function whereKeyIs(key?: CloudKey): Stack {
    cloud.keys.clear();
    if (key !== undefined) cloud.keys.set(keyArn, key);
    return stack;
  }

  /** A stack in an account of these limits. */
  function within(limits: Partial<Cloud["limits"]>, of = stack): Stack {
    Object.assign(cloud.limits, limits);
    return of;
  }

  function encryptTopic(keyId: string, key: CloudKey): Stack {
    cloud.keys.set(keyId, key);
    cloud.topics.set(topicArn, { TopicArn: topicArn, KmsMasterKeyId: keyId });
    return stack;
  }

  function record(text: string): Stack {
    writeFileSync(join(root, "larkpost.stages.json"), text);
    return stack;
  }

  function deployedAs(status: string, app = appId): Stack {
    cloud.putStack("larkpost-prod", { Resources: {}, Outputs: { AppId: { Value: app } } }, status);
    return stack;
  }

  function store(value: string | undefined, name = parameter): Stack {
    cloud.store.put(name, value);
    return stack;
  }

  test("finds nothing where all is well, also of a stack that is there already, and in China of one without address", async () => {
    assert.deepEqual(await check(stack), []);
    assert.deepEqual(await check({ ...bare, region: "cn-northwest-1" }), []);
    for (const status of ["UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE"])
      assert.deepEqual(await check(deployedAs(status)), []);
    assert.deepEqual(await check(encryptTopic("alias/pager", keyWith(forCloudWatch))), []);
  });

  const staged = (stage: string): Stack => {
    const template = JSON.parse(JSON.stringify(stack.template).replaceAll("larkpost-prod", `larkpost-${stage}`));
    cloud.keys.set(keyArn, keyWith(forAccount, { ...forLogs, Condition: undefined }));
    return { ...stack, stage, template };
  };
  const scaled = (reserved: number, of = stack) =>
    changed("WebhookLambdaFunction", { ReservedConcurrentExecutions: reserved }, of);
  /** With Function URLs that are limited. */
  const limitedIn = (region: string) =>
    scaled(60, changed("CallbackLambdaFunction", { ReservedConcurrentExecutions: 30 }, { ...withUrls, region }));
  type Lanes = Record<string, { types: string[]; order?: string }>;
  const bulk = { types: ["contact.*"] };
  const drained = { types: [] };
  const url = (queue: string) => `https://sqs.${region}.amazonaws.com/${account}/larkpost-prod-${queue}`;
  /** The stack with these lanes, by its output. */
  const laned = (lanes: Lanes, outputs: Record<string, { Value: unknown }> = {}): Stack => {
    const Lanes = { Value: JSON.stringify(lanes) };
    return { ...plain, template: { ...plain.template, Outputs: { ...plain.template.Outputs, ...outputs, Lanes } } };
  };
  /** What is to be deployed after these lanes. */
  const following = (lanes: Lanes, next = plain, outputs: Record<string, { Value: unknown }> = {}): Stack => {
    cloud.putStack("larkpost-prod", laned(lanes, outputs).template);
    return next;
  };
  const left = (queue: string, counts: readonly [number, number, number], next: Stack): Stack => {
    cloud.messages.set(`larkpost-prod-${queue}`, counts);
    return next;
  };
  /** The stack with a second worker. */
  const withSecond = (mapping: object): Stack => {
    const { Resources } = plain.template;
    const id = "WorkerBulkLambdaFunction";
    const FunctionName = { "Fn::GetAtt": [id, "Arn"] };
    const more = {
      [id]: { Type: "AWS::Lambda::Function", Properties: { FunctionName: "larkpost-prod-workerBulk" } },
      Second: { Type: "AWS::Lambda::EventSourceMapping", Properties: { FunctionName, ...mapping } },
    };
    return { ...plain, template: { ...plain.template, Resources: { ...Resources, ...more } } };
  };
  const noApp = (): Stack => ({
    ...stack,
    template: { ...stack.template, Outputs: { AppId: { Value: "none" } } },
  });

  const faults: readonly (readonly [planted: string, plant: () => Stack, line: string | RegExp])[] = [
    [
      "no app is named",
      noApp,
      "✖ APP_ID  is not set. Copy it from the developer console (cli_…), and pass it as APP_ID=cli_… or --param appId=cli_…",
    ],
    [
      "the stage's name makes names that are too long",
      () => staged("s".repeat(47)),
      /^✖ --stage {2}"s{47}" has 47 characters, and AWS would refuse the name "larkpost-s{47}-callback"\. Use 46 at most$/,
    ],
    [
      "a resource of one's own has a name that is too long",
      () => changed("QuarantineQueue", { QueueName: "q".repeat(81) }),
      /^✖ larkpost\.config\.js {2}resources\.QuarantineQueue: the name "q{81}" is 1 too long for AWS::SQS::Queue\. Make it shorter$/,
    ],
    [
      "the region has no Function URLs",
      () => limitedIn("me-central-1"),
      /^✖ --param front {2}me-central-1 has no Function URLs \(2026-11-28\)\. Use front=httpApi$/,
    ],
    [
      "the region has no log lines in JSON",
      () => ({ ...plain, region: "us-gov-west-1" }),
      /^✖ --region {2}us-gov-west-1 has no log lines in JSON/,
    ],
    [
      "the region serves no public API",
      () => ({ ...plain, region: "cn-north-1" }),
      '! --region  cn-north-1 serves an API without authentication only to accounts with an ICP filing (2026-11-28), and Feishu would get 401. Without one, use front=none and, after it, "npm run deploy -- --stage prod --region cn-north-1 --long-connection": docs/where-to-deploy.md',
    ],
    [
      "the region has neither Function URLs nor a public API",
      () => limitedIn("cn-north-1"),
      /^✖ --param front {2}cn-north-1 has no Function URLs \(2026-11-28\)\. Use front=none and, after it, "npm run deploy/,
    ],
    [
      "the region has no provisioned pollers",
      () =>
        changed(
          "WorkerEventSourceMappingSQSEventsQueue",
          { ScalingConfig: undefined, ProvisionedPollerConfig: { MinimumPollers: 2, MaximumPollers: 2 } },
          { ...bare, region: "cn-north-1" },
        ),
      "✖ larkpost.config.js  cn-north-1 has no provisioned pollers (2026-11-28). Leave minimumPollers and maximumPollers out",
    ],
    [
      "the region does not count a mapping's events",
      () =>
        changed(
          "WorkerEventSourceMappingSQSEventsQueue",
          { MetricsConfig: { Metrics: ["EventCount"] } },
          { ...bare, region: "cn-north-1" },
        ),
      "✖ larkpost.config.js  cn-north-1 has no metrics of event source mappings (2026-11-28). Leave eventCountMetrics out",
    ],
    [
      "the region is misspelt",
      () => ({ ...plain, region: "ap-southeast1" }),
      /^! --region {2}"ap-southeast1" is no region that Larkpost knows \(2026-11-28\)\. Did you mean "ap-southeast-1"\?$/,
    ],
    [
      "larkDomain is another host",
      () => withVariables({ LARK_DOMAIN: "https://lark.example.com" }),
      "✖ --param larkDomain  is \"lark.example.com\", which is not the platform's, and would be sent the app's secret. Check it; --param allowOtherDomain=true allows it",
    ],
    [
      "the stage was recorded for another app",
      () => record('{"prod":{"appId":"cli_fedcba9876543210"}}'),
      `✖ larkpost.stages.json  the stage "prod" is of the app "cli_fedcba9876543210", whose queued events "${appId}" cannot read. Check APP_ID and --stage; --force takes the stage over`,
    ],
    [
      "the deployed stack is of another app",
      () => deployedAs("UPDATE_COMPLETE", "cli_fedcba9876543210"),
      /^✖ larkpost-prod {2}the stage "prod" is of the app "cli_fedcba9876543210"/,
    ],
    [
      "the file of the stages cannot be read",
      () => record("{"),
      '✖ larkpost.stages.json  it is not {"<stage>":{"appId":"cli_…"}}. Check it against its history',
    ],
    [
      "somebody deploys at the same time",
      () => deployedAs("UPDATE_IN_PROGRESS"),
      "✖ larkpost-prod  the stack's status is UPDATE_IN_PROGRESS, in which it cannot be updated. Wait until that has ended",
    ],
    [
      "the first deployment failed",
      () => deployedAs("ROLLBACK_COMPLETE"),
      /^✖ larkpost-prod .* Nothing runs in it\. Run "aws cloudformation delete-stack --stack-name larkpost-prod --region ap-southeast-1", and deploy again$/,
    ],
    [
      "a stack that was removed has left its queues and its table",
      () => {
        cloud.putStack("larkpost-prod", stack.template);
        cloud.stacks.clear();
        return { ...stack, kept: ["EventsQueue", "LedgerTable"] };
      },
      /^✖ larkpost-prod {2}a stack that was removed has left larkpost-prod-events, larkpost-prod-ledger, with .* --adopt/,
    ],
    [
      "a lane that was removed has left its queue",
      () => {
        cloud.putStack("larkpost-prod", stack.template);
        cloud.stacks.clear();
        return { ...deployedAs("UPDATE_COMPLETE"), kept: ["EventsQueue"] };
      },
      "✖ larkpost-prod  a lane that was removed has left larkpost-prod-events. Look whether it is empty and delete it, or give the lane another name: docs/deploy.md",
    ],
    [
      "an update could not be rolled back",
      () => deployedAs("UPDATE_ROLLBACK_FAILED"),
      /^✖ larkpost-prod .*then run "aws cloudformation continue-update-rollback --stack-name larkpost-prod/,
    ],
    [
      "the app's keys are not stored",
      () => store(undefined),
      `✖ ${parameter}  there is no such parameter. Run "npm run secrets -- set --stage prod --region ap-southeast-1"`,
    ],
    [
      "the stored keys cannot be read",
      () => store('{"appId":"cli_a1"}'),
      `✖ ${parameter}  cannot be used: encryptKeys in the stored secrets is empty. Delete it, then store the keys again: "aws ssm delete-parameter --name ${parameter} --region ap-southeast-1", "npm run secrets -- set --stage prod --region ap-southeast-1"`,
    ],
    [
      "the stored keys are another app's",
      () => store(JSON.stringify({ ...good, appId: "cli_fedcba9876543210" })),
      /^✖ \/larkpost\/prod\/app {2}has the keys of "cli_fedcba9876543210", and the stack is for "cli_0123456789abcdef": every request would get 503/,
    ],
    [
      "a secret of the project is not stored",
      () => store("{}", "/larkpost/prod/extra"),
      /^! \/larkpost\/prod\/extra {2}has no CRM_TOKEN, which larkpost\.config\.js lists\. Run "npm run secrets .* --extra CRM_TOKEN"$/,
    ],
    [
      "the project's secrets cannot be read",
      () => store("CRM_TOKEN=x", "/larkpost/prod/extra"),
      "✖ /larkpost/prod/extra  Cannot read /larkpost/prod/extra: it is not JSON of texts by name. Delete it, and store each again",
    ],
    [
      "the key is an alias",
      () => withKey(`arn:aws:kms:${region}:${account}:alias/mine`),
      /^✖ --param customerKeyArn {2}".*:alias\/mine" is an alias, which roles and log groups do not take\. Pass arn:aws:kms:/,
    ],
    ["the key is no ARN", () => withKey("0f4c"), /^✖ --param customerKeyArn {2}"0f4c" is no ARN of a key\. Pass/],
    [
      "the key is of another region",
      () => withKey(keyArn.replace(region, "us-east-1")),
      "✖ --param customerKeyArn  is a key of us-east-1, and the stack goes to ap-southeast-1. Pass a key of that region",
    ],
    ["there is no such key", () => whereKeyIs(), "✖ --param customerKeyArn  there is no such key. Check its ARN"],
    [
      "the key is disabled",
      () => whereKeyIs({ policy: {}, metadata: { KeyState: "Disabled" } }),
      "✖ --param customerKeyArn  the key's state is Disabled. Enable it, or pass another",
    ],
    [
      "the key is not symmetric",
      () => whereKeyIs({ policy: {}, metadata: { KeySpec: "RSA_2048" } }),
      "✖ --param customerKeyArn  is a key of RSA_2048. SQS and Logs take symmetric keys alone",
    ],
    [
      "the key's policy leaves the functions' roles out",
      () => whereKeyIs(keyWith({ ...forAccount, Action: ["kms:Describe*", "kms:Encrypt"] }, forLogs)),
      `✖ --param customerKeyArn  its policy leaves the roles of account ${account} out. Allow arn:aws:iam::${account}:root kms:Decrypt, kms:GenerateDataKey, kms:Encrypt, kms:DescribeKey`,
    ],
    [
      "the key's policy leaves the log out",
      () => whereKeyIs(keyWith(forAccount, { ...forLogs, Effect: "Deny" })),
      /^✖ --param customerKeyArn {2}its policy does not let CloudWatch Logs encrypt .*:log-group:\/aws\/lambda\/larkpost-prod-webhook and the others\. Allow logs\.ap-southeast-1\.amazonaws\.com kms:Encrypt\*/,
    ],
    [
      "the key's policy is for other log groups",
      () => {
        const Condition = {
          ArnEquals: { "kms:EncryptionContext:aws:logs:arn": "arn:aws:logs:*:*:log-group:/aws/lambda/*" },
        };
        return whereKeyIs(keyWith(forAccount, { ...forLogs, Condition }));
      },
      /^✖ --param customerKeyArn {2}its policy does not let CloudWatch Logs encrypt/,
    ],
    [
      "a topic is no ARN",
      () => withTopic("pager"),
      '✖ --param pageTopicArn  "pager" is no ARN of an SNS topic. Pass arn:aws:sns:…',
    ],
    [
      "a topic is of another region",
      () => withTopic(topicArn.replace(region, "us-east-1")),
      /^✖ --param pageTopicArn {2}is a topic of us-east-1, and alarms reach topics of their own region\. Make one in/,
    ],
    [
      "there is no such topic",
      () => withTopic(`${topicArn}s`),
      `✖ --param pageTopicArn  there is no topic ${topicArn}s. Create it, and subscribe to it`,
    ],
    [
      "a topic has AWS's own key",
      () => encryptTopic("alias/aws/sns", { policy: {}, metadata: { KeyManager: "AWS" } }),
      /^✖ --param pageTopicArn {2}the topic is encrypted with alias\/aws\/sns, which CloudWatch cannot use: no alarm/,
    ],
    [
      "the policy of a topic's key leaves CloudWatch out",
      () => encryptTopic("alias/pager", keyWith(forAccount, { ...forCloudWatch, Action: ["kms:Decrypt"] })),
      /^✖ --param pageTopicArn {2}the policy of the topic's key alias\/pager leaves CloudWatch out.* Allow cloudwatch\.amazonaws\.com/,
    ],
    [
      "more is reserved than the account has",
      () => scaled(901),
      "✖ larkpost.config.js  limits reserve 901 invocations at once. Of the account's 1000, 900 can be reserved. Reserve fewer, or have Lambda's quota raised",
    ],
    [
      "others have reserved what is wanted",
      () => within({ reservedElsewhere: 850 }, scaled(60)),
      /^✖ larkpost\.config\.js {2}limits reserve 60 .* 50 can be reserved\./,
    ],
    [
      "a new account can reserve nothing",
      () => within({ concurrency: 10 }, scaled(1)),
      /^✖ larkpost\.config\.js {2}limits reserve 1 .* Of the account's 10, 0 can be reserved\./,
    ],
    [
      "the worker may take all that the account has",
      () => within({ concurrency: 10 }),
      /^! larkpost\.config\.js {2}limits\.maxConcurrency is 10, and the account runs 10 functions at once: a busy worker/,
    ],
    [
      "provisioned pollers may take all that the account has",
      () =>
        within(
          { concurrency: 1_000 },
          changed("WorkerEventSourceMappingSQSEventsQueue", {
            ScalingConfig: undefined,
            ProvisionedPollerConfig: { MinimumPollers: 2, MaximumPollers: 100 },
          }),
        ),
      /^! larkpost\.config\.js {2}limits\.maximumPollers is 100, for 1000 invocations, and the account runs 1000 functions at/,
    ],
    [
      "the workers of all lanes may take all that the account has",
      () => within({ concurrency: 15 }, withSecond({ ScalingConfig: { MaximumConcurrency: 5 } })),
      /^! larkpost\.config\.js {2}the workers of all lanes are up to 15 at once, and the account runs 15 functions at/,
    ],
    [
      "a lane is removed at once",
      () => following({ bulk }),
      "✖ larkpost.config.js  lanes.bulk is gone, and events may be in its queue. Leave it with types: [] for a deployment, first",
    ],
    [
      "a lane gets an order",
      () => following({ bulk }, laned({ bulk: { ...bulk, order: "user_id" } })),
      "✖ larkpost.config.js  lanes.bulk has order now, which makes another queue, and events may be in this one. Give its types to a lane of another name, and leave bulk as it was, with types: [], for a deployment",
    ],
    [
      "a lane loses its order",
      () => following({ bulk: { ...bulk, order: "user_id" } }, laned({ bulk })),
      /^✖ larkpost\.config\.js {2}lanes\.bulk has no order any more, which makes another queue, /,
    ],
    [
      "a lane is removed that has events, some of them hidden or delayed",
      () => left("events-bulk", [1, 2, 3], following({ bulk: drained })),
      "✖ larkpost.config.js  lanes.bulk is gone, and 6 events are in its queue. Leave it until they are worked off",
    ],
    [
      "a lane is removed to which the long connection sends",
      () => {
        const Environment = [{ Name: "LANES", Value: JSON.stringify({ bulk }) }];
        const Properties = { ContainerDefinitions: [{ Environment }] };
        const Resources = { LongConnectionTask: { Type: "AWS::ECS::TaskDefinition", Properties } };
        cloud.putStack("larkpost-prod-long-connection", { Resources });
        return following({ bulk: drained });
      },
      '✖ larkpost.config.js  the long connection still sends events to lanes.bulk. Run "npm run deploy -- --stage prod --region ap-southeast-1 --long-connection" first',
    ],
    [
      "the last lane with order is removed, and SQS has moved events of it",
      () => {
        const DeadLetterFifoQueueUrl = { Value: url("dead-letters.fifo") };
        const lanes = { ai: { ...drained, order: "message.chat_id" } };
        return left("dead-letters.fifo", [2, 0, 0], following(lanes, plain, { DeadLetterFifoQueueUrl }));
      },
      "✖ larkpost.config.js  the last lane with order is gone, and 2 dead letters of such lanes are left. Redrive or drop them first: npm run dead -- list --stage prod --region ap-southeast-1",
    ],
    [
      "AWS does not let the user look into the queue of a lane that is removed",
      () => {
        cloud.denied.add("sqs:GetQueueAttributes");
        return following({ bulk: drained });
      },
      "! larkpost.config.js  was not checked: AccessDenied (sqs:GetQueueAttributes)",
    ],
    [
      "nothing limits a Function URL",
      () => scaled(60, withUrls),
      /^! --param front {2}Function URLs without callbackReservedConcurrency: whoever finds an address can use up the account's concurrency, .* Set it under limits, or use front=httpApi$/,
    ],
    [
      "AWS does not let the user look at the key",
      () => {
        cloud.denied.add("kms:GetKeyPolicy");
        return stack;
      },
      "! --param customerKeyArn  was not checked: AccessDenied (kms:GetKeyPolicy)",
    ],
  ];
  for (const [planted, plant, line] of faults) {
    test(`has one line, which says what to do, when ${planted}`, async () => {
      const lines = await check(plant());
      assert.equal(lines.length, 1, lines.join("\n"));
      if (typeof line === "string") assert.equal(lines[0], line);
      else assert.match(lines[0] ?? "", line);
    });
  }

  test("lets a lane go whose queue is empty, or gone, and a lane's order change its path", async () => {
    assert.deepEqual(await check(left("events-bulk", [0, 0, 0], following({ bulk: drained }))), []);
    cloud.messages.clear();
    assert.deepEqual(await check(following({ bulk: drained })), []);
    const ordered = (order: string) => ({ bulk: { ...bulk, order } });
    assert.deepEqual(await check(following(ordered("user_id"), laned(ordered("open_id")))), []);
  });

  test("counts what the stack has reserved already as its own", async () => {
    cloud.limits.reservedElsewhere = 840;
    cloud.putStack("larkpost-prod", scaled(60).template);
    assert.deepEqual(await check(scaled(60)), []);
  });

  test("warns of a worker that may use all there is only where a function shares it", async () => {
    cloud.limits.concurrency = 120;
    const reserved = changed("CallbackLambdaFunction", { ReservedConcurrentExecutions: 5 }, scaled(5));
    const lines = (of: Stack) =>
      check(changed("WorkerEventSourceMappingSQSEventsQueue", { ScalingConfig: { MaximumConcurrency: 200 } }, of));
    assert.deepEqual(await lines(reserved), []);
    assert.match((await lines(scaled(5))).join(), /^! larkpost\.config\.js {2}limits\.maxConcurrency is 200/);
  });

  test("starts no paused worker unasked, and says what it cannot start", async () => {
    const mapping = (Enabled: boolean) => changed("WorkerEventSourceMappingSQSEventsQueue", { Enabled });
    cloud.putStack("larkpost-prod", mapping(false).template);
    assert.deepEqual(await check(mapping(true)), [
      "✖ --param worker  the worker is paused. Pass --param worker=paused to keep it so, or --param worker=running to go on",
    ]);
    assert.deepEqual(await check(mapping(true), { resumes: true }), [
      '! --param worker  the worker was paused. If that was by hand, it stays so until you run "aws lambda update-event-source-mapping --region ap-southeast-1 --uuid uuid-1 --enabled"',
    ]);
    assert.deepEqual(await check(mapping(false)), []);
    cloud.putStack("larkpost-prod", mapping(true).template);
    assert.deepEqual(await check(mapping(true)), []);
    cloud.putStack("larkpost-prod", withSecond({ Enabled: false }).template);
    assert.match((await check(withSecond({ Enabled: true }))).join(), /^✖ --param worker {2}the worker is paused\./);
  });

  test("lets another app take a stage over by force", async () => {
    deployedAs("UPDATE_COMPLETE", "cli_fedcba9876543210");
    record('{"prod":{"appId":"cli_fedcba9876543210"}}');
    assert.deepEqual(await check(stack, { force: true }), []);
  });

  test("knows of each region what it lacks", () => {
    const without = [...regions].filter(([, lacks]) => lacks.includes("function-urls")).map(([name]) => name);
    assert.equal(regions.size, 38);
    for (const name of [
      "cn-north-1",
      "cn-northwest-1",
      "us-gov-east-1",
      "us-gov-west-1",
      "me-central-1",
      "ap-southeast-7",
    ]) {
      assert.ok(without.includes(name), name);
    }
    for (const name of ["ap-southeast-1", "ap-northeast-1", "us-east-1"]) assert.deepEqual(regions.get(name), []);
  });
});

describe("npm run deploy, of a project with faults", () => {
  let cloud: Cloud;
  let made: Awaited<ReturnType<typeof smallProject>>;
  let osls: ReturnType<typeof shareOsls>;
  const deploy = async (...args: string[]) => {
    const env = { ...oslsEnv, ...cloud.env, HOME: made.root, LARKPOST_ROOT: made.root, APP_ID: appId };
    const { code, stdout, stderr } = await command(["deploy", ...args], { env });
    assert.deepEqual([code, stdout], [1, ""]);
    const [head, ...lines] = stderr.trimEnd().split("\n");
    return { head, lines };
  };

  beforeEach(async () => {
    cloud = await startCloud();
    made = await smallProject();
    osls = shareOsls(made.root);
  });
  afterEach(async () => {
    osls.stop();
    await cloud.stop();
    made.remove();
  });

  test("says all of them at once, the code's and AWS's, and sends nothing", async () => {
    made.write("im.message.receive_v1", "export default 1;\n");
    const Resource = { "Fn::GetAtt": ["EventQueue", "Arn"] };
    const statements = [{ Effect: "Allow" as const, Action: "sqs:SendMessage", Resource }];
    writeConfig(made.root, { limits: { webhookReservedConcurrency: 950 }, statements });
    const stage = "s".repeat(50);
    writeFileSync(
      join(made.root, "larkpost.stages.json"),
      JSON.stringify({ [stage]: { appId: "cli_fedcba9876543210" } }),
    );
    const params = {
      front: "functionUrl",
      larkDomain: "https://lark.example.com",
      customerKeyArn: "alias/mine",
      pageTopicArn: `arn:aws:sns:me-central-1:${account}:pager`,
      wroker: "paused",
    };
    const { head, lines } = await deploy(
      ...["--stage", stage, "--region", "me-central-1"],
      ...Object.entries(params).flatMap(([name, value]) => ["--param", `${name}=${value}`]),
    );
    assert.match(head ?? "", /^! --param front {2}Function URLs without callbackReservedConcurrency/);
    assert.equal(lines.shift(), "Cannot deploy. Fix this first:");
    const places = [
      "--param customerKeyArn",
      "--param front",
      "--param larkDomain",
      "--param pageTopicArn",
      "--stage",
      `/larkpost/${stage}/app`,
      "functions/events/im.message.receive_v1.ts:1",
      "larkpost.config.js",
      "larkpost.config.js:2",
      "larkpost.stages.json",
    ];
    const found = lines.map((line) => /^✖ (.+?) {2}/.exec(line)?.[1] ?? "");
    for (const place of places)
      assert.ok(
        found.some((one) => one.startsWith(place)),
        `${place}\n${lines.join("\n")}`,
      );
    assert.deepEqual(
      cloud.calls.filter((call) => !/:(Get|Describe)/.test(call)),
      [],
    );
    for (const name of ["dist", ".serverless"]) assert.equal(existsSync(join(made.root, name)), false, name);
    assert.ok(
      lines.includes(
        '✖ --param wroker  serverless.yml has no such parameter, so nothing would take it. Did you mean "worker"?',
      ),
      lines.join("\n"),
    );
  });

  test("says each contradiction of the limits once, and that AWS does not know the credentials", async () => {
    writeConfig(made.root, { limits: { workerTimeoutSeconds: 5, maxAttempts: 0 } });
    cloud.denied.add("sts:GetCallerIdentity");
    const { head, lines } = await deploy("--stage", "prod");
    assert.equal(head, "Cannot deploy. Fix this first:");
    assert.deepEqual(lines, [
      "✖ AWS credentials  AWS does not say whose they are: AccessDenied (sts:GetCallerIdentity). You need the right sts:GetCallerIdentity. What AWS knows was not checked",
      "✖ larkpost.config.js:2  workerTimeoutSeconds is below 10, and handlers get 5 s less",
      "✖ larkpost.config.js:2  maxAttempts is below 1: no event would ever run",
    ]);
  });

  test("says once what osls says for each part, and what stack the user may not see", async () => {
    assert.deepEqual((await deploy("--stage", "prod", "--param", "front=x")).lines, [
      '✖ serverless.yml  front is "x", neither "httpApi" nor "functionUrl" nor "both" nor "none". Check --param front',
    ]);
    cloud.denied.add("cloudformation:DescribeStacks");
    assert.deepEqual((await deploy("--stage", "prod")).lines, [
      `✖ larkpost-prod  account ${account} does not say what it is: AccessDenied (cloudformation:DescribeStacks). Give the user the deployer's rights: docs/deploy.md`,
    ]);
  });
});
