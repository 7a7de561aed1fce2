/**
 * The numbers that the deployed stack and the local runtime share. A number that depends on one of them, such as the
 * visibility timeout, is computed and not listed.
 */
export const limits = {
  /** Seconds for a webhook invocation. It answers within 1.8 s; after a crash, the next invocation needs the rest to load the function again. */
  webhookTimeoutSeconds: 10,
  /** MB. Lambda gives CPU in proportion to memory: with less, a cold start takes longer than the second that Feishu waits for a challenge. */
  webhookMemoryMb: 512,

  /** Seconds for a callback invocation. It answers long before; the rest is for loading again, as for the webhook. */
  callbackTimeoutSeconds: 10,
  /** MB for your callback handlers, and for the CPU of a cold start, for which a person waits. */
  callbackMemoryMb: 512,
  /** Milliseconds from a callback's arrival until its handler is stopped and a fallback is sent. The answer leaves at most 200 ms later; Feishu waits for 3 s in all. */
  callbackDeadlineMs: 2_300,

  /** Seconds that the last keys are used while SSM cannot be read: longer than most outages, and shorter than the 8 hours for which `npm run secrets -- set` keeps a replaced key. In an outage, a revoked key is accepted for this time as well. 300 turns it off. */
  staleKeysSeconds: 6 * 3_600,

  /** Seconds for a worker invocation. Handlers get 5 s less. */
  workerTimeoutSeconds: 60,
  /** MB for your handlers and what they load. */
  workerMemoryMb: 512,
  /**
   * Records in one worker invocation. First deliveries run at the same time; what came back runs after them, alone. A
   * handler that ends the process makes the others of its batch start again; with 1, there are no others.
   */
  batchSize: 10,
  /** Seconds that Lambda may wait to fill a batch. With none it takes what is there: of an event a second, one. */
  batchWindowSeconds: 0,
  /** Runs of an event's handler until the event is dead. With waits of 10, 20, … 900 s they cover an outage of about 51 minutes. */
  maxAttempts: 10,
  /**
   * Receives until SQS moves a record to the dead-letter queue, although no run was decided: Lambda throttled it, or the
   * ledger could not be reached. Most are 900 s apart, so an outage of five days loses no event.
   */
  maxReceiveCount: 500,
  /**
   * Worker invocations at the same time (2 to 1,000), each with up to `batchSize` handlers at once in one instance's
   * memory. Feishu's API limits the calls per second that your handlers make.
   */
  maxConcurrency: 10,

  /**
   * Bounds of a chain, in which deferred work defers again: how many runs it has, and the seconds from its first to its last.
   * Lambda's own bound, 16 rounds, is off (`RecursiveLoop` in infra/functions.js).
   */
  maxDeferrals: 1_000,
  deferForSeconds: 7 * 86_400,

  /** Seconds that a message is kept: longer in the dead-letter queue than in the queue before it. */
  queueRetentionSeconds: 7 * 86_400,
  deadLetterRetentionSeconds: 14 * 86_400,

  /**
   * Requests a second, and at once, that each route of events accepts in the HTTP API. Far more than a busy app has: to queue
   * an event is cheap, and one that gets 429 at all five pushes is lost. The burst is all that an account's quota of API
   * Gateway admits at once; of its 10,000 a second, most are left to others.
   */
  routeRatePerSecond: 2_000,
  routeBurst: 5_000,
  /**
   * The same of the callback's route. A callback takes its handler's time, up to 2.5 s: 200 a second are half of the 1,000
   * invocations that an account runs at once, so that no flood of clicks keeps events out. Feishu never repeats a callback.
   */
  callbackRatePerSecond: 200,
  callbackBurst: 400,

  /** Processes that keep a long connection (1 to 5), if the stage has one. The platform sends each message to one of them, and allows an app 50 connections. */
  longConnectionReplicas: 2,
  /** CPU units (1,024 are one CPU) and MB of each process: a pair that Fargate has. Your callback handlers run in it. */
  longConnectionCpu: 256,
  longConnectionMemoryMb: 512,

  /** Days that log lines are kept, one of CloudWatch Logs' values: longer than a dead letter, so that its log can still be read. */
  logRetentionDays: 30,
};

/**
 * Off unless you set them: null leaves the choice to AWS.
 * @type {Record<
 *   | "webhookReservedConcurrency"
 *   | "callbackReservedConcurrency"
 *   | "callbackProvisionedConcurrency"
 *   | "workerReservedConcurrency"
 *   | "minimumPollers"
 *   | "maximumPollers"
 *   | "queueKeyReuseSeconds"
 *   | "ledgerWarmWritesPerSecond"
 *   | "maxAgeSeconds",
 *   number | null
 * >}
 */
export const optional = {
  /** Invocations reserved for the webhook: rate × p99, 200/s × 0.3 s = 60. A small account cannot reserve any: AWS requires 100 unreserved ones (10 in a new account). */
  webhookReservedConcurrency: null,
  /** Invocations reserved for callbacks, which Feishu never repeats: rate × p99, with your handlers' time. */
  callbackReservedConcurrency: null,
  /** Callback instances that are always loaded (at most the reserved ones), so that nobody waits for a cold start. Billed by the hour. With `functionUrl`, turning it on or off changes the callback address. */
  callbackProvisionedConcurrency: null,
  /** Invocations reserved for the worker, at least `maxConcurrency`: with fewer, Lambda receives messages that it then throttles. */
  workerReservedConcurrency: null,
  /**
   * Provisioned pollers of the events queue (2 to 200, and up to 2,000), in place of `maxConcurrency`. Each takes 100 events a
   * second into up to 10 worker invocations, and is billed by the hour.
   */
  minimumPollers: null,
  maximumPollers: null,
  /**
   * Seconds that SQS uses a data key before it asks KMS for another (60 to 86,400), with a `customerKeyArn`. AWS takes 300.
   * Longer is fewer calls of KMS to pay for; shorter is sooner without the key after it was disabled.
   */
  queueKeyReuseSeconds: null,
  /** Writes a second that the ledger accepts from its first minute; a new table starts at 4,000 and grows. Each event needs 2. AWS bills an increase once. */
  ledgerWarmWritesPerSecond: null,
  /** Seconds after which an event is completed as `stale` and not run: after an outage, old orders may do harm. */
  maxAgeSeconds: null,
};

/**
 * Named sets of limits, for `preset` in larkpost.config.js; `limits` there changes single ones. `npm run scale` says what each
 * carries, and which of AWS's quotas it needs.
 * @type {Record<"small" | "busy" | "large", Partial<typeof limits & typeof optional>>}
 */
export const presets = {
  /** Up to 300 events a second: the numbers above. */
  small: {},
  /** 1,000 events a second. */
  busy: { maxConcurrency: 50 },
  /** 10,000 events a second. It needs higher quotas of API Gateway and Lambda. */
  large: {
    routeRatePerSecond: 20_000,
    routeBurst: 10_000,
    maxConcurrency: 500,
    ledgerWarmWritesPerSecond: 40_000,
  },
};

/** When an alarm starts. */
export const alarmThresholds = {
  /** Answers with 5xx in a minute (ticket). Feishu repeats such pushes for hours. */
  unavailablePerMinute: 1,
  /**
   * Faults in five minutes, and their percentage (page): answers with 5xx among all answers; crashes, and throttles, among
   * a function's invocations. Both must be reached, so that a few faults among many requests call nobody.
   */
  faultsPerFiveMinutes: 5,
  faultsPercent: 1,
  /**
   * Failed runs of events in five minutes, and their percentage of the runs that started (page): a bad release, and not one
   * event that fails, which runs at most six times in five minutes.
   */
  failedRunsPerFiveMinutes: 10,
  failedRunsPercent: 20,
  /**
   * Runs of events in five minutes, if all fail (ticket): a bad release of an app that is too quiet for the count above.
   * One event has as many within three minutes, so it may be that event's fault alone.
   */
  allFailedCount: 5,
  /** 99th percentile of the webhook's duration, three minutes in a row: a third of the time that Feishu waits. */
  webhookP99Ms: 1_000,
  /** Refused requests (4xx) in a minute: somebody sends forged requests, or a route is throttled. */
  refusedPerMinute: 20,
  /** Requests in five minutes, if all are refused: a key is wrong. No event is lost if it is corrected within 6 hours. */
  allRefusedCount: 5,
  /** Seconds that the oldest event has waited: the worker is slow (ticket), or it does not run at all (page). */
  oldestEventSeconds: 300,
  oldestEventUrgentSeconds: 900,
  /** Answers other than 200 over the long connection, in a minute. */
  longConnectionUnavailablePerMinute: 1,
  /** Callbacks in five minutes that were answered with an error message, more than one person's second click, and their percentage. */
  failedCallbacksPerFiveMinutes: 3,
  failedCallbacksPercent: 5,
  /** Duration of a callback, in percent of its deadline. */
  callbackDurationPercent: 80,
  /** Duration of a worker invocation, in percent of its timeout. */
  workerDurationPercent: 80,
};

/**
 * How long SQS hides a record from the next attempt: six worker timeouts, as AWS advises, plus the batch window.
 * @param {Pick<typeof limits, "workerTimeoutSeconds" | "batchWindowSeconds">} numbers
 */
export function visibilityTimeoutSeconds({ workerTimeoutSeconds, batchWindowSeconds } = limits) {
  return 6 * workerTimeoutSeconds + batchWindowSeconds;
}

/**
 * The duration of a worker invocation that starts the alarm.
 * @param {Pick<typeof limits, "workerTimeoutSeconds">} numbers
 * @param {Pick<typeof alarmThresholds, "workerDurationPercent">} thresholds
 */
export function workerDurationAlarmMs({ workerTimeoutSeconds } = limits, { workerDurationPercent } = alarmThresholds) {
  return workerTimeoutSeconds * 10 * workerDurationPercent;
}

/**
 * The duration of a callback that starts the alarm.
 * @param {Pick<typeof limits, "callbackDeadlineMs">} numbers
 * @param {Pick<typeof alarmThresholds, "callbackDurationPercent">} thresholds
 */
export function callbackDurationAlarmMs(
  { callbackDeadlineMs } = limits,
  { callbackDurationPercent } = alarmThresholds,
) {
  return (callbackDeadlineMs * callbackDurationPercent) / 100;
}

/**
 * Replicas during a deployment of the long connection, in percent of the usual ones: one more, since each uses one of the
 * app's 50 connections.
 * @param {Pick<typeof limits, "longConnectionReplicas">} numbers
 */
export function longConnectionMaximumPercent({ longConnectionReplicas } = limits) {
  return Math.floor((100 * (longConnectionReplicas + 1)) / longConnectionReplicas);
}

/** A receive without a run is not an attempt, so an attempt may need many receives. */
export const receivesPerAttempt = 10;
/** As in lib/handling/backoff.ts. */
export const longestBackoffSeconds = 900;

/** Worker invocations at once of a provisioned poller. */
export const batchesPerPoller = 10;
