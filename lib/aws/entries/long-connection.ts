import { systemClock } from "../../clock.ts";
import type { CallbackList } from "../../handler.ts";
import { prepareProcess } from "../../handling/run.ts";
import { serveHealth } from "../../long-connection/health.ts";
import { startHeartbeat } from "../../long-connection/heartbeat.ts";
import { keepConnected } from "../../long-connection/session.ts";
import { publish } from "../../trace/trace.ts";
import { longConnectionConfig } from "../config.ts";
import { sdkClient } from "../sdk-client.ts";
import { callbackTryMs, loadAll } from "./callback.ts";
import { callbackPorts } from "./callback-ports.ts";
import type { EntryOptions } from "./options.ts";

/**
 * A process, not a Lambda: frame → receive → the answer's frame. It opens the connection, so it needs no public address.
 * It runs until SIGTERM or SIGINT and exits with 0, or with 1 when a retry cannot help.
 */
export async function longConnection(options: Pick<EntryOptions, "callbacks" | "env"> = {}): Promise<never> {
  const { callbacks = {}, env = process.env } = options;
  prepareProcess(env);
  try {
    await run(callbacks, env);
    // A timer that a handler left open must not keep the process alive.
    process.exit(0);
  } catch (error) {
    publish({ stage: "misconfigured", level: "error", error });
    process.exit(1);
  }
}

async function run(callbacks: CallbackList, env: NodeJS.ProcessEnv): Promise<void> {
  const config = longConnectionConfig(env);
  startHeartbeat(env);
  const { api, appId, healthPort } = config;
  const client = await sdkClient(callbackTryMs);
  const { ports, appSecret, load } = callbackPorts({ config, callbacks, client, api, env });
  let isConnected = false;
  const options = {
    origin: api.origin,
    proxyEnv: api.proxyEnv,
    appId,
    appSecret: await appSecret(),
    ports,
    clock: systemClock,
    random: Math.random,
    onConnected(now: boolean) {
      isConnected = now;
      // For the parent process, if it still listens.
      if (process.connected) process.send?.({ isConnected }, undefined, undefined, () => {});
    },
  };
  if (healthPort !== undefined) await serveHealth(healthPort, () => isConnected);
  await Promise.all([loadAll(callbacks), load(), client.connect(["sqs", "dynamodb"])]);
  const stop = new AbortController();
  for (const name of ["SIGTERM", "SIGINT"] as const) process.once(name, () => stop.abort());
  await keepConnected(options, stop.signal);
}
