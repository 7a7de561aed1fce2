import type { Agent } from "node:http";
import { NonRetryableError } from "../errors.ts";
import { fieldsOf, type JsonObject, parseJson, stringOf } from "../feishu/json.ts";
import type { DownloadedFile, MessageContent, Receiver } from "../handler.ts";
import { exchange } from "../https.ts";
import { type Bot, type MessageResource, mentionsBot, type ReceivedMessage, textOf } from "../message.ts";
import { type InnerRequest, megabyte, messageOf, tooLarge } from "./message-content.ts";
import { type ApiRun, refusalBytes, type Transport } from "./transport.ts";
import { uuidMaker } from "./uuid.ts";

// What handlers say in one line. This file is loaded at the first such call.

interface MessageCallsOptions extends Pick<ApiRun, "key" | "tenant"> {
  readonly appId: string;
  readonly request: InnerRequest;
  readonly send: Transport;
  readonly agent: Agent;
  readonly origin: string;
  /** The app's bot in each tenant, once it is known. */
  readonly bots: Map<string | null, Bot>;
}

const messagesPath = "/open-apis/im/v1/messages";
const defaultDownloadBytes = 32 * megabyte;
/** The calls about messages that a handler makes, by what its event says. */
export function messageCalls(event: JsonObject, options: MessageCallsOptions) {
  const { key, appId, request, send, agent, origin } = options;
  // Differs from the transport's key, so that the calls of `request` are counted apart.
  const uuidOf = uuidMaker(`${key} messages`);

  async function post(path: string, place: Readonly<Record<string, unknown>>, content: MessageContent, query = {}) {
    // Taken before a file is uploaded, so the order of the handler's calls alone decides which message has which uuid.
    const uuid = uuidOf({ method: "POST", url: new URL(path, origin), content: { body: place } })?.value;
    const body = { ...place, ...(await messageOf(content, request)), uuid };
    const { data } = await request("POST", path, { query, body });
    return { messageId: String(fieldsOf(data)["message_id"]) };
  }

  const message = event["message"] as ReceivedMessage;
  return {
    async reply(content: MessageContent) {
      const inThread = stringOf(fieldsOf(message)["thread_id"]) ? { reply_in_thread: true } : {};
      return post(`${messagesPath}/${pathPart(messageIdOf(event))}/reply`, inThread, content);
    },

    async send(to: Receiver, content: MessageContent) {
      const { type, id } = typeof to === "string" ? { type: idTypeOf(to), id: to } : to;
      return post(messagesPath, { receive_id: id }, content, { receive_id_type: type });
    },

    async download(
      { messageId, key, type, name }: MessageResource,
      { maxBytes = defaultDownloadBytes }: { readonly maxBytes?: number } = {},
    ): Promise<DownloadedFile> {
      if (!(maxBytes >= 0)) throw new NonRetryableError(`Cannot download the file: maxBytes is ${maxBytes}`);
      const url = new URL(`${messagesPath}/${pathPart(messageId)}/resources/${pathPart(key)}`, origin);
      url.searchParams.set("type", type);
      const answer = await send({ method: "GET", url, body: "file" }, async ({ authorization = "", signal }) => {
        const limitBytes = Math.max(maxBytes, refusalBytes);
        const sent = { method: "GET", headers: { authorization }, body: undefined, agent, signal, limitBytes };
        const { bytes, ...rest } = await exchange(url, sent);
        return { ...rest, body: rest.status < 300 ? bytes : parseJson(String(bytes)) };
      });
      const bytes = answer.body as Buffer;
      if (bytes.length > maxBytes) throw tooLarge("download the file", `maxBytes is ${maxBytes}`);
      return { bytes, name, type: answer.headers.get("content-type") ?? null };
    },

    /** @param store Called with what `unreact` needs, before the reaction is added. */
    async react(emoji: string, store: (reaction: string) => Promise<void>): Promise<void> {
      const messageId = messageIdOf(event);
      await store(`${messageId} ${emoji}`);
      const body = { reaction_type: { emoji_type: emoji } };
      // A second reaction of the same emoji is the first one.
      await request("POST", reactionsPath(messageId), { body, isRepeatable: true });
    },

    /** Removes this app's reactions of that emoji. Whether one was added is known to Feishu alone, so it is asked. */
    async unreact(reaction: string): Promise<void> {
      const [messageId = "", emoji = ""] = reaction.split(" ");
      const path = reactionsPath(messageId);
      for (let pageToken: unknown; pageToken !== ""; ) {
        const query = { reaction_type: emoji, page_size: 50, page_token: stringOf(pageToken) };
        const { data } = await request("GET", path, { query });
        for (const { reaction_id, operator } of data.items ?? []) {
          if (operator?.operator_id !== appId) continue;
          await request("DELETE", `${path}/${reaction_id}`, { isRepeatable: true }).catch((error: unknown) => {
            if (apiCodeOf(error) !== noSuchReactionCode) throw error;
          });
        }
        pageToken = data.has_more === true ? data.page_token : "";
      }
    },

    async text(): Promise<string> {
      return textOf(message, await botIn(message, options));
    },

    async mentionsMe(): Promise<boolean> {
      const bot = await botIn(message, options);
      return bot !== undefined && mentionsBot({ message }, bot);
    },
  };
}

export type MessageCalls = ReturnType<typeof messageCalls>;

/** Feishu is asked who the bot is only where a mention may be the bot's. */
async function botIn(message: ReceivedMessage, options: MessageCallsOptions): Promise<Bot | undefined> {
  const mentions: unknown = message?.mentions;
  const isOther = (mention: unknown) => fieldsOf(mention)["mentioned_type"] === "user";
  return Array.isArray(mentions) && !mentions.every(isOther) ? ownBot(options) : undefined;
}

async function ownBot({ bots, tenant, request }: MessageCallsOptions): Promise<Bot> {
  const known = bots.get(tenant);
  if (known !== undefined) return known;
  const { bot } = fieldsOf(await request("GET", "/open-apis/bot/v3/info"));
  const open_id = stringOf(fieldsOf(bot)["open_id"]);
  // A wrong one would be kept for the life of the process.
  if (open_id === undefined) throw new Error("Cannot tell who this bot is: the answer has no bot.open_id");
  bots.set(tenant, { open_id });
  return { open_id };
}

/** The reaction is gone already: the answer to its removal was lost, or another run removed it. */
const noSuchReactionCode = 231011;

function apiCodeOf(error: unknown): unknown {
  const { apiCode, cause } = fieldsOf(error);
  return apiCode ?? fieldsOf(cause)["apiCode"];
}

function reactionsPath(messageId: string): string {
  return `${messagesPath}/${pathPart(messageId)}/reactions`;
}

/** An id as one part of a path. `..` would make it the path of another call. */
function pathPart(id: string): string {
  if (/^\.{0,2}$/.test(id)) throw new NonRetryableError(`Cannot call the Open API: "${id}" is not an id`);
  return encodeURIComponent(id);
}

/** The message that an event or a callback is about. */
function messageIdOf({ message, message_id, context, open_message_id }: JsonObject): string {
  const inner = fieldsOf(message)["message_id"] ?? fieldsOf(context)["open_message_id"];
  const id = stringOf(inner ?? message_id ?? open_message_id) ?? "";
  if (id === "") throw new NonRetryableError("Cannot reply or react: the event is about no message. Use send");
  return id;
}

function idTypeOf(id: string): string {
  const [, prefix = ""] = /^(oc|ou|on)_/.exec(id) ?? [];
  const type = { oc: "chat_id", ou: "open_id", on: "union_id" }[prefix] ?? (id.includes("@") ? "email" : undefined);
  if (type !== undefined) return type;
  throw new NonRetryableError(
    `Cannot send to "${id}": it is no id that begins with oc_, ou_ or on_, and no e-mail address. Of another kind, say which: { type: "user_id", id: "${id}" }`,
  );
}
