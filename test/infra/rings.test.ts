// in turn: they share a process of osls.
import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import { limits } from "../../infra/limits.js";
import { backoffSeconds } from "../../lib/handling/backoff.ts";
import type { Stage as LineStage } from "../../lib/trace/trace.ts";
import { type Random, seeded } from "../support/random.ts";
import { type Circumstances, CloudWatch, calculate, isInAlarm, type Metric, matches } from "./cloudwatch.ts";
import { longConnection } from "./connected.ts";
import { parse } from "./expression.ts";
import { type Compiled, compile } from "./stack.ts";

/** The long connection stands beside either front, so one with it is enough. */
const stacks = [
  { front: "httpApi", connected: false },
  { front: "httpApi", connected: true },
  { front: "functionUrl", connected: false },
] as const;
type Stack = (typeof stacks)[number];

let compiled: ReadonlyMap<Stack, Compiled>;
before(async () => {
  const [api, url] = await Promise.all([compile("prod"), compile("prod", { params: { front: "functionUrl" } })]);
  const Resources = { ...api.template.Resources, ...longConnection().Resources };
  const connected = { ...api, template: { ...api.template, Resources } };
  compiled = new Map(stacks.map((stack, index) => [stack, [api, connected, url][index] as Compiled]));
});

/** Values at once, or a minute late, as CloudWatch may have them; and both numbers of points that it may read. */
const prompt: Circumstances = { lateMinutes: 0, extraPoints: 0 };
const others: readonly Circumstances[] = [
  { lateMinutes: 0, extraPoints: 2 },
  { lateMinutes: 1, extraPoints: 2 },
];

/** Each metric is one object, so that its key is made once. */
const metrics = new Map<string, Metric>();
function metric(MetricName: string, resource: string, dimension: () => Omit<Metric, "MetricName">): Metric {
  const id = `${MetricName} ${resource}`;
  const found = metrics.get(id) ?? { MetricName, ...dimension() };
  metrics.set(id, found);
  return found;
}
const queueMetric = (queue: string, name: string) =>
  metric(name, queue, () => ({
    Namespace: "AWS/SQS",
    Dimensions: [{ Name: "QueueName", Value: { "Fn::GetAtt": [queue, "QueueName"] } }],
  }));
const lambdaMetric = (of: string, name: string) =>
  metric(name, `${of}LambdaFunction`, () => ({
    Namespace: "AWS/Lambda",
    Dimensions: [{ Name: "FunctionName", Value: { Ref: `${of}LambdaFunction` } }],
  }));
const apiMetric = (name: string) =>
  metric(name, "HttpApi", () => ({
    Namespace: "AWS/ApiGateway",
    Dimensions: [{ Name: "ApiId", Value: { Ref: "HttpApi" } }],
  }));

/** What a deployed stage writes: log lines, and the metrics of its AWS services. */
class Stage {
  readonly cloudWatch: CloudWatch;
  readonly #stack: Stack;
  readonly #template: Compiled["template"];

  constructor(stack: Stack, minutes: number) {
    this.#stack = stack;
    this.#template = (compiled.get(stack) as Compiled).template;
    this.cloudWatch = new CloudWatch(this.#template);
    for (let minute = 0; minute < minutes; minute++) {
      if (stack.connected)
        this.cloudWatch.log("LongConnectionLogGroup", minute, { stage: "connected", level: "info" }, 3);
    }
  }

  /** Answers of one function, `failed` of them with 5xx after a crash. */
  answer(name: "Webhook" | "Callback", minute: number, requests: number, failed = 0): void {
    const { cloudWatch } = this;
    const [all, bad] =
      this.#stack.front === "httpApi"
        ? [apiMetric("Count"), apiMetric("5xx")]
        : [lambdaMetric(name, "UrlRequestCount"), lambdaMetric(name, "Url5xxCount")];
    cloudWatch.put(all, minute, 1, requests);
    cloudWatch.put(lambdaMetric(name, "Invocations"), minute, 1, requests);
    cloudWatch.put(lambdaMetric(name, "Duration"), minute, 20, requests);
    if (failed === 0) return;
    cloudWatch.put(bad, minute, 1, failed);
    cloudWatch.put(lambdaMetric(name, "Errors"), minute, 1, failed);
    cloudWatch.put(lambdaMetric(name, "Throttles"), minute, 1, failed);
  }

  /** A callback's run, in the function or in the process of the long connection. */
  callback(minute: number, stage: "handled" | "failed" | "late", times = 1): void {
    const group = this.#stack.connected ? "LongConnectionLogGroup" : "CallbackLogGroup";
    this.cloudWatch.log(group, minute, { stage: "started", level: "info" }, times);
    this.cloudWatch.log(group, minute, { stage, level: stage === "handled" ? "info" : "error" }, times);
    if (!this.#stack.connected) this.answer("Callback", minute, times);
  }

  run(minute: number, stages: readonly (LineStage | "later")[], times = 1): void {
    this.cloudWatch.put(lambdaMetric("Worker", "Invocations"), minute, 1, times);
    for (const one of stages) {
      const level = one === "dead" ? "error" : one === "failed" ? "warn" : "info";
      this.cloudWatch.log("WorkerLogGroup", minute, { stage: one === "later" ? "failed" : one, level }, times);
    }
  }

  /** What became of every alarm, by the minute: `66 Page RunsFailed`. */
  rings(circumstances = prompt): string[] {
    return this.cloudWatch
      .rings(circumstances)
      .sort((a, b) => a.minute - b.minute || a.alarm.localeCompare(b.alarm))
      .map(({ alarm, minute }) => {
        const description = this.#template.Resources[`${alarm}Alarm`]?.Properties["AlarmDescription"];
        return `${minute} ${String(description).split(":")[0]} ${alarm}`;
      });
  }

  /** The same rings whatever CloudWatch leaves open, later by no more than its values. */
  assertRings(expected: readonly string[]): void {
    assert.deepEqual(this.rings(), expected);
    for (const circumstances of others) {
      const rings = this.rings(circumstances);
      const without = (list: readonly string[]) => list.map((ring) => ring.replace(/^\d+ /, "")).sort();
      assert.deepEqual(without(rings), without(expected), JSON.stringify(circumstances));
      for (const ring of rings) {
        const [minute = "", urgency, alarm] = ring.split(" ");
        const on = expected.filter((one) => one.endsWith(`${urgency} ${alarm}`)).map((one) => Number.parseInt(one, 10));
        const lateMinutes = Math.min(...on.map((one) => Number(minute) - one).filter((late) => late >= 0));
        assert.ok(lateMinutes <= circumstances.lateMinutes, `${ring}: ${expected.join()}`);
      }
    }
  }
}

/** How a run of an event ends: as its log lines. */
type Run = (at: { minute: number; event: number }) => "handled" | "failed" | "later" | "load" | "nonRetryable";

/**
 * Events that arrive at random, and their runs: with the waits of the worker, up to the dead-letter queue. `perMinute`
 * may be below 1.
 * @returns The minute of each failed run.
 */
function simulate(stage: Stage, random: Random, options: { minutes: number; perMinute: number; run: Run }): number[] {
  const { minutes, perMinute, run } = options;
  const due: { second: number; event: number; attempt: number }[][] = Array.from({ length: minutes }, () => []);
  const add = (one: { second: number; event: number; attempt: number }) => due[Math.floor(one.second / 60)]?.push(one);
  let second = 0;
  for (let event = 0; second < minutes * 60; event++) {
    add({ second, event, attempt: 1 });
    stage.answer("Webhook", Math.floor(second / 60), 1);
    second += (-Math.log(1 - random.next()) * 60) / perMinute;
  }
  const failures: number[] = [];
  let deadLetters = 0;
  for (const [minute, list] of due.entries()) {
    // A run may add another to the minute's own list.
    for (const { second, event, attempt } of list) {
      const outcome = run({ minute, event });
      const isDead = outcome === "nonRetryable" || (outcome !== "handled" && attempt >= limits.maxAttempts);
      const end = isDead ? "dead" : outcome === "handled" ? "handled" : outcome === "later" ? "later" : "failed";
      stage.run(minute, outcome === "load" ? [end] : ["started", end]);
      if (end === "failed" || isDead) failures.push(second / 60);
      if (isDead) deadLetters++;
      else if (outcome !== "handled") {
        add({ event, attempt: attempt + 1, second: second + backoffSeconds(attempt, random.next) });
      }
    }
    stage.cloudWatch.put(visible("DeadLetterQueue"), minute, deadLetters);
  }
  return failures;
}

const visible = (queue: string) => queueMetric(queue, "ApproximateNumberOfMessagesVisible");

for (const stack of stacks) {
  const { front, connected } = stack;
  describe(`alarms with ${front}, ${connected ? "with" : "without"} the long connection`, () => {
    test("D.4: a callback handler that throws rings by minute 65, also for the few", () => {
      const stage = new Stage(stack, 120);
      for (let minute = 0; minute < 120; minute++) {
        stage.answer("Webhook", minute, 200);
        stage.callback(minute, minute < 60 ? "handled" : minute % 2 === 0 ? "failed" : "late");
      }
      stage.assertRings(["63 Ticket CallbackFailed"]);
    });

    test("D.4: a callback function that crashes rings by minute 65, though few of all requests are callbacks", () => {
      const stage = new Stage(stack, 120);
      for (let minute = 0; minute < 120; minute++) {
        stage.answer("Webhook", minute, 200);
        stage.answer("Callback", minute, 2, minute < 60 ? 0 : 2);
      }
      stage.assertRings(["61 Ticket Unavailable", "63 Page CallbackErrors", "63 Page CallbackThrottled"]);
    });

    test("D.4: a good day with an event every five minutes and a failure now and then rings nothing", () => {
      // Only the alarms of the fronts differ, and they read five minutes at most.
      const minutes = stack === stacks[0] ? 1_440 : 240;
      const stage = new Stage(stack, minutes);
      const random = seeded(7);
      const failing = new Set<number>();
      simulate(stage, random, {
        minutes,
        perMinute: 0.2,
        run: ({ event }) => {
          if (failing.has(event) || !random.chance(0.05)) return "handled";
          failing.add(event);
          return "failed";
        },
      });
      for (let minute = 0; minute < minutes; minute += 20)
        stage.callback(minute, minute === minutes / 2 ? "failed" : "handled");
      assert.ok(failing.size > minutes / 144);
      stage.assertRings([]);
    });

    test("D.4: five errors within a minute page nobody where a day has 300,000 requests", () => {
      const stage = new Stage(stack, 60);
      for (let minute = 0; minute < 60; minute++) {
        const failed = minute === 30 ? 5 : 0;
        stage.answer("Webhook", minute, 209, failed);
        stage.callback(minute, "handled", 20);
        stage.run(minute, ["started", "handled"], 209);
        if (failed > 0) {
          stage.run(minute, ["started", "failed"], failed);
          stage.callback(minute, "late", failed);
        }
      }
      assert.deepEqual(stage.rings(), ["31 Ticket Unavailable"]);
      for (const one of others) assert.ok(stage.rings(one).every((ring) => !ring.includes("Page")));
    });

    test("D.4: busy events, lost leases and late callbacks are counted, each by itself, and a lost lease rings", () => {
      const stage = new Stage(stack, 60);
      stage.run(5, ["busy"], 7);
      stage.run(30, ["started", "lease-lost"]);
      stage.callback(40, "late", 2);
      // Such a callback was answered.
      stage.cloudWatch.log("CallbackLogGroup", 41, { stage: "failed", level: "warn" });
      const counted = (what: string, line: string) =>
        stage.cloudWatch.sum({
          Namespace: "Larkpost",
          MetricName: `larkpost-prod-${what}-stages`,
          Dimensions: [{ Name: "stage", Value: line }],
        });
      assert.deepEqual(
        ["busy", "lease-lost", "started", "failed", "dead", "handled"].map((one) => counted("worker", one)),
        [7, 1, 1, 0, 0, 0],
      );
      assert.deepEqual(
        ["late", "failed", "started", "handled"].map((one) => counted("callback", one)),
        [2, 0, 2, 0],
      );
      stage.assertRings(["31 Ticket LeaseLost"]);
    });
  });
}

describe("the alarms of the worker and of the queues", () => {
  const [stack] = stacks;

  test("are the same in every stack, with what they count", () => {
    const ofFront = /^(Unavailable|UnavailableOften|Refused|AllRefused)Alarm$/;
    const watching = ({ template }: Compiled) =>
      Object.entries(template.Resources).filter(
        ([id, { Type }]) =>
          /::(Alarm|MetricFilter)$/.test(Type) && !ofFront.test(id) && !id.startsWith("LongConnection"),
      );
    const [first, ...more] = [...compiled.values()].map(watching);
    assert.ok((first ?? []).length > 20);
    for (const one of more) assert.deepEqual(one, first);
  });

  for (const [events, perMinutes, outcome, expected] of [
    [20, 1, "failed", ["61 Page RunsFailed", "65 Ticket AllRunsFail", "110 Page DeadLetters"]],
    [1, 1, "failed", ["64 Ticket AllRunsFail", "64 Page RunsFailed", "114 Page DeadLetters"]],
    [1, 5, "failed", ["64 Ticket AllRunsFail"]],
    [1, 30, "failed", ["72 Ticket AllRunsFail"]],
    [20, 1, "load", ["61 Page RunsFailed", "62 Ticket AllRunsFail", "110 Page DeadLetters"]],
    [20, 1, "nonRetryable", ["61 Page DeadLetters", "62 Page RunsFailed"]],
  ] as const) {
    test(`D.4: a release whose every handler throws (${outcome}) from minute 60 on rings within five minutes of the first failure, at ${events} events in ${perMinutes} min`, () => {
      // What rings later is each event's own.
      const minutes = perMinutes === 1 ? 120 : 74;
      const stage = new Stage(stack, minutes);
      const failures = simulate(stage, seeded(14), {
        minutes,
        perMinute: events / perMinutes,
        run: ({ minute }) => (minute < 60 ? "handled" : outcome),
      });
      const urgent = perMinutes === 1 ? "Page RunsFailed" : "Ticket AllRunsFail";
      const ring = expected.find((one) => one.endsWith(urgent)) ?? "";
      assert.ok(Number.parseInt(ring, 10) <= Math.min(...failures) + 5, ring);
      stage.assertRings(expected);
    });
  }

  for (const [minutesApart, poisoned, expected] of [
    [1, 30, ["81 Page DeadLetters"]],
    [5, 6, ["75 Page DeadLetters"]],
    // Nothing else runs near it, so all runs fail.
    [30, 2, ["44 Ticket AllRunsFail", "91 Page DeadLetters"]],
  ] as const) {
    test(`D2: one event that always fails is no bad release, and pages nobody until it is dead, with one every ${minutesApart} min`, () => {
      const stage = new Stage(stack, 240);
      simulate(stage, seeded(3), {
        minutes: 240,
        perMinute: 1 / minutesApart,
        run: ({ event }) => (event === poisoned ? "failed" : "handled"),
      });
      stage.assertRings(expected);
    });
  }

  test("D.4: handlers that ask to run later call nobody, however many do", () => {
    const stage = new Stage(stack, 60);
    simulate(stage, seeded(5), { minutes: 60, perMinute: 20, run: () => "later" });
    assert.deepEqual(
      stage.rings().filter((ring) => ring.includes("RunsFailed")),
      [],
    );
  });

  for (const [alarm, queue] of [
    ["DeadLetters", "DeadLetterQueue"],
    ["Quarantined", "QuarantineQueue"],
  ] as const) {
    /** Puts what the queue holds from each minute on; SQS reports nothing about a queue that has long been empty. */
    const holding = (minutes: number, held: Readonly<Record<number, number>>) => {
      const stage = new Stage(stack, minutes);
      let count: number | undefined;
      for (let minute = 0; minute < minutes; minute++) {
        count = held[minute] ?? count;
        if (count !== undefined) stage.cloudWatch.put(visible(queue), minute, count);
      }
      stage.cloudWatch.put(queueMetric("EventsQueue", "ApproximateAgeOfOldestMessage"), minutes - 1, 0);
      return stage;
    };

    test(`D2, D3, P1: ${alarm} rings again whenever there are more, while the first ones are left`, () => {
      const stage = holding(400, { 10: 1, 60: 2, 61: 3, 200: 1, 300: 40 });
      stage.assertRings([`11 Page ${alarm}`, `61 Page ${alarm}`, `301 Page ${alarm}`]);
    });

    test(`D2, P1: ${alarm} rings once for a message that stays, and not when somebody looks at it`, () => {
      holding(720, { 10: 1, 100: 0, 101: 1, 500: 0, 502: 1 }).assertRings([`11 Page ${alarm}`]);
    });
  }

  test("M1, M11, S3: events that nobody fetches ring when the oldest has waited for 5 minutes, and for 15", () => {
    const stage = new Stage(stack, 120);
    const age = queueMetric("EventsQueue", "ApproximateAgeOfOldestMessage");
    for (let minute = 0; minute < 120; minute++) stage.cloudWatch.put(age, minute, Math.max(0, minute - 59) * 60);
    stage.assertRings(["66 Ticket EventsWait", "76 Page EventsStuck"]);
  });
});

test("each alarm reads at most ten metrics, and no log group has more than a hundred filters", () => {
  for (const { template } of compiled.values()) {
    for (const { Type, Properties } of Object.values(template.Resources)) {
      if (Type !== "AWS::CloudWatch::Alarm") continue;
      const metrics = (Properties["Metrics"] ?? []).filter(({ MetricStat }: { MetricStat?: object }) => MetricStat);
      assert.ok(metrics.length <= 10, Properties["AlarmName"]);
    }
    const filters = Object.values(template.Resources).filter(({ Type }) => Type === "AWS::Logs::MetricFilter");
    assert.ok(filters.length <= 100);
  }
});

describe("the evaluator", () => {
  // The tables of the CloudWatch User Guide: 0 is within the threshold, X is not, - is missing.
  for (const [points, DatapointsToAlarm, breaching, notBreaching] of [
    ["0 - X - X", 3, false, false],
    ["0 - - - -", 3, false, false],
    ["- - - - -", 3, true, false],
    ["0 X X - X", 3, true, true],
    ["- - X - -", 3, true, false],
    ["0 - X - X", 2, true, true],
    ["0 0 X 0 X", 2, true, true],
    ["0 - X - -", 2, true, false],
    ["- - - - 0", 2, true, false],
    ["- - - - X", 2, true, false],
  ] as const) {
    test(`treats missing data as CloudWatch does: ${points}, ${DatapointsToAlarm} of 3`, () => {
      const read = points.split(" ").map((point) => ({ "0": false, X: true })[point]);
      const of = (TreatMissingData: string) =>
        isInAlarm(read, { EvaluationPeriods: 3, DatapointsToAlarm, TreatMissingData });
      assert.deepEqual([of("breaching"), of("notBreaching")], [breaching, notBreaching]);
    });
  }

  const none = undefined;
  for (const [source, expected] of [
    ["metric1 < metric2", [0, 0, 1, 0]],
    ["metric1 >= 30", [1, 0, 0, 0]],
    ["metric1 > 15 AND metric2 > 15", [1, 0, 0, 0]],
    ["metric1 + metric2", [50, 20, 20, 0]],
    ["FILL(metric2, 0) * 2 - 1", [39, -1, 39, -1]],
    ["IF(metric2 > 0, 5, metric1)", [5, none, 5, none]],
    ["DIFF(metric1)", [none, -10, -20, 0]],
    ["DIFF(FILL(metric2, 0))", [none, -20, 20, -20]],
  ] as const) {
    test(`calculates as CloudWatch does: ${source}`, () => {
      const series = new Map<string, readonly (number | undefined)[]>([
        ["metric1", [30, 20, 0, 0]],
        ["metric2", [20, none, 20, none]],
      ]);
      assert.deepEqual(calculate(parse(source), series), expected);
    });
  }

  test("reads a filter pattern with && before ||, and refuses what it does not know", () => {
    const pattern = parse('{ $.stage = "a" || $.level = "error" && ($.stage = "b" || $.stage = "c") }');
    const lines = [{ stage: "a" }, { stage: "b", level: "error" }, { stage: "c", level: "warn" }, {}];
    assert.deepEqual(
      lines.map((line) => matches(pattern, line)),
      [true, true, false, false],
    );
    assert.throws(() => matches(parse('{ stage = "a" }'), {}), /Unknown in a pattern/);
    for (const source of ["1 +", "IF(1, 2", "1 ? 2", "1 2"]) assert.throws(() => parse(source), /Cannot read/);
    assert.throws(() => calculate(parse("RATE(m)"), new Map([["m", [1]]])), /There is no RATE/);
  });
});
