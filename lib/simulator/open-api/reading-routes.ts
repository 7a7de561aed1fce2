import type { Activity } from "./activity.ts";
import { type Answer, Refusal, success } from "./answer.ts";
import { createAccess } from "./message-routes.ts";
import type { Message, Messages } from "./messages.ts";
import type { View } from "./received.ts";
import { type Call, page, type Route, required } from "./route.ts";
import { idTypeOf, type World } from "./world.ts";

const malformed = 230001;
const dayMs = 86_400_000;
const readLifeMs = 7 * dayMs;
const urgencies = ["app", "sms", "phone"] as const;

interface Pin {
  readonly messageId: string;
  readonly chatId: string;
  readonly appId: string;
  readonly atMs: number;
}

/**
 * What is in a chat, who has read a message, pins, and urgent messages.
 * https://open.feishu.cn/document/uAjLw4CM/ukTMukTMukTM/reference/im-v1/message/list
 * (and `…/message/read_users`, `…/message/urgent_app`, `…/urgent_sms`, `…/urgent_phone`, `…/pin/create`, `…/pin/delete`,
 * `…/pin/list`)
 */
export function createReading(options: {
  readonly nowMs: () => number;
  readonly messages: Messages;
  readonly world: World;
  readonly view: View;
  readonly onActivity: (activity: Activity) => void;
}) {
  const { nowMs, messages, world, view, onActivity } = options;
  const { needBot, named, isOwn } = createAccess(messages, world);
  const pins = new Map<string, Pin>();
  /** Message → reader's open_id → when. */
  const reads = new Map<string, Map<string, number>>();

  function list(call: Call): Answer {
    const { query } = call;
    const containerId = query.get("container_id") ?? "";
    const isDescending = query.get("sort_type") === "ByCreateTimeDesc";
    const inside = (time: Message["createdAtMs"]) =>
      time >= seconds(query, "start_time", 0) && time < seconds(query, "end_time", Number.POSITIVE_INFINITY) + 1_000;
    let found: readonly Message[];
    switch (query.get("container_id_type")) {
      case "chat":
        needBot(containerId, call);
        // The chat has only the first message of a thread.
        found = messages
          .list(containerId)
          .filter(({ threadId, createdAtMs }) => threadId === undefined && inside(createdAtMs));
        break;
      case "thread":
        found = messages.inThread(containerId);
        needBot(found[0]?.chatId ?? "", call);
        break;
      default:
        throw new Refusal(malformed, "container_id_type must be chat or thread");
    }
    const sorted = isDescending ? found.toReversed() : found;
    const { items, ...rest } = page(sorted, query, { code: malformed, size: 20, maxSize: 50 });
    return success({ items: items.map((message) => view(message, query)), ...rest });
  }

  function own(call: Call): Message {
    const message = named(call);
    if (message.isRecalled) throw new Refusal(230011);
    if (!isOwn(message, call)) throw new Refusal(230012);
    return message;
  }

  function readers(call: Call): Answer {
    const message = own(call);
    if (nowMs() - message.createdAtMs > readLifeMs) throw new Refusal(230033);
    const idType = idTypeOf(call.query, malformed);
    const found = [...(reads.get(message.messageId) ?? [])];
    const { items, ...rest } = page(found, call.query, { code: malformed, size: 20, maxSize: 100 });
    return success({
      items: items.map(([openId, atMs]) => ({
        user_id_type: idType,
        user_id: world.user("open_id", openId)?.[idType] ?? openId,
        timestamp: String(atMs),
        tenant_key: message.tenant,
      })),
      ...rest,
    });
  }

  function urge(call: Call, urgency: (typeof urgencies)[number]): Answer {
    const message = own(call);
    const idType = idTypeOf(call.query, malformed);
    const ids = call.body["user_id_list"];
    if (!Array.isArray(ids) || ids.length === 0) throw new Refusal(malformed, "user_id_list is required");
    const members = world.chat(message.chatId)?.users;
    const isMember = (id: unknown) => members?.has(world.user(idType, String(id))?.open_id ?? "") === true;
    const reached = ids.filter(isMember);
    const about = `${reached.length} ${reached.length === 1 ? "person" : "people"} by ${urgency}`;
    onActivity({ what: "urged", about, chatId: message.chatId });
    return success({ invalid_user_id_list: ids.filter((id) => !isMember(id)) });
  }

  function pinned(messageId: string, call: Call): Message {
    const message = messages.named(messageId);
    needBot(message.chatId, call);
    if (message.isRecalled) throw new Refusal(230011);
    return message;
  }

  function pin(call: Call): Answer {
    const { messageId, chatId } = pinned(required(call.body, "message_id", malformed), call);
    const existing = pins.get(messageId);
    const added = existing ?? { messageId, chatId, appId: call.caller.appId, atMs: nowMs() };
    pins.set(messageId, added);
    if (existing === undefined) onActivity({ what: "pinned", about: messageId, chatId });
    return success({ pin: pinView(added) });
  }

  function unpin(call: Call): Answer {
    const { messageId, chatId } = pinned(call.params.get("message_id") ?? "", call);
    if (pins.delete(messageId)) onActivity({ what: "unpinned", about: messageId, chatId });
    return success();
  }

  function listPins(call: Call): Answer {
    const { query } = call;
    const chatId = query.get("chat_id") ?? "";
    needBot(chatId, call);
    const from = Number(query.get("start_time") ?? 0);
    const to = Number(query.get("end_time") ?? Number.POSITIVE_INFINITY);
    const found = [...pins.values()].filter(
      (entry) => entry.chatId === chatId && entry.atMs >= from && entry.atMs <= to,
    );
    const { items, ...rest } = page(found, query, { code: malformed, size: 20, maxSize: 50 });
    return success({ items: items.map(pinView), ...rest });
  }

  const place = { access: "tenant", malformed } as const;
  const path = "/open-apis/im/v1";
  const routes: Route[] = [
    { ...place, method: "GET", path: `${path}/messages`, operation: list },
    { ...place, method: "GET", path: `${path}/messages/:message_id/read_users`, operation: readers },
    ...urgencies.map((urgency): Route => {
      const operation = (call: Call) => urge(call, urgency);
      return { ...place, method: "PATCH", path: `${path}/messages/:message_id/urgent_${urgency}`, operation };
    }),
    { ...place, method: "POST", path: `${path}/pins`, operation: pin },
    { ...place, method: "GET", path: `${path}/pins`, operation: listPins },
    { ...place, method: "DELETE", path: `${path}/pins/:message_id`, operation: unpin },
  ];
  return {
    routes,
    /** A person reads a message. */
    read(messageId: string, openId: string): void {
      const readersOf = reads.get(messageId) ?? new Map<string, number>();
      reads.set(messageId, readersOf);
      if (!readersOf.has(openId)) readersOf.set(openId, nowMs());
    },
    pins: (): readonly string[] => [...pins.keys()],
  };
}

/** Epoch seconds in the query, as milliseconds. */
function seconds(query: URLSearchParams, name: string, otherwise: number): number {
  const value = query.get(name);
  if (value === null || value === "") return otherwise;
  if (!/^\d{1,12}$/.test(value)) throw new Refusal(malformed, `${name} must be epoch seconds`);
  return Number(value) * 1000;
}

function pinView({ messageId, chatId, appId, atMs }: Pin): object {
  return {
    message_id: messageId,
    chat_id: chatId,
    operator_id: appId,
    operator_id_type: "app_id",
    create_time: String(atMs),
  };
}
