import { type Answer, Refusal } from "./answer.ts";
import type { Apps } from "./apps.ts";
import { type OpenCall, type Route, required } from "./route.ts";
import type { Token, Tokens } from "./tokens.ts";

/**
 * The calls that issue tokens:
 * https://open.feishu.cn/document/ukTMukTMukTM/ukDNz4SO0MjL5QzM/auth-v3/auth/tenant_access_token_internal
 * (and `…/app_access_token_internal`, `…/app_access_token`, `…/tenant_access_token`, `…/app_ticket_resend`)
 */
export function tokenRoutes(options: {
  readonly apps: Apps;
  readonly tokens: Tokens;
  readonly nowMs: () => number;
  readonly defaultTenant: string;
}): Route[] {
  const { apps, tokens, nowMs, defaultTenant } = options;

  function answer(token: Token, ...names: ("app_access_token" | "tenant_access_token")[]): Answer {
    const values = Object.fromEntries(names.map((name) => [name, token.value]));
    return flat({ ...values, expire: Math.floor((token.endsAtMs - nowMs()) / 1000) });
  }

  function selfBuilt(call: OpenCall): Token {
    const app = apps.authenticate(call);
    if (app.kind !== "self-built") throw new Refusal(10005, "not a self-built app");
    return tokens.issue("tenant", app.appId, app.tenant ?? defaultTenant);
  }

  function appToken(call: OpenCall): Answer {
    const app = apps.authenticate(call);
    if (app.kind !== "marketplace") throw new Refusal(10005, "not a marketplace app");
    const ticket = required(call.body, "app_ticket", 10003);
    // The official Go client reads this code as "invalid ticket" and asks for another one.
    if (!apps.hasTicket(app.appId, ticket)) throw new Refusal(10012, "app_ticket is invalid");
    return answer(tokens.issue("app", app.appId, ""), "app_access_token");
  }

  function tenantToken({ body }: OpenCall): Answer {
    const appToken = tokens.valid(required(body, "app_access_token", 10003));
    const tenant = required(body, "tenant_key", 10003);
    const app = appToken?.kind === "app" ? apps.get(appToken.appId) : undefined;
    if (app?.kind !== "marketplace") throw new Refusal(99991664);
    if (apps.isDisabled(app.appId)) throw new Refusal(10014);
    if (app.tenants !== undefined && !app.tenants.includes(tenant)) throw new Refusal(10013, "not installed there");
    return answer(tokens.issue("tenant", app.appId, tenant), "tenant_access_token");
  }

  function resendTicket(call: OpenCall): Answer {
    const app = apps.authenticate(call);
    if (app.kind !== "marketplace") throw new Refusal(10016);
    apps.issueTicket(app.appId);
    return flat({});
  }

  return [
    post("tenant_access_token/internal", (call) => answer(selfBuilt(call), "tenant_access_token")),
    // One token under two names, as in the documentation's example.
    post("app_access_token/internal", (call) => answer(selfBuilt(call), "app_access_token", "tenant_access_token")),
    post("app_access_token", appToken),
    post("tenant_access_token", tenantToken),
    post("app_ticket/resend", resendTicket),
  ];
}

function post(path: string, operation: (call: OpenCall) => Answer): Route {
  return { method: "POST", path: `/open-apis/auth/v3/${path}`, access: "open", malformed: 10003, operation };
}

/** Token answers have their members beside `code`, not in `data`. */
function flat(members: object): Answer {
  return { status: 200, body: { code: 0, msg: "ok", ...members } };
}
