import type { TokenStore } from "../open-api/tokens.ts";
import type { AwsClient } from "./client.ts";
import { itemsOf } from "./dynamodb.ts";

/** Access tokens in the ledger's table, under `token#`. */
export function dynamoTokens(client: AwsClient, table: string): TokenStore {
  const items = itemsOf(client, table, "token");
  return {
    async read(name) {
      const item = await items.read(name);
      const sealed = item?.["sealed"]?.S;
      const endsAtMs = Number(item?.["endsAtMs"]?.N);
      return sealed === undefined || Number.isNaN(endsAtMs) ? undefined : { sealed, endsAtMs };
    },

    async lease(name, { nowMs, untilMs }) {
      const failure = await items.update(name, {
        UpdateExpression: "SET leaseEndsAtMs = :until, expiresAtSeconds = if_not_exists(expiresAtSeconds, :expires)",
        ConditionExpression: "attribute_not_exists(leaseEndsAtMs) OR leaseEndsAtMs < :now",
        ExpressionAttributeValues: {
          ":until": { N: String(untilMs) },
          ":now": { N: String(nowMs) },
          ":expires": { N: String(Math.ceil(untilMs / 1000) + 3600) },
        },
      });
      return failure === undefined;
    },

    async release(name, untilMs) {
      await items.update(name, {
        UpdateExpression: "REMOVE leaseEndsAtMs",
        ConditionExpression: "leaseEndsAtMs = :until",
        ExpressionAttributeValues: { ":until": { N: String(untilMs) } },
      });
    },

    async write(name, { sealed, endsAtMs }) {
      const failure = await items.update(name, {
        UpdateExpression: "SET sealed = :sealed, endsAtMs = :ends, expiresAtSeconds = :expires REMOVE leaseEndsAtMs",
        ConditionExpression: "attribute_not_exists(endsAtMs) OR endsAtMs <= :ends",
        ExpressionAttributeValues: {
          ":sealed": { S: sealed },
          ":ends": { N: String(endsAtMs) },
          ":expires": { N: String(Math.ceil(endsAtMs / 1000)) },
        },
      });
      // The stored token is newer. The lease ends all the same, so that no other process waits for it.
      if (failure !== undefined) await items.update(name, { UpdateExpression: "REMOVE leaseEndsAtMs" });
    },
  };
}
