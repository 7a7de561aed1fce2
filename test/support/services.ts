import type { Message } from "@aws-sdk/client-sqs";
import { callService } from "../../lib/local/exchange.ts";
import { queueArn, queueUrl, startSqs } from "../../lib/local/sqs.ts";
import { startTable } from "./table.ts";

const region = "us-east-1";

/** Embedded SQS with the three queues, on a free port of 127.0.0.1. */
export async function startQueues(options: { visibilityTimeoutSeconds?: number; maxReceiveCount?: number } = {}) {
  const { visibilityTimeoutSeconds = 30, maxReceiveCount = 10 } = options;
  const { endpoint, exchange, stop } = await startSqs();
  const urls = {
    eventsQueueUrl: queueUrl(endpoint, "events"),
    quarantineQueueUrl: queueUrl(endpoint, "quarantine"),
    deadLetterQueueUrl: queueUrl(endpoint, "dead-letters"),
  };
  /** Calls SQS as a test itself does. The code under test has a client, and a connection. */
  async function callSqs<Answer = unknown>(action: string, input: object): Promise<Answer> {
    return callService<Answer>(exchange, `AmazonSQS.${action}`, input);
  }
  for (const QueueName of ["quarantine", "dead-letters"]) await callSqs("CreateQueue", { QueueName });
  await callSqs("CreateQueue", {
    QueueName: "events",
    Attributes: {
      VisibilityTimeout: String(visibilityTimeoutSeconds),
      RedrivePolicy: JSON.stringify({ deadLetterTargetArn: queueArn("dead-letters", region), maxReceiveCount }),
    },
  });
  return {
    callSqs,
    exchangeSqs: exchange,
    urls,
    /** Environment of a function that is to use these queues. */
    env: {
      AWS_REGION: region,
      AWS_ACCESS_KEY_ID: "local",
      AWS_SECRET_ACCESS_KEY: "local",
      AWS_ENDPOINT_URL_SQS: endpoint,
      EVENTS_QUEUE_URL: urls.eventsQueueUrl,
      QUARANTINE_QUEUE_URL: urls.quarantineQueueUrl,
      DEAD_LETTER_QUEUE_URL: urls.deadLetterQueueUrl,
    },
    /** Messages in a queue, visible, hidden and delayed together. */
    async count(url: string): Promise<number> {
      const { Attributes } = await callSqs<{ Attributes: Readonly<Record<string, string>> }>("GetQueueAttributes", {
        QueueUrl: url,
        AttributeNames: ["All"],
      });
      return ["", "NotVisible", "Delayed"]
        .map((kind) => Number(Attributes[`ApproximateNumberOfMessages${kind}`]))
        .reduce((sum, messages) => sum + messages);
    },
    /** Takes the visible messages of a queue, with all attributes; they stay hidden for `hiddenSeconds`. */
    async take(url: string, { max = 10, waitSeconds = 0, hiddenSeconds = 600 } = {}): Promise<Message[]> {
      const { Messages = [] } = await callSqs<{ Messages?: Message[] }>("ReceiveMessage", {
        QueueUrl: url,
        MaxNumberOfMessages: max,
        WaitTimeSeconds: waitSeconds,
        VisibilityTimeout: hiddenSeconds,
        MessageAttributeNames: ["All"],
        MessageSystemAttributeNames: ["All"],
      });
      return Messages;
    },
    stop,
  };
}

/** Embedded SQS and DynamoDB with the three queues and the ledger's table, on free ports of 127.0.0.1. */
export async function startServices(options: Parameters<typeof startQueues>[0] = {}) {
  const [queues, table] = await Promise.all([startQueues(options), startTable()]);
  return {
    ...queues,
    exchangeDynamo: table.exchange,
    ledgerTable: table.name,
    endpoints: { sqs: queues.env.AWS_ENDPOINT_URL_SQS, dynamo: table.endpoint },
    /** Environment of a function that is to use these services. */
    env: { ...queues.env, AWS_ENDPOINT_URL_DYNAMODB: table.endpoint, LEDGER_TABLE: table.name },
    async stop(): Promise<void> {
      await Promise.all([queues.stop(), table.stop()]);
    },
  };
}

export type Services = Awaited<ReturnType<typeof startServices>>;
