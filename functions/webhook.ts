import { answerHttp, type HttpResponse } from "../lib/aws/http.ts";
import { systemClock } from "../lib/clock.ts";
import { type WebhookConfig, webhookConfig } from "../lib/config.ts";
import { ConfigError } from "../lib/errors.ts";
import type { KeyRing } from "../lib/feishu/keys.ts";
import { startLogging } from "../lib/log.ts";
import { type ReceiverPorts, receive } from "../lib/receiver.ts";
import { publish } from "../lib/trace.ts";

// HTTP in, for events: open → receive → answer. No user code runs here.

startLogging(process.env);
const keys = keySource();
// Loaded and built while the function starts, so that the first event does not pay for it. After the keys,
// though: a challenge needs those, has one second, and never waits for this.
const queues = "error" in keys ? undefined : heardLater(keys.asked.then(() => connect(keys.config)));

export async function handler(event: unknown, _context?: unknown): Promise<HttpResponse> {
  return answerHttp(event, {
    clock: systemClock,
    keys: () => {
      if ("error" in keys) throw keys.error;
      return keys.current();
    },
    renewedKeys: "error" in keys ? undefined : keys.renewed,
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

async function connect(config: WebhookConfig): Promise<ReceiverPorts> {
  const { receiverQueues, rehearse, sqsClient } = await import("../lib/aws/queue.ts");
  const client = sqsClient();
  await rehearse(client, config.eventsQueueUrl);
  return receiverQueues(client, config);
}

interface KeySource {
  readonly config: WebhookConfig;
  readonly current: () => KeyRing | Promise<KeyRing>;
  readonly renewed?: () => Promise<KeyRing | undefined>;
  /** Resolves when the store has answered for the first time, or failed to, and so have the requests that waited for it. */
  readonly asked: Promise<unknown>;
}

/** The environment's keys, or the stored ones, asked for at once: the first request finds the answer under way. */
function keySource(): KeySource | { readonly error: unknown } {
  try {
    const config = webhookConfig(process.env);
    for (const message of config.warnings) publish({ stage: "misconfigured", level: "warn", facts: { message } });
    const { keys: own, stored } = config;
    if (stored === undefined) return { config, current: () => own, asked: Promise.resolve() };
    const store = heardLater(
      import("../lib/aws/secrets.ts").then(({ ssmClient, storedKeys }) => storedKeys(ssmClient(), stored, systemClock)),
    );
    return {
      config,
      asked: store
        .then((one) => one.current())
        .catch(() => {})
        // A challenge that waited is opened and answered in this same turn of the event loop.
        .then(() => new Promise((resolve) => setImmediate(resolve))),
      current: async () => (await store).current(),
      renewed: async () => (await store).renewed(),
    };
  } catch (error) {
    const message = error instanceof ConfigError ? error.message : undefined;
    publish({ stage: "misconfigured", level: "error", facts: { message }, error });
    return { error };
  }
}

/** Whoever awaits it hears of its failure; until then it is no dropped promise. */
function heardLater<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => {});
  return promise;
}
