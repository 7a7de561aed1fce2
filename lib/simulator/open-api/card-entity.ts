import { fieldsOf, isObject, type JsonObject } from "../../feishu/json.ts";
import { Refusal, rateLimited } from "./answer.ts";

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

/** How an operation is told from others. */
interface Operation {
  readonly sequence: number;
  readonly uuid: string | undefined;
}

const dayMs = 86_400_000;
const lifeMs = 14 * dayMs;
const streamingMs = 10 * 60_000;
const maxOperations = 10;
const maxSequence = 2 ** 31 - 1;
const uuidLimit = 64;

/**
 * A card entity of CardKit v1. It lives 14 days, and takes 10 operations a second, each with a higher sequence than the one
 * before. Its streaming mode closes 10 minutes after it was turned on.
 * https://open.feishu.cn/document/uAjLw4CM/ukzMukzMukzM/feishu-cards/streaming-updates-openapi-overview
 * For an operation too many no page names a code: here it is the gateway's.
 */
export class CardEntity {
  readonly cardId: string;
  readonly appId: string;
  readonly history: CardState[];
  /** The message that shows it. */
  messageId: string | undefined;
  readonly #nowMs: () => number;
  readonly #createdAtMs: number;
  #card: JsonObject;
  #sequence = 0;
  /** When the streaming mode was turned on last; `undefined` while it is off. */
  #streamingSinceMs: number | undefined;
  readonly #uuids = new Set<string>();
  /** When the operations of the last second came. */
  #operationsAtMs: number[] = [];

  constructor(options: { cardId: string; appId: string; card: JsonObject; nowMs: () => number }) {
    const { cardId, appId, card, nowMs } = options;
    this.cardId = cardId;
    this.appId = appId;
    this.#nowMs = nowMs;
    this.#createdAtMs = nowMs();
    this.#card = card;
    this.#streamingSinceMs = isStreaming(card) ? nowMs() : undefined;
    this.history = [{ what: "created", atMs: nowMs(), sequence: null, card }];
  }

  get card(): JsonObject {
    return this.#card;
  }

  get isStreaming(): boolean {
    return this.#streamingSinceMs !== undefined;
  }

  get isExpired(): boolean {
    return this.#nowMs() - this.#createdAtMs > lifeMs;
  }

  /** Counts an operation, and checks its sequence and its uuid. @throws {Refusal} */
  admit({ sequence, uuid }: JsonObject): Operation {
    this.#operationsAtMs = this.#operationsAtMs.filter((atMs) => this.#nowMs() - atMs < 1_000);
    if (this.#operationsAtMs.length >= maxOperations) throw rateLimited({ resetSeconds: 1, limit: maxOperations });
    this.#operationsAtMs.push(this.#nowMs());
    if (typeof sequence !== "number" || !Number.isInteger(sequence) || sequence < 0 || sequence > maxSequence) {
      throw new Refusal(10002, `sequence must be an integer from 1 to ${maxSequence}`);
    }
    if (uuid !== undefined && (typeof uuid !== "string" || uuid.length > uuidLimit)) {
      throw new Refusal(10002, `uuid must be a string of at most ${uuidLimit} characters`);
    }
    if (uuid !== undefined && this.#uuids.has(uuid)) throw new Refusal(200770);
    if (sequence <= this.#sequence) throw new Refusal(300317);
    return { sequence, uuid };
  }

  /** Begins the card's next state. @param change.isOpened It turns the streaming mode on, perhaps again. */
  change({ sequence, uuid }: Operation, change: { what: string; card: JsonObject; isOpened: boolean }): void {
    const { what, card, isOpened } = change;
    this.#sequence = sequence;
    if (uuid !== undefined) this.#uuids.add(uuid);
    this.#card = card;
    if (!isStreaming(card)) this.#streamingSinceMs = undefined;
    else if (isOpened || this.#streamingSinceMs === undefined) this.#streamingSinceMs = this.#nowMs();
    this.history.push({ what, atMs: this.#nowMs(), sequence, card });
  }

  /** @throws {Refusal} The streaming mode is off, or closes now. */
  needStreaming(): void {
    if (this.#streamingSinceMs === undefined) throw new Refusal(300309);
    if (this.#nowMs() - this.#streamingSinceMs < streamingMs) return;
    // The first call after the 10 minutes has a code of its own. Those after it find the mode closed.
    this.#streamingSinceMs = undefined;
    this.#card = { ...this.#card, config: { ...fieldsOf(this.#card["config"]), streaming_mode: false } };
    throw new Refusal(200850);
  }
}

function isStreaming({ config }: JsonObject): boolean {
  return isObject(config) && config["streaming_mode"] === true;
}
