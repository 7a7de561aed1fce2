import { ageOutside, isAgeWithin } from "./contradictions.js";
import { longestBackoffSeconds, receivesPerAttempt, visibilityTimeoutSeconds } from "./limits.js";

/**
 * The numbers of a project.
 * @typedef {object} Numbers
 * @property {typeof import("./limits.js").limits} limits
 * @property {typeof import("./limits.js").optional} optional
 * @property {Readonly<Record<string, import("./config.js").LaneConfig>>} lanes
 */

/**
 * A queue with its worker: the numbers of a lane, and its ids in the template. The default lane keeps the ids of a stack
 * without lanes.
 * @typedef {object} Lane
 * @property {string} name
 * @property {readonly string[]} types Of the default lane none: it has all that no other has.
 * @property {string | null} order With it, the queue is a FIFO queue.
 * @property {number} timeoutSeconds
 * @property {number} memoryMb
 * @property {number} concurrency
 * @property {number} attempts
 * @property {number} maxReceiveCount
 * @property {number} batchSize
 * @property {number} batchWindowSeconds
 * @property {number | null} maxAgeSeconds
 * @property {number | null} holdSeconds Of a FIFO queue alone.
 * @property {number} visibilityTimeoutSeconds
 * @property {string} id What its logical ids and its function's key end with.
 * @property {string} queueId
 * @property {string} queueName For `nameOf`.
 * @property {string} deadLetterQueueId Where SQS moves what no worker has judged. A FIFO queue's must be one, too.
 * @property {string} mappingId
 */

/** Seconds that a FIFO queue hides a record after its worker's timeout. A run that crashed holds its chat for as long. */
const fifoMarginSeconds = 30;
const defaultHoldSeconds = 60;

/**
 * What the names of a lane's resources end with: `Ai`, as in `workerAi`.
 * @param {string} name
 */
export function laneId(name) {
  return name.charAt(0).toUpperCase() + name.slice(1);
}

/**
 * The lanes of a project, the default one first.
 * @param {Numbers} project
 * @returns {Lane[]}
 */
export function lanesOf({ limits, optional, lanes }) {
  const { maxReceiveCount } = limits;
  return [
    laneOf({ limits, optional }, "default", { types: [] }, maxReceiveCount),
    ...Object.entries(lanes).map(([name, config]) => laneOf({ limits, optional }, name, config, null)),
  ];
}

/**
 * @param {Pick<Numbers, "limits" | "optional">} defaults
 * @param {string} name
 * @param {import("./config.js").LaneConfig} config
 * @param {number | null} receives
 * @returns {Lane}
 */
function laneOf({ limits, optional }, name, config, receives) {
  const { order = null, timeoutSeconds = limits.workerTimeoutSeconds, maxAgeSeconds = optional.maxAgeSeconds } = config;
  const isFifo = order !== null;
  const batchSize = isFifo ? 1 : (config.batchSize ?? limits.batchSize);
  const batchWindowSeconds = isFifo ? 0 : (config.batchWindowSeconds ?? limits.batchWindowSeconds);
  const holdSeconds = isFifo ? (config.holdSeconds ?? defaultHoldSeconds) : null;
  const hiddenSeconds = isFifo
    ? timeoutSeconds + fifoMarginSeconds
    : visibilityTimeoutSeconds({ workerTimeoutSeconds: timeoutSeconds, batchWindowSeconds });
  const longestWaitSeconds = Math.max(holdSeconds ?? longestBackoffSeconds, hiddenSeconds);
  const isDefault = name === "default";
  const id = isDefault ? "" : laneId(name);
  const queueId = isDefault ? "EventsQueue" : `Lane${id}${isFifo ? "Fifo" : ""}Queue`;
  return {
    name,
    types: config.types,
    order,
    timeoutSeconds,
    memoryMb: config.memoryMb ?? limits.workerMemoryMb,
    concurrency: config.concurrency ?? limits.maxConcurrency,
    attempts: config.attempts ?? limits.maxAttempts,
    // As often as the queue keeps a record, and not more: SQS would delete it before it is dead.
    maxReceiveCount:
      receives ?? Math.min(limits.maxReceiveCount, Math.floor(limits.queueRetentionSeconds / longestWaitSeconds)),
    batchSize,
    batchWindowSeconds,
    maxAgeSeconds,
    holdSeconds,
    visibilityTimeoutSeconds: hiddenSeconds,
    id,
    queueId,
    queueName: isDefault ? "events" : `events-${name}${isFifo ? ".fifo" : ""}`,
    deadLetterQueueId: isFifo ? "DeadLetterFifoQueue" : "DeadLetterQueue",
    mappingId: `Worker${id}EventSourceMappingSQS${queueId}`,
  };
}

/**
 * The setting LANES of every function: which types go to which queue. Without lanes there is none.
 * @param {Pick<Numbers, "lanes">} project
 * @returns {string | undefined}
 */
export function lanesText({ lanes }) {
  const chosen = Object.entries(lanes).map(([name, { types, order }]) => [
    name,
    order === undefined ? { types } : { types, order },
  ]);
  return chosen.length === 0 ? undefined : JSON.stringify(Object.fromEntries(chosen));
}

/** Bytes that Lambda takes as a function's environment, and those that the other settings of Larkpost need at most. */
const environmentBytes = 4_096;
const ownBytes = 1_536;

/**
 * What a project's lanes break of the rules between numbers, in words. Those of the default lane are in limits.js.
 * @param {Numbers & { environment: object }} project
 * @returns {string[]}
 */
export function laneContradictions({ environment, ...project }) {
  const { limits } = project;
  const [, ...lanes] = lanesOf(project);
  const text = lanesText(project);
  const bytes = Buffer.byteLength(`LANES${text ?? ""}${Object.entries(environment).flat().map(String).join("")}`);
  const found = lanes.flatMap((lane) => {
    const mostAttempts = Math.floor(lane.maxReceiveCount / receivesPerAttempt);
    const { batchSize, batchWindowSeconds, holdSeconds } = lane;
    /** @type {[holds: boolean, found: string][]} */
    const relations = [
      [
        isWithin(lane.timeoutSeconds, 10, 900),
        "timeoutSeconds is not within 10 and 900: Lambda runs nothing for longer",
      ],
      [isWithin(lane.memoryMb, 128, 10_240), "memoryMb is not within 128 and 10,240"],
      [isWithin(lane.concurrency, 2, 1_000), "concurrency is not within 2 and 1,000"],
      [isWithin(batchSize, 1, 10_000), "batchSize is not within 1 and 10,000"],
      [isWithin(batchWindowSeconds, 0, 300), "batchWindowSeconds is not within 0 and 300"],
      [batchSize <= 10 || batchWindowSeconds > 0, "batchSize is over 10, which needs a batchWindowSeconds"],
      [lane.concurrency * batchSize <= 12_000, "concurrency × batchSize is over 12,000 records in flight"],
      [
        isWithin(lane.attempts, 1, mostAttempts),
        `attempts is not within 1 and ${mostAttempts}: an attempt may take ${receivesPerAttempt} receives, and SQS keeps an event for ${lane.maxReceiveCount} of them`,
      ],
      [isAgeWithin(lane.maxAgeSeconds, limits), `maxAgeSeconds ${ageOutside}`],
      [
        isWithin(holdSeconds ?? 1, 1, longestBackoffSeconds),
        `holdSeconds is not within 1 and ${longestBackoffSeconds}`,
      ],
    ];
    return relations.filter(([holds]) => !holds).map(([, says]) => `lanes.${lane.name}.${says}`);
  });
  const most = environmentBytes - ownBytes;
  if (bytes <= most) return found;
  const advice = text === undefined ? "" : '. Write types as patterns, such as "contact.*"';
  return [
    ...found,
    `lanes and environment have ${bytes} bytes, over ${most}: Lambda takes 4 KB with Larkpost's own settings${advice}`,
  ];
}

/**
 * @param {number} value
 * @param {number} least
 * @param {number} most
 */
function isWithin(value, least, most) {
  return value >= least && value <= most;
}
