import type { Activity } from "./activity.ts";
import { type Answer, Refusal, success } from "./answer.ts";
import { type Access, createAccess } from "./message-routes.ts";
import type { Message, Messages } from "./messages.ts";
import type { View } from "./received.ts";
import { type Call, page, type Route } from "./route.ts";
import { idTypeOf, type World } from "./world.ts";

const malformed = 230001;
const dayMs = 86_400_000;
const readLifeMs = 7 * dayMs;
const urgencies = ["app", "sms", "phone"] as const;

/**
 * What is in a chat, who has read a message, and urgent messages.
 * https://open.feishu.cn/document/uAjLw4CM/ukTMukTMukTM/reference/im-v1/message/list
 * (and `…/message/read_users`, `…/message/urgent_app`, `…/urgent_sms`, `…/urgent_phone`)
 */
export function createReading(options: {
  readonly nowMs: () => number;
  readonly messages: Messages;
  readonly world: World;
  readonly view: View;
  readonly onActivity: (activity: Activity) => void;
}) {
  const { nowMs, messages, world, view, onActivity } = options;
  const access = createAccess(messages, world);
  /** Message → reader's open_id → when. */
  const reads = new Map<string, Map<string, number>>();

  function list(call: Call): Answer {
    const { query } = call;
    const found = contained(call, messages, access);
    const sorted = query.get("sort_type") === "ByCreateTimeDesc" ? found.toReversed() : found;
    const { items, ...rest } = page(sorted, query, { code: malformed, size: 20, maxSize: 50 });
    return success({ items: items.map((message) => view(message, query)), ...rest });
  }

  function own(call: Call): Message {
    const message = access.named(call);
    if (message.isRecalled) throw new Refusal(230011);
    if (!access.isOwn(message, call)) throw new Refusal(230012);
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

  const place = { access: "tenant", malformed } as const;
  const path = "/open-apis/im/v1";
  const routes: Route[] = [
    { ...place, method: "GET", path: `${path}/messages`, operation: list },
    { ...place, method: "GET", path: `${path}/messages/:message_id/read_users`, operation: readers },
    ...urgencies.map((urgency): Route => {
      const operation = (call: Call) => urge(call, urgency);
      return { ...place, method: "PATCH", path: `${path}/messages/:message_id/urgent_${urgency}`, operation };
    }),
  ];
  return {
    routes,
    /** A person reads a message. */
    read(messageId: string, openId: string): void {
      const readersOf = reads.get(messageId) ?? new Map<string, number>();
      reads.set(messageId, readersOf);
      if (!readersOf.has(openId)) readersOf.set(openId, nowMs());
    },
  };
}

/** The messages of the chat or the thread that a call asks for. @throws {Refusal} */
function contained(call: Call, messages: Messages, { needBot }: Access): readonly Message[] {
  const { query } = call;
  const containerId = query.get("container_id") ?? "";
  switch (query.get("container_id_type")) {
    case "chat": {
      needBot(containerId, call);
      const isWithin = ({ createdAtMs }: Message) =>
        createdAtMs >= seconds(query, "start_time", 0) &&
        createdAtMs < seconds(query, "end_time", Number.POSITIVE_INFINITY) + 1_000;
      // The chat has only the first message of a thread.
      return messages.list(containerId).filter((message) => message.threadId === undefined && isWithin(message));
    }
    case "thread": {
      const found = messages.inThread(containerId);
      needBot(found[0]?.chatId ?? "", call);
      return found;
    }
    default:
      throw new Refusal(malformed, "container_id_type must be chat or thread");
  }
}

/** Epoch seconds in the query, as milliseconds. */
function seconds(query: URLSearchParams, name: string, otherwise: number): number {
  const value = query.get(name);
  if (value === null || value === "") return otherwise;
  if (!/^\d{1,12}$/.test(value)) throw new Refusal(malformed, `${name} must be epoch seconds`);
  return Number(value) * 1000;
}
