import { nameOf } from "./deployment.js";
import { lanesOf } from "./lanes.js";

// What is measured of a stage, once: the alarms and the dashboard read it from here.

/** @typedef {import("./deployment.js").Deployment} Deployment */

/** @typedef {{ namespace: string, name: string, dimensions: Record<string, unknown> }} Metric */

/** @typedef {Metric | readonly Metric[]} Count A list stands for the sum of its metrics. */

/**
 * @param {Deployment} deployment
 * @param {import("./lanes.js").Numbers} project
 */
export function metricsOf(deployment, project) {
  const lanes = lanesOf(project);
  const nets = [...new Set(lanes.map(({ deadLetterQueueId }) => deadLetterQueueId))];
  return {
    pushes: pushesOf(deployment),
    webhook: functionMetrics("Webhook"),
    callback: functionMetrics("Callback"),
    /** The queue and the worker of each lane. */
    lanes: lanes.map((lane) => ({ ...laneMetrics(deployment, lane), lane })),
    // What SQS moves to a dead-letter queue does not count as sent.
    deadLetters: nets.map((id) => queueMetric(id, "ApproximateNumberOfMessagesVisible")),
    quarantined: queueMetric("QuarantineQueue", "ApproximateNumberOfMessagesVisible"),
    callbacks: (/** @type {string} */ stage) => stageMetric(deployment, "callback", stage),
    /** The age in seconds of keys that are used while SSM cannot be read. Without a value, none is older than five minutes. */
    staleKeysSeconds: logMetric(deployment, "stale-keys"),
    ledger: {
      writes: tableMetric("ConsumedWriteCapacityUnits"),
      writeThrottles: tableMetric("WriteThrottleEvents"),
      readThrottles: tableMetric("ReadThrottleEvents"),
      faults: (/** @type {string} */ operation) => tableMetric("SystemErrors", operation),
    },
    loggedBytes: (/** @type {string} */ logGroup) => ({
      namespace: "AWS/Logs",
      name: "IncomingBytes",
      dimensions: { LogGroupName: { Ref: logGroup } },
    }),
  };
}

/**
 * @param {Deployment} deployment
 * @param {import("./lanes.js").Lane} lane
 */
function laneMetrics(deployment, { id, queueId, mappingId }) {
  const events = (/** @type {string} */ name) => queueMetric(queueId, name);
  return {
    worker: functionMetrics(`Worker${id}`),
    queue: {
      oldestSeconds: events("ApproximateAgeOfOldestMessage"),
      waiting: events("ApproximateNumberOfMessagesVisible"),
      inFlight: events("ApproximateNumberOfMessagesNotVisible"),
      sent: events("NumberOfMessagesSent"),
      emptyReceives: events("NumberOfEmptyReceives"),
    },
    runs: (/** @type {string} */ stage) => stageMetric(deployment, workerOf(id), stage),
    mapping: (/** @type {string} */ name) => mappingMetric(mappingId, name),
  };
}

/**
 * As the names of its metrics have it: a lane's failures must not be lost among another's runs.
 * @param {string} id
 */
function workerOf(id) {
  return id === "" ? "worker" : `worker-${id.toLowerCase()}`;
}

/**
 * Pushes at the fronts: all, and those answered with 4xx and 5xx. Events and callbacks are counted together, since they
 * share keys and store. Without a front, nobody reads them.
 * @param {Pick<Deployment, "front">} deployment
 * @returns {Record<"all" | "refused" | "failed", Count>}
 */
function pushesOf({ front }) {
  const api = { all: apiMetric("Count"), refused: apiMetric("4xx"), failed: apiMetric("5xx") };
  if (front === "httpApi" || front === "none") return api;
  const urls = {
    all: urlMetrics("UrlRequestCount"),
    refused: urlMetrics("Url4xxCount"),
    failed: urlMetrics("Url5xxCount"),
  };
  if (front === "functionUrl") return urls;
  return {
    all: [api.all, ...urls.all],
    refused: [api.refused, ...urls.refused],
    failed: [api.failed, ...urls.failed],
  };
}

/** Which log lines of runs are counted. A callback's `failed` of level `warn` is not: its callback was answered. */
const countedLines = {
  worker:
    '{ $.stage = "started" || ($.level = "warn" && $.stage = "failed") || $.stage = "dead" || $.stage = "busy" || $.stage = "lease-lost" || $.stage = "stale" }',
  callback: '{ $.stage = "started" || ($.level = "error" && ($.stage = "failed" || $.stage = "late")) }',
};

/**
 * Count log lines of what no other metric shows: a run that fails is no error of its function, and a callback that fails
 * is answered with 200.
 * @param {Deployment} deployment
 * @param {import("./lanes.js").Numbers} project
 */
export function metricFilters(deployment, project) {
  const workers = lanesOf(project).map(({ id }) => `Worker${id}`);
  const { namespace, name } = logMetric(deployment, "stale-keys");
  const staleKeys = { MetricNamespace: namespace, MetricName: name, MetricValue: "$.ageSeconds" };
  return {
    ...Object.fromEntries(
      lanesOf(project).map(({ id }) => [
        `Worker${id}StagesFilter`,
        stageFilter(deployment, "worker", `Worker${id}LogGroup`, workerOf(id)),
      ]),
    ),
    CallbackStagesFilter: stageFilter(deployment, "callback", "CallbackLogGroup"),
    ...Object.fromEntries(
      ["Webhook", "Callback", ...workers].map((name) => [
        `${name}StaleKeysFilter`,
        metricFilter(`${name}LogGroup`, '{ $.stage = "stale-keys" }', staleKeys),
      ]),
    ),
  };
}

/**
 * Counts the lines of a log by stage: one filter, and a metric for each stage that occurs.
 * @param {Pick<Deployment, "service" | "stage">} deployment
 * @param {keyof typeof countedLines} what
 * @param {string} logGroup
 * @param {string} counted Part of the metric's name.
 */
export function stageFilter(deployment, what, logGroup, counted = what) {
  const { namespace, name } = stageMetric(deployment, counted, "");
  return metricFilter(logGroup, countedLines[what], {
    MetricNamespace: namespace,
    MetricName: name,
    MetricValue: "1",
    Dimensions: [{ Key: "stage", Value: "$.stage" }],
  });
}

/**
 * Has no default value: a metric is billed for each hour in which it has a value.
 * @param {string} logGroup
 * @param {string} FilterPattern
 * @param {object} transformation
 */
function metricFilter(logGroup, FilterPattern, transformation) {
  return {
    Type: "AWS::Logs::MetricFilter",
    Properties: { LogGroupName: { Ref: logGroup }, FilterPattern, MetricTransformations: [transformation] },
  };
}

/**
 * A count of log lines of one stage, such as `failed`.
 * @param {Pick<Deployment, "service" | "stage">} deployment
 * @param {string} what
 * @param {string} stage
 */
function stageMetric(deployment, what, stage) {
  return logMetric(deployment, `${what}-stages`, { stage });
}

/**
 * What a metric filter makes of log lines. The name holds the stage, since all stages of an account share the namespace.
 * @param {Pick<Deployment, "service" | "stage">} deployment
 * @param {string} what
 * @param {Record<string, string>} dimensions
 * @returns {Metric}
 */
function logMetric(deployment, what, dimensions = {}) {
  return { namespace: "Larkpost", name: nameOf(deployment, what), dimensions };
}

/**
 * @param {string} queueId
 * @param {string} name
 * @returns {Metric}
 */
function queueMetric(queueId, name) {
  return { namespace: "AWS/SQS", name, dimensions: { QueueName: { "Fn::GetAtt": [queueId, "QueueName"] } } };
}

/** @param {string} name */
function functionMetrics(name) {
  return (/** @type {string} */ metric) => lambdaMetric(`${name}LambdaFunction`, metric);
}

/**
 * @param {string} functionId
 * @param {string} name
 * @returns {Metric}
 */
function lambdaMetric(functionId, name) {
  return { namespace: "AWS/Lambda", name, dimensions: { FunctionName: { Ref: functionId } } };
}

/**
 * A metric of the mapping itself, which `eventCountMetrics` turns on.
 * @param {string} mappingId
 * @param {string} name
 * @returns {Metric}
 */
function mappingMetric(mappingId, name) {
  const id = { "Fn::GetAtt": [mappingId, "Id"] };
  return { namespace: "AWS/Lambda", name, dimensions: { EventSourceMappingUUID: id } };
}

/** @param {string} name */
function urlMetrics(name) {
  return [lambdaMetric("WebhookLambdaFunction", name), lambdaMetric("CallbackLambdaFunction", name)];
}

/**
 * @param {string} name
 * @returns {Metric}
 */
function apiMetric(name) {
  return { namespace: "AWS/ApiGateway", name, dimensions: { ApiId: { Ref: "HttpApi" } } };
}

/**
 * @param {string} name
 * @param {string} [operation]
 * @returns {Metric}
 */
function tableMetric(name, operation) {
  const table = { TableName: { Ref: "LedgerTable" } };
  return {
    namespace: "AWS/DynamoDB",
    name,
    dimensions: operation === undefined ? table : { ...table, Operation: operation },
  };
}

/**
 * @param {Count} count
 * @returns {count is readonly Metric[]}
 */
export function isSeveral(count) {
  return Array.isArray(count);
}
