import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import type { DynamoDB } from "@aws-sdk/client-dynamodb";
import { startDynamoDb } from "../../lib/local/dynamodb.ts";
import { clientOf } from "../../lib/local/exchange.ts";
import { createTables } from "../../lib/local/tables.ts";

const Type = "AWS::DynamoDB::Table";
const key = (AttributeName: string) => ({ AttributeName, KeyType: "HASH" });
const text = (AttributeName: string) => ({ AttributeName, AttributeType: "S" });
const throughput = { ReadCapacityUnits: 1, WriteCapacityUnits: 1 };

describe("a project's tables on this machine", () => {
  let dynamo: Awaited<ReturnType<typeof startDynamoDb>>;
  let client: DynamoDB;
  before(async () => {
    dynamo = await startDynamoDb();
    client = clientOf("DynamoDB_20120810", dynamo.exchange);
  });
  after(() => dynamo.stop());

  test("have their keys and indexes; a second start finds them", async () => {
    const KeySchema = [key("id"), { AttributeName: "at", KeyType: "RANGE" }];
    const index = { IndexName: "byPerson", KeySchema: [key("by")], Projection: { ProjectionType: "ALL" } };
    const Properties = {
      TableName: { "Fn::Sub": "x" },
      BillingMode: "PROVISIONED",
      ProvisionedThroughput: throughput,
      AttributeDefinitions: [text("id"), text("at"), text("by")],
      KeySchema,
      GlobalSecondaryIndexes: [{ ...index, ProvisionedThroughput: throughput }],
      SSESpecification: { SSEEnabled: true },
    };
    const named = { TableName: "own-name", AttributeDefinitions: [text("id")], KeySchema: [key("id")] };
    const resources = {
      Orders: { Type, Properties },
      Bucket: { Type: "AWS::S3::Bucket" },
      Named: { Type, Properties: named },
      T1: { Type, Properties: { ...named, TableName: undefined } },
      Global: {
        Type: "AWS::DynamoDB::GlobalTable",
        Properties: {
          ...named,
          TableName: "global",
          BillingMode: "PAY_PER_REQUEST",
          Replicas: [{ Region: "eu-west-1" }],
        },
      },
    };
    for (const _ of ["first start", "second start"]) await createTables(client, resources, "ledger");
    const { TableNames } = await client.listTables({});
    assert.deepEqual(TableNames?.sort(), ["Orders", "T1-", "global", "own-name"]);
    const { Table } = await client.describeTable({ TableName: "Orders" });
    assert.deepEqual(Table?.KeySchema, KeySchema);
    const [found] = Table.GlobalSecondaryIndexes ?? [];
    assert.deepEqual([found?.IndexName, found?.KeySchema], [index.IndexName, index.KeySchema]);
  });

  for (const [what, Properties, says] of [
    ["without keys", {}, /^Cannot create the table "Orders" of larkpost\.config\.js: /],
    ["named like the ledger", { TableName: "ledger" }, /: the local ledger is called "ledger"\. Choose another Table/],
  ] as const) {
    test(`are refused ${what}`, async () => {
      await assert.rejects(
        createTables(client, { Orders: { Type, Properties } }, "ledger"),
        ({ name, message }: Error) => name === "ConfigError" && says.test(message),
      );
    });
  }
});
