import { type Clock, pause } from "../../clock.ts";
import type { PushResult } from "./push.ts";

/**
 * The delays between the platform's pushes of an event: 15 s, 5 min, 1 h, 6 h. Then it gives the event up.
 * Feishu does not document whether a delay starts at the failed push or at the first push. Here it starts at the
 * failed push, so that an event is pushed for the longer of the two times, about 7 h 5 min.
 * https://open.feishu.cn/document/ukTMukTMukTM/uUTNz4SN1MjL1UzM
 */
export const retryDelaysMs: readonly number[] = [15_000, 300_000, 3_600_000, 21_600_000];

/** One push of a message. */
export interface Attempt {
  /** From 1. */
  readonly number: number;
  /** When it was sent, in epoch milliseconds. */
  readonly atMs: number;
  readonly result: PushResult;
}

/**
 * Pushes until a push is delivered or no delay is left. So n delays allow n + 1 pushes.
 * @param push Makes one push, over any transport. It resolves when a push fails; if it rejects, the retries end.
 * @throws The signal's reason, when the signal is aborted between two pushes.
 */
export async function pushWithRetries(
  push: (number: number) => Promise<Attempt>,
  options: {
    clock: Clock;
    delaysMs: readonly number[];
    isRetried?: ((result: PushResult) => boolean) | undefined;
    signal?: AbortSignal | undefined;
  },
): Promise<readonly Attempt[]> {
  const { clock, delaysMs, isRetried = () => true, signal } = options;
  const attempts: Attempt[] = [];
  for (;;) {
    const attempt = await push(attempts.length + 1);
    attempts.push(attempt);
    const delayMs = delaysMs[attempts.length - 1];
    if (attempt.result.delivered || delayMs === undefined || !isRetried(attempt.result)) return attempts;
    await pause(clock, delayMs, signal);
    signal?.throwIfAborted();
  }
}
