// in turn: they share a process of osls.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { before, describe, test } from "node:test";
import { deployerPolicies, type Policy, policiesOnPage, stalePolicyPages } from "../../docs/deployer-policy.ts";
import { contradictions } from "../../infra/contradictions.js";
import {
  allowOtherDomain,
  appId,
  larkDomain,
  legacyCardCallback,
  marketplaceApp,
  workerState,
} from "../../infra/deployment.js";
import { domainOf } from "../../infra/domain.js";
import { alarmThresholds, limits, optional, presets, visibilityTimeoutSeconds } from "../../infra/limits.js";
import { type Prices, regions } from "../../infra/prices.js";
import { projectOf } from "../../infra/project.js";
import { queues } from "../../infra/queues.js";
import { defaultTryMs } from "../../lib/aws/client.ts";
import { rememberSeconds } from "../../lib/aws/ledger.ts";
import { cacheMs } from "../../lib/aws/parameter.ts";
import { messageLimitBytes } from "../../lib/aws/record.ts";
import { billOf, use } from "../../lib/cli/cost/model.ts";
import { bounds } from "../../lib/feishu/open.ts";
import { backoffSeconds } from "../../lib/handling/backoff.ts";
import { leaseMarginMs, reserveMs } from "../../lib/handling/worker.ts";
import { answerWithinMs } from "../../lib/receiving/http.ts";
import { sampledStages } from "../../lib/trace/log.ts";
import { isAllowedBy } from "../support/iam.ts";
import { CloudWatch, calculate, matches } from "./cloudwatch.ts";
import { longConnection, stage } from "./connected.ts";
import { deployment } from "./deployment.ts";
import { parse } from "./expression.ts";
import { acceptedOn, keyThrough, rules, statementsOf } from "./rules.ts";
import { loadSpecification } from "./specification.ts";
import { type Compiled, canaries, compile, lanes, leaves, type Resource, type Template } from "./stack.ts";
import { unnoticed, unproven } from "./waivers.ts";

const customerKeyArn = "arn:aws:kms:ap-southeast-1:111122223333:key/0f4c";
const topics = {
  pageTopicArn: "arn:aws:sns:ap-southeast-1:111122223333:pager",
  ticketTopicArn: "arn:aws:sns:ap-southeast-1:111122223333:tickets",
};
/** As in the logical ids: every function, and those that answer HTTP. */
const names = ["Webhook", "Callback", "Worker"];
const answering = ["Webhook", "Callback"];
const stateful = ["EventsQueue", "DeadLetterQueue", "QuarantineQueue", "LedgerTable"];

/** Every entry of the limits file, changed. */
const changes = {
  webhookTimeoutSeconds: 11,
  webhookMemoryMb: 640,
  callbackTimeoutSeconds: 12,
  callbackMemoryMb: 704,
  callbackDeadlineMs: 2_200,
  staleKeysSeconds: 7_200,
  workerTimeoutSeconds: 90,
  workerMemoryMb: 768,
  batchSize: 5,
  batchWindowSeconds: 3,
  maxAttempts: 12,
  maxReceiveCount: 480,
  maxConcurrency: 20,
  maxDeferrals: 500,
  deferForSeconds: 86_400,
  queueRetentionSeconds: 700_000,
  deadLetterRetentionSeconds: 1_000_000,
  routeRatePerSecond: 300,
  routeBurst: 600,
  callbackRatePerSecond: 100,
  callbackBurst: 150,
  longConnectionReplicas: 3,
  longConnectionCpu: 512,
  longConnectionMemoryMb: 1_024,
  logRetentionDays: 60,
};
const optionalChanges = {
  webhookReservedConcurrency: 61,
  callbackReservedConcurrency: 31,
  callbackProvisionedConcurrency: 3,
  workerReservedConcurrency: 25,
  minimumPollers: 2,
  maximumPollers: 2,
  queueKeyReuseSeconds: 600,
  ledgerWarmWritesPerSecond: 8_000,
  maxAgeSeconds: 7_200,
};

const hostedZoneId = "Z0123456789ABC";
const certificateArn = "arn:aws:acm:ap-southeast-1:111122223333:certificate/0f4c";
const ownDomain = { domain: "bot.example.com", certificateArn };

/** What is off unless asked for. */
const lenient = {
  legacyCardCallback: "true",
  larkDomain: "https://open.example.com",
  allowOtherDomain: "true",
  marketplaceApp: "true",
};

let specification: ReturnType<typeof loadSpecification>;
/**
 * As deployed by default; with a Function URL; in China without an address; another stage with all that is optional; with
 * other limits; with both fronts.
 */
let api: Compiled;
let url: Compiled;
let none: Compiled;
let dev: Compiled;
let changed: Compiled;
let both: Compiled;
/** As deployed by default, with lanes. */
let laned: Compiled;
/** Those that only the rules for every template look at. */
let others: readonly Compiled[];

const variations: readonly Parameters<typeof compile>[1][] = [
  { params: { front: "functionUrl", customerKeyArn, ...topics }, config: { preset: "large" } },
  {
    params: { front: "none", customerKeyArn, worker: "paused" },
    config: {
      lanes: { ai: { ...lanes.ai, types: [] }, bulk: { ...lanes.bulk, timeoutSeconds: 900, batchWindowSeconds: 20 } },
      eventCountMetrics: true,
    },
  },
  {
    params: { front: "both", domain: "bot.example.com/base", hostedZoneId, ...lenient, ...topics },
    config: { preset: "small" },
  },
  { params: ownDomain, config: { preset: "busy" } },
  { params: { front: "both", ...ownDomain, customerKeyArn }, config: { limits: { ...changes, ...optionalChanges } } },
  { params: { front: "httpApi", worker: "paused" }, env: { AWS_REGION: "us-gov-west-1" } },
];

before(async () => {
  [specification, api, url, none, dev, changed, both, laned, others] = await Promise.all([
    loadSpecification(),
    compile("prod"),
    compile("prod", { params: { front: "functionUrl" } }),
    compile("prod", { params: { front: "none" }, env: { AWS_REGION: "cn-north-1" } }),
    compile("dev", {
      env: { APP_ID: "" },
      params: { customerKeyArn, ...topics, ...lenient, ...ownDomain },
      config: { limits: { queueKeyReuseSeconds: 3_600 }, eventCountMetrics: true },
    }),
    compile("prod", {
      params: { appId: "cli_0123456789abcdef" },
      env: { APP_ID: "" },
      config: { limits: { ...changes, ...optionalChanges } },
    }),
    compile("prod", {
      params: { front: "both", domain: "bot.example.com/feishu/v1", hostedZoneId, worker: "paused" },
      config: { tags: { team: "people" }, logSampleRate: 0.25 },
    }),
    compile("prod", { config: { lanes } }),
    Promise.all(variations.map((options) => compile("prod", options))),
  ]);
});

const everywhere = (check: (template: Template, compiled: Compiled) => void) => {
  for (const compiled of [api, url, none, dev, changed, both, laned, ...others]) check(compiled.template, compiled);
};
const resource = (id: string, { template } = api): Resource => {
  const found = template.Resources[id];
  assert.ok(found, `there is no ${id}`);
  return found;
};
const properties = (id: string, compiled = api) => resource(id, compiled).Properties;
const ofType = ({ Resources }: Template, type: string) =>
  Object.entries(Resources).filter(([, { Type }]) => Type === type);
const arn = (id: string) => ({ "Fn::GetAtt": [id, "Arn"] });
const variablesOf = (id: string, compiled = api) => properties(id, compiled)["Environment"].Variables;

describe("the template", () => {
  test("holds only what AWS specifies: types, properties, required members, references", () => {
    everywhere((template) => assert.deepEqual(specification.problems(template), []));
  });

  test("would be refused with an unknown type, an unknown, missing or mistyped property, or a dangling reference", () => {
    const broken = structuredClone(api.template) as { Resources: Record<string, { Type: string; Properties: object }> };
    const set = (id: string, change: object) => Object.assign(broken.Resources[id]?.Properties ?? {}, change);
    set("EventsQueue", { VisibiltyTimeout: 1 });
    set("LedgerTable", { KeySchema: undefined, BillingMode: 5, TimeToLiveSpecification: { Enabled: true } });
    Reflect.deleteProperty(broken.Resources["LedgerTable"]?.Properties ?? {}, "KeySchema");
    set("WebhookLogGroup", { RetentionInDays: 31 });
    set("HttpApiStage", { ApiId: { Ref: "Nowhere" } });
    Object.assign(broken.Resources["WorkerRole"] ?? {}, { Type: "AWS::IAM::Roll" });
    const problems = specification.problems(broken as unknown as Template).join("\n");
    for (const expected of [
      /EventsQueue: there is no property VisibiltyTimeout/,
      /LedgerTable: KeySchema is required/,
      /LedgerTable\.BillingMode: is no string/,
      /RetentionInDays: 31 is none of/,
      /HttpApiStage.*there is no Nowhere/,
      /WorkerRole: there is no type AWS::IAM::Roll/,
    ]) {
      assert.match(problems, expected);
    }
  });

  test("is for Lambda's Node and Graviton, each function with its own bundle, role and log", () => {
    const functions = ofType(api.template, "AWS::Lambda::Function").map(([id]) => id);
    assert.deepEqual(
      functions,
      names.map((name) => `${name}LambdaFunction`),
    );
    for (const id of names) {
      const name = id.toLowerCase();
      const { Runtime, Architectures, Handler, Role, LoggingConfig } = properties(`${id}LambdaFunction`);
      assert.deepEqual(
        { Runtime, Architectures, Handler, Role },
        {
          Runtime: "nodejs24.x",
          Architectures: ["arm64"],
          Handler: `dist/${name}/index.handler`,
          Role: arn(`${id}Role`),
        },
      );
      assert.equal(LoggingConfig.LogFormat, "JSON");
      const { LogGroupName, RetentionInDays } = properties(`${id}LogGroup`);
      assert.deepEqual([LogGroupName, RetentionInDays], [`/aws/lambda/larkpost-prod-${name}`, limits.logRetentionDays]);
    }
  });

  test("gives each function the settings it reads, and no other", () => {
    const queues = { EVENTS_QUEUE_URL: { Ref: "EventsQueue" }, QUARANTINE_QUEUE_URL: { Ref: "QuarantineQueue" } };
    const secrets = { APP_ID: "cli_0123456789abcdef", SECRETS_PARAMETER: "/larkpost/prod/app" };
    const stale = { STALE_KEYS_SECONDS: String(limits.staleKeysSeconds) };
    const common = { ...queues, ...secrets, ...stale, LOG_LEVEL: "info", MARKETPLACE_APP: "false" };
    const openApi = { LARK_DOMAIN: "feishu", ALLOW_OTHER_DOMAIN: "false" };
    const deferring = {
      MAX_DEFERRALS: String(limits.maxDeferrals),
      DEFER_FOR_SECONDS: String(limits.deferForSeconds),
    };
    assert.deepEqual(variablesOf("WebhookLambdaFunction"), common);
    assert.deepEqual(variablesOf("CallbackLambdaFunction"), {
      ...common,
      ...openApi,
      ...deferring,
      LEDGER_TABLE: { Ref: "LedgerTable" },
      CALLBACK_DEADLINE_MS: String(limits.callbackDeadlineMs),
      LEGACY_CARD_CALLBACK: "false",
    });
    assert.deepEqual(variablesOf("WorkerLambdaFunction"), {
      ...common,
      ...openApi,
      ...deferring,
      DEAD_LETTER_QUEUE_URL: { Ref: "DeadLetterQueue" },
      LEDGER_TABLE: { Ref: "LedgerTable" },
      MAX_ATTEMPTS: String(limits.maxAttempts),
      MAX_RECEIVE_COUNT: String(limits.maxReceiveCount),
    });
    // Packaging does without the app's id; deploying does not.
    assert.equal(variablesOf("WorkerLambdaFunction", dev)["APP_ID"], "");
  });

  test("C-78: takes the old card callback only when told to, and no other word for it", async () => {
    assert.equal(variablesOf("CallbackLambdaFunction", url)["LEGACY_CARD_CALLBACK"], "false");
    assert.equal(variablesOf("CallbackLambdaFunction", dev)["LEGACY_CARD_CALLBACK"], "true");
    await assert.rejects(
      legacyCardCallback({ resolveVariable: async () => "yes" }),
      /Cannot deploy: legacyCardCallback is "yes", neither "true" nor "false"/,
    );
  });

  test("C-74: sends the app's secret to the platform unless told otherwise, and takes no other word for it", async () => {
    for (const id of ["CallbackLambdaFunction", "WorkerLambdaFunction"]) {
      const { LARK_DOMAIN, ALLOW_OTHER_DOMAIN, MARKETPLACE_APP } = variablesOf(id, dev);
      assert.deepEqual(
        [LARK_DOMAIN, ALLOW_OTHER_DOMAIN, MARKETPLACE_APP],
        ["https://open.example.com", "true", "true"],
      );
    }
    for (const flag of [allowOtherDomain, marketplaceApp]) {
      await assert.rejects(flag({ resolveVariable: async () => "yes" }), /is "yes", neither "true" nor "false"/);
    }
    for (const domain of ["larksuite", "http://open.feishu.cn", "open.feishu.cn", ""]) {
      await assert.rejects(larkDomain({ resolveVariable: async () => domain }), /Cannot deploy: larkDomain is /);
    }
    for (const id of ["a cli_a1", "cli_a1 b", "cli_"]) {
      await assert.rejects(appId({ resolveVariable: async () => id }), /Cannot deploy: APP_ID is /);
    }
    assert.equal(await appId({ resolveVariable: async () => "cli_a1" }), "cli_a1");
  });

  test("C-67: holds no secret, though the keys are in the environment that it is made in", () => {
    for (const compiled of [api, url]) {
      for (const [name, canary] of Object.entries(canaries)) {
        assert.ok(!compiled.text.includes(canary), name);
        assert.ok(!JSON.stringify(compiled.template).includes(name), name);
      }
    }
  });

  for (const [output, name, where] of [
    ["RequestAddress", "Webhook", "Event configuration"],
    ["CallbackAddress", "Callback", "Callback configuration"],
  ] as const) {
    test(`says the ${output} and where to paste it, for either front`, () => {
      const host = [{ Ref: "HttpApi" }, "execute-api", { Ref: "AWS::Region" }, { Ref: "AWS::URLSuffix" }];
      const path = name.toLowerCase();
      assert.deepEqual(api.template.Outputs[output], {
        Description: `For the developer console: Events & Callbacks > ${where} > Request URL`,
        Value: { "Fn::Join": ["", ["https://", { "Fn::Join": [".", host] }, `/${path}`]] },
      });
      const byUrl = { "Fn::Join": ["", [{ "Fn::GetAtt": [`${name}LambdaFunctionUrl`, "FunctionUrl"] }, path]] };
      assert.deepEqual(url.template.Outputs[output]?.Value, byUrl);
      const values = [output, `${output}ByFunctionUrl`].map((one) => both.template.Outputs[one]?.Value);
      assert.deepEqual(values, [{ "Fn::Join": ["", [`https://bot.example.com/feishu/v1/${path}`]] }, byUrl]);
      assert.deepEqual(dev.template.Outputs[output]?.Value, { "Fn::Join": ["", [`https://bot.example.com/${path}`]] });
    });
  }
});

describe("the deployer's policy", () => {
  test("is in both languages of the docs as the template wants it (npm run docs writes it), and not too long for IAM", () => {
    const templates = [api, both, changed].map(({ template }) => template);
    const policies = deployerPolicies([...templates, longConnection()]);
    assert.deepEqual(stalePolicyPages(policies), []);
    assert.deepEqual(policiesOnPage(), policies);
    for (const policy of policies) {
      const characters = JSON.stringify(policy).length;
      assert.ok(characters <= 6_144, `${characters} characters`);
    }
    assert.throws(
      () => deployerPolicies([{ Resources: { Topic: { Type: "AWS::SNS::Topic" } } }]),
      /does not know what AWS::SNS::Topic needs/,
    );
  });

  test("lets each resource be made under its name, and no queue and no table be deleted", () => {
    const [policy] = policiesOnPage() as [Policy];
    const makes: Readonly<Record<string, readonly [action: string, property: string, arn: string]>> = {
      "AWS::Lambda::Function": ["lambda:CreateFunction", "FunctionName", "lambda:eu-west-1:111122223333:function:"],
      "AWS::SQS::Queue": ["sqs:CreateQueue", "QueueName", "sqs:eu-west-1:111122223333:"],
      "AWS::DynamoDB::Table": ["dynamodb:CreateTable", "TableName", "dynamodb:eu-west-1:111122223333:table/"],
      "AWS::CloudWatch::Alarm": ["cloudwatch:PutMetricAlarm", "AlarmName", "cloudwatch:eu-west-1:111122223333:alarm:"],
      "AWS::Logs::LogGroup": ["logs:CreateLogGroup", "LogGroupName", "logs:eu-west-1:111122223333:log-group:"],
      "AWS::ECS::Cluster": ["ecs:CreateCluster", "ClusterName", "ecs:eu-west-1:111122223333:cluster/"],
    };
    const resources = [api.template, changed.template, longConnection()].flatMap(({ Resources }) =>
      Object.values(Resources),
    );
    let count = 0;
    for (const { Type, Properties = {} } of resources) {
      const [action, property = "", prefix] = makes[Type] ?? [];
      if (action === undefined) continue;
      const name = `arn:aws:${prefix}${Properties[property]}`;
      assert.ok(isAllowedBy(policy, action, name), `${action} ${name}`);
      count++;
    }
    assert.ok(count > 60, `${count} resources`);
    for (const action of ["sqs:DeleteQueue", "dynamodb:DeleteTable", "lambda:InvokeFunction", "iam:CreateUser"]) {
      assert.equal(isAllowedBy(policy, action), false, action);
    }
  });
});

describe("front=none, in China", () => {
  test("lacks what leads to webhook and callback, and the alarms of that, and nothing else", () => {
    const ids = ({ template }: Compiled) => Object.keys(template.Resources);
    const missing = ids(api).filter((id) => !ids(none).includes(id));
    const alarms = missing.filter((id) => id.endsWith("Alarm"));
    assert.deepEqual(
      missing.filter((id) => !alarms.includes(id) && !/^HttpApi|LambdaPermissionHttpApi$/.test(id)),
      [],
    );
    assert.ok(missing.includes("HttpApi"));
    const callers = ["Errors", "Slow", "Throttled"];
    const unavailable = ["Unavailable", "UnavailableOften", "Refused", "AllRefused"];
    assert.deepEqual(
      alarms.sort(),
      [...unavailable, ...answering.flatMap((name) => callers.map((what) => name + what))]
        .map((name) => `${name}Alarm`)
        .sort(),
    );
    assert.deepEqual(
      ids(none).filter((id) => !ids(api).includes(id)),
      [],
    );
    const outputs = Object.keys(api.template.Outputs).filter((name) => !Object.hasOwn(none.template.Outputs, name));
    assert.deepEqual(outputs.filter((name) => name !== "HttpApiId" && name !== "HttpApiUrl").sort(), [
      "CallbackAddress",
      "RequestAddress",
    ]);
  });

  test("runs on x86, and names no other partition", () => {
    for (const name of names) assert.deepEqual(properties(`${name}LambdaFunction`, none)["Architectures"], ["x86_64"]);
    assert.doesNotMatch(JSON.stringify(none.template), /arn:aws:/);
  });
});

describe("what the long connection's stack finds in the stage's", () => {
  test("its role, by the name that it imports, the worker's settings, and key and topics if there are any", () => {
    const { Outputs } = api.template;
    const { TaskRoleArn } = longConnection().Resources["LongConnectionTask"]?.Properties ?? {};
    assert.deepEqual(Outputs["CallbackRoleArn"], {
      Value: arn("CallbackRole"),
      Export: { Name: TaskRoleArn["Fn::ImportValue"] },
    });
    assert.deepEqual(Object.keys(stage.variables).sort(), Object.keys(variablesOf("WorkerLambdaFunction")).sort());
    const given = ["CustomerKeyArn", "PageTopicArn", "TicketTopicArn"];
    for (const name of given) assert.equal(Outputs[name], undefined);
    assert.deepEqual(
      given.map((name) => dev.template.Outputs[name]?.Value),
      [customerKeyArn, topics.pageTopicArn, topics.ticketTopicArn],
    );
  });

  test("and nothing of its own", () => {
    everywhere((template) => assert.ok(!JSON.stringify(template).includes("AWS::ECS")));
  });
});

test("is compiled by osls alone: the Serverless Framework, whose versions are alike, is told what to run", async (t) => {
  const resolveVariable = async (name: string) => (name === "param:front" ? "httpApi" : name);
  const script = process.argv[1] ?? "";
  t.after(() => process.argv.splice(1, 1, script));
  process.argv[1] = createRequire(import.meta.url).resolve("osls/bin/serverless.js");
  assert.ok("Resources" in (await queues({ resolveVariable })));
  process.argv[1] = import.meta.filename;
  const message = /Cannot deploy: this tool is not osls, .*\. Run "npm run deploy"/;
  await assert.rejects(queues({ resolveVariable }), message);
});

test("the stack says which app it is for, for who deploys it to record", () => {
  assert.deepEqual(api.template.Outputs["AppId"], { Value: "cli_0123456789abcdef" });
  assert.deepEqual(dev.template.Outputs["AppId"], { Value: "none" });
});

describe("the front", () => {
  test("E1: the HTTP API lets its three paths in by every method, throttled, to payload format 2.0", () => {
    const routes = ofType(api.template, "AWS::ApiGatewayV2::Route").map(([, { Properties }]) => Properties["RouteKey"]);
    assert.deepEqual(routes.sort(), ["ANY /", "ANY /callback", "ANY /webhook"]);
    const throttled = (ThrottlingRateLimit: number, ThrottlingBurstLimit: number) => ({
      DetailedMetricsEnabled: false,
      ThrottlingRateLimit,
      ThrottlingBurstLimit,
    });
    const { DefaultRouteSettings, RouteSettings } = properties("HttpApiStage");
    assert.deepEqual(DefaultRouteSettings, throttled(2_000, 5_000));
    assert.deepEqual(RouteSettings, { "ANY /callback": throttled(limits.callbackRatePerSecond, limits.callbackBurst) });
    // Settings of a route that is not there yet are refused.
    assert.ok((resource("HttpApiStage")["DependsOn"] as string[]).includes("HttpApiRouteAnyCallback"));
    assert.equal(properties("HttpApiRouteAnyCallback")["RouteKey"], "ANY /callback");
    for (const name of answering) {
      const { PayloadFormatVersion, IntegrationUri } = properties(`HttpApiIntegration${name}`);
      assert.deepEqual([PayloadFormatVersion, IntegrationUri], ["2.0", arn(`${name}LambdaFunction`)]);
    }
    const target = properties("HttpApiRouteAnyCallback")["Target"];
    assert.deepEqual(target, { "Fn::Join": ["/", ["integrations", { Ref: "HttpApiIntegrationCallback" }]] });
  });

  test("C-62: the access log is one line of JSON without headers, query or body", () => {
    const format: string = properties("HttpApiStage")["AccessLogSettings"].Format;
    const logged = Object.values(JSON.parse(format) as Record<string, string>);
    assert.ok(!format.includes("\n"));
    assert.deepEqual(
      logged.map((text) => text.replace("$context.", "")),
      [
        ...["requestId", "requestTime", "identity.sourceIp", "routeKey", "status"],
        ...["responseLatency", "integrationStatus", "integrationLatency"],
      ],
    );
  });

  test("E3: each Function URL comes with exactly two permissions, each conditioned, and nobody else is let in", () => {
    const permissions = ofType(url.template, "AWS::Lambda::Permission").map(([, { Properties }]) => Properties);
    const expected = answering.flatMap((name) => {
      const FunctionName = arn(`${name}LambdaFunction`);
      return [
        { FunctionName, Action: "lambda:InvokeFunctionUrl", Principal: "*", FunctionUrlAuthType: "NONE" },
        { FunctionName, Action: "lambda:InvokeFunction", Principal: "*", InvokedViaFunctionUrl: true },
      ];
    });
    assert.deepEqual(permissions, expected);
    for (const name of answering) {
      assert.deepEqual(properties(`${name}LambdaFunctionUrl`, url), {
        AuthType: "NONE",
        TargetFunctionArn: arn(`${name}LambdaFunction`),
      });
    }
    assert.deepEqual(
      Object.values(url.template.Resources).filter(({ Type }) => Type.includes("ApiGateway")),
      [],
    );
  });

  test("both fronts at once are all that each has alone, so that the console's address can change without a gap", () => {
    const ids = (compiled: Compiled) => Object.keys(compiled.template.Resources);
    assert.deepEqual(
      [...new Set([...ids(api), ...ids(url)])].filter((id) => !ids(both).includes(id)),
      [],
    );
    const before = (id: string) => (api.template.Resources[id] === undefined ? url : api);
    for (const id of ids(both).filter((one) => /^(HttpApi(Route|Integration)|(Webhook|Callback)Lambda)/.test(one))) {
      const [alone, now] = [before(id), both].map((compiled) => leaves(properties(id, compiled)));
      for (const [path, value] of alone ?? []) {
        if (!/(S3Key|APP_ID)$/.test(path)) assert.equal(now?.get(path), value, `${id} ${path}`);
      }
    }
  });

  test("a domain is in front of the HTTP API, with its base path, its certificate and its record", () => {
    const owned = (compiled: Compiled) =>
      Object.fromEntries(
        Object.entries(compiled.template.Resources)
          .filter(([id]) => /^HttpApi(Certificate|Domain)/.test(id))
          .map(
            ([
              id,
              {
                Type,
                Properties: { Tags: _, ...rest },
              },
            ]) => [id, { Type, ...rest }],
          ),
      );
    const target = (name: string) => ({ "Fn::GetAtt": ["HttpApiDomain", name] });
    const domain = (CertificateArn: unknown) => ({
      Type: "AWS::ApiGatewayV2::DomainName",
      DomainName: "bot.example.com",
      DomainNameConfigurations: [{ CertificateArn, EndpointType: "REGIONAL", SecurityPolicy: "TLS_1_2" }],
    });
    const mapping = {
      Type: "AWS::ApiGatewayV2::ApiMapping",
      ApiId: { Ref: "HttpApi" },
      Stage: { Ref: "HttpApiStage" },
      DomainName: { Ref: "HttpApiDomain" },
    };
    assert.deepEqual(owned(both), {
      HttpApiCertificate: {
        Type: "AWS::CertificateManager::Certificate",
        DomainName: "bot.example.com",
        ValidationMethod: "DNS",
        DomainValidationOptions: [{ DomainName: "bot.example.com", HostedZoneId: hostedZoneId }],
      },
      HttpApiDomain: domain({ Ref: "HttpApiCertificate" }),
      HttpApiDomainMapping: { ...mapping, ApiMappingKey: "feishu/v1" },
      HttpApiDomainRecord: {
        ...{ Type: "A", HostedZoneId: hostedZoneId, Name: "bot.example.com" },
        AliasTarget: { DNSName: target("RegionalDomainName"), HostedZoneId: target("RegionalHostedZoneId") },
      },
    });
    assert.equal(resource("HttpApiDomainRecord", both).Type, "AWS::Route53::RecordSet");
    assert.deepEqual(owned(dev), { HttpApiDomain: domain(certificateArn), HttpApiDomainMapping: mapping });
    assert.deepEqual([owned(api), owned(url)], [{}, {}]);
    // DNS that is elsewhere is told where to point.
    assert.deepEqual(
      [both, dev, api].map(({ template }) => template.Outputs["DomainTarget"]?.Value),
      [undefined, target("RegionalDomainName"), undefined],
    );
  });

  const zone = { domain: "bot.example.com", hostedZoneId };
  for (const [given, message] of [
    [{ ...zone, domain: "https://bot.example.com" }, /domain is "https:\/\/bot\.example\.com", no host/],
    [{ ...zone, domain: "Bot.example.com" }, /no host in small letters/],
    [{ ...zone, domain: "bot.example.com/" }, /no host/],
    [{ ...zone, domain: "bot.example.com/a b" }, /no host/],
    [{ ...zone, domain: "localhost" }, /no host/],
    [{ ...zone, front: "functionUrl" }, /only the HTTP API has a domain/],
    [{ domain: "bot.example.com" }, /has no certificate/],
    [
      { ...ownDomain, certificateArn: certificateArn.replace("ap-southeast-1", "us-east-1") },
      /no certificate of ap-southeast-1/,
    ],
    [{ ...ownDomain, certificateArn: "0f4c" }, /no certificate of ap-southeast-1/],
    [{ ...zone, hostedZoneId: "example.com" }, /hostedZoneId is "example\.com"/],
  ] as const) {
    test(`no domain is deployed with ${JSON.stringify(given)}`, () => {
      assert.throws(() => domainOf({ ...deployment, ...given }), message);
    });
  }

  test("E3: behind the HTTP API only this API may call the functions that answer", () => {
    const permissions = ofType(api.template, "AWS::Lambda::Permission").map(([, { Properties }]) => Properties);
    const account = [":execute-api:", { Ref: "AWS::Region" }, ":", { Ref: "AWS::AccountId" }, ":", { Ref: "HttpApi" }];
    const expected = answering.map((name) => ({
      FunctionName: arn(`${name}LambdaFunction`),
      Action: "lambda:InvokeFunction",
      Principal: "apigateway.amazonaws.com",
      SourceArn: { "Fn::Join": ["", ["arn:", { Ref: "AWS::Partition" }, ...account, "/*"]] },
    }));
    assert.deepEqual(permissions, expected);
  });

  test("E13: the address is public and reached over IPv4", () => {
    for (const [, { Properties }] of ofType(api.template, "AWS::ApiGatewayV2::Api")) {
      assert.equal(Properties["ProtocolType"], "HTTP");
      assert.ok([undefined, "ipv4", "dualstack"].includes(Properties["IpAddressType"]));
      assert.ok(!Properties["DisableExecuteApiEndpoint"]);
    }
    everywhere(({ Resources }) => {
      for (const { Properties } of Object.values(Resources)) assert.equal(Properties["VpcConfig"], undefined);
    });
  });
});

describe("the relations between numbers", () => {
  const relations: readonly [name: string, holds: (given: typeof limits) => boolean][] = [
    [
      "M3: visibility = 6 × timeout + window",
      (given) => visibilityTimeoutSeconds(given) === 6 * given.workerTimeoutSeconds + given.batchWindowSeconds,
    ],
    ["M3: visibility ≤ 12 h, which is what SQS takes", (given) => visibilityTimeoutSeconds(given) <= 43_200],
    [
      "lease < visibility",
      (given) => given.workerTimeoutSeconds + leaseMarginMs / 1000 < visibilityTimeoutSeconds(given),
    ],
    [
      "a handler's deadline < the worker's timeout",
      (given) => reserveMs > 0 && given.workerTimeoutSeconds * 1000 > 2 * reserveMs,
    ],
    [
      "S3, D1: dead-letter retention > source retention",
      (given) => given.deadLetterRetentionSeconds > given.queueRetentionSeconds,
    ],
    [
      "I6: the ledger remembers ≥ 7 h 6 min + source + dead letters + source + 2 d",
      (given) =>
        rememberSeconds >=
        7 * 3600 + 360 + 2 * given.queueRetentionSeconds + given.deadLetterRetentionSeconds + 2 * 86_400,
    ],
    ["V4: freshness window < what the ledger remembers", () => bounds.eventAgeMs / 1000 < rememberSeconds],
    ["S4: maximum concurrency × batch ≤ 12,000 in flight", (given) => given.maxConcurrency * given.batchSize <= 12_000],
    [
      "M8: maximum concurrency is one that SQS takes",
      (given) => given.maxConcurrency >= 2 && given.maxConcurrency <= 1_000,
    ],
    [
      "D5: SQS gives a record up long after the worker would",
      (given) => given.maxReceiveCount >= 10 * given.maxAttempts,
    ],
    [
      "D5: SQS gives a record up before it deletes it, however long each wait",
      (given) => given.maxReceiveCount * Math.max(900, visibilityTimeoutSeconds(given)) <= given.queueRetentionSeconds,
    ],
    ["W8: the longest back-off is the one that the limits count with", () => backoffSeconds(100, () => 0.5) === 900],
    ["a batch over 10 has a window", (given) => given.batchSize <= 10 || given.batchWindowSeconds > 0],
    ["R4: the webhook's timeout leaves room to load again", (given) => given.webhookTimeoutSeconds >= 10],
    ["the webhook's timeout < the API's 30 s", (given) => given.webhookTimeoutSeconds < 30],
    ["R4: the callback's timeout leaves room to load again", (given) => given.callbackTimeoutSeconds >= 10],
    ["the callback's timeout < the API's 30 s", (given) => given.callbackTimeoutSeconds < 30],
    [
      "C1: a callback's deadline + 200 ms for its answer leave the network some of Feishu's 3 s",
      (given) => given.callbackDeadlineMs >= 500 && given.callbackDeadlineMs + 200 < 2_800,
    ],
    [
      "a callback's deadline and answer fit into the function's timeout",
      (given) => given.callbackDeadlineMs + 200 < given.callbackTimeoutSeconds * 1_000,
    ],
    [
      "K1, K2: old keys are used for at least as long as good ones, and for a day at most",
      (given) => given.staleKeysSeconds * 1000 >= cacheMs && given.staleKeysSeconds <= 86_400,
    ],
    ["K1: old keys outlast an outage of an hour", () => limits.staleKeysSeconds >= 3_600],
    ["the answer is out before Feishu's 3 s", () => answerWithinMs <= 1_800],
    [
      "log retention > dead-letter retention",
      (given) => given.logRetentionDays * 86_400 > given.deadLetterRetentionSeconds,
    ],
  ];
  /** Each with the nearest numbers that are deployed. */
  const broken: readonly (readonly [change: Partial<typeof limits>, allowed: Partial<typeof limits>])[] = [
    [{ workerTimeoutSeconds: 9 }, { workerTimeoutSeconds: 10 }],
    [
      { workerTimeoutSeconds: 901, maxReceiveCount: 100 },
      { workerTimeoutSeconds: 900, maxReceiveCount: 100 },
    ],
    [{ webhookMemoryMb: 127 }, { webhookMemoryMb: 128 }],
    [{ callbackMemoryMb: 10_241 }, { callbackMemoryMb: 10_240 }],
    [{ workerMemoryMb: 64 }, { workerMemoryMb: 128 }],
    [{ batchSize: 0 }, { batchSize: 1 }],
    [{ batchWindowSeconds: 301 }, { batchWindowSeconds: 300 }],
    [{ webhookTimeoutSeconds: 9 }, { webhookTimeoutSeconds: 10 }],
    [{ webhookTimeoutSeconds: 30 }, { webhookTimeoutSeconds: 29 }],
    [{ callbackTimeoutSeconds: 9 }, { callbackTimeoutSeconds: 10 }],
    [{ callbackTimeoutSeconds: 30 }, { callbackTimeoutSeconds: 29 }],
    [{ callbackDeadlineMs: 499 }, { callbackDeadlineMs: 500 }],
    [{ callbackDeadlineMs: 2_501 }, { callbackDeadlineMs: 2_500 }],
    [{ staleKeysSeconds: 299 }, { staleKeysSeconds: 300 }],
    [{ staleKeysSeconds: 86_401 }, { staleKeysSeconds: 86_400 }],
    [{ deadLetterRetentionSeconds: 7 * 86_400 }, { deadLetterRetentionSeconds: 7 * 86_400 + 1 }],
    [
      { deadLetterRetentionSeconds: 1_209_601, queueRetentionSeconds: 6 * 86_400, maxReceiveCount: 100 },
      { deadLetterRetentionSeconds: 1_209_600, queueRetentionSeconds: 6 * 86_400, maxReceiveCount: 100 },
    ],
    // 35 days, less what Feishu pushes for and two days.
    [{ queueRetentionSeconds: 807_841 }, { queueRetentionSeconds: 807_840 }],
    [{ maxDeferrals: 0 }, { maxDeferrals: 1 }],
    // The same, less the queue's retention and the dead letters'.
    [{ deferForSeconds: 1_010_881 }, { deferForSeconds: 1_010_880 }],
    [{ logRetentionDays: 14 }, { logRetentionDays: 30 }],
    [{ logRetentionDays: 31 }, { logRetentionDays: 60 }],
    [
      {
        logRetentionDays: 6,
        deadLetterRetentionSeconds: 345_600,
        queueRetentionSeconds: 259_200,
        maxReceiveCount: 100,
      },
      {
        logRetentionDays: 7,
        deadLetterRetentionSeconds: 345_600,
        queueRetentionSeconds: 259_200,
        maxReceiveCount: 100,
      },
    ],
    [{ maxAttempts: 0 }, { maxAttempts: 1 }],
    [{ maxAttempts: 51 }, { maxAttempts: 50 }],
    [{ maxReceiveCount: 99 }, { maxReceiveCount: 100 }],
    [
      { maxReceiveCount: 1_001, queueRetentionSeconds: 907_200, deadLetterRetentionSeconds: 950_400 },
      { maxReceiveCount: 1_000, queueRetentionSeconds: 907_200, deadLetterRetentionSeconds: 950_400 },
    ],
    [{ maxReceiveCount: 673 }, { maxReceiveCount: 672 }],
    [{ workerTimeoutSeconds: 202 }, { workerTimeoutSeconds: 201 }],
    [{ maxConcurrency: 1 }, { maxConcurrency: 2 }],
    [{ maxConcurrency: 1_001 }, { maxConcurrency: 1_000 }],
    [
      { maxConcurrency: 1_000, batchSize: 13, batchWindowSeconds: 1 },
      { maxConcurrency: 1_000, batchSize: 12, batchWindowSeconds: 1 },
    ],
    [{ batchSize: 11 }, { batchSize: 10 }],
    [{ routeRatePerSecond: 0 }, { routeRatePerSecond: 1 }],
    [{ routeBurst: 0 }, { routeBurst: 1 }],
    [{ callbackRatePerSecond: 0 }, { callbackRatePerSecond: 1 }],
    [{ callbackBurst: 0 }, { callbackBurst: 1 }],
    [{ longConnectionReplicas: 0 }, { longConnectionReplicas: 1 }],
    [{ longConnectionReplicas: 6 }, { longConnectionReplicas: 5 }],
    [{ longConnectionMemoryMb: 4_096 }, { longConnectionMemoryMb: 2_048 }],
    [{ longConnectionMemoryMb: 768 }, { longConnectionMemoryMb: 1_024 }],
    ...[
      [512, 1_024, 4_096],
      [1_024, 2_048, 8_192],
      [2_048, 4_096, 16_384],
    ].flatMap(([longConnectionCpu = 0, least = 0, most = 0]) => {
      const pair = (longConnectionMemoryMb: number) => ({ longConnectionCpu, longConnectionMemoryMb });
      return [
        [pair(least - 1_024), pair(least)],
        [pair(least + 512), pair(least + 1_024)],
        [pair(most + 1_024), pair(most)],
      ] as const;
    }),
    [
      { longConnectionCpu: 300, longConnectionMemoryMb: 1_024 },
      { longConnectionCpu: 256, longConnectionMemoryMb: 512 },
    ],
  ];
  for (const [change, allowed] of broken) {
    test(`D.2: nothing is deployed with ${JSON.stringify(change)}`, () => {
      assert.equal(contradictions({ ...limits, ...change }).length, 1);
      assert.deepEqual(contradictions({ ...limits, ...allowed }), []);
    });
  }

  const bothPollers = (minimumPollers: number | null, maximumPollers: number | null) => ({
    minimumPollers,
    maximumPollers,
  });
  for (const [change, allowed, changed = {}] of [
    [bothPollers(2, null), bothPollers(null, null)],
    [bothPollers(1, 2), bothPollers(2, 2)],
    [bothPollers(201, 300), bothPollers(200, 300)],
    [bothPollers(3, 2), bothPollers(3, 3)],
    [bothPollers(2, 2_001), bothPollers(2, 2_000), { batchSize: 5 }],
    [bothPollers(2, 1_201), bothPollers(2, 1_200)],
    [{ maxAgeSeconds: 0 }, { maxAgeSeconds: 1 }],
    [{ maxAgeSeconds: 604_800 }, { maxAgeSeconds: 604_799 }],
    [{ queueKeyReuseSeconds: 59 }, { queueKeyReuseSeconds: 60 }],
    [{ queueKeyReuseSeconds: 86_401 }, { queueKeyReuseSeconds: 86_400 }],
    [
      { ...bothPollers(2, 3), workerReservedConcurrency: 29 },
      { ...bothPollers(2, 3), workerReservedConcurrency: 30 },
    ],
  ] as const) {
    test(`D.2: nothing is deployed with ${JSON.stringify(change)}`, () => {
      assert.equal(contradictions({ ...limits, ...changed }, change).length, 1);
      assert.deepEqual(contradictions({ ...limits, ...changed }, allowed), []);
    });
  }

  test("D.2: no preset contradicts itself, and its numbers are a project's", () => {
    for (const preset of ["small", "busy", "large"] as const) {
      const project = projectOf({ preset });
      assert.deepEqual(
        { ...project.limits, ...project.optional, ...presets[preset] },
        { ...project.limits, ...project.optional },
      );
    }
  });

  for (const [change, allowed] of [
    [{ faultsPerFiveMinutes: 0 }, { faultsPerFiveMinutes: 1 }],
    [{ failedRunsPercent: 101 }, { failedRunsPercent: 100 }],
    [{ failedCallbacksPerFiveMinutes: 0 }, { failedCallbacksPerFiveMinutes: 1 }],
    [{ failedRunsPerFiveMinutes: 6 }, { failedRunsPerFiveMinutes: 7 }],
  ] as const) {
    test(`D.2: nothing is deployed with ${JSON.stringify(change)}`, () => {
      assert.throws(
        () => projectOf({ limits: change }),
        new RegExp(`larkpost.config.js: ${Object.keys(change)[0]} is`),
      );
      assert.deepEqual(contradictions(limits, optional, projectOf({ limits: allowed }).alarmThresholds), []);
    });
  }

  test("D.2: one event that fails does not reach the count of a bad release, whatever its waits", () => {
    const waits = Array.from({ length: limits.maxAttempts - 1 }, (_, index) => backoffSeconds(index + 1, () => 0));
    let second = 0;
    const runs = [0, ...waits.map((wait) => (second += wait))].filter((at) => at < 300).length;
    assert.deepEqual(
      [runs, contradictions(limits, optional, { ...alarmThresholds, failedRunsPerFiveMinutes: runs + 1 })],
      [6, []],
    );
  });

  test("D.2: a deployment is refused, and told which number is wrong", async () => {
    const message = /Cannot use larkpost\.config\.js: workerTimeoutSeconds is below 10/;
    await assert.rejects(compile("prod", { config: { limits: { workerTimeoutSeconds: 5 } } }), message);
  });

  for (const [name, holds] of relations) {
    test(`D.2 ${name}`, () => {
      assert.ok(holds(limits));
      assert.ok(holds({ ...limits, ...changes }));
    });
  }

  test("D.2 Q1: the attempts to queue an event fit into 1.6 s, that into the answer's 1.8 s, that into 3 s", () => {
    // Two, and the pause between them.
    assert.ok(2 * defaultTryMs.sqs + 100 <= 1_600);
    assert.ok(1_600 < answerWithinMs && answerWithinMs < 3_000);
  });

  test("D.2 M2: reserved concurrency of the worker ≥ Σ maximum concurrency", () => {
    const { maxConcurrency } = limits;
    const reserving = (workerReservedConcurrency: number | null) =>
      contradictions(limits, { workerReservedConcurrency });
    assert.deepEqual([reserving(null), reserving(maxConcurrency)], [[], []]);
    assert.match(reserving(maxConcurrency - 1).join(), /^workerReservedConcurrency is below maxConcurrency \(10\)$/);
    const tooFew = { limits: { workerReservedConcurrency: limits.maxConcurrency - 1 } };
    const message = /Cannot use larkpost\.config\.js: workerReservedConcurrency is below maxConcurrency/;
    assert.throws(() => projectOf(tooFew), message);
    everywhere(({ Resources }) => {
      const mappings = Object.values(Resources).filter(({ Type }) => Type === "AWS::Lambda::EventSourceMapping");
      for (const { Properties } of mappings) {
        const worker = Resources[Properties["FunctionName"]["Fn::GetAtt"][0]];
        const reserved = worker?.Properties["ReservedConcurrentExecutions"] ?? Infinity;
        const { ScalingConfig, ProvisionedPollerConfig } = Properties;
        assert.ok(reserved >= (ScalingConfig?.MaximumConcurrency ?? 10 * ProvisionedPollerConfig.MaximumPollers));
      }
    });
  });

  test("no more callbacks are provisioned than are reserved", () => {
    const of = (callbackReservedConcurrency: number | null, callbackProvisionedConcurrency: number | null) =>
      contradictions(limits, { callbackReservedConcurrency, callbackProvisionedConcurrency });
    assert.deepEqual([of(null, null), of(null, 2), of(2, null), of(2, 2)], [[], [], [], []]);
    assert.match(of(1, 2).join(), /^callbackProvisionedConcurrency is above callbackReservedConcurrency \(1\)$/);
  });

  test("a changed number changes everything that follows from it, and nothing else", () => {
    const one = leaves(api.template.Resources);
    const other = leaves(changed.template.Resources);
    const differences = new Map(
      [...new Set([...one.keys(), ...other.keys()])]
        .filter((path) => one.get(path) !== other.get(path) && !/\.(S3Key|CodeSha256)$|^Dashboard\./.test(path))
        .map((path) => [withoutHash(path.replace(".Properties.", " ")), withoutHash(other.get(path))]),
    );
    // What is provisioned is of a published version, and has an alias in front, which all calls go through.
    const alias = (path: string) => ({
      [`${path}.Fn::GetAtt.0`]: undefined,
      [`${path}.Fn::GetAtt.1`]: undefined,
      [`${path}.Fn::Join.0`]: ":",
      [`${path}.Fn::Join.1.0.Fn::GetAtt.0`]: "CallbackLambdaFunction",
      [`${path}.Fn::Join.1.0.Fn::GetAtt.1`]: "Arn",
      [`${path}.Fn::Join.1.1`]: "provisioned",
    });
    assert.deepEqual(Object.fromEntries([...differences].sort()), {
      "CallbackLambdaFunction Environment.Variables.CALLBACK_DEADLINE_MS": "2200",
      "CallbackLambdaFunction Environment.Variables.DEFER_FOR_SECONDS": "86400",
      "CallbackLambdaFunction Environment.Variables.MAX_DEFERRALS": "500",
      "CallbackLambdaFunction Environment.Variables.STALE_KEYS_SECONDS": "7200",
      "CallbackLambdaFunction MemorySize": 704,
      "CallbackLambdaFunction ReservedConcurrentExecutions": 31,
      "CallbackLambdaFunction Timeout": 12,
      "CallbackLambdaPermissionHttpApi.DependsOn": "CallbackProvConcLambdaAlias",
      ...alias("CallbackLambdaPermissionHttpApi FunctionName"),
      "CallbackLambdaVersion FunctionName.Ref": "CallbackLambdaFunction",
      "CallbackLambdaVersion.Type": "AWS::Lambda::Version",
      "CallbackLogGroup RetentionInDays": 60,
      "CallbackProvConcLambdaAlias FunctionName.Ref": "CallbackLambdaFunction",
      "CallbackProvConcLambdaAlias FunctionVersion.Fn::GetAtt.0": "CallbackLambdaVersion",
      "CallbackProvConcLambdaAlias FunctionVersion.Fn::GetAtt.1": "Version",
      "CallbackProvConcLambdaAlias Name": "provisioned",
      "CallbackProvConcLambdaAlias ProvisionedConcurrencyConfig.ProvisionedConcurrentExecutions": 3,
      "CallbackProvConcLambdaAlias.DependsOn": "CallbackLambdaFunction",
      "CallbackProvConcLambdaAlias.Type": "AWS::Lambda::Alias",
      "CallbackSlowAlarm Threshold": 1_760,
      "DeadLetterQueue MessageRetentionPeriod": 1_000_000,
      "DeadLettersAlarm AlarmDescription":
        'Page: events have failed for good. "npm run dead -- list --stage prod --region ap-southeast-1" says which and why. Repair the handler, and let them run again with "npm run dead -- redrive --all --stage prod --region ap-southeast-1" within 11 days. First type "npm run doctor -- --stage prod --region ap-southeast-1". Runbook: docs/operate.md, heading "dead-letters".',
      "EventsQueue MessageRetentionPeriod": 700_000,
      "EventsQueue RedrivePolicy.maxReceiveCount": 480,
      "EventsQueue VisibilityTimeout": 543,
      ...alias("HttpApiIntegrationCallback IntegrationUri"),
      "HttpApiIntegrationCallback.DependsOn": "CallbackProvConcLambdaAlias",
      "HttpApiLogGroup RetentionInDays": 60,
      "HttpApiStage DefaultRouteSettings.ThrottlingBurstLimit": 600,
      "HttpApiStage DefaultRouteSettings.ThrottlingRateLimit": 300,
      "HttpApiStage RouteSettings.ANY /callback.ThrottlingBurstLimit": 150,
      "HttpApiStage RouteSettings.ANY /callback.ThrottlingRateLimit": 100,
      "LedgerTable WarmThroughput.ReadUnitsPerSecond": 12_000,
      "LedgerTable WarmThroughput.WriteUnitsPerSecond": 8_000,
      "QuarantineQueue MessageRetentionPeriod": 1_000_000,
      "QuarantinedAlarm AlarmDescription":
        'Page: Feishu sent something we could not read. "npm run dead -- list --stage prod --region ap-southeast-1 --queue quarantine" says what. It is kept for 11 days. First type "npm run doctor -- --stage prod --region ap-southeast-1". Runbook: docs/operate.md, heading "quarantined".',
      "RunsFailedAlarm AlarmDescription":
        'Page: many runs of events fail. Check the last deployment. Events are dead after 12 runs: "npm run dead -- list --stage prod --region ap-southeast-1". The log\'s stage `failed` says why. First type "npm run doctor -- --stage prod --region ap-southeast-1". Runbook: docs/operate.md, heading "runs-failed".',
      "WebhookLambdaFunction Environment.Variables.STALE_KEYS_SECONDS": "7200",
      "WebhookLambdaFunction MemorySize": 640,
      "WebhookLambdaFunction ReservedConcurrentExecutions": 61,
      "WebhookLambdaFunction Timeout": 11,
      "WebhookLogGroup RetentionInDays": 60,
      "WorkerEventSourceMappingSQSEventsQueue BatchSize": 5,
      "WorkerEventSourceMappingSQSEventsQueue MaximumBatchingWindowInSeconds": 3,
      "WorkerEventSourceMappingSQSEventsQueue ProvisionedPollerConfig.MaximumPollers": 2,
      "WorkerEventSourceMappingSQSEventsQueue ProvisionedPollerConfig.MinimumPollers": 2,
      "WorkerEventSourceMappingSQSEventsQueue ScalingConfig.MaximumConcurrency": undefined,
      "WorkerLambdaFunction Environment.Variables.DEFER_FOR_SECONDS": "86400",
      "WorkerLambdaFunction Environment.Variables.MAX_AGE_SECONDS": "7200",
      "WorkerLambdaFunction Environment.Variables.MAX_ATTEMPTS": "12",
      "WorkerLambdaFunction Environment.Variables.MAX_DEFERRALS": "500",
      "WorkerLambdaFunction Environment.Variables.MAX_RECEIVE_COUNT": "480",
      "WorkerLambdaFunction Environment.Variables.STALE_KEYS_SECONDS": "7200",
      "WorkerLambdaFunction MemorySize": 768,
      "WorkerLambdaFunction ReservedConcurrentExecutions": 25,
      "WorkerLambdaFunction Timeout": 90,
      "WorkerLogGroup RetentionInDays": 60,
      "WorkerSlowAlarm Threshold": 72_000,
    });
  });

  test("the local runtime takes every entry of `limits`: whole numbers all", () => {
    for (const [name, value] of Object.entries(limits)) assert.ok(Number.isInteger(value) && value >= 0, name);
    assert.deepEqual(Object.keys(changes), Object.keys(limits));
    assert.deepEqual(Object.keys(optionalChanges), Object.keys(optional));
  });
});

describe("queues", () => {
  test("M3, M4, M6: every mapping reports single failures and is in proportion to its queue and function", () => {
    everywhere(({ Resources }) => {
      const mappings = Object.values(Resources).filter(({ Type }) => Type === "AWS::Lambda::EventSourceMapping");
      assert.ok(mappings.length > 0);
      for (const { Properties } of mappings) {
        const queue = Resources[Properties["EventSourceArn"]["Fn::GetAtt"][0]]?.Properties ?? {};
        const timeout = Resources[Properties["FunctionName"]["Fn::GetAtt"][0]]?.Properties["Timeout"];
        assert.deepEqual(Properties["FunctionResponseTypes"], ["ReportBatchItemFailures"]);
        const window = Properties["MaximumBatchingWindowInSeconds"];
        // A FIFO queue takes no window, and a run that crashed must not hold its chat for six timeouts.
        assert.equal(window === undefined, queue["FifoQueue"] === true);
        assert.equal(queue["VisibilityTimeout"], window === undefined ? timeout + 30 : 6 * timeout + window);
      }
    });
  });

  test("the worker is paused by a parameter, and by no other word", async () => {
    const enabled = [api, url, dev, changed, both].map(
      (compiled) => properties("WorkerEventSourceMappingSQSEventsQueue", compiled)["Enabled"],
    );
    assert.deepEqual(enabled, [true, true, true, true, false]);
    await assert.rejects(
      workerState({ resolveVariable: async () => "stopped" }),
      /Cannot deploy: worker is "stopped", neither "running" nor "paused"\. Check --param worker/,
    );
  });

  test("the mapping counts its events if it is asked to", () => {
    const counted = [api, dev].map(
      (compiled) => properties("WorkerEventSourceMappingSQSEventsQueue", compiled)["MetricsConfig"],
    );
    assert.deepEqual(counted, [undefined, { Metrics: ["EventCount"] }]);
  });

  test("a queue takes messages as large as the functions send", () => {
    everywhere((template) => {
      for (const [, { Properties }] of ofType(template, "AWS::SQS::Queue")) {
        assert.equal(Properties["MaximumMessageSize"], messageLimitBytes);
      }
    });
  });

  test("M10: no mapping has a filter, which would delete what does not match", () => {
    everywhere((template) => assert.ok(!JSON.stringify(template).includes("FilterCriteria")));
  });

  test("S3, D1: a dead letter outlasts the queue it came from", () => {
    everywhere(({ Resources }) => {
      const days = (id: string) => Resources[id]?.Properties["MessageRetentionPeriod"] / 86_400;
      assert.ok(days("DeadLetterQueue") > days("EventsQueue"));
      assert.ok(days("QuarantineQueue") > days("EventsQueue"));
    });
    assert.equal(properties("EventsQueue")["MessageRetentionPeriod"], limits.queueRetentionSeconds);
    assert.equal(properties("DeadLetterQueue")["MessageRetentionPeriod"], limits.deadLetterRetentionSeconds);
  });

  test("D4: the dead-letter queue is the events queue's alone", () => {
    assert.deepEqual(properties("EventsQueue")["RedrivePolicy"], {
      deadLetterTargetArn: arn("DeadLetterQueue"),
      maxReceiveCount: limits.maxReceiveCount,
    });
    assert.deepEqual(properties("DeadLetterQueue")["RedriveAllowPolicy"], {
      redrivePermission: "byQueue",
      sourceQueueArns: [
        {
          "Fn::Sub": `arn:\${AWS::Partition}:sqs:\${AWS::Region}:\${AWS::AccountId}:${properties("EventsQueue")["QueueName"]}`,
        },
      ],
    });
    everywhere((template) => {
      const queues = ofType(template, "AWS::SQS::Queue");
      for (const [net, { Properties }] of queues.filter(([id]) => id !== "QuarantineQueue")) {
        if (Properties["RedrivePolicy"] !== undefined) continue;
        const feeding = queues.filter(
          ([, one]) => one.Properties["RedrivePolicy"]?.deadLetterTargetArn["Fn::GetAtt"][0] === net,
        );
        assert.ok(feeding.length > 0, net);
        for (const [id, one] of feeding) assert.equal(one.Properties["FifoQueue"], Properties["FifoQueue"], id);
        const { sourceQueueArns } = Properties["RedriveAllowPolicy"];
        assert.deepEqual(
          sourceQueueArns.map((arn: Record<"Fn::Sub", string>) => arn["Fn::Sub"].split(":").at(-1)),
          feeding.map(([, one]) => one.Properties["QueueName"]),
        );
      }
    });
  });

  test("C-70: every queue refuses unencrypted transport, and no policy lets anybody in", () => {
    everywhere((template) => {
      const policies = ofType(template, "AWS::SQS::QueuePolicy").map(([, { Properties }]) => Properties);
      const queues = ofType(template, "AWS::SQS::Queue").map(([id]) => id);
      assert.deepEqual(
        policies.flatMap(({ Queues }) => Queues.map(({ Ref }: { Ref: string }) => Ref)).sort(),
        queues.sort(),
      );
      for (const { Queues, PolicyDocument } of policies) {
        assert.deepEqual(PolicyDocument.Statement, [
          {
            Sid: "EncryptedTransportOnly",
            Effect: "Deny",
            Principal: "*",
            Action: "sqs:*",
            Resource: arn(Queues[0].Ref),
            Condition: { Bool: { "aws:SecureTransport": "false" } },
          },
        ]);
      }
    });
  });

  test("queues are encrypted: by SQS, or with the key that was given", () => {
    for (const [, { Properties }] of ofType(api.template, "AWS::SQS::Queue")) {
      assert.equal(Properties["SqsManagedSseEnabled"], true);
    }
    // It would be a key's, and SQS's own needs none.
    assert.ok(!changed.text.includes("KmsDataKeyReusePeriodSeconds"));
    for (const [, { Properties }] of ofType(dev.template, "AWS::SQS::Queue")) {
      assert.equal(Properties["KmsMasterKeyId"], customerKeyArn);
      assert.equal(Properties["KmsDataKeyReusePeriodSeconds"], 3_600);
      assert.equal(Properties["SqsManagedSseEnabled"], undefined);
    }
  });
});

describe("a lane in the template", () => {
  /** The resources of the default lane. Every other lane has the same under ids of its own. */
  const alarms = ["RunsFailed", "AllRunsFail", "LeaseLost", "EventsWait", "EventsStuck"];
  alarms.push("WorkerThrottled", "WorkerErrors", "WorkerSlow");
  const own = ["EventsQueue", "EventsQueuePolicy", "WorkerEventSourceMappingSQSEventsQueue"];
  own.push(...["Role", "LogGroup", "LambdaFunction", "StagesFilter", "StaleKeysFilter"].map((one) => `Worker${one}`));
  own.push(...alarms.map((one) => `${one}Alarm`));
  const renamed = (text: string, id: string, queueId: string) =>
    text
      .replaceAll("EventsQueue", queueId)
      .replaceAll(
        /(?<=^|")Worker(?=Role|LogGroup|LambdaFunction|EventSource|StagesFilter|StaleKeysFilter)/g,
        `Worker${id}`,
      )
      .replaceAll(/(?<=^|")(\w+)(?=Alarm(?:"|$))/g, `$1${id}`);
  const changesTo = (before: unknown, after: unknown) => {
    const [one, other] = [leaves(before), leaves(after)];
    return Object.fromEntries(
      [...new Set([...one.keys(), ...other.keys()])]
        .filter((path) => one.get(path) !== other.get(path) && !/\.(S3Key|CodeSha256)$/.test(path))
        .map((path) => [path.replace(".Properties.", " "), other.get(path)]),
    );
  };
  const text = '{"ai":{"types":["im.message.receive_v1"],"order":"message.chat_id"},"bulk":{"types":["contact.*"]}}';
  const sending = "Policies.0.PolicyDocument.Statement.0.Resource";
  const sources = "RedriveAllowPolicy.sourceQueueArns";
  const arnOf = (queue: string) =>
    `arn:\${AWS::Partition}:sqs:\${AWS::Region}:\${AWS::AccountId}:larkpost-prod-${queue}`;
  const fifo = {
    DeduplicationScope: "messageGroup",
    FifoQueue: true,
    FifoThroughputLimit: "perMessageGroupId",
  };
  const under = (id: string, members: object) =>
    Object.fromEntries(Object.entries(members).map(([name, value]) => [`${id} ${name}`, value]));

  for (const [name, queueId, differences] of [
    [
      "ai",
      "LaneAiFifoQueue",
      {
        ...under("LaneAiFifoQueue", {
          ...{ ...fifo, QueueName: "larkpost-prod-events-ai.fifo", VisibilityTimeout: 630 },
          "RedrivePolicy.deadLetterTargetArn.Fn::GetAtt.0": "DeadLetterFifoQueue",
        }),
        ...under("WorkerAiEventSourceMappingSQSLaneAiFifoQueue", {
          ...{ BatchSize: 1, MaximumBatchingWindowInSeconds: undefined, "ScalingConfig.MaximumConcurrency": 200 },
        }),
        ...under("WorkerAiLambdaFunction", {
          ...{ "Environment.Variables.MAX_ATTEMPTS": "3", "Environment.Variables.MAX_AGE_SECONDS": "900" },
          ...{ "Environment.Variables.HOLD_SECONDS": "60", MemorySize: 1_024, Timeout: 600 },
        }),
        "WorkerSlowAiAlarm Threshold": 480_000,
      },
    ],
    [
      "bulk",
      "LaneBulkQueue",
      {
        "LaneBulkQueue QueueName": "larkpost-prod-events-bulk",
        "WorkerBulkEventSourceMappingSQSLaneBulkQueue ScalingConfig.MaximumConcurrency": 5,
      },
    ],
  ] as const) {
    test(`is a queue, and a worker of the same code, with numbers and alarms of its own: ${name}`, () => {
      const id = name === "ai" ? "Ai" : "Bulk";
      const [before, after] = [own, own.map((one) => renamed(one, id, queueId))];
      const [one, other] = [
        JSON.parse(renamed(JSON.stringify(before.map((one) => [one, api.template.Resources[one]])), id, queueId)),
        after.map((one) => [one, laned.template.Resources[one]]),
      ].map((entries) => Object.fromEntries(entries));
      const named = alarms.flatMap((alarm) => {
        const found = `${alarm}${id}Alarm`;
        const { AlarmName, AlarmDescription } = properties(`${alarm}Alarm`);
        const concurrency = AlarmDescription.replace("maxConcurrency", `lanes.${name}.concurrency`)
          .replace("workerTimeoutSeconds", `lanes.${name}.timeoutSeconds`)
          .replace(", and workerReservedConcurrency", "")
          .replace("dead after 10 runs", `dead after ${name === "ai" ? 3 : 10} runs`);
        const metric = [...leaves(properties(`${alarm}Alarm`))].flatMap(([path, value]) =>
          value === "larkpost-prod-worker-stages"
            ? [[`${found} ${path}`, `larkpost-prod-worker-${name}-stages`] as const]
            : [],
        );
        return [
          [`${found} AlarmName`, `${AlarmName}-${name}`] as const,
          // The runbook has one heading for all lanes.
          [`${found} AlarmDescription`, concurrency.replace(/^(Page|Ticket): /, `$1: lane "${name}": `)] as const,
          ...metric,
        ];
      });
      assert.deepEqual(changesTo(one, other), {
        ...differences,
        ...Object.fromEntries(named),
        [`Worker${id}LambdaFunction Environment.Variables.EVENTS_QUEUE_URL.Ref`]: "EventsQueue",
        [`Worker${id}LambdaFunction Environment.Variables.LANES`]: text,
        [`Worker${id}LambdaFunction FunctionName`]: `larkpost-prod-worker${id}`,
        [`Worker${id}LogGroup LogGroupName`]: `/aws/lambda/larkpost-prod-worker${id}`,
        // Deferred work goes by the default lane.
        [`Worker${id}Role Policies.0.PolicyDocument.Statement.1.Resource.2.Fn::GetAtt.0`]: "EventsQueue",
        [`Worker${id}StagesFilter MetricTransformations.0.MetricName`]: `larkpost-prod-worker-${name}-stages`,
      });
    });
  }

  test("changes of the rest what leads to it: rights, settings, dead letters, and their alarm", () => {
    const added = [...leaves(laned.template.Resources).keys()].map((path) => path.split(".")[0] ?? "");
    const ids = [
      ...own.map((one) => renamed(one, "Ai", "LaneAiFifoQueue")),
      ...own.map((one) => renamed(one, "Bulk", "LaneBulkQueue")),
      ...["DeadLetterFifoQueue", "DeadLetterFifoQueuePolicy"],
    ];
    const known = new Set(Object.keys(api.template.Resources));
    assert.deepEqual([...new Set(added)].filter((id) => !known.has(id)).sort(), ids.sort());
    const kept = Object.fromEntries(
      Object.entries(laned.template.Resources).filter(([id]) => known.has(id) && id !== "Dashboard"),
    );
    const { Dashboard: _, ...before } = api.template.Resources;
    const differences = changesTo(before, kept);
    const alarm = Object.entries(differences).filter(([path]) => path.startsWith("DeadLettersAlarm Metrics."));
    assert.ok(alarm.length > 0);
    for (const [path] of alarm) Reflect.deleteProperty(differences, path);
    const sends = (role: string) =>
      under(role, {
        [`${sending}.1.Fn::GetAtt.0`]: "LaneAiFifoQueue",
        [`${sending}.2.Fn::GetAtt.0`]: "LaneBulkQueue",
        [`${sending}.2.Fn::GetAtt.1`]: "Arn",
        [`${sending}.3.Fn::GetAtt.0`]: "QuarantineQueue",
        [`${sending}.3.Fn::GetAtt.1`]: "Arn",
      });
    assert.deepEqual(differences, {
      ...sends("WebhookRole"),
      ...sends("CallbackRole"),
      [`DeadLetterQueue ${sources}.1.Fn::Sub`]: arnOf("events-bulk"),
      ...Object.fromEntries(names.map((name) => [`${name}LambdaFunction Environment.Variables.LANES`, text])),
    });
    const { Tags, MessageRetentionPeriod, ...net } = properties("DeadLetterFifoQueue", laned);
    assert.deepEqual([Tags, MessageRetentionPeriod], [properties("DeadLetterQueue")["Tags"], 1_209_600]);
    assert.deepEqual(net, {
      ...fifo,
      QueueName: "larkpost-prod-dead-letters.fifo",
      MaximumMessageSize: messageLimitBytes,
      SqsManagedSseEnabled: true,
      RedriveAllowPolicy: {
        redrivePermission: "byQueue",
        sourceQueueArns: [{ "Fn::Sub": arnOf("events-ai.fifo") }],
      },
    });
    const outputs = changesTo(api.template.Outputs, laned.template.Outputs);
    assert.deepEqual(outputs, { "DeadLetterFifoQueueUrl.Value.Ref": "DeadLetterFifoQueue", "Lanes.Value": text });
  });

  test("is paused with the others, and its mapping counts, where that is so", () => {
    const [, paused = assert.fail()] = others;
    const mappings = ofType(paused.template, "AWS::Lambda::EventSourceMapping").map(([, { Properties }]) => [
      Properties["Enabled"],
      Properties["MetricsConfig"],
    ]);
    assert.deepEqual(
      mappings,
      Array.from({ length: 3 }, () => [false, { Metrics: ["EventCount"] }]),
    );
  });
});

describe("stages and what they keep", () => {
  const nameProperties: Readonly<Record<string, string | null>> = {
    "AWS::ApiGatewayV2::Api": "Name",
    "AWS::CloudWatch::Alarm": "AlarmName",
    "AWS::CloudWatch::Dashboard": "DashboardName",
    "AWS::DynamoDB::Table": "TableName",
    "AWS::Lambda::Function": "FunctionName",
    "AWS::Logs::LogGroup": "LogGroupName",
    "AWS::SQS::Queue": "QueueName",
    // AWS makes up these names, or they belong to a resource above; the domain is the user's.
    "AWS::ApiGatewayV2::ApiMapping": null,
    "AWS::ApiGatewayV2::DomainName": null,
    "AWS::CertificateManager::Certificate": null,
    "AWS::Route53::RecordSet": null,
    "AWS::ApiGatewayV2::Integration": null,
    "AWS::ApiGatewayV2::Route": null,
    "AWS::ApiGatewayV2::Stage": null,
    "AWS::IAM::Role": null,
    "AWS::Lambda::EventSourceMapping": null,
    "AWS::Lambda::Permission": null,
    "AWS::Lambda::Url": null,
    "AWS::Logs::MetricFilter": null,
    "AWS::S3::Bucket": null,
    "AWS::S3::BucketPolicy": null,
    "AWS::SQS::QueuePolicy": null,
  };
  const physicalNames = ({ Resources, Outputs }: Template): string[] => [
    ...Object.values(Resources).flatMap(({ Type, Properties }) => {
      const property = nameProperties[Type];
      assert.notEqual(property, undefined, `${Type}: which property is its name?`);
      return property === null ? [] : [String(Properties[property ?? ""])];
    }),
    ...Object.values(Outputs).flatMap(({ Export }) => (Export === undefined ? [] : [Export.Name])),
  ];

  test("S5: two stages share no name, and nothing is global", () => {
    const prod = [...physicalNames(api.template), ...physicalNames(url.template)];
    assert.ok(prod.length > 40);
    for (const name of prod) assert.match(name, /(^|[/-])larkpost-prod(-|$)/);
    for (const name of physicalNames(dev.template)) assert.match(name, /(^|[/-])larkpost-dev(-|$)/);
    everywhere((template) => {
      for (const type of ["AWS::IAM::Role", "AWS::S3::Bucket"]) {
        for (const [, { Properties }] of ofType(template, type)) {
          assert.equal(Properties["RoleName"] ?? Properties["BucketName"], undefined);
        }
      }
    });
  });

  test("S8, Y2: what holds events or the ledger is kept, under logical ids that never change", () => {
    everywhere((template) => {
      const kept = Object.entries(template.Resources).filter(([, { DeletionPolicy }]) => DeletionPolicy !== undefined);
      const named = /^(Lane|DeadLetterFifo)\w*Queue$/;
      assert.deepEqual(kept.flatMap(([id]) => (named.test(id) ? [] : id)).sort(), [...stateful].sort());
      for (const [, { DeletionPolicy, UpdateReplacePolicy }] of kept) {
        // What a failed first deployment has made holds nothing, and would be in the way of the next.
        assert.deepEqual([DeletionPolicy, UpdateReplacePolicy], ["RetainExceptOnCreate", "Retain"]);
      }
      const holding = Object.entries(template.Resources).filter(([, { Type }]) => /::(Queue|Table)$/.test(Type));
      assert.deepEqual(holding.map(([id]) => id).sort(), kept.map(([id]) => id).sort());
    });
  });

  test("S8, Y2: no number of the limits file replaces a queue or the table", () => {
    for (const id of stateful) {
      const { Type, Properties } = resource(id, changed);
      const before = properties(id);
      const moved = Object.keys({ ...before, ...Properties }).filter(
        (name) => JSON.stringify(before[name]) !== JSON.stringify(Properties[name]),
      );
      assert.ok(moved.length > 0, id);
      assert.deepEqual(
        moved.filter((name) => specification.isReplacedBy(Type, name)),
        [],
      );
      assert.ok(Object.keys(Properties).some((name) => /Name$/.test(name) && specification.isReplacedBy(Type, name)));
    }
  });

  test("Y2: an update that would replace or drop one of them is refused", () => {
    const denied = ({ provider }: Compiled) =>
      (provider["stackPolicy"] as { Effect: string; Action: string[]; Resource: string[] }[])
        .filter(({ Effect }) => Effect === "Deny")
        .map(({ Action, Resource }) => ({ Action, Resource: Resource.toSorted() }));
    const update = (ids: string[]) => [
      { Action: ["Update:Replace", "Update:Delete"], Resource: ids.map((id) => `LogicalResourceId/${id}`).sort() },
    ];
    assert.deepEqual(denied(api), update(stateful));
    assert.deepEqual(denied(laned), update([...stateful, "LaneAiFifoQueue", "LaneBulkQueue", "DeadLetterFifoQueue"]));
    // A deployment is held to the policy of the one before: a lane without types can be removed by the next.
    assert.deepEqual(denied(others[1] as Compiled), update([...stateful, "LaneBulkQueue"]));
  });

  test("Y4: stage prod cannot be removed", () => {
    assert.deepEqual(api.provider["deletionProtection"], { stages: ["prod"] });
  });

  test("I6, I14: the ledger expires by its attribute, can be restored, and is billed by use", () => {
    const { TableName: _, Tags: __, ...rest } = properties("LedgerTable");
    assert.deepEqual(rest, {
      BillingMode: "PAY_PER_REQUEST",
      AttributeDefinitions: [{ AttributeName: "pk", AttributeType: "S" }],
      KeySchema: [{ AttributeName: "pk", KeyType: "HASH" }],
      TimeToLiveSpecification: { AttributeName: "expiresAtSeconds", Enabled: true },
      PointInTimeRecoverySpecification: { PointInTimeRecoveryEnabled: true },
      SSESpecification: { SSEEnabled: true },
    });
  });
});

describe("permissions", () => {
  const allow = (Action: string[], Resource: unknown[]) => ({ Effect: "Allow", Action, Resource });
  const consume = ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ChangeMessageVisibility"];
  const parameter = (stage: string) => ({
    "Fn::Sub": `arn:\${AWS::Partition}:ssm:\${AWS::Region}:\${AWS::AccountId}:parameter/larkpost/${stage}/app`,
  });
  const logs = (id: string) => allow(["logs:CreateLogStream", "logs:PutLogEvents"], [arn(id)]);
  const key = (...services: string[]) => keyThrough(customerKeyArn, services);
  const webhook = (stage: string, ...more: object[]) => [
    allow(["sqs:SendMessage"], [arn("EventsQueue"), arn("QuarantineQueue")]),
    allow(["ssm:GetParameter"], [parameter(stage)]),
    ...more,
    logs("WebhookLogGroup"),
  ];
  const ledger = allow(["dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:GetItem"], [arn("LedgerTable")]);
  const callback = (stage: string, ...more: object[]) => [
    allow(["sqs:SendMessage"], [arn("EventsQueue"), arn("QuarantineQueue")]),
    allow(["ssm:GetParameter"], [parameter(stage)]),
    ledger,
    ...more,
    logs("CallbackLogGroup"),
  ];
  const worker = (stage: string, ...more: object[]) => [
    allow(consume, [arn("EventsQueue")]),
    allow(["sqs:SendMessage"], [arn("QuarantineQueue"), arn("DeadLetterQueue"), arn("EventsQueue")]),
    allow(["ssm:GetParameter"], [parameter(stage)]),
    ledger,
    ...more,
    logs("WorkerLogGroup"),
  ];

  test("D.3: each function has its own role, and each role exactly what its function does", () => {
    for (const compiled of [api, url, changed]) {
      assert.deepEqual(statementsOf(resource("WebhookRole", compiled)), webhook("prod"));
      assert.deepEqual(statementsOf(resource("CallbackRole", compiled)), callback("prod"));
      assert.deepEqual(statementsOf(resource("WorkerRole", compiled)), worker("prod"));
    }
    everywhere((template) => {
      const roles = ofType(template, "AWS::IAM::Role");
      const assumed = ofType(template, "AWS::Lambda::Function").map(
        ([, { Properties }]) => Properties["Role"]["Fn::GetAtt"][0],
      );
      assert.deepEqual(roles.map(([id]) => id).sort(), assumed.sort());
      for (const [id, { Properties }] of roles) {
        assert.deepEqual(Object.keys(Properties).sort(), ["AssumeRolePolicyDocument", "Policies", "Tags"]);
        const Service = ["lambda.amazonaws.com", ...(id === "CallbackRole" ? ["ecs-tasks.amazonaws.com"] : [])];
        assert.deepEqual(Properties["AssumeRolePolicyDocument"].Statement, [
          { Effect: "Allow", Principal: { Service }, Action: ["sts:AssumeRole"] },
        ]);
      }
    });
  });

  test("D.3: a key of one's own adds its use to every role, through the services that hold its data alone", () => {
    assert.deepEqual(statementsOf(resource("WebhookRole", dev)), webhook("dev", key("sqs", "ssm")));
    assert.deepEqual(statementsOf(resource("CallbackRole", dev)), callback("dev", key("sqs", "ssm", "dynamodb")));
    assert.deepEqual(statementsOf(resource("WorkerRole", dev)), worker("dev", key("sqs", "ssm", "dynamodb")));
  });

  test("K6: each function reads its own stage's parameter, the one that its environment names", () => {
    for (const [stage, compiled] of [
      ["prod", api],
      ["dev", dev],
    ] as const) {
      for (const name of names) {
        const reads = statementsOf(resource(`${name}Role`, compiled)).filter(({ Action }) =>
          [Action].flat().some((action) => action.startsWith("ssm:")),
        );
        assert.deepEqual(
          reads.map(({ Resource }) => Resource),
          [[parameter(stage)]],
        );
        assert.equal(variablesOf(`${name}LambdaFunction`, compiled)["SECRETS_PARAMETER"], `/larkpost/${stage}/app`);
      }
    }
  });

  const refusals: readonly [role: string, action: string, id: string][] = [
    ["WebhookRole", "sqs:ReceiveMessage", "EventsQueue"],
    ["WebhookRole", "sqs:DeleteMessage", "EventsQueue"],
    ["WebhookRole", "sqs:SendMessage", "DeadLetterQueue"],
    ["WebhookRole", "dynamodb:PutItem", "LedgerTable"],
    ["WebhookRole", "dynamodb:GetItem", "LedgerTable"],
    ["CallbackRole", "sqs:ReceiveMessage", "EventsQueue"],
    ["CallbackRole", "sqs:DeleteMessage", "EventsQueue"],
    ["CallbackRole", "sqs:SendMessage", "DeadLetterQueue"],
    ["CallbackRole", "dynamodb:DeleteItem", "LedgerTable"],
    ["CallbackRole", "dynamodb:Scan", "LedgerTable"],
    ["WorkerRole", "sqs:ReceiveMessage", "DeadLetterQueue"],
    ["WorkerRole", "dynamodb:DeleteItem", "LedgerTable"],
    ["WorkerRole", "dynamodb:Scan", "LedgerTable"],
  ];
  test("M7: a worker sends to the events queue alone, for work that is deferred, and Lambda lets it go round", () => {
    everywhere((template) => {
      for (const [id, { Properties }] of ofType(template, "AWS::Lambda::Function")) {
        const isWorker = id.startsWith("Worker");
        assert.equal(Properties["RecursiveLoop"], isWorker ? "Allow" : undefined, id);
        if (!isWorker) continue;
        const role = template.Resources[Properties["Role"]["Fn::GetAtt"][0]] as Resource;
        const sending = statementsOf(role).flatMap(({ Action, Resource }) =>
          [Action].flat().includes("sqs:SendMessage") ? [Resource] : [],
        );
        assert.deepEqual(sending, [[arn("QuarantineQueue"), arn("DeadLetterQueue"), arn("EventsQueue")]], id);
      }
    });
  });

  test("C-82: no role may do what only another's function does", () => {
    everywhere((_, compiled) => {
      const may = (role: string, action: string, id: string) =>
        statementsOf(resource(role, compiled)).some(
          ({ Action, Resource }) =>
            [Action].flat().includes(action) && JSON.stringify(Resource).includes(JSON.stringify(arn(id))),
        );
      assert.ok(may("WorkerRole", "sqs:SendMessage", "DeadLetterQueue"));
      for (const [role, action, id] of refusals) assert.equal(may(role, action, id), false, `${role} ${action} ${id}`);
    });
  });
});

interface Query {
  readonly ReturnData: boolean;
  readonly Expression?: string;
  readonly MetricStat?: {
    readonly Metric: {
      Namespace: string;
      MetricName: string;
      Dimensions: [{ Value: { Ref: string } }, ...{ Value: unknown }[]];
    };
    readonly Period: number;
    readonly Stat: string;
  };
}

const countOf = ({ Metric, Period, Stat }: NonNullable<Query["MetricStat"]>) =>
  `${Metric.Namespace} ${Metric.MetricName} of ${Metric.Dimensions[0].Value.Ref}: ${Stat} over ${Period} s`;

describe("alarms", () => {
  const alarmOn = (id: string, compiled = api) => properties(`${id}Alarm`, compiled);
  const metricOf = (id: string, compiled = api) => {
    const { Namespace, MetricName, Dimensions, Statistic, ExtendedStatistic, Period, ComparisonOperator, Threshold } =
      alarmOn(id, compiled);
    const [{ Name, Value }] = Dimensions;
    assert.match(Name, /^(QueueName|FunctionName|ApiId)$/);
    const comparison = ComparisonOperator === "GreaterThanThreshold" ? ">" : ">=";
    return `${Namespace} ${MetricName} of ${Object.values(Value).flat()[0]}: ${Statistic ?? ExtendedStatistic} over ${Period} s ${comparison} ${Threshold}`;
  };

  test("D2, D3: dead letters and quarantined messages ring by the growth of the visible count", () => {
    for (const [id, queue] of [
      ["DeadLetters", "DeadLetterQueue"],
      ["Quarantined", "QuarantineQueue"],
    ] as const) {
      everywhere(({ Resources }, compiled) => {
        const { Metrics, AlarmName, AlarmDescription, AlarmActions, Tags, ...condition } = alarmOn(id, compiled);
        const visible = (Id: string, of: string) => ({
          Id,
          ReturnData: false,
          MetricStat: {
            Metric: {
              Namespace: "AWS/SQS",
              MetricName: "ApproximateNumberOfMessagesVisible",
              Dimensions: [{ Name: "QueueName", Value: { "Fn::GetAtt": [of, "QueueName"] } }],
            },
            Period: 300,
            Stat: "Maximum",
          },
        });
        // SQS moves a FIFO queue's messages to a FIFO queue.
        const hasTwo = id === "DeadLetters" && Resources["DeadLetterFifoQueue"] !== undefined;
        const sum = { Id: "visible", Expression: "FILL(visible0, 0) + FILL(visible1, 0)", ReturnData: false };
        assert.deepEqual(Metrics, [
          ...(hasTwo
            ? [visible("visible0", queue), visible("visible1", "DeadLetterFifoQueue"), sum]
            : [visible("visible", queue)]),
          { Id: "growth", Expression: "DIFF(FILL(visible, 0))", ReturnData: true },
        ]);
        assert.deepEqual(condition, {
          ...{ EvaluationPeriods: 2, DatapointsToAlarm: 1, TreatMissingData: "notBreaching" },
          ...{ ComparisonOperator: "GreaterThanThreshold", Threshold: 0 },
        });
      });
    }
    everywhere((template) => {
      assert.ok(!JSON.stringify(ofType(template, "AWS::CloudWatch::Alarm")).includes("NumberOfMessagesSent"));
    });
  });

  test("D.4: each signal has its alarm, at its threshold", () => {
    const at = alarmThresholds;
    const slowMs = (limits.workerTimeoutSeconds * 1000 * at.workerDurationPercent) / 100;
    const slowCallbackMs = (limits.callbackDeadlineMs * at.callbackDurationPercent) / 100;
    assert.ok(slowCallbackMs < limits.callbackDeadlineMs);
    const expected = {
      EventsWait: `AWS/SQS ApproximateAgeOfOldestMessage of EventsQueue: Maximum over 60 s > ${at.oldestEventSeconds}`,
      EventsStuck: `AWS/SQS ApproximateAgeOfOldestMessage of EventsQueue: Maximum over 60 s > ${at.oldestEventUrgentSeconds}`,
      Unavailable: `AWS/ApiGateway 5xx of HttpApi: Sum over 60 s >= ${at.unavailablePerMinute}`,
      WebhookSlow: `AWS/Lambda Duration of WebhookLambdaFunction: p99 over 60 s > ${at.webhookP99Ms}`,
      CallbackSlow: `AWS/Lambda Duration of CallbackLambdaFunction: p99 over 60 s > ${slowCallbackMs}`,
      WorkerErrors: "AWS/Lambda Errors of WorkerLambdaFunction: Sum over 60 s >= 1",
      WorkerSlow: `AWS/Lambda Duration of WorkerLambdaFunction: Maximum over 60 s > ${slowMs}`,
      Refused: `AWS/ApiGateway 4xx of HttpApi: Sum over 60 s > ${at.refusedPerMinute}`,
    };
    for (const [id, metric] of Object.entries(expected)) assert.equal(metricOf(id), metric);
    const periods = new Map(Object.entries({ DeadLetters: 2, Quarantined: 2, WebhookSlow: 3, LedgerFails: 3 }));
    for (const [id, { Properties }] of ofType(api.template, "AWS::CloudWatch::Alarm")) {
      assert.equal(Properties["EvaluationPeriods"], periods.get(id.replace("Alarm", "")) ?? 1, id);
      assert.equal(Properties["TreatMissingData"], "notBreaching", id);
    }
  });

  test("D.4: faults ring by a count and a percentage of the whole, over five minutes", () => {
    const { faultsPerFiveMinutes: count, faultsPercent: percent } = alarmThresholds;
    const of = (name: string) => [`${name}LambdaFunction`, "AWS/Lambda"] as const;
    for (const [id, compiled, [target, namespace], part, whole] of [
      ["UnavailableOften", api, ["HttpApi", "AWS/ApiGateway"], "5xx", "Count"],
      ...[api, url].flatMap((compiled) => [
        ["WebhookErrors", compiled, of("Webhook"), "Errors", "Invocations"] as const,
        ["WebhookThrottled", compiled, of("Webhook"), "Throttles", "Invocations"] as const,
        ["CallbackErrors", compiled, of("Callback"), "Errors", "Invocations"] as const,
        ["CallbackThrottled", compiled, of("Callback"), "Throttles", "Invocations"] as const,
        ["WorkerThrottled", compiled, of("Worker"), "Throttles", "Invocations"] as const,
      ]),
    ] as const) {
      const { Metrics, EvaluationPeriods, ComparisonOperator, Threshold } = alarmOn(id, compiled);
      assert.deepEqual(
        Metrics.map(({ MetricStat, Expression }: Query) =>
          MetricStat === undefined ? Expression : countOf(MetricStat),
        ),
        [
          `${namespace} ${part} of ${target}: Sum over 300 s`,
          `${namespace} ${whole} of ${target}: Sum over 300 s`,
          `IF(part >= ${count} AND part * 100 >= FILL(whole, 0) * ${percent}, 1, 0)`,
        ],
      );
      assert.deepEqual([EvaluationPeriods, ComparisonOperator, Threshold], [1, "GreaterThanOrEqualToThreshold", 1]);
    }
  });

  test("C2, D.4: failed runs and callbacks, whose functions report no error, are counted in their logs by stage, and ring", () => {
    const at = alarmThresholds;
    for (const [what, id, parts, pattern, count, percent] of [
      [
        ...["worker", "RunsFailed", ["failed", "dead"]],
        '{ $.stage = "started" || ($.level = "warn" && $.stage = "failed") || $.stage = "dead" || $.stage = "busy" || $.stage = "lease-lost" || $.stage = "stale" }',
        ...[at.failedRunsPerFiveMinutes, at.failedRunsPercent],
      ],
      [
        ...["callback", "CallbackFailed", ["failed", "late"]],
        '{ $.stage = "started" || ($.level = "error" && ($.stage = "failed" || $.stage = "late")) }',
        ...[at.failedCallbacksPerFiveMinutes, at.failedCallbacksPercent],
      ],
    ] as [string, string, string[], string, number, number][]) {
      const Id = what === "worker" ? "Worker" : "Callback";
      everywhere((template, compiled) => {
        // Each stage has its own name: they share the account's namespace.
        const name = `larkpost-${compiled === dev ? "dev" : "prod"}-${what}-stages`;
        assert.deepEqual(template.Resources[`${Id}StagesFilter`]?.Properties, {
          LogGroupName: { Ref: `${Id}LogGroup` },
          FilterPattern: pattern,
          MetricTransformations: [
            {
              ...{ MetricNamespace: "Larkpost", MetricName: name, MetricValue: "1" },
              Dimensions: [{ Key: "stage", Value: "$.stage" }],
            },
          ],
        });
        assert.ok(ofType(template, "AWS::Logs::LogGroup").some(([group]) => group === `${Id}LogGroup`));
        const { Metrics, Threshold } = alarmOn(id, compiled);
        const read = Metrics.map(({ MetricStat, Expression }: Query) => {
          if (MetricStat === undefined) return Expression;
          const { Namespace, MetricName, Dimensions } = MetricStat.Metric;
          return [Namespace, MetricName, Dimensions[0], MetricStat.Stat, MetricStat.Period];
        });
        const stage = (Value: string) => ["Larkpost", name, { Name: "stage", Value }, "Sum", 300];
        assert.deepEqual(read, [
          ...parts.map(stage),
          "FILL(part0, 0) + FILL(part1, 0)",
          stage("started"),
          `IF(part >= ${count} AND part * 100 >= FILL(whole, 0) * ${percent}, 1, 0)`,
        ]);
        assert.equal(Threshold, 1);
      });
    }
    const { MetricName, Dimensions, Statistic, Period, Threshold } = alarmOn("LeaseLost");
    assert.deepEqual(
      [MetricName, Dimensions, Statistic, Period, Threshold],
      ["larkpost-prod-worker-stages", [{ Name: "stage", Value: "lease-lost" }], "Sum", 60, 1],
    );
  });

  test("K1: keys that are old, with which requests are answered 200, are counted in every function's log, and ring", () => {
    everywhere((template) => {
      const filters = ofType(template, "AWS::Logs::MetricFilter").filter(([id]) => id.endsWith("StaleKeysFilter"));
      assert.deepEqual(
        filters.map(([, { Properties }]) => Properties["LogGroupName"]),
        ofType(template, "AWS::Lambda::Function").map(([id]) => ({ Ref: id.replace("LambdaFunction", "LogGroup") })),
      );
      const alarm = template.Resources["StaleKeysAlarm"]?.Properties;
      for (const [, { Properties }] of filters) {
        assert.equal(Properties["FilterPattern"], '{ $.stage = "stale-keys" }');
        const [{ MetricNamespace, MetricName, MetricValue }] = Properties["MetricTransformations"];
        assert.deepEqual(
          [MetricNamespace, MetricName, MetricValue],
          [alarm?.["Namespace"], alarm?.["MetricName"], "$.ageSeconds"],
        );
      }
      assert.deepEqual(
        [alarm?.["Statistic"], alarm?.["Period"], alarm?.["ComparisonOperator"], alarm?.["Threshold"]],
        ["SampleCount", 60, "GreaterThanOrEqualToThreshold", 1],
      );
    });
    const cloudWatch = new CloudWatch(api.template);
    cloudWatch.log("CallbackLogGroup", 2, { stage: "stale-keys", level: "error", ageSeconds: "400" });
    const [rings, keys] = [cloudWatch.rings({ lateMinutes: 0, extraPoints: 0 }), properties("StaleKeysAlarm")];
    assert.deepEqual(rings, [{ alarm: "StaleKeys", minute: 3 }]);
    const { Namespace, MetricName } = keys;
    assert.equal(cloudWatch.sum({ Namespace, MetricName }), 400);
  });

  test("D.4: with Function URLs the same alarms read the counts of both", () => {
    const read = (id: string) => {
      const { Metrics, Threshold } = alarmOn(id, url);
      const counts = Metrics.flatMap((one: Query) => (one.MetricStat === undefined ? [] : [countOf(one.MetricStat)]));
      const results = Metrics.filter((one: Query) => one.ReturnData);
      return { counts, expressions: results.map((one: Query) => one.Expression), Threshold };
    };
    const both = (name: string, seconds: number) =>
      answering.map((one) => `AWS/Lambda ${name} of ${one}LambdaFunction: Sum over ${seconds} s`);
    const expressions = ["FILL(result0, 0) + FILL(result1, 0)"];
    const at = alarmThresholds;
    for (const [id, name, seconds, Threshold] of [
      ["Unavailable", "Url5xxCount", 60, at.unavailablePerMinute],
      ["Refused", "Url4xxCount", 60, at.refusedPerMinute],
    ] as const) {
      assert.deepEqual(read(id), { counts: both(name, seconds), expressions, Threshold });
      for (const kept of ["ComparisonOperator", "TreatMissingData"]) {
        assert.equal(alarmOn(id, url)[kept], alarmOn(id)[kept]);
      }
      // FILL takes a late minute for 0.
      assert.deepEqual([alarmOn(id, url)["EvaluationPeriods"], alarmOn(id, url)["DatapointsToAlarm"]], [3, 1]);
    }
    assert.deepEqual(read("UnavailableOften"), {
      counts: [...both("Url5xxCount", 300), ...both("UrlRequestCount", 300)],
      expressions: alarmOn("UnavailableOften")
        ["Metrics"].filter((one: Query) => one.ReturnData)
        .map((one: Query) => one.Expression),
      Threshold: 1,
    });
    assert.deepEqual(
      ofType(url.template, "AWS::CloudWatch::Alarm").map(([id]) => id),
      ofType(api.template, "AWS::CloudWatch::Alarm").map(([id]) => id),
    );
  });

  test("D.4: a few requests in five minutes, all refused, ring; so does any failure of the ledger", () => {
    for (const [compiled, names] of [
      [api, ["4xx", "Count"]],
      [url, ["Url4xxCount", "Url4xxCount", "UrlRequestCount", "UrlRequestCount"]],
    ] as const) {
      const { Metrics, Threshold, ComparisonOperator } = alarmOn("AllRefused", compiled);
      const read = Metrics.filter((one: { MetricStat?: unknown }) => one.MetricStat);
      assert.deepEqual(
        read.map(
          ({ MetricStat: { Metric, Period } }: { MetricStat: { Metric: { MetricName: string }; Period: number } }) => [
            Metric.MetricName,
            Period,
          ],
        ),
        names.map((name) => [name, 300]),
      );
      const named = Metrics.map(({ Id }: { Id: string }) => Id);
      assert.ok(named.includes("all") && named.includes("refused"));
      assert.equal(Metrics.at(-1).Expression, `IF(all >= ${alarmThresholds.allRefusedCount} AND refused >= all, 1, 0)`);
      assert.deepEqual([Threshold, ComparisonOperator], [1, "GreaterThanOrEqualToThreshold"]);
    }
    const { Metrics, Threshold, ComparisonOperator } = alarmOn("LedgerFails");
    assert.deepEqual([Threshold, ComparisonOperator], [1, "GreaterThanOrEqualToThreshold"]);
    const { Expression, ReturnData } = Metrics.at(-1);
    assert.deepEqual(
      Metrics.slice(0, -1).map(({ Id, MetricStat, ReturnData }: Required<Query> & { Id: string }) => {
        const { Metric, Period, Stat } = MetricStat;
        assert.deepEqual([ReturnData, Metric.Namespace, Period, Stat], [false, "AWS/DynamoDB", 60, "Sum"]);
        assert.ok(Expression.includes(`FILL(${Id}, 0)`));
        const [table, ...operation] = Metric.Dimensions;
        assert.deepEqual(table, { Name: "TableName", Value: { Ref: "LedgerTable" } });
        return [Metric.MetricName, ...operation.map(({ Value }) => Value)].join(" ");
      }),
      [
        "WriteThrottleEvents",
        "ReadThrottleEvents",
        "SystemErrors PutItem",
        "SystemErrors UpdateItem",
        "SystemErrors GetItem",
      ],
    );
    assert.equal(ReturnData, true);
  });

  test("S3: every queue has an alarm", () => {
    everywhere((template) => {
      const watched = JSON.stringify(ofType(template, "AWS::CloudWatch::Alarm"));
      for (const [id] of ofType(template, "AWS::SQS::Queue")) assert.ok(watched.includes(`["${id}","QueueName"]`), id);
    });
  });

  test("every alarm says how urgent it is and where the runbook is, and tells the topic of its urgency", () => {
    const alarms = ofType(dev.template, "AWS::CloudWatch::Alarm");
    for (const [, { Properties }] of alarms) {
      const name = Properties["AlarmName"].replace("larkpost-dev-", "");
      const [, urgency, runbook] =
        /^(Page|Ticket): .{20,}\. First type "npm run doctor -- --stage dev --region ap-southeast-1"\. Runbook: (.+)\.$/.exec(
          Properties["AlarmDescription"],
        ) ?? [];
      assert.equal(runbook, `docs/operate.md, heading "${name}"`);
      assert.ok(Properties["AlarmDescription"].length <= 1_024);
      assert.deepEqual(Properties["AlarmActions"], [urgency === "Page" ? topics.pageTopicArn : topics.ticketTopicArn]);
    }
    assert.equal(new Set(alarms.map(([, { Properties }]) => Properties["AlarmActions"][0])).size, 2);
    for (const [, { Properties }] of ofType(api.template, "AWS::CloudWatch::Alarm")) {
      assert.equal(Properties["AlarmActions"], undefined);
    }
  });
});

type Row = readonly [string, string, ...string[], RowOptions] | readonly [RowOptions];
interface RowOptions {
  readonly id?: string;
  readonly stat?: string;
  readonly label?: string;
  readonly visible?: boolean;
  readonly expression?: string;
}
interface Widget {
  readonly type: string;
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
  readonly properties: {
    readonly title: string;
    readonly alarms?: readonly string[];
    readonly stat?: string;
    readonly metrics: readonly Row[];
    readonly annotations?: { readonly horizontal: readonly { label: string; value: number }[] };
  };
}

describe("the dashboard", () => {
  const widgetsOf = (compiled: Compiled): Widget[] =>
    JSON.parse(properties("Dashboard", compiled)["DashboardBody"]["Fn::Sub"]).widgets;
  const optionsOf = (row: Row) => row.at(-1) as RowOptions;
  const metricsOf = ({ properties: { metrics = [] } }: Widget) => metrics.filter(({ length }) => length > 1);
  const titled = (title: string, compiled = api) =>
    widgetsOf(compiled).find(({ properties: found }) => found.title.startsWith(title)) ?? assert.fail(title);

  test("is one for each stage, with every alarm, and few enough metrics to cost nothing among the account's first three", () => {
    everywhere((template, compiled) => {
      assert.deepEqual(
        ofType(template, "AWS::CloudWatch::Dashboard").map(([id]) => id),
        ["Dashboard"],
      );
      const widgets = widgetsOf(compiled);
      assert.deepEqual(
        widgets.flatMap(({ properties: { alarms = [] } }) => alarms),
        ofType(template, "AWS::CloudWatch::Alarm").map(([id]) => `\${${id}.Arn}`),
      );
      const metrics = new Set(widgets.flatMap(metricsOf).map((row) => row.slice(0, -1).join(" ")));
      // A lane has fourteen, so that few stages with lanes are within it.
      const hasLanes = template.Outputs["Lanes"] !== undefined;
      assert.ok(metrics.size > 25 && (metrics.size <= 50 || hasLanes), `${metrics.size}`);
    });
  });

  const expected = {
    "Pushes by outcome": ["Count of HttpApi: Sum, hidden", "4xx of HttpApi: Sum", "5xx of HttpApi: Sum"],
    "Time of the answer": [
      ...["Webhook", "Callback"].flatMap((name) =>
        ["p50", "p99"].map((stat) => `Duration of ${name}LambdaFunction: ${stat}`),
      ),
    ],
    "Events in the queue": ["Visible", "NotVisible"].map(
      (name) => `ApproximateNumberOfMessages${name} of EventsQueue.QueueName: Maximum`,
    ),
    "Age of the oldest event": ["ApproximateAgeOfOldestMessage of EventsQueue.QueueName: Maximum"],
    "Runs by verdict": ["started", "failed", "dead", "busy", "lease-lost", "stale"].map(
      (stage) => `larkpost-prod-worker-stages of ${stage}: Sum`,
    ),
    Callbacks: ["started", "late", "failed"].map((stage) => `larkpost-prod-callback-stages of ${stage}: Sum`),
    "Dead letters": ["DeadLetterQueue", "QuarantineQueue"].map(
      (queue) => `ApproximateNumberOfMessagesVisible of ${queue}.QueueName: Maximum`,
    ),
    "Age of the keys": ["larkpost-prod-stale-keys: Maximum"],
  };
  for (const [title, lines] of Object.entries(expected)) {
    test(`shows ${title}`, () => {
      const { properties: found, ...widget } = titled(title);
      const rows = metricsOf({ properties: found, ...widget }).map((row) => {
        const [, name, , target] = row as readonly string[];
        const { stat = found.stat, visible = true } = optionsOf(row);
        const of = row.length > 3 ? ` of ${target?.replace(/^\$\{(.*)\}$/, "$1")}` : "";
        return `${name}${of}: ${stat}${visible ? "" : ", hidden"}`;
      });
      assert.deepEqual(rows, lines);
    });
  }

  test("has nothing of Larkpost's own that no filter counts, and no id twice or unknown", () => {
    everywhere((template, compiled) => {
      const written = ofType(template, "AWS::Logs::MetricFilter").map(
        ([, { Properties }]) => Properties["MetricTransformations"][0].MetricName,
      );
      for (const widget of widgetsOf(compiled)) {
        for (const [namespace, name] of metricsOf(widget)) {
          if (namespace === "Larkpost") assert.ok(written.includes(name), String(name));
        }
        const options = (widget.properties.metrics ?? []).map(optionsOf);
        const ids = options.flatMap(({ id }) => id ?? []);
        assert.equal(new Set(ids).size, ids.length);
        const read = options.flatMap(({ expression = "" }) => [...expression.matchAll(/FILL\((\w+), 0\)/g)]);
        for (const [, id = ""] of read) assert.ok(ids.includes(id), id);
      }
    });
  });

  test("counts pushes at every front that the stage has, and those that are left as stored", () => {
    const hours = new Map([
      ["httpApi", [100, 7, 3]],
      ["functionUrl", [50, 4, 2]],
    ]);
    for (const [compiled, fronts] of [
      [api, ["httpApi"]],
      [url, ["functionUrl", "functionUrl"]],
      [both, ["httpApi", "functionUrl", "functionUrl"]],
    ] as const) {
      const series = new Map<string, number[]>();
      let names = ["all", "refused", "failed"];
      let result: unknown;
      for (const row of titled("Pushes by outcome", compiled).properties.metrics) {
        const { id = "", expression } = optionsOf(row);
        if (expression !== undefined) {
          result = calculate(parse(expression), series);
          series.set(id, result as number[]);
          continue;
        }
        const [, what = "", digit = "0"] = /^([a-z]+?)(\d?)$/.exec(id) ?? [];
        series.set(id, [hours.get(fronts[Number(digit)] ?? "")?.[names.indexOf(what)] ?? Number.NaN]);
      }
      names = [];
      const each = fronts.map((front) => hours.get(front) ?? []);
      const stored = each.reduce((sum, [all = 0, refusals = 0, failures = 0]) => sum + all - refusals - failures, 0);
      assert.deepEqual(result, [stored]);
    }
  });

  test("draws the alarms' thresholds, and where pushes begin to fail", () => {
    const lines = widgetsOf(changed).flatMap(({ properties: { annotations } }) => annotations?.horizontal ?? []);
    assert.deepEqual(
      lines.map(({ value }) => value),
      [
        ...[alarmThresholds.webhookP99Ms, changes.callbackDeadlineMs],
        ...[alarmThresholds.oldestEventSeconds, alarmThresholds.oldestEventUrgentSeconds, changes.staleKeysSeconds],
      ],
    );
  });

  test("its cost per day is the bill of npm run cost, by the metrics that a day has", () => {
    const events = 1e6;
    const prices = regions["ap-southeast-1"] as Prices;
    const batches = events / 10;
    const { queued, started, handled, access } = use.lineBytes;
    const day: Readonly<Record<string, number>> = {
      ...{ requests: events, webhooks: events, webhookms: events * use.webhookMs },
      ...{ workers: batches, workerms: batches * (use.workerMs + 10 * use.recordMs), batches },
      ...{ sends: events, writes: events * use.writes },
      ...{ logswebhook: events * queued, logsworker: events * (started + handled), logshttpapi: events * access },
    };
    const series = new Map<string, number[]>();
    const costs = titled("Cost per day").properties.metrics.flatMap((row) => {
      const { id = "", label = "", expression } = optionsOf(row);
      if (expression === undefined) series.set(id, [day[id] ?? 0]);
      else assert.doesNotMatch(expression, /\de/);
      return expression === undefined ? [] : [[label, (calculate(parse(expression), series) as number[])[0] ?? 0]];
    });
    const usage = { events, handlerMs: 0, front: "httpApi", dedupe: "required", batch: 10 } as const;
    // What is kept is billed by the month, and no day's.
    const { parts } = billOf({ ...usage, prices: { ...prices, logMonth: 0 }, limits });
    const partOf = (name: string) => parts[name] ?? Number.NaN;
    const wanted = {
      "HTTP API": partOf("HTTP API: requests"),
      Lambda: partOf("Lambda: invocations") + partOf("Lambda: time"),
      SQS: partOf("SQS: send, receive, delete"),
      DynamoDB: partOf("DynamoDB: claim, complete"),
      "CloudWatch Logs": partOf("CloudWatch: logs"),
    };
    const cents = (entries: readonly (readonly [string, number])[]) =>
      Object.fromEntries(entries.map(([name, usd]) => [name, usd.toFixed(3)]));
    assert.deepEqual(cents(costs as [string, number][]), cents(Object.entries(wanted)));
  });

  test("shows what the mapping counts, where it does", () => {
    const rows = metricsOf(titled("Events in the mapping", dev));
    assert.deepEqual(
      rows.map(([, name]) => name),
      ["Polled", "Invoked", "Deleted", "FailedInvoke", "Dropped"].map((what) => `${what}EventCount`),
    );
    assert.ok(!api.text.includes("PolledEventCount"));
  });
});

describe("tags", () => {
  test("every resource that can have tags has the stage's, also those that osls makes", () => {
    everywhere((template, compiled) => {
      const stage = compiled === dev ? "dev" : "prod";
      const tags = { SERVICE: "larkpost", STAGE: stage, ...(compiled === both ? { team: "people" } : {}) };
      const asList = Object.entries(tags).map(([Key, Value]) => ({ Key, Value }));
      let count = 0;
      for (const [id, { Type, Properties }] of Object.entries(template.Resources)) {
        // In China, a mapping can have none.
        const isBare = compiled === none && Type === "AWS::Lambda::EventSourceMapping";
        const kind = isBare ? undefined : specification.tagsOf(Type);
        assert.deepEqual(Properties["Tags"], kind && { list: asList, map: tags }[kind], id);
        if (kind !== undefined) count++;
      }
      assert.ok(count > 25, `${count}`);
      assert.deepEqual(compiled.provider["stackTags"], tags);
    });
  });
});

describe("the log's samples", () => {
  test("are lines that no metric filter counts, of no function", () => {
    everywhere((template) => {
      const filters = ofType(template, "AWS::Logs::MetricFilter");
      assert.equal(filters.length, 2 * ofType(template, "AWS::Lambda::Function").length - 1);
      for (const [id, { Properties }] of filters) {
        for (const stage of sampledStages) {
          for (const level of ["info", "warn", "error"]) {
            assert.equal(matches(parse(Properties["FilterPattern"]), { stage, level }), false, `${id}: ${stage}`);
          }
        }
      }
    });
  });

  test("are as many as the project says, in every function", () => {
    for (const name of names) {
      assert.equal(variablesOf(`${name}LambdaFunction`, both)["LOG_SAMPLE_RATE"], "0.25");
      assert.equal(variablesOf(`${name}LambdaFunction`)["LOG_SAMPLE_RATE"], undefined);
    }
  });
});

describe("static rules", () => {
  for (const { ids, title, type, holds } of rules) {
    test(`D.6 ${ids.join(", ")}: ${title}, or it says why not`, () => {
      let checked = 0;
      everywhere((template) => {
        for (const [id, one] of ofType(template, type)) {
          checked++;
          const reasons = acceptedOn(one);
          if (!holds(one, template)) for (const rule of ids) assert.ok(reasons.get(rule), `${id}: ${rule}`);
        }
      });
      assert.ok(checked > 0);
    });
  }

  test("D.6: only known findings are accepted, and the reason of each is a fact of the template", () => {
    const accepted = new Set<string>();
    everywhere((template) => {
      assert.deepEqual(unproven(template), []);
      for (const one of Object.values(template.Resources))
        for (const rule of acceptedOn(one).keys()) accepted.add(rule);
    });
    assert.deepEqual([...accepted].sort(), [
      ...["CKV_AWS_115", "CKV_AWS_116", "CKV_AWS_117", "CKV_AWS_119", "CKV_AWS_158", "CKV_AWS_173", "CKV_AWS_258"],
      ...["CKV_AWS_27", "F13", "W48", "W84", "W89", "W92"],
    ]);
    // What says that it may be set can be.
    for (const name of names) {
      assert.ok(Number(properties(`${name}LambdaFunction`, changed)["ReservedConcurrentExecutions"]) > 0);
    }
  });

  test("D.6: a reason that is no longer true is found", () => {
    for (const { template } of [api, url]) assert.deepEqual(unnoticed(template), []);
  });

  test("D.6: with a key of one's own, nothing is excused for being under another", () => {
    for (const one of Object.values(dev.template.Resources)) {
      for (const rule of ["CKV_AWS_27", "W48", "CKV_AWS_119", "CKV_AWS_158", "W84"])
        assert.ok(!acceptedOn(one).has(rule));
    }
    assert.deepEqual(properties("LedgerTable", dev)["SSESpecification"], {
      SSEEnabled: true,
      SSEType: "KMS",
      KMSMasterKeyId: customerKeyArn,
    });
  });
});

/** A version's logical id ends in a hash of what it is a version of. */
function withoutHash<T>(value: T): T {
  return (typeof value === "string" ? value.replace(/^(CallbackLambdaVersion)\w+/, "$1") : value) as T;
}
