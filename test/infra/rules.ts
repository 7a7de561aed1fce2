import type { Resource, Template } from "./stack.ts";

/** One rule of a static checker, as far as it concerns what we deploy. */
export interface Rule {
  readonly ids: readonly string[];
  readonly title: string;
  readonly type: string;
  readonly holds: (resource: Resource, template: Template) => boolean;
}

interface Statement {
  readonly Effect: string;
  readonly Action: string | string[];
  readonly Resource: unknown;
  readonly Principal?: unknown;
  readonly NotPrincipal?: unknown;
}

/** Every statement of a role's own policies. */
export function statementsOf(role: Resource): Statement[] {
  const policies = (role.Properties["Policies"] ?? []) as { PolicyDocument: { Statement: Statement[] } }[];
  return policies.flatMap(({ PolicyDocument }) => PolicyDocument.Statement);
}

/** The statement that lets a role use a key, through the given services and in no other way. */
export function keyThrough(keyArn: string, services: readonly string[]): object {
  const hosts = services.flatMap((service) => [
    { "Fn::Sub": `${service}.\${AWS::Region}.amazonaws.com` },
    { "Fn::Sub": `${service}.\${AWS::Region}.amazonaws.com.cn` },
  ]);
  const ofTable = services.includes("dynamodb") ? ["kms:Encrypt", "kms:DescribeKey"] : [];
  return {
    Effect: "Allow",
    Action: ["kms:Decrypt", "kms:GenerateDataKey", ...ofTable],
    Resource: [keyArn],
    Condition: { StringEquals: { "kms:ViaService": hosts } },
  };
}

const queuePolicyStatements = ({ Properties }: Resource): Statement[] => Properties["PolicyDocument"].Statement;
const has =
  (...path: string[]) =>
  ({ Properties }: Resource) =>
    path.reduce<unknown>((value, name) => (value as Record<string, unknown> | undefined)?.[name], Properties) !==
    undefined;

export const rules: readonly Rule[] = [
  {
    ids: ["CKV_AWS_27", "W48"],
    title: "queues are encrypted with a key",
    type: "AWS::SQS::Queue",
    holds: has("KmsMasterKeyId"),
  },
  {
    ids: ["CKV_AWS_28", "W78"],
    title: "tables can be restored to a point in time",
    type: "AWS::DynamoDB::Table",
    holds: ({ Properties }) => Properties["PointInTimeRecoverySpecification"]?.PointInTimeRecoveryEnabled === true,
  },
  {
    ids: ["W74"],
    title: "tables are encrypted with a KMS key",
    type: "AWS::DynamoDB::Table",
    holds: ({ Properties }) => Properties["SSESpecification"]?.SSEEnabled === true,
  },
  {
    ids: ["CKV_AWS_119"],
    title: "tables are encrypted with a key of one's own",
    type: "AWS::DynamoDB::Table",
    holds: has("SSESpecification", "KMSMasterKeyId"),
  },
  {
    ids: ["CKV_AWS_45"],
    title: "functions have no credentials in their environment",
    type: "AWS::Lambda::Function",
    holds: ({ Properties }) =>
      !/AKIA[0-9A-Z]{16}|ASIA[0-9A-Z]{16}|[A-Za-z0-9/+=]{40}/.test(JSON.stringify(Properties["Environment"])),
  },
  {
    ids: ["CKV_AWS_63", "CKV_AWS_107", "CKV_AWS_108", "CKV_AWS_109", "CKV_AWS_110", "CKV_AWS_111"],
    title: "roles name each action and each resource",
    type: "AWS::IAM::Role",
    holds: (role) => statementsOf(role).every((statement) => !JSON.stringify(statement).includes("*")),
  },
  {
    ids: ["CKV_AWS_66", "W86"],
    title: "logs end",
    type: "AWS::Logs::LogGroup",
    holds: ({ Properties }) => Number(Properties["RetentionInDays"]) > 0,
  },
  {
    ids: ["CKV_AWS_95", "W46"],
    title: "the HTTP API has an access log",
    type: "AWS::ApiGatewayV2::Stage",
    holds: has("AccessLogSettings", "DestinationArn"),
  },
  {
    ids: ["ES2003"],
    title: "the HTTP API is throttled",
    type: "AWS::ApiGatewayV2::Stage",
    holds: (stage) =>
      has("DefaultRouteSettings", "ThrottlingRateLimit")(stage) &&
      has("DefaultRouteSettings", "ThrottlingBurstLimit")(stage),
  },
  {
    ids: ["CKV_AWS_115", "W92"],
    title: "functions have reserved concurrency",
    type: "AWS::Lambda::Function",
    holds: has("ReservedConcurrentExecutions"),
  },
  {
    ids: ["CKV_AWS_116"],
    title: "functions have a dead-letter queue for asynchronous calls",
    type: "AWS::Lambda::Function",
    holds: has("DeadLetterConfig"),
  },
  {
    ids: ["CKV_AWS_117", "W89"],
    title: "functions are in a VPC",
    type: "AWS::Lambda::Function",
    holds: has("VpcConfig"),
  },
  {
    ids: ["CKV_AWS_173"],
    title: "functions' environments are encrypted with a key",
    type: "AWS::Lambda::Function",
    holds: has("KmsKeyArn"),
  },
  {
    ids: ["CKV_AWS_363"],
    title: "functions run on the Node of .node-version, which is current",
    type: "AWS::Lambda::Function",
    holds: ({ Properties }) => Properties["Runtime"] === `nodejs${process.versions.node.split(".")[0]}.x`,
  },
  {
    ids: ["W58"],
    title: "functions may write their logs",
    type: "AWS::IAM::Role",
    holds: (role) => {
      const actions = statementsOf(role).flatMap(({ Action }) => Action);
      return actions.includes("logs:CreateLogStream") && actions.includes("logs:PutLogEvents");
    },
  },
  {
    ids: ["CKV_AWS_158", "W84"],
    title: "logs are encrypted with a key",
    type: "AWS::Logs::LogGroup",
    holds: has("KmsKeyId"),
  },
  {
    ids: ["CKV_AWS_258"],
    title: "Function URLs ask for IAM",
    type: "AWS::Lambda::Url",
    holds: ({ Properties }) => Properties["AuthType"] === "AWS_IAM",
  },
  {
    ids: ["CKV_AWS_364"],
    title: "a service may call a function on behalf of our own resource only",
    type: "AWS::Lambda::Permission",
    holds: (permission) =>
      !String(permission.Properties["Principal"]).endsWith(".amazonaws.com") || has("SourceArn")(permission),
  },
  {
    ids: ["F13"],
    title: "not everybody may call a function",
    type: "AWS::Lambda::Permission",
    holds: ({ Properties }) => Properties["Principal"] !== "*",
  },
  {
    ids: ["F7", "F20", "F21"],
    title: "queue policies allow nobody everything",
    type: "AWS::SQS::QueuePolicy",
    holds: (policy) => queuePolicyStatements(policy).every(({ Effect }) => Effect === "Deny"),
  },
  {
    ids: ["E3505"],
    title: "a queue hides a record for longer than its function runs",
    type: "AWS::Lambda::EventSourceMapping",
    holds: ({ Properties }, { Resources }) => {
      const at = (value: { "Fn::GetAtt": [string, string] }) => Resources[value["Fn::GetAtt"][0]]?.Properties;
      const visibility = at(Properties["EventSourceArn"])?.["VisibilityTimeout"];
      return visibility >= at(Properties["FunctionName"])?.["Timeout"];
    },
  },
];

/** Findings that a resource says are meant to be, with the reason. */
export function acceptedOn({ Metadata }: Resource): Map<string, string> {
  return new Map([
    ...(Metadata?.checkov?.skip ?? []).map(({ id, comment }) => [id, comment] as const),
    ...(Metadata?.cfn_nag?.rules_to_suppress ?? []).map(({ id, reason }) => [id, reason] as const),
  ]);
}
