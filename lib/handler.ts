import type { Client, EventHandles, messageCard, withTenantKey, withUserAccessToken } from "@larksuiteoapi/node-sdk";
import type {
  CardAction,
  CardAnswer,
  OldCardAction,
  OldCardAnswer,
  RawCard,
  TemplateCard,
  UrlPreview,
  UrlPreviewAnswer,
} from "./feishu/callback-types.ts";
import type { Secrets } from "./secrets.ts";
import type { CardContent } from "./signed-value.ts";

export {
  CardTokenError,
  ConfigError,
  HandlerTimeoutError,
  NonRetryableError,
  OpenApiError,
  RetryLaterError,
} from "./errors.ts";
export {
  type Bot,
  type Mention,
  type MessageResource,
  mentionsBot,
  type ReceivedMessage,
  resourcesOf,
  textOf,
} from "./message.ts";
export { signValue } from "./signed-value.ts";

/**
 * Payloads that the official SDK does not type, declared beside their handler:
 *
 * ```ts
 * declare module "larkpost" {
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

/** What a handler can call; the function that runs it says how. */
export interface Tools {
  /**
   * Your own secrets, by the names that `larkpost.config.js` lists. Reading another name, or one that is not stored,
   * throws a {@link ConfigError}.
   */
  readonly secrets: Secrets;
  /** Authenticates a text of your own under a key that is derived from the app's secret. It is never valid as a card's value. */
  sign(text: string): Promise<string>;
  /** Used by {@link signValue}; call that instead. */
  signCard(card: CardContent): Promise<string>;
  /**
   * The official client of the Open API, with its `messageCard` (`defaultCard` and friends). It is loaded when it is
   * first asked for. Tokens, retries and the time that is left are seen to, and what is sent again because the event
   * ran again is sent once. A call fails as {@link Tools.request} does, also where the answer was an HTTP 200 with
   * another `code` than 0. (Its `…WithIterator` methods do not say when a page fails: they end, or give `null`.)
   */
  lark(): Promise<LarkClient>;
  /**
   * Calls the Open API without the official client, which is large: `request("POST", "/open-apis/im/v1/messages", …)`.
   * On create, reply and forward it sets a `uuid`, unless there is one.
   *
   * @returns The answer's JSON: `{ code: 0, data, … }`.
   * @throws {OpenApiError} It failed; {@link RetryLaterError} when the platform asks for a pause;
   * {@link NonRetryableError} when it will fail again: a recalled message, a bot that is not in the chat, …
   * The `cause` of both is the OpenApiError.
   */
  request(method: string, path: string, options?: RequestOptions): Promise<ApiAnswer>;
}

/** The official client; in an app of the marketplace it acts in the event's tenant, or in the one of `withTenantKey`. */
export type LarkClient = Client & {
  readonly messageCard: typeof messageCard;
  readonly withTenantKey: typeof withTenantKey;
  readonly withUserAccessToken: typeof withUserAccessToken;
};

export interface RequestOptions {
  readonly body?: Readonly<Record<string, unknown>>;
  readonly query?: Readonly<Record<string, string | number | boolean | undefined>>;
}

export interface ApiAnswer {
  readonly code: number;
  // biome-ignore lint/suspicious/noExplicitAny: each path has its own shape.
  readonly data?: any;
}

/** What a handler knows besides the event itself. */
export interface Context extends Tools {
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

/** What a callback's handler knows and can do besides. */
export interface CallbackContext extends Context {
  /** Whether the card's value was signed by this app ({@link signValue}); such a value is given as it was before. */
  readonly isSigned: boolean;
  /** What the value was signed for; `null` where no purpose was given, and for a value that is not signed. */
  readonly purpose: string | null;
  /**
   * Puts work off until the answer is out: the file's `deferred` gets the payload in the worker, a few seconds
   * later, with retries. Resolves once that is stored. At most once a callback.
   */
  defer(payload: unknown): Promise<void>;
}

/** What deferred work knows: its id is stable, and another one than the callback's. */
export interface DeferredContext<T extends CallbackType = CallbackType> extends Context {
  /** What the callback asked, as it came: a signed value is still packed, so what is needed of it goes into the payload. */
  readonly callback: CallbackOf<T>;
  /**
   * Updates the card that was clicked (its JSON, or a template): twice at most, within 30 minutes of the click.
   * @throws {CardTokenError} By then its credential is over. Uncaught, it ends the work in the dead-letter queue.
   */
  updateCard(card: Readonly<Record<string, unknown>> | RawCard | TemplateCard): Promise<void>;
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

/**
 * Callbacks by type: what they ask, and what may be answered. A type that the platform adds is merged into it, as
 * into {@link EventTypes}, and named in `callbackTypes` of `lib/feishu/classify.ts`: till then it counts as an event.
 */
export interface CallbackTypes {
  "card.action.trigger": { asks: CardAction; takes: CardAnswer };
  "url.preview.get": { asks: UrlPreview; takes: UrlPreviewAnswer };
  /** The old card callback; LEGACY_CARD_CALLBACK lets it in. */
  "card.action.trigger_v1": { asks: OldCardAction; takes: OldCardAnswer };
  /** Its shapes are not published. */
  "profile.view.get": { asks: Readonly<Record<string, unknown>>; takes: Readonly<Record<string, unknown>> };
}

export type CallbackType = keyof CallbackTypes;
export type CallbackOf<T extends CallbackType> = CallbackTypes[T]["asks"];
export type AnswerTo<T extends CallbackType> = CallbackTypes[T]["takes"];

/** The types of callbacks that bring a card's value along. */
export type CardCallbackType = "card.action.trigger" | "card.action.trigger_v1";

export interface CallbackOptions<T extends CallbackType> {
  /**
   * Whether a callback that comes twice is run once. `required` (the default for cards): the ledger remembers its
   * answer, and while the ledger cannot be reached the user gets a message instead. `off` (the default for previews
   * and profiles, which change nothing): nothing is remembered.
   */
  readonly dedupe?: "required" | "off";
  /**
   * Refuses a card whose value is not signed with {@link signValue}: for amounts, roles and ids. What the person typed
   * or picked (`option`, `form_value`, …) is not part of the value, and never signed. With `purposes`, the
   * value must be signed for one of them, and the context's `purpose` says for which. Without, it must have no purpose.
   */
  readonly signedValues?: T extends CardCallbackType ? boolean | { readonly purposes: readonly string[] } : never;
  /** Runs in the worker what `defer` put off: returning means done, throwing means retry, as for an event. */
  deferred?(payload: unknown, context: DeferredContext<T>): unknown;
}

export interface CallbackHandler<T extends CallbackType = CallbackType> extends CallbackOptions<T> {
  readonly type: T;
  readonly handle: (
    callback: CallbackOf<T>,
    context: CallbackContext,
  ) => AnswerTo<T> | null | undefined | Promise<AnswerTo<T> | null | undefined>;
}

/**
 * Declares who answers a callback type; the default export of the file that is named after it. The user waits:
 * what is not returned within 2.3 seconds is replaced by a message, and slow work is put off with `defer`.
 */
export function onCallback<T extends CallbackType>(
  type: T,
  handle: CallbackHandler<T>["handle"],
  options: CallbackOptions<T> = {},
): CallbackHandler<T> {
  return { ...options, type, handle };
}

/** An answer's `card`: a card's JSON. */
export function rawCard(data: RawCard["data"]): RawCard {
  return { type: "raw", data };
}

/** An answer's `card`: a template of the card builder, with its variables. */
export function templateCard(
  template_id: string,
  template_variable: TemplateCard["data"]["template_variable"] = {},
): TemplateCard {
  return { type: "template", data: { template_id, template_variable } };
}

/** The generated list of callbacks, as {@link EventList} is of events. */
export type CallbackList = { readonly [T in CallbackType]?: () => Promise<{ default: CallbackHandler<T> }> };
