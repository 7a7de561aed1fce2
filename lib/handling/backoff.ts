import { RetryLaterError } from "../errors.ts";

const maxBackoffSeconds = 900;

/** SQS hides a record for twelve hours in all, from when it was received; a function may have spent fifteen minutes of them. */
const maxVisibilitySeconds = 43_200 - 900;

/** 10·2^(n−1) seconds after attempt n, ± 20 %, at most 900: a transient fault is tried again soon, an outage of an hour is survived. */
export function backoffSeconds(attempt: number, random: () => number): number {
  const seconds = 10 * 2 ** Math.min(attempt - 1, 10) * (0.8 + 0.4 * random());
  return Math.min(maxBackoffSeconds, Math.round(seconds));
}

export function delayOf(error: unknown, attempt: number, random: () => number): number {
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
