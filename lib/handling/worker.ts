import type { Clock } from "../clock.ts";
import { HandlerTimeoutError, isError } from "../errors.ts";
import type { EventEnvelope, JobEnvelope } from "../feishu/envelope.ts";
import { publish, type TraceEntry } from "../trace/trace.ts";
import { backoffSeconds } from "./backoff.ts";
import { Claims, type Delivery, type Verdict } from "./claims.ts";
import { contextOf } from "./context.ts";
import type { Dispatch, HandlerFile } from "./dispatcher.ts";
import { idempotencyKey, type Ledger } from "./idempotency.ts";
import { runWithin } from "./run.ts";
import type { MakeServices } from "./services.ts";

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
  /** Runs of its handler after which an event is dead. */
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
  const { clock, remainingMs, random } = ports;
  const startMs = clock.nowMs();
  const tell = (entry: Pick<TraceEntry, "stage" | "level" | "facts" | "error">) =>
    publish({ id, type, app, ms: clock.nowMs() - startMs, requestId, ...entry });
  const file = envelope.kind === "job" ? ports.dispatchJob(type) : ports.dispatch(type);
  if (file === undefined) {
    tell({ stage: "unhandled", level: "info" });
    return { kind: "done" };
  }
  const { receives } = delivery;
  if (remainingMs() - reserveMs < leastHandlerMs) {
    tell({ stage: "failed", level: "warn", facts: { reason: "no-time-left", receives } });
    return { kind: "retry", delaySeconds: backoffSeconds(receives, random) };
  }
  const { ledger, maxAttempts } = ports;
  const claims = new Claims(delivery, {
    ledger,
    clock,
    random,
    tell,
    maxAttempts,
    owner: ports.newOwner(),
    leaseEndsAtMs: startMs + remainingMs() + leaseMarginMs,
    input: inputOf(envelope),
    hasTime: () => remainingMs() > leastHandlerMs,
  });
  const ownKey = idempotencyKey({ app, handler: file.name, id });
  // Loading may have ended the process. It is claimed before it is loaded again, so that this is counted.
  const before = receives > 1 ? await claims.take(ownKey) : undefined;
  return before ?? attempt(envelope, { file, ownKey, claims, ports, tell });
}

interface Attempt {
  readonly file: HandlerFile;
  /** The key by the event's id; a handler may have another. */
  readonly ownKey: string;
  readonly claims: Claims;
  readonly ports: WorkerPorts;
  readonly tell: (entry: Pick<TraceEntry, "stage" | "level" | "facts">) => void;
}

/** Loads, claims and runs: what is user code is inside the run's guard and its time. */
async function attempt(envelope: EventEnvelope | JobEnvelope, given: Attempt): Promise<Verdict> {
  const { file, ownKey, claims, ports, tell } = given;
  const { clock } = ports;
  const { id, type, app, tenant } = envelope;
  const ms = ports.remainingMs() - reserveMs;
  const endsAtMs = clock.nowMs() + ms;
  const at: { step: "load" | "key" | "claim" | "run" } = { step: "load" };
  const expired = () => new HandlerTimeoutError(`Cannot ${at.step} ${file.name}: ${ms} ms have passed`);
  let refused: Verdict | undefined;
  try {
    await runWithin(envelope, { clock, ms, expired }, async (signal) => {
      const handler = await file.load();
      at.step = "key";
      const input = inputOf(envelope);
      const chosen = handler.key?.(input, { id, type, app, tenant });
      const isChosen = typeof chosen === "string" && chosen !== "";
      const key = isChosen ? idempotencyKey({ app, handler: file.name, id, ownKey: chosen }) : ownKey;
      // Given up while it loaded: it must neither claim nor run behind its own verdict.
      signal.throwIfAborted();
      at.step = "claim";
      refused = await claims.take(key);
      if (refused !== undefined) return;
      const remainingMs = () => endsAtMs - clock.nowMs();
      const { updateCard, ...services } = await ports.services({ envelope, key: () => key, signal, remainingMs });
      signal.throwIfAborted();
      at.step = "run";
      tell({ stage: "started", level: "info", facts: { attempt: claims.runs } });
      const context = contextOf(envelope, { attempt: claims.runs, signal, services });
      const callback = envelope.kind === "job" ? { callback: envelope.event, updateCard } : undefined;
      await handler.handle(input, { ...context, ...callback });
    });
  } catch (error) {
    if (at.step === "run") return claims.fail(error);
    if (at.step === "claim" && !isError(error, HandlerTimeoutError)) {
      // The ledger's failure: the handler must neither run blind nor be counted as having failed.
      await claims.release({ isUncounted: true });
      throw error;
    }
    return (await claims.takeAny(ownKey)) ?? claims.fail(error, at.step);
  }
  return refused ?? claims.complete();
}

function inputOf(envelope: EventEnvelope | JobEnvelope): unknown {
  return envelope.kind === "job" ? envelope.payload : envelope.event;
}
