import { acceptedOn, statementsOf } from "./rules.ts";
import type { Resource, Template } from "./stack.ts";

type Resources = Record<string, Resource>;

/** A reason for which a finding is accepted, and what in the template makes it true. */
interface Waiver {
  /** To the letter: a reason that is worded anew is a new claim. */
  readonly reason: string;
  readonly holds: (resource: Resource, resources: Resources, id: string) => boolean;
  /** Makes it untrue. */
  readonly breaks: (resource: Resource, resources: Resources, id: string) => void;
}

const refersTo = (value: unknown, id: string) => JSON.stringify(value ?? null).includes(JSON.stringify(id));
const ofType = (resources: Resources, type: string) => Object.values(resources).filter(({ Type }) => Type === type);
const roleOf = ({ Properties }: Resource, resources: Resources) => resources[Properties["Role"]["Fn::GetAtt"][0]];
const actionsOf = (role: Resource | undefined) =>
  (role === undefined ? [] : statementsOf(role)).flatMap(({ Action }) => Action);
const service = (resources: Resources) => resources["LongConnectionService"]?.Properties ?? {};

/** Who may invoke a function and waits for its answer. All else, a rule or a topic, invokes and goes. */
const waits = ({ Properties }: Resource) =>
  Properties["Principal"] === "apigateway.amazonaws.com" ||
  Properties["FunctionUrlAuthType"] !== undefined ||
  Properties["InvokedViaFunctionUrl"] === true;
const reserved = "reserved concurrency is optional (infra/limits.js): a small account cannot give any away";
const noVpc = "reaches no private resource; a VPC would add its start and a NAT gateway";
const publicServices = new Set(["sqs", "ssm", "dynamodb", "kms", "logs"]);

export const waivers: readonly Waiver[] = [
  {
    reason: reserved,
    // It may be set, and then needs no excuse; whether it can be is for the test that changes the limits.
    holds: ({ Properties }) =>
      [undefined, null].includes(Properties["ReservedConcurrentExecutions"]) ||
      Properties["ReservedConcurrentExecutions"] > 0,
    breaks: ({ Properties }) => Object.assign(Properties, { ReservedConcurrentExecutions: 0 }),
  },
  {
    reason: "never invoked asynchronously: it has no such failures",
    holds: (_, resources, id) =>
      ofType(resources, "AWS::Lambda::Permission")
        .filter(({ Properties }) => refersTo(Properties["FunctionName"], id))
        .every(waits) && !ofType(resources, "AWS::Lambda::EventInvokeConfig").some((one) => refersTo(one, id)),
    breaks: (_, resources, id) => {
      const Properties = { FunctionName: { "Fn::GetAtt": [id, "Arn"] }, Principal: "events.amazonaws.com" };
      resources["Rule"] = { Type: "AWS::Lambda::Permission", Properties };
    },
  },
  {
    reason: noVpc,
    holds: (resource, resources) =>
      resource.Properties["VpcConfig"] === undefined &&
      actionsOf(roleOf(resource, resources)).every((action) => publicServices.has(action.split(":")[0] ?? "")),
    breaks: (resource, resources) => {
      const [statement] = statementsOf(roleOf(resource, resources) as Resource);
      Object.assign(statement ?? {}, { Action: ["rds-db:connect"] });
    },
  },
  {
    reason: "no secret is in the environment",
    holds: ({ Properties }) =>
      Object.keys(Properties["Environment"].Variables).every((name) => !/(KEY|TOKEN|SECRET|PASSWORD)S?$/.test(name)),
    breaks: ({ Properties }) => Object.assign(Properties["Environment"].Variables, { APP_SECRET: "x" }),
  },
  {
    reason: "encrypted by CloudWatch Logs",
    holds: ({ Type, Properties }) => Type === "AWS::Logs::LogGroup" && Properties["KmsKeyId"] === undefined,
    breaks: ({ Properties }) => Object.assign(Properties, { KmsKeyId: "arn:aws:kms:x" }),
  },
  {
    reason: "Feishu cannot sign for IAM; the function checks Feishu's signature",
    // Provisioned concurrency puts an alias between a URL and its function, so the ids say which it is.
    holds: (_, resources, id) => {
      const target = resources[id.replace(/Url$/, "")];
      return target !== undefined && target.Properties["Environment"].Variables["ALLOW_UNENCRYPTED"] === undefined;
    },
    breaks: (_, resources, id) => {
      const target = resources[id.replace(/Url$/, "")];
      Object.assign(target?.Properties["Environment"].Variables, { ALLOW_UNENCRYPTED: "true" });
    },
  },
  {
    reason: "a Function URL is public, and this permission holds for calls through it only",
    holds: ({ Properties }) =>
      Properties["Action"] === "lambda:InvokeFunctionUrl" || Properties["InvokedViaFunctionUrl"] === true,
    breaks: ({ Properties }) =>
      Object.assign(Properties, { Action: "lambda:InvokeFunction", InvokedViaFunctionUrl: undefined }),
  },
  {
    reason: "SQS-managed encryption is on",
    holds: ({ Properties }) =>
      Properties["SqsManagedSseEnabled"] === true && Properties["KmsMasterKeyId"] === undefined,
    breaks: ({ Properties }) => Object.assign(Properties, { SqsManagedSseEnabled: false }),
  },
  {
    // What the table holds is for test/aws/table-contents.test.ts.
    reason:
      "encrypted with the key that AWS manages: ids, hashes, times, counts, the class and place of an error, reactions to remove, sealed tokens, and for a day what callbacks were answered",
    holds: ({ Properties }) =>
      Properties["SSESpecification"].SSEEnabled === true && Properties["SSESpecification"].KMSMasterKeyId === undefined,
    breaks: ({ Properties }) => Object.assign(Properties, { SSESpecification: { SSEEnabled: false } }),
  },
  {
    reason: "Container Insights are billed by the metric; the alarms read the log",
    holds: ({ Properties }, resources) => {
      const filters = ofType(resources, "AWS::Logs::MetricFilter").map(
        (one) => one.Properties["MetricTransformations"],
      );
      const written = filters.flat().map(({ MetricNamespace }) => MetricNamespace);
      const alarms = Object.entries(resources).filter(([id]) => /^LongConnection\w+Alarm$/.test(id));
      return (
        Properties["ClusterSettings"] === undefined &&
        alarms.length > 0 &&
        alarms.every(([, alarm]) => written.includes(alarm.Properties["Namespace"]))
      );
    },
    breaks: (_, resources) =>
      Object.assign(resources["LongConnectionDownAlarm"]?.Properties ?? {}, { Namespace: "ECS/ContainerInsights" }),
  },
  {
    reason: "nobody may run a command in a task: EnableExecuteCommand is off",
    holds: (_, resources) => service(resources)["EnableExecuteCommand"] === false,
    breaks: (_, resources) => Object.assign(service(resources), { EnableExecuteCommand: true }),
  },
  {
    reason: "only port 443 is open, and Feishu has no addresses that it promises to keep",
    holds: ({ Properties }) =>
      Properties["SecurityGroupEgress"].every(
        (rule: Record<string, unknown>) =>
          rule["IpProtocol"] === "tcp" && rule["FromPort"] === 443 && rule["ToPort"] === 443,
      ),
    breaks: ({ Properties }) => Object.assign(Properties["SecurityGroupEgress"][0], { ToPort: 65_535 }),
  },
  {
    reason: "asked for: the subnets have no NAT, and nothing may come in",
    holds: ({ Properties }, resources) =>
      Properties["NetworkConfiguration"].AwsvpcConfiguration.AssignPublicIp === "ENABLED" &&
      resources["LongConnectionSecurityGroup"]?.Properties["SecurityGroupIngress"].length === 0,
    breaks: (_, resources) =>
      resources["LongConnectionSecurityGroup"]?.Properties["SecurityGroupIngress"].push({ IpProtocol: "tcp" }),
  },
  {
    reason: "ecr:GetAuthorizationToken knows no resource; what is pulled is one repository's",
    holds: (role) =>
      statementsOf(role).every(
        ({ Action, Resource }) =>
          !JSON.stringify(Resource).includes("*") || [Action].flat().join() === "ecr:GetAuthorizationToken",
      ),
    breaks: (role) => Object.assign(statementsOf(role)[1] ?? {}, { Resource: ["*"] }),
  },
];

/** Each reason of a template, by its resource, that nothing here proves. */
export function unproven({ Resources }: Template): string[] {
  return Object.entries(Resources).flatMap(([id, resource]) =>
    [...new Set(acceptedOn(resource).values())]
      .filter((reason) => waivers.find((one) => one.reason === reason)?.holds(resource, Resources, id) !== true)
      .map((reason) => `${id}: ${reason}`),
  );
}

/** The reasons of a template that would still pass for true when they are not; each is broken once. */
export function unnoticed(template: Template): string[] {
  return waivers.flatMap(({ reason, breaks }) => {
    const broken = structuredClone(template);
    const found = Object.entries(broken.Resources).find(([, one]) => [...acceptedOn(one).values()].includes(reason));
    if (found === undefined) return [];
    const [id, resource] = found;
    breaks(resource, broken.Resources as Resources, id);
    return unproven(broken).includes(`${id}: ${reason}`) ? [] : [`${id}: ${reason}`];
  });
}
