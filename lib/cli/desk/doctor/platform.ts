import type { Agent } from "node:http";
import { systemClock } from "../../../clock.ts";
import { OpenApiError } from "../../../errors.ts";
import { fieldsOf, parseJson } from "../../../feishu/json.ts";
import { agentFor, exchange, networkCode } from "../../../https.ts";
import type { ApiConfig } from "../../../open-api/config.ts";
import { tokenRequest } from "../../../open-api/token-request.ts";
import { codeOf } from "../../../open-api/transport.ts";
import type { Check } from "./check.ts";
import { type Finding, found } from "./finding.ts";

/** An app, and how its platform is reached. */
export interface App extends Pick<ApiConfig, "appId" | "origin" | "isMarketplace" | "proxyEnv"> {
  readonly appSecret: string | undefined;
  /** How many long connections the app should have: at least, and at most. `undefined` if it is unknown. */
  readonly connections: readonly [least: number, most: number] | undefined;
}

export interface WithApp {
  /** @returns `undefined`: there is no app, or another check says why not. */
  app(): Promise<App | undefined>;
}

/** AWS, and a callback, take a request for five minutes. */
const mostSkewMs = 120_000;
/** So many the platform lets one app have. */
const mostConnections = 50;

export const platformChecks: readonly Check<WithApp>[] = [
  {
    id: "platform",
    about: "the platform",
    fine: "the platform knows the app and its secret, and this machine's clock is right",
    async find(subject) {
      const app = await subject.app();
      if (app === undefined) return undefined;
      const skews: number[] = [];
      const { host } = new URL(app.origin);
      const findings: Finding[] = [];
      try {
        const call = createTransport(app, (skewMs) => skews.push(skewMs));
        findings.push(...(await askAsApp(app, call)));
      } catch (error) {
        if (error instanceof OpenApiError) findings.push(refused(app, error));
        else findings.push(unreachable(host, networkCode(error)));
      }
      const skewMs = skews.find((ms) => Math.abs(ms) > mostSkewMs);
      if (skewMs === undefined) return findings;
      const by = `${Math.round(Math.abs(skewMs) / 1000)} s ${skewMs > 0 ? "ahead of" : "behind"}`;
      const what = `this machine's clock is ${by} ${host}'s: AWS and callbacks refuse what is signed with it`;
      return [
        ...findings,
        found("clock-wrong", what, "Set the clock, by NTP: AWS and Feishu take five minutes at most"),
      ];
    },
  },
];

type Transport = (method: string, path: string, options?: { body?: object; token?: string }) => Promise<unknown>;

/** Calls the Open API without a second try. An answer that is not the platform's is an error without a code. */
function createTransport({ origin, proxyEnv }: App, onSkew: (ms: number) => void): Transport {
  const agent: Agent = agentFor(new URL(origin), proxyEnv);
  return async (method, path, { body, token } = {}) => {
    const { status, headers, bytes } = await exchange(new URL(path, origin), {
      method,
      agent,
      signal: AbortSignal.timeout(10_000),
      body: body && JSON.stringify(body),
      headers: {
        "content-type": "application/json; charset=utf-8",
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
      },
    });
    const serverMs = Date.parse(headers.get("date") ?? "");
    if (!Number.isNaN(serverMs)) onSkew(systemClock.nowMs() - serverMs);
    const json = parseJson(bytes.toString("utf8"));
    const apiCode = codeOf(json);
    if (method === "HEAD" || apiCode === 0) return json;
    throw new OpenApiError(`answered ${status}, code ${apiCode ?? "none"}`, { status, apiCode });
  };
}

/** Gets a token, and with it how many long connections are open. Without a secret it asks for the time alone. */
async function askAsApp(app: App, call: Transport): Promise<Finding[]> {
  const { appId, appSecret, isMarketplace, connections } = app;
  if (appSecret === undefined || isMarketplace) {
    await call("HEAD", "/");
    return [];
  }
  const post = (path: string, body: object) => call("POST", path, { body });
  const token = await tokenRequest({ appId, appSecret: async () => appSecret, clock: systemClock, post })(null);
  // What it does not answer says nothing of the app.
  const answer = await call("GET", "/open-apis/event/v1/connection", { token: token.value }).catch(() => undefined);
  const open = fieldsOf(fieldsOf(answer)["data"])["online_instance_cnt"];
  return typeof open === "number" ? judgeConnections(open, connections) : [];
}

function judgeConnections(open: number, connections: App["connections"]): Finding[] {
  const [least = 0, most = mostConnections] = connections ?? [];
  if (open >= mostConnections) {
    const what = `the app has ${open} long connections, and the platform takes no more`;
    return [found("connections-full", what, "Stop other clients of the same app")];
  }
  if (open < least) {
    const what = "the app has no long connection, and events wait at Feishu for 7 hours at most";
    return [found("connections-none", what, 'Look why: docs/operate.md, heading "long-connection-down"')];
  }
  if (open <= most) return [];
  const what = `the app has ${open} long connections, and ${most} are expected: each gets a part of the events`;
  return [found("connections-other", what, "Stop other programs with this App ID, or give each an app of its own")];
}

type Refusal = readonly [why: string, cure: string];
const wrongKeys: Refusal = [
  "the App ID or the App Secret is wrong",
  "Copy both from the developer console, and store them again",
];
/** Why no token is given out, and the cure, by the platform's code. */
const tokenRefusals: ReadonlyMap<number | undefined, Refusal> = new Map([
  [10003, wrongKeys],
  [
    10014,
    ["the app is disabled, or its secret is another", "Enable the app in the developer console, and check APP_SECRET"],
  ],
  [10015, wrongKeys],
]);

function refused({ appId }: App, { status, apiCode }: OpenApiError): Finding {
  const [why, cure] = tokenRefusals.get(apiCode) ?? [
    "no token is given out",
    "Look the code up in docs/troubleshooting.md, and check LARK_DOMAIN",
  ];
  return found(
    "app-refused",
    `the platform refuses ${appId}: answered ${status}, code ${apiCode ?? "none"}: ${why}`,
    cure,
  );
}

function unreachable(host: string, code: string): Finding {
  if (/^(ENOTFOUND|EAI_AGAIN)$/.test(code)) {
    return found("platform-unknown", `the host ${host} is unknown here`, "Check this machine's DNS, and LARK_DOMAIN");
  }
  const cure = "Check this machine's network, HTTPS_PROXY and NO_PROXY";
  return found("platform-unreachable", `${host} cannot be reached from here (${code})`, cure);
}
