import { fieldsOf } from "../lib/feishu/json.ts";
import { alarmResources } from "./alarms.js";
import { frontsOf, nameOf } from "./deployment.js";
import { isSeveral, metricsOf } from "./metrics.js";
import { pricesIn, pricesOf } from "./prices.js";
import { projectOf } from "./project.js";
import { stackResources } from "./tags.js";

/** @typedef {import("./deployment.js").Deployment} Deployment */
/** @typedef {import("./metrics.js").Metric} Metric */
/** @typedef {import("./metrics.js").Count} Count */
/** @typedef {Readonly<Record<string, unknown>>} Options */
/** @typedef {readonly unknown[]} Row A line of a widget, as CloudWatch has it: a metric or an expression, and its options. */

/**
 * One dashboard of the stage, over the metrics that the alarms read. An account has three for nothing, of up to 50 metrics.
 * @param {Deployment} deployment
 * @param {import("./project.js").Project} project
 */
export function dashboardResources(deployment, project = projectOf({})) {
  const widgets = place([alarmWidget(deployment, project), ...graphs(deployment, project)]);
  return {
    Dashboard: {
      Type: "AWS::CloudWatch::Dashboard",
      Properties: {
        DashboardName: nameOf(deployment, "overview"),
        DashboardBody: { "Fn::Sub": JSON.stringify({ start: "-PT6H", widgets }, asSub) },
      },
    },
  };
}

export const dashboard = stackResources(dashboardResources);

/**
 * @param {Deployment} deployment
 * @param {import("./project.js").Project} project
 */
function alarmWidget(deployment, project) {
  const alarms = Object.entries(alarmResources(deployment, project)).filter(
    ([, { Type }]) => Type === "AWS::CloudWatch::Alarm",
  );
  return { type: "alarm", title: "Alarms", alarms: alarms.map(([id]) => ({ "Fn::GetAtt": [id, "Arn"] })) };
}

/**
 * @param {Deployment} deployment
 * @param {import("./project.js").Project} project
 */
function graphs(deployment, project) {
  const { limits, alarmThresholds: thresholds, eventCountMetrics } = project;
  const { pushes, webhook, callback, lanes, callbacks, ...metrics } = metricsOf(deployment, project);
  const { name: pricedRegion } = pricesIn(deployment.region);
  return [
    ...(deployment.front === "none" ? [] : [pushGraph(pushes)]),
    graph(
      "Time of the answer, ms",
      [
        line(webhook("Duration"), { stat: "p50", label: "events, p50" }),
        line(webhook("Duration"), { stat: "p99", label: "events, p99" }),
        line(callback("Duration"), { stat: "p50", label: "callbacks, p50" }),
        line(callback("Duration"), { stat: "p99", label: "callbacks, p99" }),
      ],
      { "slow webhook": thresholds.webhookP99Ms, "a callback's deadline": limits.callbackDeadlineMs },
    ),
    graph(
      "Events in the queue",
      lanes.flatMap(({ lane, queue }) => [
        line(queue.waiting, { stat: "Maximum", label: `waiting${inLane(lane)}` }),
        line(queue.inFlight, { stat: "Maximum", label: `being run, or put off${inLane(lane)}` }),
      ]),
    ),
    graph(
      "Age of the oldest event, s",
      lanes.map(({ lane, queue }) =>
        line(queue.oldestSeconds, { stat: "Maximum", label: `oldest event${inLane(lane)}` }),
      ),
      { ticket: thresholds.oldestEventSeconds, page: thresholds.oldestEventUrgentSeconds },
    ),
    ...lanes.map(runGraph),
    graph("Callbacks", [
      line(callbacks("started"), { label: "started" }),
      line(callbacks("late"), { label: "late" }),
      line(callbacks("failed"), { label: "failed" }),
    ]),
    graph("Dead letters and quarantine", [
      ...metrics.deadLetters.map((net, index) =>
        line(net, { stat: "Maximum", label: `dead letters${index === 0 ? "" : ", moved by SQS"}` }),
      ),
      line(metrics.quarantined, { stat: "Maximum", label: "quarantined" }),
    ]),
    graph(
      "Age of the keys while SSM cannot be read, s",
      [line(metrics.staleKeysSeconds, { stat: "Maximum", label: "age of the keys" })],
      { "pushes get 503": limits.staleKeysSeconds },
    ),
    ...(eventCountMetrics
      ? lanes.map(({ lane, mapping }) =>
          graph(
            `Events in the mapping${inLane(lane)}`,
            ["Polled", "Invoked", "Deleted", "FailedInvoke", "Dropped"].map((what) =>
              line(mapping(`${what}EventCount`), {}),
            ),
          ),
        )
      : []),
    {
      ...graph(`Cost per day, $, at the list prices of ${pricedRegion}, ${pricesOf}`, costRows(deployment, project)),
      period: 86_400,
      view: "bar",
    },
  ];
}

/**
 * @param {import("./lanes.js").Lane} lane
 */
function inLane({ name }) {
  return name === "default" ? "" : `, lane ${name}`;
}

/** @param {ReturnType<typeof metricsOf>["lanes"][number]} metrics */
function runGraph({ lane, runs }) {
  return graph(`Runs by verdict${inLane(lane)}`, [
    line(runs("started"), { id: "started", label: "started" }),
    line(runs("failed"), { id: "failed", label: "failed" }),
    line(runs("dead"), { id: "dead", label: "dead" }),
    line(runs("busy"), { label: "busy: looked at again later" }),
    line(runs("lease-lost"), { id: "lost", label: "lease lost" }),
    line(runs("stale"), { label: "stale: too old to be run" }),
    expression("FILL(started, 0) - FILL(failed, 0) - FILL(dead, 0) - FILL(lost, 0)", {
      label: "done, or told to wait",
    }),
  ]);
}

/** @param {ReturnType<typeof metricsOf>["pushes"]} pushes */
function pushGraph({ all, refused, failed }) {
  return graph("Pushes by outcome", [
    ...hidden("all", all),
    ...shown("refused", refused, { label: "refused, or throttled (4xx)" }),
    ...shown("failed", failed, { label: "failed (5xx)" }),
    expression("FILL(all, 0) - FILL(refused, 0) - FILL(failed, 0)", { label: "stored, or answered (200)" }),
  ]);
}

/**
 * What a stage is billed by use, each part from a metric. Storage and the fixed price of alarms are not in it.
 * @param {Deployment} deployment
 * @param {import("./project.js").Project} project
 */
function costRows(deployment, project) {
  const { limits } = project;
  const { pushes, webhook, callback, lanes, ledger, loggedBytes } = metricsOf(deployment, project);
  const { prices } = pricesIn(deployment.region);
  const { hasApi } = frontsOf(deployment);
  // Dollars for a million of each, since metric math may not read the small numbers.
  const time = (/** @type {number} */ memoryMb) => 1_000 * (memoryMb / 1_024) * prices.functionSecond;
  const [apiRequests] = [pushes.all].flat();
  /** @type {[label: string, parts: [id: string, metric: Metric | undefined, usd: number][]][]} */
  const parts = [
    ["HTTP API", hasApi ? [["requests", apiRequests, prices.httpApiRequests]] : []],
    [
      "Lambda",
      [
        ["webhooks", webhook("Invocations"), prices.invocations],
        ["webhookms", webhook("Duration"), time(limits.webhookMemoryMb)],
        ["callbacks", callback("Invocations"), prices.invocations],
        ["callbackms", callback("Duration"), time(limits.callbackMemoryMb)],
        ...lanes.flatMap(
          ({ lane, worker }) =>
            /** @type {[string, Metric, number][]} */ ([
              [`workers${lane.id}`, worker("Invocations"), prices.invocations],
              [`workerms${lane.id}`, worker("Duration"), time(lane.memoryMb)],
            ]),
        ),
      ],
    ],
    [
      "SQS",
      lanes.flatMap(({ lane, queue, worker }) => {
        const requests = lane.order === null ? prices.queueRequests : prices.fifoRequests;
        return [
          [`sends${lane.id}`, queue.sent, requests],
          [`polls${lane.id}`, queue.emptyReceives, requests],
          // A batch is received and deleted.
          [`batches${lane.id}`, worker("Invocations"), 2 * requests],
        ];
      }),
    ],
    ["DynamoDB", [["writes", ledger.writes, prices.tableWrites]]],
    [
      "CloudWatch Logs",
      ["Webhook", "Callback", ...lanes.map(({ lane }) => `Worker${lane.id}`), ...(hasApi ? ["HttpApi"] : [])].map(
        (name) => [`logs${name.toLowerCase()}`, loggedBytes(`${name}LogGroup`), prices.logged / 1_000],
      ),
    ],
  ];
  return parts.flatMap(([label, costs]) =>
    costs.length === 0
      ? []
      : [
          ...costs.flatMap(([id, metric]) => (metric === undefined ? [] : hidden(id, metric))),
          expression(`(${costs.map(([id, , usd]) => `FILL(${id}, 0) * ${rounded(usd)}`).join(" + ")}) / 1000000`, {
            label,
          }),
        ],
  );
}

/** @param {number} usd */
function rounded(usd) {
  return Number(usd.toPrecision(4));
}

/**
 * @param {string} title
 * @param {readonly Row[]} metrics
 * @param {Readonly<Record<string, number>>} lines Where a horizontal line is, by its label.
 */
function graph(title, metrics, lines = {}) {
  const horizontal = Object.entries(lines).map(([label, value]) => ({ label, value }));
  return {
    type: "metric",
    title,
    metrics,
    view: "timeSeries",
    stat: "Sum",
    period: 300,
    ...(horizontal.length === 0 ? {} : { annotations: { horizontal } }),
  };
}

/**
 * @param {Metric} metric
 * @param {Options} options
 * @returns {Row}
 */
function line({ namespace, name, dimensions }, options) {
  return [namespace, name, ...Object.entries(dimensions).flat(), options];
}

/**
 * @param {string} text
 * @param {Options} options
 * @returns {Row}
 */
function expression(text, options) {
  return [{ expression: text, ...options }];
}

/**
 * A count under an id, as one line.
 * @param {string} id
 * @param {Count} count
 * @param {Options} options
 * @returns {Row[]}
 */
function shown(id, count, options) {
  if (!isSeveral(count)) return [line(count, { id, ...options })];
  const parts = count.map((_, index) => `${id}${index}`);
  return [
    ...count.map((metric, index) => line(metric, { id: parts[index], visible: false })),
    expression(parts.map((part) => `FILL(${part}, 0)`).join(" + "), { id, ...options }),
  ];
}

/**
 * A count that only an expression reads.
 * @param {string} id
 * @param {Count} count
 */
function hidden(id, count) {
  return shown(id, count, { visible: false });
}

/**
 * Two graphs side by side, and above them all the first widget, the alarms.
 * @param {readonly ({ type: string } & Options)[]} widgets
 */
function place(widgets) {
  const region = { Ref: "AWS::Region" };
  const [width, height, top] = [12, 6, 4];
  return widgets.map(({ type, ...properties }, index) => {
    const [column, row] = [(index - 1) % 2, Math.floor((index - 1) / 2)];
    const where =
      index === 0
        ? { x: 0, y: 0, width: 2 * width, height: top }
        : { x: width * column, y: top + height * row, width, height };
    return { type, ...where, properties: type === "metric" ? { region, ...properties } : properties };
  });
}

/**
 * For JSON.stringify: writes what CloudFormation computes as Fn::Sub has it.
 * @param {string} _
 * @param {unknown} value
 */
function asSub(_, value) {
  const { Ref: name, "Fn::GetAtt": attribute } = fieldsOf(value);
  if (typeof name === "string") return `\${${name}}`;
  return Array.isArray(attribute) ? `\${${attribute.join(".")}}` : value;
}
