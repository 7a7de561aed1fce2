import type { EventHandles } from "@larksuiteoapi/node-sdk";

/**
 * Payloads that the official SDK does not type, declared beside their handler:
 *
 * ```ts
 * declare module "../../lib/handler.ts" {
 *   interface EventTypes { "approval_instance": { instance_code: string; status: string } }
 * }
 * ```
 */
// biome-ignore lint/suspicious/noEmptyInterface: it is merged into by handler files.
export interface EventTypes {}

/** Members of the envelope that the SDK's types mix into the payload; here they are in `Context`. */
type EnvelopeV2 =
  | "event_id"
  | "token"
  | "create_time"
  | "event_type"
  | "tenant_key"
  | "ts"
  | "uuid"
  | "type"
  | "app_id";
type EnvelopeV1 = "ts" | "uuid" | "token";

type SdkPayload<T extends keyof EventHandles> = Parameters<NonNullable<EventHandles[T]>>[0];
/** The SDK marks every envelope member optional in 2.0; in 1.0 they are required, and `type`, `app_id`, `tenant_key` are the event's own. */
type Payload<P> = P extends { ts: string; uuid: string } ? Omit<P, EnvelopeV1> : Omit<P, EnvelopeV2>;

export type EventType = keyof EventTypes | keyof EventHandles;
export type EventOf<T extends EventType> = T extends keyof EventTypes
  ? EventTypes[T]
  : T extends keyof EventHandles
    ? Payload<SdkPayload<T>>
    : never;

/** A logger for handlers. Texts and fields are printed as given: put no message texts, names or secrets in them. */
export interface HandlerLog {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
}
export type LogFields = Readonly<Record<string, string | number | boolean | null | undefined>>;

/** What a handler knows besides the event itself. */
export interface Context {
  /** Identity of the event, the same on every push: pass it on as the idempotency key of what you call. */
  readonly id: string;
  readonly type: string;
  /** App id (`cli_…`) and tenant key; `null` when the event names none. */
  readonly app: string | null;
  readonly tenant: string | null;
  readonly schema: "1.0" | "2.0";
  /** The envelope's other members (`resource_id`, `user_list`, …); the token is emptied. */
  readonly header: Readonly<Record<string, unknown>>;
  /** Epoch milliseconds; `null` when the platform gave no time. */
  readonly createdAtMs: number | null;
  /** For the vendor's support: `X-Tt-Logid`. */
  readonly requestId: string | null;
  readonly transport: "webhook" | "long-connection";
  /** Which delivery of the record this is, from 1. */
  readonly attempt: number;
  /** Aborted when the handler's time is over: pass it to `fetch` and the like. */
  readonly signal: AbortSignal;
  readonly log: HandlerLog;
  /** The event's JSON as the platform sent it: 64-bit numbers are whole here. */
  readonly raw: string;
}

export type KeyContext = Pick<Context, "id" | "type" | "app" | "tenant">;

/** Returning means done; throwing means retry; see `RetryLaterError` and `NonRetryableError`. */
export type Handle<E> = (event: E, context: Context) => unknown;

export interface HandlerOptions<E> {
  /**
   * What makes two events one: by default the event's id. The platform itself advises the message id
   * for messages, since a repeated push may carry another event id. Empty or absent: the id counts.
   */
  readonly key?: (event: E, context: KeyContext) => string | null | undefined;
}

export interface EventHandler<T extends EventType = EventType> extends HandlerOptions<EventOf<T>> {
  readonly type: T;
  readonly handle: Handle<EventOf<T>>;
}

export interface AnyEventHandler extends HandlerOptions<Readonly<Record<string, unknown>>> {
  readonly type: "_default";
  readonly handle: Handle<Readonly<Record<string, unknown>>>;
}

/** Declares the handler of one event type; the default export of the file that is named after it. */
export function onEvent<T extends EventType>(
  type: T,
  handle: Handle<EventOf<T>>,
  options: HandlerOptions<EventOf<T>> = {},
): EventHandler<T> {
  return { ...options, type, handle };
}

/** Declares the handler of every event type that has no file: the default export of `_default.ts`. */
export function onAnyEvent(
  handle: AnyEventHandler["handle"],
  options: HandlerOptions<Readonly<Record<string, unknown>>> = {},
): AnyEventHandler {
  return { ...options, type: "_default", handle };
}

/** The generated list: each type's file, loaded when it is needed. A file whose name and type differ does not fit. */
export type EventList = { readonly [T in EventType]?: () => Promise<{ default: EventHandler<T> }> } & {
  readonly _default?: () => Promise<{ default: AnyEventHandler }>;
};
