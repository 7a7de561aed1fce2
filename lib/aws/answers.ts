import type { AnswerStore } from "../handling/answered-once.ts";
import type { AwsClient } from "./client.ts";
import { itemsOf, secondsOf } from "./dynamodb.ts";

/** How long an answer is stored. The platform sends a callback once, and requests that are minutes old are refused. */
export const rememberAnswerSeconds = 24 * 3600;

/** Answers in the ledger's table, under `answer#`. */
export function dynamoAnswers(client: AwsClient, table: string): AnswerStore {
  const items = itemsOf(client, table, "answer");
  return {
    async claim({ key, owner, nowMs }, abortSignal) {
      const item = { claimOwner: { S: owner }, expiresAtSeconds: secondsOf(nowMs, rememberAnswerSeconds) };
      const condition = {
        // DynamoDB deletes expired items days late, so the condition checks the expiry.
        ConditionExpression: "attribute_not_exists(pk) OR expiresAtSeconds < :now",
        ExpressionAttributeValues: { ":now": secondsOf(nowMs) },
      };
      if ((await items.put(key, item, condition, { abortSignal })) === undefined) return { state: "claimed" };
      const found = await items.read(key, { abortSignal });
      const answer = found?.["answer"]?.S;
      if (answer !== undefined) return { state: "answered", answer };
      // With this run's own token the first try was stored and only its response was lost.
      return { state: found?.["claimOwner"]?.S === owner ? "claimed" : "running" };
    },

    async record({ key, owner, nowMs, answer }, abortSignal) {
      const update = {
        UpdateExpression: "SET answer = :answer, expiresAtSeconds = :expires",
        ConditionExpression: "claimOwner = :me",
        ExpressionAttributeValues: {
          ":answer": { S: answer },
          ":me": { S: owner },
          ":expires": secondsOf(nowMs, rememberAnswerSeconds),
        },
      };
      const failure = await items.update(key, update, { abortSignal });
      if (failure !== undefined) throw failure;
    },
  };
}
