import { ChangeMessageVisibilityCommand, SendMessageCommand } from "@aws-sdk/client-sqs";
import type { SQSBatchResponse, SQSRecord } from "aws-lambda";
import type { Clock } from "../clock.ts";
import { UnknownVersionError } from "../errors.ts";
import type { EventEnvelope, JobEnvelope } from "../feishu/envelope.ts";
import { backoffSeconds } from "../handling/backoff.ts";
import type { Death, Delivery, Verdict } from "../handling/claims.ts";
import { clean } from "../trace/log.ts";
import { publish } from "../trace/trace.ts";
import { deadReasonAttribute, fromRecord } from "./record.ts";
import { attributes, type Client } from "./sqs.ts";

export interface SettleOptions {
  readonly client: Client;
  readonly urls: { eventsQueueUrl: string; quarantineQueueUrl: string; deadLetterQueueUrl: string };
  /** The app whose events this worker handles. A message that names another, or none, is quarantined. */
  readonly appId: string;
  readonly random: () => number;
  readonly clock: Pick<Clock, "nowMs">;
  /** Receives after which SQS itself moves a record to the dead-letter queue, without a word (`maxReceiveCount`). */
  readonly maxReceives: number;
  readonly consume: (envelope: EventEnvelope | JobEnvelope, delivery: Delivery) => Promise<Verdict>;
}

/**
 * Settles a batch of any size: one verdict a record, and the answer that makes Lambda delete exactly
 * the records that are done. The answer is built here and nowhere else.
 *
 * First deliveries run side by side. A record that has been here before runs last and alone, in random
 * order: one that kills the process then takes the others with it less often each time.
 */
export async function settle(records: readonly SQSRecord[], options: SettleOptions): Promise<SQSBatchResponse> {
  const failed = new Set<string>();
  const run = async (record: SQSRecord) => {
    const verdict = await settleRecord(record, options);
    if (verdict.kind === "done" || (await buryUnjudged(record, options))) return;
    failed.add(record.messageId);
    if (verdict.delaySeconds !== undefined) await hide(record, verdict.delaySeconds, options);
  };
  await Promise.all(records.filter((record) => receivesOf(record) === 1).map(run));
  for (const record of shuffled(
    records.filter((record) => receivesOf(record) > 1),
    options.random,
  ))
    await run(record);
  return toBatchResponse(records, failed);
}

/** Total: whatever fails, the record comes back. */
async function settleRecord(record: SQSRecord, options: SettleOptions): Promise<Verdict> {
  const receives = receivesOf(record);
  let envelope: EventEnvelope | JobEnvelope | undefined;
  try {
    const decoded = fromRecord(record);
    if (decoded.kind === "undecodable") return await quarantine(record, decoded.reason, options);
    envelope = decoded;
    // SQS cannot say who wrote a message. Only the receiver knows the app of an event that names none.
    const { app, receivedBy } = envelope;
    if ((receivedBy ?? app) !== options.appId || (app ?? receivedBy) !== options.appId)
      return await quarantine(record, "app", options, envelope);
    const { id, type } = envelope;
    return await options.consume(envelope, {
      receives,
      redrives: redrivesOf(record),
      bury: (death) => bury(record, { ...death, id, type }, options),
    });
  } catch (error) {
    const { id, type, app } = envelope ?? {};
    const facts = { receives, messageId: record.messageId };
    publish({ stage: "failed", level: "error", id, type, app, facts, error });
    // Left to the queue's own timeout: this release cannot judge it.
    if (error instanceof UnknownVersionError) return { kind: "retry" };
    return { kind: "retry", delaySeconds: backoffSeconds(receives, options.random) };
  }
}

/**
 * The net under all that came to no verdict. After its last receive SQS would move the record without a reason, and
 * nobody would know how many there are: it is moved here instead, and logged. `false`: it comes back, or SQS moves it.
 */
async function buryUnjudged(record: SQSRecord, options: SettleOptions): Promise<boolean> {
  const receives = receivesOf(record);
  if (receives < options.maxReceives) return false;
  const reason = "receivesExhausted";
  const facts = { receives, messageId: record.messageId };
  try {
    await bury(record, { reason }, options);
    publish({ stage: "dead", level: "error", facts: { reason, ...facts } });
    return true;
  } catch (error) {
    publish({ stage: "failed", level: "error", facts: { reason: "dead-letter-queue", ...facts }, error });
    return false;
  }
}

export async function quarantine(
  record: SQSRecord,
  reason: string,
  { client, urls }: SettleOptions,
  { id, type, app }: Partial<EventEnvelope | JobEnvelope> = {},
): Promise<Verdict> {
  await client.send(
    new SendMessageCommand({
      QueueUrl: urls.quarantineQueueUrl,
      MessageBody: record.body,
      MessageAttributes: attributes({ reason, receives: String(receivesOf(record)) }),
    }),
  );
  publish({ stage: "quarantined", level: "error", id, type, app, facts: { reason, messageId: record.messageId } });
  return { kind: "done" };
}

async function bury(
  record: SQSRecord,
  { reason, error, runs, id, type }: Death & { id?: string; type?: string },
  { client, urls, clock }: SettleOptions,
): Promise<void> {
  const group = record.attributes?.MessageGroupId;
  await client.send(
    new SendMessageCommand({
      QueueUrl: urls.deadLetterQueueUrl,
      MessageBody: record.body,
      ...(group === undefined ? undefined : { MessageGroupId: group }),
      MessageAttributes: attributes({
        [deadReasonAttribute]: reason,
        errorClass: error?.errorClass,
        fingerprint: error?.fingerprint,
        at: error?.at,
        attempts: runs?.toString(),
        firstAttemptAt: isoTime(Number(record.attributes?.ApproximateFirstReceiveTimestamp)),
        lastAttemptAt: isoTime(clock.nowMs()),
        eventId: legal(id),
        eventType: legal(type),
        redrives: String(redrivesOf(record)),
      }),
    }),
  );
}

/** Outside text made fit for an attribute: SQS refuses the same characters there as in a body. */
function legal(text: string | undefined): string | undefined {
  return clean(text)?.replace(/[\ufffe\uffff]/g, "");
}

/** How often the record had been dead before: counted along, so that a tool can stop moving it in circles. */
function redrivesOf(record: SQSRecord): number {
  const before = record.messageAttributes?.["redrives"]?.stringValue;
  if (record.messageAttributes?.[deadReasonAttribute] === undefined) return 0;
  return 1 + (Number(before) || 0);
}

/** Brings the next attempt forward (or back). When it fails, the queue's own visibility timeout applies. */
async function hide(record: SQSRecord, delaySeconds: number, { client, urls }: SettleOptions): Promise<void> {
  try {
    await client.send(
      new ChangeMessageVisibilityCommand({
        QueueUrl: urls.eventsQueueUrl,
        ReceiptHandle: record.receiptHandle,
        VisibilityTimeout: delaySeconds,
      }),
    );
  } catch (error) {
    publish({ stage: "failed", level: "warn", facts: { reason: "visibility", messageId: record.messageId }, error });
  }
}

/**
 * The partial batch response. Lambda deletes a whole batch for `{}`, `null` or a misspelt member, and
 * retries a whole batch for an id it does not know; so the shape is checked before it leaves.
 * https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
 */
export function toBatchResponse(records: readonly SQSRecord[], failed: ReadonlySet<string>): SQSBatchResponse {
  const batchItemFailures: SQSBatchResponse["batchItemFailures"] = [];
  for (const { messageId } of records) {
    if (typeof messageId !== "string" || messageId === "") {
      throw new TypeError("Cannot settle the batch: a record has no message id");
    }
    if (failed.has(messageId)) batchItemFailures.push({ itemIdentifier: messageId });
  }
  if (batchItemFailures.length < failed.size) {
    throw new TypeError("Cannot settle the batch: a failed record is not in it");
  }
  return { batchItemFailures };
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
