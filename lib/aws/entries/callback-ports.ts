import { randomUUID } from "node:crypto";
import type { SQSClient } from "@aws-sdk/client-sqs";
import { systemClock } from "../../clock.ts";
import type { CallbackList } from "../../handler.ts";
import { answerCallback } from "../../handling/callback.ts";
import { callbackDispatcher } from "../../handling/dispatcher.ts";
import type { ApiConfig } from "../../open-api/config.ts";
import type { ReceiverPorts } from "../../receiving/receiver.ts";
import type { Secrets } from "../../secrets.ts";
import { dynamoAnswers } from "../answers.ts";
import { dynamoClient } from "../dynamodb.ts";
import { deferTo, receiverQueues } from "../queues.ts";
import { awsTools } from "../tools.ts";

/** Two tries at the store fit into the 900 ms that a claim may take, so a click survives one lost packet. */
const storeTryMs = 350;

/** The receiver's ports of the callback function and the long connection, which answer callbacks. */
export function callbackPorts(options: {
  readonly config: {
    readonly eventsQueueUrl: string;
    readonly quarantineQueueUrl: string;
    readonly ledgerTable: string;
    readonly deadlineMs: number;
  };
  readonly callbacks: CallbackList;
  readonly client: SQSClient;
  readonly api: ApiConfig;
  readonly appSecret: () => Promise<string>;
  readonly secrets: () => Promise<Secrets>;
}): ReceiverPorts {
  const { config, callbacks, client, api, appSecret, secrets } = options;
  const { eventsQueueUrl, ledgerTable: table, deadlineMs } = config;
  const dynamo = dynamoClient({ tryMs: storeTryMs });
  const { signer, tools } = awsTools({ client: dynamo, table, appSecret, api, secrets });
  const ports = {
    signer,
    tools,
    deadlineMs,
    dispatch: callbackDispatcher(callbacks),
    answers: dynamoAnswers(dynamo, table),
    defer: deferTo(client, eventsQueueUrl),
    clock: systemClock,
    newOwner: randomUUID,
  };
  return {
    ...receiverQueues(client, config),
    callback: (envelope, context) => answerCallback(envelope, ports, context),
  };
}
