import type { presets } from "../../../infra/limits.js";
import { regions } from "../../../infra/prices.js";
import { billOf } from "../cost/model.ts";
import { advise, type Change, holds } from "./advice.ts";
import { type Forecast, simulate } from "./model.ts";
import { quotas as awsQuotas, type Quotas, timesOf } from "./quotas.ts";
import type { Load, Place } from "./step.ts";
import type { Reading } from "./watch.ts";

export interface Options extends Omit<Load, "seconds"> {
  readonly minutes: number;
  readonly region: string;
  readonly preset?: keyof typeof presets;
  readonly quota?: Partial<Quotas>;
  readonly seed: number;
}

/** A forecast, with what it costs. */
export interface Outcome extends Forecast {
  readonly holds: boolean;
  /** The limit that breaks first, or if the rate holds, that is passed first. */
  readonly first: Reading | undefined;
  /** Of the events that were handled, with the time of their handlers, in US dollars. */
  readonly cost: number;
}

export interface Report {
  readonly now: Outcome;
  readonly changes: readonly Change[];
  /** With them. */
  readonly changed: Outcome;
}

export function reportOf(options: Options, project: Pick<Place, "limits" | "optional" | "alarmThresholds">): Report {
  const { limits, optional, alarmThresholds } = project;
  const load = { ...options, seconds: 60 * options.minutes };
  const place = {
    limits,
    optional,
    alarmThresholds,
    quotas: { ...awsQuotas, ...options.quota },
    times: timesOf(limits),
  };
  const forecast = simulate(load, place, options.seed);
  const { changes, forecast: changed } = advise(load, place, forecast, options.seed);
  const outcome = (of: Forecast): Outcome => ({
    ...of,
    holds: holds(of, alarmThresholds),
    first: firstOf(of, alarmThresholds),
    cost: costOf(of, options, limits),
  });
  return { now: outcome(forecast), changes, changed: outcome(changed) };
}

function costOf(forecast: Forecast, options: Options, limits: Place["limits"]): number {
  const prices = regions[options.region];
  if (prices === undefined) throw new TypeError(`No prices of ${options.region}`);
  const events = forecast.atOnce + forecast.later - forecast.expired;
  const { sum, handlers } = billOf({
    ...options,
    events,
    batch: Math.max(1, forecast.recordsPerBatch),
    prices,
    limits,
  });
  return sum + handlers;
}

/** The first limit that turned away more than a few in a hundred events, or if there is none, the first at all. */
function firstOf({ events, limits }: Forecast, { faultsPercent }: Place["alarmThresholds"]): Reading | undefined {
  const passed = limits
    .filter(({ passedAtSeconds }) => passedAtSeconds !== undefined)
    .sort((a, b) => (a.passedAtSeconds ?? 0) - (b.passedAtSeconds ?? 0));
  return passed.find(({ turnedAway }) => 100 * turnedAway > faultsPercent * events) ?? passed[0];
}
