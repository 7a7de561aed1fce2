import { hash } from "node:crypto";
import { createSecureContext } from "node:tls";
import {
  ChangeMessageVisibilityCommand,
  type MessageAttributeValue,
  SendMessageCommand,
  SQSClient,
  type SQSClientConfig,
} from "@aws-sdk/client-sqs";
import type { SQSBatchResponse, SQSRecord } from "aws-lambda";
import type { Clock } from "../clock.ts";
import { UnknownVersionError } from "../errors.ts";
import type { EventEnvelope, JobEnvelope } from "../feishu/envelope.ts";
import { backoffSeconds, type Death, type Delivery, type Verdict } from "../handling/claims.ts";
import type { ReceiverPorts } from "../receiving/receiver.ts";
import { clean } from "../trace/log.ts";
import { publish } from "../trace/trace.ts";
import { deadReasonAttribute, fromRecord, toBody, toGroupId } from "./record.ts";
import { JsonSigner, trimmed } from "./signer.ts";

/**
 * A client that answers within the receiver's budget: two attempts of 0.5 s each. All three timeouts
 * are needed, since `requestTimeout` alone only logs a warning and lets a stalled call go on.
 */
export function sqsClient(overrides: Partial<SQSClientConfig> = {}): SQSClient {
  const client = new SQSClient({
    maxAttempts: 2,
    signerConstructor: JsonSigner,
    requestHandler: { connectionTimeout: 250, requestTimeout: 500, throwOnRequestTimeout: true, socketTimeout: 500 },
    ...overrides,
  });
  return trimmed(client);
}

/**
 * Does all of a send but the sending, while the function starts: it compiles what the first event would wait
 * for with a fraction of a CPU, reads the credentials and prepares TLS. Nothing leaves the process, and
 * nothing hangs on it: whatever fails here fails again, and is told, with the first event.
 */
export async function rehearse(client: SQSClient, queueUrl: string): Promise<void> {
  const MessageBody = "{}";
  const body = Buffer.from(JSON.stringify({ MessageId: "rehearsal", MD5OfMessageBody: hash("md5", MessageBody) }));
  const headers = { "content-type": "application/x-amz-json-1.0" };
  const requestHandler = { handle: async () => ({ response: { statusCode: 200, headers, body } }) };
  const actor = sqsClient({
    requestHandler: requestHandler as unknown as NonNullable<SQSClientConfig["requestHandler"]>,
  });
  try {
    createSecureContext();
    await Promise.all([
      client.config.credentials(),
      actor.send(new SendMessageCommand({ QueueUrl: queueUrl, MessageBody })),
    ]);
  } catch {
    // See above.
  }
}

type Client = Pick<SQSClient, "send">;

/** The receiver's two ports: both resolve when SQS has confirmed the message (the SDK compares its checksum). */
export function receiverQueues(
  client: Client,
  urls: { eventsQueueUrl: string; quarantineQueueUrl: string },
): ReceiverPorts {
  return {
    async send(envelope, signal) {
      await client.send(
        new SendMessageCommand({
          QueueUrl: urls.eventsQueueUrl,
          MessageBody: toBody(envelope),
          ...(envelope.tenant === null ? undefined : { MessageGroupId: toGroupId(envelope.tenant) }),
        }),
        { abortSignal: signal },
      );
    },
    async quarantine(envelope, signal) {
      await client.send(
        new SendMessageCommand({
          QueueUrl: urls.quarantineQueueUrl,
          MessageBody: toBody(envelope),
          MessageAttributes: attributes({ reason: envelope.reason }),
        }),
        { abortSignal: signal },
      );
    },
  };
}

/** The platform must have the answer before the job runs: a card that is updated earlier jumps back. */
const deferSeconds = 3;

/** Stores what a callback put off; resolves when SQS has confirmed it. */
export function deferTo(client: Client, eventsQueueUrl: string) {
  return async (job: JobEnvelope, signal: AbortSignal): Promise<void> => {
    await client.send(
      new SendMessageCommand({
        QueueUrl: eventsQueueUrl,
        MessageBody: toBody(job),
        DelaySeconds: deferSeconds,
        ...(job.tenant === null ? undefined : { MessageGroupId: toGroupId(job.tenant) }),
      }),
      { abortSignal: signal },
    );
  };
}

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

async function quarantine(
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

/** String attributes, those without a value left out: SQS refuses an empty one. */
function attributes(values: Readonly<Record<string, string | undefined>>): Record<string, MessageAttributeValue> {
  return Object.fromEntries(
    Object.entries(values).flatMap(([name, value]) =>
      value ? [[name, { DataType: "String", StringValue: value }]] : [],
    ),
  );
}

function isoTime(epochMs: number): string | undefined {
  return Number.isFinite(epochMs) && epochMs > 0 ? new Date(epochMs).toISOString() : undefined;
}
