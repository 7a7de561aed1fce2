import { randomUUID } from "node:crypto";
import { IdempotencyConfig, makeIdempotent } from "@aws-lambda-powertools/idempotency";
import { DynamoDBPersistenceLayer } from "@aws-lambda-powertools/idempotency/dynamodb";
import type { Context } from "aws-lambda";
import { dynamoClient, rememberSeconds } from "../../../lib/aws/ledger.ts";
import { envelopeOf } from "../../support/events.ts";
import { messageText } from "../requests.ts";

// The same record under Powertools' idempotency: same table, same client settings, keyed by the event's id.

const base = envelopeOf(messageText(1024));
const context = { getRemainingTimeInMillis: () => 60_000 } as Context;
const config = new IdempotencyConfig({ eventKeyJmesPath: "id", expiresAfterSeconds: rememberSeconds });
config.registerLambdaContext(context);
let handled = 0;

const idempotent = makeIdempotent(async (_envelope: typeof base) => void handled++, {
  persistenceStore: new DynamoDBPersistenceLayer({
    tableName: process.env["LEDGER_TABLE"] ?? "",
    keyAttr: "pk",
    awsSdkV3Client: dynamoClient(),
  }),
  config,
});

export async function handler() {
  const before = handled;
  await idempotent({ ...base, id: randomUUID() });
  return { statusCode: handled === before + 1 ? 200 : 500 };
}
