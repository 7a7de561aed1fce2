import {
  ConditionalCheckFailedException,
  type DynamoDBClient,
  GetItemCommand,
  UpdateItemCommand,
} from "@aws-sdk/client-dynamodb";
import type { TokenStore } from "../open-api/tokens.ts";

/** Access tokens in the ledger's table, under `token#`. */
export function dynamoTokens(client: Pick<DynamoDBClient, "send">, table: string): TokenStore {
  const idOf = (name: string) => ({ pk: { S: `token#${name}` } });
  return {
    async read(name) {
      const { Item } = await client.send(
        new GetItemCommand({ TableName: table, Key: idOf(name), ConsistentRead: true }),
      );
      const [sealed, endsAtMs] = [Item?.["sealed"]?.S, Number(Item?.["endsAtMs"]?.N)];
      return sealed === undefined || Number.isNaN(endsAtMs) ? undefined : { sealed, endsAtMs };
    },

    async lease(name, { nowMs, untilMs }) {
      try {
        await client.send(
          new UpdateItemCommand({
            TableName: table,
            Key: idOf(name),
            UpdateExpression:
              "SET leaseEndsAtMs = :until, expiresAtSeconds = if_not_exists(expiresAtSeconds, :expires)",
            ConditionExpression: "attribute_not_exists(leaseEndsAtMs) OR leaseEndsAtMs < :now",
            ExpressionAttributeValues: {
              ":until": { N: String(untilMs) },
              ":now": { N: String(nowMs) },
              ":expires": { N: String(Math.ceil(untilMs / 1000) + 3600) },
            },
          }),
        );
        return true;
      } catch (error) {
        if (error instanceof ConditionalCheckFailedException) return false;
        throw error;
      }
    },

    async release(name, untilMs) {
      try {
        await client.send(
          new UpdateItemCommand({
            TableName: table,
            Key: idOf(name),
            UpdateExpression: "REMOVE leaseEndsAtMs",
            ConditionExpression: "leaseEndsAtMs = :until",
            ExpressionAttributeValues: { ":until": { N: String(untilMs) } },
          }),
        );
      } catch (error) {
        if (!(error instanceof ConditionalCheckFailedException)) throw error;
      }
    },

    async write(name, { sealed, endsAtMs }) {
      try {
        await client.send(
          new UpdateItemCommand({
            TableName: table,
            Key: idOf(name),
            UpdateExpression:
              "SET sealed = :sealed, endsAtMs = :ends, expiresAtSeconds = :expires REMOVE leaseEndsAtMs",
            ConditionExpression: "attribute_not_exists(endsAtMs) OR endsAtMs <= :ends",
            ExpressionAttributeValues: {
              ":sealed": { S: sealed },
              ":ends": { N: String(endsAtMs) },
              ":expires": { N: String(Math.ceil(endsAtMs / 1000)) },
            },
          }),
        );
      } catch (error) {
        if (!(error instanceof ConditionalCheckFailedException)) throw error;
        // The kept one is newer; whoever waits for this one may go on all the same.
        await client.send(
          new UpdateItemCommand({ TableName: table, Key: idOf(name), UpdateExpression: "REMOVE leaseEndsAtMs" }),
        );
      }
    },
  };
}
