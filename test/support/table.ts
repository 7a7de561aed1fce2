import { createLedgerTable, startDynamoDb } from "../../lib/local/dynamodb.ts";
import { callService, clientOf } from "../../lib/local/exchange.ts";
import { clientTo, direct } from "./aws.ts";
import { startFaults } from "./faults.ts";

/** An embedded DynamoDB with the ledger's table, on a free port of 127.0.0.1. */
export async function startTable() {
  const server = await startDynamoDb();
  const name = "ledger";
  /** Calls DynamoDB as a test itself does. */
  const call = <Answer = unknown>(action: string, input: object = {}) =>
    callService<Answer>(server.exchange, `DynamoDB_20120810.${action}`, { TableName: name, ...input });
  await createLedgerTable(clientOf("DynamoDB_20120810", server.exchange), name);
  return { ...server, name, call };
}

/** The table behind faults. The client under test has connections only while one of them is in force, or is watched. */
export async function startFaultyTable() {
  const table = await startTable();
  const faults = await startFaults(table.exchange);
  const client = direct(clientTo(faults.endpoint), { dynamodb: faults });
  return {
    ...table,
    ...{ faults, client },
    async stop(): Promise<void> {
      client.destroy();
      await Promise.all([faults.stop(), table.stop()]);
    },
  };
}

export type FaultyTable = Awaited<ReturnType<typeof startFaultyTable>>;
