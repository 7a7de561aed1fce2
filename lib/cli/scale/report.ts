import { lanesOf } from "../../../infra/lanes.js";
import type { presets } from "../../../infra/limits.js";
import { regions } from "../../../infra/prices.js";
import type { Project } from "../../../infra/project.js";
import { didYouMean } from "../../simulator/nearest.ts";
import { UsageError } from "../command.ts";
import { billOf } from "../cost/model.ts";
import { advise, type Change, judge } from "./advice.ts";
import { type Forecast, simulate } from "./model.ts";
import { quotas as awsQuotas, type Quotas, timesOf } from "./quotas.ts";
import { defaultShare, type Lane, type Load, type Place, placeOf } from "./step.ts";
import type { Reading } from "./watch.ts";

export interface Options extends Omit<Load, "seconds"> {
  readonly minutes: number;
  readonly region: string;
  readonly preset?: keyof typeof presets;
  readonly quota?: Partial<Quotas>;
  /** The part of the events, and the time of the handlers, by lane. */
  readonly share?: Readonly<Record<string, number>>;
  readonly handler?: Readonly<Record<string, number>>;
  readonly seed: number;
}

/** A forecast, with what it costs. */
export interface Outcome extends Forecast {
  readonly holds: boolean;
  /** Sentences: what is lost or lets an alarm ring, or if the rate holds, comes near to that. */
  readonly why: readonly string[];
  /** The limit that breaks first, or if the rate holds, that is passed first. */
  readonly first: LaneReading | undefined;
  /** US dollars for the events that were handled, with the time of their handlers. */
  readonly cost: number;
}

/** @property lane Of whose queue or worker it is, if not the default one's. */
type LaneReading = Reading & { readonly lane?: string };

export interface Report {
  /** What came by each lane, with lanes. */
  readonly lanes?: readonly Pick<Lane, "name" | "share" | "handlerMs">[];
  readonly now: Outcome;
  readonly changes: readonly Change[];
  /** With them. */
  readonly changed: Outcome;
}

export function reportOf(
  options: Options,
  project: Pick<Project, "limits" | "optional" | "alarmThresholds" | "lanes">,
): Report {
  const { limits, optional, alarmThresholds } = project;
  const otherLanes = lanesFor(options, project);
  const load = { ...options, seconds: 60 * options.minutes };
  const place = {
    limits,
    optional,
    alarmThresholds,
    quotas: { ...awsQuotas, ...options.quota },
    times: timesOf(limits),
    otherLanes,
  };
  const forecast = simulate(load, place, options.seed);
  const { changes, forecast: changed } = advise(load, place, forecast, options.seed);
  const outcome = (of: Forecast): Outcome => ({
    ...of,
    ...judge(of, alarmThresholds),
    first: firstOf(of, alarmThresholds),
    cost: costOf(of, options, place),
  });
  const shares = [
    { name: "default", share: defaultShare(place), handlerMs: options.handlerMs },
    ...otherLanes.map(({ name, share, handlerMs }) => ({ name, share, handlerMs })),
  ];
  return {
    ...(otherLanes.length === 0 ? undefined : { lanes: shares }),
    now: outcome(forecast),
    changes,
    changed: outcome(changed),
  };
}

/**
 * The project's lanes but the default one, and those that take nothing any more.
 * @throws {UsageError} An option names another lane, or the parts are more than the whole.
 */
function lanesFor(
  { share = {}, handler = {}, handlerMs }: Options,
  project: Pick<Project, "limits" | "optional" | "lanes">,
): Lane[] {
  const lanes = lanesOf(project).filter(({ name, types }) => name !== "default" && types.length > 0);
  for (const name of Object.keys({ ...share, ...handler })) {
    if (lanes.some((lane) => lane.name === name)) continue;
    const names = lanes.map((lane) => lane.name);
    const known = names.length === 0 ? "larkpost.config.js has none" : `larkpost.config.js has ${names.join(", ")}.`;
    throw new UsageError(`Cannot simulate: "${name}" is no lane that takes events; ${known}${didYouMean(name, names)}`);
  }
  const total = Object.values(share).reduce((sum, part) => sum + part, 0);
  if (total > 1) throw new UsageError(`Cannot simulate: the shares are ${total} together, and 1 is all events`);
  // The default lane has one of the equal parts.
  const equal = (1 - total) / (lanes.length - Object.keys(share).length + 1);
  return lanes.map(({ name, concurrency, batchSize, batchWindowSeconds, timeoutSeconds, memoryMb }) => ({
    name,
    share: share[name] ?? equal,
    handlerMs: handler[name] ?? handlerMs,
    numbers: {
      maxConcurrency: concurrency,
      batchSize,
      batchWindowSeconds,
      workerTimeoutSeconds: timeoutSeconds,
      workerMemoryMb: memoryMb,
    },
  }));
}

function costOf(forecast: Forecast, options: Options, place: Place): number {
  const prices = regions[options.region];
  if (prices === undefined) throw new TypeError(`No prices of ${options.region}`);
  const { lanes = [] } = forecast;
  const cost = (events: number, batch: number, { limits }: Place, handlerMs: number) => {
    const { sum, handlers } = billOf({ ...options, handlerMs, events, batch: Math.max(1, batch), prices, limits });
    return sum + handlers;
  };
  let rest = forecast.atOnce + forecast.later - forecast.expired;
  let total = 0;
  for (const [index, { stored, expired, recordsPerBatch }] of lanes.entries()) {
    const lane = place.otherLanes?.[index];
    if (lane === undefined) continue;
    rest -= stored - expired;
    total += cost(stored - expired, recordsPerBatch, placeOf(place, lane), lane.handlerMs);
  }
  return total + cost(rest, forecast.recordsPerBatch, place, options.handlerMs);
}

/** The first limit that turned away more than a few in a hundred events, or if there is none, the first at all. */
function firstOf(
  { events, limits, lanes = [] }: Forecast,
  { faultsPercent }: Place["alarmThresholds"],
): LaneReading | undefined {
  const all: LaneReading[] = [
    ...limits,
    ...lanes.flatMap(({ name: lane, limits }) => limits.map((reading) => ({ ...reading, lane }))),
  ];
  const passed = all
    .filter(({ passedAtSeconds }) => passedAtSeconds !== undefined)
    .sort((a, b) => (a.passedAtSeconds ?? 0) - (b.passedAtSeconds ?? 0));
  return passed.find(({ turnedAway }) => 100 * turnedAway > faultsPercent * events) ?? passed[0];
}
