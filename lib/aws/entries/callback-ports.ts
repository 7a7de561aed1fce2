import { randomUUID } from "node:crypto";
import { systemClock } from "../../clock.ts";
import type { CallbackList } from "../../handler.ts";
import { answerCallback } from "../../handling/callback.ts";
import { callbackDispatcher } from "../../handling/dispatcher.ts";
import type { ApiConfig } from "../../open-api/config.ts";
import type { ReceiverPorts } from "../../receiving/receiver.ts";
import type { Env } from "../../settings/environment.ts";
import { dynamoAnswers } from "../answers.ts";
import type { AwsClient } from "../client.ts";
import type { callbackConfig, longConnectionConfig } from "../config.ts";
import { deferralsTo, receiverQueues } from "../queues.ts";
import { awsTools } from "../tools.ts";

/** The receiver's ports of the callback function and the long connection, which answer callbacks, and their secrets. */
export function callbackPorts(options: {
  readonly config: ReturnType<typeof callbackConfig | typeof longConnectionConfig>;
  readonly callbacks: CallbackList;
  readonly client: AwsClient;
  readonly api: ApiConfig;
  readonly env: Env;
}) {
  const { config, callbacks, client } = options;
  const { signer, tools, appSecret, load } = awsTools(options);
  const callbackPorts = {
    signer,
    tools,
    deadlineMs: config.deadlineMs,
    dispatch: callbackDispatcher(callbacks),
    answers: dynamoAnswers(client, config.ledgerTable),
    deferrals: deferralsTo(client, config),
    clock: systemClock,
    newOwner: randomUUID,
  };
  const ports: ReceiverPorts = {
    ...receiverQueues(client, config),
    callback: (envelope, context) => answerCallback(envelope, callbackPorts, context),
  };
  return { ports, appSecret, load };
}
