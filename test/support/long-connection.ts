import { createHash } from "node:crypto";
import type { TestContext } from "node:test";
import { type Clock, systemClock } from "../../lib/clock.ts";
import type { CallbackEnvelope, EventEnvelope, UnreadableEnvelope } from "../../lib/feishu/envelope.ts";
import { keepConnected } from "../../lib/long-connection/session.ts";
import type { Answer, ReceiverPorts } from "../../lib/receiving/receiver.ts";
import type { ClientConfigJson } from "../../lib/simulator/long-connection/connection.ts";
import { startLongConnectionServer } from "../../lib/simulator/long-connection/server.ts";
import { appId } from "./push.ts";
import { until } from "./until.ts";

export const appSecret = "an app secret for tests";

/** The platform's end, for one app or for several. */
export function startPlatformEnd(
  options: { clock?: Clock; config?: ClientConfigJson; appIds?: readonly string[] } = {},
) {
  const { clock = systemClock, config, appIds = [appId] } = options;
  return startLongConnectionServer({
    apps: appIds.map((id) => ({ appId: id, appSecret })),
    clock,
    random: Math.random,
    ...(config === undefined ? {} : { config }),
  });
}

export type PlatformEnd = Awaited<ReturnType<typeof startPlatformEnd>>;

/** A port that collects what it is given, until it is told to refuse or to wait. */
export function collectingPorts(callback: (envelope: CallbackEnvelope) => Promise<Answer> | Answer = () => ok) {
  const queued: EventEnvelope[] = [];
  const quarantined: UnreadableEnvelope[] = [];
  let before = async (): Promise<void> => {};
  const ports: ReceiverPorts = {
    send: (envelope) => before().then(() => void queued.push(envelope)),
    quarantine: (envelope) => before().then(() => void quarantined.push(envelope)),
    callback: async (envelope) => callback(envelope),
  };
  return {
    ...{ ports, queued, quarantined },
    /** What every later store waits for; a rejection is a queue that refuses. */
    first(wait: () => Promise<void>): void {
      before = wait;
    },
  };
}

const ok: Answer = { status: 200, body: {} };

export const refuse = (): Promise<never> => Promise.reject(new Error("the queue refuses"));

/** A client of ours; `done` is how it ended. It is stopped with the test. */
export function startClient(
  t: Pick<TestContext, "after">,
  options: { origin: string; ports: ReceiverPorts; clock?: Clock } & Partial<Parameters<typeof keepConnected>[0]>,
) {
  let isConnected = false;
  const all = {
    ...{ appId, appSecret, clock: systemClock, random: Math.random },
    ...options,
    onConnected(now: boolean) {
      isConnected = now;
      options.onConnected?.(now);
    },
  };
  const controller = new AbortController();
  const done = keepConnected(all, controller.signal);
  // Heard by the test that expects it.
  done.catch(() => {});
  const stop = async () => {
    controller.abort();
    await done.catch(() => {});
  };
  t.after(stop);
  return {
    stop,
    done,
    get isConnected(): boolean {
      return isConnected;
    },
    connected: () => until("the connection stands", () => isConnected),
  };
}

/** One platform end and one client, connected. */
export async function startLine(
  t: Pick<TestContext, "after">,
  options: { clock?: Clock; config?: ClientConfigJson; callback?: Parameters<typeof collectingPorts>[0] } & Partial<
    Parameters<typeof keepConnected>[0]
  > = {},
) {
  const { config, callback, ...rest } = options;
  const { clock = systemClock } = rest;
  const server = await startPlatformEnd({ clock, ...(config === undefined ? {} : { config }) });
  t.after(() => server.close());
  const store = collectingPorts(callback);
  const client = startClient(t, { origin: server.origin, ports: store.ports, ...rest });
  await client.connected();
  const connection = await until("the platform sees it", () => server.connections()[0]);
  return {
    ...{ server, client, connection, ...store },
    deliver: (text: string, delivery: Omit<Parameters<typeof server.deliver>[1], "appId"> = {}) =>
      server.deliver(text, { appId, ...delivery }),
  };
}

/** A fresh app id of the platform's shape. */
export function appIdOf(name: string): string {
  return `cli_${createHash("sha256").update(name).digest("hex").slice(0, 16)}`;
}
