import { IdempotencyConfig, makeIdempotent } from "@aws-lambda-powertools/idempotency";
import { DynamoDBPersistenceLayer } from "@aws-lambda-powertools/idempotency/dynamodb";
import { DynamoDBClient } from "@aws-sdk/client-dynamodb";
import type { Context, SQSEvent } from "aws-lambda";
import { rememberSeconds } from "../../../lib/aws/ledger.ts";

// The same batch under Powertools' idempotency, keyed by the event's id: a client with our limits, records side by side.

const config = new IdempotencyConfig({ eventKeyJmesPath: "header.event_id", expiresAfterSeconds: rememberSeconds });
config.registerLambdaContext({ getRemainingTimeInMillis: () => 60_000 } as Context);

const client = new DynamoDBClient({
  maxAttempts: 2,
  requestHandler: { connectionTimeout: 500, requestTimeout: 1_000, throwOnRequestTimeout: true, socketTimeout: 1_000 },
});
const persistenceStore = new DynamoDBPersistenceLayer({
  tableName: process.env["LEDGER_TABLE"] ?? "",
  keyAttr: "pk",
  awsSdkV3Client: client,
});

const idempotent = makeIdempotent(async (_event: object) => {}, { persistenceStore, config });

export async function handler({ Records }: SQSEvent) {
  const outcomes = await Promise.allSettled(
    Records.map(async ({ body }) => {
      const { text } = JSON.parse(body) as { readonly text: string };
      await idempotent(JSON.parse(text));
    }),
  );
  const failed = Records.filter((_, index) => outcomes[index]?.status === "rejected");
  return { batchItemFailures: failed.map(({ messageId }) => ({ itemIdentifier: messageId })) };
}
