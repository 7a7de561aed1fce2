import { AsyncLocalStorage } from "node:async_hooks";
import { setImmediate as turn } from "node:timers/promises";
import { type Clock, withDeadline } from "../clock.ts";
import type { CallbackEnvelope, EventEnvelope, JobEnvelope } from "../feishu/envelope.ts";
import { publish } from "../trace/trace.ts";

/** What a handler runs for. */
export type Handled = EventEnvelope | CallbackEnvelope | JobEnvelope;

interface Run {
  readonly envelope: Handled;
  leak?: { readonly error: unknown };
  /** Is called at the first leak. */
  readonly onLeak?: () => void;
  end?: { readonly value: unknown } | { readonly error: unknown };
}

/** The run that a piece of code belongs to, so that what it let go of can be laid at its door. */
const runs = new AsyncLocalStorage<Run>();

/**
 * Runs a handler's code for at most `ms` milliseconds. Rejects with what it throws, now or in a promise that it
 * dropped, in a timer or in an emitter.
 * @param options.endsAtLeak Whether it rejects as soon as something leaks, while the code may still be waiting for what
 * will never come: where somebody waits for the answer, and nothing runs a second time.
 */
export async function runWithin<T>(
  envelope: Handled,
  { clock, ms, expired, endsAtLeak = false }: { clock: Clock; ms: number; expired: () => Error; endsAtLeak?: boolean },
  work: (signal: AbortSignal) => T | Promise<T>,
): Promise<T> {
  const leaked = Promise.withResolvers<void>();
  const run: Run = endsAtLeak ? { envelope, onLeak: leaked.resolve } : { envelope };
  const untilMs = clock.nowMs() + ms;
  const controller = new AbortController();
  const running = runs.run(run, async () => {
    try {
      run.end = { value: await work(controller.signal) };
    } catch (error) {
      run.end = { error };
    }
  });
  // What needs no input is over after one turn of the event loop, and needs no timer. A rejection that nobody heard,
  // too, is told only when the microtasks are through.
  await turn();
  if (run.end === undefined) {
    await withDeadline(clock, { ms: untilMs - clock.nowMs(), error: expired }, (signal) => {
      signal.addEventListener("abort", () => controller.abort(signal.reason), { once: true });
      return endsAtLeak ? Promise.race([running, leaked.promise]) : running;
    });
    await turn();
    // Still under way, and given up: it is to stop as if its time were over.
    if (run.end === undefined) controller.abort(run.leak?.error);
  }
  return resultOf(run) as T;
}

function resultOf({ end, leak }: Run): unknown {
  if (end !== undefined && "error" in end) throw end.error;
  if (leak !== undefined) throw leak.error;
  return end?.value;
}

/**
 * Reports a promise that was rejected, or an error that was thrown in a timer or an emitter, with nobody listening.
 * The run it belongs to fails, if it is still under way; the process, and with it other events, goes on.
 */
export function reportLeak(error: unknown): void {
  const run = runs.getStore();
  if (run !== undefined) {
    run.leak ??= { error };
    run.onLeak?.();
  }
  const { id, type, app } = run?.envelope ?? {};
  publish({ stage: "leaked", level: "error", id, type, app, error });
}

/**
 * Lets a process that runs handlers outlive what they let go of: the runtime would end it for a promise that one
 * dropped, or for what its timer or its emitter threw, and with it whatever else is under way, or next.
 */
export function outliveLeaks(): void {
  for (const leak of ["unhandledRejection", "uncaughtException"]) process.removeAllListeners(leak).on(leak, reportLeak);
}
