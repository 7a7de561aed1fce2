import {
  DeleteMessageBatchCommand,
  type Message,
  type MessageAttributeValue,
  ReceiveMessageCommand,
  type SQSClient,
} from "@aws-sdk/client-sqs";
import type { SQSRecord } from "aws-lambda";

export interface PollerOptions {
  readonly client: SQSClient;
  readonly queueUrl: string;
  readonly batchSize: number;
  /** Batches at the same time. */
  readonly concurrency: number;
  readonly invoke: (event: { Records: SQSRecord[] }) => Promise<unknown>;
  /** Resolves when the worker can be invoked: a message is not taken, and its attempt not counted, before. */
  readonly whenUp: () => Promise<void>;
  /** Whether the worker's process has ended on its own not long ago. */
  readonly hasCrashed: () => boolean;
  readonly onProblem: (problem: string) => void;
}

/** Short, since an aborted long poll still takes the next message: polls are left to finish. */
const waitSeconds = 1;
const pauseMs = 500;

/** The event source mapping: receives, invokes the worker, deletes what its answer allows. */
export function startPoller(options: PollerOptions): { stop: () => Promise<void>; drained: () => Promise<void> } {
  const { client, queueUrl, batchSize, concurrency } = options;
  const running = new Set<Promise<void>>();
  const stopping = new AbortController();
  const stopped = new Promise<void>((resolve) => stopping.signal.addEventListener("abort", () => resolve()));

  const loop = async () => {
    while (!stopping.signal.aborted) {
      const free = concurrency - running.size;
      if (free <= 0) {
        await Promise.race(running);
        continue;
      }
      await Promise.race([options.whenUp(), stopped]);
      if (stopping.signal.aborted) return;
      try {
        const max = Math.min(10, free * batchSize);
        const { Messages = [] } = await client.send(
          new ReceiveMessageCommand({
            QueueUrl: queueUrl,
            MaxNumberOfMessages: max,
            WaitTimeSeconds: waitSeconds,
            MessageAttributeNames: ["All"],
            MessageSystemAttributeNames: ["All"],
          }),
        );
        for (let from = 0; from < Messages.length; from += batchSize) {
          const messages = Messages.slice(from, from + batchSize);
          // Here all invocations share a process, which on Lambda each has for itself. Where it has ended of late, what
          // comes back may be what ended it: it runs alone, and takes nothing else with it.
          const isAgain = messages.some(({ Attributes }) => Number(Attributes?.ApproximateReceiveCount) > 1);
          if (isAgain && options.hasCrashed()) {
            await Promise.all(running);
            await runBatch(messages, options);
            continue;
          }
          const batch = runBatch(messages, options).finally(() => running.delete(batch));
          running.add(batch);
        }
      } catch (error) {
        if (stopping.signal.aborted) return;
        options.onProblem(`cannot receive from the queue: ${error instanceof Error ? error.message : error}`);
        await new Promise((resolve) => setTimeout(resolve, pauseMs));
      }
    }
  };
  const looping = loop();
  return {
    /** Takes no further message. */
    async stop() {
      stopping.abort();
      await looping;
    },
    /** Resolves when the batches under way are settled. */
    async drained() {
      await Promise.all(running);
    },
  };
}

async function runBatch(messages: Message[], options: PollerOptions): Promise<void> {
  const records = messages.map(toRecord);
  try {
    const response = await options.invoke({ Records: records });
    const done = deletable(records, response);
    if (done.length === 0) return;
    await options.client.send(
      new DeleteMessageBatchCommand({
        QueueUrl: options.queueUrl,
        Entries: done.map(({ receiptHandle }, index) => ({ Id: String(index), ReceiptHandle: receiptHandle })),
      }),
    );
  } catch (error) {
    // Nothing is deleted: the queue shows the records again after their visibility timeout.
    options.onProblem(`a batch comes back: ${error instanceof Error ? error.message.split("\n", 1)[0] : error}`);
  }
}

/**
 * The records that Lambda deletes for an answer (with `ReportBatchItemFailures`): all of them when the list
 * is empty or missing, none when an id is empty or unknown, else those that are not named.
 * https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
 */
export function deletable(records: readonly SQSRecord[], response: unknown): readonly SQSRecord[] {
  if (response === null || response === undefined) return records;
  if (typeof response !== "object") return [];
  const failures = new Map(Object.entries(response)).get("batchItemFailures");
  if (failures === undefined || failures === null) return records;
  if (!Array.isArray(failures)) return [];
  const known = new Set(records.map(({ messageId }) => messageId));
  const failed = new Set<string>();
  for (const failure of failures) {
    const id: unknown = (failure as { itemIdentifier?: unknown } | null | undefined)?.itemIdentifier;
    if (typeof id !== "string" || !known.has(id)) return [];
    failed.add(id);
  }
  return records.filter(({ messageId }) => !failed.has(messageId));
}

/** An SQS message as Lambda hands it to a function. */
export function toRecord(message: Message): SQSRecord {
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
    eventSourceARN: "arn:aws:sqs:us-east-1:000000000000:events",
    awsRegion: "us-east-1",
  };
}

function toAttribute({ StringValue, DataType }: MessageAttributeValue): SQSRecord["messageAttributes"][string] {
  return {
    ...(StringValue === undefined ? undefined : { stringValue: StringValue }),
    dataType: (DataType ?? "String") as "String",
    stringListValues: [],
    binaryListValues: [],
  };
}
