import type { TestContext } from "node:test";
import type { Clock } from "../../lib/clock.ts";
import { openApi } from "../../lib/open-api/client.ts";
import { ticketKeeper } from "../../lib/open-api/tickets.ts";
import type { TokenStore } from "../../lib/open-api/tokens.ts";
import type { ApiRun } from "../../lib/open-api/transport.ts";
import type { App } from "../../lib/simulator/open-api/apps.ts";
import type { OpenApiOptions } from "../../lib/simulator/open-api/open-api.ts";
import { memoryTokens } from "../../lib/testing/tokens.ts";
import { selfBuilt, startOpenApi } from "./open-api.ts";

/** A clock for code that waits with a randomness of 0: what is to happen at once does, the rest is left to `clock`. */
export function impatient(clock: Clock): Clock & { readonly asked: number[] } {
  const asked: number[] = [];
  return {
    asked,
    nowMs: clock.nowMs,
    after(ms, fire) {
      asked.push(ms);
      if (ms > 0) return clock.after(ms, fire);
      const soon = setImmediate(fire);
      return () => clearImmediate(soon);
    },
  };
}

/** The API of the self-built app, or of the marketplace's, against the simulator over HTTP. Both go by the same clock. */
export async function startApi(
  t: TestContext,
  options: {
    readonly app?: App;
    readonly store?: TokenStore;
    readonly random?: () => number;
    readonly origin?: string;
    readonly simulator?: Partial<OpenApiOptions>;
  } = {},
) {
  const { app = selfBuilt, store = memoryTokens(), random = () => 0 } = options;
  const simulated = await startOpenApi(t, options.simulator);
  const clock = impatient(simulated.clock);
  const { appId } = app;
  const appSecret = async () => app.appSecret;
  const tickets = ticketKeeper({ store, secret: appSecret, appId, clock });
  /** Another process of the same app. */
  const startProcess = (given: { random?: () => number; clock?: Clock } = {}) =>
    openApi({
      ...{ appId, appSecret, store, clock, random, ...given },
      origin: options.origin ?? simulated.url,
      marketplace: app.kind === "marketplace" ? { ticket: tickets.latest } : undefined,
    });
  const api = startProcess();
  const run = (given: Partial<ApiRun> = {}, process = api) =>
    process.forRun({
      ...{ key: "key-1", tenant: null, signal: new AbortController().signal, remainingMs: () => 60_000 },
      ...given,
    });
  return {
    ...simulated,
    ...{ api, run, startProcess, store, tickets },
    apiClock: clock,
    /** Calls of the Open API, by their path's end. */
    called: (end: string) => simulated.simulator.calls().filter(({ path }) => path.endsWith(end)).length,
  };
}

export const tokenPath = "/open-apis/auth/v3/tenant_access_token/internal";
export const messagesPath = "/open-apis/im/v1/messages";
