import { flushCompileCache } from "node:module";
import { pathToFileURL } from "node:url";
import type { Act } from "../fixtures/simulated-handler.ts";
import { seeded } from "../support/random.ts";

// A child process that runs one built function. Its dates come from the simulation's clock, its timers are real. The
// bundle is loaded after the clock is set, because lib keeps a reference to Date.now.

export type ToHost =
  /** A new distance from the real clock, and an invocation if there is a `timeoutMs`. */
  | { readonly aheadMs: number; readonly event?: unknown; readonly timeoutMs?: number }
  /** The answer to a handler's question. */
  | { readonly id: string; readonly act: Act };
export type FromHost =
  | { readonly ready: true }
  /** A handler's question: what is this event's run to do? */
  | { readonly id: string; readonly attempt: number }
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
Math.random = seeded(Number(process.env["SEED"])).next;

const tell = (message: FromHost) => process.send?.(message, () => {});
process.on("disconnect", () => process.exit(0));
const { handler } = (await import(pathToFileURL(process.argv[2] ?? "").href)) as {
  handler: (event: unknown, context: object) => unknown;
};
const lateAfterMs = Number(process.env["LATE_AFTER_MS"]);

process.on("message", (message: ToHost) => {
  if ("act" in message) return;
  aheadMs = message.aheadMs;
  if (message.timeoutMs !== undefined) void invoke(message.event, message.timeoutMs);
});

/**
 * An answer is late when a timer that started with the request fires before it. On a busy machine the function's own
 * deadline still fires before this timer, so only a real miss counts.
 */
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
// The process ends by SIGKILL, which would leave nothing for the next one.
flushCompileCache();
