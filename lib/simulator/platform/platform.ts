import type { Clock } from "../../clock.ts";
import { classify } from "../../feishu/classify.ts";
import { type ClientView, clientView } from "./client-view.ts";
import { type Health, healthLog } from "./health.ts";
import { type Attempt, climb, ladderMs, wait } from "./ladder.ts";
import type { PushResult } from "./push.ts";

/** What the platform has to say to the app: an envelope's JSON text, and what it says of itself. */
export interface Message {
  readonly kind: "event" | "callback";
  readonly id: string;
  readonly type: string;
  readonly text: string;
}

/**
 * One push of a message over some transport, judged as the platform does. Total: a failure is a result.
 * @param push.number Which push of the message this is, from 1.
 */
export type Deliver = (
  message: Message,
  push: { readonly number: number; readonly signal?: AbortSignal | undefined },
) => Promise<PushResult>;

/** What became of a message. */
export interface Delivery {
  readonly message: Message;
  readonly attempts: readonly Attempt[];
  /** `failed`: a callback, which is pushed once. `given-up`: an event whose last push failed. */
  readonly outcome: "delivered" | "given-up" | "failed";
  /** Of a callback: what the client shows. */
  readonly view?: ClientView;
}

export interface PlatformOptions {
  readonly deliver: Deliver;
  readonly clock: Clock;
  /** In [0, 1); draws which events are pushed again although they were acknowledged. */
  readonly random: () => number;
  /** Waits between the pushes of an event; without any, it is pushed once. */
  readonly waitsMs?: readonly number[] | undefined;
  /** Events that are pushed once more after they were acknowledged: their share, and how much later at most. */
  readonly duplicates?: { readonly share: number; readonly withinMs: number } | undefined;
  /** Ends all waiting; what is under way then rejects with its reason. */
  readonly signal?: AbortSignal | undefined;
  /** Is told every push as soon as it is over. */
  readonly onAttempt?: ((message: Message, attempt: Attempt & { readonly isDuplicate: boolean }) => void) | undefined;
}

export interface Platform {
  /**
   * Pushes a message, an event again and again as the ladder says, and resolves once it is decided.
   * @param options.orderKey Events of one key are ordered: none is pushed before the one ahead of it was
   * acknowledged or given up.
   */
  push(message: Message, options?: { orderKey?: string | undefined }): Promise<Delivery>;
  /** Resolves once every message and every duplicate so far is decided. */
  settled(): Promise<void>;
  health(): Health;
}

/**
 * The sending side of the platform: pushes events until they are acknowledged or given up, keeps the order
 * of those that have one, repeats some for no reason, and asks callbacks once.
 */
export function startPlatform(options: PlatformOptions): Platform {
  const { deliver, clock, random, waitsMs = ladderMs, duplicates, signal, onAttempt } = options;
  const health = healthLog();
  const queues = new Map<string, Promise<unknown>>();
  const open = new Set<Promise<unknown>>();

  function keep<T>(work: Promise<T>): Promise<T> {
    const ended = work.then(
      () => {},
      () => {},
    );
    open.add(ended);
    void ended.then(() => open.delete(ended));
    return work;
  }

  async function post(message: Message, number: number, isDuplicate: boolean): Promise<Attempt> {
    const atMs = clock.nowMs();
    const result = await deliver(message, { number, signal });
    health.pushed(message.type, result, { atMs: clock.nowMs(), isDuplicate });
    const attempt = { number, atMs, result };
    onAttempt?.(message, { ...attempt, isDuplicate });
    return attempt;
  }

  async function ask(message: Message): Promise<Delivery> {
    const attempt = await post(message, 1, false);
    const outcome = attempt.result.delivered ? "delivered" : "failed";
    return { message, attempts: [attempt], outcome, view: clientView(message.type, attempt.result) };
  }

  async function tell(message: Message): Promise<Delivery> {
    const attempts = await climb((number) => post(message, number, false), { clock, waitsMs, signal });
    const outcome = attempts.at(-1)?.result.delivered === true ? "delivered" : "given-up";
    if (outcome === "given-up") health.gaveUp({ id: message.id, type: message.type, atMs: clock.nowMs() });
    else if (duplicates !== undefined && random() < duplicates.share) {
      // Whether such a push is repeated when it fails is not documented: the app has acknowledged the event.
      const repeat = wait(clock, random() * duplicates.withinMs, signal).then(() =>
        post(message, attempts.length + 1, true),
      );
      keep(repeat).catch(() => {});
    }
    return { message, attempts, outcome };
  }

  async function inOrder(key: string, work: () => Promise<Delivery>): Promise<Delivery> {
    const ahead = queues.get(key) ?? Promise.resolve();
    const own = ahead.then(work, work);
    queues.set(key, own);
    try {
      return await own;
    } finally {
      if (queues.get(key) === own) queues.delete(key);
    }
  }

  return {
    push(message, { orderKey } = {}) {
      if (message.kind === "callback") return keep(ask(message));
      return keep(orderKey === undefined ? tell(message) : inOrder(orderKey, () => tell(message)));
    },
    async settled() {
      while (open.size > 0) await Promise.all(open);
    },
    health: () => health.report(clock.nowMs()),
  };
}

/** A message out of an envelope's text; one that no receiver can read is an event without an id. */
export function toMessage(text: string): Message {
  const found = classify(text);
  switch (found.kind) {
    case "unreadable":
      return { kind: "event", id: "", type: "unreadable", text };
    case "challenge":
      return { kind: "event", id: "", type: "url_verification", text };
    default:
      return { kind: found.kind, id: found.id, type: found.type, text };
  }
}
