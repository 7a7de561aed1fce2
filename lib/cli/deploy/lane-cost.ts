import { idle, pricesIn, pricesOf } from "../../../infra/prices.js";
import { parseLanes } from "../../aws/lanes.ts";
import { fieldsOf } from "../../feishu/json.ts";
import { ofType, outputOf, type Stack } from "./stack.ts";

/** What each lane of a stack costs while no event comes, in lines of text. */
export function laneCostLines(stack: Stack): string[] {
  const lanes = parseLanes(outputOf(stack, "Lanes"));
  if (lanes.length === 0) return [];
  const { name: region, prices } = pricesIn(stack.region);
  const alarms = ofType(stack, "AWS::CloudWatch::Alarm").map(([, properties]) => properties);
  const width = Math.max(...lanes.map(({ name }) => name.length));
  const lines = lanes.map(({ name, order }) => {
    const count = alarms
      .filter(({ AlarmDescription }) => String(AlarmDescription).includes(`: lane "${name}": `))
      .reduce((sum, { Metrics }) => sum + metricsOf(Metrics), 0);
    const request = order === undefined ? prices.queueRequests : prices.fifoRequests;
    const usd = count * prices.alarmMetricMonth + (idle.receivesMonth / 1e6) * request;
    return `  ${name.padEnd(width)}  ${usd.toFixed(2)}  ${count} alarm metrics, and the polling of its queue`;
  });
  const [[, { DashboardBody } = {}] = []] = ofType(stack, "AWS::CloudWatch::Dashboard");
  const shown = metricsShown(DashboardBody);
  return [
    `A month without events costs, for each lane, in $ at the list prices of ${region}, ${pricesOf}:`,
    ...lines,
    ...(shown > idle.dashboardMetrics
      ? [
          `  The dashboard has ${shown} metrics, over the ${idle.dashboardMetrics} of a free one: ${idle.dashboardMonth.toFixed(2)}`,
        ]
      : []),
  ];
}

/** How many metrics an alarm reads: each is billed. */
function metricsOf(metrics: unknown): number {
  return Array.isArray(metrics) ? metrics.filter(({ MetricStat }) => MetricStat !== undefined).length : 1;
}

/** The metrics of a dashboard, whose body is a JSON text. */
function metricsShown(body: unknown): number {
  const text = fieldsOf(body)["Fn::Sub"];
  if (typeof text !== "string") return 0;
  const { widgets } = JSON.parse(text) as { widgets: { properties: { metrics?: unknown[][] } }[] };
  const rows = widgets.flatMap(({ properties: { metrics = [] } }) => metrics.filter((row) => row.length > 1));
  return new Set(rows.map((row) => row.slice(0, -1).join(" "))).size;
}
