import { startLogging } from "../../trace/log.ts";
import { awsClient } from "../client.ts";
import { webhookConfig } from "../config.ts";
import { receiverQueues } from "../queues.ts";
import { secretSource } from "../secrets.ts";
import { type Answering, answering, type HttpHandler } from "./answering.ts";
import type { EntryOptions } from "./options.ts";

// Each entry is bundled with this file alone.
export { fromSdk } from "../sdk.ts";

/** HTTP in, for events: open → receive → answer. No user code runs here. */
export async function webhook(options: Pick<EntryOptions, "env" | "aws"> = {}): Promise<HttpHandler> {
  startLogging(options.env ?? process.env);
  return answering({ path: "/webhook" }, () => answeringEvents(options));
}

/** @throws {ConfigError} A setting is missing or wrong. */
export async function answeringEvents({
  env = process.env,
  aws,
}: Pick<EntryOptions, "env" | "aws">): Promise<Answering> {
  const config = webhookConfig(env);
  const client = aws ?? awsClient({ env });
  // Not waited for: a challenge needs no queue.
  void client.connect(["sqs"]);
  const keys = await secretSource(config, client).keys();
  return { ports: receiverQueues(client, config), warnings: config.warnings, ...keys };
}
