import { hash } from "node:crypto";
import type { Clock } from "./clock.ts";
import type { Dispatch } from "./dispatcher.ts";
import { HandlerTimeoutError, isError, NonRetryableError, RetryLaterError } from "./errors.ts";
import type { EventEnvelope, JobEnvelope } from "./feishu/envelope.ts";
import { idempotencyKey, type Ledger, persist } from "./idempotency.ts";
import { contextOf, runWithin } from "./run.ts";
import type { MakeServices } from "./services.ts";
import { publish, type TraceEntry } from "./trace.ts";

/** What becomes of a record. */
export type Verdict =
  | { readonly kind: "done" }
  /** Comes back: after `delaySeconds`, or after the queue's own visibility timeout when there is none. */
  | { readonly kind: "retry"; readonly delaySeconds?: number };

/** Why a record is dead. `deadly`: the process died under it, again and again, and no outcome was ever written. */
export interface Death {
  readonly reason: "nonRetryable" | "attemptsExhausted" | "deadly";
  readonly error?: unknown;
  readonly nowMs: number;
}

/** One delivery of an event, as the queue counts it. */
export interface Delivery {
  /** From 1. */
  readonly attempt: number;
  /** The record was moved back from the dead-letter queue. */
  readonly redriven: boolean;
  /** Stores the record in the dead-letter queue; resolves once it is durable there. */
  readonly bury: (death: Death) => Promise<void>;
}

export interface WorkerPorts {
  readonly dispatch: Dispatch;
  /** Finds what runs a job; always something. */
  readonly dispatchJob: Dispatch;
  readonly services: MakeServices;
  readonly ledger: Ledger;
  readonly clock: Clock;
  /** In [0, 1). */
  readonly random: () => number;
  /** A token unlike any other. */
  readonly newOwner: () => string;
  /** Deliveries after which a record is dead (the queue's `maxReceiveCount`). */
  readonly maxAttempts: number;
  /** Milliseconds until the platform ends this function. */
  readonly remainingMs: () => number;
}

/** Kept at the end of a run for its outcome to be written and the batch to be answered. */
export const reserveMs = 5_000;
/** A lease outlasts the function that holds it by this: two machines' clocks may differ. */
export const leaseMarginMs = 10_000;
/** A handler is not started with less. */
const leastHandlerMs = 1_000;
const maxBackoffSeconds = 900;
const firstBusySeconds = 1;
/** SQS hides a record for twelve hours in all, from when it was received; a function may have spent fifteen minutes of them. */
const maxVisibilitySeconds = 43_200 - 900;

/**
 * Envelope → done, at most once per idempotency key: claims, runs the handler against the time that
 * is left, and records the outcome under the claim's owner token.
 *
 * Never rejects for what a handler does. Rejects when the ledger cannot be reached: before the handler
 * was entered, or after it when its success could not be written; either way the record must come back.
 */
export async function consume(
  envelope: EventEnvelope | JobEnvelope,
  delivery: Delivery,
  ports: WorkerPorts,
): Promise<Verdict> {
  const { id, type, app, requestId } = envelope;
  const { clock, ledger } = ports;
  const { attempt } = delivery;
  const startMs = clock.nowMs();
  const tell = (entry: Pick<TraceEntry, "stage" | "level" | "facts" | "error">) =>
    publish({ id, type, app, ms: clock.nowMs() - startMs, requestId, ...entry });
  const hasTime = () => ports.remainingMs() > leastHandlerMs;

  const input = envelope.kind === "job" ? envelope.payload : envelope.event;
  const found = envelope.kind === "job" ? ports.dispatchJob(type) : ports.dispatch(type);
  if (found === undefined) {
    tell({ stage: "unhandled", level: "info" });
    return { kind: "done" };
  }
  if (ports.remainingMs() - reserveMs < leastHandlerMs) {
    // It goes on loading; should that fail, the next attempt will find out.
    found.catch(() => {});
    tell({ stage: "failed", level: "warn", facts: { reason: "no-time-left", attempt } });
    return { kind: "retry", delaySeconds: backoffSeconds(attempt, ports.random) };
  }

  const owner = ports.newOwner();
  const leaseEndsAtMs = startMs + ports.remainingMs() + leaseMarginMs;
  let key: string | undefined;
  let thrown: { readonly error: unknown } | undefined;
  try {
    const handler = await found;
    const ownKey = handler.key?.(input, { id, type, app, tenant: envelope.tenant });
    key = idempotencyKey({ app, handler: handler.name, id, ownKey: isKey(ownKey) ? ownKey : undefined });
    const digest = hash("sha256", JSON.stringify(input) ?? "", "base64url");
    const redriven = delivery.redriven;
    const claim = await ledger
      .claim({ key, owner, nowMs: clock.nowMs(), leaseEndsAtMs, redriven, digest })
      .catch((error: unknown) => {
        // Not a handler's failure: it must neither run blind nor be counted as having failed.
        throw new LedgerFailure(error);
      });
    if (claim.state === "done" || claim.state === "dead") {
      const differs = claim.digest !== undefined && claim.digest !== digest;
      const facts = { of: claim.state, attempt, ...(differs ? { payload: "differs" } : undefined) };
      tell({ stage: "duplicate", level: differs ? "warn" : "info", facts });
      return { kind: "done" };
    }
    if (claim.state === "busy") {
      // The other run is mostly over in a moment; should its process have died, the lease's end is late enough.
      const leaseSeconds = Math.ceil((claim.leaseEndsAtMs - clock.nowMs()) / 1000) + 1;
      const delaySeconds = Math.max(1, Math.min(leaseSeconds, firstBusySeconds * 2 ** Math.min(attempt - 1, 8)));
      tell({ stage: "busy", level: "info", facts: { delaySeconds, attempt } });
      return { kind: "retry", delaySeconds };
    }
    if (claim.state === "deadly") return await die("deadly");

    tell({ stage: "started", level: "info", facts: { attempt } });
    const budgetMs = ports.remainingMs() - reserveMs;
    const startedAtMs = clock.nowMs();
    const expired = () => new HandlerTimeoutError(`Cannot finish ${handler.name}: its handler ran for ${budgetMs} ms`);
    await runWithin(envelope, { clock, ms: budgetMs, expired }, (signal) => {
      const endsAtMs = startedAtMs + budgetMs;
      const run = { envelope, key: () => key ?? "", signal, remainingMs: () => endsAtMs - clock.nowMs() };
      const { updateCard, ...services } = ports.services(run);
      const context = contextOf(envelope, { attempt, signal, services });
      const callback = envelope.kind === "job" ? { callback: envelope.event, updateCard } : undefined;
      return handler.handle(input, { ...context, ...callback });
    });
  } catch (error) {
    if (isError(error, LedgerFailure)) throw error.cause;
    thrown = { error };
  }

  if (thrown !== undefined) return fail(thrown.error);

  const done = key ?? "";
  if (await persist(() => ledger.complete(done, owner, clock.nowMs()), hasTime)) {
    tell({ stage: "handled", level: "info", facts: { attempt } });
    return { kind: "done" };
  }
  // Another run took over while this one was stalled. Only one of the two may count, and it is the other.
  tell({ stage: "lease-lost", level: "error", facts: { attempt } });
  return { kind: "retry", delaySeconds: backoffSeconds(attempt, ports.random) };

  async function fail(error: unknown): Promise<Verdict> {
    if (isError(error, NonRetryableError)) return die("nonRetryable", error);
    if (attempt >= ports.maxAttempts) return die("attemptsExhausted", error);
    // After a timeout the handler may still be at work: the key stays closed until the lease ends.
    const nowMs = clock.nowMs();
    const claimableAtMs = isError(error, HandlerTimeoutError) ? leaseEndsAtMs : nowMs;
    const delaySeconds = Math.max(delayOf(error, attempt, ports.random), Math.ceil((claimableAtMs - nowMs) / 1000));
    tell({ stage: "failed", level: "warn", facts: { attempt, delaySeconds }, error });
    await note((held) => ledger.release(held, owner, { nowMs, claimableAtMs }));
    return { kind: "retry", delaySeconds };
  }

  async function die(reason: Death["reason"], error?: unknown): Promise<Verdict> {
    // Stored first, recorded after: a key marked dead whose record is nowhere would be an event lost.
    try {
      await delivery.bury({ reason, error, nowMs: clock.nowMs() });
    } catch (cause) {
      tell({ stage: "failed", level: "error", facts: { attempt, reason: "dead-letter-queue" }, error: cause });
      const nowMs = clock.nowMs();
      if (reason !== "deadly") await note((held) => ledger.release(held, owner, { nowMs, claimableAtMs: nowMs }));
      return { kind: "retry", delaySeconds: backoffSeconds(attempt, ports.random) };
    }
    tell({ stage: "dead", level: "error", facts: { reason, attempt }, error });
    await note((held) => ledger.bury(held, owner, clock.nowMs()));
    return { kind: "done" };
  }

  /** Writes an outcome that the record's own fate does not hang on: unwritten, the lease runs out instead. */
  async function note(write: (key: string) => Promise<boolean>): Promise<void> {
    if (key === undefined) return;
    const held = key;
    try {
      await persist(() => write(held), hasTime);
    } catch (cause) {
      tell({ stage: "failed", level: "error", facts: { attempt, reason: "ledger" }, error: cause });
    }
  }
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

function isKey(key: unknown): key is string {
  return typeof key === "string" && key !== "";
}

class LedgerFailure extends Error {
  constructor(cause: unknown) {
    super("Cannot claim the event", { cause });
  }
}
