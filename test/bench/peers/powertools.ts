import { randomUUID } from "node:crypto";
import { IdempotencyConfig, makeIdempotent } from "@aws-lambda-powertools/idempotency";
import { DynamoDBPersistenceLayer } from "@aws-lambda-powertools/idempotency/dynamodb";
import { DynamoDBClient } from "@aws-sdk/client-dynamodb";
import type { Context } from "aws-lambda";
import { rememberSeconds } from "../../../lib/aws/ledger.ts";
import { envelopeOf } from "../../support/events.ts";
import { messageText } from "../requests.ts";

// The same record under Powertools' idempotency: same table, a client with our limits,
// keyed by the event's id.

const base = envelopeOf(messageText(1024));
const context = { getRemainingTimeInMillis: () => 60_000 } as Context;
const config = new IdempotencyConfig({ eventKeyJmesPath: "id", expiresAfterSeconds: rememberSeconds });
config.registerLambdaContext(context);
let handled = 0;

const idempotent = makeIdempotent(async (_envelope: typeof base) => void handled++, {
  persistenceStore: new DynamoDBPersistenceLayer({
    tableName: process.env["LEDGER_TABLE"] ?? "",
    keyAttr: "pk",
    awsSdkV3Client: new DynamoDBClient({
      maxAttempts: 2,
      requestHandler: {
        connectionTimeout: 500,
        requestTimeout: 1_000,
        throwOnRequestTimeout: true,
        socketTimeout: 1_000,
      },
    }),
  }),
  config,
});

export async function handler() {
  const before = handled;
  await idempotent({ ...base, id: randomUUID() });
  return { statusCode: handled === before + 1 ? 200 : 500 };
}
