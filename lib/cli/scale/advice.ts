import { grouped } from "../../../infra/contradictions.js";
import { mostBatches } from "./mapping.ts";
import { type Forecast, simulate } from "./model.ts";
import { highParameterReads, type Quotas } from "./quotas.ts";
import { batchSeconds, defaultShare, type Lane, type Load, type Place, placeOf } from "./step.ts";
import type { LimitName, Reading } from "./watch.ts";

/** A number to change, and to what. */
export interface Change {
  /** As it is set: `limits.…` in larkpost.config.js, or a quota that AWS is asked for. */
  readonly name: string;
  readonly from: number | null;
  readonly to: number;
}

/** So much more than the load needs. */
const headroom = 1.5;
const slightly = 1.1;
/** From this part of an alarm's threshold on, a rate near by may ring it. */
const nearly = 0.9;
const mostConcurrency = 1_000;
const mostInMapping = 12_000;
const mostPollers = 2_000;
const mostFirstPollers = 200;
const mostRounds = 6;

/**
 * Whether nothing is lost, and hardly anything late: no more than what lets an alarm ring.
 * @returns `why`: what breaks, or if it holds, what comes near to an alarm.
 */
export function judge(forecast: Forecast, { oldestEventSeconds, faultsPercent }: Place["alarmThresholds"]) {
  const { events, muchLater, refused, expired, longestWaitSeconds } = forecast;
  const lost = refused + expired;
  const latePercent = (100 * muchLater) / Math.max(1, events);
  const late = `${latePercent.toFixed(2)} % are stored five minutes late or later`;
  const wait = `The longest wait is ${grouped(Number(longestWaitSeconds.toFixed(1)))} s`;
  const measures = [
    { found: lost, most: 0, text: `${grouped(lost)} events are lost.` },
    {
      found: latePercent,
      most: faultsPercent,
      text: `${late}, and an alarm rings above ${faultsPercent} % (faultsPercent).`,
    },
    {
      found: longestWaitSeconds,
      most: oldestEventSeconds,
      text: `${wait}, and an alarm rings above ${oldestEventSeconds} s (oldestEventSeconds).`,
    },
  ];
  const holds = measures.every(({ found, most }) => found <= most);
  const why = measures.filter(({ found, most }) => found > most * (holds ? nearly : 1)).map(({ text }) => text);
  return { holds, why };
}

/**
 * Raises what is passed and simulates again, until nothing is left to raise.
 * @returns What to change, and the forecast with it.
 */
export function advise(load: Load, place: Place, forecast: Forecast, seed: number) {
  let now = place;
  let then = forecast;
  /** In the order in which something passes them. */
  const order = new Set<string>();
  for (let round = 0; round < mostRounds; round++) {
    const next = raised(load, now, then);
    const changed = changesBetween(now, next);
    if (changed.length === 0) break;
    for (const { name } of changed) order.add(name);
    now = next;
    then = simulate(load, now, seed);
  }
  const changes = changesBetween(place, now);
  const inOrder = [...order].flatMap((name) => changes.filter((change) => change.name === name));
  return { changes: inOrder, forecast: then };
}

type MutableQuotas = { -readonly [name in keyof Quotas]: Quotas[name] };

/** What raises each limit that was passed. */
type Raises = Partial<Record<LimitName, (reading: Reading) => void>>;

function raised(load: Load, place: Place, { limits: readings, longestWaitSeconds, lanes = [] }: Forecast): Place {
  const limits = { ...place.limits };
  const optional = { ...place.optional };
  const quotas: MutableQuotas = { ...place.quotas };
  const { times, otherLanes = [] } = place;
  const rate = headroom * load.rate;
  const workerRate = rate * defaultShare(place);
  const batches = batchesOf(place, load, workerRate);
  const laneBatches = (lane: Lane) => batchesOf(placeOf(place, lane), lane, rate * lane.share);
  const otherBatches = otherLanes.reduce((sum, lane) => sum + laneBatches(lane), 0);

  const raise: Raises = {
    ...doorRaises(load, { limits, optional, quotas }),
    concurrency({ used }) {
      const reserved = optional.webhookReservedConcurrency;
      const needed = Math.max(headroom * used, batches + otherBatches + rate * times.request);
      if (reserved !== null) optional.webhookReservedConcurrency = higher(reserved, headroom * reserved);
      quotas.concurrency = higher(quotas.concurrency, needed);
    },
    parameters() {
      quotas.parameterReads = highParameterReads;
    },
    mapping() {
      const isOwnEnough = batches <= mostConcurrency && batches * limits.batchSize <= mostInMapping;
      if (isOwnEnough) limits.maxConcurrency = Math.max(limits.maxConcurrency, Math.ceil(batches));
      else setPollers();
    },
    "mapping growth"() {
      // What waits for the ledger or for too few batches lets the mapping grow, too.
      const isAlone = readings.every(({ name, turnedAway }) => !/^(ledger|mapping)$/.test(name) || turnedAway === 0);
      if (isAlone && longestWaitSeconds > place.alarmThresholds.oldestEventSeconds) setPollers();
    },
    pollers: setPollers,
    ledger({ used }) {
      // The mapping catches up with what has waited as fast as it can.
      const catchingUp = otherLanes.reduce(
        (sum, lane) => sum + mostHandled(placeOf(place, lane), lane),
        mostHandled({ ...place, limits, optional }, load),
      );
      const writes = Math.max(2 * Math.min(catchingUp, rate), Math.min(slightly * used, 3 * rate));
      const before = optional.ledgerWarmWritesPerSecond ?? quotas.tableWrites;
      optional.ledgerWarmWritesPerSecond = rounded(Math.max(writes, slightly * before));
      quotas.tableMost = Math.max(quotas.tableMost, optional.ledgerWarmWritesPerSecond);
    },
    logs({ used }) {
      quotas.logCalls = higher(quotas.logCalls, headroom * used);
    },
  };

  function setPollers() {
    const needed = Math.max(batches / quotas.batchesPerPoller, workerRate / quotas.recordsPerPoller);
    const allowed = Math.min(mostPollers, Math.floor(quotas.inFlight / (quotas.batchesPerPoller * limits.batchSize)));
    optional.maximumPollers = Math.min(allowed, rounded(needed));
    optional.minimumPollers = Math.min(mostFirstPollers, optional.maximumPollers);
    // What all pollers begin at once, beside the webhook.
    const atOnce = optional.maximumPollers * quotas.batchesPerPoller + otherBatches + rate * times.request;
    quotas.concurrency = Math.max(quotas.concurrency, rounded(atOnce));
  }

  for (const reading of readings) {
    if (reading.turnedAway > 0) raise[reading.name]?.(reading);
  }
  const { workerReservedConcurrency } = optional;
  if (workerReservedConcurrency !== null) {
    const most = mostBatches({ ...place, limits, optional });
    optional.workerReservedConcurrency = Math.max(workerReservedConcurrency, most);
  }
  const raisedLanes = otherLanes.map((lane) => {
    const readings = lanes.find(({ name }) => name === lane.name)?.limits ?? [];
    const isTooSmall = readings.some(({ name, turnedAway }) => name === "mapping" && turnedAway > 0);
    return isTooSmall ? raisedLane(lane, laneBatches(lane)) : lane;
  });
  return { ...place, limits, optional, quotas, otherLanes: raisedLanes };
}

/** Raises what each request meets: the rate alone decides it. */
function doorRaises(
  load: Load,
  { limits, optional, quotas }: Pick<Place, "limits" | "optional"> & { readonly quotas: MutableQuotas },
): Raises {
  const rate = headroom * load.rate;
  return {
    route() {
      limits.routeRatePerSecond = higher(limits.routeRatePerSecond, rate);
      limits.routeBurst = higher(limits.routeBurst, load.rate);
    },
    gateway() {
      quotas.gatewayRate = higher(quotas.gatewayRate, rate);
      quotas.gatewayBurst = Math.max(quotas.gatewayBurst, quotas.gatewayRate / 2);
    },
    requests() {
      const needed = rate / quotas.requestsPerConcurrency;
      if (optional.webhookReservedConcurrency === null) quotas.concurrency = higher(quotas.concurrency, needed);
      else optional.webhookReservedConcurrency = higher(optional.webhookReservedConcurrency, needed);
    },
  };
}

function raisedLane(lane: Lane, batches: number): Lane {
  const { maxConcurrency, batchSize } = lane.numbers;
  const most = Math.min(mostConcurrency, Math.floor(mostInMapping / batchSize), Math.ceil(batches));
  return { ...lane, numbers: { ...lane.numbers, maxConcurrency: Math.max(maxConcurrency, most) } };
}

/** Full batches at once, for events at a rate. */
function batchesOf(place: Place, load: Pick<Load, "handlerMs">, rate: number): number {
  const { batchSize } = place.limits;
  return (rate * batchSeconds(place, load, batchSize)) / batchSize;
}

/** Events a second, with every batch that the mapping may have, and each full. */
function mostHandled(place: Place, load: Pick<Load, "handlerMs">): number {
  const { batchSize } = place.limits;
  return (mostBatches(place) * batchSize) / batchSeconds(place, load, batchSize);
}

/** At least a half more than before, if it has to rise. */
function higher(before: number, needed: number): number {
  return rounded(needed > before ? needed : headroom * before);
}

/** Two digits, upwards. */
function rounded(value: number): number {
  const unit = 10 ** Math.max(0, Math.floor(Math.log10(value)) - 1);
  return Math.ceil(value / unit) * unit;
}

function changesBetween(before: Place, after: Place): Change[] {
  const parts = [
    ["limits.", before.limits, after.limits],
    ["limits.", before.optional, after.optional],
    ["quota ", before.quotas, after.quotas],
  ] as const;
  const lanes = (after.otherLanes ?? []).flatMap(({ name, numbers }, index): Change[] => {
    const from = before.otherLanes?.[index]?.numbers.maxConcurrency ?? null;
    const to = numbers.maxConcurrency;
    return from === to ? [] : [{ name: `lanes.${name}.concurrency`, from, to }];
  });
  const others = parts.flatMap(([kind, from, to]) =>
    Object.entries(to).flatMap(([name, value]: [string, number | null]) => {
      const old = (from as Readonly<Record<string, number | null>>)[name] ?? null;
      const isUnused = name === "maxConcurrency" && after.optional.maximumPollers !== null;
      return value === null || old === value || isUnused ? [] : [{ name: `${kind}${name}`, from: old, to: value }];
    }),
  );
  return [...others, ...lanes];
}
