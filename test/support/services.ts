import { DynamoDBClient } from "@aws-sdk/client-dynamodb";
import { type Message, SQS } from "@aws-sdk/client-sqs";
import { createLedgerTable, startDynamoDb } from "../../lib/local/dynamodb.ts";
import { callService, clientOf } from "../../lib/local/exchange.ts";
import { queueArn, queueUrl, startSqs } from "../../lib/local/sqs.ts";
import { directSdk } from "./faults.ts";

const region = "us-east-1";
const credentials = { accessKeyId: "local", secretAccessKey: "local" };

/** Embedded SQS and DynamoDB with the three queues and the ledger's table, on free ports of 127.0.0.1. */
export async function startServices(options: { visibilityTimeoutSeconds?: number; maxReceiveCount?: number } = {}) {
  const { visibilityTimeoutSeconds = 30, maxReceiveCount = 10 } = options;
  const [sqsServer, dynamoServer] = await Promise.all([startSqs(), startDynamoDb()]);
  /** The SDK's clients, for those that ask: they take longer than the services' own start. */
  let sqs: SQS | undefined;
  let dynamo: DynamoDBClient | undefined;
  const urls = {
    eventsQueueUrl: queueUrl(sqsServer.endpoint, "events"),
    quarantineQueueUrl: queueUrl(sqsServer.endpoint, "quarantine"),
    deadLetterQueueUrl: queueUrl(sqsServer.endpoint, "dead-letters"),
  };
  const ledgerTable = "ledger";
  /** Calls SQS as a test itself does. The code under test has a client, and a connection. */
  async function callSqs<Answer = unknown>(action: string, input: object): Promise<Answer> {
    return callService<Answer>(sqsServer.exchange, `AmazonSQS.${action}`, input);
  }
  for (const QueueName of ["quarantine", "dead-letters"]) await callSqs("CreateQueue", { QueueName });
  await callSqs("CreateQueue", {
    QueueName: "events",
    Attributes: {
      VisibilityTimeout: String(visibilityTimeoutSeconds),
      RedrivePolicy: JSON.stringify({ deadLetterTargetArn: queueArn("dead-letters", region), maxReceiveCount }),
    },
  });
  await createLedgerTable(clientOf("DynamoDB_20120810", dynamoServer.exchange), ledgerTable);
  return {
    get sqs() {
      sqs ??= new SQS({ region, credentials, endpoint: sqsServer.endpoint });
      return sqs;
    },
    get dynamo() {
      dynamo ??= directSdk(
        new DynamoDBClient({ region, credentials, endpoint: dynamoServer.endpoint }),
        dynamoServer.exchange,
      );
      return dynamo;
    },
    callSqs,
    exchangeSqs: sqsServer.exchange,
    exchangeDynamo: dynamoServer.exchange,
    urls,
    ledgerTable,
    endpoints: { sqs: sqsServer.endpoint, dynamo: dynamoServer.endpoint },
    /** Environment of a function that is to use these services. */
    env: {
      AWS_REGION: region,
      AWS_ACCESS_KEY_ID: credentials.accessKeyId,
      AWS_SECRET_ACCESS_KEY: credentials.secretAccessKey,
      AWS_ENDPOINT_URL_SQS: sqsServer.endpoint,
      AWS_ENDPOINT_URL_DYNAMODB: dynamoServer.endpoint,
      EVENTS_QUEUE_URL: urls.eventsQueueUrl,
      QUARANTINE_QUEUE_URL: urls.quarantineQueueUrl,
      DEAD_LETTER_QUEUE_URL: urls.deadLetterQueueUrl,
      LEDGER_TABLE: ledgerTable,
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
    async stop(): Promise<void> {
      sqs?.destroy();
      dynamo?.destroy();
      await Promise.all([sqsServer.stop(), dynamoServer.stop()]);
    },
  };
}

export type Services = Awaited<ReturnType<typeof startServices>>;
