import { isSeveral } from "./metrics.js";

// What an alarm rings for, as CloudWatch has it.

/** @typedef {import("./metrics.js").Metric} Metric */
/** @typedef {import("./metrics.js").Count} Count */
/** @typedef {{ count: number, percent: number }} Share A count that is reached, and a percentage of a whole. */

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
export function whenShare(part, whole, { count, percent }) {
  // A whole without a value is 0: runs that fail before they start have none.
  return whenTrue(`IF(part >= ${count} AND part * 100 >= FILL(whole, 0) * ${percent}, 1, 0)`, {
    metrics: { part, whole },
    seconds: 300,
  });
}

/**
 * True when queues hold more messages than in the five minutes before, and false again when it stops growing, so that
 * the next growth rings although messages are left. Counts visible messages, not sent ones: a message that SQS moves to a
 * dead-letter queue does not count as sent. The most of five minutes is compared, so that a look at the messages, which
 * hides them for 30 s, is no growth.
 * @param {readonly Metric[]} visible Of each queue.
 */
export function whenGrowing(visible) {
  const [only] = visible;
  const count = visible.length === 1 && only !== undefined ? only : visible;
  return {
    Metrics: [
      ...queriesOf("visible", count, { seconds: 300, stat: "Maximum", isResult: false }),
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
export function whenTrue(expression, { metrics, seconds }) {
  return {
    Metrics: [
      ...Object.entries(metrics).flatMap(([id, count]) => queriesOf(id, count, { seconds, isResult: false })),
      { Id: "result", Expression: expression, ReturnData: true },
    ],
    ...evaluationOf(seconds),
    ComparisonOperator: operators[">="],
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

/** @param {Metric} metric */
function dimensionsOf({ dimensions }) {
  return Object.entries(dimensions).map(([Name, Value]) => ({ Name, Value }));
}
