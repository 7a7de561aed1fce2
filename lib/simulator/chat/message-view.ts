import type { Message } from "../open-api/messages.ts";
import { type Fields, isObject, object } from "../open-api/route.ts";
import type { Chat } from "../open-api/world.ts";
import { type CardView, cardView } from "./card-view.ts";

/** A message as a person sees it. */
export interface MessageView {
  readonly messageId: string;
  readonly chat: { readonly id: string; readonly kind: Chat["kind"]; readonly name: string };
  /** Which state of the message it is, from 1: a choice is made on what was shown. */
  readonly version: number;
  readonly msgType: string;
  /** Of anything but a card. */
  readonly text?: string;
  readonly card?: CardView;
}

export function messageView(message: Message, chat: Chat | undefined): MessageView {
  const { messageId, chatId, msgType, content, history } = message;
  return {
    messageId,
    chat: { id: chatId, kind: chat?.kind ?? "group", name: chat?.name ?? "" },
    version: history.length,
    msgType,
    ...(msgType === "interactive" ? { card: cardView(content) } : { text: textView(msgType, content) }),
  };
}

/** The words of a message that is no card; what has none is named by its type. Total. */
export function textView(msgType: string, content: string): string {
  const fields = object(content) ?? {};
  if (msgType === "text") return withMentions(word(fields["text"]));
  if (msgType === "post") return postView(fields);
  const about =
    fields["file_name"] ?? fields["image_key"] ?? fields["file_key"] ?? fields["chat_id"] ?? fields["user_id"];
  return typeof about === "string" ? `[${msgType} ${about}]` : `[${msgType}]`;
}

/** `<at user_id="ou_1">Mei</at>` → `@Mei` */
function withMentions(text: string): string {
  return text.replaceAll(
    /<at (?:user_)?id="?([^">]{1,80})"?>([^<]{0,80})<\/at>/g,
    (_, id: string, name: string) => `@${name || id}`,
  );
}

/** A post, in the first of its languages. */
function postView(fields: Fields): string {
  const post = Object.values(fields)[0];
  const { title, content } = isObject(post) ? post : ({} as Fields);
  const lines = (Array.isArray(content) ? content : []).map((line: unknown) =>
    (Array.isArray(line) ? line : []).map((tag: unknown) => tagText(isObject(tag) ? tag : {})).join(""),
  );
  return [...(typeof title === "string" && title !== "" ? [title] : []), ...lines].join("\n");
}

function tagText({ tag, text, href, user_name: name, user_id: id }: Fields): string {
  if (tag === "a" && typeof href === "string") return `${word(text)} (${href})`;
  if (tag === "at") return `@${word(name) || word(id)}`;
  return typeof text === "string" ? text : `[${word(tag)}]`;
}

function word(value: unknown): string {
  return typeof value === "string" ? value : "";
}
