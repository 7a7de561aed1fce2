import { checkCard } from "../../feishu/card.ts";
import rules from "../../feishu/card-rules.json" with { type: "json" };
import type { KnownParts } from "../../feishu/checked-card.ts";
import { fieldsOf, type JsonObject } from "../../feishu/json.ts";
import type { Activity } from "./activity.ts";
import { Refusal } from "./answer.ts";
import { type Draft, type Effect, objectOf } from "./card-elements.ts";
import { CardEntity } from "./card-entity.ts";
import { findingText, isShared } from "./content.ts";
import type { Message, Messages } from "./messages.ts";
import { type Call, type Caller, object } from "./route.ts";

/** The codes that CardKit has for faults which a message with the card has other codes for. */
const entityCodes: ReadonlyMap<string, number> = new Map([
  [rules.refusals.size.message, 200860],
  [rules.refusals.sameId.message, 300301],
  [rules.refusals.idShape.message, 300301],
  [rules.refusals.count.message, 300305],
]);

/**
 * Card entities of CardKit v1, and the messages that show them. An entity is sent once.
 * https://open.feishu.cn/document/uAjLw4CM/ukTMukTMukTM/cardkit-v1/card/create
 */
export function createCardEntities(options: {
  readonly nowMs: () => number;
  readonly newId: () => string;
  readonly messages: Messages;
  readonly known: KnownParts;
  /** Whether a person's click on the message is being answered. */
  readonly isInteracting: (messageId: string) => boolean;
  readonly onActivity: (activity: Activity) => void;
}) {
  const { nowMs, newId, messages, known, isInteracting, onActivity } = options;
  const byId = new Map<string, CardEntity>();
  const byMessage = new Map<string, CardEntity>();

  function add(appId: string, card: JsonObject): CardEntity {
    // 19 digits, as on the platform.
    const cardId = String(7n * 10n ** 18n + (BigInt(`0x${newId().slice(0, 15)}`) % 10n ** 18n));
    const entity = new CardEntity({ cardId, appId, card, nowMs });
    byId.set(entity.cardId, entity);
    return entity;
  }

  function sent(entity: CardEntity, { messageId }: Message): void {
    entity.messageId = messageId;
    byMessage.set(messageId, entity);
  }

  return {
    get: (cardId: string): CardEntity | undefined => byId.get(cardId),
    on: (messageId: string): CardEntity | undefined => byMessage.get(messageId),

    /** @throws {Refusal} */
    create(appId: string, card: Draft): CardEntity {
      const entity = add(appId, card["type"] === "template" ? card : checked(card, known));
      onActivity({ what: "created", about: `card ${entity.cardId}` });
      return entity;
    },

    /** The entity of a sent card, made when it is first asked for. */
    ofMessage(message: Message, appId: string): CardEntity {
      const existing = byMessage.get(message.messageId);
      if (existing !== undefined) return existing;
      const entity = add(appId, checked(objectOf(message.content), known));
      sent(entity, message);
      return entity;
    },

    /**
     * Changes a card, or nothing if that fails.
     * @throws {Refusal}
     */
    operate(call: Call, what: string, change: (draft: Draft, entity: CardEntity) => Effect): void {
      const entity = operable(byId.get(call.params.get("card_id") ?? ""), call.caller);
      const operation = entity.admit(call.body);
      if (entity.messageId !== undefined && isInteracting(entity.messageId)) throw new Refusal(200810);
      const card = structuredClone(entity.card) as Draft;
      const { streamed, isOpened = false } = change(card, entity);
      entity.change(operation, { what, card: checked(card, known), isOpened });
      const message = messages.get(entity.messageId ?? "");
      if (message === undefined) onActivity({ what, about: `card ${entity.cardId}` });
      else messages.change(message, "updated", {}, streamed);
    },

    /**
     * The entity that a message's content names, which may be sent now; `undefined` when the content names none.
     * @throws {Refusal} 230099
     */
    toSend(content: string, appId: string): CardEntity | undefined {
      const { type, data } = object(content) ?? {};
      if (type !== "card") return undefined;
      const entity = byId.get(String(fieldsOf(data)["card_id"]));
      const isUsable = entity?.appId === appId && !entity.isExpired;
      if (!isUsable) throw invalid("cardid is invalid");
      if (entity.messageId !== undefined) throw invalid("cardid is invalid, it was sent before");
      return entity;
    },
    sent,
  };
}

export type CardEntities = ReturnType<typeof createCardEntities>;

/** The card. @throws {Refusal} It cannot be an entity's. */
function checked(card: Draft, known: KnownParts): Draft {
  if (card["schema"] !== "2.0") throw new Refusal(300303);
  if (!isShared(card)) throw new Refusal(300302);
  const [fault] = checkCard(card, known).faults;
  if (fault === undefined) return card;
  throw new Refusal(entityCodes.get(fault.message) ?? 200220, findingText(fault));
}

/** The entity, if the caller may operate on it. @throws {Refusal} */
function operable(entity: CardEntity | undefined, { appId }: Caller): CardEntity {
  if (entity === undefined) throw new Refusal(200740);
  if (entity.isExpired) throw new Refusal(200750);
  if (entity.appId !== appId) throw new Refusal(300311);
  return entity;
}

/** The page names no code for a second message. Users of the platform report this one for an id that is not valid. */
function invalid(reason: string): Refusal {
  return new Refusal(230099, `ErrCode: 11310; ErrMsg: ${reason}; `);
}
