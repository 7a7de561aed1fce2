import { DynamoDBClient } from "@aws-sdk/client-dynamodb";
import { dynamoClient } from "../../lib/aws/dynamodb.ts";
import { createLedgerTable, startDynamoDb } from "../../lib/local/dynamodb.ts";
import { aim, direct, startFaults } from "./faults.ts";

const region = "us-east-1";
const credentials = { accessKeyId: "local", secretAccessKey: "local" };

/** An embedded DynamoDB with the table alone. The client under test goes through `faults` while one is in force there. */
export async function startTable() {
  const server = await startDynamoDb();
  const dynamo = direct(new DynamoDBClient({ region, credentials, endpoint: server.endpoint }), server.exchange);
  const table = "ledger";
  await createLedgerTable(dynamo, table);
  // The client under test takes them from the environment, as in a function.
  const { accessKeyId: AWS_ACCESS_KEY_ID, secretAccessKey: AWS_SECRET_ACCESS_KEY } = credentials;
  Object.assign(process.env, { AWS_REGION: region, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY });
  const faults = await startFaults(server.endpoint);
  const client = direct(aim(dynamoClient(), faults.endpoint), server.exchange, faults.isIdle);
  return {
    ...{ table, dynamo, faults, client },
    async stop(): Promise<void> {
      client.destroy();
      dynamo.destroy();
      await faults.stop();
      await server.stop();
    },
  };
}

export type Table = Awaited<ReturnType<typeof startTable>>;
