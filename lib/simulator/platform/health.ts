import type { PushResult } from "./push.ts";

const weekMs = 7 * 24 * 3_600_000;

/** Every push is one of these four; only an acknowledged one delivers its message. */
type Verdict = "acknowledged" | "refused" | "late" | "unreachable";

export interface Counts {
  /** Messages that the app has acknowledged. */
  readonly delivered: number;
  /** Pushes; each was acknowledged, refused, late or did not arrive. */
  readonly attempts: number;
  /** Answered with another status than 200. */
  readonly refused: number;
  /** Not answered in time. */
  readonly late: number;
  /** Not connected, or cut without an answer. */
  readonly unreachable: number;
  /** Pushes of events that had been acknowledged before. */
  readonly duplicates: number;
  /** Events that failed all their pushes: the app never gets them. */
  readonly givenUp: number;
}

export interface GivenUp {
  readonly id: string;
  readonly type: string;
  /** When the last push failed, in epoch milliseconds. */
  readonly atMs: number;
}

/** How an app's deliveries went in the last seven days. */
export interface Health extends Omit<Counts, "givenUp"> {
  /** Events that are lost, oldest first. A developer is notified when there is one. */
  readonly givenUp: readonly GivenUp[];
  /** Sorted by type. */
  readonly byType: readonly (Counts & { readonly type: string })[];
}

/**
 * Keeps what became of each push, and sums it up as the platform's weekly look at an app does: developers
 * are notified of events that failed all their pushes.
 */
export function healthLog() {
  const pushes: { atMs: number; type: string; verdict: Verdict; isDuplicate: boolean }[] = [];
  const givenUp: GivenUp[] = [];
  return {
    /** @param atMs When the push was over. */
    pushed(type: string, result: PushResult, { atMs, isDuplicate }: { atMs: number; isDuplicate: boolean }): void {
      pushes.push({ atMs, type, verdict: verdictOn(result), isDuplicate });
    },
    gaveUp: (event: GivenUp): void => void givenUp.push(event),
    /** The seven days up to `nowMs`; what is older is forgotten. */
    report(nowMs: number): Health {
      forget(pushes, nowMs - weekMs);
      forget(givenUp, nowMs - weekMs);
      const types = new Map<string, Tally>();
      for (const { type, verdict, isDuplicate } of pushes) {
        const tally = tallyOf(types, type);
        tally.attempts++;
        if (isDuplicate) tally.duplicates++;
        if (verdict !== "acknowledged") tally[verdict]++;
        else if (!isDuplicate) tally.delivered++;
      }
      for (const { type } of givenUp) tallyOf(types, type).givenUp++;
      const byType = [...types]
        .sort(([a], [b]) => (a < b ? -1 : 1))
        .map(([type, tally]) => ({ type, ...(tally satisfies Counts) }));
      const total = emptyTally();
      for (const { type: _, ...tally } of byType) {
        for (const name of Object.keys(total) as (keyof Tally)[]) total[name] += tally[name];
      }
      return { ...total, givenUp: [...givenUp], byType };
    },
  };
}

type Tally = { -readonly [name in keyof Counts]: number };

function emptyTally(): Tally {
  return { delivered: 0, attempts: 0, refused: 0, late: 0, unreachable: 0, duplicates: 0, givenUp: 0 };
}

function tallyOf(types: Map<string, Tally>, type: string): Tally {
  const tally = types.get(type) ?? emptyTally();
  types.set(type, tally);
  return tally;
}

function verdictOn({ delivered, status, code }: PushResult): Verdict {
  if (delivered) return "acknowledged";
  if (code === "ETIMEDOUT") return "late";
  return code === undefined && status !== null ? "refused" : "unreachable";
}

/** Takes the oldest away, up to the first that is not older than `sinceMs`. */
function forget(list: { readonly atMs: number }[], sinceMs: number): void {
  const first = list.findIndex(({ atMs }) => atMs >= sinceMs);
  list.splice(0, first === -1 ? list.length : first);
}
