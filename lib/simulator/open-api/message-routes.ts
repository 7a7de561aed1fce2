import type { KnownParts } from "../../feishu/checked-card.ts";
import { type Answer, Refusal, success } from "./answer.ts";
import type { CardEntities } from "./card-entities.ts";
import { checkContent, isShared } from "./content.ts";
import { isOf, type Message, type Messages, type NewMessage, threadIdOf } from "./messages.ts";
import type { View } from "./received.ts";
import { type Call, object, type Route, required } from "./route.ts";
import { createSentOnce } from "./sent-once.ts";
import type { Uploads } from "./uploads.ts";
import type { World } from "./world.ts";

const dayMs = 86_400_000;
const cardLifeMs = 14 * dayMs;
const maxEdits = 20;
/** Updates of one card in a second. */
const maxUpdates = 5;
const notForwarded: ReadonlySet<string> = new Set(["system", "audio"]);
const malformed = 230001;
/** What is sent is answered with open_ids. */
const noQuery = new URLSearchParams();
/** What the file of a message must have been uploaded as. The other types of files are sent as a file. */
const uploadedAs: ReadonlyMap<string, string> = new Map([
  ["audio", "opus"],
  ["media", "mp4"],
]);

interface Places {
  readonly messages: Messages;
  readonly world: World;
  readonly known: KnownParts;
  readonly entities: CardEntities;
  readonly uploads: Uploads;
  readonly view: View;
}

/**
 * Messages: send, reply, forward (also together, and a thread), edit, update a card, recall, read.
 * https://open.feishu.cn/document/uAjLw4CM/ukTMukTMukTM/reference/im-v1/message/create
 * (and `…/reply`, `…/forward`, `…/merge_forward`, `…/thread/forward`, `…/update`, `…/patch`, `…/delete`, `…/get`)
 */
export function messageRoutes(places: Places): Route[] {
  const { messages, world, known, view } = places;
  const access = createAccess(messages, world);
  const check: Check = (msgType, content) => checkContent(msgType, content, known);
  const once = createOnce(messages, view);
  return [
    ...sendingRoutes(places, access, { check, once }),
    ...forwardingRoutes(places, access, once),
    ...changingRoutes(places, access, check),
    route("GET", "/:message_id", (call) => {
      const message = access.named(call);
      const upper = { upper_message_id: message.messageId };
      const merged = (message.mergedIds ?? []).map((id) => ({ ...view(messages.named(id), call.query), ...upper }));
      return success({ items: [view(message, call.query), ...merged] });
    }),
  ];
}

type Check = (msgType: unknown, content: unknown) => ReturnType<typeof checkContent>;
export type Access = ReturnType<typeof createAccess>;
type Once = ReturnType<typeof createOnce>;

/** What a bot may do with a message. */
export function createAccess(messages: Messages, world: World) {
  function needBot(chatId: string, { caller }: Call): void {
    if (!world.hasBot(chatId, caller.appId)) throw new Refusal(230002);
  }
  return {
    needBot,
    /** The message that the path names. The bot must be in its chat. */
    named(call: Call): Message {
      const message = messages.named(call.params.get("message_id") ?? "");
      needBot(message.chatId, call);
      return message;
    },
    isOwn: (message: Message, { caller }: Call): boolean => isOf(message, caller.appId),
  };
}

/** Sends what a call asks for, unless the same app has sent it under the same uuid. */
function createOnce(messages: Messages, view: View) {
  const sent = createSentOnce();
  return (call: Call, uuid: unknown, target: string[], send: () => Message): Answer => {
    const { caller, nowMs, answeredAtMs } = call;
    const scope = [caller.appId, caller.tenant, ...target];
    const messageId = sent.once({ scope, uuid, nowMs, answeredAtMs }, () => send().messageId);
    return success(view(messages.named(messageId), noQuery));
  };
}

/** Send and reply. */
function sendingRoutes(places: Places, { needBot }: Access, { check, once }: { check: Check; once: Once }): Route[] {
  const { messages, world, entities, uploads } = places;

  /** Sends a message. One that names a card entity shows it from then on. */
  function send(message: NewMessage, { caller }: Call): Message {
    const entity = entities.toSend(message.content, caller.appId);
    return messages.send(message, (added) => {
      if (entity !== undefined) entities.sent(entity, added);
    });
  }

  /** Checks a message, also whose and of which type its files are. A file on a laptop may be one of the real platform. */
  function toSend({ body, caller }: Call): ReturnType<Check> {
    const checked = check(body["msg_type"], body["content"]);
    const { msgType, content } = checked;
    if (msgType === "interactive") return checked;
    for (const [, name, key = ""] of content.matchAll(/"(image_key|file_key)"\s*:\s*"([^"]{1,200})"/g)) {
      const upload = uploads.get(key);
      if (upload === undefined) continue;
      if (upload.appId !== caller.appId) throw new Refusal(230017);
      if (name === "image_key" || msgType === "post") continue;
      const isOf = [...uploadedAs].find(([, type]) => type === upload.type)?.[0] ?? "file";
      if (isOf !== msgType) throw new Refusal(230055);
    }
    return checked;
  }

  function create(call: Call): Answer {
    const { caller, query, body } = call;
    const checked = toSend(call);
    const receiveId = required(body, "receive_id", malformed);
    const { chatId } = world.receiver(caller.appId, query.get("receive_id_type") ?? "", receiveId);
    return once(call, body["uuid"], [], () => {
      needBot(chatId, call);
      return send({ ...checked, ...by(call), chatId }, call);
    });
  }

  function reply(call: Call): Answer {
    const { body } = call;
    const parent = messages.named(call.params.get("message_id") ?? "");
    const checked = toSend(call);
    return once(call, body["uuid"], [], () => {
      if (parent.isRecalled) throw new Refusal(230011);
      needBot(parent.chatId, call);
      const newThreadId = body["reply_in_thread"] === true ? threadIdOf(parent) : undefined;
      const { chatId, messageId: parentId, rootId = parentId, threadId = newThreadId } = parent;
      return send({ ...checked, ...by(call), chatId, rootId, parentId, threadId }, call);
    });
  }

  return [route("POST", "", create), route("POST", "/:message_id/reply", reply)];
}

/** Forward one message, some together, and a thread. */
function forwardingRoutes({ messages, world }: Places, { needBot, named }: Access, once: Once): Route[] {
  /** Where a call forwards to. */
  function target({ caller, query, body }: Call): Pick<Message, "chatId" | "threadId"> {
    const idType = query.get("receive_id_type") ?? "";
    const receiveId = required(body, "receive_id", malformed);
    if (idType !== "thread_id") return { chatId: world.receiver(caller.appId, idType, receiveId).chatId };
    const chatId = messages.chatOfThread(receiveId);
    if (chatId === undefined) throw new Refusal(230019);
    return { chatId, threadId: receiveId };
  }

  /** The uuid of a forward is in the query, and identifies a message to one target only. */
  function forwardOnce(call: Call, to: Pick<Message, "chatId" | "threadId">, what: object, check: () => void): Answer {
    const { msgType = "merge_forward", content = "Merged and Forwarded Message", ...rest } = what as Partial<Message>;
    return once(call, call.query.get("uuid") ?? undefined, ["forward", to.chatId], () => {
      check();
      needBot(to.chatId, call);
      return messages.send({ ...rest, msgType, content, ...by(call), ...to });
    });
  }

  function forward(call: Call): Answer {
    const source = named(call);
    const { msgType, content, messageId: upperMessageId } = source;
    return forwardOnce(call, target(call), { msgType, content, upperMessageId }, () => {
      if (source.isRecalled) throw new Refusal(230065);
      if (notForwarded.has(msgType)) throw new Refusal(230061);
    });
  }

  function forwardThread(call: Call): Answer {
    const thread = messages.inThread(call.params.get("thread_id") ?? "");
    const [first] = thread;
    if (first === undefined) throw new Refusal(230064);
    return forwardOnce(call, target(call), { mergedIds: thread.map(({ messageId }) => messageId) }, () => {
      needBot(first.chatId, call);
    });
  }

  /** Forwards messages of one chat together. Those that are recalled or elsewhere are left out. */
  function mergeForward(call: Call): Answer {
    const ids = call.body["message_id_list"];
    if (!Array.isArray(ids) || ids.length === 0) throw new Refusal(malformed, "message_id_list is required");
    const found = ids.map((id) => messages.find(String(id)));
    const chatId = found.find((message) => message !== undefined)?.chatId;
    const isValid = (message: Message | undefined) => message?.chatId === chatId && message?.isRecalled === false;
    const mergedIds = ids.filter((_, index) => isValid(found[index])).map(String);
    const answer = forwardOnce(call, target(call), { mergedIds }, () => {
      if (chatId === undefined || mergedIds.length === 0) throw new Refusal(230065);
      needBot(chatId, call);
    });
    const invalid = ids.filter((id) => !mergedIds.includes(String(id)));
    return success({ message: answer.body["data"], invalid_message_id_list: invalid });
  }

  return [
    route("POST", "/:message_id/forward", forward),
    route("POST", "/merge_forward", mergeForward),
    { ...route("POST", "", forwardThread), path: "/open-apis/im/v1/threads/:thread_id/forward" },
  ];
}

function changingRoutes({ messages, view }: Places, { named, isOwn }: Access, check: Check): Route[] {
  /** Message → when its card was updated within a second. */
  const updates = new Map<string, readonly number[]>();

  function edit(call: Call): Answer {
    const { body } = call;
    const message = named(call);
    if (message.isRecalled) throw new Refusal(230011);
    if (!isOwn(message, call)) throw new Refusal(230071);
    if (!isEditable(message.msgType)) throw new Refusal(230054);
    const checked = check(body["msg_type"], body["content"]);
    if (!isEditable(checked.msgType)) throw new Refusal(230001, "msg_type must be text or post");
    if (message.history.filter(({ what }) => what === "updated").length >= maxEdits) throw new Refusal(230072);
    return success(view(messages.change(message, "updated", checked), noQuery));
  }

  function updateCard(call: Call): Answer {
    const message = named(call);
    if (message.isRecalled) throw new Refusal(230011);
    if (!isOwn(message, call)) throw new Refusal(230027, "the card was sent by another");
    if (message.msgType !== "interactive" && !message.isAssumed) throw new Refusal(230001, "not a card");
    if (call.nowMs - message.createdAtMs > cardLifeMs) throw new Refusal(230031);
    const checked = check("interactive", call.body["content"]);
    const wasShared = message.msgType !== "interactive" || isShared(object(message.content) ?? {});
    if (!wasShared || !isShared(object(checked.content) ?? {})) {
      throw new Refusal(230001, "config.update_multi must be true, before and after");
    }
    const { messageId } = message;
    const recent = (updates.get(messageId) ?? []).filter((atMs) => call.nowMs - atMs < 1_000);
    if (recent.length >= maxUpdates) throw new Refusal(230020);
    updates.set(messageId, [...recent, call.nowMs]);
    messages.change(message, "updated", checked);
    return success();
  }

  function recall(call: Call): Answer {
    const message = named(call);
    if (message.isRecalled) throw new Refusal(230110);
    if (!isOwn(message, call)) throw new Refusal(230026);
    messages.change(message, "recalled");
    return success();
  }

  return [
    route("PUT", "/:message_id", edit),
    route("PATCH", "/:message_id", updateCard),
    route("DELETE", "/:message_id", recall),
  ];
}

function route(method: string, path: string, operation: (call: Call) => Answer): Route {
  return { method, path: `/open-apis/im/v1/messages${path}`, access: "tenant", malformed, operation };
}

function by({ caller }: Call): Pick<Message, "sender" | "tenant"> {
  return { sender: { kind: "app", id: caller.appId }, tenant: caller.tenant };
}

function isEditable(msgType: string): boolean {
  return msgType === "text" || msgType === "post";
}
