import { type Answer, Refusal } from "./answer.ts";
import { type Caller, type OpenCall, type Route, required } from "./route.ts";

/** An app that may ask for tokens. */
export type App =
  | { readonly kind: "self-built"; readonly appId: string; readonly appSecret: string; readonly tenant?: string }
  /** `tenants`: where it is installed; everywhere, when left out. */
  | {
      readonly kind: "marketplace";
      readonly appId: string;
      readonly appSecret: string;
      readonly tenants?: readonly string[];
    };

export interface AppTicket {
  readonly appId: string;
  readonly ticket: string;
}

interface Token extends Caller {
  readonly value: string;
  readonly kind: "app" | "tenant";
  readonly endsAtMs: number;
}

const minuteMs = 60_000;
const lifeMs = 120 * minuteMs;
const overlapMs = 30 * minuteMs;
/** The newest, and the one before it: its push may still be under way. */
const ticketsKept = 2;

/**
 * Access tokens as the platform gives them out. One lives 2 h; whoever asks with 30 min of it left or
 * more gets the same again, later a new one, and both work until their ends.
 * https://open.feishu.cn/document/ukTMukTMukTM/ukDNz4SO0MjL5QzM/auth-v3/auth/tenant_access_token_internal
 * (and `…/app_access_token_internal`, `…/app_access_token`, `…/tenant_access_token`, `…/app_ticket_resend`)
 */
export function createTokens(options: {
  readonly nowMs: () => number;
  readonly newId: () => string;
  readonly apps: readonly App[];
  readonly defaultTenant: string;
  readonly onAppTicket: (ticket: AppTicket) => void;
}) {
  const { nowMs, newId, defaultTenant } = options;
  const apps = new Map(options.apps.map((app) => [app.appId, app]));
  const disabled = new Set<string>();
  const live = new Map<string, Token>();
  const newest = new Map<string, Token>();
  const tickets = new Map<string, string[]>();
  let issued = 0;

  function token(kind: Token["kind"], appId: string, tenant: string): Token {
    const key = JSON.stringify([kind, appId, tenant]);
    const last = newest.get(key);
    if (last !== undefined && live.has(last.value) && last.endsAtMs - nowMs() >= overlapMs) return last;
    for (const [value, { endsAtMs }] of live) if (endsAtMs <= nowMs()) live.delete(value);
    const next: Token = {
      value: `${kind === "app" ? "a" : "t"}-${newId()}`,
      kind,
      appId,
      tenant,
      endsAtMs: nowMs() + lifeMs,
    };
    live.set(next.value, next);
    newest.set(key, next);
    issued++;
    return next;
  }

  function valid(value: string): Token | undefined {
    const found = live.get(value);
    return found !== undefined && found.endsAtMs > nowMs() ? found : undefined;
  }

  const expire = ({ endsAtMs }: Token) => Math.floor((endsAtMs - nowMs()) / 1000);

  /** The app that a body names and proves to be. */
  function proven({ body }: OpenCall): App {
    const app = apps.get(required(body, "app_id", 10003));
    const secret = required(body, "app_secret", 10003);
    if (app === undefined) throw new Refusal(10003, "no such app");
    if (app.appSecret !== secret) throw new Refusal(10015);
    if (disabled.has(app.appId)) throw new Refusal(10014);
    return app;
  }

  function selfBuilt(call: OpenCall): Token {
    const app = proven(call);
    if (app.kind !== "self-built") throw new Refusal(10005, "not a self-built app");
    return token("tenant", app.appId, app.tenant ?? defaultTenant);
  }

  function issueTicket(appId: string): void {
    const ticket = `g-${newId()}`;
    tickets.set(appId, [ticket, ...(tickets.get(appId) ?? [])].slice(0, ticketsKept));
    options.onAppTicket({ appId, ticket });
  }

  function ofApp(call: OpenCall): Answer {
    const app = proven(call);
    if (app.kind !== "marketplace") throw new Refusal(10005, "not a marketplace app");
    const ticket = required(call.body, "app_ticket", 10003);
    // The official Go client reads this code as "invalid ticket" and asks for another one.
    if (!tickets.get(app.appId)?.includes(ticket)) throw new Refusal(10012, "app_ticket is invalid");
    const given = token("app", app.appId, "");
    return flat({ app_access_token: given.value, expire: expire(given) });
  }

  function ofTenant({ body }: OpenCall): Answer {
    const own = valid(required(body, "app_access_token", 10003));
    const tenant = required(body, "tenant_key", 10003);
    const app = own?.kind === "app" ? apps.get(own.appId) : undefined;
    if (app?.kind !== "marketplace") throw new Refusal(99991664);
    if (disabled.has(app.appId)) throw new Refusal(10014);
    if (app.tenants !== undefined && !app.tenants.includes(tenant)) throw new Refusal(10013, "not installed there");
    const given = token("tenant", app.appId, tenant);
    return flat({ tenant_access_token: given.value, expire: expire(given) });
  }

  const post = (path: string, operation: (call: OpenCall) => Answer): Route => ({
    method: "POST",
    path: `/open-apis/auth/v3/${path}`,
    access: "open",
    malformed: 10003,
    operation,
  });

  return {
    routes: [
      post("tenant_access_token/internal", (call) => {
        const given = selfBuilt(call);
        return flat({ tenant_access_token: given.value, expire: expire(given) });
      }),
      post("app_access_token/internal", (call) => {
        const given = selfBuilt(call);
        // One token under two names, as in the page's own sample.
        return flat({ app_access_token: given.value, tenant_access_token: given.value, expire: expire(given) });
      }),
      post("app_access_token", ofApp),
      post("tenant_access_token", ofTenant),
      post("app_ticket/resend", (call) => {
        const app = proven(call);
        if (app.kind !== "marketplace") throw new Refusal(10016);
        issueTicket(app.appId);
        return flat({});
      }),
    ],

    /** Whose token a header carries. @throws {Refusal} */
    caller(authorization: string | undefined): Caller {
      const value = /^Bearer +(\S+)$/i.exec(authorization ?? "")?.[1];
      if (value === undefined) throw new Refusal(99991661);
      // Nobody can log in here, so no user token is right.
      if (value.startsWith("u-")) throw new Refusal(99991668);
      if (!value.startsWith("t-")) throw new Refusal(99991671);
      const found = valid(value);
      if (found === undefined) throw new Refusal(99991663);
      if (disabled.has(found.appId)) throw new Refusal(99991662);
      return { appId: found.appId, tenant: found.tenant };
    },
    /** The hourly push of a marketplace app's ticket. */
    issueTicket(appId: string): void {
      if (apps.get(appId)?.kind !== "marketplace") throw new RangeError(`"${appId}" is not a marketplace app`);
      issueTicket(appId);
    },
    /** Makes every token that was given out invalid, of one app or of all. */
    revoke(appId?: string): void {
      for (const [value, { appId: owner }] of live) if (appId === undefined || appId === owner) live.delete(value);
    },
    /** An app that an administrator has stopped gets no tokens, and those it has do nothing. */
    setDisabled(appId: string, isDisabled: boolean): void {
      if (isDisabled) disabled.add(appId);
      else disabled.delete(appId);
    },
    /** How many tokens were made; one that was given out again counts once. */
    issued: () => issued,
  };
}

/** Token answers have their members beside `code`, not in `data`. */
function flat(members: object): Answer {
  return { status: 200, body: { code: 0, msg: "ok", ...members } };
}
