import { alarmsOf, page, ticket } from "./alarms.js";
import { when } from "./conditions.js";
import { accepted, nameOf } from "./deployment.js";
import { longConnectionMaximumPercent } from "./limits.js";
import { stageFilter } from "./metrics.js";
import { allow, arn, callbackRoleExport, ownLogs, role } from "./permissions.js";
import { projectOf } from "./project.js";
import { architectureOf } from "./provider.js";
import { withTags } from "./tags.js";

/**
 * The stage that it belongs to, whose stack is deployed already.
 * @typedef {Pick<import("./deployment.js").Deployment, "service" | "stage" | "customerKeyArn" | "pageTopicArn" | "ticketTopicArn">
 *   & { region: string, variables: Readonly<Record<string, string>> }} Stage `variables` are those of its worker.
 */

/**
 * @typedef {object} Service
 * @property {string} image With a tag or a digest.
 * @property {string} vpc
 * @property {readonly string[]} subnets
 * @property {boolean} hasPublicIp
 */

/** Any free port: it cannot be reached from outside the task. */
const healthPort = 8080;
/** Seconds between two log lines that say whether a process is connected: three lines in an alarm's minute. */
const heartbeatSeconds = 20;
/** Seconds from SIGTERM to SIGKILL: 5 for messages in hand, and some for closing. */
const stopSeconds = 15;
const containerName = "long-connection";

/** Asks the process, which answers 503 while it is not connected. Without Node's own agent, which may use a proxy. */
export const healthCheck =
  'require("http").get({host:"127.0.0.1",port:process.env.HEALTH_PORT,agent:false},r=>process.exit(r.statusCode===200?0:1)).on("error",()=>process.exit(1))';

/**
 * The stack beside a stage's own: the long connection as a service of ECS on Fargate.
 * @param {Stage} stage
 * @param {Service} service
 * @param {Pick<import("./project.js").Project, "limits" | "alarmThresholds" | "tags">} project
 */
export function longConnectionTemplate(stage, service, project = projectOf({})) {
  const { image, vpc, subnets, hasPublicIp } = service;
  return {
    Resources: withTags(longConnectionResources(stage, service, project), stage, project),
    // The next deployment uses these, unless it gets other values.
    Outputs: {
      Image: { Value: image },
      Vpc: { Value: vpc },
      Subnets: { Value: subnets.join(",") },
      PublicIp: { Value: String(hasPublicIp) },
    },
  };
}

/**
 * Its processes connect to Feishu, so no inbound port is open. They do the work of webhook and callback, under the
 * callback's role.
 * @param {Stage} stage
 * @param {Service} service
 * @param {Pick<import("./project.js").Project, "limits" | "alarmThresholds">} project
 */
function longConnectionResources(stage, service, { limits, alarmThresholds }) {
  const name = nameOf(stage, "long-connection");
  const { customerKeyArn } = stage;
  return {
    LongConnectionCluster: {
      Type: "AWS::ECS::Cluster",
      Metadata: accepted({
        CKV_AWS_65: "Container Insights are billed by the metric; the alarms read the log",
        CKV_AWS_223: "nobody may run a command in a task: EnableExecuteCommand is off",
      }),
      Properties: { ClusterName: name },
    },
    LongConnectionLogGroup: {
      Type: "AWS::Logs::LogGroup",
      ...(customerKeyArn === ""
        ? { Metadata: accepted({ CKV_AWS_158: "encrypted by CloudWatch Logs", W84: "encrypted by CloudWatch Logs" }) }
        : {}),
      Properties: {
        LogGroupName: `/ecs/${name}`,
        RetentionInDays: limits.logRetentionDays,
        ...(customerKeyArn === "" ? {} : { KmsKeyId: customerKeyArn }),
      },
    },
    // ECS's rights to start a task. The process does not have them.
    LongConnectionExecutionRole: executionRole(service.image),
    LongConnectionSecurityGroup: {
      Type: "AWS::EC2::SecurityGroup",
      Properties: {
        GroupDescription: "The long connection dials out over TLS; nothing leads in",
        VpcId: service.vpc,
        SecurityGroupIngress: [],
        SecurityGroupEgress: [
          { IpProtocol: "tcp", FromPort: 443, ToPort: 443, CidrIp: "0.0.0.0/0", Description: "Feishu and AWS" },
        ],
      },
      Metadata: accepted({
        CKV_AWS_382: "only port 443 is open, and Feishu has no addresses that it promises to keep",
        W5: "only port 443 is open, and Feishu has no addresses that it promises to keep",
      }),
    },
    LongConnectionTask: {
      Type: "AWS::ECS::TaskDefinition",
      Properties: {
        Family: name,
        RequiresCompatibilities: ["FARGATE"],
        NetworkMode: "awsvpc",
        RuntimePlatform: {
          CpuArchitecture: architectureOf(stage.region).toUpperCase(),
          OperatingSystemFamily: "LINUX",
        },
        Cpu: String(limits.longConnectionCpu),
        Memory: String(limits.longConnectionMemoryMb),
        // The stage's stack cannot be removed as long as this one imports the role.
        TaskRoleArn: { "Fn::ImportValue": callbackRoleExport(stage) },
        ExecutionRoleArn: arn("LongConnectionExecutionRole"),
        ContainerDefinitions: [containerOf(stage, service, limits)],
      },
    },
    LongConnectionService: ecsService(name, service, limits),
    ...metricFilters(name),
    LongConnectionStagesFilter: stageFilter(stage, "callback", "LongConnectionLogGroup"),
    ...alarmsOf(stage, connectionAlarms(name, alarmThresholds)),
  };
}

/**
 * @param {string} name
 * @param {Service} service
 * @param {import("./project.js").Project["limits"]} limits
 */
function ecsService(name, service, limits) {
  return {
    Type: "AWS::ECS::Service",
    // A task that starts before its role has rights fails, and so does the deployment.
    DependsOn: ["LongConnectionExecutionRole", "LongConnectionLogGroup"],
    ...(service.hasPublicIp
      ? { Metadata: accepted({ CKV_AWS_333: "asked for: the subnets have no NAT, and nothing may come in" }) }
      : {}),
    Properties: {
      ServiceName: name,
      Cluster: { Ref: "LongConnectionCluster" },
      TaskDefinition: { Ref: "LongConnectionTask" },
      LaunchType: "FARGATE",
      PropagateTags: "SERVICE",
      DesiredCount: limits.longConnectionReplicas,
      DeploymentConfiguration: {
        // ECS rounds up: a single replica stays until the next one is healthy.
        MinimumHealthyPercent: 50,
        MaximumPercent: longConnectionMaximumPercent(limits),
        DeploymentCircuitBreaker: { Enable: true, Rollback: true },
      },
      EnableExecuteCommand: false,
      NetworkConfiguration: {
        AwsvpcConfiguration: {
          Subnets: service.subnets,
          SecurityGroups: [{ "Fn::GetAtt": ["LongConnectionSecurityGroup", "GroupId"] }],
          AssignPublicIp: service.hasPublicIp ? "ENABLED" : "DISABLED",
        },
      },
    },
  };
}

/**
 * @param {string} name
 * @param {import("./project.js").Project["alarmThresholds"]} thresholds
 */
function connectionAlarms(name, thresholds) {
  return {
    LongConnectionDown: page(
      "no process is connected. Repaired within 6 hours, no event is lost; callbacks fail meanwhile. The log's stages `disconnected` and `misconfigured` say why.",
      {
        ...when(logMetric(name, "Connected"), "Sum", "<", 1),
        // A process that is gone logs nothing.
        TreatMissingData: "breaching",
      },
    ),
    LongConnectionRefused: page(
      "the platform refuses the long connection, or a setting is missing. The log's stages `disconnected` and `misconfigured` say why.",
      when(logMetric(name, "Refused"), "Sum", ">=", 1),
    ),
    LongConnectionUnavailable: ticket(
      "a message was answered with 500. Feishu pushes an event again, but no callback. The log's stage `unavailable` says why.",
      when(logMetric(name, "Unavailable"), "Sum", ">=", thresholds.longConnectionUnavailablePerMinute),
    ),
    LongConnectionStaleKeys: page(
      "the long connection cannot read the app's secret from SSM, and uses the last good one until staleKeysSeconds have passed. The log's stages `stale-keys` and `misconfigured` say why.",
      when(logMetric(name, "StaleKeys"), "Sum", ">=", 1),
    ),
  };
}

/**
 * Counts of log lines, by stage.
 * @param {string} name
 */
function metricFilters(name) {
  const patterns = {
    Connected: '{ $.stage = "connected" }',
    // Connected with level error: no message has come for QUIET_SECONDS.
    Refused:
      '{ $.level = "error" && ($.stage = "disconnected" || $.stage = "misconfigured" || $.stage = "connected") }',
    Unavailable: '{ $.stage = "unavailable" }',
    StaleKeys: '{ $.stage = "stale-keys" }',
  };
  return Object.fromEntries(
    Object.entries(patterns).map(([what, FilterPattern]) => [
      `LongConnection${what}Filter`,
      {
        Type: "AWS::Logs::MetricFilter",
        Properties: {
          LogGroupName: { Ref: "LongConnectionLogGroup" },
          FilterPattern,
          MetricTransformations: [
            {
              MetricNamespace: name,
              MetricName: what,
              MetricValue: "1",
              // Other log lines count as 0, so there is no value only if the process logs nothing.
              DefaultValue: 0,
            },
          ],
        },
      },
    ]),
  );
}

/**
 * @param {string} name
 * @param {string} what
 */
function logMetric(name, what) {
  return { namespace: name, name: what, dimensions: {} };
}

/**
 * @param {Stage} stage
 * @param {Service} service
 * @param {import("./project.js").Project["limits"]} limits
 */
function containerOf({ variables }, service, limits) {
  const { DEAD_LETTER_QUEUE_URL, MAX_ATTEMPTS, MAX_RECEIVE_COUNT, MAX_AGE_SECONDS, ...shared } = variables;
  const environment = {
    ...shared,
    CALLBACK_DEADLINE_MS: String(limits.callbackDeadlineMs),
    HEALTH_PORT: String(healthPort),
    HEARTBEAT_SECONDS: String(heartbeatSeconds),
    // Lambda sets it for its functions.
    AWS_REGION: { Ref: "AWS::Region" },
  };
  return {
    Name: containerName,
    Image: service.image,
    Essential: true,
    User: "node",
    ReadonlyRootFilesystem: true,
    LinuxParameters: { InitProcessEnabled: true, Capabilities: { Drop: ["ALL"] } },
    StopTimeout: stopSeconds,
    Environment: Object.entries(environment).map(([Name, Value]) => ({ Name, Value })),
    HealthCheck: {
      Command: ["CMD", "node", "-e", healthCheck],
      // A process that is not connected for 5 minutes is replaced.
      Interval: 30,
      Timeout: 5,
      Retries: 10,
      StartPeriod: 60,
    },
    LogConfiguration: {
      LogDriver: "awslogs",
      Options: {
        "awslogs-group": { Ref: "LongConnectionLogGroup" },
        "awslogs-region": { Ref: "AWS::Region" },
        "awslogs-stream-prefix": containerName,
        // A slow log must not delay answers that have 3 seconds.
        mode: "non-blocking",
        "max-buffer-size": "4m",
      },
    },
  };
}

/** @param {string} image */
function executionRole(image) {
  const logs = ownLogs("LongConnectionLogGroup");
  const [, account, region, repository] =
    /^(\d{12})\.dkr\.ecr\.([a-z\d-]+)\.amazonaws\.com(?:\.cn)?\/([^:@]+)[:@]/.exec(image) ?? [];
  // An image in another registry is public, and needs no rights.
  if (repository === undefined) return role([logs], ["ecs-tasks.amazonaws.com"]);
  const repositoryArn = { "Fn::Sub": `arn:\${AWS::Partition}:ecr:${region}:${account}:repository/${repository}` };
  const anyToken = "ecr:GetAuthorizationToken knows no resource; what is pulled is one repository's";
  return {
    ...role(
      [
        allow(["ecr:GetAuthorizationToken"], ["*"]),
        allow(["ecr:BatchCheckLayerAvailability", "ecr:GetDownloadUrlForLayer", "ecr:BatchGetImage"], [repositoryArn]),
        logs,
      ],
      ["ecs-tasks.amazonaws.com"],
    ),
    Metadata: accepted({ CKV_AWS_111: anyToken, W11: anyToken }),
  };
}
