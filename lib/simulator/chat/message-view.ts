import { checkCard } from "../../feishu/card.ts";
import { fieldsOf, isObject, type JsonObject } from "../../feishu/json.ts";
import type { Message } from "../open-api/messages.ts";
import { object } from "../open-api/route.ts";
import type { Chat } from "../open-api/world.ts";
import { type CardView, cardView, withMentions } from "./card-view.ts";

/** A message as a person sees it. */
export interface MessageView {
  readonly messageId: string;
  readonly chat: { readonly id: string; readonly kind: Chat["kind"]; readonly name: string };
  /** Counts the states of the message from 1. A choice on a card names the state that was shown. */
  readonly version: number;
  readonly msgType: string;
  /** Cards have none. */
  readonly text?: string | undefined;
  readonly card?: CardView | undefined;
  /** What is uncertain about a card that was taken. */
  readonly warnings?: readonly string[] | undefined;
}

/** @param content What the message shows, which is not its content if it names a card entity. */
export function messageView(message: Message, chat: Chat | undefined, content: string = message.content): MessageView {
  const { messageId, chatId, msgType, history } = message;
  const isCard = msgType === "interactive";
  return {
    messageId,
    chat: chatView(chatId, chat),
    version: history.length,
    msgType,
    text: isCard ? undefined : textView(msgType, content),
    card: isCard ? cardView(content) : undefined,
    warnings: isCard ? warningsOf(content) : undefined,
  };
}

export function chatView(id: string, chat: Chat | undefined): MessageView["chat"] {
  return { id, kind: chat?.kind ?? "group", name: chat?.name ?? "" };
}

function warningsOf(content: string): readonly string[] | undefined {
  const { warnings } = checkCard(object(content));
  return warnings.length === 0 ? undefined : warnings.map(({ path, message }) => `${path}: ${message}`);
}

/** The text of a message that is not a card. A message without a text is named by its type. Never throws. */
export function textView(msgType: string, content: string): string {
  const fields = object(content) ?? {};
  if (msgType === "text") return withMentions(stringOr(fields["text"]));
  if (msgType === "post") return postView(fields);
  const about =
    fields["file_name"] ?? fields["image_key"] ?? fields["file_key"] ?? fields["chat_id"] ?? fields["user_id"];
  return typeof about === "string" ? `[${msgType} ${about}]` : `[${msgType}]`;
}

/** A post's text in its first language. What a user posts has one language, and does not name it. */
function postView(fields: JsonObject): string {
  const post = Array.isArray(fields["content"]) ? fields : Object.values(fields)[0];
  const { title, content } = fieldsOf(post);
  const lines = (Array.isArray(content) ? content : []).map((line: unknown) =>
    (Array.isArray(line) ? line : []).map((element: unknown) => elementText(isObject(element) ? element : {})).join(""),
  );
  const heading = stringOr(title) === "" ? [] : [stringOr(title)];
  return [...heading, ...lines].join("\n");
}

function elementText({ tag, text, href, user_name: name, user_id: id }: JsonObject): string {
  if (tag === "a" && typeof href === "string") return `${stringOr(text)} (${href})`;
  if (tag === "at") return `@${stringOr(name) || stringOr(id)}`;
  return typeof text === "string" ? text : `[${stringOr(tag)}]`;
}

function stringOr(value: unknown): string {
  return typeof value === "string" ? value : "";
}
