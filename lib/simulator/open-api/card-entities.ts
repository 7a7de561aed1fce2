import { checkCard } from "../../feishu/card.ts";
import rules from "../../feishu/card-rules.json" with { type: "json" };
import type { KnownParts } from "../../feishu/checked-card.ts";
import { fieldsOf, isObject, type JsonObject } from "../../feishu/json.ts";
import type { Activity } from "./activity.ts";
import { Refusal, rateLimited } from "./answer.ts";
import { type Draft, type Effect, objectOf } from "./card-elements.ts";
import { findingText, isShared } from "./content.ts";
import type { Message, Messages } from "./messages.ts";
import { type Call, object } from "./route.ts";

/** One state of a card entity, and what led to it. */
export interface CardState {
  /** Like `created`, `streamed`, `settings`, `added elements`. */
  readonly what: string;
  readonly atMs: number;
  /** The call's `sequence`; `null` for the first state. */
  readonly sequence: number | null;
  /** The card's JSON. */
  readonly card: JsonObject;
}

interface Entity {
  readonly cardId: string;
  readonly appId: string;
  readonly createdAtMs: number;
  card: JsonObject;
  sequence: number;
  /** When the streaming mode was turned on last; `undefined` while it is off. */
  streamingSinceMs: number | undefined;
  messageId: string | undefined;
  readonly uuids: Set<string>;
  /** When the operations of the last second came. */
  operationsAtMs: number[];
  readonly history: CardState[];
}

/** The codes that CardKit has for faults which a message with the card has other codes for. */
const entityCodes: ReadonlyMap<string, number> = new Map([
  [rules.refusals.size.message, 200860],
  [rules.refusals.sameId.message, 300301],
  [rules.refusals.idShape.message, 300301],
  [rules.refusals.count.message, 300305],
]);
const dayMs = 86_400_000;
const lifeMs = 14 * dayMs;
const streamingMs = 10 * 60_000;
const maxOperations = 10;
const maxSequence = 2 ** 31 - 1;
const uuidLimit = 64;

/**
 * Card entities of CardKit v1. An entity lives 14 days, is sent once, and takes 10 operations a second, each with a higher
 * sequence than the one before. Its streaming mode closes 10 minutes after it was turned on.
 * https://open.feishu.cn/document/uAjLw4CM/ukTMukTMukTM/cardkit-v1/card/create
 * https://open.feishu.cn/document/uAjLw4CM/ukzMukzMukzM/feishu-cards/streaming-updates-openapi-overview
 * For an operation too many no page names a code: here it is the gateway's.
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
  const byId = new Map<string, Entity>();
  const byMessage = new Map<string, Entity>();

  function add(appId: string, card: JsonObject): Entity {
    const entity: Entity = {
      // 19 digits, as on the platform.
      cardId: String(7n * 10n ** 18n + (BigInt(`0x${newId().slice(0, 15)}`) % 10n ** 18n)),
      appId,
      card,
      sequence: 0,
      messageId: undefined,
      createdAtMs: nowMs(),
      streamingSinceMs: isStreaming(card) ? nowMs() : undefined,
      uuids: new Set<string>(),
      operationsAtMs: [],
      history: [{ what: "created", atMs: nowMs(), sequence: null, card }],
    };
    byId.set(entity.cardId, entity);
    return entity;
  }

  /** @throws {Refusal} The card cannot be an entity's. */
  function check(card: Draft): void {
    if (card["schema"] !== "2.0") throw new Refusal(300303);
    if (!isShared(card)) throw new Refusal(300302);
    const [fault] = checkCard(card, known).faults;
    if (fault === undefined) return;
    throw new Refusal(entityCodes.get(fault.message) ?? 200220, findingText(fault));
  }

  /** The entity that a call operates on. @throws {Refusal} */
  function operated({ params, body, caller }: Call): Entity {
    const entity = byId.get(params.get("card_id") ?? "");
    if (entity === undefined) throw new Refusal(200740);
    if (nowMs() - entity.createdAtMs > lifeMs) throw new Refusal(200750);
    if (entity.appId !== caller.appId) throw new Refusal(300311);
    entity.operationsAtMs = entity.operationsAtMs.filter((atMs) => nowMs() - atMs < 1_000);
    if (entity.operationsAtMs.length >= maxOperations) throw rateLimited({ resetSeconds: 1, limit: maxOperations });
    entity.operationsAtMs.push(nowMs());
    const { sequence, uuid } = body;
    if (typeof sequence !== "number" || !Number.isInteger(sequence) || sequence < 0 || sequence > maxSequence) {
      throw new Refusal(10002, `sequence must be an integer from 1 to ${maxSequence}`);
    }
    if (uuid !== undefined && (typeof uuid !== "string" || uuid.length > uuidLimit)) {
      throw new Refusal(10002, `uuid must be a string of at most ${uuidLimit} characters`);
    }
    if (typeof uuid === "string" && entity.uuids.has(uuid)) throw new Refusal(200770);
    if (sequence <= entity.sequence) throw new Refusal(300317);
    if (entity.messageId !== undefined && isInteracting(entity.messageId)) throw new Refusal(200810);
    return entity;
  }

  function needStreaming(entity: Entity): void {
    const { streamingSinceMs } = entity;
    if (streamingSinceMs === undefined) throw new Refusal(300309);
    if (nowMs() - streamingSinceMs < streamingMs) return;
    // The first call after the 10 minutes has a code of its own. Those after it find the mode closed.
    entity.streamingSinceMs = undefined;
    entity.card = { ...entity.card, config: { ...fieldsOf(entity.card["config"]), streaming_mode: false } };
    throw new Refusal(200850);
  }

  return {
    get: (cardId: string): Entity | undefined => byId.get(cardId),
    on: (messageId: string): Entity | undefined => byMessage.get(messageId),
    needStreaming,

    /** @throws {Refusal} */
    create(appId: string, card: Draft): Entity {
      if (card["type"] !== "template") check(card);
      const entity = add(appId, card);
      onActivity({ what: "created", about: `card ${entity.cardId}` });
      return entity;
    },

    /** The entity of a sent card, made when it is first asked for. */
    ofMessage(message: Message, appId: string): Entity {
      const existing = byMessage.get(message.messageId);
      if (existing !== undefined) return existing;
      const card = objectOf(message.content);
      check(card);
      const entity = add(appId, card);
      entity.messageId = message.messageId;
      byMessage.set(message.messageId, entity);
      return entity;
    },

    /**
     * Changes a card, or nothing if that fails.
     * @throws {Refusal}
     */
    operate(call: Call, what: string, change: (draft: Draft, entity: Entity) => Effect): void {
      const entity = operated(call);
      const draft = structuredClone(entity.card) as Draft;
      const { streamed, isOpened = false } = change(draft, entity);
      check(draft);
      const { sequence, uuid } = call.body as { sequence: number; uuid?: string };
      entity.sequence = sequence;
      if (uuid !== undefined) entity.uuids.add(uuid);
      entity.card = draft;
      if (!isStreaming(draft)) entity.streamingSinceMs = undefined;
      else if (isOpened || entity.streamingSinceMs === undefined) entity.streamingSinceMs = nowMs();
      entity.history.push({ what, atMs: nowMs(), sequence, card: draft });
      const message = messages.get(entity.messageId ?? "");
      if (message === undefined) onActivity({ what, about: `card ${entity.cardId}` });
      else messages.change(message, "updated", {}, streamed);
    },

    /**
     * The entity that a message's content names, which may be sent now; `undefined` when the content names none.
     * @throws {Refusal} 230099
     */
    toSend(content: string, appId: string): Entity | undefined {
      const { type, data } = object(content) ?? {};
      if (type !== "card") return undefined;
      const entity = byId.get(String(fieldsOf(data)["card_id"]));
      // The page names no code for a second message. Users of the platform report this one for an id that is not valid.
      const invalid = (reason: string) => new Refusal(230099, `ErrCode: 11310; ErrMsg: ${reason}; `);
      const isUsable = entity?.appId === appId && nowMs() - entity.createdAtMs <= lifeMs;
      if (!isUsable) throw invalid("cardid is invalid");
      if (entity.messageId !== undefined) throw invalid("cardid is invalid, it was sent before");
      return entity;
    },
    sent(entity: Entity, { messageId }: Message): void {
      entity.messageId = messageId;
      byMessage.set(messageId, entity);
    },
  };
}

export type CardEntities = ReturnType<typeof createCardEntities>;

function isStreaming({ config }: JsonObject): boolean {
  return isObject(config) && config["streaming_mode"] === true;
}
