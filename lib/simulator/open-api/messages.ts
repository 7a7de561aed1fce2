import { groupChat, mei } from "../samples/facts.ts";
import { Refusal } from "./answer.ts";
import { isId } from "./world.ts";

export interface Sender {
  readonly kind: "app" | "user";
  /** An app id or an open_id. */
  readonly id: string;
}

/** One state of a message; the last is the present one. */
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
  readonly threadId?: string;
  /** The message that this one forwards. */
  readonly upperMessageId?: string;
  readonly isRecalled: boolean;
  /** Never seen before a call named it: who sent it and what it says is made up. */
  readonly isAssumed: boolean;
  readonly history: readonly Change[];
}

export type NewMessage = Omit<Message, "createdAtMs" | "isRecalled" | "isAssumed" | "history" | "messageId"> & {
  readonly messageId?: string;
};

/** What a bot did, with the message as it is after that. */
export interface Said {
  readonly what: Change["what"];
  readonly message: Message;
}

/** Every message of every chat, with all that became of it; messages are never changed, only replaced. */
export function createMessages(options: {
  readonly nowMs: () => number;
  readonly newId: () => string;
  readonly isStrict: boolean;
  readonly defaultTenant: string;
}) {
  const { nowMs, newId, isStrict, defaultTenant } = options;
  const byId = new Map<string, Message>();
  const listeners = new Set<(said: Said) => void>();

  function tell(what: Change["what"], message: Message): void {
    for (const listener of listeners) listener({ what, message });
  }

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

  return {
    add,
    /** A message that a bot sends. */
    send(message: NewMessage): Message {
      const sent = add(message);
      tell("created", sent);
      return sent;
    },
    /** A bot changes a message of its own. */
    change(message: Message, what: "updated" | "recalled", next: { msgType?: string; content?: string } = {}): Message {
      const { msgType = message.msgType, content = message.content } = next;
      const history = [...message.history, { what, atMs: nowMs(), msgType, content }];
      const changed: Message = { ...message, msgType, content, isRecalled: what === "recalled", history };
      byId.set(message.messageId, changed);
      tell(what, changed);
      return changed;
    },
    /**
     * The message with this id. One that was never seen is taken to exist unless strict, since an event
     * may come from elsewhere: a text of a user in the group of the sampled events.
     * @throws {Refusal} 230001
     */
    named(messageId: string): Message {
      const known = byId.get(messageId);
      if (known !== undefined) return known;
      if (isStrict || !isId("message_id", messageId)) throw new Refusal(230001, "invalid message_id");
      const assumed = {
        messageId,
        chatId: groupChat,
        sender: { kind: "user", id: mei.open_id },
        tenant: defaultTenant,
        msgType: "text",
        content: JSON.stringify({ text: "(a message from before the simulator was started)" }),
      } as const;
      return add(assumed, true);
    },
    chatOfThread(threadId: string): string | undefined {
      return [...byId.values()].find((message) => message.threadId === threadId)?.chatId;
    },
    get: (messageId: string): Message | undefined => byId.get(messageId),
    /** In the order they were sent; of one chat or of all. */
    list: (chatId?: string): readonly Message[] =>
      [...byId.values()].filter((message) => chatId === undefined || message.chatId === chatId),
    /** @returns what ends it. */
    onSaid(listener: (said: Said) => void): () => void {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
  };
}

export type Messages = ReturnType<typeof createMessages>;
