import { createHash } from "node:crypto";

export type Claim =
  /** `run`: how many runs of this key have started, with this one. A redrive counts from 1 again. */
  | ({ readonly state: "claimed"; readonly run: number } & LeftBehind)
  /** A run of this key has completed, or its event is in the dead-letter queue. */
  | ({ readonly state: "done" | "dead"; readonly digest?: string | undefined } & LeftBehind)
  /** Another run holds the key, until then at the latest. */
  | { readonly state: "busy"; readonly leaseEndsAtMs: number }
  /**
   * The key may not run again. The claim is granted so that the caller can dead-letter the event. `death` is what an
   * earlier run stored with `conclude`. `isCrashLoop`: the last {@link maxUnfinishedStarts} runs started and never
   * reported, so this event probably crashes the process.
   */
  | ({
      readonly state: "spent";
      readonly run: number;
      readonly isCrashLoop: boolean;
      readonly death?: string | undefined;
    } & LeftBehind);

interface LeftBehind {
  /** What earlier runs stored with `storeReaction`, if anything. */
  readonly reactions?: readonly string[];
}

export interface ClaimRequest {
  readonly key: string;
  /** Unique for each run. Only the owner can conclude the run. */
  readonly owner: string;
  readonly nowMs: number;
  /** When another run may claim the key if this one never reports. */
  readonly leaseEndsAtMs: number;
  /** Runs after which the key is spent. */
  readonly maxRuns: number;
  /** How often the record was moved back from the dead-letter queue. A `dead` key runs again after each; a `done` key never does. */
  readonly redrives: number;
  /** Hash of the payload. A different payload under the same key is logged, and still treated as a duplicate. */
  readonly digest: string;
}

/** How a run ended: it completed, its event is in the dead-letter queue, or the key is open for another run. */
interface Conclusion {
  readonly phase: "done" | "dead" | "open";
  readonly nowMs: number;
  /** When the next run may claim an open key; at once by default. */
  readonly claimableAtMs?: number;
  /** Why the event is dead, while its record cannot be moved to the dead-letter queue. The next claim is `spent` with it. */
  readonly death?: string | undefined;
}

/**
 * Stores which keys have run. A write resolves with `false` when the key is no longer the owner's. All reject when the
 * store cannot be reached; then it is unknown whether the key has run.
 */
export interface Ledger {
  claim(request: ClaimRequest): Promise<Claim>;
  /** Reports a run's outcome. */
  conclude(key: string, owner: string, conclusion: Conclusion): Promise<boolean>;
  /** Stores a reaction that the run is about to add. Every later claim of the key has it. */
  storeReaction(key: string, owner: string, reaction: string): Promise<boolean>;
  /** Undoes a claim without a run, so that it does not count, also when the claim's response was lost. */
  withdraw(key: string, owner: string, nowMs: number): Promise<boolean>;
}

/** After so many runs in a row that never reported, an event counts as a crash loop. */
export const maxUnfinishedStarts = 5;

/**
 * The idempotency key of one handler's run: a hash of the app, the handler and the event's id or the handler's own key,
 * so that none of them collide. It leaves out the SQS message id, which a redrive changes.
 */
export function idempotencyKey(parts: {
  app: string | null;
  handler: string;
  id: string;
  ownKey?: string | undefined;
}): string {
  const { app, handler, id, ownKey } = parts;
  const identity = ownKey === undefined ? ["id", id] : ["key", ownKey];
  return createHash("sha256")
    .update(JSON.stringify([app, handler, ...identity]))
    .digest("base64url");
}
