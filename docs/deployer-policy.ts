import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Template } from "../lib/cli/deploy/stack.ts";
import { longConnection } from "../test/infra/connected.ts";
import { compile } from "../test/infra/stack.ts";

// The IAM policy of whoever deploys, in deploy.md of both languages: what CloudFormation calls for each type of resource
// in the template, as the registry of its types says, and what osls and the commands call themselves. `npm run docs`
// writes it.

/** To be replaced by the reader, as the service is. */
export const exampleAccount = "111122223333";
export const exampleService = "larkpost";

interface Rights {
  readonly actions: readonly string[];
  readonly on: readonly string[];
  readonly condition?: object;
}

const at = (service: string, rest: string) => `arn:aws:${service}:*:${exampleAccount}:${rest}`;
const named = `${exampleService}-*`;
const bucket = [`arn:aws:s3:::${named}`];
const functions = [at("lambda", `function:${named}`)];
const logGroups = [at("logs", `log-group:/*/${named}`)];
const apis = ["arn:aws:apigateway:*::/apis", "arn:aws:apigateway:*::/apis/*", "arn:aws:apigateway:*::/tags/*"];
const domains = ["arn:aws:apigateway:*::/domainnames", "arn:aws:apigateway:*::/domainnames/*"];
const shown = [at("cloudwatch", `alarm:${named}`), `arn:aws:cloudwatch::${exampleAccount}:dashboard/${named}`];
const queues = [at("sqs", named)];
const roles = [`arn:aws:iam::${exampleAccount}:role/${named}`];
/** What knows no resource, or one whose name AWS makes up. */
const any = ["*"];

const apiGateway: Rights = {
  actions: words("apigateway", "DELETE GET PATCH POST PUT TagResource UntagResource"),
  on: apis,
};

/** For each type, without the rights to delete what a stack keeps. */
const ofTypes: Readonly<Record<string, readonly Rights[]>> = {
  "AWS::S3::Bucket": [
    {
      actions: words(
        "s3",
        "CreateBucket DeleteBucket GetBucketLocation GetBucketPublicAccessBlock GetEncryptionConfiguration ListBucket PutBucketPublicAccessBlock PutBucketTagging PutEncryptionConfiguration",
      ),
      on: bucket,
    },
  ],
  "AWS::S3::BucketPolicy": [{ actions: words("s3", "DeleteBucketPolicy GetBucketPolicy PutBucketPolicy"), on: bucket }],
  "AWS::Logs::LogGroup": [
    {
      actions: words(
        "logs",
        "AssociateKmsKey CreateLogGroup DeleteLogGroup DeleteRetentionPolicy DisassociateKmsKey GetDataProtectionPolicy ListTagsForResource PutRetentionPolicy TagResource UntagResource",
      ),
      on: logGroups,
    },
    { actions: ["logs:DescribeLogGroups"], on: any },
  ],
  "AWS::Logs::MetricFilter": [
    { actions: words("logs", "DeleteMetricFilter DescribeMetricFilters PutMetricFilter"), on: logGroups },
  ],
  "AWS::Lambda::Function": [
    {
      actions: words(
        "lambda",
        "CreateFunction DeleteFunction DeleteFunctionConcurrency GetFunction GetFunctionCodeSigningConfig GetFunctionConfiguration GetFunctionRecursionConfig GetRuntimeManagementConfig ListTags PutFunctionConcurrency PutFunctionRecursionConfig TagResource UntagResource UpdateFunctionCode UpdateFunctionConfiguration",
      ),
      on: functions,
    },
    passing("lambda.amazonaws.com"),
  ],
  "AWS::Lambda::Version": [
    {
      actions: words(
        "lambda",
        "DeleteProvisionedConcurrencyConfig GetProvisionedConcurrencyConfig ListVersionsByFunction PublishVersion PutProvisionedConcurrencyConfig",
      ),
      on: functions,
    },
  ],
  "AWS::Lambda::Alias": [{ actions: words("lambda", "CreateAlias DeleteAlias GetAlias UpdateAlias"), on: functions }],
  "AWS::Lambda::Permission": [{ actions: words("lambda", "AddPermission GetPolicy RemovePermission"), on: functions }],
  "AWS::Lambda::Url": [
    {
      actions: words(
        "lambda",
        "CreateFunctionUrlConfig DeleteFunctionUrlConfig GetFunctionUrlConfig UpdateFunctionUrlConfig",
      ),
      on: functions,
    },
  ],
  "AWS::Lambda::EventSourceMapping": [
    {
      actions: words(
        "lambda",
        "CreateEventSourceMapping DeleteEventSourceMapping GetEventSourceMapping UpdateEventSourceMapping",
      ),
      on: any,
    },
    {
      actions: words("lambda", "ListTags TagResource UntagResource"),
      on: [at("lambda", "event-source-mapping:*")],
    },
  ],
  "AWS::ApiGatewayV2::Api": [apiGateway],
  "AWS::ApiGatewayV2::Integration": [apiGateway],
  "AWS::ApiGatewayV2::Route": [apiGateway],
  "AWS::ApiGatewayV2::Stage": [
    apiGateway,
    {
      // For its access log.
      actions: words(
        "logs",
        "CreateLogDelivery DeleteLogDelivery DescribeResourcePolicies GetLogDelivery ListLogDeliveries PutResourcePolicy UpdateLogDelivery",
      ),
      on: any,
    },
  ],
  "AWS::SQS::Queue": [
    {
      actions: words(
        "sqs",
        "CreateQueue GetQueueAttributes GetQueueUrl ListQueueTags SetQueueAttributes TagQueue UntagQueue",
      ),
      on: queues,
    },
  ],
  "AWS::SQS::QueuePolicy": [{ actions: words("sqs", "GetQueueAttributes SetQueueAttributes"), on: queues }],
  "AWS::DynamoDB::Table": [
    {
      actions: words(
        "dynamodb",
        "CreateTable DescribeContinuousBackups DescribeContributorInsights DescribeKinesisStreamingDestination DescribeTable DescribeTimeToLive GetResourcePolicy ListTagsOfResource TagResource UntagResource UpdateContinuousBackups UpdateTable UpdateTimeToLive",
      ),
      on: [at("dynamodb", `table/${named}`)],
    },
  ],
  "AWS::IAM::Role": [
    {
      actions: words(
        "iam",
        "CreateRole DeleteRole DeleteRolePolicy GetRole GetRolePolicy ListAttachedRolePolicies ListRolePolicies PutRolePolicy TagRole UntagRole UpdateAssumeRolePolicy UpdateRole UpdateRoleDescription",
      ),
      on: roles,
    },
  ],
  "AWS::CloudWatch::Alarm": [
    {
      actions: words(
        "cloudwatch",
        "DeleteAlarms DescribeAlarms ListTagsForResource PutMetricAlarm TagResource UntagResource",
      ),
      on: shown,
    },
  ],
  "AWS::CloudWatch::Dashboard": [
    {
      actions: words(
        "cloudwatch",
        "DeleteDashboards GetDashboard ListTagsForResource PutDashboard TagResource UntagResource",
      ),
      on: shown,
    },
  ],
  "AWS::ECS::Cluster": [
    {
      actions: words("ecs", "CreateCluster DeleteCluster DescribeClusters TagResource UntagResource UpdateCluster"),
      on: [at("ecs", `cluster/${named}`)],
    },
  ],
  "AWS::ECS::Service": [
    {
      actions: words("ecs", "CreateService DeleteService DescribeServices TagResource UntagResource UpdateService"),
      on: [at("ecs", `service/${named}`)],
    },
  ],
  "AWS::ECS::TaskDefinition": [
    {
      actions: words("ecs", "DeregisterTaskDefinition DescribeTaskDefinition RegisterTaskDefinition TagResource"),
      on: any,
    },
    passing("ecs-tasks.amazonaws.com"),
  ],
  "AWS::EC2::SecurityGroup": [
    {
      actions: words(
        "ec2",
        "AuthorizeSecurityGroupEgress CreateSecurityGroup CreateTags DeleteSecurityGroup DescribeSecurityGroups RevokeSecurityGroupEgress",
      ),
      on: any,
    },
  ],
};

/** The same of a domain. IAM takes no longer policy than the first one is, so these are one of their own. */
const ofDomain: typeof ofTypes = {
  "AWS::ApiGatewayV2::DomainName": [{ ...apiGateway, on: domains }],
  "AWS::ApiGatewayV2::ApiMapping": [{ ...apiGateway, on: domains }],
  "AWS::CertificateManager::Certificate": [
    {
      actions: words(
        "acm",
        "AddTagsToCertificate DeleteCertificate DescribeCertificate ListTagsForCertificate RemoveTagsFromCertificate RequestCertificate",
      ),
      on: any,
    },
  ],
  "AWS::Route53::RecordSet": [
    {
      actions: words("route53", "ChangeResourceRecordSets GetHostedZone ListResourceRecordSets"),
      on: ["arn:aws:route53:::hostedzone/*"],
    },
    { actions: ["route53:GetChange"], on: any },
  ],
};

/** What osls and the commands call themselves. */
const ofTools: readonly Rights[] = [
  {
    actions: words(
      "cloudformation",
      "CreateChangeSet DeleteChangeSet DescribeChangeSet DescribeStackEvents DescribeStackResource DescribeStacks ExecuteChangeSet GetTemplate ListStackResources SetStackPolicy UpdateTerminationProtection",
    ),
    on: [at("cloudformation", `stack/${named}/*`)],
  },
  {
    actions: ["cloudformation:ValidateTemplate", "lambda:GetAccountSettings", "lambda:ListEventSourceMappings"],
    on: any,
  },
  // The zips and templates of the last deployments.
  { actions: words("s3", "DeleteObject GetObject PutObject"), on: [`arn:aws:s3:::${named}/*`] },
  // Only looked at. One statement for all three: IAM takes a policy of 6,144 characters.
  {
    actions: ["kms:DescribeKey", "kms:GetKeyPolicy", "sns:GetTopicAttributes", "ssm:GetParameter"],
    on: [at("kms", "key/*"), at("sns", "*"), at("ssm", `parameter/${exampleService}/*`)],
  },
];

function words(service: string, names: string): string[] {
  return names.split(" ").map((name) => `${service}:${name}`);
}

function passing(service: string): Rights {
  return { actions: ["iam:PassRole"], on: roles, condition: { StringEquals: { "iam:PassedToService": service } } };
}

export interface Policy {
  readonly Version: string;
  readonly Statement: readonly {
    readonly Effect: string;
    readonly Action: readonly string[];
    readonly Resource: readonly string[];
    readonly Condition?: object;
  }[];
}

/**
 * What a deployer needs for stacks of these templates: of all, and of a domain besides.
 * @throws {Error} A template has a type whose rights are not known here.
 */
export function deployerPolicies(templates: readonly Pick<Template, "Resources">[]): readonly [Policy, Policy] {
  const types = new Set(templates.flatMap(({ Resources }) => Object.values(Resources).map(({ Type }) => Type)));
  const domain: Rights[] = [];
  const rest: Rights[] = [];
  for (const type of [...types].sort()) {
    const rights = ofTypes[type] ?? ofDomain[type];
    if (rights === undefined) throw new Error(`docs/deployer-policy.ts does not know what ${type} needs`);
    (Object.hasOwn(ofDomain, type) ? domain : rest).push(...rights);
  }
  return [policyOf([...ofTools, ...rest]), policyOf(domain)];
}

function policyOf(rights: readonly Rights[]): Policy {
  const groups = Map.groupBy(rights, ({ on, condition }) => JSON.stringify([on, condition]));
  const Statement = [...groups.values()].flatMap((group) => {
    const [first] = group;
    if (first === undefined) return [];
    const Action = [...new Set(group.flatMap(({ actions }) => actions))].sort();
    const condition = first.condition === undefined ? {} : { Condition: first.condition };
    return [{ Effect: "Allow", Action, Resource: first.on, ...condition }];
  });
  return { Version: "2012-10-17", Statement };
}

const block = /(^```json\n)(\{\n {2}"Version": "2012-10-17",\n[\s\S]*?)(?=\n```$)/gm;
const page = (name: string) => join(import.meta.dirname, name);

/** The policies as a reader copies them. */
export function policiesOnPage(): Policy[] {
  return [...readFileSync(page("deploy.md"), "utf8").matchAll(block)].map(
    ([, , text = ""]) => JSON.parse(text) as Policy,
  );
}

/** The pages that hold other policies, each with the text that it should have. */
export function stalePolicyPages(policies: readonly Policy[]): { file: string; wanted: string }[] {
  return ["deploy.md", "zh-CN/deploy.md"]
    .map(page)
    .map((file) => ({ file, current: readFileSync(file, "utf8") }))
    .map(({ file, current }) => {
      const rest = policies.map(textOf);
      return { file, current, wanted: current.replace(block, (_, head: string) => head + rest.shift()) };
    })
    .filter(({ current, wanted }) => current !== wanted);
}

/** A line for each service of a statement. */
function textOf({ Version, Statement }: Policy): string {
  const lines = Statement.map(({ Effect, Action, Resource, Condition }) => {
    const byService = Map.groupBy(Action, (action) => action.split(":")[0]);
    const actions = [...byService.values()].map((group) => group.map((action) => JSON.stringify(action)).join(", "));
    const members = [
      `"Effect": "${Effect}"`,
      `"Action": [\n        ${actions.join(",\n        ")}\n      ]`,
      `"Resource": ${JSON.stringify(Resource).replaceAll('","', '", "')}`,
      ...(Condition === undefined ? [] : [`"Condition": ${JSON.stringify(Condition)}`]),
    ];
    return `    {\n      ${members.join(",\n      ")}\n    }`;
  });
  return `{\n  "Version": "${Version}",\n  "Statement": [\n${lines.join(",\n")}\n  ]\n}`;
}

if (import.meta.main) {
  const compiled = await Promise.all([
    compile("prod"),
    compile("prod", { params: { front: "both", domain: "bot.example.com", hostedZoneId: "Z0123456789ABC" } }),
    compile("prod", { config: { limits: { callbackReservedConcurrency: 2, callbackProvisionedConcurrency: 1 } } }),
  ]);
  const policies = deployerPolicies([...compiled.map(({ template }) => template), longConnection()]);
  for (const { file, wanted } of stalePolicyPages(policies)) {
    writeFileSync(file, wanted);
    console.log(`Wrote ${file}.`);
  }
}
