import type { CreateTableCommandInput } from "@aws-sdk/client-dynamodb";
import type { Project } from "../../infra/project.js";

type Resources = Project["resources"];
type Table = Omit<CreateTableCommandInput, "TableName" | "BillingMode">;

/** The tables among a project's resources, as the embedded DynamoDB can have them. */
export function tablesOf(resources: Resources): (Table & { TableName: string })[] {
  return Object.entries(resources)
    .filter(([, { Type }]) => Type === "AWS::DynamoDB::Table")
    .map(([id, { Properties }]) => {
      const { KeySchema, AttributeDefinitions, LocalSecondaryIndexes, GlobalSecondaryIndexes } = Object(
        Properties,
      ) as Table;
      const indexes = GlobalSecondaryIndexes?.map(({ IndexName, KeySchema, Projection }) => ({
        IndexName,
        KeySchema,
        Projection,
      }));
      return {
        TableName: tableName(resources, id),
        KeySchema,
        AttributeDefinitions,
        LocalSecondaryIndexes,
        GlobalSecondaryIndexes: indexes,
      };
    });
}

/** A table's name on this machine: its own, or its logical id where CloudFormation would make one up. */
export function tableName(resources: Resources, id: string): string {
  const { TableName } = Object(resources[id]?.Properties) as { TableName?: unknown };
  return typeof TableName === "string" ? TableName : id;
}
