import type { Clock } from "../../clock.ts";
import type { PushResult } from "./push.ts";

/**
 * How long the platform waits after a failed push until the next: 15 s, 5 min, 1 h, 6 h. After the last it
 * gives the event up. Whether they count from the failure before or from the first push is not documented;
 * here it is the failure before, which is the longer reading: about 7 h 5 min in all.
 * https://open.feishu.cn/document/ukTMukTMukTM/uUTNz4SN1MjL1UzM
 */
export const ladderMs: readonly number[] = [15_000, 300_000, 3_600_000, 21_600_000];

/** One push of a message. */
export interface Attempt {
  /** From 1. */
  readonly number: number;
  /** When it went out, in epoch milliseconds. */
  readonly atMs: number;
  readonly result: PushResult;
}

/**
 * Pushes until one push is delivered or the ladder ends: one push more than it has waits, at most.
 * @param push One push over any transport; says itself what became of it. What it throws ends the ladder.
 * @throws The signal's reason, when it is aborted between two pushes.
 */
export async function climb(
  push: (number: number) => Promise<Attempt>,
  options: { clock: Clock; waitsMs: readonly number[]; signal?: AbortSignal | undefined },
): Promise<readonly Attempt[]> {
  const { clock, waitsMs, signal } = options;
  const attempts: Attempt[] = [];
  for (;;) {
    const attempt = await push(attempts.length + 1);
    attempts.push(attempt);
    const waitMs = waitsMs[attempts.length - 1];
    if (attempt.result.delivered || waitMs === undefined) return attempts;
    await wait(clock, waitMs, signal);
  }
}

/** Resolves after `ms`; rejects with the signal's reason when it is aborted before, and leaves no timer behind. */
export function wait(clock: Clock, ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted === true) return reject(signal.reason);
    const cancel = clock.after(ms, () => {
      signal?.removeEventListener("abort", onAbort);
      resolve();
    });
    const onAbort = () => {
      cancel();
      reject(signal?.reason);
    };
    signal?.addEventListener("abort", onAbort, { once: true });
  });
}
