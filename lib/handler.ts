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
import type { CheckedCard } from "./feishu/checked-card.ts";
import type { MessageResource } from "./message.ts";
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
export type { CardFinding, CheckedCard } from "./feishu/checked-card.ts";
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
 * Payloads that the official SDK does not type. Declare one beside its handler:
 *
 * ```ts
 * declare module "larkpost" {
 *   interface EventTypes { "approval_instance": { instance_code: string; status: string } }
 * }
 * ```
 */
// biome-ignore lint/suspicious/noEmptyInterface: it is merged into by handler files.
export interface EventTypes {}

/** Members of the envelope that the SDK's types mix into the payload. A handler finds them in its `Context`. */
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
/** In schema 1.0 the SDK's types require `ts` and `uuid`, and `type`, `app_id` and `tenant_key` belong to the event. */
type Payload<P> = P extends { ts: string; uuid: string } ? Omit<P, EnvelopeV1> : Omit<P, EnvelopeV2>;

export type EventType = keyof EventTypes | keyof EventHandles;
export type EventOf<T extends EventType> = T extends keyof EventTypes
  ? EventTypes[T]
  : T extends keyof EventHandles
    ? Payload<SdkPayload<T>>
    : never;

/** A logger for handlers. It prints texts and fields as they are: put no message texts, names or secrets in them. */
export interface HandlerLog {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
}
export type LogFields = Readonly<Record<string, string | number | boolean | null | undefined>>;

/** What a handler can call. */
export interface Tools {
  /**
   * Your own secrets, by the names that `larkpost.config.js` lists. Reading another name, or one that is not stored,
   * throws a {@link ConfigError}.
   */
  readonly secrets: Secrets;
  /** Signs your own text with a key that is derived from the app's secret. The signature is never valid for a card's value. */
  sign(text: string): Promise<string>;
  /** Used by {@link signValue}; call that instead. */
  signCard(card: CardContent): Promise<string>;
  /**
   * The official client of the Open API, with its `messageCard` (`defaultCard` and others). It is loaded at the first
   * call. It adds tokens, retries and the deadline, and sends a message once, also when the handler runs again. A call
   * rejects as {@link Tools.request} does, also for an HTTP 200 whose `code` is not 0. (The `…WithIterator` methods do
   * not report a failed page: they end, or return `null`.)
   */
  lark(): Promise<LarkClient>;
  /**
   * Calls the Open API without the official client, which is large: `request("POST", "/open-apis/im/v1/messages", …)`.
   * On create, reply and forward it sets a `uuid`, unless you set one.
   *
   * @returns The answer's JSON: `{ code: 0, data, … }`.
   * @throws {OpenApiError} The call failed. {@link RetryLaterError} when the platform asks for a pause, and
   * {@link NonRetryableError} when it will fail again: a recalled message, a bot that is not in the chat. The `cause` of
   * both is the OpenApiError.
   */
  request(method: string, path: string, options?: RequestOptions): Promise<ApiAnswer>;
  /**
   * Replies to the message that the event is about: the one that came, that was reacted to, or whose card was clicked.
   * In a thread it replies in the thread. Rejects as {@link Tools.request} does.
   *
   * It is sent once, although the handler runs again: its `uuid` is made of the event and of how many replies the run has
   * sent before. So call it in the same order in each run. Feishu knows a `uuid` for an hour:
   * https://open.feishu.cn/document/uAjLw4CM/ukTMukTMukTM/reference/im-v1/message/reply
   */
  reply(content: MessageContent): Promise<{ readonly messageId: string }>;
  /**
   * Sends a message to a chat or a person: by `oc_…`, `ou_…`, `on_…` or an email address; by another id with its type.
   * As with {@link Tools.reply}, it is sent once within an hour.
   */
  send(to: Receiver, content: MessageContent): Promise<{ readonly messageId: string }>;
  /**
   * A file of a message, as `resourcesOf` names it.
   * @param options.maxBytes 32 MB by default. A larger file is not read to its end, and throws a {@link NonRetryableError}.
   */
  download(resource: MessageResource, options?: { readonly maxBytes?: number }): Promise<DownloadedFile>;
  /**
   * The text of the message that came, as `textOf` reads it, without the mention of this bot. `""` for other events.
   * If the message mentions somebody who may be a bot, Feishu is asked once in each process who this bot is.
   */
  text(): Promise<string>;
  /** Whether the message that came mentions this bot; see {@link Tools.text}. A direct message does not. */
  mentionsMe(): Promise<boolean>;
}

/** Bytes, or where they are: a path, or the key of a file that is at Feishu already (`img_…`, `file_…`). */
type FileSource = string | Uint8Array | AsyncIterable<Uint8Array | string>;

/** What a message says: a text, Markdown, an image, a file, or a card: its JSON, or as an answer has it. */
export type MessageContent =
  | string
  | { readonly markdown: string }
  /** At most 10 MB. It is uploaded first. */
  | { readonly image: FileSource }
  /** At most 30 MB. It is uploaded first. The default name is the path's last part. */
  | { readonly file: FileSource; readonly name?: string }
  | RawCard
  | TemplateCard
  | { readonly [member: string]: unknown; readonly markdown?: never; readonly image?: never; readonly file?: never };

/** Where a message goes. */
export type Receiver =
  | string
  | { readonly type: "chat_id" | "open_id" | "union_id" | "user_id" | "email"; readonly id: string };

export interface DownloadedFile {
  readonly bytes: Buffer;
  /** As `resourcesOf` has it: chosen by the sender, without folders. */
  readonly name: string | null;
  /** As Feishu calls it, like `image/png`. */
  readonly type: string | null;
}

/** The official client. In a marketplace app it acts in the event's tenant, or in the tenant of `withTenantKey`. */
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

/** What a handler gets in addition to the event itself. */
export interface Context extends Tools {
  /** The event's id, the same on every push. Pass it on as the idempotency key of what you call. */
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
  /** `X-Tt-Logid`, for Feishu's support. */
  readonly requestId: string | null;
  readonly transport: "webhook" | "long-connection";
  /** How many runs of the event have started, with this one. */
  readonly attempt: number;
  /** Aborted at the handler's deadline. Pass it to `fetch`. */
  readonly signal: AbortSignal;
  /** Milliseconds until then. */
  remainingMs(): number;
  readonly log: HandlerLog;
  /** The event's JSON as the platform sent it, with all digits of 64-bit numbers. */
  readonly raw: string;
  /**
   * Puts work off: the file's `deferred` gets the payload in the worker, with retries of its own, as soon as possible or
   * after `delaySeconds` (0 to 900). Resolves once the payload is stored, which happens before the run counts as handled.
   * Call it as often as you like, but in the same order in each run: what a run defers n-th is done once, however often
   * the handler runs. In `deferred` it makes a chain, which waits for something without failing; `maxDeferrals` and
   * `deferForSeconds` in larkpost.config.js end it, and `defer` then rejects with a {@link NonRetryableError}.
   */
  defer(payload: unknown, options?: { readonly delaySeconds?: number }): Promise<void>;
  /**
   * Puts an emoji on the message that the event is about, like `OnIt`, until this run ends, however it ends. The ledger
   * has it before Feishu does: if the process dies, the next run removes it, or the death of the event. (With
   * `dedupe: "off"` there is no ledger, so it stays if the process dies.) If it cannot be removed, the log says so.
   * The names: https://open.feishu.cn/document/uAjLw4CM/ukTMukTMukTM/reference/im-v1/message-reaction/emojis-introduce
   */
  react(emoji: string): Promise<void>;
}

/** What a callback's handler gets. It ends within seconds, so it has no `react`. */
export interface CallbackContext extends Omit<Context, "react"> {
  /** Whether this app signed the card's value ({@link signValue}). The handler gets a signed value unpacked. */
  readonly isSigned: boolean;
  /** What the value was signed for; `null` without a purpose or a signature. */
  readonly purpose: string | null;
}

/** What deferred work gets. Its id is stable, and differs from that of the event or callback. */
interface Deferred extends Context {
  /** How many runs of deferred work the chain has with this one: 1 for what the handler itself deferred. */
  readonly depth: number;
  /** When the chain began, in epoch milliseconds. */
  readonly chainStartedAtMs: number;
}

/** What the deferred work of an event gets. */
export interface DeferredEventContext<T extends EventType | "_default" = "_default"> extends Deferred {
  readonly event: T extends EventType ? EventOf<T> : Readonly<Record<string, unknown>>;
}

/** What the deferred work of a callback gets. It runs 3 seconds after the callback at the earliest. */
export interface DeferredContext<T extends CallbackType = CallbackType> extends Deferred {
  /** The callback as it came. A signed value is not unpacked here, so pass what you need of it in the payload. */
  readonly callback: CallbackOf<T>;
  /**
   * Updates the card that was clicked, by its JSON or a template: at most twice, within 30 minutes of the click.
   * @throws {CardTokenError} Its token is expired or used up. Uncaught, it sends the work to the dead-letter queue.
   */
  updateCard(card: Readonly<Record<string, unknown>> | RawCard | TemplateCard): Promise<void>;
}

/** What `onGiveUp` gets. Nothing may follow, so it has neither `defer` nor `react`. */
export interface GiveUpContext extends Omit<Context, "defer" | "react"> {
  /** What was deferred, if it is deferred work that died. */
  readonly payload?: unknown;
}

/** Why an event, or deferred work, died. */
export interface Death {
  /** It threw a {@link NonRetryableError}, its last attempt failed, or its last runs ended the process. */
  readonly reason: "nonRetryable" | "attemptsExhausted" | "deadly";
  /** How many runs have started. */
  readonly attempts: number;
  /** What the last run threw, as the log has it: the message only where it may be logged. None if the process ended. */
  readonly error?:
    | {
        readonly name: string;
        readonly code?: string | undefined;
        readonly message?: string | undefined;
        /** The place in your code. */
        readonly at?: string | undefined;
      }
    | undefined;
}

export type KeyContext = Pick<Context, "id" | "type" | "app" | "tenant">;

/** Returning means done. Throwing means retry; see `RetryLaterError` and `NonRetryableError`. */
export type Handle<E> = (event: E, context: Context) => unknown;

export interface HandlerOptions<E> {
  /**
   * Events with the same key run once. By default, and for an empty key, the key is the event's id. Feishu advises the
   * message id for messages, since a repeated push may have another event id.
   */
  readonly key?: (event: E, context: KeyContext) => string | null | undefined;
  /**
   * `required` (the default): the ledger sees to it that at most one run completes. `off`: for a handler that may as well
   * run twice. It saves the ledger's two writes, and gives up what they are for: an event that comes twice runs twice,
   * also at the same time; a delivery counts as a run, also when the handler did not start; and an event that ends the
   * process comes back until `maxReceiveCount`, in a lane with `order` until its `attempts` are used up.
   */
  readonly dedupe?: "required" | "off";
  /**
   * Runs the deferred work. Returning means done, and throwing means retry, as for an event. It runs outside the order of
   * the event's lane, and once for each work that was deferred, also with `dedupe: "off"`.
   */
  deferred?(payload: unknown, context: Deferred & { readonly event: E }): unknown;
  /**
   * Runs once, in the worker, when the event or its deferred work has died and is in the dead-letter queue, so that nobody
   * waits for ever. It has 5 seconds at most, and no second attempt: its own failure is only logged.
   */
  onGiveUp?(event: E, context: GiveUpContext, death: Death): unknown;
}

export interface EventHandler<T extends EventType = EventType> extends HandlerOptions<EventOf<T>> {
  readonly type: T;
  readonly handle: Handle<EventOf<T>>;
}

export interface AnyEventHandler extends HandlerOptions<Readonly<Record<string, unknown>>> {
  readonly type: "_default";
  readonly handle: Handle<Readonly<Record<string, unknown>>>;
}

/** Declares the handler of one event type: the default export of the file that is named after the type. */
export function onEvent<T extends EventType>(
  type: T,
  handle: Handle<EventOf<T>>,
  options: HandlerOptions<EventOf<T>> = {},
): EventHandler<T> {
  return { ...options, type, handle };
}

/** Declares the handler of every event type without a file: the default export of `_default.ts`. */
export function onAnyEvent(
  handle: AnyEventHandler["handle"],
  options: HandlerOptions<Readonly<Record<string, unknown>>> = {},
): AnyEventHandler {
  return { ...options, type: "_default", handle };
}

/** The generated list: each type's file, loaded when it is needed. A file whose name and type differ does not compile. */
export type EventList = { readonly [T in EventType]?: () => Promise<{ default: EventHandler<T> }> } & {
  readonly _default?: () => Promise<{ default: AnyEventHandler }>;
};

/**
 * Callbacks by type: what they ask, and what may be answered. Declare a new type of the platform's as in
 * {@link EventTypes}, and add it to `callbackTypes` of `lib/feishu/classify.ts`. Until then it counts as an event.
 */
export interface CallbackTypes {
  "card.action.trigger": { asks: CardAction; takes: CardAnswer };
  "url.preview.get": { asks: UrlPreview; takes: UrlPreviewAnswer };
  /** The old card callback, which LEGACY_CARD_CALLBACK accepts. */
  "card.action.trigger_v1": { asks: OldCardAction; takes: OldCardAnswer };
  /** Feishu does not publish its shapes. */
  "profile.view.get": { asks: Readonly<Record<string, unknown>>; takes: Readonly<Record<string, unknown>> };
}

export type CallbackType = keyof CallbackTypes;
export type CallbackOf<T extends CallbackType> = CallbackTypes[T]["asks"];
export type AnswerTo<T extends CallbackType> = CallbackTypes[T]["takes"];

/** The callbacks that carry a card's value. */
export type CardCallbackType = "card.action.trigger" | "card.action.trigger_v1";

export interface CallbackOptions<T extends CallbackType> {
  /**
   * `required` (the default for cards): a callback that comes twice runs once, since the ledger stores its answer. While
   * the ledger cannot be reached, the person gets a message instead. `off` (the default for previews and profiles, which
   * change nothing): no answer is stored.
   */
  readonly dedupe?: "required" | "off";
  /**
   * Refuses a card whose value is not signed with {@link signValue}: for amounts, roles and ids. What the person typed
   * or picked (`option`, `form_value`) is not part of the value, and never signed. With `purposes`, the value must be
   * signed for one of them, which the context's `purpose` names. Without, the value must have no purpose.
   */
  readonly signedValues?: T extends CardCallbackType ? boolean | { readonly purposes: readonly string[] } : never;
  /** Runs the deferred work in the worker. Returning means done, and throwing means retry, as for an event. */
  deferred?(payload: unknown, context: DeferredContext<T>): unknown;
  /** Deferred work with the same key runs once, so a second click on one order does nothing. By default each click has its own. */
  deferredKey?(payload: unknown, context: KeyContext): string | null | undefined;
  /** Runs once when the deferred work has died, as that of an event. The callback itself was answered. */
  onGiveUp?(
    callback: CallbackOf<T>,
    context: GiveUpContext & Pick<DeferredContext<T>, "updateCard">,
    death: Death,
  ): unknown;
}

export interface CallbackHandler<T extends CallbackType = CallbackType> extends CallbackOptions<T> {
  readonly type: T;
  readonly handle: (
    callback: CallbackOf<T>,
    context: CallbackContext,
  ) => AnswerTo<T> | null | undefined | Promise<AnswerTo<T> | null | undefined>;
}

/**
 * Declares the handler of one callback type: the default export of the file that is named after the type. A person
 * waits: after 2.3 seconds a message replaces the answer, so defer slow work with `defer`.
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

/** An answer's `card`: a template of the card builder with its variables. */
export function templateCard(
  template_id: string,
  template_variable: TemplateCard["data"]["template_variable"] = {},
): TemplateCard {
  return { type: "template", data: { template_id, template_variable } };
}

/**
 * Checks a card by Feishu's rules before it is sent: its JSON, or an answer's `card`. The rules are loaded at the first
 * call.
 */
export async function checkCard(
  card: Readonly<Record<string, unknown>> | RawCard | TemplateCard,
): Promise<CheckedCard> {
  const { checkCard: check } = await import("./feishu/card.ts");
  return check(card.type === "raw" ? card["data"] : card);
}

/** The generated list of callbacks, like {@link EventList} for events. */
export type CallbackList = { readonly [T in CallbackType]?: () => Promise<{ default: CallbackHandler<T> }> };
