import type { JsonObject } from "../../feishu/json.ts";
import { defaultTenant } from "../samples/facts.ts";
import type { Activity } from "./activity.ts";
import { type Answer, Refusal, success } from "./answer.ts";
import { type Call, page, type Route } from "./route.ts";
import { type Chat, idTypeOf, type UserIdType, type World } from "./world.ts";

interface Parts {
  readonly nowMs: () => number;
  readonly newId: () => string;
  readonly world: World;
  readonly onActivity: (activity: Activity) => void;
}

const malformed = 232001;
const hourMs = 3_600_000;
/** As long, calls with the same uuid make one chat. */
const uuidMs = 10 * hourMs;

/** What a chat of the simulator is set to, and cannot be set to otherwise. */
const settings = {
  avatar: "",
  external: false,
  chat_mode: "group",
  chat_type: "private",
  chat_tag: "inner",
  group_message_type: "chat",
  add_member_permission: "all_members",
  share_card_permission: "allowed",
  at_all_permission: "all_members",
  edit_permission: "all_members",
  urgent_setting: "all_members",
  join_message_visibility: "all_members",
  leave_message_visibility: "all_members",
  membership_approval: "no_approval_required",
  moderation_permission: "all_members",
  video_conference_setting: "all_members",
  hide_member_count_setting: "all_members",
};

/**
 * Chats and their members.
 * https://open.feishu.cn/document/uAjLw4CM/ukTMukTMukTM/reference/im-v1/chat/create
 * (and `…/chat/get`, `…/list`, `…/update`, `…/chat-members/get`, `…/create`, `…/delete`, `…/is_in_chat`)
 */
export function chatRoutes(parts: Parts): Route[] {
  return [...baseRoutes(parts), ...memberRoutes(parts)];
}

function route(method: string, path: string, operation: (call: Call) => Answer): Route {
  return { method, path: `/open-apis/im/v1/chats${path}`, access: "tenant", malformed, operation };
}

/** The calls about a chat itself. */
function baseRoutes({ nowMs, newId, world, onActivity }: Parts): Route[] {
  const made = new Map<string, { readonly chatId: string; readonly atMs: number }>();

  function create(call: Call): Answer {
    const { query, body, caller } = call;
    const idType = idTypeOf(query, malformed);
    const uuid = query.get("uuid") ?? "";
    const key = JSON.stringify([caller.appId, uuid]);
    const before = made.get(key);
    if (uuid !== "" && before !== undefined && nowMs() - before.atMs < uuidMs) {
      const chat = world.chat(before.chatId);
      if (chat !== undefined) return success({ chat_id: chat.chatId, ...view(world, chat, idType) });
    }
    const owner = openIds(world, body["owner_id"] === undefined ? [] : [body["owner_id"]], idType);
    const { known, unknown } = openIds(world, body["user_id_list"], idType);
    if (unknown.length + owner.unknown.length > 0) throw new Refusal(232043);
    const bots = Array.isArray(body["bot_id_list"]) ? body["bot_id_list"].map(String) : [];
    const chat = world.addChat({
      chatId: `oc_${newId()}`,
      ...namesIn(body, { name: "", description: "" }),
      ownerId: owner.known[0] ?? caller.appId,
      users: [...owner.known, ...known],
      bots: [caller.appId, ...bots],
    });
    if (uuid !== "") made.set(key, { chatId: chat.chatId, atMs: nowMs() });
    onActivity({ what: "created", about: `chat ${chat.name || chat.chatId}`, chatId: chat.chatId });
    return success({ chat_id: chat.chatId, ...view(world, chat, idType) });
  }

  function list(call: Call): Answer {
    const { query, caller } = call;
    const idType = idTypeOf(query, malformed);
    // The list has groups only.
    const found = world.chats().filter(({ kind, bots }) => kind === "group" && bots.has(caller.appId));
    const { items, ...rest } = page(found, query, { code: malformed, size: 20, maxSize: 100 });
    return success({ items: items.map((chat) => ({ chat_id: chat.chatId, ...view(world, chat, idType) })), ...rest });
  }

  function update(call: Call): Answer {
    const { query, body, caller } = call;
    const chat = group(world, call);
    const { name, description, ownerId, chatId } = chat;
    const { known, unknown } = openIds(
      world,
      body["owner_id"] === undefined ? [] : [body["owner_id"]],
      idTypeOf(query, malformed),
    );
    if (unknown.length > 0) throw new Refusal(malformed, "owner_id is invalid");
    const [owner = ownerId] = known;
    if (owner !== ownerId && ownerId !== caller.appId) throw new Refusal(232002);
    if (owner !== null && owner !== ownerId && !chat.users.has(owner)) throw new Refusal(232012);
    world.changeChat(chatId, { ...namesIn(body, { name, description }), ownerId: owner });
    onActivity({ what: "changed", about: `chat ${world.chat(chatId)?.name}`, chatId });
    return success();
  }

  return [
    route("POST", "", create),
    route("GET", "", list),
    route("GET", "/:chat_id", (call) => success(view(world, named(world, call), idTypeOf(call.query, malformed)))),
    route("PUT", "/:chat_id", update),
  ];
}

function memberRoutes({ world, onActivity }: Parts): Route[] {
  function members(call: Call): Answer {
    const { users } = named(world, call);
    const idType = idTypeOf(call.query, malformed, "member_id_type");
    const { items, ...rest } = page([...users], call.query, { code: malformed, size: 20, maxSize: 100 });
    const found = items.map((openId) => world.user("open_id", openId));
    return success({
      items: found.flatMap((user) =>
        user === undefined
          ? []
          : [{ member_id_type: idType, member_id: user[idType], name: user.name, tenant_key: defaultTenant }],
      ),
      ...rest,
      member_total: users.size,
    });
  }

  /** Adds or removes people or, with the kind `app_id`, bots. Ids that do not exist are named in the answer. */
  function change(call: Call, isAdding: boolean): Answer {
    const { chatId, users, bots } = group(world, call);
    const ids = call.body["id_list"];
    if (!Array.isArray(ids) || ids.length === 0) throw new Refusal(malformed, "id_list is required");
    const isBots = call.query.get("member_id_type") === "app_id";
    const idType = isBots ? "open_id" : idTypeOf(call.query, malformed, "member_id_type");
    const { known, unknown } = isBots ? { known: ids.map(String), unknown: [] } : openIds(world, ids, idType);
    const before = isBots ? bots : users;
    const after = isAdding ? [...before, ...known] : [...before].filter((id) => !known.includes(id));
    world.changeChat(chatId, isBots ? { bots: after } : { users: after });
    const about = `${known.length} ${isBots ? "bot" : "member"}${known.length === 1 ? "" : "s"}`;
    onActivity({ what: isAdding ? "added" : "removed", about, chatId });
    return success({
      invalid_id_list: isAdding ? [] : unknown,
      ...(isAdding ? { not_existed_id_list: unknown, pending_approval_id_list: [] } : {}),
    });
  }

  function isInChat({ params, caller }: Call): Answer {
    const chat = world.chat(params.get("chat_id") ?? "");
    if (chat === undefined) throw new Refusal(232006);
    return success({ is_in_chat: chat.bots.has(caller.appId) });
  }

  return [
    route("GET", "/:chat_id/members", members),
    route("POST", "/:chat_id/members", (call) => change(call, true)),
    route("DELETE", "/:chat_id/members", (call) => change(call, false)),
    route("GET", "/:chat_id/members/is_in_chat", isInChat),
  ];
}

/** The chat that the path names, with the bot in it. @throws {Refusal} */
function named(world: World, { params, caller }: Call): Chat {
  const chat = world.chat(params.get("chat_id") ?? "");
  if (chat === undefined) throw new Refusal(232006);
  if (!chat.bots.has(caller.appId)) throw new Refusal(232011);
  return chat;
}

/** A group. A chat of one person with one bot can neither change nor have other members. @throws {Refusal} */
function group(world: World, call: Call): Chat {
  const chat = named(world, call);
  if (chat.kind === "p2p") throw new Refusal(232008);
  return chat;
}

/** The open_ids of people, and the ids that nobody has. @throws {Refusal} */
function openIds(world: World, ids: unknown, idType: UserIdType): { known: string[]; unknown: unknown[] } {
  if (ids !== undefined && !Array.isArray(ids)) throw new Refusal(malformed, "a list of ids is required");
  const found = (ids ?? []).map((id: unknown) => [id, world.user(idType, String(id))?.open_id] as const);
  const known = found.flatMap(([, openId]) => (openId === undefined ? [] : [openId]));
  return { known, unknown: found.filter(([, openId]) => openId === undefined).map(([id]) => id) };
}

/** A chat as the API returns it. */
function view(world: World, chat: Chat, idType: UserIdType): object {
  const { name, description, ownerId, kind } = chat;
  const owner = ownerId === null ? undefined : world.users().find(({ open_id }) => open_id === ownerId);
  return {
    name,
    description,
    tenant_key: defaultTenant,
    chat_status: "normal",
    ...settings,
    chat_mode: kind,
    // A bot that owns a chat is not named.
    ...(owner === undefined ? {} : { owner_id: owner[idType], owner_id_type: idType }),
    user_count: String(chat.users.size),
    bot_count: String(chat.bots.size),
  };
}

/** The name and the description in a body, or those before. @throws {Refusal} */
function namesIn(body: JsonObject, before: Pick<Chat, "name" | "description">): Pick<Chat, "name" | "description"> {
  const { name = before.name, description = before.description } = body;
  if (typeof name !== "string" || typeof description !== "string") {
    throw new Refusal(malformed, "name and description must be strings");
  }
  return { name, description };
}
