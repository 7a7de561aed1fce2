import { fieldsOf } from "../../feishu/json.ts";
import type { Activity } from "./activity.ts";
import { type Answer, Refusal, success } from "./answer.ts";
import facts from "./emojis.json" with { type: "json" };
import type { Message, Messages, Sender } from "./messages.ts";
import { type Call, page, type Route } from "./route.ts";
import { idTypeOf, type World } from "./world.ts";

/** An emoji that somebody has put on a message. */
export interface Reaction {
  readonly reactionId: string;
  readonly messageId: string;
  readonly operator: Sender;
  /** Like `THUMBSUP`. */
  readonly emoji: string;
  readonly atMs: number;
}

const emojis: ReadonlySet<string> = new Set(facts.emojis);

/**
 * The reactions on messages: add, list, remove.
 * https://open.feishu.cn/document/uAjLw4CM/ukTMukTMukTM/reference/im-v1/message-reaction/create
 * (and `…/list`, `…/delete`, `…/emojis-introduce`)
 */
export function createReactions(options: {
  readonly nowMs: () => number;
  readonly newId: () => string;
  readonly messages: Messages;
  readonly world: World;
  readonly onActivity: (activity: Activity) => void;
}) {
  const { nowMs, newId, messages, world, onActivity } = options;
  const byId = new Map<string, Reaction>();

  const on = (messageId: string) => [...byId.values()].filter((reaction) => reaction.messageId === messageId);
  const isBy = (operator: Sender, { operator: { kind, id } }: Reaction) => kind === operator.kind && id === operator.id;

  function messageOf({ params, caller }: Call, outsideCode: number): Message {
    const message = messages.find(params.get("message_id") ?? "");
    if (message === undefined || message.isRecalled) throw new Refusal(231003);
    if (!world.hasBot(message.chatId, caller.appId)) throw new Refusal(outsideCode);
    return message;
  }

  /** Whoever reacts again with the same emoji gets the reaction that is there. @throws {Refusal} 231001 */
  function add(message: Message, operator: Sender, emoji: unknown): Reaction {
    if (typeof emoji !== "string" || !emojis.has(emoji)) throw new Refusal(231001);
    const { messageId } = message;
    const existing = on(messageId).find((reaction) => reaction.emoji === emoji && isBy(operator, reaction));
    if (existing !== undefined) return existing;
    const reaction = { reactionId: newId(), messageId, operator, emoji, atMs: nowMs() };
    byId.set(reaction.reactionId, reaction);
    return reaction;
  }

  function create(call: Call): Answer {
    const message = messageOf(call, 231002);
    const operator = { kind: "app", id: call.caller.appId } as const;
    const reaction = add(message, operator, fieldsOf(call.body["reaction_type"])["emoji_type"]);
    onActivity({ what: "reacted", about: reaction.emoji, chatId: message.chatId });
    return success(view(reaction));
  }

  function remove(call: Call): Answer {
    const message = messageOf(call, 231002);
    const reaction = byId.get(call.params.get("reaction_id") ?? "");
    if (reaction === undefined) throw new Refusal(231011);
    if (reaction.messageId !== message.messageId) throw new Refusal(231010);
    if (!isBy({ kind: "app", id: call.caller.appId }, reaction)) throw new Refusal(231007);
    byId.delete(reaction.reactionId);
    onActivity({ what: "unreacted", about: reaction.emoji, chatId: message.chatId });
    return success(view(reaction));
  }

  function list(call: Call): Answer {
    const { query } = call;
    const { messageId } = messageOf(call, 231008);
    const emoji = query.get("reaction_type");
    if (emoji !== null && !emojis.has(emoji)) throw new Refusal(231001);
    const idType = idTypeOf(query, 231014);
    const found = on(messageId).filter((reaction) => emoji === null || reaction.emoji === emoji);
    const { items, ...rest } = page(found, query, { code: 231012, size: 20, maxSize: 50 });
    const idOf = ({ kind, id }: Sender) => (kind === "user" ? (world.user("open_id", id)?.[idType] ?? id) : id);
    return success({ items: items.map((reaction) => view(reaction, idOf(reaction.operator))), ...rest });
  }

  const path = "/open-apis/im/v1/messages/:message_id/reactions";
  const place = { access: "tenant", malformed: 231001 } as const;
  const routes: Route[] = [
    { ...place, method: "POST", path, operation: create },
    { ...place, method: "GET", path, operation: list },
    { ...place, method: "DELETE", path: `${path}/:reaction_id`, operation: remove },
  ];
  return {
    routes,
    add,
    /** In the order they were added, on one message or on all. */
    list: (messageId?: string): readonly Reaction[] => (messageId === undefined ? [...byId.values()] : on(messageId)),
  };
}

function view({ reactionId, operator, emoji, atMs }: Reaction, operatorId = operator.id): object {
  return {
    reaction_id: reactionId,
    operator: { operator_id: operatorId, operator_type: operator.kind },
    action_time: String(atMs),
    reaction_type: { emoji_type: emoji },
  };
}
