import type { Clock } from "../../clock.ts";
import { jobId } from "../../feishu/envelope.ts";
import { parseObject } from "../../feishu/json.ts";
import type { EventOf } from "../../handler.ts";
import { Refusal, refused } from "../open-api/answer.ts";
import { checkContent } from "../open-api/content.ts";
import type { OpenApi } from "../open-api/open-api.ts";
import { isObject } from "../open-api/route.ts";
import type { ClientView } from "../platform/client-view.ts";
import { type Attempt, ladderMs } from "../platform/ladder.ts";
import { type Deliver, type Message, startPlatform, toMessage } from "../platform/platform.ts";
import { bot, defaultTenant, groupChat, mei } from "../samples/facts.ts";
import { sampleEnvelope } from "../samples/samples.ts";
import { cardView } from "./card-view.ts";
import { type MessageView, messageView } from "./message-view.ts";

/** What somebody in the chats gets to see, and what became of what they did. */
export type Fact =
  | { readonly what: "said"; readonly by: "user"; readonly id: string; readonly message: MessageView }
  | { readonly what: "said" | "updated" | "recalled"; readonly by: "bot"; readonly message: MessageView }
  /** A push failed: of an event, which is pushed again after `againMs` unless that is `null`. */
  | {
      readonly what: "undelivered";
      readonly id: string;
      readonly problem: string;
      readonly againMs: number | null;
    }
  /**
   * What the client shows of a callback's answer; `deferred` is the job that its handler put off, and `trouble` why
   * the answer is not its handler's.
   */
  | {
      readonly what: "answered";
      readonly id: string;
      readonly messageId: string;
      readonly view: ClientView;
      readonly deferred: string | null;
      readonly trouble: Trouble | null;
    }
  /** A handler is through with an event or a job, for this time or for good. */
  | { readonly what: "ended"; readonly id: string; readonly type: string; readonly stage: Ending };

/** Facts are numbered from 1. */
export type Entry = Fact & { readonly n: number };

const endings = ["handled", "unhandled", "failed", "dead"] as const;
export type Ending = (typeof endings)[number];
/** What became of a callback's handler, if nothing good. */
const troubles = ["unhandled", "failed", "late"] as const;
export type Trouble = (typeof troubles)[number];

/** One action that cannot be taken: the sentence is for the person who tried. */
export class Impossible extends Error {
  override readonly name = "Impossible";
}

export interface ConversationOptions {
  readonly api: OpenApi;
  /** Over whichever transport. */
  readonly deliver: Deliver;
  readonly appId: string;
  readonly clock: Clock;
  readonly random: () => number;
  /** A fresh id, 32 hex digits. */
  readonly newId: () => string;
}

const kept = 1_000;

/**
 * A user, Mei, who talks to the bot, directly or in the group: what she says and clicks is pushed as the platform
 * pushes it, and what the bot does through the Open API is told.
 */
export function startConversation(options: ConversationOptions) {
  const { api, deliver, appId, clock, random, newId } = options;
  const stopping = new AbortController();
  const platform = startPlatform({ deliver, clock, random, signal: stopping.signal, onAttempt });
  const entries: Entry[] = [];
  const listeners = new Set<(entry: Entry) => void>();
  /** Events and jobs whose end is not known yet; and callbacks under way whose handler has put something off. */
  const open = new Set<string>();
  const deferred = new Set<string>();
  /** What was told last of the handlers of callbacks under way. */
  const asked = new Map<string, unknown>();
  let last = 0;

  function tell(fact: Fact): void {
    const entry = { n: ++last, ...fact };
    entries.push(entry);
    if (entries.length > kept) entries.shift();
    for (const listener of listeners) listener(entry);
  }

  const unsubscribe = api.onMessage(({ what, message }) => {
    const shown = messageView(message, api.world.chat(message.chatId));
    tell({ what: what === "created" ? "said" : what, by: "bot", message: shown });
  });

  function onAttempt({ kind, id }: Message, { number, result: { delivered, problem = "failed" } }: Attempt): void {
    if (kind === "event" && !delivered) {
      tell({ what: "undelivered", id, problem, againMs: ladderMs[number - 1] ?? null });
    }
  }

  function envelopeOf(type: string, event: object): Message {
    return toMessage(JSON.stringify(sampleEnvelope(type, { nowMs: clock.nowMs(), appId, newId }, event)));
  }

  async function ask(message: Message, { messageId, token }: { messageId: string; token: string }): Promise<void> {
    const { attempts, view: shown } = await platform.push(message);
    const result = attempts.at(-1)?.result;
    if (shown === undefined || result === undefined) return;
    const card = shown.isTaken ? cardIn(result.body) : undefined;
    const fault = card === undefined ? undefined : faultOf(card, api.message(messageId)?.content ?? "");
    const taken: ClientView = fault === undefined ? shown : { isTaken: false, ...fault };
    // Nothing is put off after the answer, and what was is told before it.
    const job = deferred.delete(message.id) ? jobId(message.id) : null;
    if (job === null) open.delete(jobId(message.id));
    const stage = asked.get(message.id);
    asked.delete(message.id);
    const trouble = troubles.find((one) => one === stage) ?? null;
    tell({ what: "answered", id: message.id, messageId, view: taken, deferred: job, trouble });
    if (result.delivered) api.callbackAnswered(token, taken.isTaken ? card : undefined);
  }

  return {
    /**
     * She says something; in the group she mentions the bot.
     * @returns The event's id.
     * @throws {Impossible} The text is empty or too long.
     */
    say(text: string, place: "p2p" | "group"): string {
      const chatId = place === "group" ? groupChat : api.world.receiver(appId, "open_id", mei.open_id).chatId;
      const content = JSON.stringify({ text: place === "group" ? `@_user_1 ${text}` : text });
      const said = possible(() => api.say({ chatId, userId: mei.open_id, content }));
      const mentions = [
        { key: "@_user_1", id: bot, mentioned_type: "bot", name: "Larkpost", tenant_key: defaultTenant },
      ];
      const message = envelopeOf("im.message.receive_v1", {
        sender: { sender_id: mei, sender_type: "user", tenant_key: defaultTenant },
        message: {
          message_id: said.messageId,
          create_time: String(said.createdAtMs),
          update_time: String(said.createdAtMs),
          chat_id: chatId,
          chat_type: place,
          message_type: said.msgType,
          content,
          ...(place === "group" ? { mentions } : {}),
        },
      } satisfies EventOf<"im.message.receive_v1">);
      open.add(message.id);
      const shown = { ...messageView(said, api.world.chat(chatId)), text };
      tell({ what: "said", by: "user", id: message.id, message: shown });
      platform.push(message).catch(() => {});
      return message.id;
    },

    /**
     * She makes a choice on a card, by its number.
     * @param on.version What she has seen of the card: a choice is not made on another one.
     * @returns The callback's id.
     * @throws {Impossible} There is no such choice, or it asks nobody.
     */
    choose({ messageId, version, number }: { messageId: string; version: number; number: number }): string {
      const message = api.message(messageId);
      if (message === undefined || message.msgType !== "interactive") throw new Impossible("there is no such card");
      if (message.isRecalled) throw new Impossible("the card is recalled");
      if (message.history.length !== version) throw new Impossible("the card has changed since it was shown");
      const choice = cardView(message.content).choices[number - 1];
      if (choice === undefined) throw new Impossible(`the card has no [${number}]`);
      if (choice.does !== "callback") throw new Impossible("it asks nobody");
      const token = `c-${newId()}`;
      const callback = envelopeOf("card.action.trigger", {
        operator: { tenant_key: defaultTenant, ...mei },
        token,
        action: choice.action,
        host: "im_message",
        context: { open_message_id: messageId, open_chat_id: message.chatId },
      });
      api.registerCardToken({ token, messageId });
      open.add(jobId(callback.id));
      asked.set(callback.id, undefined);
      ask(callback, { messageId, token }).catch(() => {});
      return callback.id;
    },

    /** What a function told of an event, by the stages of the trace. */
    told(stage: unknown, id: unknown, type: unknown): void {
      if (typeof id !== "string") return;
      if (stage === "deferred" && open.has(jobId(id))) deferred.add(id);
      // A handler may run although the store has failed before, and what it comes to is not changed by that after it.
      if (asked.has(id) && !["handled", "duplicate", "late"].includes(String(asked.get(id)))) asked.set(id, stage);
      const ending = endings.find((one) => one === stage);
      if (ending === undefined || !open.has(id)) return;
      if (ending !== "failed") open.delete(id);
      tell({ what: "ended", id, type: typeof type === "string" ? type : "", stage: ending });
    },

    /** The latest thousand facts after the `n`th, oldest first. */
    after: (n: number): readonly Entry[] => entries.filter((entry) => entry.n > n),
    /** How many there were. */
    count: () => last,
    /** @returns what ends it. */
    onEntry(listener: (entry: Entry) => void): () => void {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    /** Pushes nothing again from now on. */
    stop(): void {
      unsubscribe();
      stopping.abort(new Error("the conversation is over"));
    },
  };
}

export type Conversation = ReturnType<typeof startConversation>;

/** The card of a callback's answer, as a message would hold it. */
function cardIn(body: string): string | undefined {
  const card = parseObject(body)?.["card"];
  if (!isObject(card)) return undefined;
  return JSON.stringify(card["type"] === "template" ? { type: "template", data: card["data"] } : card["data"]);
}

/**
 * What the client shows instead of a card that cannot take the place of the one that was clicked.
 * https://open.feishu.cn/document/uAjLw4CM/ukzMukzMukzM/feishu-cards/handle-card-callbacks
 */
function faultOf(card: string, clicked: string): { code: number; problem: string } | undefined {
  try {
    checkContent("interactive", card);
  } catch (error) {
    return { code: 200673, problem: sentence(error) };
  }
  const { schema, type } = parseObject(card) ?? {};
  // What version a stored card has is not known here.
  if (type === "template" || schema === "2.0" || parseObject(clicked)?.["schema"] !== "2.0") return undefined;
  return { code: 200830, problem: "a card of schema 2.0 cannot be answered with one of 1.0" };
}

/** Says why the simulator refuses something, in the platform's words. */
function possible<T>(act: () => T): T {
  try {
    return act();
  } catch (error) {
    throw new Impossible(sentence(error), { cause: error });
  }
}

function sentence(error: unknown): string {
  if (!(error instanceof Refusal)) throw error;
  return error.message || String(refused(error.code).body["msg"]);
}
