import {
  ConditionalCheckFailedException,
  type DynamoDBClient,
  GetItemCommand,
  PutItemCommand,
  UpdateItemCommand,
} from "@aws-sdk/client-dynamodb";
import type { AnswerStore, Taken } from "../handling/idempotency.ts";

/** How long an answer is remembered: the platform asks once, and refuses nothing that is minutes old. */
export const rememberAnswerSeconds = 24 * 3600;

/** Answers in the ledger's table, under `answer#`. */
export function dynamoAnswers(client: Pick<DynamoDBClient, "send">, table: string): AnswerStore {
  const idOf = (key: string) => ({ pk: { S: `answer#${key}` } });
  return {
    async claim({ key, owner, nowMs }, abortSignal): Promise<Taken> {
      try {
        await client.send(
          new PutItemCommand({
            TableName: table,
            Item: { ...idOf(key), claimOwner: { S: owner }, expiresAtSeconds: seconds(nowMs, rememberAnswerSeconds) },
            // DynamoDB deletes expired items days late, and they would still count.
            ConditionExpression: "attribute_not_exists(pk) OR expiresAtSeconds < :now",
            ExpressionAttributeValues: { ":now": seconds(nowMs) },
          }),
          { abortSignal },
        );
        return { state: "claimed" };
      } catch (error) {
        if (!(error instanceof ConditionalCheckFailedException)) throw error;
      }
      const { Item } = await client.send(
        new GetItemCommand({ TableName: table, Key: idOf(key), ConsistentRead: true }),
        { abortSignal },
      );
      const answer = Item?.["answer"]?.S;
      if (answer !== undefined) return { state: "answered", answer };
      // Our own token: the write was stored and its answer lost, so it was made again.
      return { state: Item?.["claimOwner"]?.S === owner ? "claimed" : "running" };
    },

    async record({ key, owner, nowMs, answer }, abortSignal) {
      await client.send(
        new UpdateItemCommand({
          TableName: table,
          Key: idOf(key),
          UpdateExpression: "SET answer = :answer, expiresAtSeconds = :expires",
          ConditionExpression: "claimOwner = :me",
          ExpressionAttributeValues: {
            ":answer": { S: answer },
            ":me": { S: owner },
            ":expires": seconds(nowMs, rememberAnswerSeconds),
          },
        }),
        { abortSignal },
      );
    },
  };
}

function seconds(nowMs: number, later = 0): { N: string } {
  return { N: String(Math.floor(nowMs / 1000) + later) };
}
