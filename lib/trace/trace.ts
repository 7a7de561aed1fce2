/** What can be observed on an event's way: in the request up to `answered`, then in the worker (where `quarantined` may come, too). */
export type Stage =
  | "misconfigured"
  | "received"
  | "challenged"
  | "refused"
  | "queued"
  | "quarantined"
  | "misdirected"
  | "unavailable"
  | "answered"
  | "connected"
  | "disconnected"
  | "ignored"
  | "started"
  | "duplicate"
  | "busy"
  | "unhandled"
  | "handled"
  | "deferred"
  | "late"
  | "failed"
  | "dead"
  | "leaked"
  | "lease-lost"
  | "log";

export type Level = "debug" | "info" | "warn" | "error";

export interface TraceEntry {
  readonly stage: Stage;
  readonly level: Level;
  /** Event id, event type and app as the platform gave them: outside input, to be cleaned before it is printed. */
  readonly id?: string | undefined;
  readonly type?: string | undefined;
  readonly app?: string | null | undefined;
  /** Milliseconds since the request, or this attempt, began. */
  readonly ms?: number | undefined;
  readonly requestId?: string | null | undefined;
  /** Facts of the stage: numbers, booleans and words from our own code; never a header, a payload or a secret. */
  readonly facts?: Readonly<Record<string, string | number | boolean | null | undefined>> | undefined;
  /** What was thrown. Its message may hold a payload: a subscriber prints the class and the place, not the text. */
  readonly error?: unknown;
}

export type Subscriber = (entry: TraceEntry) => unknown;

const subscribers = new Map<string, Subscriber>();

/** Adds a subscriber under a name; the same name replaces it (`"log"` is the logger). Returns its removal. */
export function subscribe(name: string, subscriber: Subscriber): () => void {
  subscribers.set(name, subscriber);
  return () => {
    if (subscribers.get(name) === subscriber) subscribers.delete(name);
  };
}

export function isSubscribed(name: string): boolean {
  return subscribers.has(name);
}

/** Tells every subscriber. One that throws, now or in a promise, cannot disturb the flow. */
export function publish(entry: TraceEntry): void {
  for (const subscriber of subscribers.values()) {
    try {
      const result = subscriber(entry);
      if (result instanceof Promise) result.catch(() => {});
    } catch {
      // An observer's fault is not the event's.
    }
  }
}
