import { forDeployment, nameOf } from "./deployment.js";
import { callbackDurationAlarmMs, workerDurationAlarmMs } from "./limits.js";
import { projectOf } from "./project.js";

/** @typedef {import("./deployment.js").Deployment} Deployment */

/** @typedef {{ namespace: string, name: string, dimensions: Record<string, unknown> }} Metric */

/** @typedef {Metric | readonly Metric[]} Count A list stands for the sum of its metrics. */

/** @typedef {{ count: number, percent: number }} Share A count that is reached, and a percentage of a whole. */

/**
 * Each alarm needs somebody to act: a page at once, a ticket on the next working day. Missing data is good data, since an
 * app without traffic has none.
 * @param {Deployment} deployment
 * @param {import("./project.js").Project} project
 */
export function alarmResources(deployment, { limits, alarmThresholds: thresholds } = projectOf({})) {
  const front = frontMetrics[deployment.front === "functionUrl" ? "functionUrl" : "httpApi"];
  const webhook = (/** @type {string} */ name) => lambdaMetric("WebhookLambdaFunction", name);
  const callback = (/** @type {string} */ name) => lambdaMetric("CallbackLambdaFunction", name);
  const worker = (/** @type {string} */ name) => lambdaMetric("WorkerLambdaFunction", name);
  const waiting = queueMetric("EventsQueue", "ApproximateAgeOfOldestMessage");
  const runs = (/** @type {string} */ stage) => stageMetric(deployment, "worker", stage);
  const callbacks = (/** @type {string} */ stage) => stageMetric(deployment, "callback", stage);
  const faults = { count: thresholds.faultsPerFiveMinutes, percent: thresholds.faultsPercent };
  const keptDays = Math.floor(limits.deadLetterRetentionSeconds / 86_400);

  const alarms = {
    DeadLetters: page(
      `events have failed for good. Read their attributes, repair the handler, redrive them within ${keptDays} days. One without attributes was moved by SQS: no delivery of it came to a verdict.`,
      whenGrowing("DeadLetterQueue"),
    ),
    Quarantined: page(
      `Feishu sent something we could not read. It is kept for ${keptDays} days.`,
      whenGrowing("QuarantineQueue"),
    ),
    RunsFailed: page(
      "many runs of events fail. Check the last deployment. Events are retried for about 51 minutes and are then dead. The log's stage `failed` says why.",
      whenShare([runs("failed"), runs("dead")], runs("started"), {
        count: thresholds.failedRunsPerFiveMinutes,
        percent: thresholds.failedRunsPercent,
      }),
    ),
    AllRunsFail: ticket(
      "no run of an event has succeeded for five minutes, and one event's runs are enough for that. Check the last deployment. The log's stage `failed` says why.",
      whenShare(runs("failed"), runs("started"), { count: thresholds.allFailedCount, percent: 100 }),
    ),
    LeaseLost: ticket(
      "a run was stalled so long that another worker ran the same event. Only the other run counts. Look for a handler that blocks.",
      when(runs("lease-lost"), "Sum", ">=", 1),
    ),
    EventsWait: ticket(
      "events wait for the worker. Check its throttles, its errors and maxConcurrency.",
      when(waiting, "Maximum", ">", thresholds.oldestEventSeconds),
    ),
    EventsStuck: page(
      "events are not being worked on. Check that the worker's event source mapping is enabled.",
      when(waiting, "Maximum", ">", thresholds.oldestEventUrgentSeconds),
    ),
    Unavailable: ticket(
      "a request was answered with 5xx. Feishu pushes an event again, but no callback. The log's stage `unavailable` says why.",
      when(front.failed, "Sum", ">=", thresholds.unavailablePerMinute),
    ),
    UnavailableOften: page(
      "requests are answered with 5xx. Callbacks fail; repaired within 6 hours, no event is lost.",
      whenShare(front.failed, front.all, faults),
    ),
    WebhookErrors: page(
      "the webhook function crashed or ran out of time. Check the last deployment.",
      whenShare(webhook("Errors"), webhook("Invocations"), faults),
    ),
    WebhookSlow: page(
      "the webhook is slow. Feishu waits for 3 seconds in all.",
      when(webhook("Duration"), "p99", ">", thresholds.webhookP99Ms, { periods: 3 }),
    ),
    WebhookThrottled: page(
      "Lambda had no concurrency left for the webhook. Check the account's limit, and webhookReservedConcurrency.",
      whenShare(webhook("Throttles"), webhook("Invocations"), faults),
    ),
    CallbackErrors: page(
      "the callback function crashed or ran out of time, and somebody saw an error. Check the last deployment.",
      whenShare(callback("Errors"), callback("Invocations"), faults),
    ),
    CallbackSlow: ticket(
      "callbacks come close to their deadline; past it, somebody sees that it failed. Make their handlers faster.",
      when(callback("Duration"), "p99", ">", callbackDurationAlarmMs(limits, thresholds)),
    ),
    CallbackFailed: ticket(
      "callbacks are answered with a message of failure, and with 200. The log's stages `failed` and `late` say why.",
      whenShare([callbacks("failed"), callbacks("late")], callbacks("started"), {
        count: thresholds.failedCallbacksPerFiveMinutes,
        percent: thresholds.failedCallbacksPercent,
      }),
    ),
    StaleKeys: page(
      "the keys cannot be read from SSM. The last good ones are used until staleKeysSeconds have passed; then every request fails. Check the parameter (npm run secrets -- show), the roles' rights and SSM's health. The log's stages `stale-keys` and `misconfigured` say why.",
      when(logMetric(deployment, "stale-keys"), "Sum", ">=", 1),
    ),
    CallbackThrottled: page(
      "Lambda had no concurrency left for a callback, and somebody saw an error. Check the account's limit, and callbackReservedConcurrency.",
      whenShare(callback("Throttles"), callback("Invocations"), faults),
    ),
    WorkerThrottled: page(
      "Lambda had no concurrency left for the worker: events wait. Check the account's limit, and workerReservedConcurrency.",
      whenShare(worker("Throttles"), worker("Invocations"), faults),
    ),
    WorkerErrors: ticket(
      "the worker function crashed or ran out of time. A handler blocks, or a setting is missing.",
      when(worker("Errors"), "Sum", ">=", 1),
    ),
    WorkerSlow: ticket(
      "a handler came close to its deadline, or several ran one after another. Make them faster, or raise workerTimeoutSeconds.",
      when(worker("Duration"), "Maximum", ">", workerDurationAlarmMs(limits, thresholds)),
    ),
    Refused: ticket(
      "many requests are refused or throttled. The log's stage `refused` says why.",
      when(front.refused, "Sum", ">", thresholds.refusedPerMinute),
    ),
    AllRefused: page(
      "every request is refused. Check that the keys are the developer console's; repaired within 6 hours, no event is lost.",
      whenTrue(`IF(all >= ${thresholds.allRefusedCount} AND refused >= all, 1, 0)`, {
        metrics: { refused: front.refused, all: front.all },
        seconds: 300,
      }),
    ),
    LedgerFails: ticket(
      "the ledger is throttled or failing: events wait, and callbacks fail. See ledgerWarmWritesPerSecond.",
      whenTrue("FILL(writes, 0) + FILL(reads, 0) + FILL(puts, 0) + FILL(updates, 0) + FILL(gets, 0)", {
        metrics: {
          writes: tableMetric("WriteThrottleEvents"),
          reads: tableMetric("ReadThrottleEvents"),
          puts: tableMetric("SystemErrors", "PutItem"),
          updates: tableMetric("SystemErrors", "UpdateItem"),
          gets: tableMetric("SystemErrors", "GetItem"),
        },
        seconds: 60,
      }),
    ),
  };
  const ringing = Object.entries(alarms).filter(([id]) => deployment.front !== "none" || !needAddress.has(id));
  return { ...alarmsOf(deployment, Object.fromEntries(ringing)), ...metricFilters(deployment) };
}

/** The alarms of what nobody calls without a front. `CallbackFailed` counts the long connection's callbacks, too. */
const needAddress = new Set([
  ...["Unavailable", "UnavailableOften", "Refused", "AllRefused"],
  ...["WebhookErrors", "WebhookSlow", "WebhookThrottled"],
  ...["CallbackErrors", "CallbackSlow", "CallbackThrottled"],
]);

/** @typedef {{ urgency: "Page" | "Ticket", says: string, condition: object }} Alarm */

/**
 * @param {string} says What happened and what to do, in a sentence or two.
 * @param {object} condition
 * @returns {Alarm}
 */
export function page(says, condition) {
  return { urgency: "Page", says, condition };
}

/**
 * @param {string} says
 * @param {object} condition
 * @returns {Alarm}
 */
export function ticket(says, condition) {
  return { urgency: "Ticket", says, condition };
}

/**
 * Alarms by their ids. Each names its heading in the runbook, which is the end of its own name.
 * @param {Pick<Deployment, "service" | "stage" | "pageTopicArn" | "ticketTopicArn">} deployment
 * @param {Record<string, Alarm>} alarms
 */
export function alarmsOf(deployment, alarms) {
  const topics = { Page: deployment.pageTopicArn, Ticket: deployment.ticketTopicArn };
  return Object.fromEntries(
    Object.entries(alarms).map(([id, { urgency, says, condition }]) => [
      `${id}Alarm`,
      {
        Type: "AWS::CloudWatch::Alarm",
        Properties: {
          AlarmName: nameOf(deployment, kebab(id)),
          AlarmDescription: `${urgency}: ${says} Runbook: docs/operate.md, heading "${kebab(id)}".`,
          TreatMissingData: "notBreaching",
          ...condition,
          ...(topics[urgency] === "" ? {} : { AlarmActions: [topics[urgency]] }),
        },
      },
    ]),
  );
}

/**
 * A count of log lines. The name holds the stage, since all stages of an account share the namespace.
 * @param {Pick<Deployment, "service" | "stage">} deployment
 * @param {string} what
 * @param {Record<string, string>} dimensions
 * @returns {Metric}
 */
function logMetric(deployment, what, dimensions = {}) {
  return { namespace: "Larkpost", name: nameOf(deployment, what), dimensions };
}

/** Which log lines of runs are counted. A callback's `failed` of level `warn` is not: its callback was answered. */
const countedLines = {
  worker:
    '{ $.stage = "started" || ($.level = "warn" && $.stage = "failed") || $.stage = "dead" || $.stage = "busy" || $.stage = "lease-lost" }',
  callback: '{ $.stage = "started" || ($.level = "error" && ($.stage = "failed" || $.stage = "late")) }',
};

/**
 * A count of log lines of one stage, such as `failed`.
 * @param {Pick<Deployment, "service" | "stage">} deployment
 * @param {keyof typeof countedLines} what
 * @param {string} stage
 */
function stageMetric(deployment, what, stage) {
  return logMetric(deployment, `${what}-stages`, { stage });
}

/**
 * Counts the lines of a log by stage: one filter, and a metric for each stage that occurs.
 * @param {Pick<Deployment, "service" | "stage">} deployment
 * @param {keyof typeof countedLines} what
 * @param {string} logGroup
 */
export function stageFilter(deployment, what, logGroup) {
  const { namespace, name } = stageMetric(deployment, what, "");
  return metricFilter(logGroup, countedLines[what], {
    MetricNamespace: namespace,
    MetricName: name,
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
    Properties: {
      LogGroupName: { Ref: logGroup },
      FilterPattern,
      MetricTransformations: [{ MetricValue: "1", ...transformation }],
    },
  };
}

/**
 * Count log lines of what no other metric shows: a run that fails is no error of its function, and a callback that fails
 * is answered with 200.
 * @param {Deployment} deployment
 */
function metricFilters(deployment) {
  const { namespace, name } = logMetric(deployment, "stale-keys");
  const staleKeys = { MetricNamespace: namespace, MetricName: name };
  return {
    WorkerStagesFilter: stageFilter(deployment, "worker", "WorkerLogGroup"),
    CallbackStagesFilter: stageFilter(deployment, "callback", "CallbackLogGroup"),
    ...Object.fromEntries(
      ["Webhook", "Callback", "Worker"].map((name) => [
        `${name}StaleKeysFilter`,
        metricFilter(`${name}LogGroup`, '{ $.stage = "stale-keys" }', staleKeys),
      ]),
    ),
  };
}

export const alarms = forDeployment((...given) => ({ Resources: alarmResources(...given) }));

/**
 * The names of three metrics at each front. Events and callbacks are counted together, since they share keys and store.
 */
const frontMetrics = {
  httpApi: { failed: apiMetric("5xx"), refused: apiMetric("4xx"), all: apiMetric("Count") },
  functionUrl: {
    failed: urlMetrics("Url5xxCount"),
    refused: urlMetrics("Url4xxCount"),
    all: urlMetrics("UrlRequestCount"),
  },
};

/**
 * Compares a count with a threshold.
 * @param {Count} metric
 * @param {string} statistic
 * @param {">" | ">=" | "<"} comparison
 * @param {number} threshold
 * @param {{ seconds?: number, periods?: number }} options `periods`: how many of them in a row, for one metric.
 */
export function when(metric, statistic, comparison, threshold, { seconds = 60, periods = 1 } = {}) {
  const read = isSeveral(metric)
    ? { Metrics: queriesOf("result", metric, { seconds, isResult: true }) }
    : {
        Namespace: metric.namespace,
        MetricName: metric.name,
        Dimensions: dimensionsOf(metric),
        ...(statistic.startsWith("p") ? { ExtendedStatistic: statistic } : { Statistic: statistic }),
        Period: seconds,
      };
  return {
    ...read,
    ...(isSeveral(metric) ? evaluationOf(seconds) : { EvaluationPeriods: periods }),
    ComparisonOperator: operators[comparison],
    Threshold: threshold,
  };
}

const operators = {
  ">": "GreaterThanThreshold",
  ">=": "GreaterThanOrEqualToThreshold",
  "<": "LessThanThreshold",
};

/**
 * True when a part reaches a count and a percentage of the whole within five minutes. The window moves on each minute.
 * @param {Count} part
 * @param {Count} whole
 * @param {Share} share
 */
function whenShare(part, whole, { count, percent }) {
  // A whole without a value is 0: runs that fail before they start have none.
  return whenTrue(`IF(part >= ${count} AND part * 100 >= FILL(whole, 0) * ${percent}, 1, 0)`, {
    metrics: { part, whole },
    seconds: 300,
  });
}

/**
 * True when a queue holds more messages than in the five minutes before, and false again when it stops growing, so that
 * the next growth rings although messages are left. Counts visible messages, not sent ones: a message that SQS moves to a
 * dead-letter queue does not count as sent. The most of five minutes is compared, so that a look at the messages, which
 * hides them for 30 s, is no growth.
 * @param {string} queueId
 */
function whenGrowing(queueId) {
  const visible = queueMetric(queueId, "ApproximateNumberOfMessagesVisible");
  return {
    Metrics: [
      ...queriesOf("visible", visible, { seconds: 300, stat: "Maximum", isResult: false }),
      // SQS reports nothing about a queue that was empty for hours.
      { Id: "growth", Expression: "DIFF(FILL(visible, 0))", ReturnData: true },
    ],
    // Two periods are read for one difference.
    EvaluationPeriods: 2,
    DatapointsToAlarm: 1,
    ComparisonOperator: operators[">"],
    Threshold: 0,
  };
}

/**
 * True when an expression over the sums of metrics reaches 1.
 * @param {string} expression
 * @param {{ metrics: Record<string, Count>, seconds: number }} options
 */
function whenTrue(expression, { metrics, seconds }) {
  return {
    Metrics: [
      ...Object.entries(metrics).flatMap(([id, count]) => queriesOf(id, count, { seconds, isResult: false })),
      { Id: "result", Expression: expression, ReturnData: true },
    ],
    ...evaluationOf(seconds),
    ComparisonOperator: "GreaterThanOrEqualToThreshold",
    Threshold: 1,
  };
}

/**
 * FILL takes a minute whose values come late for 0, and never sees them: of short periods, the last three are looked at.
 * @param {number} seconds
 */
function evaluationOf(seconds) {
  return seconds < 300 ? { EvaluationPeriods: 3, DatapointsToAlarm: 1 } : { EvaluationPeriods: 1 };
}

/**
 * CloudWatch's queries for a count, under the id that an expression uses.
 * @param {string} id
 * @param {Count} count
 * @param {{ seconds: number, stat?: string, isResult: boolean }} options
 * @returns {object[]}
 */
function queriesOf(id, count, { seconds, stat = "Sum", isResult }) {
  if (!isSeveral(count)) {
    const metric = { Namespace: count.namespace, MetricName: count.name, Dimensions: dimensionsOf(count) };
    return [{ Id: id, ReturnData: isResult, MetricStat: { Metric: metric, Period: seconds, Stat: stat } }];
  }
  const ids = count.map((_, index) => `${id}${index}`);
  return [
    ...count.flatMap((metric, index) => queriesOf(ids[index] ?? "", metric, { seconds, stat, isResult: false })),
    // A metric without traffic has no value, and then the sum would have none.
    { Id: id, Expression: ids.map((part) => `FILL(${part}, 0)`).join(" + "), ReturnData: isResult },
  ];
}

/**
 * @param {Count} count
 * @returns {count is readonly Metric[]}
 */
function isSeveral(count) {
  return Array.isArray(count);
}

/** @param {Metric} metric */
function dimensionsOf({ dimensions }) {
  return Object.entries(dimensions).map(([Name, Value]) => ({ Name, Value }));
}

/**
 * @param {string} queueId
 * @param {string} name
 * @returns {Metric}
 */
function queueMetric(queueId, name) {
  return { namespace: "AWS/SQS", name, dimensions: { QueueName: { "Fn::GetAtt": [queueId, "QueueName"] } } };
}

/**
 * @param {string} functionId
 * @param {string} name
 * @returns {Metric}
 */
function lambdaMetric(functionId, name) {
  return { namespace: "AWS/Lambda", name, dimensions: { FunctionName: { Ref: functionId } } };
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

/** @param {string} name */
function kebab(name) {
  return name.replaceAll(/(?<!^)[A-Z]/g, (letter) => `-${letter}`).toLowerCase();
}
