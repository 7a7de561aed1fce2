import { retryDelaysMs } from "../../simulator/platform/retries.ts";
import { draw, poisson, seededRandom } from "./draw.ts";
import { startLedger } from "./ledger.ts";
import { Queue } from "./queue.ts";
import { startReceiving } from "./receiving.ts";
import { startRunning } from "./running.ts";
import { type Lane, type Load, type Place, placeOf, type Step, tickSeconds, ticksPerSecond } from "./step.ts";
import { Waits } from "./waits.ts";
import { type Reading, Watch } from "./watch.ts";

// A seeded simulation of a stage that was idle and has `rate` events a second from one moment on. Each limit of AWS and of
// infra/limits.js applies where an event meets it. Steps have 0.1 s at first, while everything starts, and then a second.

export interface Forecast {
  /** Events: all, those that a first push stored, those that a later one stored, and those that no push did. */
  readonly events: number;
  readonly atOnce: number;
  readonly later: number;
  readonly refused: number;
  /** The part of `later` that the third push or one after it stored: after five minutes and more. */
  readonly muchLater: number;
  /** Which push stored the last of them, from 1. */
  readonly lastPush: number;
  /** Stored, but deleted by SQS before the worker came to them. */
  readonly expired: number;
  /** The most that waited in the queue at once, the mean, and the longest and the mean wait until a run begins. */
  readonly mostWaiting: number;
  readonly meanWaiting: number;
  readonly longestWaitSeconds: number;
  readonly meanWaitSeconds: number;
  /** Worker invocations at once, on average until the end of the load, and the batches they had. */
  readonly meanBusy: number;
  readonly recordsPerBatch: number;
  /** Handled a second, over the last tenth of the load. */
  readonly handledPerSecond: number;
  /** From the first push until the last run. */
  readonly doneAfterSeconds: number;
  readonly limits: readonly Reading[];
  /** The lanes other than the default one. All other numbers contain their events, too. */
  readonly lanes?: readonly LaneForecast[];
}

/** What happens in a lane's queue and worker. */
export interface LaneForecast
  extends Pick<Forecast, "expired" | "mostWaiting" | "longestWaitSeconds" | "recordsPerBatch" | "limits"> {
  readonly name: string;
  readonly stored: number;
}

const delays = retryDelaysMs.map((ms) => Math.round(ms / 1000 / tickSeconds));
const fineTicks = 60 * ticksPerSecond;
/** After the last push, in which the queue may become empty by itself. */
const restTicks = 60 * ticksPerSecond;

export function simulate(load: Load, place: Place, seed: number): Forecast {
  const { quotas } = place;
  // A generator of their own: the same events come wherever they arrive.
  const arrivals = seededRandom(seed);
  const watch = new Watch();
  const receiving = startReceiving(place, load, watch);
  const ledger = startLedger(place, load, watch);
  const lanes = startLanes(place, load, { watch, ledger, random: seededRandom(seed + 1) });
  const loadTicks = Math.round(load.seconds * ticksPerSecond);
  const lastTick = loadTicks + delays.reduce((sum, delay) => sum + delay, 0) + restTicks;
  const ladder = startLadder();
  const total = { events: 0, busy: 0, waiting: 0, handledLast: 0 };
  let mostWaiting = 0;
  let workerStarts = 0;
  let tick = 0;
  let lastPushTick = 0;

  while (tick < lastTick) {
    const isLoaded = tick < loadTicks;
    const ticks = tick < fineTicks ? 1 : ticksPerSecond;
    const seconds = ticks * tickSeconds;
    const step = { tick, ticks, seconds };
    const fresh = isLoaded ? poisson(load.rate * seconds, arrivals) : 0;
    total.events += fresh;
    const pushes = ladder.come(step, fresh);
    if (isLoaded || pushes > 0) lastPushTick = tick;
    if (!isLoaded && ladder.isOver && (lanes.isIdle || tick > lastPushTick + restTicks)) break;
    if (pushes === 0 && tick >= Math.max(fineTicks, loadTicks) && lanes.isIdle && receiving.busy < 1) {
      // Nothing happens until shortly before the next push, when the buckets fill.
      const next = Math.min(ladder.next(), lastTick) - restTicks;
      if (next > tick + ticks) {
        tick = next - (next % ticksPerSecond);
        continue;
      }
    }
    const others = { busy: lanes.takenConcurrency, starts: workerStarts };
    const { stored, refused } = receiving.step(step, pushes, others);
    ladder.settle(step, stored, refused);
    ledger.refill(seconds);
    const progress = lanes.step(step, stored, receiving.busy);
    workerStarts = progress.newInstances;
    if (isLoaded && tick >= 0.9 * loadTicks) total.handledLast += progress.ended;
    const running = lanes.sum();
    mostWaiting = Math.max(mostWaiting, running.waiting);
    if (isLoaded) {
      total.busy += running.busy * seconds;
      total.waiting += running.waiting * seconds;
    }
    const busy = Math.ceil(receiving.busy + running.busy);
    watch.gauge("concurrency", busy, quotas.concurrency);
    // An instance sends its lines about once a second.
    watch.gauge("logs", busy, quotas.logCalls);
    if (tick % ticksPerSecond === 0) watch.turnAway("logs", busy - quotas.logCalls);
    tick += ticks;
    watch.advance(tick * tickSeconds, tick % ticksPerSecond === 0);
  }

  const ends = lanes.ends((tick - lastPushTick) * tickSeconds);
  return {
    ...ladder.ends(),
    events: total.events,
    expired: ends.expired,
    mostWaiting,
    meanWaiting: total.waiting / load.seconds,
    longestWaitSeconds: ends.longestWaitSeconds,
    meanWaitSeconds: ends.meanWaitSeconds,
    meanBusy: total.busy / load.seconds,
    recordsPerBatch: ends.recordsPerBatch,
    handledPerSecond: total.handledLast / (0.1 * load.seconds),
    doneAfterSeconds: tick * tickSeconds + ends.restSeconds,
    limits: watch.readings(),
    ...(ends.others.length === 0 ? undefined : { lanes: ends.others }),
  };
}

interface Shared {
  readonly watch: Watch;
  readonly ledger: ReturnType<typeof startLedger>;
  readonly random: () => number;
}

/** All lanes: the events are distributed among them, and the account's concurrency is shared. */
function startLanes(place: Place, load: Load, shared: Shared) {
  const { concurrency } = place.quotas;
  const { callbackReservedConcurrency, webhookReservedConcurrency, workerReservedConcurrency } = place.optional;
  const first = startLane(undefined, place, load, shared);
  const others = (place.otherLanes ?? []).map((lane) => startLane(lane, placeOf(place, lane), load, shared));
  const lanes = [first, ...others];
  const busyOthers = () => others.reduce((sum, { running }) => sum + running.busy, 0);

  /** Invocations at once that are left for a lane's worker. */
  function freeOf(lane: typeof first, webhookBusy: number): number {
    const isFirst = lane === first;
    if (isFirst && workerReservedConcurrency !== null) return workerReservedConcurrency - first.running.busy;
    return (
      concurrency -
      taken(callbackReservedConcurrency) -
      taken(webhookReservedConcurrency, webhookBusy) -
      taken(isFirst ? null : workerReservedConcurrency, first.running.busy) -
      busyOthers()
    );
  }

  return {
    get isIdle(): boolean {
      return lanes.every(({ running }) => running.isIdle);
    },
    /** What the webhook cannot have of the account's concurrency. */
    get takenConcurrency(): number {
      return taken(callbackReservedConcurrency) + taken(workerReservedConcurrency, first.running.busy) + busyOthers();
    },
    sum() {
      const sum = { waiting: 0, busy: 0 };
      for (const { running } of lanes) {
        sum.waiting += running.waiting;
        sum.busy += running.busy;
      }
      return sum;
    },
    step(step: Step, stored: number, webhookBusy: number) {
      const sum = { newInstances: 0, ended: 0 };
      let rest = stored;
      for (const lane of lanes.toReversed()) {
        const part = lane === first ? rest : Math.min(rest, lane.partOf(stored));
        rest -= part;
        const { newInstances, ended } = lane.step(step, part, freeOf(lane, webhookBusy));
        sum.newInstances += newInstances;
        sum.ended += ended;
      }
      return sum;
    },
    /** @param afterSeconds Since the last push. */
    ends(afterSeconds: number) {
      const own = first.ends(afterSeconds);
      const ends = [own, ...others.map((lane) => lane.ends(afterSeconds))];
      return {
        expired: ends.reduce((sum, { expired }) => sum + expired, 0),
        longestWaitSeconds: Math.max(...ends.map(({ longestWaitSeconds }) => longestWaitSeconds)),
        restSeconds: Math.max(...ends.map(({ restSeconds }) => restSeconds)),
        meanWaitSeconds: first.meanWaitSeconds,
        recordsPerBatch: own.recordsPerBatch,
        others: ends.slice(1).map(({ restSeconds, ...forecast }) => forecast),
      };
    },
  };
}

/** @param lane `undefined`: the default one, whose limits are noted with the shared ones. */
function startLane(lane: Lane | undefined, place: Place, load: Load, shared: Shared) {
  const { name, share, handlerMs } = lane ?? { ...load, name: "default", share: 1 };
  const own = lane === undefined ? shared.watch : new Watch();
  const running = startRunning(place, { handlerMs }, { ...shared, own });
  const waits = new Waits();
  const total = { stored: 0, claimed: 0, batches: 0 };
  let mostWaiting = 0;
  let unsent = 0;
  return {
    running,
    get meanWaitSeconds(): number {
      return waits.mean * tickSeconds;
    },
    /** This lane's events of those that were stored. What is less than one comes in a later step. */
    partOf(stored: number): number {
      unsent += stored * share;
      const part = Math.floor(unsent);
      unsent -= part;
      return part;
    },
    step(step: Step, stored: number, free: number) {
      const progress = running.step(step, stored, free);
      const waitedTicks = waits.pass(step, stored, progress.claimed);
      const isLate = waitedTicks > ticksPerSecond;
      if (isLate && progress.cause !== undefined) own.turnAway(progress.cause, running.waiting - mostWaiting);
      mostWaiting = Math.max(mostWaiting, running.waiting);
      total.stored += stored;
      total.claimed += progress.claimed;
      total.batches += progress.batches;
      const { tick, ticks, seconds } = step;
      if (own !== shared.watch)
        own.advance((tick + ticks) * tickSeconds, seconds >= 1 || (tick + ticks) % ticksPerSecond === 0);
      return progress;
    },
    /** @param afterSeconds Since the last push. */
    ends(afterSeconds: number) {
      const { queueRetentionSeconds } = place.limits;
      const restSeconds = running.waiting / running.capacity;
      const lastWaitSeconds = restSeconds === 0 ? 0 : afterSeconds + restSeconds;
      return {
        name,
        stored: total.stored,
        expired: Math.max(0, Math.round(running.waiting - running.capacity * queueRetentionSeconds)),
        mostWaiting,
        longestWaitSeconds: Math.min(Math.max(waits.longest * tickSeconds, lastWaitSeconds), queueRetentionSeconds),
        recordsPerBatch: total.claimed / Math.max(1, total.batches),
        limits: own.readings(),
        restSeconds: Math.min(restSeconds, queueRetentionSeconds),
      };
    },
  };
}

/** Invocations that are kept for a function, or that it has of the account's others. */
function taken(reserved: number | null | undefined, busy = 0): number {
  return reserved ?? busy;
}

/** The platform: pushes what was refused again, after its delays. */
function startLadder() {
  /** Pushes to come, by how often their event was pushed before. */
  const toCome = delays.map(() => new Queue());
  /** Pushes without an answer yet. */
  const open = [0, ...delays.map(() => 0)];
  const stored = open.map(() => 0);
  let coming = 0;
  let refused = 0;
  return {
    get isOver(): boolean {
      return coming === 0 && open.every((count) => count === 0);
    },
    /** The next tick with a push; `Infinity`: there is none. */
    next(): number {
      return Math.min(...toCome.map(({ firstTick }) => firstTick));
    },
    /** @returns How many pushes are made. */
    come({ tick, ticks }: Step, fresh: number): number {
      open[0] = (open[0] ?? 0) + fresh;
      let pushes = fresh;
      if (coming === 0) return pushes;
      toCome.forEach((queue, index) => {
        let again = 0;
        while (queue.firstTick < tick + ticks) again += queue.take();
        open[index + 1] = (open[index + 1] ?? 0) + again;
        coming -= again;
        pushes += again;
      });
      return pushes;
    },
    settle({ tick }: Step, good: number, bad: number): void {
      draw(open, good).forEach((count, index) => {
        stored[index] = (stored[index] ?? 0) + count;
      });
      draw(open, bad).forEach((count, index) => {
        const delay = delays[index];
        if (delay === undefined) refused += count;
        else {
          toCome[index]?.add(tick + delay, count);
          coming += count;
        }
      });
    },
    ends() {
      const [atOnce = 0, second = 0, ...others] = stored;
      const muchLater = others.reduce((sum, count) => sum + count, 0);
      const lastPush = stored.findLastIndex((count) => count > 0) + 1;
      return { atOnce, later: second + muchLater, muchLater, refused, lastPush };
    },
  };
}
