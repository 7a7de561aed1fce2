import { depthOf, isObject, type JsonObject, maxDepth, parseJson } from "../../feishu/json.ts";
import { Refusal } from "./answer.ts";

/** A card's JSON that may be changed. */
export type Draft = Record<string, unknown>;

/** What an operation does in addition to changing the card. */
export interface Effect {
  /** The text that the client types out. */
  readonly streamed?: string;
  /** It turns the streaming mode on, perhaps again. */
  readonly isOpened?: boolean;
}

/** Where an element is: in a list, or a member of another element. */
type Place = { readonly in: unknown[]; readonly at: number } | { readonly in: Draft; readonly at: string };
type Found = Place & { readonly element: Draft };

/** The elements whose text can be streamed. */
const textTags: ReadonlySet<unknown> = new Set(["markdown", "plain_text"]);
const insertions: Readonly<Record<string, number>> = { insert_before: 0, insert_after: 1 };

/** Every element of a card with its place, also those inside others. */
function* elementsIn(part: unknown): Generator<Found> {
  if (Array.isArray(part)) {
    for (const [at, item] of part.entries()) {
      if (isElement(item)) yield { in: part, at, element: item };
      yield* elementsIn(item);
    }
  } else if (isObject(part)) {
    for (const [at, item] of Object.entries(part)) {
      if (isElement(item)) yield { in: part as Draft, at, element: item };
      yield* elementsIn(item);
    }
  }
}

function isElement(value: unknown): value is Draft {
  return isObject(value) && typeof value["tag"] === "string";
}

/** @throws {Refusal} `code`, when the card has no such element. */
function find(card: Draft, id: unknown, code: number): Found {
  const found = [...elementsIn(card)].find(({ element }) => element["element_id"] === id);
  if (typeof id !== "string" || found === undefined) throw new Refusal(code, `not find elementID : ${String(id)}`);
  return found;
}

/** Adds elements before or after another, or at the end of one that has elements or of the card. */
export function addElements(card: Draft, params: JsonObject): Effect {
  const { type, target_element_id: target, elements } = params;
  const added = listOf(elements);
  const offset = typeof type === "string" ? insertions[type] : undefined;
  if (offset === undefined) {
    if (type !== "append") throw new Refusal(10002, "type must be insert_before, insert_after or append");
    const container = target === undefined || target === "" ? card["body"] : find(card, target, 300315).element;
    const list = isObject(container) ? container["elements"] : undefined;
    if (!Array.isArray(list)) throw new Refusal(300315, "the target has no elements");
    list.push(...added);
  } else {
    const place = find(card, target, 300315);
    if (typeof place.at !== "number") throw new Refusal(300315, "the target is in no list of elements");
    (place.in as unknown[]).splice(place.at + offset, 0, ...added);
  }
  return {};
}

export function replaceElement(card: Draft, id: unknown, element: unknown): Effect {
  const place = find(card, id, 300121);
  const next = elementOf(element);
  // A new element without an id keeps the place's.
  Object.assign(place.in, { [place.at]: { element_id: id, ...next } });
  return {};
}

export function patchElement(card: Draft, id: unknown, part: unknown): Effect {
  const { element } = find(card, id, 300313);
  const next = objectOf(part);
  if ("tag" in next && next["tag"] !== element["tag"]) throw new Refusal(300312);
  Object.assign(element, next);
  return {};
}

export function deleteElement(card: Draft, id: unknown): Effect {
  const place = find(card, id, 300314);
  if (typeof place.at === "number") (place.in as unknown[]).splice(place.at, 1);
  else delete (place.in as Draft)[place.at];
  return {};
}

/** The client types out the end of the new text, if it continues the old one, else all of it. */
export function writeText(card: Draft, id: unknown, text: string): Effect {
  const { element } = find(card, id, 300313);
  if (!textTags.has(element["tag"])) throw new Refusal(300310);
  const before = typeof element["content"] === "string" ? element["content"] : "";
  element["content"] = text;
  return { streamed: text.startsWith(before) ? text.slice(before.length) : text };
}

/** Reads what the API takes as JSON in a string, and in a batch as it is. @throws {Refusal} */
export function objectOf(value: unknown): Draft {
  const parsed = parsedOf(value);
  if (!isObject(parsed)) throw new Refusal(200220, "not an object in JSON");
  return parsed as Draft;
}

function elementOf(value: unknown): Draft {
  const element = objectOf(value);
  if (!isElement(element)) throw new Refusal(200220, "an element has a tag");
  return element;
}

export function listOf(value: unknown): Draft[] {
  const parsed = parsedOf(value);
  if (!Array.isArray(parsed) || parsed.length === 0) throw new Refusal(200220, "not a list in JSON");
  return parsed.map(objectOf);
}

function parsedOf(value: unknown): unknown {
  const parsed = typeof value === "string" ? parseJson(value) : value;
  return depthOf(parsed, maxDepth + 1) > maxDepth ? undefined : parsed;
}
