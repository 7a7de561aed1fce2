import type { Clock } from "../clock.ts";
import { parseJson } from "../feishu/json.ts";
import type { ApiAnswer, LarkClient, RequestOptions } from "../handler.ts";
import { cardUpdater } from "./card-update.ts";
import { tokenRequest } from "./token-request.ts";
import { type TokenStore, tokenSource } from "./tokens.ts";
import { type ApiRun, codeOf, createTransport, type Exchange, type Transport, unreadableError } from "./transport.ts";

export interface ApiOptions {
  readonly origin: string;
  readonly appId: string;
  readonly appSecret: () => Promise<string>;
  /** A marketplace app has a token for each tenant. It gets them with the ticket that the platform sends hourly. */
  readonly marketplace?: { readonly ticket: () => Promise<string | undefined> } | undefined;
  readonly store: TokenStore;
  readonly clock: Clock;
  readonly random: () => number;
}

/** The Open API for handlers. {@link createTransport} says what a call rejects with. */
export function openApi({ origin, appId, appSecret, marketplace, store, clock, random }: ApiOptions) {
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
        return (await send(request, fetchExchange("POST", body))).body;
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
      let client: Promise<LarkClient> | undefined;
      return {
        request: (method: string, path: string, options?: RequestOptions) =>
          request(send, origin, method, path, options),

        lark(): Promise<LarkClient> {
          client ??= import("./official-client.ts").then(({ larkClient }) =>
            larkClient({ appId, origin, isMarketplace: marketplace !== undefined, send }),
          );
          return client;
        },

        updateCard: cardUpdater(
          (path, body) => send({ method: "POST", url: new URL(path, origin) }, fetchExchange("POST", body)),
          clock,
        ),
      };
    },
  };
}

/** A call without the official client. */
async function request(
  send: Transport,
  origin: string,
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
  const answer = await send({ method: verb, url, content: { body } }, fetchExchange(verb, body));
  return answer.body as ApiAnswer;
}

/** Exchanges JSON by `fetch`. Rejects also for a successful status without the platform's JSON. */
function fetchExchange(method: string, body?: Readonly<Record<string, unknown>>): Exchange {
  return async ({ url, authorization, uuid, signal }) => {
    const target = new URL(url);
    if (uuid?.in === "query") target.searchParams.set("uuid", uuid.value);
    const content = uuid?.in === "body" ? { ...body, uuid: uuid.value } : body;
    const headers = new Headers();
    if (content !== undefined) headers.set("content-type", "application/json; charset=utf-8");
    if (authorization !== undefined) headers.set("authorization", authorization);
    const response = await fetch(target, {
      method,
      headers,
      body: content === undefined ? null : JSON.stringify(content),
      // A followed redirect would take the token elsewhere.
      redirect: "manual",
      signal,
    });
    const answer = parseJson(await response.text());
    if (response.ok && codeOf(answer) === undefined) throw unreadableError();
    return { status: response.status, headers: new Map(response.headers), body: answer };
  };
}
