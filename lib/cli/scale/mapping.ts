import { Bucket } from "./bucket.ts";
import type { Place } from "./step.ts";
import type { Watch } from "./watch.ts";

/** The most batches at once, with the mapping's own limit or with provisioned pollers. */
export function mostBatches({ limits, optional, quotas }: Place): number {
  const { maximumPollers } = optional;
  if (maximumPollers !== null) return maximumPollers * quotas.batchesPerPoller;
  return Math.min(limits.maxConcurrency, quotas.mappingMost);
}

/** The event source mapping: how many batches it may have at once, and what its pollers receive. */
export function startMapping(place: Place, watch: Watch) {
  const { limits, optional, quotas } = place;
  const { minimumPollers, maximumPollers } = optional;
  const hasPollers = minimumPollers !== null && maximumPollers !== null;
  const most = mostBatches(place);
  const growth = hasPollers ? quotas.pollerGrowth : quotas.mappingGrowth;
  let allowed = Math.min(most, hasPollers ? minimumPollers * quotas.batchesPerPoller : quotas.mappingFirst);
  const pollRate = () => (allowed / quotas.batchesPerPoller) * quotas.recordsPerPoller;
  const polls = new Bucket(hasPollers ? pollRate() : Number.MAX_VALUE);
  /** For a window: how long records have waited for a full batch. */
  let windowSeconds = 0;
  return {
    /** Batches at once, for now. */
    get allowed(): number {
      return allowed;
    },
    /** Records that it receives in a second. */
    get rate(): number {
      return polls.rate;
    },
    /** Batches that it may begin now. */
    wantedBatches(waiting: number, seconds: number): number {
      if (limits.batchWindowSeconds === 0) return waiting;
      const full = Math.floor(waiting / limits.batchSize);
      windowSeconds = full > 0 || waiting === 0 ? 0 : windowSeconds + seconds;
      if (windowSeconds < limits.batchWindowSeconds) return full;
      windowSeconds = 0;
      return 1;
    },
    /** @returns How many records it receives. */
    poll(records: number, seconds: number): number {
      polls.refill(seconds);
      return polls.take(records);
    },
    note(busy: number, received: number): void {
      watch.gauge("mapping growth", Math.floor(allowed), Math.round(growth * 60));
      watch.gauge("mapping", Math.ceil(busy), most);
      if (hasPollers) watch.count("pollers", received, polls.rate);
    },
    grow(seconds: number): void {
      if (allowed >= most) return;
      allowed = Math.min(most, allowed + growth * seconds);
      if (hasPollers) polls.grow(pollRate());
    },
    /** The limit for which records wait, if it is one of the queue or the mapping. */
    causeOfWaiting({ isFull, fit, records, room }: { isFull: boolean; fit: number; records: number; room: number }) {
      if (fit <= records) return "in flight";
      if (!isFull) return undefined;
      if (hasPollers && records < Math.floor(room) * limits.batchSize) return "pollers";
      return allowed < most ? "mapping growth" : "mapping";
    },
  };
}
