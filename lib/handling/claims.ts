import { hash } from "node:crypto";
import type { Clock } from "../clock.ts";
import { HandlerTimeoutError, isError, NonRetryableError, RetryLaterError } from "../errors.ts";
import type { Death as HandlerDeath } from "../handler.ts";
import { describeError, type ErrorDescription } from "../trace/error.ts";
import { backoffSeconds, delayOf } from "./backoff.ts";
import type { Claim, Ledger } from "./idempotency.ts";
import type { Reactions } from "./reactions.ts";
import type { PublishStage } from "./stages.ts";

/** What becomes of a record. */
export type Verdict =
  | { readonly kind: "done" }
  /** The record comes back after `delaySeconds`, else after the queue's own visibility timeout. */
  | { readonly kind: "retry"; readonly delaySeconds?: number };

/** Why a record is dead. */
export interface Death {
  readonly reason: HandlerDeath["reason"];
  readonly error?: ErrorDescription | undefined;
  /** How many runs were started; `undefined` when unknown. */
  readonly runs?: number | undefined;
}

/** One delivery of an event, as the queue counts it. */
export interface Delivery {
  /** From 1, for the delay between deliveries. The ledger counts attempts, which are runs that started. */
  readonly receives: number;
  /** How often the record was moved back from the dead-letter queue. */
  readonly redrives: number;
  /** The lane whose queue it came from; `undefined` for the default one. */
  readonly lane?: string | undefined;
  /** A longer delay is cut to it. */
  readonly longestDelaySeconds?: number | undefined;
  /** Stores the record in the dead-letter queue. Resolves once it is durable there. */
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
  /** The payload, whose hash the ledger stores. */
  readonly input: unknown;
  /** Whether there is time for one more try at the ledger. */
  readonly hasTime: () => boolean;
  readonly publishStage: PublishStage;
  readonly reactions: Pick<Reactions, "inherit" | "remove">;
  /** Called when the event is in the dead-letter queue and its key is marked, so once for each death. Never rejects. */
  readonly giveUp: (death: Death, key: string) => Promise<void>;
}

const firstBusySeconds = 1;

/** The keys that one delivery holds in the ledger (by the event's id, by the handler's own key, or both), and its outcome. */
export class Claims {
  readonly #delivery: Delivery;
  #options: ClaimsOptions;
  #inputDigest: string | undefined;
  /** How many runs have started under each key. */
  readonly #held = new Map<string, number>();

  constructor(delivery: Delivery, options: ClaimsOptions) {
    this.#delivery = delivery;
    this.#options = options;
  }

  /**
   * For a handler without the ledger: undoes what is claimed. From now on each receive counts as a run that has started. An
   * event that ends the process may hold back those behind it for its attempts alone.
   */
  async leaveLedger(): Promise<void> {
    await this.withdraw();
    this.#held.clear();
    const { receives: run, longestDelaySeconds = Number.POSITIVE_INFINITY } = this.#delivery;
    const isSpent = run > this.#options.maxAttempts && longestDelaySeconds < Number.POSITIVE_INFINITY;
    const claim: Claim = isSpent ? { state: "spent", run: run - 1, isCrashLoop: true } : { state: "claimed", run };
    const written = async () => true;
    const ledger: Ledger = { claim: async () => claim, conclude: written, withdraw: written, storeReaction: written };
    this.#options = { ...this.#options, ledger };
  }

  /** How often a person has redriven it, if somebody has. */
  get redrives(): number | undefined {
    return this.#delivery.redrives || undefined;
  }

  /** How many runs have started, with this one. */
  get runs(): number {
    return Math.max(0, ...this.#held.values());
  }

  /**
   * Claims a key that is not held yet. Resolves with `undefined` when the event should run, else with the verdict.
   * @throws What the ledger threw: it is unknown whether the event has run.
   */
  async claim(key: string): Promise<Verdict | undefined> {
    if (this.#held.has(key)) return undefined;
    const { ledger, clock, owner, leaseEndsAtMs, maxAttempts: maxRuns } = this.#options;
    const { redrives } = this.#delivery;
    const nowMs = clock.nowMs();
    const request = { key, owner, nowMs, leaseEndsAtMs, maxRuns, redrives, digest: this.#digest };
    const claim = await ledger.claim(request).catch(async (error: unknown) => {
      // The claim may be stored, and only its response lost.
      await ledger.withdraw(key, owner, clock.nowMs()).catch(() => {});
      throw error;
    });
    if (claim.state === "busy") return this.#wait(claim.leaseEndsAtMs);
    const { reactions } = this.#options;
    reactions.inherit(claim.reactions);
    if ("run" in claim) this.#held.set(key, claim.run);
    if (claim.state === "claimed") return undefined;
    await reactions.remove();
    return claim.state === "spent" ? this.#die(deathOf(claim)) : this.#skip(claim);
  }

  /** Claims a key unless one is held, so that a failure before the claim counts as a run. */
  async claimOne(key: string): Promise<Verdict | undefined> {
    return this.#held.size > 0 ? undefined : this.claim(key);
  }

  /**
   * Stores a reaction under the key that counts, for whoever claims it next.
   * @throws What the ledger threw, or that the key is another run's: nothing would remove the reaction.
   */
  async storeReaction(reaction: string): Promise<void> {
    const { ledger, owner, hasTime } = this.#options;
    if (await withRetries(() => ledger.storeReaction(this.#lastKey, owner, reaction), hasTime)) return;
    throw new Error("Cannot react: another run has the event");
  }

  /** @throws What the ledger threw: the success is not stored, so the record must come back. */
  async complete(): Promise<Verdict> {
    const { ledger, clock, owner, random, hasTime, publishStage, reactions } = this.#options;
    const attempt = this.runs;
    const key = this.#lastKey;
    if (await withRetries(() => ledger.conclude(key, owner, { phase: "done", nowMs: clock.nowMs() }), hasTime)) {
      this.#held.delete(key);
      publishStage({ stage: "handled", level: "info", facts: { attempt } });
      await this.#tryRecord((other) => ledger.conclude(other, owner, { phase: "done", nowMs: clock.nowMs() }));
      // Removed after the outcome is stored: a process that dies while it waits for Feishu must not run the event again.
      await reactions.remove();
      return { kind: "done" };
    }
    await reactions.remove();
    // Another run claimed the key after this one's lease. Only one success may count, and it is the other's.
    publishStage({ stage: "lease-lost", level: "error", facts: { attempt } });
    return { kind: "retry", delaySeconds: backoffSeconds(attempt, random) };
  }

  /** @param reason What failed, when it was not the handler itself. */
  async fail(error: unknown, reason?: string): Promise<Verdict> {
    const { ledger, owner, clock, random, maxAttempts, leaseEndsAtMs, publishStage, reactions } = this.#options;
    await reactions.remove();
    const attempt = this.runs;
    if (isError(error, NonRetryableError)) return this.#die(deathBy("nonRetryable", error), error);
    if (attempt >= maxAttempts) return this.#die(deathBy("attemptsExhausted", error), error);
    // After a timeout the handler may still run, so the key stays claimed until the lease ends.
    const nowMs = clock.nowMs();
    const claimableAtMs = isError(error, HandlerTimeoutError) ? leaseEndsAtMs : nowMs;
    const delaySeconds = this.#cut(
      Math.max(delayOf(error, attempt, random), Math.ceil((claimableAtMs - nowMs) / 1000)),
    );
    // The handler itself asked to wait, so no alarm may start.
    const level = isError(error, RetryLaterError) ? "info" : "warn";
    publishStage({ stage: "failed", level, facts: { reason, attempt, delaySeconds }, error });
    await this.#tryRecord((key) => ledger.conclude(key, owner, { phase: "open", nowMs, claimableAtMs }));
    return { kind: "retry", delaySeconds };
  }

  /** Retries later, since too little time is left for a run. */
  async postpone(): Promise<Verdict> {
    const { receives } = this.#delivery;
    const { random, publishStage } = this.#options;
    // Nothing failed: what came back runs one after another, and the rest of its batch may find no time.
    publishStage({ stage: "postponed", level: "info", facts: { receives } });
    await this.withdraw();
    return { kind: "retry", delaySeconds: backoffSeconds(receives, random) };
  }

  /** Undoes the claims when nothing was run. */
  async withdraw(): Promise<void> {
    const { ledger, clock, owner } = this.#options;
    await this.#tryRecord((key) => ledger.withdraw(key, owner, clock.nowMs()));
  }

  /** Another run mostly ends soon. When its process died, its lease ends by then. */
  async #wait(leaseEndsAtMs: number): Promise<Verdict> {
    const { receives } = this.#delivery;
    const leaseSeconds = Math.ceil((leaseEndsAtMs - this.#options.clock.nowMs()) / 1000) + 1;
    const delaySeconds = this.#cut(
      Math.max(1, Math.min(leaseSeconds, firstBusySeconds * 2 ** Math.min(receives - 1, 8))),
    );
    this.#options.publishStage({ stage: "busy", level: "info", facts: { delaySeconds, receives } });
    await this.withdraw();
    return { kind: "retry", delaySeconds };
  }

  async #skip({ state, digest }: Claim & { state: "done" | "dead" }): Promise<Verdict> {
    const { ledger, clock, owner, publishStage } = this.#options;
    const differs = digest !== undefined && digest !== this.#digest;
    const facts = { of: state, receives: this.#delivery.receives, payload: differs ? "differs" : undefined };
    publishStage({ stage: "duplicate", level: differs ? "warn" : "info", facts });
    await this.#tryRecord((key) => ledger.conclude(key, owner, { phase: state, nowMs: clock.nowMs() }));
    return { kind: "done" };
  }

  async #die({ reason, error }: Death, thrown?: unknown): Promise<Verdict> {
    const { ledger, clock, owner, random, publishStage, giveUp } = this.#options;
    const { bury, receives } = this.#delivery;
    const attempt = this.runs;
    const death = { reason, error, runs: attempt };
    try {
      // Moved before the key is marked: a dead key whose record is not in the queue would lose the event.
      await bury(death);
    } catch (cause) {
      publishStage({ stage: "failed", level: "error", facts: { attempt, reason: "dead-letter-queue" }, error: cause });
      // Only the key that counts stores it, so that the next delivery finds it with its count.
      const nowMs = clock.nowMs();
      const stored = JSON.stringify({ reason, error });
      await this.#tryRecord((key) =>
        key === this.#lastKey
          ? ledger.conclude(key, owner, { phase: "open", nowMs, death: stored })
          : ledger.withdraw(key, owner, nowMs),
      );
      return { kind: "retry", delaySeconds: backoffSeconds(receives, random) };
    }
    publishStage({ stage: "dead", level: "error", facts: { reason, attempt }, error: thrown, description: error });
    const marked = new Set<string>();
    await this.#tryRecord(async (key) => {
      const isMarked = await ledger.conclude(key, owner, { phase: "dead", nowMs: clock.nowMs() });
      if (isMarked) marked.add(key);
      return isMarked;
    });
    // An unmarked key may run again, and then dies once more or not at all.
    if (marked.has(this.#lastKey)) await giveUp(death, this.#lastKey);
    return { kind: "done" };
  }

  #cut(delaySeconds: number): number {
    return Math.min(delaySeconds, this.#delivery.longestDelaySeconds ?? delaySeconds);
  }

  /** Made for the first key that is claimed: a handler without the ledger needs none. */
  get #digest(): string {
    this.#inputDigest ??= hash("sha256", JSON.stringify(this.#options.input) ?? "", "base64url");
    return this.#inputDigest;
  }

  /** The key that counts: the handler's own, if it has one. */
  get #lastKey(): string {
    return [...this.#held.keys()].at(-1) ?? "";
  }

  /** Writes to every held key. A failure is only logged: the record's outcome is decided, and the lease ends by itself. */
  async #tryRecord(write: (key: string) => Promise<boolean>): Promise<void> {
    const { hasTime, publishStage } = this.#options;
    for (const key of this.#held.keys()) {
      await withRetries(() => write(key), hasTime).catch((error: unknown) => {
        publishStage({ stage: "failed", level: "error", facts: { attempt: this.runs, reason: "ledger" }, error });
      });
    }
  }
}

function deathOf({ death, isCrashLoop }: Claim & { state: "spent" }): Death {
  if (death !== undefined) return JSON.parse(death) as Death;
  return { reason: isCrashLoop ? "deadly" : "attemptsExhausted" };
}

function deathBy(reason: Death["reason"], thrown: unknown): Death {
  return { reason, error: describeError(thrown) };
}

/** Calls a write up to three times while there is time. The ledger's writes are conditional, so a repeat is safe. */
export async function withRetries<T>(write: () => Promise<T>, hasTime: () => boolean): Promise<T> {
  for (let tries = 1; ; tries++) {
    try {
      return await write();
    } catch (error) {
      if (tries === 3 || !hasTime()) throw error;
    }
  }
}
