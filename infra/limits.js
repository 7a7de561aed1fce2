/**
 * Every number that the deployed stack and the local runtime share, once. What must be in proportion
 * to one of them (the visibility timeout, for one) is computed from it and is no entry here.
 */
export const limits = {
  /** Seconds a webhook invocation may take. It answers after 1.8 s at the latest; the rest lets a function that crashed load again within its next invocation. */
  webhookTimeoutSeconds: 10,
  /** MB. CPU comes with memory: with less, a cold start outlasts the second that Feishu gives a challenge. */
  webhookMemoryMb: 512,

  /** Seconds a callback invocation may take. Its answer is out long before; the rest is for loading again, as the webhook's. */
  callbackTimeoutSeconds: 10,
  /** MB, for your callback handlers, and for the CPU of a cold start that a person waits for. */
  callbackMemoryMb: 512,
  /** Milliseconds from a callback's arrival until its handler is given up. The answer leaves at most 200 ms later, and Feishu waits for 3 s in all. */
  callbackDeadlineMs: 2_300,

  /** Seconds that the last good keys are used while SSM cannot be read: longer than most outages, and below the 8 hours that a replaced key is accepted after `npm run secrets -- set`. A revoked key is accepted for as long in an outage. 300 turns it off. */
  staleKeysSeconds: 6 * 3_600,

  /** Seconds a worker invocation may take. Handlers get 5 s less. */
  workerTimeoutSeconds: 60,
  /** MB, for your handlers and what they load. */
  workerMemoryMb: 512,
  /** Records in one worker invocation. One: a handler that kills the process takes no other event with it. */
  batchSize: 1,
  /** Seconds that Lambda may wait to fill a batch. None: a batch of one is full at once. */
  batchWindowSeconds: 0,
  /** Runs of an event's handler before the event is dead: waits of 10, 20, … 900 s cover an outage of about 51 minutes. */
  maxAttempts: 10,
  /**
   * Receives after which SQS gives a record up that never came to a verdict: throttled, or while the ledger was away.
   * Most are 900 s apart, so an outage of five days kills nothing that would have run.
   */
  maxReceiveCount: 500,
  /** Worker invocations at the same time (2 to 1,000): what Feishu's API, which limits calls per second, can take from your handlers. */
  maxConcurrency: 10,

  /** Seconds a message is kept: the dead-letter queue must outlast the queue that feeds it. */
  queueRetentionSeconds: 7 * 86_400,
  deadLetterRetentionSeconds: 14 * 86_400,

  /** Requests a second, and at once, that each route of the HTTP API lets in: about five times a busy app's peak. Feishu repeats an event that gets a 429, but no callback. */
  routeRatePerSecond: 200,
  routeBurst: 400,

  /** Processes that keep a long connection (1 to 5), where the stage has one. The platform gives each message to one of them, and takes 50 connections an app in all. */
  longConnectionReplicas: 2,
  /** CPU units (1,024 are one) and MB of each, a pair that Fargate knows. Your callback handlers run in it. */
  longConnectionCpu: 256,
  longConnectionMemoryMb: 512,

  /** Days that log lines are kept: longer than a dead letter, so that its story can still be read. A value that CloudWatch Logs knows. */
  logRetentionDays: 30,
};

/**
 * What is off until you set it: null leaves the choice to AWS.
 * @type {Record<
 *   | "webhookReservedConcurrency"
 *   | "callbackReservedConcurrency"
 *   | "callbackProvisionedConcurrency"
 *   | "workerReservedConcurrency"
 *   | "ledgerWarmWritesPerSecond",
 *   number | null
 * >}
 */
export const optional = {
  /** Invocations kept free for the webhook: rate × p99, 200/s × 0.3 s = 60. A small account cannot: AWS wants 100 left unreserved (10 in a new account). */
  webhookReservedConcurrency: null,
  /** Invocations kept free for callbacks, which nobody repeats: rate × p99, counting your handlers' time. */
  callbackReservedConcurrency: null,
  /** Callback instances that are always loaded (no more than are reserved), so that nobody waits for a cold start. Billed by the hour. With `functionUrl`, turning it on or off changes the callback address. */
  callbackProvisionedConcurrency: null,
  /** Invocations kept free for the worker, at least `maxConcurrency`: with fewer, messages wait that Lambda had taken already. */
  workerReservedConcurrency: null,
  /** Writes a second the ledger takes from its first minute; a fresh table starts at 4,000 and grows. Each event is 2 writes. AWS bills the rise once. */
  ledgerWarmWritesPerSecond: null,
};

/** When an alarm goes off. */
export const alarmThresholds = {
  /** Answers with 5xx within a minute, for a look at; and within five minutes, for getting up. Feishu repeats such pushes for hours. */
  unavailablePerMinute: 1,
  unavailablePerFiveMinutes: 5,
  /** 99th percentile of the webhook's own time, three minutes in a row: a third of Feishu's patience. */
  webhookP99Ms: 1_000,
  /** Refused requests (4xx) in one minute: somebody is trying, or a route is throttled. */
  refusedPerMinute: 20,
  /** Requests in five minutes, all of them refused: a key is wrong. Repaired within 6 hours, nothing is lost. */
  allRefusedCount: 5,
  /** Seconds the oldest event has been waiting: the worker is slow; it does not work at all. */
  oldestEventSeconds: 300,
  oldestEventUrgentSeconds: 900,
  /** Answers over the long connection that were no 200, within a minute. */
  longConnectionUnavailablePerMinute: 1,
  /** Callbacks in five minutes that were answered with a message of failure: one person has tried again, or it fails for everybody. */
  failedCallbacksPerFiveMinutes: 3,
  /** Share of a callback's deadline that its answer took. */
  callbackDurationPercent: 80,
  /** Share of the worker's timeout that one invocation took. */
  workerDurationPercent: 80,
};

/**
 * How long SQS hides a record from the next attempt: six worker timeouts, as AWS advises, and the window.
 * @param {Pick<typeof limits, "workerTimeoutSeconds" | "batchWindowSeconds">} given
 */
export function visibilityTimeoutSeconds(given = limits) {
  return 6 * given.workerTimeoutSeconds + given.batchWindowSeconds;
}

/**
 * When one invocation of the worker took suspiciously long.
 * @param {Pick<typeof limits, "workerTimeoutSeconds">} given
 * @param {Pick<typeof alarmThresholds, "workerDurationPercent">} thresholds
 */
export function workerDurationAlarmMs(given = limits, { workerDurationPercent } = alarmThresholds) {
  return given.workerTimeoutSeconds * 10 * workerDurationPercent;
}

/**
 * When callbacks take suspiciously long.
 * @param {Pick<typeof limits, "callbackDeadlineMs">} given
 * @param {Pick<typeof alarmThresholds, "callbackDurationPercent">} thresholds
 */
export function callbackDurationAlarmMs(given = limits, { callbackDurationPercent } = alarmThresholds) {
  return (given.callbackDeadlineMs * callbackDurationPercent) / 100;
}

/**
 * Replicas that a deployment of the long connection may run, in percent of those it keeps: one more, since each is
 * a connection of the app's 50.
 * @param {Pick<typeof limits, "longConnectionReplicas">} given
 */
export function longConnectionMaximumPercent({ longConnectionReplicas } = limits) {
  return Math.floor((100 * (longConnectionReplicas + 1)) / longConnectionReplicas);
}

/** MB that Fargate gives with each number of CPU units: the least, the most, and in steps of; beyond 256 units. */
const fargateMemoryMb = new Map([
  [512, [1_024, 4_096]],
  [1_024, [2_048, 8_192]],
  [2_048, [4_096, 16_384]],
]);

/**
 * https://docs.aws.amazon.com/AmazonECS/latest/developerguide/fargate-tasks-services.html
 * @param {number} cpu
 * @param {number} memoryMb
 */
function isFargatePair(cpu, memoryMb) {
  if (cpu === 256) return [512, 1_024, 2_048].includes(memoryMb);
  const [least = Infinity, most = 0] = fargateMemoryMb.get(cpu) ?? [];
  return memoryMb >= least && memoryMb <= most && memoryMb % 1_024 === 0;
}

/** A receive that came to no verdict is no attempt, and there may be many for one. */
const receivesPerAttempt = 10;
/** As in lib/handling/claims.ts. */
const longestBackoffSeconds = 900;

/** Of Feishu's 3 s: for checking a handler's answer and sending it; for the way there and back, with a new TLS connection. */
const feishuWaitsMs = 3_000;
const answerMs = 200;
const networkMs = 300;

/**
 * What is wrong with a set of numbers: each relation that does not hold, in words. A deployment with any is refused.
 * @param {typeof limits} given
 * @param {Partial<typeof optional>} chosen
 * @returns {string[]}
 */
export function contradictions(given = limits, chosen = optional) {
  const { workerReservedConcurrency, callbackReservedConcurrency, callbackProvisionedConcurrency } = chosen;
  const days = (/** @type {number} */ seconds) => seconds / 86_400;
  const tooShort = "is below 10: a function that crashed could not load again in it";
  const tooLong = "is over what the HTTP API waits, 29 s";
  const longestWaitSeconds = Math.max(longestBackoffSeconds, visibilityTimeoutSeconds(given));
  const mostReceives = Math.floor(given.queueRetentionSeconds / longestWaitSeconds);
  /** @type {[holds: boolean, found: string][]} */
  const relations = [
    [given.workerTimeoutSeconds >= 10, "workerTimeoutSeconds is below 10, and handlers get 5 s less"],
    [visibilityTimeoutSeconds(given) <= 43_200, "workerTimeoutSeconds makes a visibility timeout over 12 hours"],
    [given.webhookTimeoutSeconds >= 10, `webhookTimeoutSeconds ${tooShort}`],
    [given.webhookTimeoutSeconds < 30, `webhookTimeoutSeconds ${tooLong}`],
    [given.callbackTimeoutSeconds >= 10, `callbackTimeoutSeconds ${tooShort}`],
    [given.callbackTimeoutSeconds < 30, `callbackTimeoutSeconds ${tooLong}`],
    [given.callbackDeadlineMs >= 500, "callbackDeadlineMs is below 500: no handler could answer in it"],
    [
      given.callbackDeadlineMs + answerMs + networkMs <= feishuWaitsMs,
      `callbackDeadlineMs is over ${feishuWaitsMs - answerMs - networkMs}: Feishu would not wait for the answer`,
    ],
    [given.staleKeysSeconds >= 300, "staleKeysSeconds is below 300: keys are not read more often"],
    [
      given.staleKeysSeconds <= 86_400,
      "staleKeysSeconds is over 86,400: a revoked key would be accepted for more than a day while SSM cannot be read",
    ],
    [
      given.deadLetterRetentionSeconds > given.queueRetentionSeconds,
      "deadLetterRetentionSeconds is not above queueRetentionSeconds: a dead event keeps its age and would be gone at once",
    ],
    [
      days(2 * given.queueRetentionSeconds + given.deadLetterRetentionSeconds) + 2.3 <= 35,
      "queueRetentionSeconds and deadLetterRetentionSeconds outlast the 35 days that the ledger remembers",
    ],
    [
      given.logRetentionDays > days(given.deadLetterRetentionSeconds),
      "logRetentionDays is not above the dead letters'",
    ],
    [given.maxAttempts >= 1, "maxAttempts is below 1: no event would ever run"],
    [
      given.maxReceiveCount >= receivesPerAttempt * given.maxAttempts,
      `maxReceiveCount is below ${receivesPerAttempt} × maxAttempts: SQS would take events that the worker has not judged`,
    ],
    [given.maxReceiveCount <= 1_000, "maxReceiveCount is over 1,000: SQS takes no more"],
    [
      given.maxReceiveCount <= mostReceives,
      `maxReceiveCount is over ${mostReceives}: so often ${longestWaitSeconds} s (900, or 6 × workerTimeoutSeconds) outlast queueRetentionSeconds, and SQS would delete events before they are dead`,
    ],
    [given.maxConcurrency >= 2 && given.maxConcurrency <= 1_000, "maxConcurrency is not within 2 and 1,000"],
    [given.maxConcurrency * given.batchSize <= 12_000, "maxConcurrency × batchSize is over 12,000 records in flight"],
    [
      given.longConnectionReplicas >= 1 && given.longConnectionReplicas <= 5,
      "longConnectionReplicas is not within 1 and 5",
    ],
    [
      isFargatePair(given.longConnectionCpu, given.longConnectionMemoryMb),
      "longConnectionCpu and longConnectionMemoryMb are no pair that Fargate has (256 and 512, 512 and 1024, …)",
    ],
    [given.batchSize <= 10 || given.batchWindowSeconds > 0, "batchSize is over 10, which needs a batchWindowSeconds"],
    [
      // A throttled invocation hides its record for the visibility timeout, so healthy events would wait.
      (workerReservedConcurrency ?? Infinity) >= given.maxConcurrency,
      `workerReservedConcurrency is below maxConcurrency (${given.maxConcurrency})`,
    ],
    [
      // AWS takes one out of the other, and would refuse halfway through a deployment.
      (callbackProvisionedConcurrency ?? 0) <= (callbackReservedConcurrency ?? Infinity),
      `callbackProvisionedConcurrency is above callbackReservedConcurrency (${callbackReservedConcurrency})`,
    ],
  ];
  return relations.filter(([holds]) => !holds).map(([, found]) => found);
}
