import { groupChat, mei } from "../samples/facts.ts";
import { createListeners } from "./activity.ts";
import { Refusal } from "./answer.ts";
import { isId } from "./world.ts";

export interface Sender {
  readonly kind: "app" | "user";
  /** An app id or an open_id. */
  readonly id: string;
}

/** One state of a message. The last one is the current state. */
export interface Change {
  readonly what: "created" | "updated" | "recalled";
  readonly atMs: number;
  readonly msgType: string;
  readonly content: string;
}

export interface Message {
  readonly messageId: string;
  readonly chatId: string;
  readonly sender: Sender;
  readonly tenant: string;
  readonly msgType: string;
  /** A JSON document in a string. */
  readonly content: string;
  readonly createdAtMs: number;
  readonly rootId?: string;
  readonly parentId?: string;
  readonly threadId?: string | undefined;
  /** The message that this one forwards. */
  readonly upperMessageId?: string;
  /** The ids of the messages that this one forwards together. */
  readonly mergedIds?: readonly string[];
  readonly isRecalled: boolean;
  /** Whether a call named it before the simulator had seen it. Its sender and its content are then invented. */
  readonly isAssumed: boolean;
  readonly history: readonly Change[];
}

export type NewMessage = Omit<Message, "createdAtMs" | "isRecalled" | "isAssumed" | "history" | "messageId"> & {
  readonly messageId?: string;
};

/** What a bot did to a message, and the message after it. */
export interface MessageChange {
  readonly what: Change["what"];
  readonly message: Message;
  /** The text that the client types out, of a card in streaming mode. */
  readonly streamed?: string | undefined;
}

/** The id of the thread that begins with a reply to the message. */
export function threadIdOf({ messageId }: Pick<Message, "messageId">): string {
  return `omt_${messageId.slice(3)}`;
}

/** Whether the app has sent it. An invented message is treated as the caller's, because its sender is not known. */
export function isOf(message: Message, appId: string): boolean {
  return message.isAssumed || (message.sender.kind === "app" && message.sender.id === appId);
}

function isInThread(message: Message, threadId: string): boolean {
  return (message.threadId ?? threadIdOf(message)) === threadId;
}

/** A message from before the simulator was started. */
function assumed(messageId: string, tenant: string): NewMessage {
  return {
    messageId,
    chatId: groupChat,
    sender: { kind: "user", id: mei.open_id },
    tenant,
    msgType: "text",
    content: JSON.stringify({ text: "(a message from before the simulator was started)" }),
  };
}

/** All messages of all chats, with their history. A change replaces the message object. */
export function createMessages(options: {
  readonly nowMs: () => number;
  readonly newId: () => string;
  readonly isStrict: boolean;
  readonly defaultTenant: string;
}) {
  const { nowMs, newId, isStrict, defaultTenant } = options;
  const byId = new Map<string, Message>();
  const listeners = createListeners<MessageChange>();

  function add(message: NewMessage, isAssumed = false): Message {
    const atMs = nowMs();
    const { msgType, content, messageId = `om_${newId()}` } = message;
    const added: Message = {
      ...message,
      messageId,
      createdAtMs: atMs,
      isRecalled: false,
      isAssumed,
      history: [{ what: "created", atMs, msgType, content }],
    };
    byId.set(messageId, added);
    return added;
  }

  /**
   * The message with this id. Unless `isStrict`, an unknown id is accepted as a user's text in the group of the sample
   * events, because the event that named it may have come from elsewhere.
   */
  function find(messageId: string): Message | undefined {
    const message = byId.get(messageId);
    if (message !== undefined || isStrict || !isId("message_id", messageId)) return message;
    return add(assumed(messageId, defaultTenant), true);
  }

  return {
    add,
    /** Adds a bot's message, and notifies the listeners after `linked` has seen it. */
    send(message: NewMessage, linked?: (sent: Message) => void): Message {
      const sent = add(message);
      linked?.(sent);
      listeners.notify({ what: "created", message: sent });
      return sent;
    },
    /** Changes a bot's message, and notifies the listeners. */
    change(
      message: Message,
      what: "updated" | "recalled",
      next: { msgType?: string; content?: string } = {},
      streamed?: string,
    ): Message {
      const { msgType = message.msgType, content = message.content } = next;
      const history = [...message.history, { what, atMs: nowMs(), msgType, content }];
      const changed: Message = { ...message, msgType, content, isRecalled: what === "recalled", history };
      byId.set(message.messageId, changed);
      listeners.notify({ what, message: changed, streamed });
      return changed;
    },
    find,
    /** The same. @throws {Refusal} 230001 */
    named(messageId: string): Message {
      const message = find(messageId);
      if (message === undefined) throw new Refusal(230001, "invalid message_id");
      return message;
    },
    chatOfThread(threadId: string): string | undefined {
      return [...byId.values()].find((message) => message.threadId === threadId)?.chatId;
    },
    /** The message that a thread is about, and its replies. Without a reply there is no thread. */
    inThread(threadId: string): readonly Message[] {
      const found = [...byId.values()].filter((message) => isInThread(message, threadId));
      return found.some((message) => message.threadId === threadId) ? found : [];
    },
    get: (messageId: string): Message | undefined => byId.get(messageId),
    /** In the order they were sent, of one chat or of all. */
    list: (chatId?: string): readonly Message[] =>
      [...byId.values()].filter((message) => chatId === undefined || message.chatId === chatId),
    onChange: listeners.add,
  };
}

export type Messages = ReturnType<typeof createMessages>;
