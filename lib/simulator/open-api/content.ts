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
  ["interactive", cardProblem],
]);

/**
 * Checks the content of a message. It must be a JSON object in a string, with the members of its type.
 * A text may have 150 KB, a card or a post 30 KB.
 * https://open.feishu.cn/document/uAjLw4CM/ukTMukTMukTM/im-v1/message/create_json
 * @throws {Refusal} 230001, 230025, and 230099 for a card.
 */
export function checkContent(msgType: unknown, content: unknown): { msgType: string; content: string } {
  const shape = typeof msgType === "string" ? shapes.get(msgType) : undefined;
  if (typeof msgType !== "string" || shape === undefined) throw new Refusal(230001, "invalid msg_type");
  if (typeof content !== "string") throw new Refusal(230001, "content must be a JSON document in a string");
  const limit = limitBytes.get(msgType);
  if (limit !== undefined && Buffer.byteLength(content) > limit) throw new Refusal(230025);
  const fields = object(content);
  if (fields === undefined) throw new Refusal(230001, "content is not in JSON format");
  const problem = shape(fields);
  if (problem !== undefined) throw new Refusal(msgType === "interactive" ? 230099 : 230001, problem);
  return { msgType, content };
}

/** What is wrong with a card of version 1.0 or 2.0, or with a reference to a template or a stored card. */
export function cardProblem(card: JsonObject): string | undefined {
  const { type, data, schema, body, config, elements, i18n_elements: translated } = card as Record<string, unknown>;
  if (config !== undefined && !isObject(config)) return "config must be an object";
  if (type === "template") return isObject(data) ? lacks(data, "template_id") : "template_id is required";
  if (type === "card") return isObject(data) ? lacks(data, "card_id") : "card_id is required";
  if (schema === "2.0") return isObject(body) ? undefined : "a card of schema 2.0 needs a body";
  return Array.isArray(elements) || isObject(translated) ? undefined : "a card needs elements";
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
