import { grouped } from "../../../infra/contradictions.js";
import { pricesOf } from "../../../infra/prices.js";
import type { LaneForecast } from "./model.ts";
import { quotasOf } from "./quotas.ts";
import type { Options, Outcome, Report } from "./report.ts";
import type { LimitName, Reading } from "./watch.ts";

interface LimitWords {
  /** As it is set, or whose quota it is. */
  readonly name: string;
  readonly turnsAway: string;
}

const limitWords: Readonly<Record<LimitName, LimitWords>> = {
  route: { name: "requests/s of the route (routeRatePerSecond)", turnsAway: "pushes" },
  gateway: { name: "requests/s of API Gateway in the account", turnsAway: "pushes" },
  requests: { name: "requests/s of the webhook in Lambda", turnsAway: "pushes" },
  starts: { name: "new instances of the webhook in 10 s", turnsAway: "pushes" },
  concurrency: { name: "Lambda's invocations at once", turnsAway: "pushes, records" },
  parameters: { name: "SSM: reads of the keys a second", turnsAway: "pushes" },
  keys: { name: "KMS: decryptions a second", turnsAway: "reads" },
  "mapping growth": { name: "growth of the mapping: batches a minute", turnsAway: "records wait" },
  mapping: { name: "worker's invocations (maxConcurrency)", turnsAway: "records wait" },
  pollers: { name: "records/s of the pollers (maximumPollers)", turnsAway: "records wait" },
  "in flight": { name: "SQS: messages in flight", turnsAway: "records wait" },
  ledger: { name: "DynamoDB: writes a second", turnsAway: "records wait" },
  logs: { name: "CloudWatch Logs: calls a second", turnsAway: "calls" },
};

export function toText(options: Options, { lanes = [], now, changes, changed }: Report): string {
  const { rate, minutes, handlerMs, front, preset } = options;
  const limits = preset === undefined ? "this project's limits" : `the preset ${preset}`;
  return [
    `${whole(rate)} events a second for ${minutes} min, handlers of ${handlerMs} ms, by ${front}, with ${limits}`,
    `A model of an idle stage; quotas of ${quotasOf}, prices of ${pricesOf} without the free tier`,
    ...shares(lanes, options),
    "",
    verdict(now),
    ...now.why,
    "",
    ...table(now.limits),
    ...(now.lanes ?? []).flatMap(laneTable),
    "",
    ...ends(now),
    ...(changes.length === 0
      ? []
      : [
          "",
          "Change, in the order in which they break",
          ...changes.map(({ name, from, to }) => `  ${name.padEnd(36)}${shown(from).padStart(10)} → ${shown(to)}`),
          "",
          changed.holds ? "Then it holds:" : "Then it still breaks:",
          ...changed.why.map((reason) => `  ${reason}`),
          ...ends(changed),
        ]),
  ].join("\n");
}

function verdict({ first, holds }: Outcome): string {
  if (first === undefined) return "Holds: no limit is passed.";
  const what = `${first.lane === undefined ? "" : `lane ${first.lane}: `}${nameOf(first.name, first.lane)}, after ${seconds(first.passedAtSeconds ?? 0)}`;
  return holds ? `Holds. The first limit that is passed: ${what}.` : `Breaks first: ${what}.`;
}

/** As a lane has it set, if it is not the default one. */
function nameOf(limit: LimitName, lane: string | undefined): string {
  const { name } = limitWords[limit];
  return lane === undefined ? name : name.replace("maxConcurrency", `lanes.${lane}.concurrency`);
}

/** What comes by each lane, and which shares were not given. */
function shares(lanes: NonNullable<Report["lanes"]>, { share: typedShares = {} }: Options): string[] {
  if (lanes.length === 0) return [];
  const parts = lanes.map(({ name, share, handlerMs }) => {
    const percent = (100 * share).toFixed(1).replace(/\.0$/, "");
    return `${name} ${percent} %${name === "default" || Object.hasOwn(typedShares, name) ? "" : " (not given)"}, ${handlerMs} ms`;
  });
  return [
    `Lanes: ${parts.join("; ")}`,
    ...(lanes.length - 1 > Object.keys(typedShares).length
      ? ["Lanes without a --share have equal parts of what is left, as has the default one"]
      : []),
  ];
}

function laneTable({ name, limits, mostWaiting, longestWaitSeconds }: LaneForecast): string[] {
  const wait = `at most ${whole(mostWaiting)} wait at once, and the longest ${seconds(longestWaitSeconds)}`;
  const [, ...rows] = table(limits, name);
  return ["", `Lane ${name}: ${wait}`, ...rows];
}

function table(readings: readonly Reading[], lane?: string): string[] {
  const row = (cells: readonly string[]) =>
    cells
      .map((cell, index) => (index === 0 ? cell.padEnd(46) : cell.padStart([0, 12, 10, 10, 14][index] ?? 0)))
      .join("");
  return [
    row(["limit", "most used", "limit", "passed", "turned away"]),
    ...readings.map(({ name, used, limit, passedAtSeconds, turnedAway }) => {
      const passed = passedAtSeconds === undefined ? "" : seconds(passedAtSeconds);
      const away = turnedAway === 0 ? "" : `${whole(turnedAway)} ${limitWords[name].turnsAway}`;
      return `${row([nameOf(name, lane), whole(used), whole(limit), passed])}  ${away}`.trimEnd();
    }),
  ];
}

/** How late the platform's pushes are, in sum. */
const latest = ["", ", after 15 s", ", within 6 min", ", within 1.1 h", ", within 7.1 h"];

function ends(outcome: Outcome): string[] {
  const { events, atOnce, later, lastPush, refused, expired } = outcome;
  const row = (name: string, cell: string) => `  ${name.padEnd(36)}${cell.padStart(14)}`;
  const part = (count: number) => `${((100 * count) / events).toFixed(count === 0 ? 0 : 2)} %`.padStart(10);
  return [
    row("events", whole(events)),
    row("stored at their first push", whole(atOnce)) + part(atOnce),
    row(`stored at a later push${latest[lastPush - 1] ?? ""}`, whole(later)) + part(later),
    row("lost: refused at all five pushes", whole(refused)) + part(refused),
    row("lost: too long in the queue", whole(expired)) + part(expired),
    row("waiting at once, at most", whole(outcome.mostWaiting)),
    row("longest wait in the queue", seconds(outcome.longestWaitSeconds)),
    row("last run ends after", seconds(outcome.doneAfterSeconds)),
    row("cost, with handlers", `$${outcome.cost.toFixed(2)}`),
  ];
}

function whole(count: number): string {
  return grouped(Math.round(count));
}

function shown(value: number | null): string {
  return value === null ? "null" : whole(value);
}

function seconds(value: number): string {
  if (value < 120) return `${value.toFixed(1)} s`;
  const minutes = Math.round(value / 60);
  return minutes < 120 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}
