import { answerHttp, type HttpResponse } from "../lib/aws/http.ts";
import { systemClock } from "../lib/clock.ts";
import { type WebhookConfig, webhookConfig } from "../lib/config.ts";
import { startLogging } from "../lib/log.ts";
import { type ReceiverPorts, receive } from "../lib/receiver.ts";
import { publish } from "../lib/trace.ts";

// HTTP in, for events: open → receive → answer. No user code runs here.

startLogging(process.env);
const config = configure();
// Loaded and built while the function starts, so that the first event does not pay for it; a challenge never waits for it.
const queues = "error" in config ? undefined : connect(config.value);

export async function handler(event: unknown, _context?: unknown): Promise<HttpResponse> {
  return answerHttp(event, {
    clock: systemClock,
    keys: () => {
      if ("error" in config) throw config.error;
      return config.value.keys;
    },
    receive: (envelope, context) => receive(envelope, ports, context),
  });
}

const ports: ReceiverPorts = {
  send: async (envelope, signal) => (await connected()).send(envelope, signal),
  quarantine: async (envelope, signal) => (await connected()).quarantine(envelope, signal),
};

function connected(): Promise<ReceiverPorts> {
  return queues ?? Promise.reject(new Error("Cannot reach the queue: the function is not configured"));
}

function connect(settings: WebhookConfig): Promise<ReceiverPorts> {
  const connecting = import("../lib/aws/queue.ts").then(({ receiverQueues, sqsClient }) =>
    receiverQueues(sqsClient(), settings),
  );
  // Heard by the first event; until then it must not count as a dropped promise.
  connecting.catch(() => {});
  return connecting;
}

function configure(): { value: WebhookConfig } | { error: unknown } {
  try {
    const value = webhookConfig(process.env);
    for (const message of value.warnings) publish({ stage: "misconfigured", level: "warn", facts: { message } });
    return { value };
  } catch (error) {
    const message = error instanceof Error ? error.message : undefined;
    publish({ stage: "misconfigured", level: "error", facts: { message }, error });
    return { error };
  }
}
