/** Time as an argument: the flow never reads the wall clock or sets a timer on its own. */
export interface Clock {
  /** Epoch milliseconds. */
  nowMs(): number;
  /** Calls `fire` once after `ms` milliseconds, unless the returned function was called before. */
  after(ms: number, fire: () => void): () => void;
}

export const systemClock: Clock = {
  nowMs: Date.now,
  after(ms, fire) {
    const timer = setTimeout(fire, ms);
    return () => clearTimeout(timer);
  },
};

/**
 * Runs `work` for at most `ms` milliseconds. When they pass, the signal is aborted with `expired()`
 * and the returned promise rejects with it, even if `work` never settles; what `work` does later is
 * ignored. No timer outlives the call.
 */
export async function within<T>(
  clock: Clock,
  ms: number,
  expired: () => Error,
  work: (signal: AbortSignal) => T | Promise<T>,
): Promise<T> {
  const controller = new AbortController();
  let reject: (error: Error) => void = () => {};
  const deadline = new Promise<never>((_resolve, refuse) => {
    reject = refuse;
  });
  const cancel = clock.after(Math.max(0, ms), () => {
    const error = expired();
    // Rejected before the abort is heard, so that the outcome is the deadline and not an echo of it.
    reject(error);
    controller.abort(error);
  });
  try {
    const running = (async () => work(controller.signal))();
    return await Promise.race([running, deadline]);
  } finally {
    cancel();
  }
}
