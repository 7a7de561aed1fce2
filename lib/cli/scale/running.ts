import { longestBackoffSeconds, visibilityTimeoutSeconds } from "../../../infra/limits.js";
import { Bucket } from "./bucket.ts";
import { draw } from "./draw.ts";
import type { startLedger } from "./ledger.ts";
import { startMapping } from "./mapping.ts";
import { batchSeconds, type Load, type Place, type Step, tickSeconds } from "./step.ts";
import type { Watch } from "./watch.ts";

/** The first waits of a record whose ledger cannot be written, as in lib/handling/backoff.ts. */
const backoffSeconds = (receives: number) => Math.min(longestBackoffSeconds, 10 * 2 ** (receives - 1));
/** Counts of records that were received 0, 1, … times before. From 8 on, each wait is the longest. */
const emptyGroups = () => [0, 0, 0, 0, 0, 0, 0, 0, 0];
const mostReceives = emptyGroups().length - 1;
/** What sums of parts lack of a whole. */
const tiny = 1e-6;

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

/** The records of a queue: the visible ones, and those that come back later. */
class Backlog {
  /** Visible records by how often they were received before. */
  readonly #groups = emptyGroups();
  readonly #comingBack = new Later<{ receives: number; records: number }>();
  visible = 0;
  hidden = 0;

  /** Shows what comes back in this step, and what is new in it. */
  fill(step: Step, stored: number): void {
    for (const { receives, records } of this.#comingBack.take(step)) {
      this.hidden -= records;
      this.#show(records, receives);
    }
    this.#show(stored, 0);
  }

  /** @returns What was received, by how often it was received before. */
  receive(records: number): number[] {
    this.visible -= records;
    return draw(this.#groups, records);
  }

  hide(tick: number, receives: number, records: number): void {
    if (records <= 0) return;
    this.#comingBack.add(tick, { receives: Math.min(receives, mostReceives), records });
    this.hidden += records;
  }

  #show(records: number, receives: number): void {
    if (records <= 0) return;
    this.#groups[receives] = (this.#groups[receives] ?? 0) + records;
    this.visible += records;
  }
}

/** The batches that run. */
class Runs {
  readonly #random: () => number;
  readonly #ends = new Later<{ slots: number; records: number; inFlight: number }>();
  /** Batches at once, and the records in them. */
  busy = 0;
  inFlight = 0;
  /** The most batches that there were at once: so many instances are warm. */
  instances = 0;

  constructor(random: () => number) {
    this.#random = random;
  }

  /** @returns How many records end in this step. */
  end(step: Step): number {
    let ended = 0;
    for (const { slots, records, inFlight } of this.#ends.take(step)) {
      this.busy -= slots;
      this.inFlight -= inFlight;
      ended += records;
    }
    return ended;
  }

  begin({ tick, ticks }: Step, begun: { slots: number; batches: number; records: number; seconds: number }): void {
    const { batches, records } = begun;
    const runTicks = begun.seconds / tickSeconds;
    // What is shorter than the step takes a part of a slot.
    const share = Math.min(1, runTicks / ticks);
    const slots = Math.min(begun.slots, batches * share);
    const inFlight = records * share;
    const least = Math.max(ticks, Math.floor(runTicks));
    // Some end a tick later, so that the mean is exact: whole batches, in a short step.
    const lateShare = Math.max(0, Math.min(1, runTicks - least));
    const late = share < 1 ? lateShare : Math.floor(batches * lateShare + this.#random()) / batches;
    const lateRecords = Math.floor(records * late + this.#random());
    const part = (of: number, ended: number) => ({ slots: slots * of, inFlight: inFlight * of, records: ended });
    this.#ends.add(tick + least, part(1 - late, records - lateRecords));
    if (late > 0) this.#ends.add(tick + least + 1, part(late, lateRecords));
    this.busy += slots;
    this.inFlight += inFlight;
    this.instances = Math.max(this.instances, this.busy);
  }
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
  const { limits, quotas, times } = place;
  const backlog = new Backlog();
  const mapping = startMapping(place, own);
  const runs = new Runs(random);
  const starts = new Bucket(quotas.startRate, quotas.startBurst);
  const secondsOf = (records: number) => batchSeconds(place, load, records);

  return {
    get waiting(): number {
      return backlog.visible + backlog.hidden;
    },
    get isIdle(): boolean {
      return backlog.visible + backlog.hidden === 0 && runs.busy < 0.5;
    },
    get busy(): number {
      return runs.busy;
    },
    /** What is handled a second with every batch full: the slowest of mapping, pollers and ledger. */
    get capacity(): number {
      const perSecond = (mapping.allowed * limits.batchSize) / secondsOf(limits.batchSize);
      return Math.min(perSecond, mapping.rate, ledger.capacity);
    },
    /** @param free Invocations at once that the account has left. */
    step(step: Step, stored: number, free: number): Progress {
      const { tick, seconds } = step;
      const ended = runs.end(step);
      backlog.fill(step, stored);
      starts.refill(seconds);
      ledger.complete(ended);

      const open = Math.max(0, mapping.allowed - runs.busy);
      // In a long step, a slot has one batch after the other, and parts of a slot count.
      const expectedSize = Math.min(limits.batchSize, Math.max(1, backlog.visible / Math.max(1, open)));
      const perSlot = Math.max(1, seconds / secondsOf(expectedSize));
      const whole = (slotCount: number) => (perSlot > 1 ? slotCount : Math.floor(slotCount + tiny));
      const slots = whole(open);
      const wantedSlots = Math.min(slots, mapping.wantedBatches(backlog.visible, seconds) / perSlot);
      const fresh = Math.max(0, Math.ceil(runs.busy + wantedSlots - runs.instances));
      const startable = Math.max(0, wantedSlots - (fresh - starts.take(fresh)));
      const usedSlots = whole(Math.min(startable, Math.max(0, free)));
      const room = usedSlots * perSlot;
      const fit = Math.max(0, Math.floor(quotas.inFlight - runs.inFlight - backlog.hidden));
      const records = mapping.poll(Math.min(backlog.visible, Math.round(room * limits.batchSize), fit), seconds);
      const received = backlog.receive(records);
      const claimed = ledger.claim(records, ended, seconds);
      draw(received, records - claimed).forEach((part, receives) => {
        // ± 20 %, as the worker spreads them.
        const waitSeconds = backoffSeconds(receives + 1) * (0.8 + 0.4 * random());
        backlog.hide(tick + Math.ceil(waitSeconds / tickSeconds), receives + 1, part);
      });
      const newInstances = Math.max(0, runs.busy + usedSlots - runs.instances);
      const batches = Math.min(records, room);
      if (batches > 0) {
        const runSeconds = secondsOf(records / batches) + (times.start * newInstances) / batches;
        runs.begin(step, { slots: usedSlots, batches, records: claimed, seconds: runSeconds });
      }
      // Lambda hides what it received for an invocation that the account has no room for.
      const short = Math.max(0, startable - usedSlots);
      const throttled = Math.min(backlog.visible, Math.floor(short * perSlot * limits.batchSize));
      watch.turnAway("concurrency", throttled);
      const back = tick + Math.ceil(visibilityTimeoutSeconds(limits) / tickSeconds);
      backlog.receive(throttled).forEach((count, receives) => {
        backlog.hide(back, receives, count);
      });
      own.gauge("in flight", Math.floor(runs.inFlight + backlog.hidden), quotas.inFlight);
      mapping.note(runs.busy, records);
      if (backlog.visible === 0) return { claimed, ended, batches, newInstances, cause: undefined };
      const cause = mapping.causeOfWaiting({ isFull: usedSlots === slots, fit, records, room });
      mapping.grow(seconds);
      return { claimed, ended, batches, newInstances, cause };
    },
  };
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
