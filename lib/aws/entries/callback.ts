import { systemClock, withDeadline } from "../../clock.ts";
import { defaultApp } from "../../feishu/keys.ts";
import type { CallbackList } from "../../handler.ts";
import { prepareProcess } from "../../handling/run.ts";
import { apiConfig } from "../../open-api/config.ts";
import { awsClient, defaultTryMs, type TryMs } from "../client.ts";
import { callbackConfig } from "../config.ts";
import { type Answering, answering, type HttpHandler } from "./answering.ts";
import { callbackPorts } from "./callback-ports.ts";
import type { EntryOptions } from "./options.ts";

// Each entry is bundled with this file alone.
export { fromSdk } from "../sdk.ts";

/** Two tries at the ledger fit into the 900 ms that a claim may take, so a click survives one lost packet. */
export const callbackTryMs: TryMs = { ...defaultTryMs, dynamodb: 350 };
/** How long the function waits for its handlers' files to load. */
const loadWithinMs = 2_000;
/** How long the answer may take after the handler's deadline. */
const graceMs = 200;

/** HTTP in, for callbacks: open → receive → the handler's answer. User code runs here, so it is a function of its own. */
export async function callback(options: Omit<EntryOptions, "events"> = {}): Promise<HttpHandler> {
  prepareProcess(options.env ?? process.env);
  return answering({ path: "/callback" }, () => answeringCallbacks(options));
}

/** @throws {ConfigError} A setting is missing or wrong. */
export async function answeringCallbacks({
  callbacks = {},
  env = process.env,
  aws,
}: Omit<EntryOptions, "events">): Promise<Answering> {
  const config = callbackConfig(env);
  const client = aws ?? awsClient({ env, tryMs: callbackTryMs });
  // Not waited for: a challenge needs neither.
  void client.connect(["dynamodb", "sqs"]);
  const api = apiConfig(env, config.keys.get(defaultApp)?.appId ?? config.stored?.appId);
  const { ports, load } = callbackPorts({ config, callbacks, client, api, env });
  const [keys] = await Promise.all([load(), loadInTime(callbacks)]);
  return { ...keys, ports, warnings: config.warnings, withinMs: config.deadlineMs + graceMs };
}

/** A file that fails to load, or never ends loading, fails its own callbacks only. */
async function loadInTime(callbacks: CallbackList): Promise<void> {
  const error = () => new Error("Cannot load the handlers in time");
  await withDeadline(systemClock, { ms: loadWithinMs, error }, () => loadAll(callbacks)).catch(() => {});
}

/** Loads the handlers' files, so that no first click waits for them. */
export async function loadAll(callbacks: CallbackList): Promise<void> {
  await Promise.allSettled(Object.values(callbacks).map((load) => load()));
}
