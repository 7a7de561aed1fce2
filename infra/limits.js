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
 * @param {Pick<typeof limits, "workerTimeoutSeconds" | "batchWindowSeconds">} given
 */
export function visibilityTimeoutSeconds(given = limits) {
  return 6 * given.workerTimeoutSeconds + given.batchWindowSeconds;
}

/**
 * The duration of a worker invocation that starts the alarm.
 * @param {Pick<typeof limits, "workerTimeoutSeconds">} given
 * @param {Pick<typeof alarmThresholds, "workerDurationPercent">} thresholds
 */
export function workerDurationAlarmMs(given = limits, { workerDurationPercent } = alarmThresholds) {
  return given.workerTimeoutSeconds * 10 * workerDurationPercent;
}

/**
 * The duration of a callback that starts the alarm.
 * @param {Pick<typeof limits, "callbackDeadlineMs">} given
 * @param {Pick<typeof alarmThresholds, "callbackDurationPercent">} thresholds
 */
export function callbackDurationAlarmMs(given = limits, { callbackDurationPercent } = alarmThresholds) {
  return (given.callbackDeadlineMs * callbackDurationPercent) / 100;
}

/**
 * Replicas during a deployment of the long connection, in percent of the usual ones: one more, since each uses one of the
 * app's 50 connections.
 * @param {Pick<typeof limits, "longConnectionReplicas">} given
 */
export function longConnectionMaximumPercent({ longConnectionReplicas } = limits) {
  return Math.floor((100 * (longConnectionReplicas + 1)) / longConnectionReplicas);
}

/** The least and the most MB for each number of CPU units, in steps of 1,024 MB. 256 units have values of their own. */
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

/** A receive without a run is not an attempt, so an attempt may need many receives. */
export const receivesPerAttempt = 10;
/** As in lib/handling/backoff.ts. */
export const longestBackoffSeconds = 900;

/** Worker invocations at once of a provisioned poller. */
export const batchesPerPoller = 10;
/** The messages of a queue that SQS lets be in flight. */
const mostInFlight = 120_000;

/**
 * Whether SQS still has an event of that age.
 * @param {number | null} maxAgeSeconds
 * @param {Pick<typeof limits, "queueRetentionSeconds">} given
 */
export function isAgeWithin(maxAgeSeconds, { queueRetentionSeconds }) {
  return maxAgeSeconds === null || (maxAgeSeconds >= 1 && maxAgeSeconds < queueRetentionSeconds);
}

export const ageOutside = "is not from 1 to below queueRetentionSeconds: SQS deletes an event that is older";

/**
 * The least and the most that AWS takes. It would refuse other numbers halfway through a deployment.
 * @type {readonly (readonly [name: keyof typeof limits | keyof typeof optional, least: number, most: number])[]}
 */
const ranges = [
  ["webhookMemoryMb", 128, 10_240],
  ["callbackMemoryMb", 128, 10_240],
  ["workerMemoryMb", 128, 10_240],
  ["batchSize", 1, 10_000],
  ["batchWindowSeconds", 0, 300],
  ["queueRetentionSeconds", 60, 1_209_600],
  ["deadLetterRetentionSeconds", 60, 1_209_600],
  ["maxConcurrency", 2, 1_000],
  ["longConnectionReplicas", 1, 5],
  ["minimumPollers", 2, 200],
  ["queueKeyReuseSeconds", 60, 86_400],
];
/** The days that CloudWatch Logs keeps a line. Fewer than these are below a dead letter's. */
const retentionDays = [14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653];

/** @param {number} value */
function shown(value) {
  return value.toLocaleString("en-US");
}

/** Parts of the 3 s that Feishu waits: to check and send a handler's answer; for the network, with a new TLS connection. */
const feishuWaitsMs = 3_000;
const answerMs = 200;
const networkMs = 300;

/** Runs of one event in an alarm's five minutes, with the shortest waits of lib/handling/backoff.ts: after 0, 8, 24, 56, 120, 248 s. */
const runsOfOneEvent = 6;

/**
 * The relations that a set of numbers breaks, in words. A deployment that breaks one is refused.
 * @param {typeof limits} given
 * @param {Partial<typeof optional>} chosen
 * @param {typeof alarmThresholds} thresholds
 * @returns {string[]}
 */
export function contradictions(given = limits, chosen = optional, thresholds = alarmThresholds) {
  const { workerReservedConcurrency, callbackReservedConcurrency, callbackProvisionedConcurrency } = chosen;
  const { minimumPollers = null, maximumPollers = null, maxAgeSeconds } = chosen;
  const hasPollers = maximumPollers !== null;
  const days = (/** @type {number} */ seconds) => seconds / 86_400;
  const tooShort = "is below 10: a function that crashed could not load again in it";
  const tooLong = "is over what the HTTP API waits, 29 s";
  const longestWaitSeconds = Math.max(longestBackoffSeconds, visibilityTimeoutSeconds(given));
  const mostReceives = Math.floor(given.queueRetentionSeconds / longestWaitSeconds);
  /** @type {[holds: boolean, found: string][]} */
  const relations = [
    [given.workerTimeoutSeconds >= 10, "workerTimeoutSeconds is below 10, and handlers get 5 s less"],
    [given.workerTimeoutSeconds <= 900, "workerTimeoutSeconds is over 900: Lambda runs nothing for longer"],
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
    [given.maxDeferrals >= 1, "maxDeferrals is below 1: nothing could be deferred"],
    [
      days(given.deferForSeconds + given.queueRetentionSeconds + given.deadLetterRetentionSeconds) + 2.3 <= 35,
      "deferForSeconds, queueRetentionSeconds and deadLetterRetentionSeconds outlast the 35 days that the ledger remembers",
    ],
    [isAgeWithin(maxAgeSeconds ?? null, given), `maxAgeSeconds ${ageOutside}`],
    [
      given.logRetentionDays > days(given.deadLetterRetentionSeconds),
      "logRetentionDays is not above the dead letters'",
    ],
    [
      given.logRetentionDays < 14 || retentionDays.includes(given.logRetentionDays),
      `logRetentionDays is none that CloudWatch Logs has: ${retentionDays.join(", ")}`,
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
    [given.maxConcurrency * given.batchSize <= 12_000, "maxConcurrency × batchSize is over 12,000 records in flight"],
    [
      isFargatePair(given.longConnectionCpu, given.longConnectionMemoryMb),
      "longConnectionCpu and longConnectionMemoryMb are no pair that Fargate has (256 and 512, 512 and 1024, …)",
    ],
    [given.batchSize <= 10 || given.batchWindowSeconds > 0, "batchSize is over 10, which needs a batchWindowSeconds"],
    [
      // A throttled invocation hides its record for the visibility timeout, so healthy events would wait.
      hasPollers || (workerReservedConcurrency ?? Infinity) >= given.maxConcurrency,
      `workerReservedConcurrency is below maxConcurrency (${given.maxConcurrency})`,
    ],
    [(minimumPollers === null) === (maximumPollers === null), "minimumPollers and maximumPollers are not set together"],
    [
      (maximumPollers ?? 2_000) <= 2_000 && (maximumPollers ?? 2_000) >= (minimumPollers ?? 0),
      "maximumPollers is not within minimumPollers and 2,000",
    ],
    [
      (workerReservedConcurrency ?? Infinity) >= batchesPerPoller * (maximumPollers ?? 0),
      `workerReservedConcurrency is below ${batchesPerPoller} × maximumPollers`,
    ],
    [
      batchesPerPoller * (maximumPollers ?? 0) * given.batchSize <= mostInFlight,
      "10 × maximumPollers × batchSize is over 120,000 records in flight",
    ],
    [
      // AWS takes one out of the other, and would refuse halfway through a deployment.
      (callbackProvisionedConcurrency ?? 0) <= (callbackReservedConcurrency ?? Infinity),
      `callbackProvisionedConcurrency is above callbackReservedConcurrency (${callbackReservedConcurrency})`,
    ],
  ];
  for (const [name, least, most] of ranges) {
    const value = { ...given, ...chosen }[name] ?? least;
    relations.push([value >= least && value <= most, `${name} is not within ${shown(least)} and ${shown(most)}`]);
  }
  for (const name of /** @type {const} */ ([
    "routeRatePerSecond",
    "routeBurst",
    "callbackRatePerSecond",
    "callbackBurst",
  ])) {
    relations.push([given[name] >= 1, `${name} is below 1: the HTTP API would refuse every request`]);
  }
  for (const name of /** @type {const} */ (["faults", "failedRuns", "failedCallbacks"])) {
    const [count, percent] = [thresholds[`${name}PerFiveMinutes`], thresholds[`${name}Percent`]];
    relations.push(
      [count >= 1, `${name}PerFiveMinutes is below 1: the alarm would ring without a fault`],
      [percent <= 100, `${name}Percent is over 100: the alarm would never ring`],
    );
  }
  relations.push([
    thresholds.failedRunsPerFiveMinutes > runsOfOneEvent,
    `failedRunsPerFiveMinutes is below ${runsOfOneEvent + 1}: one event that fails runs ${runsOfOneEvent} times in five minutes, and would call somebody`,
  ]);
  return relations.filter(([holds]) => !holds).map(([, found]) => found);
}
