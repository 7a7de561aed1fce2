import { type Expression, parse } from "./expression.ts";
import type { Resource, Template } from "./stack.ts";

export interface Metric {
  readonly Namespace: string;
  readonly MetricName: string;
  readonly Dimensions?: readonly { readonly Name: string; readonly Value: unknown }[];
}

interface Query {
  readonly Id: string;
  readonly Expression?: string;
  readonly MetricStat?: { readonly Metric: Metric; readonly Period: number; readonly Stat: string };
  readonly ReturnData: boolean;
}

/** A value for each period, the oldest first; `undefined` where there is none. */
type Series = readonly (number | undefined)[];

type Samples = { readonly value: number; times: number }[];

const expressions = new Map<string, Expression>();
/** Each expression is parsed once. */
function parsed(text: string): Expression {
  const found = expressions.get(text) ?? parse(text);
  expressions.set(text, found);
  return found;
}

/** What CloudWatch leaves open, so that a test can try both ends. */
export interface Circumstances {
  /** Minutes until a value can be read. */
  readonly lateMinutes: number;
  /** Data points that are read beyond the evaluation periods: CloudWatch tries to read more, and does not say how many. */
  readonly extraPoints: number;
}

/** A change of an alarm to ALARM, which is when its topic is told. */
export interface Ring {
  readonly alarm: string;
  readonly minute: number;
}

/**
 * CloudWatch's side of a template: counts log lines by its metric filters, keeps metrics by the minute, and evaluates its
 * alarms once a minute, each over windows that move on with the minute. Knows what these templates use, and refuses the
 * rest. Read in the CloudWatch User Guide:
 * https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-evaluation.html,
 * https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-evaluation-window.html,
 * https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html
 */
export class CloudWatch {
  readonly #resources: Template["Resources"];
  readonly #filters: readonly {
    readonly group: string;
    readonly pattern: Expression;
    readonly counters: readonly Counter[];
  }[];
  /** Samples by metric and minute. */
  readonly #metrics = new Map<string, Samples[]>();
  /** Statistics of whole windows by their end, which an alarm reads again and again. */
  readonly #statistics = new Map<object, Series>();
  #lastMinute = 0;

  constructor({ Resources }: Pick<Template, "Resources">) {
    this.#resources = Resources;
    this.#filters = this.#ofType("AWS::Logs::MetricFilter").map(([, { Properties }]) => ({
      group: Properties["LogGroupName"].Ref,
      pattern: parse(Properties["FilterPattern"]),
      counters: Properties["MetricTransformations"].map(counterOf),
    }));
  }

  /** `times` samples of one value within a minute. */
  put(metric: Metric, minute: number, value: number, times = 1): void {
    const key = keyOf(metric);
    const minutes = this.#metrics.get(key) ?? [];
    this.#metrics.set(key, minutes);
    minutes[minute] ??= [];
    const samples = minutes[minute];
    const same = samples.find((sample) => sample.value === value);
    if (same === undefined) samples.push({ value, times });
    else same.times += times;
    this.#lastMinute = Math.max(this.#lastMinute, minute);
    this.#statistics.clear();
  }

  /** The same line `times` times in the log group of this logical id. */
  log(group: string, minute: number, line: Readonly<Record<string, string>>, times = 1): void {
    for (const filter of this.#filters) {
      if (filter.group !== group) continue;
      const isMatch = matches(filter.pattern, line);
      for (const { readValue, defaultValue, metricOf } of filter.counters) {
        const counted = isMatch ? readValue(line) : defaultValue;
        if (counted !== undefined) this.put(metricOf(line), minute, counted, times);
      }
    }
  }

  sum(metric: Metric): number {
    const samples = this.#metrics.get(keyOf(metric))?.flat() ?? [];
    return samples.reduce((sum, { value, times }) => sum + value * times, 0);
  }

  /** When alarms ring, from the first values on that can be read. Minute 0 ends at minute 1. */
  rings({ lateMinutes, extraPoints }: Circumstances): Ring[] {
    return this.#ofType("AWS::CloudWatch::Alarm").flatMap(([id, { Properties }]) => {
      const queries: readonly Query[] = Properties["Metrics"] ?? [singleQuery(Properties)];
      const points = Properties["EvaluationPeriods"] + extraPoints;
      const metrics = queries.map(({ MetricStat }) => MetricStat && this.#reader(MetricStat, { points, lateMinutes }));
      const known = new Map<string, boolean>();
      const found: Ring[] = [];
      let isRinging = false;
      for (let end = lateMinutes + 1; end <= this.#lastMinute + 1; end++) {
        // Equal values have an equal result.
        if (end > lateMinutes + 1 && metrics.every((metric) => metric?.isAsBefore(end) ?? true)) continue;
        const read = metrics.map((metric) => metric?.at(end));
        const key = read.join(";");
        const rings = known.get(key) ?? isBreached(Properties, queries, read);
        known.set(key, rings);
        if (rings && !isRinging) found.push({ alarm: id.replace(/Alarm$/, ""), minute: end });
        isRinging = rings;
      }
      return found;
    });
  }

  #ofType(type: string): [string, Resource][] {
    return Object.entries(this.#resources).filter(([, { Type }]) => Type === type);
  }

  /** What an alarm reads of one metric, minute after minute. */
  #reader(
    metricStat: NonNullable<Query["MetricStat"]>,
    { points, lateMinutes }: { points: number; lateMinutes: number },
  ) {
    const { Metric, Period, Stat } = metricStat;
    const length = Period / 60;
    const minutes = this.#metrics.get(keyOf(Metric)) ?? [];
    const statistic = (from: number, to: number) => {
      const samples = length === 1 ? minutes[from] : minutes.slice(Math.max(0, from), Math.max(0, to)).flat();
      return to <= from || samples === undefined ? undefined : statisticOf(samples, Stat);
    };
    let whole = this.#statistics.get(metricStat);
    if (whole === undefined) {
      whole = Array.from({ length: this.#lastMinute + 2 }, (_, to) => statistic(to - length, to));
      this.#statistics.set(metricStat, whole);
    }
    const valueAt = (to: number, end: number) =>
      end - lateMinutes < to ? statistic(to - length, end - lateMinutes) : whole[to];
    return {
      at: (end: number): Series =>
        Array.from({ length: points }, (_, index) => valueAt(end - (points - 1 - index) * length, end)),
      /** Whether each value is what it was a minute before. */
      isAsBefore(end: number): boolean {
        if (minutes.length === 0) return true;
        for (let point = 0; point < points; point++) {
          const to = end - point * length;
          if (valueAt(to, end) !== valueAt(to - 1, end - 1)) return false;
        }
        return true;
      },
    };
  }
}

/** What a metric filter counts, and where. */
interface Counter {
  readonly readValue: (line: Readonly<Record<string, string>>) => number;
  readonly defaultValue: number | undefined;
  /** The same object for the same dimensions, so that its key is made once. */
  readonly metricOf: (line: Readonly<Record<string, string>>) => Metric;
}

function counterOf(transformation: Resource["Properties"]): Counter {
  const { MetricNamespace: Namespace, MetricName, Dimensions = [], MetricValue, DefaultValue } = transformation;
  const metrics = new Map<string, Metric>();
  const metricOf = (line: Readonly<Record<string, string>>) => {
    const named = Dimensions.map(({ Key, Value }: Record<"Key" | "Value", string>) => ({
      Name: Key,
      Value: line[Value.slice(2)],
    }));
    const values = named.map(({ Value }: { Value: unknown }) => Value).join(" ");
    const metric = metrics.get(values) ?? { Namespace, MetricName, Dimensions: named };
    metrics.set(values, metric);
    return metric;
  };
  const field = /^\$\.(\w+)$/.exec(MetricValue)?.[1];
  const readValue: Counter["readValue"] =
    field === undefined ? () => Number(MetricValue) : (line) => Number(line[field]);
  return { readValue, defaultValue: DefaultValue, metricOf };
}

/** @param read The values of each query that reads a metric. */
function isBreached(
  alarm: Resource["Properties"],
  queries: readonly Query[],
  read: readonly (Series | undefined)[],
): boolean {
  const { EvaluationPeriods, DatapointsToAlarm = EvaluationPeriods, TreatMissingData } = alarm;
  const series = new Map<string, Series>();
  let result: Series = [];
  for (const [index, { Id, Expression, ReturnData }] of queries.entries()) {
    const values = read[index] ?? (calculate(parsed(Expression ?? ""), series) as Series);
    series.set(Id, values);
    if (ReturnData) result = values;
  }
  return isInAlarm(
    result.map((value) => (value === undefined ? undefined : isBreaching(value, alarm))),
    { EvaluationPeriods, DatapointsToAlarm, TreatMissingData },
  );
}

const keys = new WeakMap<Metric, string>();

function keyOf(metric: Metric): string {
  const known = keys.get(metric);
  if (known !== undefined) return known;
  const { Namespace, MetricName, Dimensions = [] } = metric;
  const named = Dimensions.map(({ Name, Value }) => `${Name}=${JSON.stringify(Value)}`);
  const key = [Namespace, MetricName, ...named.sort()].join(" ");
  keys.set(metric, key);
  return key;
}

/** An alarm on one metric, as a query. */
function singleQuery(alarm: Resource["Properties"]): Query {
  const { Namespace, MetricName, Dimensions, Period, Statistic, ExtendedStatistic } = alarm;
  const Stat = Statistic ?? ExtendedStatistic;
  return {
    Id: "single",
    ReturnData: true,
    MetricStat: { Metric: { Namespace, MetricName, Dimensions }, Period, Stat },
  };
}

function statisticOf(samples: readonly { value: number; times: number }[], stat: string): number | undefined {
  if (samples.length === 0) return undefined;
  if (stat === "Sum") return samples.reduce((sum, { value, times }) => sum + value * times, 0);
  if (stat === "SampleCount") return samples.reduce((sum, { times }) => sum + times, 0);
  const sorted = samples.toSorted((a, b) => a.value - b.value);
  if (stat === "Maximum") return sorted.at(-1)?.value;
  if (stat !== "p99") throw new Error(`There is no statistic ${stat}`);
  let rest = samples.reduce((sum, { times }) => sum + times, 0) * 0.99;
  return sorted.find(({ times }) => {
    rest -= times;
    return rest <= 0;
  })?.value;
}

/** Whether a log line has what a filter pattern asks for. */
export function matches(pattern: Expression, line: Readonly<Record<string, string>>): boolean {
  if (pattern.kind !== "call") throw new Error("A pattern is a comparison");
  const { text, parts } = pattern;
  const [left, right] = parts as [Expression, Expression];
  if (text === "OR") return matches(left, line) || matches(right, line);
  if (text === "AND") return matches(left, line) && matches(right, line);
  if (text !== "=" || !left.text.startsWith("$.")) throw new Error(`Unknown in a pattern: ${left.text} ${text}`);
  return line[left.text.slice(2)] === right.text;
}

const arithmetic: Readonly<Record<string, (a: number, b: number) => number>> = {
  "+": (a, b) => a + b,
  "-": (a, b) => a - b,
  "*": (a, b) => a * b,
  "/": (a, b) => a / b,
  ">": (a, b) => Number(a > b),
  ">=": (a, b) => Number(a >= b),
  "<": (a, b) => Number(a < b),
  "<=": (a, b) => Number(a <= b),
  AND: (a, b) => Number(a !== 0 && b !== 0),
  OR: (a, b) => Number(a !== 0 || b !== 0),
};

/** The value of metric math over series of one length. A scalar is the number itself. */
export function calculate(expression: Expression, series: ReadonlyMap<string, Series>): Series | number {
  const { kind, text } = expression;
  if (kind === "number") return Number(text);
  if (kind !== "call") return series.get(text) ?? fail(`There is no ${text}`);
  const values = expression.parts.map((part) => calculate(part, series));
  const [first = 0, second = 0, third = 0] = values;
  const of = (value: Series | number, index: number) => (typeof value === "number" ? value : value[index]);
  if (text === "IF" && typeof first !== "number") {
    // Without a condition there is no value; a branch without one is 0 if it is chosen by truth.
    return first.map((condition, index) =>
      condition === undefined ? undefined : condition === 0 ? of(third, index) : (of(second, index) ?? 0),
    );
  }
  if (text === "FILL" && typeof first !== "number") return first.map((value, index) => value ?? of(second, index));
  if (text === "DIFF" && typeof first !== "number") {
    return first.map((value, index) => {
      const before = first.slice(0, index).findLast((one) => one !== undefined);
      return value === undefined || before === undefined ? undefined : value - before;
    });
  }
  const operator = arithmetic[text] ?? fail(`There is no ${text}`);
  const length = values.find((value) => typeof value !== "number")?.length;
  if (length === undefined) return operator(first as number, second as number);
  return Array.from({ length }, (_, index) => {
    const [a, b] = [of(first, index), of(second, index)];
    // One missing value counts as 0, beside a value of another series; a scalar does not make one.
    const isMissing = [first, second].every((side) => typeof side === "number" || side[index] === undefined);
    return isMissing ? undefined : operator(a ?? 0, b ?? 0);
  });
}

function fail(message: string): never {
  throw new Error(message);
}

function isBreaching(value: number, { ComparisonOperator, Threshold }: Resource["Properties"]): boolean {
  if (ComparisonOperator === "GreaterThanThreshold") return value > Threshold;
  if (ComparisonOperator === "GreaterThanOrEqualToThreshold") return value >= Threshold;
  if (ComparisonOperator === "LessThanThreshold") return value < Threshold;
  return fail(`There is no ${ComparisonOperator}`);
}

/**
 * Whether data points, the oldest first, put an alarm into ALARM. Missing ones are replaced only if there are fewer than
 * the evaluation periods; else the most recent ones decide, however old.
 */
export function isInAlarm(
  points: readonly (boolean | undefined)[],
  alarm: { EvaluationPeriods: number; DatapointsToAlarm: number; TreatMissingData: string },
): boolean {
  const { EvaluationPeriods, DatapointsToAlarm, TreatMissingData } = alarm;
  if (TreatMissingData !== "breaching" && TreatMissingData !== "notBreaching") fail(`Not known: ${TreatMissingData}`);
  const recent = points.filter((point) => point !== undefined).slice(-EvaluationPeriods);
  const replaced = TreatMissingData === "breaching" ? EvaluationPeriods - recent.length : 0;
  return recent.filter(Boolean).length + replaced >= DatapointsToAlarm;
}
