import { type Clock, pause } from "../../clock.ts";
import { classify } from "../../feishu/classify.ts";
import { type ClientView, clientView } from "./client-view.ts";
import { type Health, healthLog } from "./health.ts";
import type { PushResult } from "./push.ts";
import { type Attempt, pushWithRetries, retryDelaysMs } from "./retries.ts";

/** An event or a callback that the platform pushes to the app. */
export interface Message {
  readonly kind: "event" | "callback";
  readonly id: string;
  readonly type: string;
  /** The envelope's JSON text. */
  readonly text: string;
}

/**
 * Pushes a message once over some transport, and judges the answer as the platform does. A failed push is a result,
 * not a rejection.
 * @param push.number Counts the pushes of this message from 1.
 */
export type Deliver = (
  message: Message,
  push: { readonly number: number; readonly signal?: AbortSignal | undefined },
) => Promise<PushResult>;

/** How the pushes of a message ended. */
export interface Delivery {
  readonly message: Message;
  readonly attempts: readonly Attempt[];
  /** `failed`: the only push of a callback failed. `given-up`: the last push of an event failed. */
  readonly outcome: "delivered" | "given-up" | "failed";
  /** What the client shows for a callback's answer. */
  readonly view?: ClientView;
}

export interface PlatformOptions {
  readonly deliver: Deliver;
  readonly clock: Clock;
  /** In [0, 1). It decides which acknowledged events are pushed again. */
  readonly random: () => number;
  /** The delays between the pushes of an event. With none, an event is pushed once. */
  readonly delaysMs?: readonly number[] | undefined;
  /** Whether an event is pushed again after this answer; by default after any that does not acknowledge it. */
  readonly isRetried?: ((result: PushResult) => boolean) | undefined;
  /** The share of acknowledged events that are pushed once more, within `withinMs`. */
  readonly duplicates?: { readonly share: number; readonly withinMs: number } | undefined;
  /** Stops the retries: `push` then rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
  /** Called after each push. */
  readonly onAttempt?: ((message: Message, attempt: Attempt & { readonly isDuplicate: boolean }) => void) | undefined;
}

interface Platform {
  /**
   * Pushes a message, an event with retries. Resolves when the message is delivered, or is not pushed again.
   * @param options.orderKey Events of one key are pushed in order: each waits until the one before it is acknowledged
   * or given up.
   */
  push(message: Message, options?: { orderKey?: string | undefined }): Promise<Delivery>;
  /** Resolves when no push, retry or duplicate is pending. */
  idle(): Promise<void>;
  health(): Health;
}

/**
 * The platform's sending side. It pushes an event until the event is acknowledged or given up, and some events once
 * more. It pushes a callback once.
 */
export function startPlatform(options: PlatformOptions): Platform {
  const { deliver, clock, random, delaysMs = retryDelaysMs, isRetried, duplicates, signal, onAttempt } = options;
  const health = healthLog();
  const queues = new Map<string, Promise<unknown>>();
  const pending = new Set<Promise<unknown>>();

  function track<T>(work: Promise<T>): Promise<T> {
    const ended = Promise.allSettled([work]);
    pending.add(ended);
    void ended.then(() => pending.delete(ended));
    return work;
  }

  async function pushOnce(message: Message, number: number, isDuplicate: boolean): Promise<Attempt> {
    const atMs = clock.nowMs();
    const result = await deliver(message, { number, signal });
    health.pushed(message.type, result, { atMs: clock.nowMs(), isDuplicate });
    const attempt = { number, atMs, result };
    onAttempt?.(message, { ...attempt, isDuplicate });
    return attempt;
  }

  async function pushCallback(message: Message): Promise<Delivery> {
    const attempt = await pushOnce(message, 1, false);
    const outcome = attempt.result.delivered ? "delivered" : "failed";
    return { message, attempts: [attempt], outcome, view: clientView(message.type, attempt.result) };
  }

  async function pushEvent(message: Message): Promise<Delivery> {
    const attempts = await pushWithRetries((number) => pushOnce(message, number, false), {
      clock,
      delaysMs,
      isRetried,
      signal,
    });
    const outcome = attempts.at(-1)?.result.delivered === true ? "delivered" : "given-up";
    if (outcome === "given-up") health.gaveUp({ id: message.id, type: message.type, atMs: clock.nowMs() });
    else if (duplicates !== undefined && random() < duplicates.share) {
      track(pushAgain(message, attempts.length + 1, random() * duplicates.withinMs)).catch(() => {});
    }
    return { message, attempts, outcome };
  }

  /** Feishu does not document whether a failed duplicate is retried. Here it is not: the event is acknowledged. */
  async function pushAgain(message: Message, number: number, delayMs: number): Promise<void> {
    await pause(clock, delayMs, signal);
    signal?.throwIfAborted();
    await pushOnce(message, number, true);
  }

  async function inOrder(key: string, work: () => Promise<Delivery>): Promise<Delivery> {
    const before = queues.get(key) ?? Promise.resolve();
    const running = before.then(work, work);
    queues.set(key, running);
    try {
      return await running;
    } finally {
      if (queues.get(key) === running) queues.delete(key);
    }
  }

  return {
    push(message, { orderKey } = {}) {
      if (message.kind === "callback") return track(pushCallback(message));
      return track(orderKey === undefined ? pushEvent(message) : inOrder(orderKey, () => pushEvent(message)));
    },
    async idle() {
      while (pending.size > 0) await Promise.all(pending);
    },
    health: () => health.report(clock.nowMs()),
  };
}

/** Reads kind, id and type from an envelope's text. A text that is not an envelope becomes an event without an id. */
export function toMessage(text: string): Message {
  const classified = classify(text);
  switch (classified.kind) {
    case "unreadable":
      return { kind: "event", id: "", type: "unreadable", text };
    case "challenge":
      return { kind: "event", id: "", type: "url_verification", text };
    default:
      return { kind: classified.kind, id: classified.id, type: classified.type, text };
  }
}
