import type { PushResult } from "./push.ts";

const weekMs = 7 * 24 * 3_600_000;

/** Every push has one of these results. Only an acknowledged push delivers its message. */
type Verdict = "acknowledged" | "refused" | "late" | "unreachable";

export interface Counts {
  /** Messages that the app acknowledged. */
  readonly delivered: number;
  /** All pushes. */
  readonly attempts: number;
  /** Pushes answered with a status other than 200. */
  readonly refused: number;
  /** Pushes not answered in time. */
  readonly late: number;
  /** Pushes that could not connect, or whose connection was closed without an answer. */
  readonly unreachable: number;
  /** Pushes of events that the app had already acknowledged. */
  readonly duplicates: number;
  /** Events whose pushes all failed. The platform does not push them again. */
  readonly givenUp: number;
}

interface GivenUp {
  readonly id: string;
  readonly type: string;
  /** When the last push failed, in epoch milliseconds. */
  readonly atMs: number;
}

/** An app's deliveries in the last seven days. */
export interface Health extends Omit<Counts, "givenUp"> {
  /** Events that were given up, oldest first. The platform notifies the developers of them. */
  readonly givenUp: readonly GivenUp[];
  /** Sorted by type. */
  readonly byType: readonly (Counts & { readonly type: string })[];
}

/**
 * Records the result of each push, and summarises seven days of them. The platform makes such a report of each app
 * every week.
 */
export function healthLog() {
  const pushes: { atMs: number; type: string; verdict: Verdict; isDuplicate: boolean }[] = [];
  const givenUp: GivenUp[] = [];
  return {
    /** @param atMs When the push ended. */
    pushed(type: string, result: PushResult, { atMs, isDuplicate }: { atMs: number; isDuplicate: boolean }): void {
      pushes.push({ atMs, type, verdict: verdictOn(result), isDuplicate });
    },
    gaveUp: (event: GivenUp): void => void givenUp.push(event),
    /** Reports the seven days before `nowMs`, and deletes older records. */
    report(nowMs: number): Health {
      deleteBefore(pushes, nowMs - weekMs);
      deleteBefore(givenUp, nowMs - weekMs);
      const types = new Map<string, Tally>();
      for (const { type, verdict, isDuplicate } of pushes) {
        const tally = tallyOf(types, type);
        tally.attempts++;
        if (isDuplicate) tally.duplicates++;
        if (verdict !== "acknowledged") tally[verdict]++;
        else if (!isDuplicate) tally.delivered++;
      }
      for (const { type } of givenUp) tallyOf(types, type).givenUp++;
      const byType = [...types].sort().map(([type, tally]) => ({ type, ...tally }));
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

/** Deletes the records before `sinceMs` from the front of a list that is sorted by time. */
function deleteBefore(list: { readonly atMs: number }[], sinceMs: number): void {
  const first = list.findIndex(({ atMs }) => atMs >= sinceMs);
  list.splice(0, first === -1 ? list.length : first);
}
