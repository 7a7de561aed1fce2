import type { Clock } from "../clock.ts";
import { isError, NonRetryableError, OpenApiError, RetryLaterError } from "../errors.ts";
import { fieldsOf } from "../feishu/json.ts";
import type { Token } from "./tokens.ts";
import type { ApiRun } from "./transport.ts";
import { verdictOf } from "./verdicts.ts";

/** For all calls that one token needs. The handlers that wait for it have deadlines of their own. */
const requestMs = 10_000;
/** The platform's longest token: https://open.feishu.cn/document/server-docs/authentication-management/access-token/tenant_access_token_internal */
const longestSeconds = 7_200;
const ticketDelaySeconds = 30;

export interface TokenRequestOptions {
  readonly appId: string;
  readonly appSecret: () => Promise<string>;
  /** A marketplace app has a token for each tenant. It gets them with the ticket that the platform sends hourly. */
  readonly marketplace?: { readonly ticket: () => Promise<string | undefined> } | undefined;
  readonly clock: Clock;
  /** Resolves with the JSON of a successful answer. */
  readonly post: (path: string, body: Readonly<Record<string, unknown>>, run: ApiRun) => Promise<unknown>;
}

/**
 * Asks the platform for a token: by the app's secret, or for a marketplace app by its ticket and the tenant.
 * https://open.feishu.cn/document/server-docs/authentication-management/access-token/tenant_access_token
 */
export function tokenRequest({ appId, appSecret, marketplace, clock, post }: TokenRequestOptions) {
  return async (tenant: string | null): Promise<Token> => {
    const endsAtMs = clock.nowMs() + requestMs;
    const { signal } = new AbortController();
    const run: ApiRun = { key: "", tenant: null, signal, remainingMs: () => endsAtMs - clock.nowMs() };
    const ask = async (path: string, body: Readonly<Record<string, unknown>>, member: string): Promise<Token> => {
      const startMs = clock.nowMs();
      return toToken(await post(`/open-apis/auth/v3/${path}`, body, run), member, startMs);
    };

    const proof = { app_id: appId, app_secret: await appSecret() };
    if (marketplace === undefined) return ask("tenant_access_token/internal", proof, "tenant_access_token");
    if (tenant === null) throw new NonRetryableError("Cannot get a token: the event names no tenant");
    const app_ticket = await marketplace.ticket();
    const resend = async (cause?: unknown): Promise<never> => {
      await post("/open-apis/auth/v3/app_ticket/resend", proof, run);
      const problem = "Cannot get a token: the app's ticket has not come yet";
      throw new RetryLaterError(problem, { delaySeconds: ticketDelaySeconds, cause });
    };
    if (app_ticket === undefined) return resend();
    try {
      const app = await ask("app_access_token", { ...proof, app_ticket }, "app_access_token");
      const body = { app_access_token: app.value, tenant_key: tenant };
      return await ask("tenant_access_token", body, "tenant_access_token");
    } catch (error) {
      const apiCode = isError(error, OpenApiError) ? error.apiCode : undefined;
      if (apiCode !== undefined && verdictOf(200, apiCode) === "ticket") return resend(error);
      throw error;
    }
  };
}

function toToken(answer: unknown, member: string, startMs: number): Token {
  const { [member]: value, expire } = fieldsOf(answer);
  if (typeof value !== "string" || value === "" || typeof expire !== "number" || !(expire > 0)) {
    throw new OpenApiError(`Cannot get a token: the platform's answer has no ${member}`);
  }
  return { value, endsAtMs: startMs + Math.min(expire, longestSeconds) * 1000 };
}
