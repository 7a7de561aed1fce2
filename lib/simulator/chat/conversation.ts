import type { Clock } from "../../clock.ts";
import { isObject, parseObject } from "../../feishu/json.ts";
import type { EventOf } from "../../handler.ts";
import { Refusal, refused } from "../open-api/answer.ts";
import type { CardToken } from "../open-api/cards.ts";
import type { Message } from "../open-api/messages.ts";
import type { OpenApi, UserMessage } from "../open-api/open-api.ts";
import { mentionKey } from "../open-api/received.ts";
import type { ClientView } from "../platform/client-view.ts";
import { type Deliver, type Message as PushedMessage, startPlatform, toMessage } from "../platform/platform.ts";
import { type Attempt, retryDelaysMs } from "../platform/retries.ts";
import { defaultTenant, groupChat, type Person, people, seconds } from "../samples/facts.ts";
import { sampleEnvelope } from "../samples/samples.ts";
import { type Act, type Place, postOf, receivedEvent } from "./acts.ts";
import { actionWith, type Field, FieldError, isMoment, readField, timezone } from "./card-fields.ts";
import { cardView } from "./card-view.ts";
import { createJournal, type Fact } from "./journal.ts";
import { chatView, messageView } from "./message-view.ts";
import { trackOutcomes } from "./outcomes.ts";

/** The user cannot do this. The message is for the person at the terminal. */
export class RefusedAction extends Error {
  override readonly name = "RefusedAction";
}

interface ConversationOptions {
  readonly api: OpenApi;
  /** Over any transport. */
  readonly deliver: Deliver;
  readonly appId: string;
  readonly clock: Clock;
  readonly random: () => number;
  /** Returns a new id of 32 hex digits. */
  readonly newId: () => string;
}

/**
 * Users, Mei and Tomas, who talk to the bot, directly or in the group. What they say and do is pushed as the platform
 * pushes it, and so are the events that follow from what the bot does. What that is is recorded.
 */
export function startConversation(options: ConversationOptions) {
  const { api } = options;
  const stopping = new AbortController();
  const { record, ...journal } = createJournal();
  const pushes = startPushes(options, record, stopping.signal);

  const unsubscribes = [
    api.onMessage(({ what, message, streamed }) => {
      const view = messageView(message, api.world.chat(message.chatId), api.shownContent(message));
      record({ what: what === "created" ? "said" : what, by: "bot", message: view, streamed });
    }),
    api.onActivity(({ what: did, about, chatId }) => {
      const chat = chatId === undefined ? null : chatView(chatId, api.world.chat(chatId));
      record({ what: "did", did, about, chat });
    }),
    api.onApproval(({ approvalCode, instanceCode, status, startedAtMs, endedAtMs, uuid }) => {
      const time = String(endedAtMs ?? startedAtMs);
      const times = { operate_time: time, instance_operate_time: time };
      const event = { approval_code: approvalCode, instance_code: instanceCode, status, ...times };
      pushes.botEvent("approval_instance", uuid === "" ? event : { ...event, uuid });
    }),
  ];

  return {
    ...createActing(options, pushes),
    ...createChoosing(options, record, pushes),
    ...journal,
    onStage: pushes.onStage,
    /** Stops all retries. */
    stop(): void {
      for (const unsubscribe of unsubscribes) unsubscribe();
      stopping.abort(new Error("the conversation is over"));
    },
  };
}

export type Conversation = ReturnType<typeof startConversation>;

type Journal = ReturnType<typeof createJournal>;
type Pushes = ReturnType<typeof startPushes>;

/** Pushes events and callbacks, and records the events that do not arrive. */
function startPushes(options: ConversationOptions, record: Journal["record"], signal: AbortSignal) {
  const { deliver, appId, clock, random, newId } = options;
  const platform = startPlatform({ deliver, clock, random, signal, onAttempt });
  const outcomes = trackOutcomes(record);

  function onAttempt(
    { kind, id }: PushedMessage,
    { number, result: { delivered, problem = "failed" } }: Attempt,
  ): void {
    if (kind === "event" && !delivered) {
      record({ what: "undelivered", id, problem, againMs: retryDelaysMs[number - 1] ?? null });
    }
  }

  function envelopeOf(type: string, event: object): PushedMessage {
    return toMessage(JSON.stringify(sampleEnvelope(type, { nowMs: clock.nowMs(), appId, newId }, event)));
  }

  return {
    /** Pushes an event that follows from what the bot did. */
    botEvent(type: string, event: object): void {
      platform.push(envelopeOf(type, event)).catch(() => {});
    },
    /** Pushes and records what a user did. @returns The event's id. */
    userEvent(type: string, event: object, fact: (id: string) => Fact): string {
      const pushed = envelopeOf(type, event);
      outcomes.eventPushed(pushed.id);
      record(fact(pushed.id));
      platform.push(pushed).catch(() => {});
      return pushed.id;
    },
    /** Pushes a click on a card. */
    callback(event: object) {
      const callback = envelopeOf("card.action.trigger", event);
      outcomes.callbackPushed(callback.id);
      return { id: callback.id, pushed: platform.push(callback) };
    },
    callbackAnswered: outcomes.callbackAnswered,
    onStage: outcomes.onStage,
  };
}

/** What users say and do, except choosing on cards. */
function createActing({ api, appId, clock }: ConversationOptions, { userEvent }: Pushes) {
  function chatOf(place: Place, as: Person): string {
    return place === "group" ? groupChat : api.world.receiver(appId, "open_id", people[as].ids.open_id).chatId;
  }

  function speak(as: Person, message: Omit<UserMessage, "userId">, shown?: string): string {
    const said = orRefuse(() => api.say({ ...message, userId: people[as].ids.open_id }));
    const chat = api.world.chat(said.chatId);
    const view = messageView(said, chat);
    const event = receivedEvent(said, as, chat?.kind ?? "group");
    return userEvent("im.message.receive_v1", event, (id) => {
      return { what: "said", by: "user", user: as, id, message: { ...view, text: shown ?? view.text } };
    });
  }

  function react(as: Person, messageId: string, emoji: string): string {
    const { ids } = people[as];
    const message = visibleMessage(api, messageId);
    orRefuse(() => api.react(message, ids.open_id, emoji));
    const event = {
      message_id: messageId,
      reaction_type: { emoji_type: emoji },
      operator_type: "user",
      user_id: ids,
      action_time: String(clock.nowMs()),
    } satisfies EventOf<"im.message.reaction.created_v1">;
    return userEvent("im.message.reaction.created_v1", event, (id) => acted(as, id, `reacts with ${emoji}`));
  }

  return {
    /**
     * A user says something. In the group they mention the bot.
     * @returns The event's id.
     * @throws {RefusedAction} The text is empty or too long.
     */
    say(text: string, place: Place, as: Person = "mei"): string {
      const content = JSON.stringify({ text: place === "group" ? `${mentionKey} ${text}` : text });
      return speak(as, { chatId: chatOf(place, as), content }, text);
    },
    /** @returns The event's id. @throws {RefusedAction} */
    act(act: Act, as: Person): string {
      const { ids, name } = people[as];
      switch (act.does) {
        case "image":
        case "file": {
          const key = api.keep(act.does, act.bytes);
          const content = act.does === "image" ? { image_key: key } : { file_key: key, file_name: act.name };
          return speak(as, { chatId: chatOf(act.chat, as), msgType: act.does, content: JSON.stringify(content) });
        }
        case "post":
          return speak(as, { chatId: chatOf(act.chat, as), msgType: "post", content: postOf(act) });
        case "thread": {
          const thread = inThread(api, act.messageId);
          const isGroup = api.world.chat(thread.chatId)?.kind !== "p2p";
          const content = JSON.stringify({ text: isGroup ? `${mentionKey} ${act.text}` : act.text });
          return speak(as, { ...thread, content }, act.text);
        }
        case "react":
          return react(as, act.messageId, act.emoji);
        case "menu": {
          const event = {
            operator: { operator_name: name, operator_id: ids },
            event_key: act.key,
            timestamp: seconds(clock.nowMs()),
          } satisfies EventOf<"application.bot.menu_v6">;
          return userEvent("application.bot.menu_v6", event, (id) => acted(as, id, `chooses ${act.key} in the menu`));
        }
        case "enter": {
          const event = { chat_id: chatOf("p2p", as), operator_id: ids };
          const type = "im.chat.access_event.bot_p2p_chat_entered_v1";
          return userEvent(type, event, (id) => acted(as, id, "opens the chat"));
        }
      }
    },
  };
}

/** What users choose on cards. */
function createChoosing({ api, newId }: ConversationOptions, record: Journal["record"], pushes: Pushes) {
  function contentShown(messageId: string): string {
    const message = api.message(messageId);
    return message === undefined ? "" : api.shownContent(message);
  }

  async function recordAnswer({ id, pushed }: ReturnType<Pushes["callback"]>, clicked: CardToken): Promise<void> {
    const { messageId, token } = clicked;
    const { attempts, view: shown } = await pushed;
    const result = attempts.at(-1)?.result;
    if (shown === undefined || result === undefined) return;
    const card = shown.isTaken ? cardIn(result.body) : undefined;
    const fault = card === undefined ? undefined : replacementFault(api, card, contentShown(messageId));
    const view = fault ?? shown;
    record({ what: "answered", id, messageId, view, ...pushes.callbackAnswered(id) });
    if (result.delivered) api.callbackAnswered(token, view.isTaken ? card : undefined);
  }

  return {
    /**
     * A user makes a choice on a card, by its number.
     * @param on.version The state of the card that they have seen. A choice on another state is refused.
     * @param on.typed What they typed for each field that the choice asks for.
     * @returns The callback's id.
     * @throws {RefusedAction} There is no such choice, it sends no callback, or a field does not take what was typed.
     */
    choose(on: { messageId: string; version: number; number: number; typed?: readonly string[]; as?: Person }): string {
      const { messageId, as = "mei" } = on;
      const { ids } = people[as];
      const message = api.message(messageId);
      if (message !== undefined && api.world.chat(message.chatId)?.users.has(ids.open_id) === false) {
        throw new RefusedAction(`${as} is not in that chat`);
      }
      const action = actionOn(message, on, contentShown(messageId));
      const token = `c-${newId()}`;
      const context = { open_message_id: messageId, open_chat_id: message?.chatId };
      const operator = { tenant_key: defaultTenant, ...ids };
      api.registerCardToken({ token, messageId });
      const callback = pushes.callback({ operator, token, action, host: "im_message", context });
      recordAnswer(callback, { token, messageId }).catch(() => {});
      return callback.id;
    },
  };
}

/** @throws {RefusedAction} There is none, or it is recalled. */
function visibleMessage(api: OpenApi, messageId: string): Message {
  const message = api.message(messageId);
  if (message === undefined || message.isRecalled) throw new RefusedAction("there is no such message");
  return message;
}

function inThread(api: OpenApi, messageId: string): Pick<UserMessage, "chatId" | "rootId" | "parentId" | "threadId"> {
  const { chatId, rootId = messageId, threadId = `omt_${messageId.slice(3)}` } = visibleMessage(api, messageId);
  return { chatId, rootId, parentId: messageId, threadId };
}

function acted(user: Person, id: string, about: string): Fact {
  return { what: "acted", user, id, about };
}

function actionOn(
  message: Message | undefined,
  { version, number, typed = [] }: { version: number; number: number; typed?: readonly string[] },
  content: string,
): object {
  if (message === undefined || message.msgType !== "interactive") throw new RefusedAction("there is no such card");
  if (message.isRecalled) throw new RefusedAction("the card is recalled");
  if (message.history.length !== version) throw new RefusedAction("the card has changed since it was shown");
  const choice = cardView(content).choices[number - 1];
  if (choice === undefined) throw new RefusedAction(`the card has no [${number}]`);
  if (choice.does !== "callback") throw new RefusedAction("it sends no callback");
  const { action, asks, isSubmit } = choice;
  if (asks === undefined) return action;
  const values = asks.map((field, index) => ({ field, value: filled(field, typed[index] ?? "") }));
  const zone = asks.some(isMoment) || isSubmit ? { timezone } : {};
  const [first] = values;
  if (isSubmit !== true)
    return { ...action, ...zone, ...(first === undefined ? {} : actionWith(first.field, first.value)) };
  const filledIn = values.filter(({ value }) => value !== undefined).map(({ field, value }) => [field.name, value]);
  return { ...action, ...zone, form_value: Object.fromEntries(filledIn) };
}

function filled(field: Field, typed: string): unknown {
  try {
    return readField(field, typed);
  } catch (error) {
    if (error instanceof FieldError) throw new RefusedAction(error.message);
    throw error;
  }
}

/** The card of a callback's answer, as the content of a message. */
function cardIn(body: string): string | undefined {
  const card = parseObject(body)?.["card"];
  if (!isObject(card)) return undefined;
  return JSON.stringify(card["type"] === "template" ? { type: "template", data: card["data"] } : card["data"]);
}

/**
 * The error that the client shows when an answer's card cannot replace the clicked card.
 * https://open.feishu.cn/document/uAjLw4CM/ukzMukzMukzM/feishu-cards/handle-card-callbacks
 */
function replacementFault(api: OpenApi, card: string, clicked: string): ClientView | undefined {
  try {
    api.checkCard(card);
  } catch (error) {
    return { isTaken: false, code: 200673, problem: messageOf(error) };
  }
  const { schema, type } = parseObject(card) ?? {};
  // The version of a template is not known here.
  if (type === "template" || schema === "2.0" || parseObject(clicked)?.["schema"] !== "2.0") return undefined;
  return { isTaken: false, code: 200830, problem: "a card of schema 2.0 cannot be answered with one of 1.0" };
}

/** Turns the simulator's refusal into a {@link RefusedAction} with the platform's message. */
function orRefuse<T>(act: () => T): T {
  try {
    return act();
  } catch (error) {
    throw new RefusedAction(messageOf(error), { cause: error });
  }
}

function messageOf(error: unknown): string {
  if (!(error instanceof Refusal)) throw error;
  return error.message || String(refused(error.code).body["msg"]);
}
