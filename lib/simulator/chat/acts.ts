import type { EventOf } from "../../handler.ts";
import type { Message } from "../open-api/messages.ts";
import { mentionKey } from "../open-api/received.ts";
import { bot, defaultTenant, type Person, people } from "../samples/facts.ts";

export type Place = "p2p" | "group";

/** What a user does other than writing a text and clicking. */
export type Act =
  | { readonly does: "image" | "file"; readonly chat: Place; readonly name: string; readonly bytes: Uint8Array }
  /** Title and lines, with `|` between them. */
  | { readonly does: "post"; readonly chat: Place; readonly text: string }
  /** Replies to a message in its thread, or begins one. */
  | { readonly does: "thread"; readonly messageId: string; readonly text: string }
  | { readonly does: "react"; readonly messageId: string; readonly emoji: string }
  /** Chooses an item of the bot's menu, by its event key. */
  | { readonly does: "menu"; readonly key: string }
  /** Opens the chat with the bot. */
  | { readonly does: "enter" };

/** A post as events have it: in one language, which it does not name. A post in a group mentions the bot. */
export function postOf({ chat, text }: Extract<Act, { does: "post" }>): string {
  const [title = "", ...lines] = text.split("|").map((part) => part.trim());
  const at = { tag: "at", user_id: mentionKey, user_name: "Larkpost", style: [] };
  const content = lines.map((line, index) =>
    index === 0 && chat === "group"
      ? [at, { tag: "text", text: ` ${line}`, style: [] }]
      : [{ tag: "text", text: line, style: [] }],
  );
  return JSON.stringify({ title, content });
}

/** The event of a user's message. A text of a group begins with the mention of the bot. */
export function receivedEvent(said: Message, as: Person, chatType: Place): EventOf<"im.message.receive_v1"> {
  const mention = { key: mentionKey, id: bot, mentioned_type: "bot", name: "Larkpost", tenant_key: defaultTenant };
  const message = {
    message_id: said.messageId,
    create_time: String(said.createdAtMs),
    update_time: String(said.createdAtMs),
    chat_id: said.chatId,
    chat_type: chatType,
    message_type: said.msgType,
    content: said.content,
    ...(said.parentId === undefined
      ? {}
      : { root_id: said.rootId ?? "", parent_id: said.parentId, thread_id: said.threadId ?? "" }),
  };
  const isMentioned = chatType === "group" && said.content.includes(mentionKey);
  return {
    sender: { sender_id: people[as].ids, sender_type: "user", tenant_key: defaultTenant },
    message: isMentioned ? { ...message, mentions: [mention] } : message,
  };
}
