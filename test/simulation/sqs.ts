import { hash } from "node:crypto";
import type { SQSRecord } from "aws-lambda";
import { record } from "../support/events.ts";

export interface QueueOptions {
  readonly visibilityTimeoutSeconds: number;
  /** Where a message goes that was received so often. */
  readonly redrive?: { readonly to: string; readonly maxReceiveCount: number };
}

export interface Message {
  readonly id: string;
  readonly body: string;
  readonly attributes: Readonly<Record<string, { readonly StringValue?: string | undefined }>>;
  readonly groupId: string | undefined;
  readonly deduplicationId: string | undefined;
  readonly sentAtMs: number;
  firstReceivedAtMs: number;
  receives: number;
  /** Of the last receive. */
  receipt: string | undefined;
  /** Until then it is hidden. */
  visibleAtMs: number;
}

type Input = Readonly<Record<string, unknown>>;

/** SQS forgets a deduplication id after five minutes. */
const deduplicationMs = 300_000;

/**
 * The model of SQS: standard and FIFO queues on a clock of their own, in memory and without promises. A test compares it
 * with the embedded SQS. A FIFO queue's name ends with `.fifo`. Of a group, a receive gives one message.
 *
 * @param options.newId Makes a unique text.
 * @param options.onChange A receive from the queue at that time may give more than one before.
 */
export function createSqs(options: {
  readonly nowMs: () => number;
  readonly newId: () => string;
  readonly onChange?: (queue: string, atMs: number) => void;
}) {
  const { nowMs, newId, onChange = () => {} } = options;
  const queues = new Map<string, ReturnType<typeof createQueue>>();

  function createQueue(name: string, { visibilityTimeoutSeconds, redrive }: QueueOptions) {
    const isFifo = name.endsWith(".fifo");
    /** By group. A standard queue has one, in which nothing waits for another. */
    const groups = new Map<string, { readonly visible: Message[]; isLocked: boolean }>();
    /** The groups from which a message can be received. */
    const open = new Set<string>();
    const inFlight = new Map<string, Message>();
    const hidden = createSchedule<{ readonly message: Message; readonly receipt: string | undefined }>();
    const sent = new Map<string, { readonly id: string; readonly atMs: number }>();

    function groupOf({ groupId = "" }: Message) {
      const key = isFifo ? groupId : "";
      const group = groups.get(key) ?? { visible: [], isLocked: false };
      groups.set(key, group);
      const changed = () => {
        if (group.visible.length > 0 && !group.isLocked) open.add(key);
        else open.delete(key);
      };
      return { group, changed };
    }

    function show(message: Message, place: "push" | "unshift"): void {
      const { group, changed } = groupOf(message);
      group.visible[place](message);
      changed();
      onChange(name, nowMs());
    }

    function hide(message: Message, seconds: number): void {
      message.visibleAtMs = nowMs() + 1000 * seconds;
      hidden.add(message.visibleAtMs, { message, receipt: message.receipt });
      onChange(name, message.visibleAtMs);
    }

    /** Ends a message's receive, so that the next one of its group may be received. */
    function release(message: Message): void {
      if (message.receipt !== undefined) inFlight.delete(message.receipt);
      message.receipt = undefined;
      const { group, changed } = groupOf(message);
      group.isLocked = false;
      changed();
      onChange(name, nowMs());
    }

    function showAgain(message: Message): void {
      release(message);
      show(message, isFifo ? "unshift" : "push");
    }

    function showDue(): void {
      for (const { message, receipt } of hidden.takeUntil(nowMs())) {
        // It was deleted, shown before, or hidden for another time.
        const isStale = receipt !== undefined && !inFlight.has(receipt);
        if (isStale || message.visibleAtMs > nowMs()) continue;
        showAgain(message);
      }
    }

    function receive(max: number): Message[] {
      showDue();
      const received: Message[] = [];
      while (received.length < max) {
        const [key] = open;
        const group = groups.get(key ?? "");
        const message = group?.visible.shift();
        if (key === undefined || group === undefined || message === undefined) break;
        if (group.visible.length === 0) open.delete(key);
        message.receives++;
        message.firstReceivedAtMs ||= nowMs();
        if (redrive !== undefined && message.receives > redrive.maxReceiveCount) {
          named(redrive.to).enqueue(message);
          continue;
        }
        message.receipt = newId();
        inFlight.set(message.receipt, message);
        if (isFifo) {
          group.isLocked = true;
          open.delete(key);
        }
        hide(message, visibilityTimeoutSeconds);
        received.push(message);
      }
      return received;
    }

    return {
      receive,
      enqueue: (message: Message) => show(message, "push"),
      send(message: Message, delaySeconds: number): string {
        const { id, deduplicationId } = message;
        if (deduplicationId !== undefined) {
          const earlier = sent.get(deduplicationId);
          if (earlier !== undefined && nowMs() - earlier.atMs < deduplicationMs) return earlier.id;
          sent.set(deduplicationId, { id, atMs: nowMs() });
        }
        if (delaySeconds > 0) hide(message, delaySeconds);
        else show(message, "push");
        return id;
      },
      delete(receipt: string): void {
        const message = inFlight.get(receipt);
        if (message !== undefined) release(message);
      },
      changeVisibility(receipt: string, seconds: number): void {
        const message = inFlight.get(receipt);
        if (message === undefined) throw awsError("MessageNotInflight");
        if (seconds > 0) hide(message, seconds);
        else showAgain(message);
      },
      isFifo,
      /** Messages that are visible or hidden. */
      count: () => [...groups.values()].reduce((sum, { visible }) => sum + visible.length, 0) + inFlight.size,
    };
  }

  function named(name: string) {
    const queue = queues.get(name);
    if (queue === undefined) throw awsError("QueueDoesNotExist");
    return queue;
  }

  return {
    createQueue: (name: string, given: QueueOptions) => void queues.set(name, createQueue(name, given)),
    receive: (name: string, max: number) => named(name).receive(max),
    delete: (name: string, receipt: string) => named(name).delete(receipt),
    count: (name: string) => named(name).count(),
    /** A call of the worker or of a receiver. @throws An error with the name that the embedded SQS gives it. */
    call(action: string, input: Input): object {
      const queue = named(String(input["QueueUrl"]).replace(/^.*\//, ""));
      if (action === "ChangeMessageVisibility") {
        queue.changeVisibility(String(input["ReceiptHandle"]), Number(input["VisibilityTimeout"]));
        return {};
      }
      if (action !== "SendMessage") throw new TypeError(`The queues do not know ${action}`);
      const groupId = input["MessageGroupId"] as string | undefined;
      const deduplicationId = input["MessageDeduplicationId"] as string | undefined;
      const delaySeconds = Number(input["DelaySeconds"] ?? 0);
      if (queue.isFifo && groupId === undefined) throw awsError("MissingParameter");
      if (queue.isFifo && (deduplicationId === undefined || delaySeconds > 0)) throw awsError("InvalidParameterValue");
      const body = String(input["MessageBody"]);
      const message: Message = {
        id: newId(),
        body,
        attributes: (input["MessageAttributes"] ?? {}) as Message["attributes"],
        groupId,
        deduplicationId: queue.isFifo ? deduplicationId : undefined,
        sentAtMs: nowMs(),
        firstReceivedAtMs: 0,
        receives: 0,
        receipt: undefined,
        visibleAtMs: nowMs(),
      };
      return { MessageId: queue.send(message, delaySeconds), MD5OfMessageBody: hash("md5", body) };
    },
  };
}

export type Sqs = ReturnType<typeof createSqs>;

/** A message as Lambda passes it to a function. */
export function toRecord(
  message: Pick<Message, "id" | "body" | "groupId" | "receives" | "sentAtMs" | "firstReceivedAtMs">,
  { receipt = "", queue }: { readonly receipt: string | undefined; readonly queue: string },
): SQSRecord {
  const { id, body, groupId, receives, sentAtMs, firstReceivedAtMs } = message;
  const made = record(body, { id, attempt: receives });
  const attributes = {
    ...made.attributes,
    SentTimestamp: String(sentAtMs),
    ApproximateFirstReceiveTimestamp: String(firstReceivedAtMs),
    ...(groupId === undefined ? undefined : { MessageGroupId: groupId }),
  };
  const eventSourceARN = made.eventSourceARN.replace(/[^:]+$/, queue);
  return { ...made, receiptHandle: receipt, attributes, eventSourceARN };
}

function awsError(name: string): Error {
  return Object.assign(new Error(`the queue refuses it: ${name}`), { name });
}

/** What is due, by its time; of the same time, in the order in which it was added. */
export function createSchedule<T>() {
  const heap: { readonly atMs: number; readonly nth: number; readonly value: T }[] = [];
  let added = 0;
  const isBefore = (a: number, b: number): boolean => {
    const [one, other] = [heap[a], heap[b]];
    if (one === undefined || other === undefined) return one !== undefined;
    return one.atMs === other.atMs ? one.nth < other.nth : one.atMs < other.atMs;
  };
  const swap = (a: number, b: number): void => {
    const [one, other] = [heap[a], heap[b]];
    if (one !== undefined && other !== undefined) [heap[a], heap[b]] = [other, one];
  };
  function take(): T | undefined {
    const first = heap[0];
    const last = heap.pop();
    if (heap.length > 0 && last !== undefined) heap[0] = last;
    for (let at = 0; ; ) {
      const least = isBefore(2 * at + 2, 2 * at + 1) ? 2 * at + 2 : 2 * at + 1;
      if (!isBefore(least, at)) break;
      swap(at, least);
      at = least;
    }
    return first?.value;
  }
  return {
    nextAtMs: (): number | undefined => heap[0]?.atMs,
    add(atMs: number, value: T): void {
      heap.push({ atMs, nth: added++, value });
      for (let at = heap.length - 1; at > 0 && isBefore(at, (at - 1) >> 1); at = (at - 1) >> 1) swap(at, (at - 1) >> 1);
    },
    take,
    *takeUntil(atMs: number): Generator<T> {
      while ((heap[0]?.atMs ?? Number.POSITIVE_INFINITY) <= atMs) yield take() as T;
    },
  };
}
