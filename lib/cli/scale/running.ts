import { longestBackoffSeconds, visibilityTimeoutSeconds } from "../../../infra/limits.js";
import { Bucket } from "./bucket.ts";
import { draw } from "./draw.ts";
import { type Load, type Place, type Step, tickSeconds } from "./step.ts";
import type { Watch } from "./watch.ts";

/** The first waits of a record whose ledger cannot be written, as in lib/handling/backoff.ts. */
const backoffSeconds = (receives: number) => Math.min(longestBackoffSeconds, 10 * 2 ** (receives - 1));
/** Counts of records that were received 0, 1, … times before. From 8 on, each wait is the longest. */
const emptyGroups = () => [0, 0, 0, 0, 0, 0, 0, 0, 0];
const mostReceives = emptyGroups().length - 1;
/** What sums of parts lack of a whole. */
const tiny = 1e-6;
/** An event needs one write before its run and one after. */
const writesPerEvent = 2;

/** What comes back at a later tick, by the tick. */
class Later<T> {
  readonly #byTick = new Map<number, T[]>();

  add(tick: number, what: T): void {
    const others = this.#byTick.get(tick);
    if (others === undefined) this.#byTick.set(tick, [what]);
    else others.push(what);
  }

  take({ tick, ticks }: Step): readonly T[] {
    let all: readonly T[] = [];
    for (let at = tick; at < tick + ticks; at++) {
      const found = this.#byTick.get(at);
      if (found === undefined) continue;
      this.#byTick.delete(at);
      all = all.length === 0 ? found : [...all, ...found];
    }
    return all;
  }
}

/** The most batches at once, with the mapping's own limit or with provisioned pollers. */
export function mostBatches({ limits, optional, quotas }: Place): number {
  const { maximumPollers } = optional;
  if (maximumPollers !== null) return maximumPollers * quotas.batchesPerPoller;
  return Math.min(limits.maxConcurrency, quotas.mappingMost);
}

/** The writes of the table, which all lanes share. */
export function startLedger({ quotas, optional }: Place, { dedupe }: Pick<Load, "dedupe">, watch: Watch) {
  const hasLedger = dedupe === "required";
  const table = new Bucket(Math.min(quotas.tableMost, optional.ledgerWarmWritesPerSecond ?? quotas.tableWrites));
  let busySeconds = 0;
  /** Whether this step is in `busySeconds`. */
  let isCounted = false;
  return {
    /** Events that it takes in a second. */
    get capacity(): number {
      return hasLedger ? table.rate / writesPerEvent : Number.POSITIVE_INFINITY;
    },
    refill(seconds: number): void {
      table.refill(seconds);
      isCounted = false;
    },
    complete(records: number): void {
      if (hasLedger) table.take(records);
    },
    /** @returns How many it takes. */
    claim(records: number, ended: number, seconds: number): number {
      if (!hasLedger) return records;
      const claimed = table.take(records);
      if (claimed < records && !isCounted) {
        isCounted = true;
        busySeconds += seconds;
        if (busySeconds >= quotas.tableDoublesSeconds) {
          busySeconds = 0;
          table.grow(Math.min(quotas.tableMost, 2 * table.rate));
        }
      }
      watch.turnAway("ledger", records - claimed);
      watch.count("ledger", records + ended, table.rate);
      return claimed;
    },
  };
}

/**
 * A queue, its mapping and the worker.
 * @param shared.watch Of the limits that all lanes share; `own` is of those of this queue.
 */
export function startRunning(
  place: Place,
  load: Pick<Load, "handlerMs">,
  shared: { own: Watch; watch: Watch; ledger: ReturnType<typeof startLedger>; random: () => number },
) {
  const { own, watch, ledger, random } = shared;
  const { limits, optional, quotas, times } = place;
  const { minimumPollers, maximumPollers } = optional;
  const hasPollers = minimumPollers !== null && maximumPollers !== null;
  const most = mostBatches(place);
  const growth = hasPollers ? quotas.pollerGrowth : quotas.mappingGrowth;
  const starts = new Bucket(quotas.startRate, quotas.startBurst);
  const hidden = new Later<{ receives: number; records: number }>();
  let hiddenRecords = 0;
  const ends = new Later<{ slots: number; records: number; inFlight: number }>();
  /** Visible records by how often they were received before. */
  const visible = emptyGroups();
  let allowed = Math.min(most, hasPollers ? minimumPollers * quotas.batchesPerPoller : quotas.mappingFirst);
  const polls = new Bucket(
    hasPollers ? (allowed / quotas.batchesPerPoller) * quotas.recordsPerPoller : Number.MAX_VALUE,
  );
  let waiting = 0;
  let busy = 0;
  let inBatches = 0;
  let instances = 0;
  /** For a window: how long records have waited for a full batch. */
  let windowSeconds = 0;

  function show(records: number, receives: number): void {
    if (records <= 0) return;
    visible[receives] = (visible[receives] ?? 0) + records;
    waiting += records;
  }

  function receive(records: number): number[] {
    waiting -= records;
    return draw(visible, records);
  }

  /** Batches that the mapping may begin now. */
  function wantedBatches(seconds: number): number {
    if (limits.batchWindowSeconds === 0) return waiting;
    const full = Math.floor(waiting / limits.batchSize);
    windowSeconds = full > 0 || waiting === 0 ? 0 : windowSeconds + seconds;
    if (windowSeconds < limits.batchWindowSeconds) return full;
    windowSeconds = 0;
    return 1;
  }

  function hide(tick: number, receives: number, records: number): void {
    if (records <= 0) return;
    hidden.add(tick, { receives: Math.min(receives, mostReceives), records });
    hiddenRecords += records;
  }

  const batchSeconds = (records: number) => times.batch + times.record * records + load.handlerMs / 1000;

  function grow(seconds: number): void {
    if (waiting === 0 || allowed >= most) return;
    allowed = Math.min(most, allowed + growth * seconds);
    if (hasPollers) polls.grow((allowed / quotas.batchesPerPoller) * quotas.recordsPerPoller);
  }

  return {
    get waiting(): number {
      return waiting + hiddenRecords;
    },
    get isIdle(): boolean {
      return waiting + hiddenRecords === 0 && busy < 0.5;
    },
    get busy(): number {
      return busy;
    },
    /** What is handled a second with every batch full: the slowest of mapping, pollers and ledger. */
    get capacity(): number {
      return Math.min((allowed * limits.batchSize) / batchSeconds(limits.batchSize), polls.rate, ledger.capacity);
    },
    /** @param free Invocations at once that the account has left. */
    step(step: Step, stored: number, free: number): Progress {
      const { tick, seconds } = step;
      let ended = 0;
      for (const { slots, records, inFlight } of ends.take(step)) {
        busy -= slots;
        inBatches -= inFlight;
        ended += records;
      }
      for (const { receives, records } of hidden.take(step)) {
        hiddenRecords -= records;
        show(records, receives);
      }
      show(stored, 0);
      starts.refill(seconds);
      polls.refill(seconds);
      ledger.complete(ended);

      const open = Math.max(0, allowed - busy);
      // In a long step, a slot has one batch after the other, and parts of a slot count.
      const expectedSize = Math.min(limits.batchSize, Math.max(1, waiting / Math.max(1, open)));
      const perSlot = Math.max(1, seconds / batchSeconds(expectedSize));
      const whole = (slotCount: number) => (perSlot > 1 ? slotCount : Math.floor(slotCount + tiny));
      const slots = whole(open);
      const wantedSlots = Math.min(slots, wantedBatches(seconds) / perSlot);
      const fresh = Math.max(0, Math.ceil(busy + wantedSlots - instances));
      const startable = Math.max(0, wantedSlots - (fresh - starts.take(fresh)));
      const usedSlots = whole(Math.min(startable, Math.max(0, free)));
      const fit = Math.max(0, Math.floor(quotas.inFlight - inBatches - hiddenRecords));
      const records = polls.take(Math.min(waiting, Math.round(usedSlots * perSlot * limits.batchSize), fit));
      const before = waiting;
      const received = receive(records);
      const claimed = ledger.claim(records, ended, seconds);
      draw(received, records - claimed).forEach((part, receives) => {
        // ± 20 %, as the worker spreads them.
        const waitSeconds = backoffSeconds(receives + 1) * (0.8 + 0.4 * random());
        hide(tick + Math.ceil(waitSeconds / tickSeconds), receives + 1, part);
      });
      const newInstances = Math.max(0, busy + usedSlots - instances);
      const batches = Math.min(records, usedSlots * perSlot);
      if (batches > 0) begin(step, { usedSlots, batches, records, claimed, newInstances });
      // Lambda hides what it received for an invocation that the account has no room for.
      const short = Math.max(0, startable - usedSlots);
      const throttled = Math.min(before - records, Math.floor(short * perSlot * limits.batchSize));
      watch.turnAway("concurrency", throttled);
      const back = tick + Math.ceil(visibilityTimeoutSeconds(limits) / tickSeconds);
      receive(throttled).forEach((count, receives) => {
        hide(back, receives, count);
      });
      own.gauge("mapping growth", Math.floor(allowed), Math.round(growth * 60));
      own.gauge("mapping", Math.ceil(busy), most);
      own.gauge("in flight", Math.floor(inBatches + hiddenRecords), quotas.inFlight);
      if (hasPollers) own.count("pollers", records, polls.rate);
      const cause = causeOfWaiting({ isFull: usedSlots === slots, fit, records, room: usedSlots * perSlot });
      grow(seconds);
      return { claimed, ended, batches, newInstances, cause };
    },
  };

  function begin(
    { tick, ticks }: Step,
    begun: { usedSlots: number; batches: number; records: number; claimed: number; newInstances: number },
  ): void {
    const { usedSlots, batches, records, claimed, newInstances } = begun;
    const runTicks = (batchSeconds(records / batches) + (times.start * newInstances) / batches) / tickSeconds;
    // What is shorter than the step takes a part of a slot.
    const share = Math.min(1, runTicks / ticks);
    const slots = Math.min(usedSlots, batches * share);
    const inFlight = claimed * share;
    const least = Math.max(ticks, Math.floor(runTicks));
    // Some end a tick later, so that the mean is exact: whole batches, in a short step.
    const lateShare = Math.max(0, Math.min(1, runTicks - least));
    const late = share < 1 ? lateShare : Math.floor(batches * lateShare + random()) / batches;
    const lateRecords = Math.floor(claimed * late + random());
    const part = (of: number, records: number) => ({ slots: slots * of, inFlight: inFlight * of, records });
    ends.add(tick + least, part(1 - late, claimed - lateRecords));
    if (late > 0) ends.add(tick + least + 1, part(late, lateRecords));
    busy += slots;
    inBatches += inFlight;
    instances = Math.max(instances, busy);
  }

  function causeOfWaiting(facts: { isFull: boolean; fit: number; records: number; room: number }) {
    const { isFull, fit, records, room } = facts;
    if (waiting === 0) return undefined;
    if (fit <= records) return "in flight";
    if (!isFull) return undefined;
    if (hasPollers && records < Math.floor(room) * limits.batchSize) return "pollers";
    return allowed < most ? "mapping growth" : "mapping";
  }
}

interface Progress {
  /** Records whose runs began, and those whose runs ended. */
  readonly claimed: number;
  readonly ended: number;
  readonly batches: number;
  readonly newInstances: number;
  /** The limit for which the others wait. */
  readonly cause: "in flight" | "pollers" | "mapping growth" | "mapping" | undefined;
}
