import type { Agent } from "node:http";
import { parseJson } from "../feishu/json.ts";
import type { ApiAnswer, RequestOptions } from "../handler.ts";
import { agentFor, exchange, type ProxyEnv } from "../https.ts";
import { once } from "../once.ts";
import { cardUpdater } from "./card-update.ts";
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

  return {
    /** The calls of one run. */
    forRun(run: ApiRun) {
      const send = createTransport(run, transport);
      return {
        request: (method: string, path: string, options?: RequestOptions) =>
          request({ send, agent, origin }, method, path, options),

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
  { body, query }: RequestOptions = {},
): Promise<ApiAnswer> {
  const url = new URL(path, origin);
  if (!path.startsWith("/") || !url.pathname.startsWith("/open-apis/")) {
    throw new TypeError("Cannot call the Open API: a path begins with /open-apis/");
  }
  for (const [name, value] of Object.entries(query ?? {})) {
    if (value !== undefined) url.searchParams.set(name, String(value));
  }
  const verb = method.toUpperCase();
  const answer = await send({ method: verb, url, content: { body } }, jsonExchange(agent, verb, body));
  return answer.body as ApiAnswer;
}

/** Exchanges JSON. Rejects also for a successful status without the platform's JSON. */
function jsonExchange(agent: Agent, method: string, body?: Readonly<Record<string, unknown>>): Exchange {
  return async ({ url, authorization, uuid, signal }) => {
    const target = new URL(url);
    if (uuid?.in === "query") target.searchParams.set("uuid", uuid.value);
    const content = uuid?.in === "body" ? { ...body, uuid: uuid.value } : body;
    const headers = {
      ...(content === undefined ? undefined : { "content-type": "application/json; charset=utf-8" }),
      ...(authorization === undefined ? undefined : { authorization }),
    };
    const sent = { method, headers, body: content === undefined ? undefined : JSON.stringify(content), agent, signal };
    const { text, ...answer } = await exchange(target, sent);
    const json = parseJson(text);
    if (answer.status < 300 && codeOf(json) === undefined) throw unreadableError();
    return { ...answer, body: json };
  };
}
