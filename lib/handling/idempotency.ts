import { createHash } from "node:crypto";

/** What a claim found. */
export type Claim =
  /** `run`: how many runs of this key have started, with this one; a redrive counts anew. */
  | { readonly state: "claimed"; readonly run: number }
  /** A run of this key has completed, or was given up for good. */
  | { readonly state: "done" | "dead"; readonly digest?: string | undefined }
  /** Another run holds it, until then at the latest. */
  | { readonly state: "busy"; readonly leaseEndsAtMs: number }
  /**
   * It may not run again: the caller holds the key, to bury its event. `death` is what an earlier run stored with
   * `release`. `isCrashLoop`: the last {@link deadlyStarts} runs started and never reported.
   */
  | {
      readonly state: "spent";
      readonly run: number;
      readonly isCrashLoop: boolean;
      readonly death?: string | undefined;
    };

export interface ClaimRequest {
  readonly key: string;
  /** Unlike any other run's: what the owner alone may complete, release or bury. */
  readonly owner: string;
  readonly nowMs: number;
  /** When another run may take over, should this one never report. */
  readonly leaseEndsAtMs: number;
  /** Runs after which the key is spent. */
  readonly maxRuns: number;
  /** How often the record was moved back from the dead-letter queue. A `dead` key runs again for a number that it has not seen; a `done` one never does. */
  readonly redrives: number;
  /** Hash of the payload. A different payload under the same key is logged, and still treated as a duplicate. */
  readonly digest: string;
}

export interface Release {
  readonly nowMs: number;
  /** The next run may claim the key from then on. */
  readonly claimableAtMs: number;
  /** How many runs count from now on: one less than the claim said when nothing was run. */
  readonly runs: number;
  /** What the run died of, while the dead-letter queue does not take its record: the next claim is `spent` with it. */
  readonly death?: string | undefined;
}

/**
 * Remembers which keys have run. Every write names its owner; `false` means that the key is no
 * longer the owner's. All reject when the store cannot be reached: then nothing may be assumed.
 */
export interface Ledger {
  claim(request: ClaimRequest): Promise<Claim>;
  complete(key: string, owner: string, nowMs: number): Promise<boolean>;
  bury(key: string, owner: string, nowMs: number): Promise<boolean>;
  /** Gives the key back after a run that did not complete. */
  release(key: string, owner: string, release: Release): Promise<boolean>;
}

/** What stands under a callback's key. */
export type Taken =
  | { readonly state: "claimed" }
  /** It ran already, and this is what was answered (JSON). */
  | { readonly state: "answered"; readonly answer: string }
  /** It is running, or its process died: it is not known what will be, or would have been, answered. */
  | { readonly state: "running" };

/**
 * Remembers what was answered to a callback. A key that was claimed is never free again: the platform does not
 * ask twice, and the next click has another key. Both reject when the store cannot be reached.
 */
export interface AnswerStore {
  claim(request: { key: string; owner: string; nowMs: number }, signal: AbortSignal): Promise<Taken>;
  record(request: { key: string; owner: string; nowMs: number; answer: string }, signal: AbortSignal): Promise<void>;
}

/** Runs in a row without any outcome before a key counts as deadly. */
export const deadlyStarts = 5;

/**
 * The idempotency key of one handler's run: app, identity and handler, hashed, so that two apps, two
 * handlers, or an id and a handler's own key never meet. The queue's message id is no part of it: a redrive changes that.
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

/** Calls a write up to three times while there is time; the ledger's writes are conditional, so repeating one is safe. */
export async function persist<T>(write: () => Promise<T>, hasTime: () => boolean): Promise<T> {
  for (let tries = 1; ; tries++) {
    try {
      return await write();
    } catch (error) {
      if (tries === 3 || !hasTime()) throw error;
    }
  }
}
