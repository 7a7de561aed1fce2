import { fieldsOf, type JsonObject, parseJson, stringOf } from "./feishu/json.ts";

/** The members of `im.message.receive_v1`'s `event.message` that this file reads. */
export interface ReceivedMessage {
  readonly message_id: string;
  readonly message_type: string;
  /** A JSON document in a string. */
  readonly content: string;
  readonly mentions?: readonly Mention[];
}

export interface Mention {
  /** Its placeholder in the content: `@_user_1`. */
  readonly key: string;
  readonly id: { readonly open_id?: string };
  readonly name: string;
  readonly mentioned_type?: string;
}

/** The app's own bot. `GET /open-apis/bot/v3/info` answers its `open_id`, which the context's `text` and `mentionsMe` use. */
export interface Bot {
  readonly open_id: string;
}

/** A file of a message. */
export interface MessageResource {
  readonly messageId: string;
  readonly key: string;
  readonly type: "image" | "file";
  /** As its sender named it, without folders. `null` for images, audio, and videos inside a post. */
  readonly name: string | null;
}

/**
 * The text of a `text` or a `post` message; `""` for other types and for content that cannot be read. It never throws.
 * Names replace `@_user_1`, and the mention of the bot itself is left out. A post becomes its title and its lines, with
 * links as in a text, `[Feishu](https://www.feishu.cn)`; {@link resourcesOf} returns its images.
 * https://open.feishu.cn/document/uAjLw4CM/ukTMukTMukTM/im-v1/message/events/message_content
 *
 * @param bot Without it, the mentions of all bots are left out. That differs only when a message mentions several bots.
 */
export function textOf(message: ReceivedMessage, bot?: Bot): string {
  const names = new Map(mentionsOf(message).map((mention) => [textIn(mention["key"]), shownName(mention, bot)]));
  return writtenText(message)
    .replace(/(@_user_\d{1,9})( *)/g, (_, placeholder: string, spaces: string) => named(placeholder, spaces, names))
    .replace(/@_all\b/g, "@all")
    .trim();
}

/**
 * The files of a message: images, files, audio and videos, also those inside a post. It never throws.
 * The platform does not give out stickers, folders, and the files of cards and of forwarded messages.
 * https://open.feishu.cn/document/uAjLw4CM/ukTMukTMukTM/reference/im-v1/message-resource/get
 *
 * ```ts
 * for (const resource of resourcesOf(message)) {
 *   const { bytes, name, type } = await download(resource);
 * }
 * ```
 */
export function resourcesOf(message: ReceivedMessage): MessageResource[] {
  const { message_id: messageId, message_type: type, content } = fieldsOf(message);
  const parsed = fieldsOf(parseJson(textIn(content)));
  const parts = type === "post" ? postLines(parsed).flat() : [{ ...parsed, tag: type }];
  return parts.flatMap((part) => {
    const isImage = part["tag"] === "img" || part["tag"] === "image";
    const isFile = ["file", "audio", "media"].includes(textIn(part["tag"]));
    const key = textIn(isImage ? part["image_key"] : part["file_key"]);
    if ((!isImage && !isFile) || key === "") return [];
    const name = isImage ? null : fileName(textIn(part["file_name"]));
    return [{ messageId: textIn(messageId), key, type: isImage ? "image" : "file", name }];
  });
}

/** The last part of what may be a path: a sender must not choose the folder in which a handler stores the file. */
function fileName(name: string): string | null {
  const last = name.split(/[/\\\0]/).at(-1) ?? "";
  return /^\.{0,2}$/.test(last) ? null : last;
}

/**
 * Whether a message mentions the bot. Mentioning everyone (`@_all`) does not count. It never throws.
 * Messages in a direct chat do not mention the bot, so check `chat_type` first.
 * https://open.feishu.cn/document/uAjLw4CM/ukTMukTMukTM/reference/im-v1/message/events/receive
 *
 * @param bot Without it, the mention of any bot counts. That differs only in groups with several bots, for an app that
 * may read all messages (`im:message.group_msg`).
 */
export function mentionsBot(event: { readonly message: ReceivedMessage }, bot?: Bot): boolean {
  return mentionsOf(fieldsOf(event)["message"]).some((mention) => isBot(mention, bot));
}

function isBot(mention: JsonObject, bot: Bot | undefined): boolean {
  if (bot === undefined) return mention["mentioned_type"] === "bot";
  return fieldsOf(mention["id"])["open_id"] === bot.open_id;
}

function mentionsOf(message: unknown): JsonObject[] {
  return listIn(fieldsOf(message)["mentions"]).map(fieldsOf);
}

/** The name to show; empty for the bot itself. */
function shownName(mention: JsonObject, bot: Bot | undefined): string {
  if (isBot(mention, bot)) return "";
  const name = textIn(mention["name"]);
  return name === "" ? textIn(mention["key"]) : `@${name}`;
}

function writtenText(message: ReceivedMessage): string {
  const { message_type: type, content } = fieldsOf(message);
  const parsed = fieldsOf(parseJson(textIn(content)));
  if (type === "text") return textIn(parsed["text"]);
  return type === "post" ? postText(parsed) : "";
}

/**
 * Replaces a placeholder and the spaces after it. A digit typed right after a mention makes it look longer: `@_user_1`
 * and `2 pallets` is `@_user_12 pallets`, so the longest key that was mentioned counts.
 */
function named(placeholder: string, spaces: string, names: ReadonlyMap<string, string>): string {
  for (let end = placeholder.length; end > 0; end--) {
    const name = names.get(placeholder.slice(0, end));
    if (name === undefined) continue;
    const rest = placeholder.slice(end) + spaces;
    return name === "" ? rest.trimStart() : name + rest;
  }
  return placeholder + spaces;
}

function postText(content: JsonObject): string {
  const lines = postLines(content).map((line) => line.map(elementText).join(""));
  return [textIn(postOf(content)["title"]), ...lines].join("\n");
}

function postLines(content: JsonObject): JsonObject[][] {
  return listIn(postOf(content)["content"]).map((line) => listIn(line).map(fieldsOf));
}

/** A received post has no language. A sent post has several, and the first one counts. */
function postOf(content: JsonObject): JsonObject {
  const posts = [content, ...Object.values(content).map(fieldsOf)];
  return posts.find((post) => Array.isArray(post["content"]) || textIn(post["title"]) !== "") ?? {};
}

function elementText(element: JsonObject): string {
  const text = textIn(element["text"]);
  switch (element["tag"]) {
    case "a": {
      const href = textIn(element["href"]);
      return href === "" || href === text ? text : `[${text}](${href})`;
    }
    case "at": {
      const id = textIn(element["user_id"]);
      return id.startsWith("@_") ? id : `@${textIn(element["user_name"]) || id}`;
    }
    case "emotion":
      return `[${textIn(element["emoji_type"])}]`;
    case "hr":
      return "---";
    default:
      return text;
  }
}

function listIn(value: unknown): unknown[] {
  return Array.isArray(value) ? value : [];
}

function textIn(value: unknown): string {
  return stringOf(value) ?? "";
}
