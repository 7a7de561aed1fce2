import { systemClock, within } from "../../clock.ts";
import { defaultApp } from "../../feishu/keys.ts";
import type { CallbackList } from "../../handler.ts";
import { outliveLeaks } from "../../handling/run.ts";
import { apiConfig } from "../../open-api/config.ts";
import { startLogging } from "../../trace/log.ts";
import { callbackConfig } from "../config.ts";
import { secretSource } from "../keys.ts";
import { rehearse, sqsClient } from "../sqs.ts";
import { answering, type HttpHandler } from "./answering.ts";
import { callbackPorts } from "./callback-ports.ts";

/** What handlers' files may take to load before the function starts without them. */
const loadWithinMs = 2_000;
/** What the answer may take behind the handler's deadline. */
const graceMs = 200;

/**
 * HTTP in, for callbacks: open → receive → the handler's answer. User code runs here, so it is a function of its own.
 * @param options.callbacks The generated list of `functions/callbacks`.
 */
export async function callback({
  callbacks = {},
  env = process.env,
}: {
  callbacks?: CallbackList;
  env?: NodeJS.ProcessEnv;
} = {}): Promise<HttpHandler> {
  startLogging(env);
  outliveLeaks();
  return answering({ path: "/callback" }, async () => {
    const config = callbackConfig(env);
    const secrets = secretSource(config);
    const client = sqsClient();
    const api = apiConfig(env, config.keys.get(defaultApp)?.appId ?? config.stored?.appId);
    const ports = callbackPorts({ config, callbacks, client, api, appSecret: secrets.appSecret });
    const [keys] = await Promise.all([secrets.keys(), rehearse(client, config.eventsQueueUrl), loaded(callbacks)]);
    return { ...keys, ports, warnings: config.warnings, withinMs: config.deadlineMs + graceMs };
  });
}

/** A file that fails to load is reported by its own callbacks. One that never ends loading makes only those late. */
async function loaded(callbacks: CallbackList): Promise<void> {
  const late = () => new Error("Cannot load the handlers in time");
  await within(systemClock, loadWithinMs, late, () => loadAll(callbacks)).catch(() => {});
}

/** Loads the handlers' files, so that nobody's first click waits for them. */
export async function loadAll(callbacks: CallbackList): Promise<void> {
  await Promise.allSettled(Object.values(callbacks).map((load) => load()));
}
