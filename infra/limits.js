/**
 * Every number that the deployed stack and the local runtime share, once. What must be in proportion
 * to one of them (the visibility timeout, for one) is computed from it and is no entry here.
 */
export const limits = {
  /** Seconds a worker invocation may take. Handlers get 5 s less. */
  workerTimeoutSeconds: 60,
  /** Records in one worker invocation. One: a handler that kills the process takes no other event with it. */
  batchSize: 1,
  batchWindowSeconds: 0,
  /** Deliveries of a record before it is dead: waits of 10, 20, … 900 s cover an outage of about 51 minutes. */
  maxReceiveCount: 10,
  /** Worker invocations at the same time. */
  maxConcurrency: 10,
  /** Seconds a message is kept: the dead-letter queue must outlast the queue that feeds it. */
  queueRetentionSeconds: 7 * 86_400,
  deadLetterRetentionSeconds: 14 * 86_400,
};

/**
 * How long SQS hides a record from the next attempt: six worker timeouts, as AWS advises, and the window.
 * @param {Pick<typeof limits, "workerTimeoutSeconds" | "batchWindowSeconds">} given
 */
export function visibilityTimeoutSeconds(given = limits) {
  return 6 * given.workerTimeoutSeconds + given.batchWindowSeconds;
}
