import { webhookConfig } from "../lib/aws/config.ts";
import { type KeySource, secretSource } from "../lib/aws/keys.ts";
import { receiverQueues, rehearse, sqsClient } from "../lib/aws/queue.ts";
import { systemClock } from "../lib/clock.ts";
import { ConfigError } from "../lib/errors.ts";
import { answerHttp, type HttpResponse } from "../lib/receiving/http.ts";
import { type ReceiverPorts, receive } from "../lib/receiving/receiver.ts";
import { startLogging } from "../lib/trace/log.ts";
import { publish } from "../lib/trace/trace.ts";

// HTTP in, for events: open → receive → answer. No user code runs here.

startLogging(process.env);
// All that needs no network is done while the function loads: Lambda gives that a whole CPU, and the first
// event a fraction of one. A challenge, which comes once, bears it as well.
const start = await prepare();

export async function handler(event: unknown, _context?: unknown): Promise<HttpResponse> {
  return answerHttp(event, {
    clock: systemClock,
    keys: () => prepared().current(),
    renewedKeys: "error" in start ? undefined : start.renewed,
    receive: (envelope, context) => receive(envelope, prepared().ports, context),
  });
}

interface Prepared extends KeySource {
  readonly ports: ReceiverPorts;
}

function prepared(): Prepared {
  if ("error" in start) throw start.error;
  return start;
}

async function prepare(): Promise<Prepared | { readonly error: unknown }> {
  try {
    const config = webhookConfig(process.env);
    for (const message of config.warnings) publish({ stage: "misconfigured", level: "warn", facts: { message } });
    const client = sqsClient();
    const [keys] = await Promise.all([secretSource(config).keys(), rehearse(client, config.eventsQueueUrl)]);
    return { ports: receiverQueues(client, config), ...keys };
  } catch (error) {
    const message = error instanceof ConfigError ? error.message : undefined;
    publish({ stage: "misconfigured", level: "error", facts: { message }, error });
    return { error };
  }
}
