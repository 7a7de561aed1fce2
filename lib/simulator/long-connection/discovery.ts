import { parseObject } from "../../feishu/json.ts";
import type { RandomBytes } from "../platform/push.ts";
import type { ClientConfigJson } from "./connection.ts";

export const codes = {
  wrongSecret: 514,
  forbidden: 403,
  limit: 1_000_040_350,
  noCredential: 1_000_040_344,
  badParam: 9_499,
};
export const serviceId = 33_554_678;

export interface SimulatedApp {
  readonly appId: string;
  readonly appSecret: string;
  /** Whether discovery answers 403: the app is disabled, or is not a self-built app. */
  readonly isForbidden?: boolean;
}

/** What the platform sends: reconnect for ever, at first within 30 s and then every 120 s; ping every 120 s. */
export const platformConfig: ClientConfigJson = {
  ReconnectCount: -1,
  ReconnectInterval: 120,
  ReconnectNonce: 30,
  PingInterval: 120,
};

export interface DiscoveryAnswer {
  readonly status: number;
  readonly body: string;
}

export function jsonAnswer(status: number, body: object): DiscoveryAnswer {
  return { status, body: JSON.stringify(body) };
}

/** Discovery: an app's id and secret in, a WebSocket URL with a ticket out. */
export function createDiscovery(options: {
  readonly apps: readonly SimulatedApp[];
  readonly randomBytes: RandomBytes;
  /** Whether the app has as many connections as the platform allows. */
  readonly isFull: (appId: string) => boolean;
  readonly config: () => ClientConfigJson;
}) {
  const apps = new Map(options.apps.map((app) => [app.appId, app]));
  /** Ticket → id of its app. */
  const tickets = new Map<string, string>();
  const answersToGive: DiscoveryAnswer[] = [];
  let count = 0;

  function refuse({ AppID: appId, AppSecret: appSecret }: Readonly<Record<string, unknown>>) {
    if (typeof appId !== "string" || typeof appSecret !== "string") {
      return jsonAnswer(400, { code: codes.badParam, msg: "Bad Request" });
    }
    if (appId === "" || appSecret === "") {
      return jsonAnswer(200, { code: codes.noCredential, msg: "app_id or app_secret is null" });
    }
    const app = apps.get(appId);
    if (app?.appSecret !== appSecret) return jsonAnswer(200, { code: codes.wrongSecret, msg: "auth failed" });
    if (app.isForbidden === true) return jsonAnswer(200, { code: codes.forbidden, msg: "forbidden" });
    if (!options.isFull(appId)) return undefined;
    return jsonAnswer(200, { code: codes.limit, msg: "exceed connection limit", data: null });
  }

  return {
    /** How many discovery calls there were. */
    count: () => count,
    /** The next calls get these answers instead. */
    answerNext: (...answers: DiscoveryAnswer[]) => void answersToGive.push(...answers),

    /** @param socketUrl The WebSocket's address without a query. */
    answer(body: string, socketUrl: string): DiscoveryAnswer {
      count++;
      const credentials = parseObject(body) ?? {};
      const instead = answersToGive.shift() ?? refuse(credentials);
      if (instead !== undefined) return instead;
      const ticket = options.randomBytes(16).toString("hex");
      tickets.set(ticket, String(credentials["AppID"]));
      const deviceId = String(7_412_300_000_000_000_000n + BigInt(count));
      const query = new URLSearchParams({ device_id: deviceId, service_id: String(serviceId), ticket });
      return jsonAnswer(200, {
        code: 0,
        msg: "",
        data: { URL: `${socketUrl}?${query}`, ClientConfig: options.config() },
      });
    },

    /** @returns The id of the ticket's app. A ticket is valid once. */
    redeem(ticket: string): string | undefined {
      const appId = tickets.get(ticket);
      tickets.delete(ticket);
      return appId;
    },
  };
}
