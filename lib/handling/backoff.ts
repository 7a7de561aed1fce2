import { isError, RetryLaterError } from "../errors.ts";
import { memberOf } from "../trace/thrown.ts";

const maxBackoffSeconds = 900;

/** SQS hides a record for at most 12 hours after its receive, and a function may have used 15 minutes of them. */
const maxVisibilitySeconds = 43_200 - 900;

/** 10·2^(n−1) seconds after attempt n, ± 20 %, at most 900. Short faults are retried soon, and an outage of an hour is survived. */
export function backoffSeconds(attempt: number, random: () => number): number {
  const seconds = 10 * 2 ** Math.min(attempt - 1, 10) * (0.8 + 0.4 * random());
  return Math.min(maxBackoffSeconds, Math.round(seconds));
}

/** The delay that a RetryLaterError asks for, else the back-off. */
export function delayOf(error: unknown, attempt: number, random: () => number): number {
  // A handler may throw a proxy, or an error with a getter that throws.
  const requestedDelay = isError(error, RetryLaterError) ? memberOf(error, "delaySeconds") : undefined;
  if (typeof requestedDelay !== "number" || !Number.isFinite(requestedDelay)) return backoffSeconds(attempt, random);
  return Math.min(maxVisibilitySeconds, Math.max(1, Math.ceil(requestedDelay)));
}
