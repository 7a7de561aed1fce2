import type { ErrorDescription } from "./error.ts";

/** The points of an event's path: up to `answered` in the request, then in the worker (`quarantined` in both). */
export type Stage =
  | "misconfigured"
  | "stale-keys"
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
  | "called"
  | "duplicate"
  | "busy"
  | "postponed"
  | "unhandled"
  | "stale"
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
  /** Event id, event type and app as the platform sent them: outside text, to be cleaned before it is printed. */
  readonly id?: string | undefined;
  readonly type?: string | undefined;
  readonly app?: string | null | undefined;
  /** Milliseconds since the request, or this attempt, began. */
  readonly ms?: number | undefined;
  readonly requestId?: string | null | undefined;
  /** Numbers, booleans and words of our own code, never a header, a payload or a secret. */
  readonly facts?: Readonly<Record<string, string | number | boolean | null | undefined>> | undefined;
  /** What was thrown. A subscriber prints its class and places, but not its message, which may hold a payload. */
  readonly error?: unknown;
  /** Instead of `error`, or of describing it again. */
  readonly description?: ErrorDescription | undefined;
}

export type Subscriber = (entry: TraceEntry) => unknown;

const subscribers = new Map<string, Subscriber>();

/**
 * Adds a subscriber, in place of an earlier one of the same name (`log` is the logger's).
 * @returns Removes it.
 */
export function subscribe(name: string, subscriber: Subscriber): () => void {
  subscribers.set(name, subscriber);
  return () => {
    if (subscribers.get(name) === subscriber) subscribers.delete(name);
  };
}

export function isSubscribed(name: string): boolean {
  return subscribers.has(name);
}

/** Calls every subscriber. An error of one, thrown or in a promise, is ignored: the event's path goes on. */
export function publish(entry: TraceEntry): void {
  for (const subscriber of subscribers.values()) {
    try {
      const result = subscriber(entry);
      if (result instanceof Promise) result.catch(() => {});
    } catch {}
  }
}
