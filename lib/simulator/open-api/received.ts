import { fieldsOf, type JsonObject } from "../../feishu/json.ts";
import { bot } from "../samples/facts.ts";
import { type Message, type Messages, threadIdOf } from "./messages.ts";
import { type At, receivedCard, receivedPost } from "./rich-text.ts";
import { object } from "./route.ts";
import type { Uploads } from "./uploads.ts";
import { idTypeOf, type User, type UserIdType, type World } from "./world.ts";

/** The bot's mention in a text that a user writes. */
export const mentionKey = "@_user_1";

/** The kinds of id by their beginnings. A user_id begins in any way. */
const idTypes: ReadonlyMap<string, UserIdType> = new Map([
  ["ou_", "open_id"],
  ["on_", "union_id"],
]);

interface Mention {
  readonly key: string;
  readonly name: string;
  /** `undefined` for the bot. */
  readonly user: User | undefined;
}

/** Returns a message as the API does. Times are epoch milliseconds in strings. */
export type View = (message: Message, query: URLSearchParams) => object;

/**
 * What a message holds differs from what was sent: mentions are numbered, a post has one language and no Markdown, and a
 * card is in lines, unless the call asks for the card itself.
 * https://open.feishu.cn/document/uAjLw4CM/ukTMukTMukTM/im-v1/message/events/message_content
 */
export function createView(options: {
  /** The app whose bot users mention. */
  readonly appId: string;
  readonly world: World;
  readonly messages: Messages;
  readonly uploads: Uploads;
  /** The card that a message shows, or its content. */
  readonly shownContent: (message: Message) => string;
}): View {
  const { appId, world, messages, uploads, shownContent } = options;

  function contentOf(message: Message, at: At, isOriginal: boolean): string {
    const { msgType, content, sender } = message;
    const fields = object(content) ?? {};
    if (sender.kind === "user") {
      if (content.includes(mentionKey)) at(bot.open_id);
      return content;
    }
    switch (msgType) {
      case "text":
        return JSON.stringify({ text: receivedText(String(fields["text"]), at) });
      case "post":
        return JSON.stringify(receivedPost(fieldsOf(Object.values(fields)[0]), at));
      case "interactive": {
        const shown = shownContent(message);
        return isOriginal ? shown : JSON.stringify(receivedCard(object(shown) ?? {}, at));
      }
      case "system":
        return JSON.stringify({
          template: "{divider_text}",
          from_user: [],
          to_chatters: [],
          ...fieldsOf(fields["params"]),
        });
      case "file":
      case "audio":
      case "media":
        return JSON.stringify(withFileFacts(fields, msgType, uploads));
      default:
        return content;
    }
  }

  return (message, query) => {
    const { sender, isRecalled, history, tenant, messageId } = message;
    const idType = idTypeOf(query, 230001);
    const { found, at } = createMentions(world);
    const content = contentOf(message, at, query.get("card_msg_content_type") === "user_card_content");
    const botId = query.has("user_id_type")
      ? { id: appId, id_type: "app_id" }
      : { id: bot.open_id, id_type: "open_id" };
    const mentions = [...found.values()].map(({ key, name, user }) => {
      const id = user === undefined ? botId : { id: user[idType], id_type: idType };
      return { key, ...id, name, tenant_key: tenant };
    });
    const isUser = sender.kind === "user";
    return {
      message_id: messageId,
      root_id: message.rootId,
      parent_id: message.parentId,
      thread_id:
        message.threadId ?? (messages.inThread(threadIdOf(message)).length > 0 ? threadIdOf(message) : undefined),
      upper_message_id: message.upperMessageId,
      msg_type: message.msgType,
      create_time: String(message.createdAtMs),
      update_time: String(history.at(-1)?.atMs),
      deleted: isRecalled,
      updated: history.some(({ what }) => what === "updated"),
      chat_id: message.chatId,
      sender: {
        id: (isUser ? world.user("open_id", sender.id)?.[idType] : undefined) ?? sender.id,
        id_type: isUser ? idType : "app_id",
        sender_type: sender.kind,
        tenant_key: tenant,
      },
      body: { content: isRecalled ? "This message was recalled" : content },
      mentions: mentions.length === 0 ? undefined : mentions,
    };
  };
}

/** Numbers the people that a content mentions. */
function createMentions(world: World) {
  const found = new Map<string, Mention>();
  const at: At = (id) => {
    if (id === "all") return { key: "@_all", name: "" };
    const person = mentioned(id, world);
    if (person === undefined) return undefined;
    const personId = person.user?.open_id ?? bot.open_id;
    const mention = found.get(personId) ?? { ...person, key: `@_user_${found.size + 1}` };
    found.set(personId, mention);
    return mention;
  };
  return { found, at };
}

function mentioned(id: string, world: World): Omit<Mention, "key"> | undefined {
  if (id === bot.open_id) return { name: "Larkpost", user: undefined };
  const user = world.user(idTypes.get(id.slice(0, 3)) ?? "user_id", id);
  return user && { name: user.name, user };
}

/** The name and the duration that the upload gave. */
function withFileFacts(fields: JsonObject, msgType: string, uploads: Uploads): object {
  const { name, durationMs } = uploads.get(String(fields["file_key"])) ?? {};
  return {
    ...fields,
    ...(msgType === "audio" || name === undefined ? {} : { file_name: name }),
    ...(msgType === "file" || durationMs === undefined ? {} : { duration: durationMs }),
  };
}

/** A text's mentions are numbered and its styles left out. Tags that do not match stay as they are. */
function receivedText(text: string, at: At): string {
  const numbered = text.replaceAll(
    /<at user_id="([^"<>]{1,80})">[^<]{0,200}<\/at>/g,
    (whole, id: string) => at(id)?.key ?? whole,
  );
  const open: string[] = [];
  const tags = /<(\/?)([bius])>/g;
  for (const [, end, tag = ""] of numbered.matchAll(tags)) {
    if (end === "") open.push(tag);
    else if (open.pop() !== tag) return numbered;
  }
  return open.length === 0 ? numbered.replaceAll(tags, "") : numbered;
}
