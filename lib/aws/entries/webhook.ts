import { startLogging } from "../../trace/log.ts";
import { webhookConfig } from "../config.ts";
import { secretSource } from "../keys.ts";
import { receiverQueues } from "../queues.ts";
import { sqsClient, warmUp } from "../sqs.ts";
import { answering, type HttpHandler } from "./answering.ts";
import type { EntryOptions } from "./options.ts";

/** HTTP in, for events: open → receive → answer. No user code runs here. */
export async function webhook({ env = process.env }: Pick<EntryOptions, "env"> = {}): Promise<HttpHandler> {
  startLogging(env);
  return answering({ path: "/webhook" }, async () => {
    const config = webhookConfig(env);
    const client = sqsClient();
    const [keys] = await Promise.all([secretSource(config).keys(), warmUp(client, config.eventsQueueUrl)]);
    return { ports: receiverQueues(client, config), warnings: config.warnings, ...keys };
  });
}
