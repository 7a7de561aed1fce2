import { DynamoDBClient } from "@aws-sdk/client-dynamodb";
import { createLedgerTable, startDynamoDb } from "../../lib/local/dynamodb.ts";
import { clientOf } from "../../lib/local/exchange.ts";
import { clientTo, direct } from "./aws.ts";
import { directSdk, startFaults } from "./faults.ts";

const region = "us-east-1";
const credentials = { accessKeyId: "local", secretAccessKey: "local" };

/** An embedded DynamoDB with the table alone. The client under test goes through `faults` while one is in force there. */
export async function startTable() {
  const server = await startDynamoDb();
  const dynamo = directSdk(new DynamoDBClient({ region, credentials, endpoint: server.endpoint }), server.exchange);
  const table = "ledger";
  await createLedgerTable(clientOf("DynamoDB_20120810", server.exchange), table);
  const faults = await startFaults(server.endpoint);
  const client = direct(clientTo(faults.endpoint), server.exchange, faults.isIdle);
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
