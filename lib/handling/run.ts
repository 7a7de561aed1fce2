import { AsyncLocalStorage } from "node:async_hooks";
import { setImmediate as nextTurn } from "node:timers/promises";
import { type Clock, withDeadline } from "../clock.ts";
import type { CallbackEnvelope, EventEnvelope, JobEnvelope } from "../feishu/envelope.ts";
import { describeError } from "../trace/error.ts";
import { startLogging } from "../trace/log.ts";
import { publish } from "../trace/trace.ts";

/** One run of a handler. */
export interface Run {
  readonly envelope: EventEnvelope | CallbackEnvelope | JobEnvelope;
  /** The run's idempotency key. */
  readonly key: () => string;
  readonly signal: AbortSignal;
  readonly remainingMs: () => number;
}

/** What has happened in a run so far. */
interface Outcome {
  readonly envelope: Run["envelope"];
  leak?: { readonly error: unknown };
  readonly onLeak: () => void;
  end?: { readonly value: unknown } | { readonly error: unknown };
}

/** Finds the run that a piece of code belongs to, also for an unhandled rejection or error. */
const outcomes = new AsyncLocalStorage<Outcome>();

/**
 * Runs a handler's code for at most `ms` milliseconds. Rejects with what the code throws, also in a promise that it does
 * not await, in a timer or in an emitter.
 * @param options.endsAtLeak Reject at the first leak instead of at the deadline. For callbacks: a person waits, and there
 * is no retry.
 */
export async function runWithin<T>(
  envelope: Run["envelope"],
  { clock, ms, expired, endsAtLeak = false }: { clock: Clock; ms: number; expired: () => Error; endsAtLeak?: boolean },
  work: (signal: AbortSignal) => T | Promise<T>,
): Promise<T> {
  const leaked = Promise.withResolvers<void>();
  const outcome: Outcome = { envelope, onLeak: leaked.resolve };
  const untilMs = clock.nowMs() + ms;
  const controller = new AbortController();
  const running = outcomes.run(outcome, async () => {
    try {
      outcome.end = { value: await work(controller.signal) };
    } catch (error) {
      outcome.end = { error };
    }
  });
  // Code that does no I/O ends within one turn of the event loop, so it needs no timer. Node reports an unhandled
  // rejection only after the microtasks.
  await nextTurn();
  if (outcome.end === undefined) {
    await withDeadline(clock, { ms: untilMs - clock.nowMs(), error: expired }, (signal) => {
      signal.addEventListener("abort", () => controller.abort(signal.reason), { once: true });
      return endsAtLeak ? Promise.race([running, leaked.promise]) : running;
    });
    await nextTurn();
    // A leak ended the run. Its code still runs and must stop.
    if (outcome.end === undefined) controller.abort(outcome.leak?.error);
  }
  return resultOf(outcome) as T;
}

function resultOf({ end, leak }: Outcome): unknown {
  if (end !== undefined && "error" in end) throw end.error;
  if (leak !== undefined) throw leak.error;
  return end?.value;
}

/** Logs an unhandled rejection, or an error thrown in a timer or an emitter. The run that it belongs to fails if it has not ended. */
export function reportLeak(error: unknown): void {
  const outcome = outcomes.getStore();
  if (outcome !== undefined) {
    outcome.leak ??= { error };
    outcome.onLeak();
  }
  const { id, type, app } = outcome?.envelope ?? {};
  publish({ stage: "leaked", level: "error", id, type, app, error });
}

/**
 * Prepares a process that runs handlers: it logs, and stays alive when a handler leaves a rejection unhandled or throws in
 * a timer. Otherwise Node exits and takes other events with it.
 */
export function prepareProcess(env: NodeJS.ProcessEnv): void {
  startLogging(env, describeError);
  // Node's ten frames can all be the SDK's, and none the handler's.
  Error.stackTraceLimit = 30;
  for (const leak of ["unhandledRejection", "uncaughtException"]) process.removeAllListeners(leak).on(leak, reportLeak);
}
