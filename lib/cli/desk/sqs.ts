import type { Message, SQS } from "@aws-sdk/client-sqs";
import { CommandError } from "../command.ts";
import { reasonWithAdvice } from "../deploy/clients.ts";

// Calls of SQS for a person at a shell.

/** What was seen of a queue. */
export interface Look {
  readonly messages: readonly Message[];
  /** How many messages the queue says it has. */
  readonly total: number;
}

/** So many receives in a row without a new message end a look: SQS picks by chance, and may never show the rest. */
const patience = 40;
const receivesAtOnce = 4;

/** Receives with a visibility timeout of 0 until every message was seen, or nothing new comes. */
export async function lookByReceives(
  cannot: string,
  options: {
    sqs: SQS;
    url: string;
    onSeen: ((seen: number, total: number) => void) | undefined;
    most: number | undefined;
  },
): Promise<Look> {
  const { sqs, url, onSeen, most = Number.POSITIVE_INFINITY } = options;
  const total = await countOf(cannot, sqs, url);
  const seen = new Map<string, Message>();
  let idle = 0;
  const receiveAll = async () => {
    while (seen.size < Math.min(total, most) && idle < patience) {
      const before = seen.size;
      const messages = await receive(cannot, sqs, url, { max: 10, hiddenSeconds: 0 });
      for (const message of messages) seen.set(message.MessageId ?? "", message);
      idle = seen.size > before ? 0 : idle + 1;
      onSeen?.(seen.size, total);
    }
  };
  await Promise.all(Array.from({ length: receivesAtOnce }, receiveAll));
  return { messages: [...seen.values()], total: Math.max(total, seen.size) };
}

export async function receive(
  cannot: string,
  sqs: Pick<SQS, "receiveMessage">,
  url: string,
  { max, hiddenSeconds, waitSeconds = 0 }: { max: number; hiddenSeconds: number; waitSeconds?: number },
): Promise<Message[]> {
  const { Messages = [] } = await askAws(
    cannot,
    "sqs:ReceiveMessage",
    sqs.receiveMessage({
      QueueUrl: url,
      MaxNumberOfMessages: max,
      VisibilityTimeout: hiddenSeconds,
      WaitTimeSeconds: waitSeconds,
      MessageAttributeNames: ["All"],
      MessageSystemAttributeNames: ["SentTimestamp", "MessageGroupId", "DeadLetterQueueSourceArn"],
    }),
  );
  return Messages;
}

/** Visible, hidden and delayed messages. */
export async function countOf(cannot: string, sqs: Pick<SQS, "getQueueAttributes">, url: string): Promise<number> {
  const kinds = ["", "NotVisible", "Delayed"].map((kind) => `ApproximateNumberOfMessages${kind}` as const);
  const { Attributes = {} } = await askAws(
    cannot,
    "sqs:GetQueueAttributes",
    sqs.getQueueAttributes({ QueueUrl: url, AttributeNames: kinds as "ApproximateNumberOfMessages"[] }),
  );
  return Object.values(Attributes).reduce((sum, count) => sum + Number(count), 0);
}

/**
 * AWS's answer.
 * @throws {CommandError} One line: the fault's name, and for a right that is missing that right.
 */
export async function askAws<T>(cannot: string, right: string, answer: Promise<T>): Promise<T> {
  try {
    return await answer;
  } catch (error) {
    throw new CommandError(`${cannot}: ${reasonWithAdvice(error, right)}`, { cause: error });
  }
}
