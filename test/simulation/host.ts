import { enableCompileCache, flushCompileCache } from "node:module";
import type { Act } from "../fixtures/simulated-handler.ts";

// A child process: one built function on the simulation's clock. Dates are the simulation's, timers are real. The
// function's bundle is loaded after the clock is in place, so that nothing keeps the real one.

export type ToHost =
  /** What the process's clock is ahead of the real one; and an invocation, unless it is only told that. */
  | { readonly aheadMs: number; readonly event?: unknown; readonly timeoutMs?: number }
  /** For the handler, which asked. */
  | { readonly act: Act };
export type FromHost =
  | { readonly ready: true }
  /** The handler asks what to do. */
  | { readonly attempt: number }
  | { readonly result?: unknown; readonly error?: string; readonly isLate: boolean; readonly ms: number };

const RealDate = Date;
let aheadMs = Number(process.env["CLOCK_AHEAD_MS"]);
class SimulatedDate extends RealDate {
  constructor(...parts: unknown[]) {
    super(...((parts.length === 0 ? [SimulatedDate.now()] : parts) as [number]));
  }
  static override now(): number {
    return RealDate.now() + aheadMs;
  }
}
globalThis.Date = SimulatedDate as DateConstructor;

const tell = (message: FromHost) => process.send?.(message, () => {});
process.on("disconnect", () => process.exit(0));
enableCompileCache();
const { handler } = (await import(process.argv[2] ?? "")) as { handler: (event: unknown, context: object) => unknown };
const lateAfterMs = Number(process.env["LATE_AFTER_MS"]);

process.on("message", (message: ToHost) => {
  if ("act" in message) return;
  aheadMs = message.aheadMs;
  if (message.timeoutMs !== undefined) void invoke(message.event, message.timeoutMs);
});

/** An answer is late when a timer, set with the request, fires before it: timers fire in the order of their times even where the machine is too busy for them. */
async function invoke(event: unknown, timeoutMs: number): Promise<void> {
  const startMs = performance.now();
  let isLate = false;
  const timer = setTimeout(() => {
    isLate = true;
  }, lateAfterMs);
  const getRemainingTimeInMillis = () => Math.max(0, startMs + timeoutMs - performance.now());
  const outcome = await (async () => handler(event, { getRemainingTimeInMillis }))().then(
    (result) => ({ result }),
    (error: unknown) => ({ error: String(error) }),
  );
  clearTimeout(timer);
  tell({ ...outcome, isLate, ms: performance.now() - startMs });
}

tell({ ready: true });
flushCompileCache();
