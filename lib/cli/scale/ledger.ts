import { Bucket } from "./bucket.ts";
import type { Load, Place } from "./step.ts";
import type { Watch } from "./watch.ts";

/** An event needs one write before its run and one after. */
const writesPerEvent = 2;

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
