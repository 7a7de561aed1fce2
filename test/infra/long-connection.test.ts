// in turn: they share a process of osls.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { after, before, describe, test } from "node:test";
import { contradictions, limits, longConnectionMaximumPercent } from "../../infra/limits.js";
import { longConnection, longConnectionResources } from "../../infra/long-connection.js";
import { projectOf } from "../../infra/project.js";
import { longConnectionConfig } from "../../lib/aws/config.ts";
import { listenOnLoopback } from "../../lib/simulator/loopback.ts";
import { acceptedOn, keyThrough, rules, statementsOf } from "./rules.ts";
import { loadSpecification } from "./specification.ts";
import { type Compiled, compile, leaves, type Resource, type Template } from "./stack.ts";
import { unnoticed, unproven } from "./waivers.ts";

type Config = import("../../infra/config.js").Config;

const appId = "cli_0123456789abcdef";
const registry = "111122223333.dkr.ecr.ap-southeast-1.amazonaws.com";
const image = `${registry}/tools/larkpost:1.0.0`;
const params = {
  appId,
  longConnection: "true",
  longConnectionImage: image,
  longConnectionVpc: "vpc-0a1b",
  longConnectionSubnets: "subnet-0a, subnet-0b",
};
const canaries = { APP_SECRET: "canary-of-the-app-secret", ENCRYPT_KEY: "canary-of-the-encrypt-key" };
const deployment = {
  ...{ service: "larkpost", stage: "prod", front: "httpApi", secretsParameter: "/larkpost/prod/app" },
  ...{ customerKeyArn: "", pageTopicArn: "", ticketTopicArn: "" },
};
const service = {
  ...{ domain: "feishu", allowOtherDomain: "false" },
  appId,
  image,
  vpc: "vpc-0a1b",
  subnets: ["subnet-0a"],
  hasPublicIp: false,
};

let specification: ReturnType<typeof loadSpecification>;
let off: Compiled;
let on: Compiled;

before(async () => {
  specification = loadSpecification();
  [off, on] = await Promise.all([compile("prod", { params: { appId } }), compile("prod", { params, env: canaries })]);
});

const arn = (id: string) => ({ "Fn::GetAtt": [id, "Arn"] });
const resource = (id: string, { template } = on): Resource => {
  const found = template.Resources[id];
  assert.ok(found, `there is no ${id}`);
  return found;
};
const properties = (id: string) => resource(id).Properties;
const container = () => properties("LongConnectionTask")["ContainerDefinitions"][0];
const own = ({ template }: Compiled) => Object.keys(template.Resources).filter((id) => id.startsWith("LongConnection"));

/** The resources as they would be, without osls; AWS's own specification takes them beside the others. */
function made(change: Partial<typeof service> = {}, given = {}, config: Config = {}) {
  const project = projectOf(config);
  const resources = longConnectionResources({ ...deployment, ...given }, { ...service, ...change }, project);
  const template = { Resources: { ...off.template.Resources, ...resources }, Outputs: {} } as unknown as Template;
  return { template, resources: resources as unknown as Readonly<Record<string, Resource>> };
}

describe("the long connection in the template", () => {
  test("is not there unless asked for, and changes nothing else when it is", () => {
    assert.deepEqual(own(off), []);
    assert.ok(!JSON.stringify(off.template).includes("ECS"));
    const kept = { ...on.template.Resources };
    for (const id of own(on)) Reflect.deleteProperty(kept, id);
    const shown = (value: unknown) =>
      [...leaves(value)].filter(([path]) => !/\.(S3Key|CodeSha256)$|LambdaVersion/.test(path));
    assert.deepEqual(shown(kept), shown(off.template.Resources));
    assert.deepEqual(on.template.Outputs, off.template.Outputs);
  });

  test("holds only what AWS specifies, in every variant", () => {
    assert.deepEqual(specification.problems(on.template), []);
    const keys = { customerKeyArn: "arn:aws:kms:ap-southeast-1:111122223333:key/0f4c", pageTopicArn: "arn:aws:sns:a" };
    for (const { template } of [
      made({ hasPublicIp: true, image: "registry.example/larkpost:1" }),
      made({}, keys),
      made({}, {}, { limits: { longConnectionReplicas: 5, longConnectionCpu: 1_024, longConnectionMemoryMb: 8_192 } }),
    ]) {
      assert.deepEqual(specification.problems(template), []);
    }
  });

  test("runs the image on Fargate and Graviton, with nothing to write to and no right of root's", () => {
    const { Cpu, Memory, RuntimePlatform, NetworkMode, RequiresCompatibilities } = properties("LongConnectionTask");
    assert.deepEqual(
      { Cpu, Memory, NetworkMode, RequiresCompatibilities, architecture: RuntimePlatform.CpuArchitecture },
      {
        ...{ Cpu: "256", Memory: "512", NetworkMode: "awsvpc", RequiresCompatibilities: ["FARGATE"] },
        architecture: "ARM64",
      },
    );
    const { Image, User, ReadonlyRootFilesystem, LinuxParameters, StopTimeout } = container();
    assert.deepEqual([Image, User, ReadonlyRootFilesystem], [image, "node", true]);
    assert.deepEqual(LinuxParameters.Capabilities, { Drop: ["ALL"] });
    // Five seconds for what is in hand, one for closing.
    assert.ok(StopTimeout >= 10);
  });

  test("has settings that the process takes, and no secret among them", () => {
    const environment = new Map<string, unknown>(
      container().Environment.map(({ Name, Value }: { Name: string; Value: unknown }) => [Name, Value]),
    );
    const url = "https://sqs.ap-southeast-1.amazonaws.com/111122223333/events";
    const env = Object.fromEntries(
      [...environment].map(([name, value]) => [name, typeof value === "string" ? value : url]),
    );
    const config = longConnectionConfig(env);
    assert.deepEqual(config.stored, {
      parameter: "/larkpost/prod/app",
      appId,
      oldCards: false,
      staleMs: limits.staleKeysSeconds * 1000,
    });
    assert.deepEqual([config.appId, config.deadlineMs, config.healthPort], [appId, limits.callbackDeadlineMs, 8080]);
    assert.deepEqual(environment.get("EVENTS_QUEUE_URL"), { Ref: "EventsQueue" });
    assert.deepEqual(environment.get("QUARANTINE_QUEUE_URL"), { Ref: "QuarantineQueue" });
    assert.deepEqual(environment.get("LEDGER_TABLE"), { Ref: "LedgerTable" });
    assert.equal(container().Secrets, undefined);
    for (const canary of Object.values(canaries)) assert.ok(!on.text.includes(canary));
  });

  test("D.3: its role is the receiver's and the ledger's, and nothing of the queues' other side", () => {
    const allow = (Action: string[], Resource: unknown[]) => ({ Effect: "Allow", Action, Resource });
    const parameter = `arn:\${AWS::Partition}:ssm:\${AWS::Region}:\${AWS::AccountId}:parameter/larkpost/prod/app`;
    assert.deepEqual(statementsOf(resource("LongConnectionRole")), [
      allow(["sqs:SendMessage"], [arn("EventsQueue"), arn("QuarantineQueue")]),
      allow(["ssm:GetParameter"], [{ "Fn::Sub": parameter }]),
      allow(["dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:GetItem"], [arn("LedgerTable")]),
    ]);
    const repository = `arn:\${AWS::Partition}:ecr:ap-southeast-1:111122223333:repository/tools/larkpost`;
    assert.deepEqual(statementsOf(resource("LongConnectionExecutionRole")), [
      allow(["ecr:GetAuthorizationToken"], ["*"]),
      allow(
        ["ecr:BatchCheckLayerAvailability", "ecr:GetDownloadUrlForLayer", "ecr:BatchGetImage"],
        [{ "Fn::Sub": repository }],
      ),
      allow(["logs:CreateLogStream", "logs:PutLogEvents"], [arn("LongConnectionLogGroup")]),
    ]);
    for (const id of ["LongConnectionRole", "LongConnectionExecutionRole"]) {
      assert.deepEqual(properties(id)["AssumeRolePolicyDocument"].Statement, [
        { Effect: "Allow", Principal: { Service: ["ecs-tasks.amazonaws.com"] }, Action: ["sts:AssumeRole"] },
      ]);
      assert.equal(properties(id)["RoleName"], undefined);
    }
  });

  test("needs no right of ECR's for another registry's image, and adds the use of a key of one's own", () => {
    for (const image of ["registry.example/larkpost@sha256:00", `registry.example/0${registry}/larkpost:1`]) {
      const other = made({ image }).resources["LongConnectionExecutionRole"];
      assert.ok(other && !JSON.stringify(other).includes("ecr:"), image);
    }
    const customerKeyArn = "arn:aws:kms:ap-southeast-1:111122223333:key/0f4c";
    const { resources } = made({}, { customerKeyArn });
    const key = keyThrough(customerKeyArn, ["sqs", "ssm", "dynamodb"]);
    assert.deepEqual(statementsOf(resources["LongConnectionRole"] as Resource).at(-1), key);
    assert.equal(resources["LongConnectionLogGroup"]?.Properties["KmsKeyId"], customerKeyArn);
  });

  test("lets nothing in, and only TLS out", () => {
    assert.deepEqual(properties("LongConnectionSecurityGroup")["SecurityGroupIngress"], []);
    const [egress, ...more] = properties("LongConnectionSecurityGroup")["SecurityGroupEgress"];
    const { Description: _, ...range } = egress;
    assert.deepEqual(range, { IpProtocol: "tcp", FromPort: 443, ToPort: 443, CidrIp: "0.0.0.0/0" });
    assert.deepEqual(more, []);
    const { Subnets, SecurityGroups, AssignPublicIp } =
      properties("LongConnectionService")["NetworkConfiguration"].AwsvpcConfiguration;
    assert.deepEqual(Subnets, ["subnet-0a", "subnet-0b"]);
    assert.deepEqual(SecurityGroups, [{ "Fn::GetAtt": ["LongConnectionSecurityGroup", "GroupId"] }]);
    assert.equal(AssignPublicIp, "DISABLED");
    for (const name of ["LoadBalancers", "ServiceRegistries", "ServiceConnectConfiguration"]) {
      assert.equal(properties("LongConnectionService")[name], undefined);
    }
    assert.equal(container().PortMappings, undefined);
  });

  test("L5: keeps 2 replicas, never more than one above them, and takes a bad deployment back", () => {
    const { DesiredCount, DeploymentConfiguration } = properties("LongConnectionService");
    assert.equal(DesiredCount, 2);
    assert.deepEqual(DeploymentConfiguration, {
      ...{ MinimumHealthyPercent: 50, MaximumPercent: 150 },
      DeploymentCircuitBreaker: { Enable: true, Rollback: true },
    });
    for (let replicas = 1; replicas <= 5; replicas++) {
      assert.deepEqual(contradictions({ ...limits, longConnectionReplicas: replicas }), []);
      const percent = longConnectionMaximumPercent({ longConnectionReplicas: replicas });
      // ECS rounds down.
      assert.ok(Math.floor((replicas * percent) / 100) - replicas <= 1, `${replicas}`);
      assert.ok(replicas > 2 || Math.floor((replicas * percent) / 100) - replicas === 1, `${replicas}`);
    }
    assert.ok(contradictions({ ...limits, longConnectionReplicas: 6 }).length > 0);
  });

  test("names of its own belong to the stage, and its log ends", () => {
    const name = "larkpost-prod-long-connection";
    assert.equal(properties("LongConnectionCluster")["ClusterName"], name);
    assert.equal(properties("LongConnectionService")["ServiceName"], name);
    assert.equal(properties("LongConnectionTask")["Family"], name);
    assert.deepEqual(properties("LongConnectionLogGroup"), {
      ...{ LogGroupName: `/ecs/${name}`, RetentionInDays: limits.logRetentionDays },
    });
    assert.deepEqual(container().LogConfiguration.Options["awslogs-group"], { Ref: "LongConnectionLogGroup" });
  });

  for (const { ids, title, type, holds } of rules) {
    test(`D.6 ${ids.join(", ")}: ${title}, or it says why not`, () => {
      for (const id of own(on)) {
        const one = resource(id);
        if (one.Type !== type || holds(one, on.template)) continue;
        // ECS writes the process's log, under the other role.
        if (id === "LongConnectionRole" && ids.includes("W58")) continue;
        const accepted = acceptedOn(one);
        assert.ok(
          ids.some((rule) => accepted.has(rule)),
          `${id}: ${ids}`,
        );
      }
    });
  }
});

test("D.6: the reason of each accepted finding is a fact of the template, and found when it is none", () => {
  for (const { template } of [on, made({ hasPublicIp: true })]) {
    assert.deepEqual(unproven(template), []);
    assert.deepEqual(unnoticed(template), []);
  }
});

describe("the long connection's alarms", () => {
  const alarm = (id: string) => properties(`LongConnection${id}Alarm`);
  const filter = (id: string) => properties(`LongConnection${id}Filter`);

  test("a minute in which no process says that it is connected rings, and so does silence", () => {
    const { MetricName, Namespace, Statistic, Period, EvaluationPeriods, ComparisonOperator, Threshold } =
      alarm("Down");
    assert.deepEqual(
      { MetricName, Namespace, Statistic, Period, EvaluationPeriods, ComparisonOperator, Threshold },
      {
        ...{ MetricName: "Connected", Namespace: "larkpost-prod-long-connection", Statistic: "Sum", Period: 60 },
        ...{ EvaluationPeriods: 1, ComparisonOperator: "LessThanThreshold", Threshold: 1 },
      },
    );
    assert.equal(alarm("Down")["TreatMissingData"], "breaching");
    const [{ MetricValue, DefaultValue }] = filter("Connected")["MetricTransformations"];
    assert.deepEqual([MetricValue, DefaultValue], ["1", 0]);
    assert.equal(filter("Connected")["FilterPattern"], '{ $.stage = "connected" }');
    // Several lines within each of the alarm's minutes, however they fall.
    const { Value } = container().Environment.find(({ Name }: { Name: string }) => Name === "HEARTBEAT_SECONDS");
    assert.ok(Number(Value) * 2 < Period);
  });

  test("L4, L5, K1: a refusal by the platform rings, what was answered 500, and an old app secret", () => {
    for (const [id, pattern] of [
      [
        "Refused",
        '{ $.level = "error" && ($.stage = "disconnected" || $.stage = "misconfigured" || $.stage = "connected") }',
      ],
      ["Unavailable", '{ $.stage = "unavailable" }'],
      ["StaleKeys", '{ $.stage = "stale-keys" }'],
    ] as const) {
      assert.equal(filter(id)["FilterPattern"], pattern);
      assert.deepEqual(filter(id)["LogGroupName"], { Ref: "LongConnectionLogGroup" });
      const { MetricName, Statistic, Period, ComparisonOperator, Threshold, TreatMissingData } = alarm(id);
      assert.deepEqual(
        [MetricName, Statistic, Period, ComparisonOperator, Threshold, TreatMissingData],
        [id, "Sum", 60, "GreaterThanOrEqualToThreshold", 1, "notBreaching"],
      );
    }
  });

  test("each says how urgent it is and where the runbook is, and tells the topic of its urgency", () => {
    const { resources } = made(
      {},
      { pageTopicArn: "arn:aws:sns:a:1:pager", ticketTopicArn: "arn:aws:sns:a:1:tickets" },
    );
    const alarms = Object.values(resources).filter(({ Type }) => Type === "AWS::CloudWatch::Alarm");
    assert.equal(alarms.length, 4);
    for (const { Properties } of alarms) {
      const name = Properties["AlarmName"].replace("larkpost-prod-", "");
      const [, urgency, runbook] =
        /^(Page|Ticket): .{20,}\. Runbook: (.+)\.$/.exec(Properties["AlarmDescription"]) ?? [];
      assert.match(name, /^long-connection-/);
      assert.equal(runbook, `docs/operate.md, heading "${name}"`);
      assert.deepEqual(Properties["AlarmActions"], [`arn:aws:sns:a:1:${urgency === "Page" ? "pager" : "tickets"}`]);
    }
  });
});

describe("the long connection's health check", () => {
  /** Runs the container's own command against a server that answers so; `undefined`: nothing listens. */
  async function exitCode(status: number | undefined): Promise<number> {
    const server = createServer((_request, response) => response.writeHead(status ?? 0).end());
    const port = await listenOnLoopback(server);
    if (status === undefined) await new Promise((closed) => server.close(closed));
    const [kind, program, ...args] = container().HealthCheck.Command;
    assert.deepEqual([kind, program], ["CMD", "node"]);
    const proxy = { NODE_USE_ENV_PROXY: "1", http_proxy: "http://127.0.0.1:9" };
    const env = { PATH: process.env["PATH"], HEALTH_PORT: String(port), ...proxy };
    const code = await new Promise<number>((done) => {
      const child = execFile(process.execPath, args, { env, timeout: 10_000 }, () => done(child.exitCode ?? -1));
    });
    server.closeAllConnections();
    server.close();
    return code;
  }

  test("passes while connected, fails while not, and when nothing answers", async () => {
    assert.deepEqual(await Promise.all([exitCode(200), exitCode(503), exitCode(undefined)]), [0, 1, 1]);
  });

  test("replaces a process that is away for minutes, not one that reconnects", () => {
    const { Interval, Retries, Timeout } = container().HealthCheck;
    // The platform's usual wait between two attempts is two minutes, give or take a fifth.
    assert.ok(Interval * Retries >= 300 && Timeout < Interval);
  });
});

describe("a deployment with the long connection", () => {
  const resolved: Readonly<Record<string, string>> = {
    "self:service": "larkpost",
    "sls:stage": "prod",
    "param:front": "httpApi",
    "self:custom.secretsParameter": "/larkpost/prod/app",
    "param:customerKeyArn": "",
    ...{ "param:pageTopicArn": "", "param:ticketTopicArn": "" },
    ...{ "param:larkDomain": "lark", "param:allowOtherDomain": "false", "param:marketplaceApp": "false" },
    "param:longConnectionPublicIp": "false",
    ...Object.fromEntries(Object.entries(params).map(([name, value]) => [`param:${name}`, value])),
  };
  const asked = (change: Readonly<Record<string, string>> = {}) =>
    longConnection({
      resolveVariable: async (name) => ({ ...resolved, ...change })[name],
    });

  const { argv } = process;
  before(() => {
    // The tool that compiles it.
    process.argv = [process.execPath, createRequire(import.meta.url).resolve("osls/bin/serverless.js")];
  });
  after(() => {
    process.argv = argv;
  });

  test("is compiled by osls alone: the Serverless Framework, whose versions are alike, is told what to run", async (t) => {
    const script = process.argv[1] ?? "";
    t.after(() => process.argv.splice(1, 1, script));
    process.argv[1] = import.meta.filename;
    await assert.rejects(asked(), /Cannot deploy: this tool is not osls, .*\. Run "npm run deploy"/);
  });

  test("is asked for by the word true alone", async () => {
    assert.deepEqual(await asked({ "param:longConnection": "false" }), {});
    assert.ok("Resources" in (await asked()));
    await assert.rejects(
      asked({ "param:longConnection": "yes" }),
      /Cannot deploy: longConnection is "yes", neither "true" nor "false"/,
    );
    assert.match(JSON.stringify(await asked()), /"LARK_DOMAIN","Value":"lark"/);
    await assert.rejects(asked({ "param:marketplaceApp": "true" }), /longConnection is for self-built apps/);
    await assert.rejects(asked({ "param:longConnectionPublicIp": "1" }), /longConnectionPublicIp is "1", neither/);
  });

  const refusals: readonly [param: string, value: string, says: RegExp][] = [
    ["longConnectionImage", "", /longConnectionImage is "", no image with a tag or a digest/],
    ["longConnectionImage", `${registry}/larkpost`, /no image with a tag or a digest/],
    ["longConnectionImage", "a b:1", /no image with a tag or a digest/],
    ["longConnectionImage", "a:1 b", /no image with a tag or a digest/],
    ["longConnectionVpc", "", /longConnectionVpc is "", no VPC/],
    ["longConnectionVpc", "a-vpc-0b", /longConnectionVpc is "a-vpc-0b", no VPC/],
    ["longConnectionVpc", "vpc-0b,vpc-0c", /longConnectionVpc is "vpc-0b,vpc-0c", no VPC/],
    ["longConnectionSubnets", "", /longConnectionSubnets has "", no subnet/],
    ["longConnectionSubnets", "subnet-0a,vpc-0b", /longConnectionSubnets has "vpc-0b", no subnet/],
    ["longConnectionSubnets", "subnet-0a,a-subnet-0b", /longConnectionSubnets has "a-subnet-0b", no subnet/],
    ["longConnectionSubnets", "subnet-0a;subnet-0b", /longConnectionSubnets has "subnet-0a;subnet-0b", no subnet/],
  ];
  for (const [param, value, says] of refusals) {
    test(`is refused with ${param} "${value}"`, async () => {
      await assert.rejects(asked({ [`param:${param}`]: value }), says);
    });
  }
});
