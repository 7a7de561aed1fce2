import { hash } from "node:crypto";
import type { Act } from "../fixtures/simulated-handler.ts";
import type { Call, Fault } from "./cloud.ts";

const minute = 60_000;

/** Both return: `slow` after a moment, in which a copy of the event may come; `freeze` when the lease is long over. */
export type PlannedAct = Act | "slow" | "freeze";

/** How an event has to end, and what its runs do: the first act is for the first run, the last act for all later ones. */
export interface Plan {
  readonly acts: readonly PlannedAct[];
  readonly end: "completed" | "quarantined" | "nonRetryable" | "attemptsExhausted" | "deadly";
}

/** A number in [0, 1) that depends on the arguments alone. */
export function rollFor(seed: number, ...what: readonly (string | number)[]): number {
  return hash("md5", [seed, ...what].join(" "), "buffer").readUInt32LE() / 2 ** 32;
}

/** Of a hundred events ten or so are special: poison of each kind, a freeze, and some that fail up to four times first. */
export function planOf(seed: number, index: number): Plan {
  const place = index % 100;
  if (place === 1) return { acts: ["never"], end: "nonRetryable" };
  if (place === 2) return { acts: [index % 200 === 2 ? "throw" : "leak"], end: "attemptsExhausted" };
  if (place === 3) return { acts: [], end: "quarantined" };
  if (index % 1000 === 4) return { acts: ["exit"], end: "deadly" };
  if (index % 300 === 5) return { acts: ["hang", "return"], end: "completed" };
  // It freezes when hardly anything else is under way: the clock has to jump while its two real seconds last.
  if (place === 6) return { acts: ["much-later", "freeze", "return"], end: "completed" };
  // A sample of ten has one of each, and two that fail first.
  if (place === 8 || place > 14) return { acts: [place < 21 ? "slow" : "return"], end: "completed" };
  if (place === 9) return { acts: ["return"], end: "completed" };
  const failures = Array.from({ length: 1 + Math.floor(4 * rollFor(seed, "failures", index)) }, (_, run) => {
    return (["throw", "later", "leak"] as const)[Math.floor(3 * rollFor(seed, "failure", index, run))] ?? "throw";
  });
  return { acts: [...failures, "return"], end: "completed" };
}

/** The shares of the calls that meet each fault: an eighth in all, and half of that after the effect. */
const callFaults: readonly (readonly [Fault, number])[] = [
  ["unavailable", 0.025],
  ["throttled", 0.01],
  ["cut", 0.02],
  ["lost", 0.025],
  ["failed", 0.01],
  ["truncated", 0.02],
  ["stall", 0.0015],
  ["mute", 0.0015],
  ["late", 0.0015],
  ["kill", 0.0006],
  ["kill-after", 0.0006],
];
/** Faults without effect. */
export const refused: ReadonlySet<Fault> = new Set(["unavailable", "throttled", "denied", "cut"]);
/** Faults that hold the process until its client gives up, in real time. */
export const stalls: ReadonlySet<Fault> = new Set(["stall", "mute", "late"]);

/** So that a sample meets what is rare as well: the fault of an event's first call of a kind. */
export const sampledFaults: ReadonlyMap<string, Fault> = new Map([
  ["event-0 PutItem", "kill-after"],
  ["event-7 UpdateItem", "kill"],
  ["event-8 SendMessage", "late"],
  ["event-9 PutItem", "stall"],
  ["event-9 UpdateItem", "mute"],
]);

export const faultNames: readonly Fault[] = [...callFaults.map(([name]) => name), "denied"];

export function faultOf(roll: number): Fault {
  let from = 0;
  for (const [fault, share] of callFaults) {
    from += share;
    if (roll < from) return fault;
  }
  return "none";
}

/** How often the platform, SQS and Lambda do what they may do. */
export const chances = {
  /** The edge refuses a push. A 200 does not reach the platform. */
  refusedPush: 0.05,
  lostAnswer: 0.05,
  /** The platform repeats a push that was answered 200: at once, or within six hours. */
  repeatedPush: 0.2,
  /** SQS delivers a message twice: at once, or up to ten minutes apart. */
  twiceQueued: 0.1,
  /** `kill -9` of a process while its handler runs. */
  killedRun: 0.004,
  /** Lambda throttles an invocation: the receive counts, and nothing runs. */
  throttled: 0.03,
  /** A message that was handled is not deleted. */
  lostDelete: 0.03,
} as const;

/** The waves of events arrive within this time. */
export const arrivalMs = 120 * minute;

type Target = "table" | "events" | "dead-letters" | "quarantine" | "secrets" | "invocations";
/** When a service refuses every call. The long outages outlast ten deliveries with their waits (51 minutes). */
const outages: readonly { readonly target: Target; readonly fromMs: number; readonly toMs: number }[] = [
  { target: "dead-letters", fromMs: 0, toMs: 75 * minute },
  { target: "table", fromMs: 2 * minute, toMs: 4 * minute },
  { target: "events", fromMs: 60.25 * minute, toMs: 60.3 * minute },
  { target: "secrets", fromMs: 60.25 * minute, toMs: 60.35 * minute },
  { target: "quarantine", fromMs: 60 * minute, toMs: 62 * minute },
  { target: "invocations", fromMs: 61 * minute, toMs: 65 * minute },
  { target: "table", fromMs: 150 * minute, toMs: 225 * minute },
];

export function isDown(target: Target, sinceStartMs: number): boolean {
  return outages.some((one) => one.target === target && sinceStartMs >= one.fromMs && sinceStartMs < one.toMs);
}

export function targetOf({ action, queue }: Call): Target {
  if (queue !== undefined) return queue as Target;
  return action === "GetParameter" ? "secrets" : "table";
}
