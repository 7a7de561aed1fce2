import type { Message, SQS } from "@aws-sdk/client-sqs";
import { askAws, countOf, type Look, receive } from "./sqs.ts";

/** How long a letter that was received is hidden from other desks. The alarm does not take it for a new one then. */
export const hiddenSeconds = 60;

interface Taking {
  /** The beginning of each message: `Cannot redrive`. */
  readonly cannot: string;
  readonly sqs: Pick<SQS, "receiveMessage" | "getQueueAttributes" | "changeMessageVisibilityBatch">;
  readonly url: string;
  /** Whether the letters are handled one after another. Of a group, a FIFO queue gives out no more until they are gone. */
  readonly isFifo?: boolean;
  /** Letters to receive at once. */
  readonly atOnce: number;
  /** Whether enough was taken. */
  readonly isEnough: () => boolean;
  readonly signal: AbortSignal;
  /** Called at the end with the receipts of the letters that are left, by message id. It deletes those that it takes. */
  readonly takeLeft?: (left: Map<string, string>) => Promise<void>;
}

/**
 * Receives a queue's letters and gives each to `handle` until every letter was seen. Those that it does not take are
 * shown again at the end; after `kill -9`, when they were hidden for a minute.
 * @param handle Resolves with whether it took the letter out of the queue.
 * @returns How many letters are there that were not seen: another desk has them, or one that was killed.
 */
export async function takeLetters(
  handle: (message: Message, receipt: string) => Promise<boolean>,
  { cannot, sqs, url, isFifo = false, atOnce, isEnough, signal, takeLeft }: Taking,
): Promise<number> {
  const left = new Map<string, string>();
  let isSeenAgain = 0;
  let empty = 0;
  let unseen = 0;
  try {
    while (!signal.aborted && !isEnough() && empty < 2 && isSeenAgain <= left.size) {
      const messages = await receive(cannot, sqs, url, { max: atOnce, hiddenSeconds, waitSeconds: 1 });
      empty = messages.length === 0 ? empty + 1 : 0;
      const take = async (message: Message) => {
        const { MessageId = "", ReceiptHandle = "" } = message;
        if (left.has(MessageId)) isSeenAgain++;
        else isSeenAgain = 0;
        const isNew = !left.has(MessageId);
        left.set(MessageId, ReceiptHandle);
        if (!isNew || signal.aborted || isEnough()) return;
        if (await handle(message, ReceiptHandle)) left.delete(MessageId);
      };
      if (isFifo) for (const message of messages) await take(message);
      const settled = isFifo ? [] : await Promise.allSettled(messages.map(take));
      const failed = settled.find(({ status }) => status === "rejected") as PromiseRejectedResult | undefined;
      if (failed !== undefined) throw failed.reason;
      if (messages.length === atOnce) continue;
      unseen = Math.max(0, (await countOf(cannot, sqs, url)) - left.size);
      if (unseen === 0) break;
    }
    await takeLeft?.(left);
  } finally {
    await showAgain(cannot, sqs, url, [...left.values()]);
  }
  return unseen;
}

/** In a second: at 0 the embedded SQS loses a message. */
async function showAgain(cannot: string, sqs: Taking["sqs"], url: string, receipts: readonly string[]): Promise<void> {
  for (let from = 0; from < receipts.length; from += 10) {
    const Entries = receipts
      .slice(from, from + 10)
      .map((ReceiptHandle, index) => ({ Id: String(index), ReceiptHandle, VisibilityTimeout: 1 }));
    const shown = sqs.changeMessageVisibilityBatch({ QueueUrl: url, Entries });
    await askAws(cannot, "sqs:ChangeMessageVisibility", shown);
  }
}

/**
 * Looks at a FIFO queue. What was received stays hidden until the end, since nothing is given out behind it: of each
 * group, ten letters at most are seen.
 */
export async function lookAtHeads(
  cannot: string,
  { sqs, url, most = Number.POSITIVE_INFINITY }: Pick<Taking, "sqs" | "url"> & { most: number | undefined },
): Promise<Look> {
  const messages: Message[] = [];
  const { signal } = new AbortController();
  const total = await countOf(cannot, sqs, url);
  const see = async (message: Message) => {
    messages.push(message);
    return false;
  };
  const isEnough = () => messages.length >= most;
  if (total > 0) await takeLetters(see, { cannot, sqs, url, isFifo: true, atOnce: 10, isEnough, signal });
  return { messages, total: Math.max(total, messages.length) };
}
