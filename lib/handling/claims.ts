import { hash } from "node:crypto";
import type { Clock } from "../clock.ts";
import { HandlerTimeoutError, isError, NonRetryableError, RetryLaterError } from "../errors.ts";
import { describeError, type ErrorDescription } from "../trace/log.ts";
import type { TraceEntry } from "../trace/trace.ts";
import { type Claim, type Ledger, persist } from "./idempotency.ts";

/** What becomes of a record. */
export type Verdict =
  | { readonly kind: "done" }
  /** Comes back: after `delaySeconds`, or after the queue's own visibility timeout when there is none. */
  | { readonly kind: "retry"; readonly delaySeconds?: number };

/** Why a record is dead. */
export interface Death {
  /** `deadly`: the process died under it, again and again. `receivesExhausted`: no delivery came to a verdict. */
  readonly reason: "nonRetryable" | "attemptsExhausted" | "deadly" | "receivesExhausted";
  readonly error?: ErrorDescription | undefined;
  /** Runs that were started; `undefined`: not known. */
  readonly runs?: number | undefined;
}

/** One delivery of an event, as the queue counts it. */
export interface Delivery {
  /** From 1. It spaces the tries. It is no attempt: those are runs, which the ledger counts. */
  readonly receives: number;
  /** How often the record was moved back from the dead-letter queue. */
  readonly redrives: number;
  /** Stores the record in the dead-letter queue; resolves once it is durable there. */
  readonly bury: (death: Death) => Promise<void>;
}

export interface ClaimsOptions {
  readonly ledger: Ledger;
  readonly clock: Clock;
  /** In [0, 1). */
  readonly random: () => number;
  readonly owner: string;
  readonly leaseEndsAtMs: number;
  /** Runs after which an event is dead. */
  readonly maxAttempts: number;
  /** The payload. Another one under the same key is logged, and still a duplicate. */
  readonly input: unknown;
  /** Whether there is time for one more try at the ledger. */
  readonly hasTime: () => boolean;
  readonly tell: (entry: Pick<TraceEntry, "stage" | "level" | "facts" | "error">) => void;
}

const maxBackoffSeconds = 900;
const firstBusySeconds = 1;
/** SQS hides a record for twelve hours in all, from when it was received; a function may have spent fifteen minutes of them. */
const maxVisibilitySeconds = 43_200 - 900;

/** The keys that one delivery holds in the ledger (its event's, its handler's own, or both), and how it may end. */
export class Claims {
  readonly #delivery: Delivery;
  readonly #options: ClaimsOptions;
  readonly #digest: string;
  /** By key, how many of its runs have started; the last one counts as the event's. */
  readonly #held = new Map<string, number>();

  constructor(delivery: Delivery, options: ClaimsOptions) {
    this.#delivery = delivery;
    this.#options = options;
    this.#digest = hash("sha256", JSON.stringify(options.input) ?? "", "base64url");
  }

  /** How many runs have started, with this one. */
  get runs(): number {
    return Math.max(0, ...this.#held.values());
  }

  /**
   * Takes a key, unless it is held. Resolves with the verdict where the event is not to run, `undefined` where it is.
   * @throws What the ledger threw: it is not known whether the event has run.
   */
  async take(key: string): Promise<Verdict | undefined> {
    if (this.#held.has(key)) return undefined;
    const { ledger, clock, owner, leaseEndsAtMs, maxAttempts: maxRuns } = this.#options;
    const { redrives } = this.#delivery;
    const nowMs = clock.nowMs();
    const claim = await ledger.claim({ key, owner, nowMs, leaseEndsAtMs, maxRuns, redrives, digest: this.#digest });
    if (claim.state === "busy") return this.#wait(claim.leaseEndsAtMs);
    if (claim.state !== "claimed" && claim.state !== "spent") return this.#repeat(claim);
    this.#held.set(key, claim.run);
    return claim.state === "spent" ? this.#die(deathOf(claim)) : undefined;
  }

  /** The same, unless any key is held: what failed before it was claimed is counted all the same. */
  async takeAny(key: string): Promise<Verdict | undefined> {
    return this.#held.size > 0 ? undefined : this.take(key);
  }

  /** @throws What the ledger threw: the success is not written, so the record must come back. */
  async complete(): Promise<Verdict> {
    const { ledger, clock, owner, random, hasTime, tell } = this.#options;
    const attempt = this.runs;
    const key = [...this.#held.keys()].at(-1) ?? "";
    if (await persist(() => ledger.complete(key, owner, clock.nowMs()), hasTime)) {
      this.#held.delete(key);
      tell({ stage: "handled", level: "info", facts: { attempt } });
      await this.#record((other) => ledger.complete(other, owner, clock.nowMs()));
      return { kind: "done" };
    }
    // Another run took over while this one was stalled. Only one of the two may count, and it is the other.
    tell({ stage: "lease-lost", level: "error", facts: { attempt } });
    return { kind: "retry", delaySeconds: backoffSeconds(attempt, random) };
  }

  /** @param reason What failed, where it was not the handler itself. */
  async fail(error: unknown, reason?: string): Promise<Verdict> {
    const { clock, random, maxAttempts, leaseEndsAtMs, tell } = this.#options;
    const attempt = this.runs;
    if (isError(error, NonRetryableError)) return this.#die(deathOf("nonRetryable", error), error);
    if (attempt >= maxAttempts) return this.#die(deathOf("attemptsExhausted", error), error);
    // After a timeout the handler may still be at work: the key stays closed until the lease ends.
    const nowMs = clock.nowMs();
    const claimableAtMs = isError(error, HandlerTimeoutError) ? leaseEndsAtMs : nowMs;
    const delaySeconds = Math.max(delayOf(error, attempt, random), Math.ceil((claimableAtMs - nowMs) / 1000));
    tell({ stage: "failed", level: "warn", facts: { reason, attempt, delaySeconds }, error });
    await this.release({ claimableAtMs });
    return { kind: "retry", delaySeconds };
  }

  /** Gives every key back. `isUncounted`: nothing was run. */
  async release(given: { isUncounted?: true; claimableAtMs?: number; death?: string } = {}): Promise<void> {
    const { isUncounted = false, ...release } = given;
    const { ledger, clock, owner } = this.#options;
    const nowMs = clock.nowMs();
    await this.#record((key, run) => {
      const runs = isUncounted ? run - 1 : run;
      return ledger.release(key, owner, { nowMs, claimableAtMs: nowMs, runs, ...release });
    });
  }

  /** The other run is mostly over in a moment; should its process have died, the lease's end is late enough. */
  async #wait(untilMs: number): Promise<Verdict> {
    const { receives } = this.#delivery;
    const leaseSeconds = Math.ceil((untilMs - this.#options.clock.nowMs()) / 1000) + 1;
    const delaySeconds = Math.max(1, Math.min(leaseSeconds, firstBusySeconds * 2 ** Math.min(receives - 1, 8)));
    this.#options.tell({ stage: "busy", level: "info", facts: { delaySeconds, receives } });
    await this.release({ isUncounted: true });
    return { kind: "retry", delaySeconds };
  }

  async #repeat({ state, digest }: Claim & { state: "done" | "dead" }): Promise<Verdict> {
    const { ledger, clock, owner, tell } = this.#options;
    const differs = digest !== undefined && digest !== this.#digest;
    const facts = { of: state, receives: this.#delivery.receives, ...(differs ? { payload: "differs" } : undefined) };
    tell({ stage: "duplicate", level: differs ? "warn" : "info", facts });
    const conclude = state === "done" ? ledger.complete : ledger.bury;
    await this.#record((key) => conclude(key, owner, clock.nowMs()));
    return { kind: "done" };
  }

  async #die({ reason, error }: Death, thrown?: unknown): Promise<Verdict> {
    const { ledger, clock, owner, random, tell } = this.#options;
    const { bury, receives } = this.#delivery;
    const attempt = this.runs;
    try {
      // Stored first, recorded after: a key marked dead whose record is nowhere would be an event lost.
      await bury({ reason, error, runs: attempt });
    } catch (cause) {
      tell({ stage: "failed", level: "error", facts: { attempt, reason: "dead-letter-queue" }, error: cause });
      await this.release({ death: JSON.stringify({ reason, error }) });
      return { kind: "retry", delaySeconds: backoffSeconds(receives, random) };
    }
    tell({ stage: "dead", level: "error", facts: { reason, attempt, ...error }, error: thrown });
    await this.#record((key) => ledger.bury(key, owner, clock.nowMs()));
    return { kind: "done" };
  }

  /** Writes an outcome that the record's own fate does not hang on: unwritten, the lease runs out instead. */
  async #record(write: (key: string, run: number) => Promise<boolean>): Promise<void> {
    const { hasTime, tell } = this.#options;
    for (const [key, run] of this.#held) {
      await persist(() => write(key, run), hasTime).catch((error: unknown) => {
        tell({ stage: "failed", level: "error", facts: { attempt: this.runs, reason: "ledger" }, error });
      });
    }
  }
}

function deathOf(spent: Claim & { state: "spent" }): Death;
function deathOf(reason: Death["reason"], thrown: unknown): Death;
function deathOf(given: (Claim & { state: "spent" }) | Death["reason"], thrown?: unknown): Death {
  // A handler may have thrown `undefined`: that, too, is said.
  if (typeof given === "string") return { reason: given, error: describeError(thrown) };
  if (given.death !== undefined) return JSON.parse(given.death) as Death;
  return { reason: given.isCrashLoop ? "deadly" : "attemptsExhausted" };
}

/** 10·2^(n−1) seconds after attempt n, ± 20 %, at most 900: a transient fault is tried again soon, an outage of an hour is survived. */
export function backoffSeconds(attempt: number, random: () => number): number {
  const seconds = 10 * 2 ** Math.min(attempt - 1, 10) * (0.8 + 0.4 * random());
  return Math.min(maxBackoffSeconds, Math.round(seconds));
}

function delayOf(error: unknown, attempt: number, random: () => number): number {
  const asked = askedDelay(error);
  if (typeof asked !== "number" || !Number.isFinite(asked)) return backoffSeconds(attempt, random);
  return Math.min(maxVisibilitySeconds, Math.max(1, Math.ceil(asked)));
}

function askedDelay(error: unknown): unknown {
  try {
    return error instanceof RetryLaterError ? error.delaySeconds : undefined;
  } catch {
    return undefined;
  }
}
