import { accepted, forDeployment, frontsOf, workerState } from "./deployment.js";
import * as environment from "./environment.js";
import { lanesOf } from "./lanes.js";
import { projectOf } from "./project.js";
import { isInChina } from "./provider.js";
import { listOf, tagsOf } from "./tags.js";

/** @typedef {import("./deployment.js").Variables} Variables */

/** HTTP in, for events: runs no user code. */
export const webhook = forDeployment(({ front }, { limits, optional }) => ({
  ...bundleOf("webhook", "WebhookRole"),
  ...doorOf(front, ["/", "/webhook"]),
  timeout: limits.webhookTimeoutSeconds,
  memorySize: limits.webhookMemoryMb,
  reservedConcurrency: optional.webhookReservedConcurrency,
}));

/**
 * HTTP in, for callbacks.
 * @param {Variables} variables
 */
export async function callback(variables) {
  const settings = forDeployment(({ front }, { limits, optional }) => ({
    ...bundleOf("callback", "CallbackRole"),
    ...doorOf(front, ["/callback"]),
    timeout: limits.callbackTimeoutSeconds,
    memorySize: limits.callbackMemoryMb,
    reservedConcurrency: optional.callbackReservedConcurrency,
    provisionedConcurrency: optional.callbackProvisionedConcurrency,
  }));
  return { ...(await settings(variables)), environment: await environment.callback(variables) };
}

/**
 * SQS in: run the handlers, one function for each lane.
 * @param {Variables} variables
 */
export async function workers(variables) {
  const isRunning = (await workerState(variables)) === "running";
  const shared = await environment.ofHandlers(variables);
  const settings = forDeployment((_, project) =>
    Object.fromEntries(
      lanesOf(project).map((lane) => [
        `worker${lane.id}`,
        {
          ...workerOf(lane, isRunning, project.optional),
          environment: { ...shared, ...environment.ofLane(lane) },
        },
      ]),
    ),
  );
  return settings(variables);
}

/**
 * @param {import("./lanes.js").Lane} lane
 * @param {boolean} isRunning
 * @param {typeof import("./limits.js").optional} optional For the default lane.
 */
function workerOf(lane, isRunning, { maximumPollers, workerReservedConcurrency }) {
  const isDefault = lane.name === "default";
  return {
    ...bundleOf("worker", `Worker${lane.id}Role`),
    events: [
      {
        sqs: {
          arn: { "Fn::GetAtt": [lane.queueId, "Arn"] },
          enabled: isRunning,
          batchSize: lane.batchSize,
          // Lambda takes none for a FIFO queue, not even 0.
          ...(lane.order === null ? { maximumBatchingWindow: lane.batchWindowSeconds } : {}),
          // Provisioned pollers have a limit of their own, and AWS takes one of the two.
          ...(isDefault && maximumPollers !== null ? {} : { maximumConcurrency: lane.concurrency }),
          // Without it, a record that failed would be deleted with its batch. And no filter: what a filter does not
          // match is deleted, too.
          functionResponseType: "ReportBatchItemFailures",
        },
      },
    ],
    timeout: lane.timeoutSeconds,
    memorySize: lane.memoryMb,
    reservedConcurrency: isDefault ? workerReservedConcurrency : null,
  };
}

/**
 * @param {string} name Of the entry, which is bundled to that folder.
 * @param {string} role
 */
function bundleOf(name, role) {
  return {
    handler: `dist/${name}/index.handler`,
    role,
    // Without source maps.
    package: { patterns: [`dist/${name}/**`, "!**/*.map"] },
  };
}

/**
 * @param {import("./deployment.js").Deployment["front"]} front
 * @param {readonly string[]} paths Exactly those that exist; which method is right, the function says.
 */
function doorOf(front, paths) {
  const { hasApi, hasUrl } = frontsOf({ front });
  return {
    events: hasApi ? paths.map((path) => ({ httpApi: `ANY ${path}` })) : [],
    url: hasUrl,
  };
}

/**
 * Additions to the resources that osls makes of serverless.yml, for what osls has no setting.
 * @param {import("./deployment.js").Deployment} deployment
 * @param {import("./project.js").Project} project
 */
function extensionsOf(deployment, project = projectOf({})) {
  const { customerKeyArn } = deployment;
  const { limits, optional, eventCountMetrics } = project;
  const reasons = {
    CKV_AWS_115: "reserved concurrency is optional (infra/limits.js): a small account cannot give any away",
    W92: "reserved concurrency is optional (infra/limits.js): a small account cannot give any away",
    CKV_AWS_116: "never invoked asynchronously: it has no such failures",
    CKV_AWS_117: "reaches no private resource; a VPC would add its start and a NAT gateway",
    W89: "reaches no private resource; a VPC would add its start and a NAT gateway",
    CKV_AWS_173: "no secret is in the environment",
  };
  const lanes = lanesOf(project);
  const workers = lanes.map(({ id }) => `Worker${id}`);
  const names = [...answering, ...workers];
  const { hasApi, hasUrl } = frontsOf(deployment);
  const logGroups = [...names.map((name) => `${name}LogGroup`), ...(hasApi ? ["HttpApiLogGroup"] : [])];
  const { minimumPollers, maximumPollers } = optional;
  const Tags = listOf(deployment, project);
  return {
    ...Object.fromEntries(
      lanes.map(({ name, mappingId }) => [
        mappingId,
        {
          Properties: {
            // A mapping in China has none.
            ...(isInChina(deployment.region) ? {} : { Tags }),
            ...(name !== "default" || maximumPollers === null
              ? {}
              : { ProvisionedPollerConfig: { MinimumPollers: minimumPollers, MaximumPollers: maximumPollers } }),
            ...(eventCountMetrics ? { MetricsConfig: { Metrics: ["EventCount"] } } : {}),
          },
        },
      ]),
    ),
    ...Object.fromEntries(
      names.map((name) => [
        `${name}LambdaFunction`,
        {
          // Lambda would end a chain of deferred work after 16 rounds. `maxDeferrals` and `deferForSeconds` bound it.
          Properties: { Tags, ...(workers.includes(name) ? { RecursiveLoop: "Allow" } : {}) },
          Metadata: accepted(reasons),
        },
      ]),
    ),
    ...Object.fromEntries(
      logGroups.map((id) => [
        id,
        customerKeyArn === ""
          ? {
              Properties: { Tags },
              Metadata: accepted({ CKV_AWS_158: "encrypted by CloudWatch Logs", W84: "encrypted by CloudWatch Logs" }),
            }
          : { Properties: { Tags, KmsKeyId: customerKeyArn } },
      ]),
    ),
    ...(hasApi ? apiExtensions(limits, tagsOf(deployment, project)) : {}),
    ...(hasUrl ? urlExtensions : {}),
  };
}

/**
 * @param {typeof import("./limits.js").limits} limits
 * @param {Record<string, string>} Tags
 */
function apiExtensions(limits, Tags) {
  const throttled = (/** @type {number} */ ThrottlingRateLimit, /** @type {number} */ ThrottlingBurstLimit) => ({
    DetailedMetricsEnabled: false,
    ThrottlingRateLimit,
    ThrottlingBurstLimit,
  });
  return {
    HttpApi: { Properties: { Tags } },
    HttpApiStage: {
      // A stage is refused whose settings name a route that does not exist yet.
      DependsOn: ["HttpApiRouteAnyCallback"],
      Properties: {
        Tags,
        DefaultRouteSettings: throttled(limits.routeRatePerSecond, limits.routeBurst),
        RouteSettings: { "ANY /callback": throttled(limits.callbackRatePerSecond, limits.callbackBurst) },
      },
    },
  };
}

/** The functions that answer HTTP. */
const answering = ["Webhook", "Callback"];

const publicUrl = {
  Metadata: accepted({ F13: "a Function URL is public, and this permission holds for calls through it only" }),
};

const urlExtensions = Object.fromEntries(
  answering.flatMap((name) => [
    [
      `${name}LambdaFunctionUrl`,
      { Metadata: accepted({ CKV_AWS_258: "Feishu cannot sign for IAM; the function checks Feishu's signature" }) },
    ],
    [`${name}LambdaPermissionFnUrl`, publicUrl],
    [`${name}LambdaPermissionFn`, publicUrl],
  ]),
);

export const functions = forDeployment((deployment, project) => ({ extensions: extensionsOf(deployment, project) }));
