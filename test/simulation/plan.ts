import { createHash } from "node:crypto";
import type { Act } from "../fixtures/simulated-handler.ts";
import type { Call, Fault } from "./cloud.ts";

const minute = 60_000;

/** `freeze`: the process stands still past its lease, and returns then. */
export type PlannedAct = Act | "freeze";

/** What is to become of an event, and what its runs do, by their number; later ones do as the last. */
export interface Plan {
  readonly acts: readonly PlannedAct[];
  readonly end: "completed" | "quarantined" | "nonRetryable" | "attemptsExhausted" | "deadly";
}

/** In [0, 1), by the seed and what it is for, so that no roll depends on what happened before it elsewhere. */
export function rollFor(seed: number, ...what: readonly (string | number)[]): number {
  return (
    createHash("md5")
      .update([seed, ...what].join(" "))
      .digest()
      .readUInt32LE() /
    2 ** 32
  );
}

/** One event in a hundred each never succeeds, fails every time, cannot be read, or freezes; six fail up to four times first. */
export function planOf(seed: number, index: number): Plan {
  const place = index % 100;
  if (place === 1) return { acts: ["never"], end: "nonRetryable" };
  if (place === 2) return { acts: [index % 200 === 2 ? "throw" : "leak"], end: "attemptsExhausted" };
  if (place === 3) return { acts: [], end: "quarantined" };
  if (index % 1000 === 4) return { acts: ["exit"], end: "deadly" };
  if (index % 300 === 5) return { acts: ["hang", "return"], end: "completed" };
  if (place === 6) return { acts: ["throw", "later", "freeze", "return"], end: "completed" };
  if (place > 12) return { acts: ["return"], end: "completed" };
  const failures = Array.from({ length: 1 + Math.floor(4 * rollFor(seed, "failures", index)) }, (_, run) => {
    return (["throw", "later", "leak"] as const)[Math.floor(3 * rollFor(seed, "failure", index, run))] ?? "throw";
  });
  return { acts: [...failures, "return"], end: "completed" };
}

/** Of every call: an eighth goes wrong, half of that after the effect. */
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
  ["kill", 0.0003],
  ["kill-after", 0.0003],
];
/** Each holds its process for as long as the real clients wait. */
export const stalls: ReadonlySet<Fault> = new Set(["stall", "mute", "late"]);

export const faultNames: readonly Fault[] = [...callFaults.map(([name]) => name), "denied"];

export function faultOf(roll: number): Fault {
  let from = 0;
  for (const [fault, share] of callFaults) {
    from += share;
    if (roll < from) return fault;
  }
  return "none";
}

/** The platform's, the queue's and Lambda's own faults, by chance. */
export const chances = {
  /** A push that the edge refuses; a 200 that does not reach the platform. */
  refusedPush: 0.05,
  lostAnswer: 0.05,
  /** A push that is repeated though it was answered: at once, or within six hours. */
  repeatedPush: 0.2,
  /** A message that the queue has twice: both at once, or one up to ten minutes later. */
  twiceQueued: 0.1,
  /** A process that is killed while its handler runs. */
  killedRun: 0.004,
  /** An invocation that is throttled: the receive counts, and nothing runs. */
  throttled: 0.03,
  /** A message that is settled and not deleted. */
  lostDelete: 0.03,
} as const;

/** Events arrive in waves, all of them within this. */
export const arrivalMs = 120 * minute;

type Target = "table" | "events" | "dead-letters" | "quarantine" | "secrets" | "invocations";
/** When something refuses everything, since the start. The long ones outlast ten deliveries with their waits. */
const outages: readonly { readonly target: Target; readonly fromMs: number; readonly toMs: number }[] = [
  { target: "dead-letters", fromMs: 0, toMs: 75 * minute },
  { target: "table", fromMs: 2 * minute, toMs: 4 * minute },
  { target: "events", fromMs: 60 * minute, toMs: 60.1 * minute },
  { target: "secrets", fromMs: 60 * minute, toMs: 60.2 * minute },
  { target: "quarantine", fromMs: 60 * minute, toMs: 62 * minute },
  { target: "invocations", fromMs: 61 * minute, toMs: 65 * minute },
  { target: "table", fromMs: 150 * minute, toMs: 225 * minute },
];

export function isDown(target: Target, sinceStartMs: number): boolean {
  return outages.some((one) => one.target === target && sinceStartMs >= one.fromMs && sinceStartMs < one.toMs);
}

export function targetOf({ action, queue }: Call): Target {
  if (queue !== undefined) return queue;
  return action === "GetParameter" ? "secrets" : "table";
}
