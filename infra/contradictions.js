import {
  batchesPerPoller,
  limits as defaultLimits,
  optional as defaultOptional,
  alarmThresholds as defaultThresholds,
  longestBackoffSeconds,
  receivesPerAttempt,
  visibilityTimeoutSeconds,
} from "./limits.js";

// What numbers of a larkpost.config.js contradict each other, or what AWS and Feishu allow.

/** @typedef {[holds: boolean, found: string]} Relation */

/** The messages of a queue that SQS lets be in flight. */
const mostInFlight = 120_000;

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

/**
 * Whether SQS still has an event of that age.
 * @param {number | null} maxAgeSeconds
 * @param {Pick<typeof defaultLimits, "queueRetentionSeconds">} limits
 */
export function isAgeWithin(maxAgeSeconds, { queueRetentionSeconds }) {
  return maxAgeSeconds === null || (maxAgeSeconds >= 1 && maxAgeSeconds < queueRetentionSeconds);
}

export const ageOutside = "is not from 1 to below queueRetentionSeconds: SQS deletes an event that is older";

/**
 * The least and the most that AWS takes. It would refuse other numbers halfway through a deployment.
 * @type {readonly (readonly [name: keyof typeof defaultLimits | keyof typeof defaultOptional, least: number, most: number])[]}
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
/** The days that CloudWatch Logs can keep a line. */
const retentionDays = [
  1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653,
];

/**
 * As `toLocaleString("en-US")` writes it, which loads ICU's data: a fifth of the time that it takes to read the configuration.
 * @param {number} value
 */
export function grouped(value) {
  return String(value).replaceAll(/(?<!\.\d*)\B(?=(\d{3})+(?!\d))/g, ",");
}

/** Parts of the 3 s that Feishu waits: to check and send a handler's answer; for the network, with a new TLS connection. */
const feishuWaitsMs = 3_000;
const answerMs = 200;
const networkMs = 300;

/** Runs of one event in an alarm's five minutes, with the shortest waits of lib/handling/backoff.ts: after 0, 8, 24, 56, 120, 248 s. */
const runsOfOneEvent = 6;

/**
 * The relations that a set of numbers breaks, in words. A deployment that breaks one is refused.
 * @param {typeof defaultLimits} limits
 * @param {Partial<typeof defaultOptional>} optional
 * @param {typeof defaultThresholds} thresholds
 * @returns {string[]}
 */
export function contradictions(limits = defaultLimits, optional = defaultOptional, thresholds = defaultThresholds) {
  const relations = [
    ...ofLimits(limits, optional),
    ...ofOptional(limits, optional),
    ...ofRanges({ ...limits, ...optional }),
    ...ofRates(limits),
    ...ofThresholds(thresholds),
  ];
  return relations.filter(([holds]) => !holds).map(([, found]) => found);
}

/**
 * @param {typeof defaultLimits} limits
 * @param {Partial<typeof defaultOptional>} optional
 * @returns {Relation[]}
 */
function ofLimits(limits, { maxAgeSeconds }) {
  const days = (/** @type {number} */ seconds) => seconds / 86_400;
  const tooShort = "is below 10: a function that crashed could not load again in it";
  const tooLong = "is over what the HTTP API waits, 29 s";
  const longestWaitSeconds = Math.max(longestBackoffSeconds, visibilityTimeoutSeconds(limits));
  const mostReceives = Math.floor(limits.queueRetentionSeconds / longestWaitSeconds);
  return [
    [limits.workerTimeoutSeconds >= 10, "workerTimeoutSeconds is below 10, and handlers get 5 s less"],
    [limits.workerTimeoutSeconds <= 900, "workerTimeoutSeconds is over 900: Lambda runs nothing for longer"],
    [limits.webhookTimeoutSeconds >= 10, `webhookTimeoutSeconds ${tooShort}`],
    [limits.webhookTimeoutSeconds < 30, `webhookTimeoutSeconds ${tooLong}`],
    [limits.callbackTimeoutSeconds >= 10, `callbackTimeoutSeconds ${tooShort}`],
    [limits.callbackTimeoutSeconds < 30, `callbackTimeoutSeconds ${tooLong}`],
    [limits.callbackDeadlineMs >= 500, "callbackDeadlineMs is below 500: no handler could answer in it"],
    [
      limits.callbackDeadlineMs + answerMs + networkMs <= feishuWaitsMs,
      `callbackDeadlineMs is over ${feishuWaitsMs - answerMs - networkMs}: Feishu would not wait for the answer`,
    ],
    [limits.staleKeysSeconds >= 300, "staleKeysSeconds is below 300: keys are not read more often"],
    [
      limits.staleKeysSeconds <= 86_400,
      "staleKeysSeconds is over 86,400: a revoked key would be accepted for more than a day while SSM cannot be read",
    ],
    [
      limits.deadLetterRetentionSeconds > limits.queueRetentionSeconds,
      "deadLetterRetentionSeconds is not above queueRetentionSeconds: a dead event keeps its age and would be gone at once",
    ],
    [
      days(2 * limits.queueRetentionSeconds + limits.deadLetterRetentionSeconds) + 2.3 <= 35,
      "queueRetentionSeconds and deadLetterRetentionSeconds outlast the 35 days that the ledger remembers",
    ],
    [limits.maxDeferrals >= 1, "maxDeferrals is below 1: nothing could be deferred"],
    [
      days(limits.deferForSeconds + limits.queueRetentionSeconds + limits.deadLetterRetentionSeconds) + 2.3 <= 35,
      "deferForSeconds, queueRetentionSeconds and deadLetterRetentionSeconds outlast the 35 days that the ledger remembers",
    ],
    [isAgeWithin(maxAgeSeconds ?? null, limits), `maxAgeSeconds ${ageOutside}`],
    [
      limits.logRetentionDays > days(limits.deadLetterRetentionSeconds),
      "logRetentionDays is not above the dead letters'",
    ],
    [
      retentionDays.includes(limits.logRetentionDays),
      `logRetentionDays is none that CloudWatch Logs has: ${retentionDays.join(", ")}`,
    ],
    [limits.maxAttempts >= 1, "maxAttempts is below 1: no event would ever run"],
    [
      limits.maxReceiveCount >= receivesPerAttempt * limits.maxAttempts,
      `maxReceiveCount is below ${receivesPerAttempt} × maxAttempts: SQS would take events that the worker has not judged`,
    ],
    [limits.maxReceiveCount <= 1_000, "maxReceiveCount is over 1,000: SQS takes no more"],
    [
      limits.maxReceiveCount <= mostReceives,
      `maxReceiveCount is over ${mostReceives}: so often ${longestWaitSeconds} s (900, or 6 × workerTimeoutSeconds) outlast queueRetentionSeconds, and SQS would delete events before they are dead`,
    ],
    [limits.maxConcurrency * limits.batchSize <= 12_000, "maxConcurrency × batchSize is over 12,000 records in flight"],
    [
      isFargatePair(limits.longConnectionCpu, limits.longConnectionMemoryMb),
      "longConnectionCpu and longConnectionMemoryMb are no pair that Fargate has (256 and 512, 512 and 1024, …)",
    ],
    [limits.batchSize <= 10 || limits.batchWindowSeconds > 0, "batchSize is over 10, which needs a batchWindowSeconds"],
  ];
}

/**
 * @param {typeof defaultLimits} limits
 * @param {Partial<typeof defaultOptional>} optional
 * @returns {Relation[]}
 */
function ofOptional(limits, optional) {
  const { workerReservedConcurrency, callbackReservedConcurrency, callbackProvisionedConcurrency } = optional;
  const { minimumPollers = null, maximumPollers = null } = optional;
  const hasPollers = maximumPollers !== null;
  return [
    [
      // A throttled invocation hides its record for the visibility timeout, so healthy events would wait.
      hasPollers || (workerReservedConcurrency ?? Infinity) >= limits.maxConcurrency,
      `workerReservedConcurrency is below maxConcurrency (${limits.maxConcurrency})`,
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
      batchesPerPoller * (maximumPollers ?? 0) * limits.batchSize <= mostInFlight,
      "10 × maximumPollers × batchSize is over 120,000 records in flight",
    ],
    [
      // AWS takes one out of the other, and would refuse halfway through a deployment.
      (callbackProvisionedConcurrency ?? 0) <= (callbackReservedConcurrency ?? Infinity),
      `callbackProvisionedConcurrency is above callbackReservedConcurrency (${callbackReservedConcurrency})`,
    ],
  ];
}

/**
 * @param {typeof defaultLimits & Partial<typeof defaultOptional>} numbers
 * @returns {Relation[]}
 */
function ofRanges(numbers) {
  return ranges.map(([name, least, most]) => {
    const value = numbers[name] ?? least;
    return [value >= least && value <= most, `${name} is not within ${grouped(least)} and ${grouped(most)}`];
  });
}

/**
 * @param {typeof defaultLimits} limits
 * @returns {Relation[]}
 */
function ofRates(limits) {
  const names = /** @type {const} */ (["routeRatePerSecond", "routeBurst", "callbackRatePerSecond", "callbackBurst"]);
  return names.map((name) => [limits[name] >= 1, `${name} is below 1: the HTTP API would refuse every request`]);
}

/**
 * @param {typeof defaultThresholds} thresholds
 * @returns {Relation[]}
 */
function ofThresholds(thresholds) {
  const names = /** @type {const} */ (["faults", "failedRuns", "failedCallbacks"]);
  return [
    ...names.flatMap(
      (name) =>
        /** @type {Relation[]} */ ([
          [
            thresholds[`${name}PerFiveMinutes`] >= 1,
            `${name}PerFiveMinutes is below 1: the alarm would ring without a fault`,
          ],
          [thresholds[`${name}Percent`] <= 100, `${name}Percent is over 100: the alarm would never ring`],
        ]),
    ),
    [
      thresholds.failedRunsPerFiveMinutes > runsOfOneEvent,
      `failedRunsPerFiveMinutes is below ${runsOfOneEvent + 1}: one event that fails runs ${runsOfOneEvent} times in five minutes, and would call somebody`,
    ],
  ];
}
