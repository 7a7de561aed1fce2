import type { SQSBatchResponse, SQSRecord } from "aws-lambda";
import type { Clock } from "../clock.ts";
import { UnknownVersionError } from "../errors.ts";
import type { EventEnvelope, JobEnvelope } from "../feishu/envelope.ts";
import { backoffSeconds } from "../handling/backoff.ts";
import type { Death, Delivery, Verdict } from "../handling/claims.ts";
import { clean } from "../trace/clean.ts";
import { publish } from "../trace/trace.ts";
import type { AwsClient } from "./client.ts";
import { ownQueue } from "./lanes.ts";
import { attributes } from "./queues.ts";
import { deadReasonAttribute, fromRecord, toErrorAttribute } from "./record.ts";

export interface SettleOptions {
  readonly client: AwsClient;
  readonly urls: { eventsQueueUrl: string; quarantineQueueUrl: string; deadLetterQueueUrl: string };
  /** The app whose events this worker handles. A message is quarantined that another app received or names, or of which neither is known. */
  readonly appId: string;
  readonly random: () => number;
  readonly clock: Pick<Clock, "nowMs">;
  /** Receives after which SQS itself moves a record to the dead-letter queue, without a reason (`maxReceiveCount`). */
  readonly maxReceives: number;
  /** An older event is completed without a run. Deferred work, and what a person has redriven, runs at any age. */
  readonly maxAgeSeconds?: number | undefined;
  /** The longest delay in a FIFO queue, where a record holds back the others of its group. */
  readonly holdSeconds?: number | undefined;
  readonly consume: (envelope: EventEnvelope | JobEnvelope, delivery: Delivery) => Promise<Verdict>;
}

/**
 * Settles a batch: one verdict for each record, and the response that makes Lambda delete exactly the records that are
 * done.
 *
 * First deliveries run at the same time. Redelivered records run after them, one by one and in random order: a record
 * that crashes the process then takes fewer others with it. Those of a FIFO queue run in its order.
 */
export async function settle(records: readonly SQSRecord[], options: SettleOptions): Promise<SQSBatchResponse> {
  const failed = new Set<string>();
  const keep = async (record: SQSRecord, { delaySeconds }: Verdict & { kind: "retry" }) => {
    failed.add(record.messageId);
    if (delaySeconds !== undefined) await setVisibility(record, delaySeconds, options);
  };
  const run = async (record: SQSRecord) => {
    const verdict = await settleRecord(record, options);
    if (verdict.kind !== "done") await keep(record, verdict);
  };
  const ordered = records.filter((record) => ownQueue(record, options.urls.eventsQueueUrl).isFifo);
  const others = records.filter((record) => !ordered.includes(record));
  await Promise.all(others.filter((record) => receivesOf(record) === 1).map(run));
  const redelivered = others.filter((record) => receivesOf(record) > 1);
  for (const record of shuffled(redelivered, options.random)) await run(record);
  /** The verdict on the first record that failed in each group. The records behind it come back together with it. */
  const held = new Map<string | undefined, Verdict & { kind: "retry" }>();
  for (const record of ordered) {
    const group = record.attributes?.MessageGroupId;
    const verdict = held.get(group) ?? (await settleRecord(record, options));
    if (verdict.kind === "done") continue;
    held.set(group, verdict);
    await keep(record, verdict);
  }
  return toBatchResponse(records, failed);
}

/** Never rejects: after any failure the record comes back. */
async function settleRecord(record: SQSRecord, options: SettleOptions): Promise<Verdict> {
  const receives = receivesOf(record);
  let envelope: EventEnvelope | JobEnvelope | undefined;
  let verdict: Verdict;
  try {
    const decoded = fromRecord(record);
    if (decoded.kind === "undecodable") return await quarantine(record, decoded.reason, options);
    envelope = decoded;
    // SQS does not say who wrote a message. Only the receiver knows the app of an event that names none.
    const { id, type, app, receivedBy } = envelope;
    if ((receivedBy ?? app) !== options.appId || (app ?? receivedBy) !== options.appId) {
      return await quarantine(record, "app", options, envelope);
    }
    if (isStale(record, envelope, options)) return { kind: "done" };
    verdict = await options.consume(envelope, {
      receives,
      redrives: redrivesOf(record),
      lane: ownQueue(record, options.urls.eventsQueueUrl).lane,
      longestDelaySeconds: longestDelayOf(record, options),
      bury: (death) => bury(record, { ...death, id, type }, options),
    });
  } catch (error) {
    const { id, type, app } = envelope ?? {};
    const facts = { receives, messageId: record.messageId };
    publish({ stage: "failed", level: "error", id, type, app, facts, error });
    // A newer release must read it, after the queue's own visibility timeout.
    const isNewer = error instanceof UnknownVersionError;
    verdict = isNewer ? { kind: "retry" } : { kind: "retry", delaySeconds: backoffSeconds(receives, options.random) };
  }
  const isBuried = verdict.kind !== "done" && (await buryUnjudged(record, options, envelope));
  return isBuried ? { kind: "done" } : verdict;
}

/** Whether nobody waits for the event any more: after an outage, what was asked for long ago must not be done. */
function isStale(
  record: SQSRecord,
  { kind, id, type, app, requestId, createdAtMs }: EventEnvelope | JobEnvelope,
  { clock, maxAgeSeconds = Number.POSITIVE_INFINITY }: SettleOptions,
): boolean {
  const ageSeconds = Math.floor((clock.nowMs() - (createdAtMs ?? Number(record.attributes?.SentTimestamp))) / 1000);
  // A missing time compares as false.
  if (kind === "job" || redrivesOf(record) > 0 || !(ageSeconds > maxAgeSeconds)) return false;
  publish({
    stage: "stale",
    level: "warn",
    id,
    type,
    app,
    requestId,
    facts: { ageSeconds, receives: receivesOf(record) },
  });
  return true;
}

/** A FIFO queue's record delays the others of its group, so it comes back soon. */
function longestDelayOf(record: SQSRecord, { urls, holdSeconds = Number.POSITIVE_INFINITY }: SettleOptions): number {
  return ownQueue(record, urls.eventsQueueUrl).isFifo ? holdSeconds : Number.POSITIVE_INFINITY;
}

/**
 * Moves a record without a verdict to the dead-letter queue at its last receive, with a reason and a log line. SQS
 * itself would move it without either. Resolves with `false` when the record stays in its queue.
 */
async function buryUnjudged(
  record: SQSRecord,
  options: SettleOptions,
  { id, type }: Partial<EventEnvelope | JobEnvelope> = {},
): Promise<boolean> {
  const receives = receivesOf(record);
  if (receives < options.maxReceives) return false;
  const reason = "receivesExhausted";
  const facts = { receives, messageId: record.messageId };
  try {
    await bury(record, { reason, id, type }, options);
    publish({ stage: "dead", level: "error", id, type, facts: { reason, ...facts } });
    return true;
  } catch (error) {
    publish({ stage: "failed", level: "error", id, type, facts: { reason: "dead-letter-queue", ...facts }, error });
    return false;
  }
}

async function quarantine(
  record: SQSRecord,
  reason: string,
  { client, urls }: SettleOptions,
  { id, type, app }: Partial<EventEnvelope | JobEnvelope> = {},
): Promise<Verdict> {
  await client.call("SendMessage", {
    QueueUrl: urls.quarantineQueueUrl,
    MessageBody: record.body,
    MessageAttributes: attributes({ reason, receives: String(receivesOf(record)) }),
  });
  publish({ stage: "quarantined", level: "error", id, type, app, facts: { reason, messageId: record.messageId } });
  return { kind: "done" };
}

/** What the attributes of a dead letter say. */
interface DeadLetter extends Omit<Death, "reason"> {
  /** `receivesExhausted`: no delivery came to a verdict. */
  readonly reason: Death["reason"] | "receivesExhausted";
  readonly id?: string | undefined;
  readonly type?: string | undefined;
}

async function bury(
  record: SQSRecord,
  { reason, error, runs, id, type }: DeadLetter,
  { client, urls, clock }: SettleOptions,
): Promise<void> {
  await client.call("SendMessage", {
    QueueUrl: urls.deadLetterQueueUrl,
    MessageBody: record.body,
    // A standard queue takes the group of a FIFO queue, too.
    MessageGroupId: record.attributes?.MessageGroupId,
    MessageAttributes: attributes({
      [deadReasonAttribute]: reason,
      error: error && toErrorAttribute(error),
      attempts: runs?.toString(),
      firstAttemptAt: isoTime(Number(record.attributes?.ApproximateFirstReceiveTimestamp)),
      lastAttemptAt: isoTime(clock.nowMs()),
      eventId: attributeText(id),
      eventType: attributeText(type),
      redrives: String(redrivesOf(record)),
      lane: ownQueue(record, urls.eventsQueueUrl).lane,
    }),
  });
}

/** Removes what SQS refuses in an attribute, from text that comes from outside. */
function attributeText(text: string | undefined): string | undefined {
  return clean(text)?.replace(/[\ufffe\uffff]/g, "");
}

/** How often the record was moved back from the dead-letter queue. The count stops a tool from moving it in circles. */
function redrivesOf(record: SQSRecord): number {
  const before = record.messageAttributes?.["redrives"]?.stringValue;
  if (record.messageAttributes?.[deadReasonAttribute] === undefined) return 0;
  return 1 + (Number(before) || 0);
}

/** Sets when the record comes back. When that fails, the queue's own visibility timeout applies. */
async function setVisibility(record: SQSRecord, delaySeconds: number, options: SettleOptions): Promise<void> {
  const { client, urls } = options;
  try {
    await client.call("ChangeMessageVisibility", {
      QueueUrl: ownQueue(record, urls.eventsQueueUrl).url,
      ReceiptHandle: record.receiptHandle,
      VisibilityTimeout: Math.min(delaySeconds, longestDelayOf(record, options)),
    });
  } catch (error) {
    publish({ stage: "failed", level: "warn", facts: { reason: "visibility", messageId: record.messageId }, error });
  }
}

/**
 * The partial batch response. Lambda deletes the whole batch for `{}`, `null` or a misspelt member, and retries the
 * whole batch for an id that it does not know, so the ids are checked.
 * https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
 */
export function toBatchResponse(records: readonly SQSRecord[], failed: ReadonlySet<string>): SQSBatchResponse {
  if (records.some(({ messageId }) => typeof messageId !== "string" || messageId === "")) {
    throw new TypeError("Cannot settle the batch: a record has no message id");
  }
  const failures = records.filter(({ messageId }) => failed.has(messageId));
  return { batchItemFailures: failures.map(({ messageId }) => ({ itemIdentifier: messageId })) };
}

function receivesOf(record: SQSRecord): number {
  const count = Number(record.attributes?.ApproximateReceiveCount);
  return Number.isInteger(count) && count > 0 ? count : 1;
}

function shuffled<T>(items: readonly T[], random: () => number): T[] {
  return items
    .map((item) => ({ item, order: random() }))
    .sort((a, b) => a.order - b.order)
    .map(({ item }) => item);
}

function isoTime(epochMs: number): string | undefined {
  return Number.isFinite(epochMs) && epochMs > 0 ? new Date(epochMs).toISOString() : undefined;
}
