import { createHash } from "node:crypto";
import { groupChat, groupNames, mei, tomas, type UserId } from "../samples/facts.ts";
import { Refusal } from "./answer.ts";

export interface User extends UserId {
  readonly name: string;
  readonly email: string;
}

export interface Chat {
  readonly chatId: string;
  readonly kind: "p2p" | "group";
  readonly name: string;
  /** Their open_ids. */
  readonly users: ReadonlySet<string>;
  /** The app ids of the bots in it. */
  readonly bots: ReadonlySet<string>;
}

type OpenChat = Chat & { readonly users: Set<string>; readonly bots: Set<string> };

export const userIdTypes = ["open_id", "union_id", "user_id"] as const;
export type UserIdType = (typeof userIdTypes)[number];

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
 * Who there is, and who talks where: the people and the group of the sampled events, and a chat of each
 * person with each bot. Events on a laptop also name people and chats of the developer's own. So a
 * well-formed id that nobody has seen is taken to exist, unless `isStrict`: an unknown chat is a group
 * that every bot is in.
 */
export function createWorld({ appIds, isStrict }: { appIds: readonly string[]; isStrict: boolean }) {
  const users = new Map<string, User>();
  const chats = new Map<string, OpenChat>();

  function addUser(user: User): User {
    users.set(user.open_id, user);
    return user;
  }

  function addChat(chat: {
    chatId: string;
    kind?: Chat["kind"];
    name?: string;
    users?: Iterable<string>;
    bots?: Iterable<string>;
  }): Chat {
    const { chatId, kind = "group", name = "" } = chat;
    const added = { chatId, kind, name, users: new Set(chat.users), bots: new Set(chat.bots ?? appIds) };
    chats.set(chatId, added);
    return added;
  }

  addUser({ ...mei, name: "Mei Okafor", email: "mei.okafor@warehouse.example" });
  addUser({ ...tomas, name: "Tomas Reyes", email: "tomas.reyes@warehouse.example" });
  addChat({ chatId: groupChat, name: groupNames.en_us, users: [mei.open_id, tomas.open_id] });

  function user(type: UserIdType | "email", id: string): User | undefined {
    if (!isId(type, id)) return undefined;
    const known = type === "open_id" ? users.get(id) : [...users.values()].find((one) => one[type] === id);
    if (known !== undefined || isStrict) return known;
    const hex = digest(`${type} ${id}`);
    const ids = {
      open_id: `ou_${hex}`,
      union_id: `on_${hex}`,
      user_id: hex.slice(0, 8),
      email: `${hex}@laptop.example`,
    };
    return addUser({ name: `User ${hex.slice(0, 4)}`, ...ids, [type]: id });
  }

  function chat(chatId: string): Chat | undefined {
    if (!isId("chat_id", chatId)) return undefined;
    const known = chats.get(chatId);
    return known !== undefined || isStrict ? known : addChat({ chatId, users: [mei.open_id] });
  }

  /** The chat of a user with a bot. With the first app's it is the one that the sampled events name. */
  function p2p(appId: string, { open_id, name }: User): Chat {
    const id = appId === appIds[0] ? open_id.slice(3) : digest(`${appId} ${open_id}`);
    const chatId = `oc_${id}`;
    return chats.get(chatId) ?? addChat({ chatId, kind: "p2p", name, users: [open_id], bots: [appId] });
  }

  for (const appId of appIds) for (const one of [...users.values()]) p2p(appId, one);

  return {
    addUser,
    addChat,
    user,
    chat,
    /** Where a message to `receive_id` goes. @throws {Refusal} */
    receiver(appId: string, idType: string, id: string): Chat {
      switch (idType) {
        case "open_id":
        case "union_id":
        case "user_id":
        case "email": {
          const found = user(idType, id);
          if (found === undefined) throw new Refusal(230034);
          return p2p(appId, found);
        }
        case "chat_id": {
          if (!isId("chat_id", id)) throw new Refusal(230034);
          const found = chat(id);
          if (found === undefined) throw new Refusal(230002);
          return found;
        }
        default:
          throw new Refusal(230001, "receive_id_type must be open_id, union_id, user_id, email or chat_id");
      }
    },
    addBot(chatId: string, appId: string): void {
      chats.get(chatId)?.bots.add(appId);
    },
    removeBot(chatId: string, appId: string): void {
      chats.get(chatId)?.bots.delete(appId);
    },
    users: (): readonly User[] => [...users.values()],
    chats: (): readonly Chat[] => [...chats.values()],
  };
}

export type World = ReturnType<typeof createWorld>;

function digest(text: string): string {
  return createHash("sha256").update(text).digest("hex").slice(0, 32);
}
