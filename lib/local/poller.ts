import type { Message, MessageAttributeValue, SQS } from "@aws-sdk/client-sqs";
import type { SQSRecord } from "aws-lambda";
import { pause, systemClock } from "../clock.ts";
import { ProcessEndedError } from "./process.ts";

/** The SDK's client, or one of `exchange.ts`. */
export type PollerClient = Pick<SQS, "receiveMessage" | "deleteMessageBatch" | "changeMessageVisibilityBatch">;

interface PollerOptions {
  readonly client: PollerClient;
  readonly queueUrl: string;
  readonly batchSize: number;
  /** How many batches run at the same time. */
  readonly concurrency: number;
  /** How long a poll waits for a message, and so `stop`: an aborted poll would still receive the next one. */
  readonly waitSeconds?: number;
  /** The queue's. */
  readonly visibilityTimeoutSeconds: number;
  readonly invoke: (event: { Records: SQSRecord[] }) => Promise<unknown>;
  /** Resolves when the worker can be invoked. No message is received before that, because SQS counts each receive. */
  readonly whenUp: () => Promise<void>;
  /** Whether the worker's process crashed recently. */
  readonly hasCrashed: () => boolean;
  readonly onProblem: (problem: string) => void;
}

/** The delay after a receive that failed. */
const pauseMs = 500;
const region = "us-east-1";

/** Lambda's event source mapping: receives messages, invokes the worker, and deletes the messages it has handled. */
export function startPoller(options: PollerOptions): { stop: () => Promise<void>; drained: () => Promise<void> } {
  const { client, queueUrl, batchSize, concurrency, waitSeconds = 1 } = options;
  const running = new Set<Promise<void>>();
  const stopping = new AbortController();
  const stopped = new Promise<void>((resolve) => stopping.signal.addEventListener("abort", () => resolve()));
  // SQS gives out several messages of a FIFO queue's group at once, and none behind a message that was received before.
  const most = queueUrl.endsWith(".fifo") ? 1 : 10;

  const loop = async () => {
    while (!stopping.signal.aborted) {
      const free = concurrency - running.size;
      if (free === 0) {
        await Promise.race([...running, stopped]);
        continue;
      }
      await Promise.race([options.whenUp(), stopped]);
      if (stopping.signal.aborted) return;
      try {
        const max = Math.min(most, free * batchSize);
        const { Messages = [] } = await client.receiveMessage({
          QueueUrl: queueUrl,
          MaxNumberOfMessages: max,
          WaitTimeSeconds: waitSeconds,
          MessageAttributeNames: ["All"],
          MessageSystemAttributeNames: ["All"],
        });
        let hasWaited = false;
        for (let from = 0; from < Messages.length; from += batchSize) {
          let messages = Messages.slice(from, from + batchSize);
          // Here all invocations share one process; on Lambda, each has its own. After a crash, a redelivered record may
          // be the one that caused it, so it runs alone.
          const isRedelivered = messages.some(({ Attributes }) => Number(Attributes?.ApproximateReceiveCount) > 1);
          const isAlone = isRedelivered && options.hasCrashed();
          if (isAlone) await Promise.race([Promise.all(running), stopped]);
          hasWaited ||= isAlone;
          if (hasWaited) messages = await hiddenAnew(messages, options);
          if (messages.length === 0) continue;
          const batch = runBatch(messages, options).finally(() => running.delete(batch));
          running.add(batch);
          if (isAlone) await Promise.race([batch, stopped]);
        }
      } catch (error) {
        if (stopping.signal.aborted) return;
        options.onProblem(`cannot receive from the queue: ${error instanceof Error ? error.message : error}`);
        await pause(systemClock, pauseMs, stopping.signal);
      }
    }
  };
  const looping = loop();
  return {
    /** Receives no further message. */
    async stop() {
      stopping.abort();
      await looping;
    },
    /** Resolves when every running batch has ended, and its handled messages are deleted. */
    async drained() {
      await Promise.all(running);
    },
  };
}

async function runBatch(messages: Message[], options: PollerOptions): Promise<void> {
  const records = messages.map((message) => toRecord(message, options.queueUrl));
  try {
    const response = await options.invoke({ Records: records });
    const done = deletable(records, response);
    if (done.length === 0) return;
    await options.client.deleteMessageBatch({
      QueueUrl: options.queueUrl,
      Entries: done.map(({ receiptHandle }, index) => ({ Id: String(index), ReceiptHandle: receiptHandle })),
    });
  } catch (error) {
    // No message is deleted, so SQS delivers the records again after their visibility timeout.
    const isCutOff = error instanceof ProcessEndedError;
    const again = isCutOff && (await returnSooner(messages, options).catch(() => undefined));
    const seconds = again || options.visibilityTimeoutSeconds;
    const count = messages.length === 1 ? "an event" : `${messages.length} events`;
    const reason = error instanceof Error ? error.message.split("\n", 1)[0] : error;
    const claim = isCutOff ? ". Until the claim of a run that was cut off ends, its event stays busy" : "";
    options.onProblem(`${count} will be tried again in ${seconds} s: ${reason}${claim}`);
  }
}

/**
 * Hides messages for their whole time from now on.
 * @returns Those that can still be hidden. The others are visible again, and may be received again.
 */
async function hiddenAnew(messages: Message[], options: PollerOptions): Promise<Message[]> {
  const hidden = await hide(messages, options.visibilityTimeoutSeconds, options);
  return messages.filter((_, index) => hidden.has(String(index)));
}

/**
 * Makes records visible whose process has ended: nothing works on them. The wait grows, because they may be the cause.
 * @returns The wait in seconds.
 */
async function returnSooner(messages: Message[], options: PollerOptions): Promise<number> {
  const receives = Math.max(...messages.map(({ Attributes }) => Number(Attributes?.ApproximateReceiveCount ?? 1)));
  const seconds = Math.min(options.visibilityTimeoutSeconds, 2 ** Math.min(receives - 1, 16));
  await hide(messages, seconds, options);
  return seconds;
}

/** @returns The places in `messages` of those that are hidden. */
async function hide(messages: Message[], seconds: number, options: PollerOptions): Promise<Set<string | undefined>> {
  const Entries = messages.map(({ ReceiptHandle }, index) => ({
    Id: String(index),
    ReceiptHandle,
    VisibilityTimeout: seconds,
  }));
  const { Successful = [] } = await options.client.changeMessageVisibilityBatch({
    QueueUrl: options.queueUrl,
    Entries,
  });
  return new Set(Successful.map(({ Id }) => Id));
}

/**
 * The records that Lambda deletes for an answer (with `ReportBatchItemFailures`): all when the list is empty or missing,
 * none when an id is empty or unknown, and otherwise those that the list does not name.
 * https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
 */
export function deletable(records: readonly SQSRecord[], response: unknown): readonly SQSRecord[] {
  if (response === null || response === undefined) return records;
  if (typeof response !== "object") return [];
  const failures = new Map(Object.entries(response)).get("batchItemFailures");
  if (failures === undefined || failures === null) return records;
  if (!Array.isArray(failures)) return [];
  const ids = new Set(records.map(({ messageId }) => messageId));
  const failed = new Set<string>();
  for (const failure of failures) {
    const id: unknown = (failure as { itemIdentifier?: unknown } | null | undefined)?.itemIdentifier;
    if (typeof id !== "string" || !ids.has(id)) return [];
    failed.add(id);
  }
  return records.filter(({ messageId }) => !failed.has(messageId));
}

/** An SQS message as Lambda passes it to a function. Of the ARN, the worker reads the queue's name alone. */
export function toRecord(message: Message, queueUrl: string): SQSRecord {
  const [account, queue] = queueUrl.split("/").slice(-2);
  const attributes = message.Attributes ?? {};
  return {
    messageId: message.MessageId ?? "",
    receiptHandle: message.ReceiptHandle ?? "",
    body: message.Body ?? "",
    attributes: attributes as unknown as SQSRecord["attributes"],
    messageAttributes: Object.fromEntries(
      Object.entries(message.MessageAttributes ?? {}).map(([name, value]) => [name, toAttribute(value)]),
    ),
    md5OfBody: message.MD5OfBody ?? "",
    eventSource: "aws:sqs",
    eventSourceARN: `arn:aws:sqs:${region}:${account}:${queue}`,
    awsRegion: region,
  };
}

function toAttribute({ StringValue, DataType = "String" }: MessageAttributeValue) {
  return { stringValue: StringValue, dataType: DataType as "String", stringListValues: [], binaryListValues: [] };
}
