import { checkCard } from "../../feishu/card.ts";
import type { CardFinding, KnownParts } from "../../feishu/checked-card.ts";
import { isObject, type JsonObject } from "../../feishu/json.ts";
import { Refusal } from "./answer.ts";
import { object } from "./route.ts";

const kilobyte = 1024;
export const cardLimitBytes = 30 * kilobyte;
const limitBytes: ReadonlyMap<string, number> = new Map([
  ["text", 150 * kilobyte],
  ["post", cardLimitBytes],
  ["interactive", cardLimitBytes],
]);

/** Checks the content of each type. Returns what is wrong with it. */
const shapes: ReadonlyMap<string, (content: JsonObject) => string | undefined> = new Map([
  ["text", (content) => lacks(content, "text")],
  ["post", postProblem],
  ["image", (content) => lacks(content, "image_key")],
  ["file", (content) => lacks(content, "file_key")],
  ["audio", (content) => lacks(content, "file_key")],
  ["media", (content) => lacks(content, "file_key")],
  ["sticker", (content) => lacks(content, "file_key")],
  ["share_chat", (content) => lacks(content, "chat_id")],
  ["share_user", (content) => lacks(content, "user_id")],
  ["system", (content) => lacks(content, "type")],
  // The walk over a card says more than a sentence.
  ["interactive", () => undefined],
]);

/**
 * Checks the content of a message. It must be a JSON object in a string, with the members of its type.
 * A text may have 150 KB, a card or a post 30 KB.
 * https://open.feishu.cn/document/uAjLw4CM/ukTMukTMukTM/im-v1/message/create_json
 * @param known The images, stored cards and templates that a card may name.
 * @throws {Refusal} 230001, 230025, and 230099 for a card.
 */
export function checkContent(
  msgType: unknown,
  content: unknown,
  known: KnownParts = {},
): { msgType: string; content: string } {
  const shape = typeof msgType === "string" ? shapes.get(msgType) : undefined;
  if (typeof msgType !== "string" || shape === undefined) throw new Refusal(230001, "invalid msg_type");
  if (typeof content !== "string") throw new Refusal(230001, "content must be a JSON document in a string");
  const limit = limitBytes.get(msgType);
  if (limit !== undefined && Buffer.byteLength(content) > limit) throw new Refusal(230025);
  const fields = object(content);
  if (fields === undefined) throw new Refusal(230001, "content is not in JSON format");
  const problem = shape(fields);
  if (problem !== undefined) throw new Refusal(230001, problem);
  const fault = msgType === "interactive" ? cardFault(fields, known) : undefined;
  if (fault !== undefined) throw new Refusal(230099, fault);
  return { msgType, content };
}

/** A finding in the words of the platform's answer. */
export function findingText({ code, path, message, value }: CardFinding): string {
  const members = { ErrCode: code, ErrPath: path, ErrMsg: message, ErrorValue: value };
  const texts = Object.entries(members).filter(([, text]) => text !== undefined && text !== null);
  return texts.map(([name, text]) => `${name}: ${text}; `).join("");
}

/** Why the platform refuses a card, in its words. */
export function cardFault(card: JsonObject, known: KnownParts): string | undefined {
  const [fault] = checkCard(card, known).faults;
  return fault === undefined ? undefined : findingText(fault);
}

/**
 * Whether everyone sees the same card. Only such a card can be updated for all. A card of version 1.0 must set
 * `update_multi`; one of 2.0 is always shared. A template or a stored card is taken as shared, because its JSON is not
 * known here.
 */
export function isShared(card: JsonObject): boolean {
  const { config, schema, type } = card as { config?: unknown; schema?: unknown; type?: unknown };
  const isMulti = isObject(config) ? config["update_multi"] : undefined;
  if (type === "template" || type === "card" || schema === "2.0") return isMulti !== false;
  return isMulti === true;
}

function postProblem(content: JsonObject): string | undefined {
  const languages = Object.values(content);
  const isPost = languages.every(
    (post) =>
      isObject(post) &&
      Array.isArray(post["content"]) &&
      post["content"].every(
        (line: unknown) => Array.isArray(line) && line.every((element) => isObject(element) && "tag" in element),
      ),
  );
  return isPost && languages.length > 0 ? undefined : "a post has, per language, content in lines of tags";
}

function lacks(fields: JsonObject, name: string): string | undefined {
  const value = fields[name];
  return typeof value === "string" && value !== "" ? undefined : `${name} is required`;
}
