// in turn: they share a process of osls.
import assert from "node:assert/strict";
import { cpSync, existsSync, fstatSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, beforeEach, describe, test } from "node:test";
import { type Policy, policiesOnPage } from "../../../docs/deployer-policy.ts";
import { changeLines, stateful } from "../../../lib/cli/deploy/changes.ts";
import { awsClients, type Clients, refusalLine } from "../../../lib/cli/deploy/clients.ts";
import { adopt, findLeft } from "../../../lib/cli/deploy/kept.ts";
import { laneCostLines } from "../../../lib/cli/deploy/lane-cost.ts";
import { osls, oslsFindings } from "../../../lib/cli/deploy/osls.ts";
import type { Ready } from "../../../lib/cli/deploy/preflight/preflight.ts";
import { type Hop, hopLine, probe, senderOf } from "../../../lib/cli/deploy/probe.ts";
import { describeStack, type Resource, readStack, type Template } from "../../../lib/cli/deploy/stack.ts";
import { recordStage } from "../../../lib/cli/state/stages.ts";
import { parseSecrets } from "../../../lib/settings/app-secrets.ts";
import { loadSpecification } from "../../infra/specification.ts";
import { type Compiled, compile, lanes, writeConfig } from "../../infra/stack.ts";
import type { Cloud } from "../../support/cloud.ts";
import { isAllowedBy } from "../../support/iam.ts";
import { runOslsBy } from "../../support/shared-osls.ts";
import { command, secrets, startReceiver } from "../run.ts";
import { cloudWithReceiver, smallProject, stored } from "./deployment.ts";

const { appId } = secrets;
const other = "cli_fedcba9876543210";
/** Said before anything is sent. */
const deploys = "Deploys the stack larkpost-prod in ap-southeast-1 of account 111122223333\n";

describe("npm run deploy", () => {
  let made: Awaited<ReturnType<typeof smallProject>>;
  let cloud: Cloud;
  let receiver: Awaited<ReturnType<typeof startReceiver>>;
  let stopOsls: () => void;
  let compiled: Compiled;
  /** With two lanes; and after one of them has got an order, under another name. */
  let laned: Compiled;
  let ordered: Compiled;
  const env = { ...process.env };
  /** What this process asks with. */
  let clients: Clients;
  const deploy = (args: readonly string[], env: Readonly<Record<string, string>> = {}) =>
    command(["deploy", ...args], { env: { ...cloud.env, HOME: made.root, LARKPOST_ROOT: made.root, ...env } });
  const prod = (...args: string[]) => deploy(["--stage", "prod", ...args]);
  /** What osls was asked. */
  const calls: (readonly string[])[] = [];
  /** Said by the deployment of a stage that has one. */
  const ofLongConnection = /^The stage's long connection has the settings of its own last deployment/m;
  const recorded = () => JSON.parse(readFileSync(join(made.root, "larkpost.stages.json"), "utf8")) as unknown;
  /** What osls is to compile from now on. */
  const pack = (template: Template, of = compiled, where = "packaged") => {
    const folder = join(made.root, where);
    const { stackTags, stackPolicy } = of.provider;
    const provider = { stackTags, stackPolicy, region: "ap-southeast-1" };
    const initialServerlessConfig = { params: { default: { front: "httpApi" } } };
    const state = { service: "larkpost", provider, initialServerlessConfig };
    writeFileSync(join(folder, "serverless-state.json"), JSON.stringify({ service: state }));
    writeFileSync(join(folder, "cloudformation-template-update-stack.json"), JSON.stringify(template));
  };
  /** Compiles nothing, and updates the stack as osls does. */
  const runOsls = async (args: readonly string[], env: Readonly<Record<string, string>>) => {
    calls.push(args);
    const from = join(made.root, "packaged");
    const to = join(made.root, ".serverless");
    if (args.includes("front=x")) {
      const part = ' Cannot resolve "x" out of "x.js": Received rejection: Cannot deploy: front is "x", neither one';
      const lines = ["functions.webhook", "resources.4"].map(
        (name) => `  - Cannot resolve variable at "${name}":${part},`,
      );
      const head = ["Error:", "Cannot resolve serverless.yml: Variables resolution errored with:"];
      return { code: 1, output: [...head, ...lines].join("\n") };
    }
    if (args[0] === "package") cpSync(from, to, { recursive: true });
    else if (env["EXIT"] !== "early") {
      const text = readFileSync(join(to, "cloudformation-template-update-stack.json"), "utf8");
      cloud.deploy(`larkpost-${args[args.indexOf("--stage") + 1]}`, JSON.parse(text) as Template);
    }
    return { code: args[0] === "package" || env["EXIT"] === undefined ? 0 : 1, output: "" };
  };
  /** The template with another property of a resource. */
  const changed = (id: string, properties: object): Template => {
    const template = structuredClone(compiled.template);
    Object.assign(template.Resources[id]?.Properties ?? {}, properties);
    return template;
  };
  /** As the checks before a deployment leave it, of a stage that is deployed with another template. */
  const readyFor = async (from: Template | undefined, to: Template, of = compiled): Promise<Ready> => {
    for (const all of [cloud.stacks, cloud.holders]) all.clear();
    if (from !== undefined) cloud.putStack("larkpost-prod", from);
    pack(to, of, ".serverless");
    const { stack } = readStack(join(made.root, ".serverless"), { root: made.root, stage: "prod" });
    const deployed = await describeStack(clients.cloudFormation, stack.name);
    return { stack, clients, account: "111122223333", deployed, adopt: false };
  };
  /** The template of another stage and app. */
  const templateFor = (stage: string, app: string): Template => {
    const text = JSON.stringify(compiled.template).replaceAll("larkpost-prod-", `larkpost-${stage}-`);
    const template = JSON.parse(text) as Template;
    return { ...template, Outputs: { ...template.Outputs, AppId: { Value: app } } };
  };

  before(async () => {
    const { ai, bulk } = lanes;
    const drained = { ...bulk, types: [] };
    [made, { cloud, receiver }, compiled, laned, ordered] = await Promise.all([
      smallProject(),
      cloudWithReceiver(),
      compile("prod"),
      compile("prod", { config: { lanes } }),
      compile("prod", { config: { lanes: { ai, bulk: drained, chats: { ...bulk, order: "user_id" } } } }),
    ]);
    Object.assign(process.env, cloud.env);
    clients = awsClients({ region: "ap-southeast-1" });
    for (const folder of ["packaged", ".serverless"]) {
      mkdirSync(join(made.root, folder));
      for (const name of ["webhook", "callback", "worker", "workerAi", "workerBulk", "workerChats"])
        writeFileSync(join(made.root, folder, `${name}.zip`), "");
    }
    stopOsls = runOslsBy(made.root, runOsls);
  });
  beforeEach(() => {
    rmSync(join(made.root, "larkpost.stages.json"), { force: true });
    calls.length = 0;
    pack(compiled.template);
    for (const all of [cloud.stacks, cloud.holders]) all.clear();
  });
  after(async () => {
    for (const name of Object.keys(cloud.env)) Reflect.deleteProperty(process.env, name);
    Object.assign(process.env, env);
    stopOsls();
    await Promise.all([cloud.stop(), receiver.stop()]);
    made.remove();
  });

  test("long-connection --stage takes from the stack what is not set, and says what it does not find", async (t) => {
    const connect = (stage = "prod", more: Readonly<Record<string, string>> = {}) => {
      const env = { ...cloud.env, HOME: made.root, LARKPOST_ROOT: made.root, HEALTH_PORT: "70000", ...more };
      return command(["long-connection", "--stage", stage, "--region", "eu-west-1"], { env });
    };
    const { LedgerTableName, ...older } = compiled.template.Outputs;
    // An app for this machine, which is not the stage's.
    writeFileSync(
      join(made.root, ".env"),
      "APP_ID=cli_fedcba9876543210\nAPP_SECRET=of-this-machine\nENCRYPT_KEY=of-it\nLARK_DOMAIN=of it\nALLOW_OTHER_DOMAIN=true\n",
    );
    t.after(() => rmSync(join(made.root, ".env")));
    for (const [output, value, expected] of [
      ["Lanes", "[", /^Cannot start: LANES is not the JSON of lanes\./],
      ["LarkDomain", "https://proxy.example", /^Cannot start: LARK_DOMAIN is "proxy\.example"/],
    ] as const) {
      const broken = { ...compiled.template.Outputs, [output]: { Value: value } };
      cloud.putStack("larkpost-prod", { ...compiled.template, Outputs: broken });
      assert.match((await connect()).stderr, expected, `${output} is not taken`);
    }
    cloud.putStack("larkpost-prod", compiled.template);
    assert.match(
      (await connect("prod", { APP_ID: "cli_fedcba9876543210" })).stderr,
      /^Cannot start: APP_ID is "cli_fedcba9876543210", and the stage "prod" is of the app "cli_0123456789abcdef"/,
    );
    // The last setting that is read: all others were found.
    assert.equal((await connect()).stderr, "Cannot start: HEALTH_PORT is not a port\n");
    const elsewhere = "https://sqs.eu-west-1.amazonaws.com/111122223333/larkpost-dev-events";
    assert.match(
      (await connect("prod", { EVENTS_QUEUE_URL: elsewhere })).stderr,
      /^EVENTS_QUEUE_URL of the environment is used, and not the stage's, https:\S+\/larkpost-prod-events\nCannot/,
    );
    cloud.putStack("larkpost-prod", { ...compiled.template, Outputs: older });
    assert.match(
      (await connect()).stderr,
      /^Cannot start: the stack larkpost-prod in eu-west-1 does not say its LEDGER_TABLE\. Deploy it again/,
    );
    assert.match((await connect("dev")).stderr, /^Cannot start: there is no stack larkpost-dev in eu-west-1\. Check/);
  });

  describe("of the long connection", () => {
    const image = "111122223333.dkr.ecr.ap-southeast-1.amazonaws.com/larkpost:1";
    const wishes = ["--image", image, "--vpc", "vpc-0a", "--subnets", "subnet-0a, subnet-0b"];
    const connect = (...args: string[]) => prod("--long-connection", ...args);
    const name = "larkpost-prod-long-connection";
    const stack = () => cloud.stacks.get(name);
    const container = () => {
      const { ContainerDefinitions } = stack()?.template.Resources["LongConnectionTask"]?.Properties ?? {};
      const [{ Image, Environment }] = ContainerDefinitions as [{ Image: string; Environment: { Name: string }[] }];
      return { Image, Environment };
    };

    beforeEach(() => {
      cloud.putStack("larkpost-prod", compiled.template);
      cloud.store.put(
        "/larkpost/prod/app",
        JSON.stringify({ ...JSON.parse(stored()), appSecret: "a secret of the app" }),
      );
    });

    test("makes a stack beside the stage's, with the settings of its worker, prints what CloudFormation does, and is updated apart", async () => {
      cloud.calls.length = 0;
      const Outputs = { ...compiled.template.Outputs, TicketTopicArn: { Value: "arn:aws:sns:a:1:tickets" } };
      cloud.putStack("larkpost-prod", { ...compiled.template, Outputs });
      const { code, stdout, stderr } = await connect(...wishes, "--public-ip");
      assert.equal(code, 0, stderr);
      const needed = new Set(cloud.calls.filter((call) => call !== "sts:GetCallerIdentity"));
      assert.ok(needed.has("cloudformation:ExecuteChangeSet"));
      const [policy] = policiesOnPage() as [Policy];
      for (const call of needed) assert.ok(isAllowedBy(policy, call), call);
      const [first, ...lines] = stdout.split("\n");
      assert.equal(first, `Deploys the stack ${name} in ap-southeast-1 of account 111122223333`);
      assert.ok(lines.includes("  CREATE_COMPLETE  LongConnectionService (AWS::ECS::Service)"), stdout);
      assert.ok(lines.includes(`  CREATE_COMPLETE  ${name} (AWS::CloudFormation::Stack)`));
      assert.match(
        stdout,
        /The long connection is open\. [\s\S]*Choose the long connection for events, and for callbacks/,
      );
      const { Environment } = container();
      for (const expected of [
        {
          Name: "EVENTS_QUEUE_URL",
          Value: "https://sqs.ap-southeast-1.amazonaws.com/111122223333/larkpost-prod-events",
        },
        { Name: "LEDGER_TABLE", Value: "larkpost-prod-ledger" },
        { Name: "APP_ID", Value: appId },
      ]) {
        assert.ok(
          Environment.some((one) => JSON.stringify(one) === JSON.stringify(expected)),
          expected.Name,
        );
      }
      const { AlarmActions } = stack()?.template.Resources["LongConnectionUnavailableAlarm"]?.Properties ?? {};
      assert.deepEqual(AlarmActions, ["arn:aws:sns:a:1:tickets"]);
      assert.deepEqual(calls, []);
      assert.deepEqual(cloud.stacks.get("larkpost-prod")?.events, []);

      // What is not said again stays.
      const before = stack()?.template;
      const dry = await connect("--image", image.replace(/1$/, "2"), "--dry-run");
      assert.deepEqual(dry.stdout.split("\n"), [
        `Would change the stack ${name} in ap-southeast-1 of account 111122223333`,
        "  ! replaces LongConnectionTask (AWS::ECS::TaskDefinition): ContainerDefinitions",
        "",
      ]);
      assert.equal(stack()?.template, before);
      const updated = await connect("--image", image.replace(/1$/, "2"));
      assert.equal(updated.code, 0, updated.stderr);
      assert.match(updated.stdout, /^ {2}UPDATE_COMPLETE {2}LongConnectionTask/m);
      assert.equal(container().Image, image.replace(/1$/, "2"));
      const service = stack()?.template.Resources["LongConnectionService"]?.Properties?.["NetworkConfiguration"];
      assert.deepEqual((service as { AwsvpcConfiguration: object }).AwsvpcConfiguration, {
        Subnets: ["subnet-0a", "subnet-0b"],
        SecurityGroups: [{ "Fn::GetAtt": ["LongConnectionSecurityGroup", "GroupId"] }],
        AssignPublicIp: "ENABLED",
      });
      assert.match((await connect()).stdout, new RegExp(`^Nothing changes in the stack ${name}$`, "m"));
      assert.equal(stack()?.changeSets.size, 0);
    });

    test("says that CloudFormation has taken it back, and why", async () => {
      cloud.failAt("LongConnectionService");
      const { code, stdout, stderr } = await connect(...wishes);
      assert.equal(code, 1);
      assert.match(
        stdout,
        /CREATE_FAILED {2}LongConnectionService \(AWS::ECS::Service\): the stand-in was told to fail/,
      );
      assert.match(stderr, /^Cannot deploy larkpost-prod-long-connection: CloudFormation has taken it back\./);
      assert.doesNotMatch(stdout, /is open/);
      assert.match(
        (await connect(...wishes)).stderr,
        /✖ larkpost-prod-long-connection {2}the stack's status is ROLLBACK_COMPLETE/,
      );
    });

    const keyArn = "arn:aws:kms:ap-southeast-1:111122223333:key/0f4c";
    const other = `${image.replace("ap-southeast-1", "us-east-1")}`;
    for (const [when, prepare, args, lines] of [
      [
        "the stage is not deployed",
        () => cloud.stacks.clear(),
        wishes,
        [
          '✖ larkpost-prod  there is no such stack in ap-southeast-1, and the long connection stands beside it. Run "npm run deploy -- --stage prod --region ap-southeast-1" first',
        ],
      ],
      [
        "the stage was deployed by an older release",
        () => {
          const { CallbackRoleArn, ...Outputs } = compiled.template.Outputs;
          cloud.putStack("larkpost-prod", { ...compiled.template, Outputs });
        },
        wishes,
        [
          '✖ larkpost-prod  exports no role for the long connection, since it is not complete or of an older release. Run "npm run deploy -- --stage prod --region ap-southeast-1" first',
        ],
      ],
      [
        "it is told nothing the first time",
        () => {},
        [],
        [
          '✖ --image  is "", no image with a tag or a digest. Build the Containerfile, push it, and pass --image …',
          '✖ --subnets  has "", no subnet. Pass --subnets subnet-…,subnet-…',
          '✖ --vpc  is "", no VPC. Pass --vpc vpc-…',
        ],
      ],
      [
        "the options are no image, VPC and subnets",
        () => {},
        ["--image", "a:1 b", "--vpc", "a-vpc-0b", "--subnets", "subnet-0a,vpc-0b"],
        [
          '✖ --image  is "a:1 b", no image with a tag or a digest. Build the Containerfile, push it, and pass --image …',
          '✖ --subnets  has "vpc-0b", no subnet. Pass --subnets subnet-…,subnet-…',
          '✖ --vpc  is "a-vpc-0b", no VPC. Pass --vpc vpc-…',
        ],
      ],
      [
        "the image is in another region's registry, and the app's secret is not stored",
        () => cloud.store.put("/larkpost/prod/app", stored()),
        ["--image", other, ...wishes.slice(2)],
        [
          "✖ --image  is in the registry of us-east-1. Push it to that of ap-southeast-1",
          '✖ /larkpost/prod/app  has no app secret, with which the long connection is opened. Run "npm run secrets -- set --stage prod --region ap-southeast-1" with APP_SECRET',
        ],
      ],
      [
        "the app is in the marketplace",
        () => {
          const template = structuredClone(compiled.template);
          const { Environment } = template.Resources["WorkerLambdaFunction"]?.Properties ?? {};
          Environment.Variables.MARKETPLACE_APP = "true";
          cloud.putStack("larkpost-prod", template);
        },
        wishes,
        [
          '✖ --long-connection  is for self-built apps, and "larkpost-prod" is of one in the marketplace. Use its addresses',
        ],
      ],
      [
        "the stage's key may not encrypt its log",
        () => {
          const Outputs = { ...compiled.template.Outputs, CustomerKeyArn: { Value: keyArn } };
          cloud.putStack("larkpost-prod", { ...compiled.template, Outputs });
          const account = { Effect: "Allow", Principal: { AWS: "111122223333" }, Action: "kms:*" };
          cloud.keys.set(keyArn, { policy: { Statement: [account] } });
        },
        wishes,
        [
          "✖ --param customerKeyArn  its policy does not let CloudWatch Logs encrypt arn:aws:logs:ap-southeast-1:111122223333:log-group:/ecs/larkpost-prod-long-connection and the others. Allow logs.ap-southeast-1.amazonaws.com kms:Encrypt*, kms:Decrypt*, kms:ReEncrypt*, kms:GenerateDataKey*, kms:Describe*",
        ],
      ],
      [
        "AWS does not know the credentials",
        () => cloud.denied.add("sts:GetCallerIdentity"),
        wishes,
        [
          "✖ AWS credentials  AWS does not say whose they are: AccessDenied (sts:GetCallerIdentity). You need the right sts:GetCallerIdentity. What AWS knows was not checked",
        ],
      ],
      [
        "the user may not see the stage's settings",
        () => cloud.denied.add("lambda:GetFunction"),
        wishes,
        [
          "✖ larkpost-prod  account 111122223333 does not say what it is: AccessDenied (lambda:GetFunction). Give the user the deployer's rights: docs/deploy.md",
        ],
      ],
    ] as const) {
      test(`is refused, each fault with what to do, when ${when}`, async () => {
        prepare();
        const { code, stdout, stderr } = await connect(...args);
        cloud.denied.clear();
        assert.deepEqual([code, stdout], [1, ""]);
        assert.deepEqual(stderr.trimEnd().split("\n"), ["Cannot deploy. Fix this first:", ...lines]);
        assert.equal(stack(), undefined);
      });
    }

    test("is refused with a number that the project cannot have", async () => {
      // This process does not read a file again that it has read.
      const { root, remove } = await smallProject();
      writeConfig(root, { limits: { longConnectionReplicas: 6 } });
      const { code, stderr } = await deploy(["--stage", "prod", "--long-connection", ...wishes], {
        LARKPOST_ROOT: root,
      });
      remove();
      assert.equal(code, 1);
      assert.match(stderr, /^✖ larkpost\.config\.js:2 {2}longConnectionReplicas is not within 1 and 5$/m);
    });

    test("takes no parameter, which is the stage's, and its own options are for it alone", async () => {
      for (const [args, message] of [
        [
          ["--long-connection", "--param", "larkDomain=lark"],
          /Cannot deploy the long connection with --param, --config/,
        ],
        ...["--smoke", "--adopt", "--force"].map(
          (option) =>
            [["--long-connection", option], /Cannot deploy the long connection with --smoke, --adopt or --f/] as const,
        ),
        [
          ["--vpc", "vpc-0a"],
          /Cannot deploy with --image, --vpc, --subnets or --public-ip: they need --long-connection/,
        ],
      ] as const) {
        const { code, stderr } = await prod(...args);
        assert.equal(code, 2);
        assert.match(stderr, message);
      }
    });
  });

  test("asks for the stage, and takes no folder that was packaged before", async () => {
    for (const [args, message] of [
      [[], /required option '--stage <stage>' not specified/],
      [["--stage", "prod", "--package", "x"], /Cannot deploy a packaged folder/],
      [["--stage", "prod", "--", "-p=x"], /Cannot deploy a packaged folder/],
    ] as const) {
      const { code, stderr } = await deploy(args);
      assert.equal(code, 2);
      assert.match(stderr, message);
    }
    assert.deepEqual(calls, []);
  });

  test("is not packaged when osls compiles nothing, which is said once, though osls says it for each part", async () => {
    const env = { ...cloud.env, HOME: made.root, LARKPOST_ROOT: made.root };
    const { code, stderr } = await command(["package", "--stage", "prod", "--param", "front=x"], { env });
    assert.equal(code, 1);
    assert.equal(stderr, 'Cannot package. Fix this first:\n✖ serverless.yml  front is "x", neither one\n');
  });

  test("gives osls what it was given, deploys what it has checked, asks the addresses of both fronts, and says what the DNS of a domain that is elsewhere and the long connection need", async (t) => {
    const more = ["RequestAddressByFunctionUrl", "CallbackAddressByFunctionUrl", "DomainTarget"];
    const Outputs = Object.fromEntries(more.map((name) => [name, { Value: "x" }]));
    pack({ ...compiled.template, Outputs: { ...compiled.template.Outputs, ...Outputs } });
    const urls = ["webhook", "callback"].map((path) => receiver.url.replace("webhook", `by-url/${path}`));
    for (const [index, url] of urls.entries()) cloud.addresses.set(more[index] ?? "", url);
    cloud.addresses.set("DomainTarget", "d-1.execute-api.example.com");
    cloud.putStack("larkpost-prod-long-connection", { Resources: {} });
    t.after(() => {
      for (const name of more) cloud.addresses.delete(name);
    });
    const which = ["--region", "ap-northeast-1", "--config", "other.yml", "--param", "front=functionUrl"];
    const { code, stdout, stderr } = await prod(...which, "--force", "--", "--verbose");
    assert.equal(code, 0, stderr);
    assert.deepEqual(calls, [
      ["package", "--stage", "prod", ...which],
      ["deploy", "--stage", "prod", "--package", ".serverless", ...which, "--force", "--verbose"],
    ]);
    const { host } = new URL(receiver.url);
    assert.ok(stdout.includes(`  Request address   ${receiver.url}\n  or                ${urls[0]}\n`), stdout);
    assert.ok(stdout.includes(`  or                ${urls[1]}\n`));
    assert.ok(stdout.includes("npm run secrets -- set --stage prod --region ap-northeast-1"));
    assert.ok(stdout.includes(`${host} needs a CNAME record to d-1.execute-api.example.com in its DNS.\n`));
    assert.equal(stdout.match(/ answers? a challenge/g)?.length, 4);
    assert.match(stdout, ofLongConnection);
    assert.match(stdout, /^ {5}npm run deploy -- --stage prod --region ap-northeast-1 --long-connection$/m);
  });

  test("when only osls's last call fails, prints the addresses all the same, and records the app, which takes the stage over by --force", async () => {
    writeFileSync(join(made.root, "larkpost.stages.json"), JSON.stringify({ dev: { appId: other }, prod: { appId } }));
    cloud.putStack("larkpost-dev", templateFor("dev", other));
    const template = templateFor("dev", appId);
    Object.assign(template.Resources["WorkerLambdaFunction"]?.Properties ?? {}, { MemorySize: 640 });
    pack(template);
    const { code, stdout, stderr } = await deploy(["--stage", "dev", "--force", "--no-probe"], { EXIT: "late" });
    assert.equal(code, 1);
    assert.match(stderr, /The stack is deployed\. What failed came after it, and is above\./);
    assert.ok(stdout.includes(`  Request address   ${receiver.url}\n`), stdout);
    assert.match(stdout, /^larkpost\.stages\.json now has the app of "dev"\. Commit it/m);
    assert.doesNotMatch(stdout, ofLongConnection);
    assert.doesNotMatch(stdout, /answers a challenge/);
    assert.deepEqual(recorded(), { dev: { appId }, prod: { appId } });
    assert.equal(recordStage("dev", appId, made.root), false);
  });

  test("says so when the deployed stack has no addresses", async () => {
    const { RequestAddress, ...Outputs } = compiled.template.Outputs;
    pack({ ...compiled.template, Outputs });
    const { code, stdout, stderr } = await prod();
    assert.deepEqual([code, stdout], [1, `${deploys}Protected the table larkpost-prod-ledger from deletion\n`]);
    assert.match(stderr, /^Deployed\. Cannot read the addresses and the app: the stack larkpost-prod has no such/m);
  });

  test("of a stage without address says what to deploy next, and probes nothing", async () => {
    const { RequestAddress, CallbackAddress, ...Outputs } = compiled.template.Outputs;
    pack({ ...compiled.template, Outputs });
    const { code, stdout, stderr } = await prod("--region", "ap-northeast-1");
    assert.equal(code, 0, stderr);
    assert.match(
      stdout,
      /The stage has no address\. Deploy its long connection, [^\n]*\n {5}npm run deploy -- --stage prod --region ap-northeast-1 --long-connection --image/,
    );
    assert.doesNotMatch(stdout, /answer/);
    assert.deepEqual(recorded(), { prod: { appId } });
  });

  test("--dry-run says in words what would change, however much, names what moves an address, and changes nothing", async () => {
    const { template } = compiled;
    const alarms = Object.entries(template.Resources).filter(([, { Type }]) => Type === "AWS::CloudWatch::Alarm");
    const others = Object.entries(template.Resources).filter(([, { Type }]) => Type !== "AWS::CloudWatch::Alarm");
    const Before = { ...Object.fromEntries(others), OldApi: { Type: "AWS::ApiGatewayV2::Api" } };
    const before = cloud.putStack("larkpost-prod", { ...template, Resources: Before });
    const { Resources } = changed("LedgerTable", { TableName: { Ref: "EventsQueue" } });
    Object.assign(Resources["WorkerLambdaFunction"]?.Properties ?? {}, { MemorySize: 640 });
    pack({ ...template, Resources });
    const { code, stdout, stderr } = await prod("--dry-run");
    assert.equal(code, 0, stderr);
    const [head, ...lines] = stdout.trimEnd().split("\n");
    assert.equal(head, "Would change the stack larkpost-prod in ap-southeast-1 of account 111122223333");
    assert.deepEqual(
      lines.toSorted(),
      [
        "  ~ updates WorkerLambdaFunction (AWS::Lambda::Function): MemorySize",
        "  ! may replace LedgerTable (AWS::DynamoDB::Table): TableName",
        "  - deletes OldApi (AWS::ApiGatewayV2::Api). Its address changes: paste the new one into the developer console",
        ...alarms.map(([id]) => `  + creates ${id} (AWS::CloudWatch::Alarm)`),
      ].sort(),
    );
    assert.equal(before.changeSets.size, 0);
    assert.deepEqual(
      calls.map(([name]) => name),
      ["package"],
    );
  });

  test("lanes that are added, or get an order under another name, update a stack without replacing or deleting a queue", async () => {
    // The version before lanes: the worker had no right to send to the events queue, and Lambda ended its loops.
    const before = structuredClone(compiled.template);
    const old = (id: string) => before.Resources[id]?.Properties ?? assert.fail(id);
    for (const name of ["MAX_DEFERRALS", "DEFER_FOR_SECONDS"]) {
      for (const id of ["CallbackLambdaFunction", "WorkerLambdaFunction"])
        Reflect.deleteProperty(old(id)["Environment"].Variables, name);
    }
    Reflect.deleteProperty(old("WorkerLambdaFunction"), "RecursiveLoop");
    old("WorkerRole")["Policies"][0].PolicyDocument.Statement[1].Resource.pop();
    const filter = old("WorkerStagesFilter");
    filter["FilterPattern"] = filter["FilterPattern"].replace(' || $.stage = "stale"', "");
    const dry = async (from: Template, to: Compiled) => {
      const ready = await readyFor(from, to.template, to);
      const lines = (await changeLines(ready, made.root)).map(({ text }) => text);
      return {
        queues: lines.filter((line) => line.includes("(AWS::SQS::Queue)")),
        others: lines.filter((line) => /^ {2}[-!] /.test(line)),
        updated: lines.filter((line) => line.startsWith("  ~ updates ")),
        costs: laneCostLines(ready.stack),
      };
    };
    const upgraded = await dry(before, compiled);
    assert.deepEqual([upgraded.queues, upgraded.others], [[], []]);
    assert.deepEqual(
      upgraded.updated.map((line) => line.replace("  ~ updates ", "")),
      [
        "CallbackLambdaFunction (AWS::Lambda::Function): Environment",
        "WorkerLambdaFunction (AWS::Lambda::Function): Environment, RecursiveLoop",
        "WorkerRole (AWS::IAM::Role): Policies",
        "WorkerStagesFilter (AWS::Logs::MetricFilter): FilterPattern",
      ],
    );
    const added = await dry(before, laned);
    assert.deepEqual(added.queues, [
      "  + creates LaneAiFifoQueue (AWS::SQS::Queue)",
      "  + creates LaneBulkQueue (AWS::SQS::Queue)",
      "  ~ updates DeadLetterQueue (AWS::SQS::Queue): RedriveAllowPolicy",
      "  + creates DeadLetterFifoQueue (AWS::SQS::Queue)",
    ]);
    assert.deepEqual(added.others, []);
    assert.deepEqual(added.costs, [
      "A month without events costs, for each lane, in $ at the list prices of ap-southeast-1, 2026-11-28:",
      "  ai    1.53  12 alarm metrics, and the polling of its queue",
      "  bulk  1.46  12 alarm metrics, and the polling of its queue",
      "  The dashboard has 60 metrics, over the 50 of a free one: 3.00",
    ]);
    const renamed = await dry(laned.template, ordered);
    assert.deepEqual(renamed.queues, [
      "  + creates LaneChatsFifoQueue (AWS::SQS::Queue)",
      "  ~ updates DeadLetterFifoQueue (AWS::SQS::Queue): RedriveAllowPolicy",
    ]);
    assert.deepEqual(renamed.others, []);
    // What is drained goes, and is kept outside of the stack.
    const { LaneBulkQueue, ...rest } = ordered.template.Resources;
    const gone = await dry(ordered.template, { ...ordered, template: { ...ordered.template, Resources: rest } });
    assert.deepEqual(gone.queues, ["  - lets go of LaneBulkQueue (AWS::SQS::Queue): it stays, outside of the stack"]);
  });

  test("refuses to replace what holds messages or items, and to delete what the engine needs", async () => {
    const files = (PerformanceMode: string) => ({ Type: "AWS::EFS::FileSystem", Properties: { PerformanceMode } });
    const { QuarantineQueue, ...others } = changed("LedgerTable", { KeySchema: [] }).Resources;
    const Resources = { ...others, OwnFiles: files("maxIO") };
    const before = { ...compiled.template.Resources, OwnFiles: files("generalPurpose") };
    cloud.putStack("larkpost-prod", { ...compiled.template, Resources: before });
    const elsewhere = JSON.stringify({ ...compiled.template, Resources })
      .replaceAll('"QuarantineQueue"', '"DeadLetterQueue"')
      .replaceAll(`\${QuarantineQueue.`, `\${DeadLetterQueue.`);
    pack(JSON.parse(elsewhere) as Template);
    const dry = await prod("--dry-run");
    assert.equal(dry.code, 1);
    const lines = [
      "  - lets go of QuarantineQueue (AWS::SQS::Queue): it stays, outside of the stack. Refused: the engine needs it",
      "  ! replaces LedgerTable (AWS::DynamoDB::Table): KeySchema. Refused, since the new one lacks its items. Undo it, or give the new one an id of its own",
      "  ! replaces OwnFiles (AWS::EFS::FileSystem): PerformanceMode. Refused, since the new one lacks its data. Undo it, or give the new one an id of its own",
    ];
    for (const line of lines) assert.ok(dry.stdout.includes(`${line}\n`), dry.stdout);
    const { code, stderr } = await prod();
    assert.equal(code, 1);
    assert.equal(stderr, `Cannot deploy. Something would be lost:\n${lines.join("\n")}\n`);
    assert.deepEqual(
      calls.map(([name]) => name),
      ["package", "package"],
    );
  });

  test("refuses to delete what holds a project's data, unless something of it stays", async () => {
    const own = (Type: string, DeletionPolicy?: string) => ({ Type, ...(DeletionPolicy && { DeletionPolicy }) });
    const Orders = own("AWS::DynamoDB::Table");
    const Resources = {
      ...compiled.template.Resources,
      ...{ Orders, Files: own("AWS::S3::Bucket", "Delete"), Topic: own("AWS::SNS::Topic") },
      ...{ Kept: own("AWS::DynamoDB::GlobalTable", "Retain"), People: own("AWS::RDS::DBInstance", "Snapshot") },
    };
    // A stage may get a bucket of its own in place of osls's.
    const { ServerlessDeploymentBucket, ServerlessDeploymentBucketPolicy, ...now } = compiled.template.Resources;
    const before = { ...compiled.template, Resources };
    const ready = await readyFor(before, { ...compiled.template, Resources: now });
    const lines = await changeLines(ready, made.root);
    const refused = (what: string) =>
      `  - deletes ${what}. Refused: keep it, or deploy it once more with DeletionPolicy: "Retain". Taken out after that, it stays outside of the stack`;
    assert.deepEqual(
      lines.map(({ text, isRefused }) => [isRefused, text]),
      [
        [false, "  - deletes ServerlessDeploymentBucket (AWS::S3::Bucket)"],
        [false, "  - deletes ServerlessDeploymentBucketPolicy (AWS::S3::BucketPolicy)"],
        [true, refused("Orders (AWS::DynamoDB::Table) and its items")],
        [true, refused("Files (AWS::S3::Bucket) and its objects")],
        [false, "  - deletes Topic (AWS::SNS::Topic)"],
        [false, "  - lets go of Kept (AWS::DynamoDB::GlobalTable): it stays, outside of the stack"],
        [false, "  - deletes People (AWS::RDS::DBInstance): a snapshot stays"],
      ],
    );
  });

  test("refuses to replace whatever AWS calls stateful, but logs, stacks and accounts", () => {
    const others = ["AWS::CloudFormation::Stack", "AWS::Logs::LogGroup", "AWS::Organizations::Account"];
    const specification = loadSpecification();
    const missing = specification.statefulTypes().filter((type) => !stateful.has(type));
    assert.deepEqual(missing.sort(), others);
    const Resources = Object.fromEntries([...stateful.keys()].map((Type, index) => [index, { Type, Properties: {} }]));
    assert.doesNotMatch(specification.problems({ Resources, Outputs: {} }).join("\n"), /there is no type/);
  });

  test("is compared without alarms and dashboard where CloudFormation takes no such template", async () => {
    const large = changed("Dashboard", { DashboardBody: "x".repeat(60_000) });
    Object.assign(large.Resources["WorkerLambdaFunction"]?.Properties ?? {}, { MemorySize: 640 });
    assert.deepEqual(await changeLines(await readyFor(compiled.template, large), made.root), [
      { text: "  ~ updates WorkerLambdaFunction (AWS::Lambda::Function): MemorySize", isRefused: false },
    ]);
  });

  test("is deployed uncompared where even so it is too large, and prints and records nothing when osls fails before it changes the stack", async () => {
    cloud.putStack("larkpost-prod", compiled.template);
    pack(changed("EventsQueue", { Tags: [{ Key: "long", Value: "x".repeat(60_000) }] }));
    const { code, stdout, stderr } = await deploy(["--stage", "prod"], { EXIT: "early" });
    assert.deepEqual([code, stdout], [1, deploys]);
    assert.match(
      stderr,
      /^! larkpost-prod {2}was not compared with the template: Cannot show the changes: the template has \d+ bytes, and CloudFormation compares 51200/m,
    );
    assert.equal(calls.at(-1)?.[0], "deploy");
    assert.equal(existsSync(join(made.root, "larkpost.stages.json")), false);
  });

  test("is for a deployer who may not read the keys or see queues and functions, too: they are neither checked nor used", async () => {
    const { QuarantineQueue, ...Resources } = changed("WorkerLambdaFunction", { MemorySize: 640 }).Resources;
    const { QuarantineQueueUrl, ...Outputs } = compiled.template.Outputs;
    cloud.putStack("larkpost-prod", { Resources, Outputs });
    cloud.store.become("denied");
    for (const right of ["sqs:GetQueueUrl", "lambda:GetFunction"]) cloud.denied.add(right);
    const { code, stdout, stderr } = await prod();
    cloud.store.become("up");
    cloud.denied.clear();
    assert.equal(code, 0, stderr);
    assert.doesNotMatch(stdout, /challenge/);
    for (const line of [
      /^! larkpost-prod {2}was not checked: AccessDenied \(sqs:GetQueueUrl\)/m,
      /^! larkpost\.config\.js {2}was not checked: AccessDenied \(lambda:GetFunction\)/m,
      /^! \/larkpost\/prod\/app {2}was not checked: AccessDeniedException \(ssm:GetParameter\)$/m,
      /^Did not probe the addresses: \/larkpost\/prod\/app cannot be read \(AccessDenied/m,
    ]) {
      assert.match(stderr, line);
    }
  });

  test("names what moves an address or starts the worker, and says when there is nothing to adopt, and what it could not protect", async () => {
    const { Resources, Outputs } = compiled.template;
    const OldApi = { Type: "AWS::ApiGatewayV2::Api" };
    cloud.putStack("larkpost-prod", { ...compiled.template, Resources: { ...Resources, OldApi } });
    const outputs = Object.entries(Outputs).filter(([, one]) => !JSON.stringify(one).includes("HttpApi"));
    pack({
      ...changed("WorkerEventSourceMappingSQSEventsQueue", { Enabled: false }),
      Outputs: Object.fromEntries(outputs),
    });
    cloud.denied.add("dynamodb:UpdateTable");
    const { code, stderr } = await prod("--adopt", "--no-probe");
    cloud.denied.clear();
    assert.equal(code, 1);
    for (const line of [
      /^ {2}- deletes OldApi \(AWS::ApiGatewayV2::Api\)\. Its address changes: paste the new one/m,
      /^ {2}~ updates WorkerEventSourceMappingSQSEventsQueue .*: Enabled\. The worker starts to take events, or stops$/m,
      /^Nothing to adopt: no removed stack has left anything of larkpost-prod$/m,
      /^Did not protect the table larkpost-prod-ledger from deletion: AccessDenied \(dyn/m,
    ]) {
      assert.match(stderr, line);
    }
  });

  test("--adopt says what it would adopt, and why it adopts nothing", async () => {
    const left = async (from: Template | undefined) => {
      const ready = await readyFor(from, compiled.template);
      cloud.putStack("another", compiled.template);
      return { ...ready, adopt: true };
    };
    const adopting = async (from: Template | undefined) => {
      const ready = await left(from);
      return adopt(ready, await findLeft(ready));
    };
    const lines = (await changeLines(await left(undefined), made.root)).map(({ text }) => text).join("\n");
    assert.match(lines, /^ {2}< adopts LedgerTable \(AWS::DynamoDB::Table\): larkpost-prod-ledger$/m);
    assert.doesNotMatch(lines, /\+ \d+ AWS::(SQS::Queue|DynamoDB::Table):/);
    const { Resources } = changed("Dashboard", { DashboardBody: "x".repeat(60_000) });
    await assert.rejects(
      adopting({ Resources: { Dashboard: Resources["Dashboard"] as Resource } }),
      /^CommandError: Cannot adopt larkpost-prod-events, .*: the stack larkpost-prod is there, .*or give the lane another name$/,
    );
    await assert.rejects(
      adopting(undefined),
      /^CommandError: Cannot make the change set: larkpost-prod-events already exists in stack/,
    );
  });
});

describe("the probe of an address", () => {
  const sender = senderOf(parseSecrets(stored()));
  /** What it prints, and how long it waits, with answers of the receiver's. */
  async function probed(answer: Parameters<typeof startReceiver>[0]) {
    const receiver = await startReceiver(answer);
    const waited: number[] = [];
    const hops: Hop[] = [];
    const clock = {
      nowMs: Date.now,
      after(ms: number, fire: () => void) {
        waited.push(ms);
        setImmediate(fire);
        return () => {};
      },
    };
    try {
      await probe(receiver.url, { ...sender, clock, onHop: (hop) => hops.push(hop) });
      const lines = hops.map((hop) =>
        hopLine(hop)
          .replace(receiver.url, "URL")
          .replace(/, \d+ ms$/, ""),
      );
      return { isOk: hops.every(({ isOk }) => isOk), lines, waited };
    } finally {
      await receiver.stop();
    }
  }

  test("waits until a new address is known, and says what it answers if that never comes", async () => {
    let tries = 0;
    const late = await probed({ answer: () => (++tries < 3 ? { status: 404, body: "" } : {}) });
    assert.deepEqual([late.isOk, late.waited, late.lines[0]], [true, [1_000, 2_000], "  ✔ URL answers a challenge"]);
    const never = await probed({ answer: () => ({ status: 503, body: "busy" }) });
    assert.deepEqual([never.isOk, never.waited], [false, [1_000, 2_000, 4_000, 8_000]]);
    assert.deepEqual(never.lines, ["  ✖ URL does not answer a challenge: answered 503 busy"]);
  });

  test("fails when an event is not stored, or a forged one is", async () => {
    const { isOk, lines } = await probed({
      answer: ({ envelope }) =>
        envelope?.kind === "challenge" ? {} : { status: envelope === undefined ? 200 : 503, body: "{}" },
    });
    assert.equal(isOk, false);
    assert.deepEqual(lines.slice(1), [
      "  ✖ does not refuse a forged event: answered 200 {}",
      "  ✖ does not store an event: answered 503 {}",
    ]);
  });
});

test("osls is a process of its own in the project's folder: what it says is kept, or printed where this process prints", async (t) => {
  const root = mkdtempSync(join(tmpdir(), "larkpost-"));
  t.after(() => rmSync(root, { recursive: true }));
  const bin = join(root, "node_modules/osls/bin");
  mkdirSync(bin, { recursive: true });
  writeFileSync(
    join(bin, "serverless.js"),
    `const { fstatSync, writeFileSync } = require("node:fs");
writeFileSync("pid", String(process.ppid));
if (process.argv[2] === "package") {
  console.log(process.argv.slice(2).join());
  console.error(process.env.AWS_REGION);
} else writeFileSync("stdout", [fstatSync(1).dev, fstatSync(1).ino].join());
process.exitCode = 3;
`,
  );
  process.env["AWS_REGION"] = "eu-west-1";
  const { code, output } = await osls(["package", "--stage", "a b"], { root, isQuiet: true });
  Reflect.deleteProperty(process.env, "AWS_REGION");
  assert.deepEqual([code, output.split("\n").toSorted()], [3, ["", "eu-west-1", "package,--stage,a b"]]);
  assert.deepEqual(await osls(["deploy"], { root }), { code: 3, output: "" });
  const read = (name: string) => readFileSync(join(root, name), "utf8");
  assert.deepEqual([read("pid"), read("stdout")], [String(process.pid), `${fstatSync(1).dev},${fstatSync(1).ino}`]);
});

test("a failure of osls without a reason is a finding, too, and a link to osls's guides is none", () => {
  const refused = "Error:\nConfiguration error at 'x': no\n\nLearn more about configuration validation here: https://…";
  assert.deepEqual(
    oslsFindings(refused).map(({ message }) => message),
    ["Configuration error at 'x': no"],
  );
  assert.match(oslsFindings("")[0]?.message ?? "", /says no reason/);
});

test("what CloudFormation has against a template is said in its own words, of another call only the name", () => {
  const refusal = (name: string) => Object.assign(new Error("Template format error: no\nResources"), { name });
  assert.equal(
    refusalLine(refusal("ValidationError")),
    "CloudFormation refuses it: Template format error: no Resources",
  );
  assert.match(refusalLine(refusal("ThrottlingException")), /^ThrottlingException\. Check the region/);
});
