import { randomUUID } from "node:crypto";
import type { SQSClient } from "@aws-sdk/client-sqs";
import { systemClock } from "../../clock.ts";
import type { CallbackList } from "../../handler.ts";
import { answerCallback } from "../../handling/callback.ts";
import { callbackDispatcher } from "../../handling/dispatcher.ts";
import type { ApiConfig } from "../../open-api/config.ts";
import type { ReceiverPorts } from "../../receiving/receiver.ts";
import type { Env } from "../../settings/environment.ts";
import { dynamoAnswers } from "../answers.ts";
import type { callbackConfig, longConnectionConfig } from "../config.ts";
import { dynamoClient } from "../dynamodb.ts";
import { deferTo, receiverQueues } from "../queues.ts";
import { awsTools } from "../tools.ts";

/** Two tries at the store fit into the 900 ms that a claim may take, so a click survives one lost packet. */
const storeTryMs = 350;

/** The receiver's ports of the callback function and the long connection, which answer callbacks, and their secrets. */
export function callbackPorts(options: {
  readonly config: ReturnType<typeof callbackConfig | typeof longConnectionConfig>;
  readonly callbacks: CallbackList;
  readonly client: SQSClient;
  readonly api: ApiConfig;
  readonly env: Env;
}) {
  const { config, callbacks, client } = options;
  const dynamo = dynamoClient({ tryMs: storeTryMs });
  const { signer, tools, appSecret, load } = awsTools({ ...options, client: dynamo });
  const callbackPorts = {
    signer,
    tools,
    deadlineMs: config.deadlineMs,
    dispatch: callbackDispatcher(callbacks),
    answers: dynamoAnswers(dynamo, config.ledgerTable),
    defer: deferTo(client, config),
    clock: systemClock,
    newOwner: randomUUID,
  };
  const ports: ReceiverPorts = {
    ...receiverQueues(client, config),
    callback: (envelope, context) => answerCallback(envelope, callbackPorts, context),
  };
  return { ports, appSecret, load };
}
