import { Refusal } from "./answer.ts";
import type { Apps } from "./apps.ts";
import type { Caller } from "./route.ts";

export interface Token extends Caller {
  readonly value: string;
  readonly kind: "app" | "tenant";
  readonly endsAtMs: number;
}

const minuteMs = 60_000;
const lifeMs = 120 * minuteMs;
const overlapMs = 30 * minuteMs;

/**
 * Access tokens. A token lives 2 h. While it has 30 min or more left, a request returns the same token; after that, a
 * new one. Both are valid until they end.
 * https://open.feishu.cn/document/ukTMukTMukTM/ukDNz4SO0MjL5QzM/auth-v3/auth/tenant_access_token_internal
 */
export function createTokens(options: {
  readonly nowMs: () => number;
  readonly newId: () => string;
  readonly apps: Pick<Apps, "isDisabled">;
}) {
  const { nowMs, newId, apps } = options;
  const live = new Map<string, Token>();
  const newest = new Map<string, Token>();
  let issued = 0;

  function valid(value: string): Token | undefined {
    const token = live.get(value);
    return token !== undefined && token.endsAtMs > nowMs() ? token : undefined;
  }

  return {
    valid,
    issue(kind: Token["kind"], appId: string, tenant: string): Token {
      const key = JSON.stringify([kind, appId, tenant]);
      const last = newest.get(key);
      if (last !== undefined && live.has(last.value) && last.endsAtMs - nowMs() >= overlapMs) return last;
      for (const value of live.keys()) if (valid(value) === undefined) live.delete(value);
      const value = `${kind === "app" ? "a" : "t"}-${newId()}`;
      const token: Token = { value, kind, appId, tenant, endsAtMs: nowMs() + lifeMs };
      live.set(value, token);
      newest.set(key, token);
      issued++;
      return token;
    },
    /** The app and the tenant that an `authorization` header's token stands for. @throws {Refusal} */
    caller(authorization: string | undefined): Caller {
      const value = /^Bearer +(\S+)$/i.exec(authorization ?? "")?.[1];
      if (value === undefined) throw new Refusal(99991661);
      // The simulator has no login, so no user token is valid.
      if (value.startsWith("u-")) throw new Refusal(99991668);
      if (!value.startsWith("t-")) throw new Refusal(99991671);
      const token = valid(value);
      if (token === undefined) throw new Refusal(99991663);
      if (apps.isDisabled(token.appId)) throw new Refusal(99991662);
      return { appId: token.appId, tenant: token.tenant };
    },
    /** Makes every issued token invalid, of one app or of all. */
    revoke(appId?: string): void {
      for (const [value, { appId: owner }] of live) if (appId === undefined || appId === owner) live.delete(value);
    },
    /** How many tokens were made. A token that was returned again counts once. */
    issued: () => issued,
  };
}

export type Tokens = ReturnType<typeof createTokens>;
