import { systemClock } from "../../clock.ts";
import type { CallbackList } from "../../handler.ts";
import type { HttpOptions } from "../../receiving/http.ts";
import type { Env } from "../../settings/environment.ts";
import { describeError } from "../../trace/error.ts";
import { startLogging } from "../../trace/log.ts";
import { type AwsClient, awsClient } from "../client.ts";
import { httpOptions } from "./answering.ts";
import { answeringCallbacks, callbackTryMs } from "./callback.ts";
import { answeringEvents } from "./webhook.ts";

// `larkpost/http`: the webhook and the callback function at one address of a server of yours.

export { fastify } from "../../receiving/fastify.ts";
export { fetchHandler } from "../../receiving/fetch.ts";
export type { HttpOptions as Receiver } from "../../receiving/http.ts";
export { koa } from "../../receiving/koa.ts";
export { keepRawBody, nodeListener, nodeListener as express } from "../../receiving/node.ts";

/**
 * Receives events and callbacks for a door: events go to the queue, callbacks are answered in this process. It never
 * throws, and installs nothing in the process: with a wrong setting every push gets 503, and one log line says why.
 *
 * @param options.env Instead of the process's own: the settings of the webhook function and, with callbacks, of the
 * callback function.
 * @param options.callbacks The generated list of `functions/callbacks`. Without it, the answer to a callback says that it came
 * to the wrong address.
 */
export function createReceiver({
  env = process.env,
  callbacks,
}: {
  readonly env?: NodeJS.ProcessEnv;
  readonly callbacks?: CallbackList;
} = {}): HttpOptions {
  startLogging(env, describeError);
  const ready = httpOptions(async () => {
    const aws = await clientFor(env);
    return callbacks === undefined ? answeringEvents({ env, aws }) : answeringCallbacks({ env, aws, callbacks });
  });
  // The first requests wait for it no longer than for their answer.
  return {
    clock: systemClock,
    keys: async () => (await ready).keys(),
    renewedKeys: async () => (await ready).renewedKeys?.(),
    receive: async (envelope, context) => (await ready).receive(envelope, context),
  };
}

/** The small client, if the environment has what it needs. The SDK finds credentials elsewhere, and takes long to load. */
async function clientFor(env: Env): Promise<AwsClient> {
  const { AWS_REGION: region, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_PROFILE } = env;
  const isHere = region && AWS_ACCESS_KEY_ID && AWS_SECRET_ACCESS_KEY && !AWS_PROFILE;
  if (isHere) return awsClient({ env, tryMs: callbackTryMs });
  const { sdkClient } = await import("../sdk-client.ts");
  return sdkClient(callbackTryMs, region ? { region } : {});
}
