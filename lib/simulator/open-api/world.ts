import { createHash } from "node:crypto";
import { groupChat, groupNames, mei, people, tomas, type UserId } from "../samples/facts.ts";
import { Refusal } from "./answer.ts";

export interface User extends UserId {
  readonly name: string;
  readonly email: string;
}

export interface Chat {
  readonly chatId: string;
  readonly kind: "p2p" | "group";
  readonly name: string;
  readonly description: string;
  /** The open_id or the app id of the owner; `null` in a chat of one person with one bot. */
  readonly ownerId: string | null;
  /** open_ids */
  readonly users: ReadonlySet<string>;
  /** App ids */
  readonly bots: ReadonlySet<string>;
}

export interface NewChat {
  readonly chatId: string;
  readonly kind?: Chat["kind"];
  readonly name?: string;
  readonly description?: string;
  readonly ownerId?: string | null;
  readonly users?: Iterable<string>;
  readonly bots?: Iterable<string>;
}

type MutableChat = Chat & { readonly users: Set<string>; readonly bots: Set<string> };

const userIdTypes = ["open_id", "union_id", "user_id"] as const;
export type UserIdType = (typeof userIdTypes)[number];

/** The kind of id that a call gives and wants for people; by default the open_id. @throws {Refusal} `code` */
export function idTypeOf(query: URLSearchParams, code: number, name = "user_id_type"): UserIdType {
  const wanted = query.get(name) || "open_id";
  const idType = userIdTypes.find((type) => type === wanted);
  if (idType === undefined) throw new Refusal(code, `${name} must be open_id, union_id or user_id`);
  return idType;
}

const shapes: Readonly<Record<UserIdType | "email" | "chat_id" | "message_id", RegExp>> = {
  open_id: /^ou_[\w-]{1,80}$/,
  union_id: /^on_[\w-]{1,80}$/,
  user_id: /^[\w@.-]{1,80}$/,
  email: /^[^\s@]{1,80}@[^\s@]{1,80}$/,
  chat_id: /^oc_[\w-]{1,80}$/,
  message_id: /^om_[\w-]{1,80}$/,
};

export function isId(type: keyof typeof shapes, id: string): boolean {
  return shapes[type].test(id);
}

/**
 * The users and the chats: the people and the group of the sample events, and a chat of each person with each bot.
 * Events on a laptop may also name other people and chats. So, unless `isStrict`, an unknown id of the right form is
 * accepted. An unknown chat is a group with every bot in it.
 */
export function createWorld({ appIds, isStrict }: { appIds: readonly string[]; isStrict: boolean }) {
  const users = new Map<string, User>();
  const chats = new Map<string, MutableChat>();

  function addUser(user: User): User {
    users.set(user.open_id, user);
    return user;
  }

  function addChat(chat: NewChat): Chat {
    const { chatId, kind = "group", name = "", description = "", ownerId = null } = chat;
    const members = { users: new Set(chat.users), bots: new Set(chat.bots ?? appIds) };
    const added = { chatId, kind, name, description, ownerId, ...members };
    chats.set(chatId, added);
    return added;
  }

  addUser({ ...mei, name: people.mei.name, email: "mei.okafor@warehouse.example" });
  addUser({ ...tomas, name: people.tomas.name, email: "tomas.reyes@warehouse.example" });
  addChat({ chatId: groupChat, name: groupNames.en_us, ownerId: mei.open_id, users: [mei.open_id, tomas.open_id] });

  function user(type: UserIdType | "email", id: string): User | undefined {
    if (!isId(type, id)) return undefined;
    const existing = type === "open_id" ? users.get(id) : [...users.values()].find((user) => user[type] === id);
    return existing !== undefined || isStrict ? existing : addUser(inventedUser(type, id));
  }

  function chat(chatId: string): Chat | undefined {
    if (!isId("chat_id", chatId)) return undefined;
    const existing = chats.get(chatId);
    return existing !== undefined || isStrict ? existing : addChat({ chatId, users: [mei.open_id] });
  }

  /** The chat of a user with a bot. For the first app's bot, it is the chat in the sample events. */
  function p2p(appId: string, { open_id, name }: User): Chat {
    const id = appId === appIds[0] ? open_id.slice(3) : digest(`${appId} ${open_id}`);
    const chatId = `oc_${id}`;
    return chats.get(chatId) ?? addChat({ chatId, kind: "p2p", name, users: [open_id], bots: [appId] });
  }

  for (const appId of appIds) for (const person of [...users.values()]) p2p(appId, person);

  return {
    addUser,
    addChat,
    user,
    chat,
    /** The chat that a message to `receive_id` is sent to. @throws {Refusal} */
    receiver(appId: string, idType: string, id: string): Chat {
      if (idType === "chat_id") {
        if (!isId("chat_id", id)) throw new Refusal(230034);
        const receiver = chat(id);
        if (receiver === undefined) throw new Refusal(230002);
        return receiver;
      }
      const type = ([...userIdTypes, "email"] as const).find((each) => each === idType);
      if (type === undefined) {
        throw new Refusal(230001, "receive_id_type must be open_id, union_id, user_id, email or chat_id");
      }
      const receiver = user(type, id);
      if (receiver === undefined) throw new Refusal(230034);
      return p2p(appId, receiver);
    },
    hasBot: (chatId: string, appId: string): boolean => chat(chatId)?.bots.has(appId) === true,
    addBot(chatId: string, appId: string): void {
      chats.get(chatId)?.bots.add(appId);
    },
    removeBot(chatId: string, appId: string): void {
      chats.get(chatId)?.bots.delete(appId);
    },
    /** Changes a chat: its name, its description, its owner or its members. */
    changeChat(chatId: string, change: Partial<Omit<NewChat, "chatId" | "kind">>): void {
      const before = chats.get(chatId);
      if (before !== undefined) addChat({ ...before, ...change });
    },
    users: (): readonly User[] => [...users.values()],
    chats: (): readonly Chat[] => [...chats.values()],
  };
}

export type World = ReturnType<typeof createWorld>;

/** The same id always gives the same user. */
function inventedUser(type: UserIdType | "email", id: string): User {
  const hex = digest(`${type} ${id}`);
  return {
    name: `User ${hex.slice(0, 4)}`,
    open_id: `ou_${hex}`,
    union_id: `on_${hex}`,
    user_id: hex.slice(0, 8),
    email: `${hex}@laptop.example`,
    [type]: id,
  };
}

function digest(text: string): string {
  return createHash("sha256").update(text).digest("hex").slice(0, 32);
}
