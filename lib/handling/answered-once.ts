import { type Clock, pause, withDeadline } from "../clock.ts";
import { DeadlineError } from "../errors.ts";
import type { JsonAnswer } from "../feishu/answers.ts";
import type { PublishStage } from "./stages.ts";

type AnswerClaim =
  | { readonly state: "claimed" }
  /** The callback ran already, and this is its answer (JSON). */
  | { readonly state: "answered"; readonly answer: string }
  /** Another run answers, or its process died: no answer is stored. */
  | { readonly state: "running" };

/**
 * Stores the answers to callbacks. A claimed key is never free again: the platform does not send a callback twice, and
 * the next click has another key. Both methods reject when the store cannot be reached.
 */
export interface AnswerStore {
  claim(request: { key: string; owner: string; nowMs: number }, signal: AbortSignal): Promise<AnswerClaim>;
  record(request: { key: string; owner: string; nowMs: number; answer: string }, signal: AbortSignal): Promise<void>;
}

/** A store that has not answered by then counts as down, since the handler needs the rest of the time. */
const claimWithinMs = 900;
/** How long the answer's write may take after the deadline. */
const recordWithinMs = 150;
/** How often to poll while another run answers the same callback: after 50 ms, then every 100 ms. */
const firstPollMs = 50;
const longestPollMs = 100;

/** The store failed, so it is unknown whether the callback came before. */
export class StoreFailure extends Error {
  constructor(options?: ErrorOptions) {
    super("Cannot tell whether the callback came before", options);
  }
}

function answerNotStored(): DeadlineError {
  return new DeadlineError(
    "Cannot store the callback's answer: no time is left. Check the ledger, and whether the handler blocks its process",
  );
}

/** Answers one callback once: claims its key before the handler runs, and stores the answer. */
export function answeredOnce(options: {
  readonly store: AnswerStore;
  readonly owner: string;
  readonly clock: Clock;
  readonly leftMs: () => number;
  readonly publishStage: PublishStage;
}) {
  const { store, owner, clock, leftMs, publishStage } = options;
  let claimed: string | undefined;

  return {
    /** Resolves with `undefined` when the handler should run, else with the stored answer, for which it waits. */
    async claim(key: string, signal: AbortSignal): Promise<JsonAnswer | undefined> {
      for (let pollMs = firstPollMs; ; pollMs = longestPollMs) {
        // The deadline may have passed meanwhile. Nothing may be claimed after the answer.
        signal.throwIfAborted();
        const claim = await tryClaim(key, signal);
        if (claim.state === "claimed") {
          claimed = key;
          return undefined;
        }
        if (claim.state === "answered") {
          const answer = { answer: JSON.parse(claim.answer), json: claim.answer };
          publishStage({ stage: "duplicate", level: "info" });
          return answer;
        }
        await pause(clock, pollMs, signal);
      }
    },

    /** Stores the answer if the key was claimed. Never rejects: the person gets the answer also when the store fails. */
    async storeAnswer(answer: string): Promise<void> {
      if (claimed === undefined) return;
      const request = { key: claimed, owner, nowMs: clock.nowMs(), answer };
      const ms = Math.min(claimWithinMs, leftMs() + recordWithinMs);
      try {
        await withDeadline(clock, { ms, error: answerNotStored }, (signal) => store.record(request, signal));
      } catch (error) {
        publishStage({ stage: "failed", level: "error", facts: { reason: "store" }, error });
      }
    },
  };

  async function tryClaim(key: string, signal: AbortSignal): Promise<AnswerClaim> {
    const ms = Math.min(claimWithinMs, leftMs());
    try {
      return await withDeadline(clock, { ms, error: () => new StoreFailure() }, (stop) =>
        store.claim({ key, owner, nowMs: clock.nowMs() }, AbortSignal.any([stop, signal])),
      );
    } catch (error) {
      signal.throwIfAborted();
      throw new StoreFailure({ cause: error });
    }
  }
}
