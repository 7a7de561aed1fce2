// in turn: they share a process of osls.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { describe, test } from "node:test";
import { contradictions } from "../../infra/contradictions.js";
import { limits, longConnectionMaximumPercent } from "../../infra/limits.js";
import { longConnectionConfig } from "../../lib/aws/config.ts";
import { listenOnLoopback } from "../../lib/simulator/loopback.ts";
import { nodeEnv } from "../support/node-env.ts";
import { longConnection, stage } from "./connected.ts";
import { acceptedOn, rules, statementsOf } from "./rules.ts";
import { loadSpecification } from "./specification.ts";
import type { Resource } from "./stack.ts";
import { unnoticed, unproven } from "./waivers.ts";

const registry = "111122223333.dkr.ecr.ap-southeast-1.amazonaws.com";
const image = `${registry}/tools/larkpost:1.0.0`;
const on = longConnection({ image });

const arn = (id: string) => ({ "Fn::GetAtt": [id, "Arn"] });
const resource = (id: string, { Resources } = on): Resource => {
  const found = Resources[id];
  assert.ok(found, `there is no ${id}`);
  return found;
};
const properties = (id: string, template = on) => resource(id, template).Properties;
const container = (template = on) => properties("LongConnectionTask", template)["ContainerDefinitions"][0];
const environmentOf = (template = on) =>
  new Map<string, unknown>(
    container(template).Environment.map(({ Name, Value }: { Name: string; Value: unknown }) => [Name, Value]),
  );

describe("the long connection's template", () => {
  test("holds only what AWS specifies, in every variant", () => {
    const keys = { customerKeyArn: "arn:aws:kms:ap-southeast-1:111122223333:key/0f4c", pageTopicArn: "arn:aws:sns:a" };
    const specification = loadSpecification();
    for (const template of [
      on,
      longConnection({ hasPublicIp: true }),
      longConnection({}, keys),
      longConnection({}, { region: "cn-north-1" }),
      longConnection(
        {},
        {},
        { limits: { longConnectionReplicas: 5, longConnectionCpu: 1_024, longConnectionMemoryMb: 8_192 } },
      ),
    ]) {
      assert.deepEqual(specification.problems(template), []);
      // What CloudFormation takes without a bucket.
      assert.ok(JSON.stringify(template).length < 51_200);
    }
  });

  test("says what it was deployed with, for the next deployment", () => {
    const values = Object.entries(longConnection({ hasPublicIp: true }).Outputs).map(([name, { Value }]) => [
      name,
      Value,
    ]);
    assert.deepEqual(Object.fromEntries(values), {
      Image: "registry.example/larkpost:1",
      Vpc: "vpc-0a1b",
      Subnets: "subnet-0a,subnet-0b",
      PublicIp: "true",
    });
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

  test("runs on x86 in China, in its registry and under its partition", () => {
    const inChina = "111122223333.dkr.ecr.cn-north-1.amazonaws.com.cn/tools/larkpost:1";
    const template = longConnection({ image: inChina }, { region: "cn-north-1" });
    assert.equal(properties("LongConnectionTask", template)["RuntimePlatform"].CpuArchitecture, "X86_64");
    const repository = `arn:\${AWS::Partition}:ecr:cn-north-1:111122223333:repository/tools/larkpost`;
    const [, pull] = statementsOf(resource("LongConnectionExecutionRole", template));
    assert.deepEqual(pull?.Resource, [{ "Fn::Sub": repository }]);
    assert.doesNotMatch(JSON.stringify(template), /arn:aws:/);
  });

  test("has the worker's settings, which the process takes, and those of a process that answers callbacks", () => {
    const { DEAD_LETTER_QUEUE_URL, MAX_ATTEMPTS, MAX_RECEIVE_COUNT, ...worker } = stage.variables;
    const shared = { ...worker, LANES: '{"bulk":{"types":["contact.*"]}}' };
    const variables = { ...stage.variables, ...shared, MAX_AGE_SECONDS: "900" };
    const { AWS_REGION, ...others } = Object.fromEntries(environmentOf(longConnection({}, { variables })));
    assert.deepEqual(AWS_REGION, { Ref: "AWS::Region" });
    assert.deepEqual(others, {
      ...shared,
      CALLBACK_DEADLINE_MS: String(limits.callbackDeadlineMs),
      HEALTH_PORT: "8080",
      HEARTBEAT_SECONDS: "20",
    });
    const config = longConnectionConfig(others as Record<string, string>);
    assert.deepEqual(config.stored, {
      parameter: "/larkpost/prod/app",
      appId: stage.variables.APP_ID,
      oldCards: false,
      staleMs: limits.staleKeysSeconds * 1000,
    });
    assert.deepEqual(
      [config.appId, config.deadlineMs, config.healthPort],
      [stage.variables.APP_ID, limits.callbackDeadlineMs, 8080],
    );
    assert.equal(container().Secrets, undefined);
  });

  test("D.3: it works under the callback's role, and is started under one that reads its image and writes its log", () => {
    const allow = (Action: string[], Resource: unknown[]) => ({ Effect: "Allow", Action, Resource });
    const { TaskRoleArn, ExecutionRoleArn } = properties("LongConnectionTask");
    assert.deepEqual(TaskRoleArn, { "Fn::ImportValue": "larkpost-prod-callback-role" });
    assert.deepEqual(ExecutionRoleArn, arn("LongConnectionExecutionRole"));
    const repository = `arn:\${AWS::Partition}:ecr:ap-southeast-1:111122223333:repository/tools/larkpost`;
    assert.deepEqual(statementsOf(resource("LongConnectionExecutionRole")), [
      allow(["ecr:GetAuthorizationToken"], ["*"]),
      allow(
        ["ecr:BatchCheckLayerAvailability", "ecr:GetDownloadUrlForLayer", "ecr:BatchGetImage"],
        [{ "Fn::Sub": repository }],
      ),
      allow(["logs:CreateLogStream", "logs:PutLogEvents"], [arn("LongConnectionLogGroup")]),
    ]);
    assert.deepEqual(properties("LongConnectionExecutionRole")["AssumeRolePolicyDocument"].Statement, [
      { Effect: "Allow", Principal: { Service: ["ecs-tasks.amazonaws.com"] }, Action: ["sts:AssumeRole"] },
    ]);
    assert.equal(properties("LongConnectionExecutionRole")["RoleName"], undefined);
  });

  test("needs no right of ECR's for another registry's image, and encrypts its log with the stage's key", () => {
    for (const other of ["registry.example/larkpost@sha256:00", `registry.example/0${registry}/larkpost:1`]) {
      const role = resource("LongConnectionExecutionRole", longConnection({ image: other }));
      assert.ok(!JSON.stringify(role).includes("ecr:"), other);
    }
    const customerKeyArn = "arn:aws:kms:ap-southeast-1:111122223333:key/0f4c";
    const template = longConnection({}, { customerKeyArn });
    assert.equal(properties("LongConnectionLogGroup", template)["KmsKeyId"], customerKeyArn);
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
    const { LogGroupName, RetentionInDays } = properties("LongConnectionLogGroup");
    assert.deepEqual([LogGroupName, RetentionInDays], [`/ecs/${name}`, limits.logRetentionDays]);
    for (const id of Object.keys(on.Resources)) {
      const isTagged = loadSpecification().tagsOf(resource(id).Type) !== undefined;
      const tags = [
        { Key: "SERVICE", Value: "larkpost" },
        { Key: "STAGE", Value: "prod" },
      ];
      assert.deepEqual(properties(id)["Tags"], isTagged ? tags : undefined, id);
    }
    assert.deepEqual(container().LogConfiguration.Options["awslogs-group"], { Ref: "LongConnectionLogGroup" });
  });

  for (const { ids, title, type, holds } of rules) {
    test(`D.6 ${ids.join(", ")}: ${title}, or it says why not`, () => {
      for (const [id, one] of Object.entries(on.Resources)) {
        if (one.Type !== type || holds(one, on)) continue;
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
  for (const template of [on, longConnection({ image, hasPublicIp: true })]) {
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
    const topics = { pageTopicArn: "arn:aws:sns:a:1:pager", ticketTopicArn: "arn:aws:sns:a:1:tickets" };
    const alarms = Object.values(longConnection({}, topics).Resources).filter(
      ({ Type }) => Type === "AWS::CloudWatch::Alarm",
    );
    assert.equal(alarms.length, 4);
    for (const { Properties } of alarms) {
      const name = Properties["AlarmName"].replace("larkpost-prod-", "");
      const [, urgency, runbook] =
        /^(Page|Ticket): .{20,}\. First type "npm run doctor -- --stage prod --region ap-southeast-1"\. Runbook: (.+)\.$/.exec(
          Properties["AlarmDescription"],
        ) ?? [];
      assert.match(name, /^long-connection-/);
      assert.equal(runbook, `docs/operate.md, heading "${name}"`);
      assert.deepEqual(Properties["AlarmActions"], [`arn:aws:sns:a:1:${urgency === "Page" ? "pager" : "tickets"}`]);
    }
  });
});

describe("the long connection's health check", () => {
  const [kind, program, ...args] = container().HealthCheck.Command as string[];
  const proxy = { NODE_USE_ENV_PROXY: "1", http_proxy: "http://127.0.0.1:9" };

  /** As a container runs it, with a proxy in the environment. */
  const inProcess = (env: NodeJS.ProcessEnv) =>
    new Promise<number>((done) => {
      const options = { env: { ...nodeEnv, ...env, ...proxy }, timeout: 10_000 };
      const child = execFile(process.execPath, args, options, () => done(child.exitCode ?? -1));
    });
  /** The same code in this process. */
  const here = (env: NodeJS.ProcessEnv) =>
    new Promise<number>((exit) => {
      new Function("require", "process", args[1] ?? "")(createRequire(import.meta.url), { env, exit });
    });

  /** Runs the container's own command against a server that answers so; `undefined`: nothing listens. */
  async function exitCode(status: number | undefined, run = here): Promise<number> {
    const server = createServer((_request, response) => response.writeHead(status ?? 0).end());
    const port = await listenOnLoopback(server);
    if (status === undefined) await new Promise((closed) => server.close(closed));
    const code = await run({ HEALTH_PORT: String(port) });
    server.closeAllConnections();
    server.close();
    return code;
  }

  test("passes while connected, fails while not, and when nothing answers", async () => {
    assert.deepEqual([kind, program, args[0], args.length], ["CMD", "node", "-e", 2]);
    assert.deepEqual(await Promise.all([exitCode(200, inProcess), exitCode(503), exitCode(undefined)]), [0, 1, 1]);
  });

  test("replaces a process that is away for minutes, not one that reconnects", () => {
    const { Interval, Retries, Timeout } = container().HealthCheck;
    // The platform's usual wait between two attempts is two minutes, give or take a fifth.
    assert.ok(Interval * Retries >= 300 && Timeout < Interval);
  });
});
