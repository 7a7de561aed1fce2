/** Time as an argument: the flow never reads the wall clock or sets a timer itself. */
export interface Clock {
  /** Epoch milliseconds. */
  nowMs(): number;
  /** Calls `fire` once after `ms` milliseconds, unless the returned function is called first. */
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
 * Waits `ms` milliseconds, or until `signal` is aborted. Never rejects: a caller that must stop checks the signal
 * afterwards. No timer and no listener outlives the call; 0 or less sets none.
 */
export async function pause(clock: Clock, ms: number, signal?: AbortSignal): Promise<void> {
  if (ms <= 0 || signal?.aborted) return;
  const { promise, resolve } = Promise.withResolvers<void>();
  const cancel = clock.after(ms, resolve);
  const stop = () => resolve();
  signal?.addEventListener("abort", stop, { once: true });
  await promise;
  cancel();
  signal?.removeEventListener("abort", stop);
}

/**
 * Runs `work` for at most `ms` milliseconds. After that, its signal is aborted and the returned promise rejects, both
 * with `error()`, even if `work` never settles. What `work` does later is ignored. No timer outlives the call.
 */
export async function withDeadline<T>(
  clock: Clock,
  { ms, error }: { ms: number; error: () => Error },
  work: (signal: AbortSignal) => T | Promise<T>,
): Promise<T> {
  const controller = new AbortController();
  const { promise: deadline, reject } = Promise.withResolvers<never>();
  const cancel = clock.after(Math.max(0, ms), () => {
    const reason = error();
    // Before the abort: `work` may answer it with an error of its own, and the race must end with this one.
    reject(reason);
    controller.abort(reason);
  });
  try {
    return await Promise.race([(async () => work(controller.signal))(), deadline]);
  } finally {
    cancel();
  }
}
