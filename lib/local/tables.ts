import type { CreateTableCommandInput } from "@aws-sdk/client-dynamodb";
import { isTable } from "../../infra/config-rules.js";
import type { Project } from "../../infra/project.js";
import { ConfigError } from "../errors.ts";
import { createTable, type TableClient } from "./dynamodb.ts";

type Resources = Project["resources"];

/** Creates the tables among a project's resources, unless they exist. Properties that only AWS supports are ignored. */
export async function createTables(client: TableClient, resources: Resources, ledgerTable: string): Promise<void> {
  for (const [id, { Type, Properties }] of Object.entries(resources)) {
    if (!isTable(Type)) continue;
    const refused = (problem: string, cause?: unknown) =>
      new ConfigError(`Cannot create the table "${id}" of larkpost.config.js: ${problem}`, { cause });
    const TableName = tableName(resources, id);
    if (TableName === ledgerTable)
      throw refused(`the local ledger is called "${ledgerTable}". Choose another TableName`);
    const table = Object(Properties) as CreateTableCommandInput;
    const { KeySchema, AttributeDefinitions, LocalSecondaryIndexes, GlobalSecondaryIndexes } = table;
    const indexes = GlobalSecondaryIndexes?.map(({ IndexName, KeySchema, Projection }) => ({
      IndexName,
      KeySchema,
      Projection,
    }));
    await createTable(client, {
      TableName,
      KeySchema,
      AttributeDefinitions,
      LocalSecondaryIndexes,
      GlobalSecondaryIndexes: indexes,
    }).catch((error: Error) => {
      throw refused(error.message, error);
    });
  }
}

/**
 * A table's local name: its `TableName`, or its logical id where CloudFormation would generate a name. DynamoDB takes none
 * of fewer than three characters.
 */
export function tableName(resources: Resources, id: string): string {
  const { TableName } = Object(resources[id]?.Properties) as { TableName?: unknown };
  return typeof TableName === "string" ? TableName : id.padEnd(3, "-");
}
