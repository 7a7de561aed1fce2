import type { CloudWatch } from "@aws-sdk/client-cloudwatch";

/** What is asked of CloudWatch, for each minute. */
export interface Query {
  readonly namespace: string;
  readonly name: string;
  readonly dimensions: Readonly<Record<string, unknown>>;
  readonly stat: string;
}

/** The values of a query, the latest first. */
export interface Values {
  readonly values: readonly number[];
  readonly latestAtMs: number;
}

/** An age that is older says nothing of now: SQS reports none of a queue that is empty. */
const freshMs = 600_000;

/** The values of the last hour, in the order of the queries. */
export async function lastHour(client: CloudWatch, queries: readonly Query[], nowMs: number): Promise<Values[]> {
  const MetricDataQueries = queries.map(({ namespace: Namespace, name: MetricName, dimensions, stat: Stat }, index) => {
    const Dimensions = Object.entries(dimensions).map(([Name, Value]) => ({ Name, Value: String(Value) }));
    return { Id: `q${index}`, MetricStat: { Metric: { Namespace, MetricName, Dimensions }, Period: 60, Stat } };
  });
  const results: Values[] = queries.map(() => ({ values: [], latestAtMs: 0 }));
  for (let NextToken: string | undefined; ; ) {
    const page = await client.getMetricData({
      MetricDataQueries,
      ScanBy: "TimestampDescending",
      NextToken,
      StartTime: new Date(nowMs - 3_600_000),
      EndTime: new Date(nowMs),
    });
    for (const { Id = "", Values = [], Timestamps = [] } of page.MetricDataResults ?? []) {
      const index = Number(Id.slice(1));
      const { values = [], latestAtMs = 0 } = results[index] ?? {};
      results[index] = {
        values: [...values, ...Values],
        latestAtMs: Math.max(latestAtMs, Timestamps[0]?.getTime() ?? 0),
      };
    }
    NextToken = page.NextToken;
    if (NextToken === undefined) return results;
  }
}

/** How long the oldest message of a queue has waited. */
export function oldestOf(QueueName: string): Query {
  const dimensions = { QueueName };
  return { namespace: "AWS/SQS", name: "ApproximateAgeOfOldestMessage", dimensions, stat: "Maximum" };
}

/** The ages of the queues, whose queries are the first, as of the last minutes. */
export function agesOf(queues: readonly string[], values: readonly Values[], nowMs: number): Map<string, number> {
  return new Map(
    queues.flatMap((name, index) => {
      const { values: [latest] = [], latestAtMs = 0 } = values[index] ?? {};
      return latest !== undefined && nowMs - latestAtMs < freshMs ? [[name, latest] as const] : [];
    }),
  );
}

export function sumOf(values: Values | undefined): number {
  return (values?.values ?? []).reduce((sum, value) => sum + value, 0);
}
