import type { Activity } from "./activity.ts";
import { type Answer, Refusal, success } from "./answer.ts";
import { createAccess } from "./message-routes.ts";
import type { Message, Messages } from "./messages.ts";
import { type Call, page, type Route, required } from "./route.ts";
import type { World } from "./world.ts";

const malformed = 230001;

interface Pin {
  readonly messageId: string;
  readonly chatId: string;
  readonly appId: string;
  readonly atMs: number;
}

/**
 * The messages that are pinned in a chat.
 * https://open.feishu.cn/document/uAjLw4CM/ukTMukTMukTM/reference/im-v1/pin/create (and `…/delete`, `…/list`)
 */
export function createPins(options: {
  readonly nowMs: () => number;
  readonly messages: Messages;
  readonly world: World;
  readonly onActivity: (activity: Activity) => void;
}) {
  const { nowMs, messages, world, onActivity } = options;
  const { needBot } = createAccess(messages, world);
  const pins = new Map<string, Pin>();

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
    return success({ pin: view(added) });
  }

  function unpin(call: Call): Answer {
    const { messageId, chatId } = pinned(call.params.get("message_id") ?? "", call);
    if (pins.delete(messageId)) onActivity({ what: "unpinned", about: messageId, chatId });
    return success();
  }

  function list(call: Call): Answer {
    const { query } = call;
    const chatId = query.get("chat_id") ?? "";
    needBot(chatId, call);
    const from = Number(query.get("start_time") ?? 0);
    const to = Number(query.get("end_time") ?? Number.POSITIVE_INFINITY);
    const found = [...pins.values()].filter(
      (entry) => entry.chatId === chatId && entry.atMs >= from && entry.atMs <= to,
    );
    const { items, ...rest } = page(found, query, { code: malformed, size: 20, maxSize: 50 });
    return success({ items: items.map(view), ...rest });
  }

  const place = { access: "tenant", malformed } as const;
  const path = "/open-apis/im/v1/pins";
  const routes: Route[] = [
    { ...place, method: "POST", path, operation: pin },
    { ...place, method: "GET", path, operation: list },
    { ...place, method: "DELETE", path: `${path}/:message_id`, operation: unpin },
  ];
  return { routes, list: (): readonly string[] => [...pins.keys()] };
}

function view({ messageId, chatId, appId, atMs }: Pin): object {
  return {
    message_id: messageId,
    chat_id: chatId,
    operator_id: appId,
    operator_id_type: "app_id",
    create_time: String(atMs),
  };
}
