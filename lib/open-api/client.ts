import type { Clock } from "../clock.ts";
import { CardTokenError, isError, OpenApiError } from "../errors.ts";
import type { ApiAnswer, LarkClient, RequestOptions } from "../handler.ts";
import { tokenRequest } from "./token-request.ts";
import { type TokenStore, tokenSource } from "./tokens.ts";
import { type ApiRun, type Call, caller, codeOf, type Send } from "./transport.ts";

export interface ApiOptions {
  readonly origin: string;
  readonly appId: string;
  readonly appSecret: () => Promise<string>;
  /** Apps of a marketplace have a token for each tenant, and need the ticket that they are sent hourly. */
  readonly marketplace?: { readonly ticket: () => Promise<string | undefined> } | undefined;
  readonly store: TokenStore;
  readonly clock: Clock;
  readonly random: () => number;
}

/** The Open API for handlers. What a call rejects with, {@link caller} says. */
export function openApi(options: ApiOptions) {
  const { origin, appId, clock, random, marketplace } = options;
  const withoutToken = { origin, clock, random, token: () => Promise.reject(new TypeError("no token is needed")) };
  const tokens = tokenSource({
    ...{ clock, random, store: options.store, secret: options.appSecret },
    fetchToken: tokenRequest({
      ...{ appId, appSecret: options.appSecret, marketplace, clock },
      async post(path, body, run) {
        const url = new URL(path, origin);
        const call = caller(run, withoutToken);
        return (await call({ method: "POST", url, isPublic: true }, fetchSend("POST", body))).body;
      },
    }),
  });
  const transport = {
    ...{ origin, clock, random },
    token(tenant: string | null, refused?: string): Promise<string> {
      const name = marketplace === undefined || tenant === null ? appId : `${appId}/${tenant}`;
      return tokens.get(name, marketplace === undefined ? null : tenant, refused);
    },
  };

  return {
    /** The calls of one run. */
    forRun(run: ApiRun) {
      const call = caller(run, transport);
      let client: Promise<LarkClient> | undefined;
      let updates = 0;
      return {
        request: (...given: [method: string, path: string, options?: RequestOptions]) =>
          request(call, origin, ...given),

        lark(): Promise<LarkClient> {
          client ??= import("./official-client.ts").then(({ larkClient }) =>
            larkClient({ appId, origin, isMarketplace: marketplace !== undefined, call }),
          );
          return client;
        },

        /** https://open.feishu.cn/document/server-docs/im-v1/message-card/delay-update-message-card */
        async updateCard(
          card: unknown,
          { token, clickedAtMs }: { token: unknown; clickedAtMs: number | null },
        ): Promise<void> {
          if (typeof token !== "string" || token === "") throw cardTokenError("the callback carried no credential");
          const isOver = clickedAtMs !== null && clock.nowMs() - clickedAtMs >= cardTokenMs;
          if (isOver) throw cardTokenError("30 minutes have passed since the click");
          if (updates >= cardUpdates) throw cardTokenError("it was updated twice");
          // Counted before it is known, since two may be under way.
          updates++;
          const { type, data } = Object(card) as { type?: unknown; data?: unknown };
          const url = new URL("/open-apis/interactive/v1/card/update", origin);
          try {
            await call({ method: "POST", url }, fetchSend("POST", { token, card: type === "raw" ? data : card }));
          } catch (error) {
            const failure = failureOf(error);
            // An answer that refuses has not used it up; with none, it may be.
            if (failure?.status !== undefined) updates--;
            if (cardTokenCodes.has(failure?.apiCode)) {
              throw cardTokenError(`the platform answered ${failure?.apiCode}`, error);
            }
            throw error;
          }
        },
      };
    },
  };
}

/** A call without the official client. */
async function request(
  call: Call,
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
  const answer = await call({ method: verb, url, content: { body } }, fetchSend(verb, body));
  return answer.body as ApiAnswer;
}

/** Sends JSON by `fetch`. Rejects also when a success is no answer of the platform's. */
function fetchSend(method: string, body?: Readonly<Record<string, unknown>>): Send {
  return async ({ url, authorization, uuid, signal }) => {
    const target = new URL(url);
    if (uuid?.in === "query") target.searchParams.set("uuid", uuid.value);
    const content = uuid?.in === "body" ? { ...body, uuid: uuid.value } : body;
    const response = await fetch(target, {
      method,
      headers: {
        ...(content === undefined ? undefined : { "content-type": "application/json; charset=utf-8" }),
        ...(authorization === undefined ? undefined : { authorization }),
      },
      ...(content === undefined ? undefined : { body: JSON.stringify(content) }),
      // Followed, a redirect would take the token elsewhere.
      redirect: "manual",
      signal,
    });
    const answer = parse(await response.text());
    if (response.ok && codeOf(answer) === undefined) {
      throw Object.assign(new Error("The answer is not the platform's"), { code: "UNREADABLE" });
    }
    return { status: response.status, headers: new Map(response.headers), body: answer };
  };
}

const cardTokenMs = 30 * 60_000;
const cardUpdates = 2;
/** Malformed, over, used up. */
const cardTokenCodes: ReadonlySet<number | undefined> = new Set([300020, 300030, 300040]);

function cardTokenError(found: string, cause?: unknown): CardTokenError {
  const instead = "Update the message: PATCH /open-apis/im/v1/messages/:message_id";
  return new CardTokenError(`Cannot update the card by its click: ${found}. ${instead}`, { cause });
}

/** What the platform said, of whatever was thrown for it. */
function failureOf(error: unknown): OpenApiError | undefined {
  if (isError(error, OpenApiError)) return error;
  const cause = error instanceof Error ? error.cause : undefined;
  return isError(cause, OpenApiError) ? cause : undefined;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
