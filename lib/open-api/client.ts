import type { Agent } from "node:http";
import { type JsonObject, parseJson } from "../feishu/json.ts";
import type { ApiAnswer, RequestOptions } from "../handler.ts";
import { agentFor, exchange, type ProxyEnv } from "../https.ts";
import type { Bot } from "../message.ts";
import { once } from "../once.ts";
import { cardUpdater } from "./card-update.ts";
import type { MessageCalls } from "./message-calls.ts";
import type { InnerOptions } from "./message-content.ts";
import { type TokenRequestOptions, tokenRequest } from "./token-request.ts";
import { type TokenStore, tokenSource } from "./tokens.ts";
import { type ApiRun, codeOf, createTransport, type Exchange, type Transport, unreadableError } from "./transport.ts";

export interface ApiOptions extends Omit<TokenRequestOptions, "post"> {
  readonly origin: string;
  readonly proxyEnv?: ProxyEnv;
  readonly store: TokenStore;
  readonly random: () => number;
}

/** The Open API for handlers. {@link createTransport} says what a call rejects with. */
export function openApi(options: ApiOptions) {
  const { origin, appId, appSecret, marketplace, store, clock, random } = options;
  const agent = agentFor(new URL(origin), options.proxyEnv);
  const tokens = tokenSource({
    clock,
    random,
    store,
    secret: appSecret,
    fetchToken: tokenRequest({
      appId,
      appSecret,
      marketplace,
      clock,
      async post(path, body, run) {
        const send = createTransport(run, transport);
        const request = { method: "POST", url: new URL(path, origin), isPublic: true };
        return (await send(request, jsonExchange(agent, "POST", body))).body;
      },
    }),
  });
  const transport = {
    origin,
    clock,
    random,
    token(tenant: string | null, refused?: string): Promise<string> {
      if (marketplace === undefined) return tokens.get(appId, null, refused);
      return tokens.get(tenant === null ? appId : `${appId}/${tenant}`, tenant, refused);
    },
  };

  const bots = new Map<string | null, Bot>();

  return {
    /** The calls of one run. */
    forRun(run: ApiRun) {
      const send = createTransport(run, transport);
      const call = (method: string, path: string, options?: InnerOptions) =>
        request({ send, agent, origin }, method, path, options);
      return {
        request: call,

        /** To be called once, since the calls count what is sent. */
        async messageCalls(event: JsonObject): Promise<MessageCalls> {
          const { messageCalls } = await import("./message-calls.ts");
          return messageCalls(event, { ...run, appId, request: call, send, agent, origin, bots });
        },

        lark: once(() =>
          import("./official-client.ts").then(({ larkClient }) =>
            larkClient({ appId, origin, isMarketplace: marketplace !== undefined, send, agent }),
          ),
        ),

        updateCard: cardUpdater(
          (path, body) => send({ method: "POST", url: new URL(path, origin) }, jsonExchange(agent, "POST", body)),
          clock,
        ),
      };
    },
  };
}

/** A call without the official client. */
async function request(
  { send, agent, origin }: { send: Transport; agent: Agent; origin: string },
  method: string,
  path: string,
  { body, query, form, isRepeatable }: InnerOptions = {},
): Promise<ApiAnswer> {
  const url = new URL(path, origin);
  if (!path.startsWith("/") || !url.pathname.startsWith("/open-apis/")) {
    throw new TypeError("Cannot call the Open API: a path begins with /open-apis/");
  }
  for (const [name, value] of Object.entries(query ?? {})) {
    if (value !== undefined) url.searchParams.set(name, String(value));
  }
  const verb = method.toUpperCase();
  const sent = { method: verb, url, content: { body }, body: form && ("form" as const), isRepeatable };
  const answer = await send(sent, jsonExchange(agent, verb, body, form));
  return answer.body as ApiAnswer;
}

/** Sends JSON or a form for JSON. Rejects also for a successful status without the platform's JSON. */
function jsonExchange(
  agent: Agent,
  method: string,
  body?: RequestOptions["body"],
  form?: InnerOptions["form"],
): Exchange {
  return async ({ url, authorization, uuid, signal }) => {
    const target = new URL(url);
    if (uuid?.in === "query") target.searchParams.set("uuid", uuid.value);
    const content = uuid?.in === "body" ? { ...body, uuid: uuid.value } : body;
    const json = content && { contentType: "application/json; charset=utf-8", bytes: JSON.stringify(content) };
    const { contentType, bytes: sent } = form ?? json ?? {};
    const headers = {
      ...(contentType === undefined ? undefined : { "content-type": contentType }),
      ...(authorization === undefined ? undefined : { authorization }),
    };
    const { bytes, ...answer } = await exchange(target, { method, headers, body: sent, agent, signal });
    const received = parseJson(String(bytes));
    if (answer.status < 300 && codeOf(received) === undefined) throw unreadableError();
    return { ...answer, body: received };
  };
}
