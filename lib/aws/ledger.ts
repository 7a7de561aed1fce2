import {
  type AttributeValue,
  ConditionalCheckFailedException,
  DynamoDBClient,
  GetItemCommand,
  PutItemCommand,
  UpdateItemCommand,
} from "@aws-sdk/client-dynamodb";
import { type Claim, type ClaimRequest, deadlyStarts, type Ledger } from "../idempotency.ts";
import { limitConcurrency } from "./concurrency.ts";
import { JsonSigner, trimmed } from "./signer.ts";

/** How long a key is remembered: longer than Feishu's retries, the queue, the dead-letter queue and a redrive together. */
export const rememberSeconds = 35 * 24 * 3600;

type Phase = "running" | "open" | "done" | "dead";
const running = { S: "running" satisfies Phase };
/** The row is the claimant's own. */
const own = "(claimOwner = :me AND phase = :running)";

interface Row {
  readonly phase: Phase;
  readonly owner: string;
  readonly leaseEndsAtMs: number;
  readonly starts: number;
  readonly digest: string | undefined;
  readonly expiresAtSeconds: number;
}

/**
 * A client whose calls fail within their time: `requestTimeout` alone only warns.
 * @param options.tryMs What one try may take, of two. Between them it pauses for at most 100 ms.
 */
export function dynamoClient({ tryMs = 1_000 } = {}): DynamoDBClient {
  const client = new DynamoDBClient({
    maxAttempts: 2,
    signerConstructor: JsonSigner,
    // Its calls are alike: the steps of a call are put together once for each command.
    cacheMiddleware: true,
    requestHandler: {
      connectionTimeout: tryMs / 2,
      requestTimeout: tryMs,
      throwOnRequestTimeout: true,
      socketTimeout: tryMs,
    },
  });
  return limitConcurrency(trimmed(client));
}

/**
 * Claims in one DynamoDB table (`pk`, a string; other kinds of item share it under other prefixes).
 * Expiry is part of every condition: DynamoDB deletes expired items days late, and they would still count.
 */
export function dynamoLedger(client: Pick<DynamoDBClient, "send">, table: string): Ledger {
  return {
    async claim(request) {
      // The usual case is one write: nobody has seen the key. Meeting our own token is a write that
      // was stored and whose answer was lost; but only while it runs, since a try that was given up
      // may still arrive, after this very run has been concluded.
      const fresh = await put(request, 1, {
        condition: `attribute_not_exists(pk) OR expiresAtSeconds < :nowSeconds OR ${own}`,
        values: { ":nowSeconds": seconds(request.nowMs) },
      });
      if (fresh === true) return { state: "claimed" };

      // Somebody has: what it may become depends on the row, and the row may change under our eyes.
      let row = fresh === false ? await read(request.key) : fresh;
      for (let tries = 0; tries < 5; tries++) {
        if (row === undefined) return { state: "busy", leaseEndsAtMs: request.nowMs };
        const { claim, starts } = judge(row, request);
        if (claim.state !== "claimed" && claim.state !== "deadly") return claim;
        const taken = await put(request, starts, {
          condition: `(claimOwner = :theirs AND phase = :phase AND leaseEndsAtMs = :lease AND starts = :starts) OR ${own}`,
          values: {
            ":theirs": { S: row.owner },
            ":phase": { S: row.phase },
            ":lease": { N: String(row.leaseEndsAtMs) },
            ":starts": { N: String(row.starts) },
          },
        });
        if (taken === true) return claim;
        row = taken === false ? await read(request.key) : taken;
      }
      return { state: "busy", leaseEndsAtMs: row?.leaseEndsAtMs ?? request.nowMs };
    },

    complete: (key, owner, nowMs) => conclude(key, owner, "done", nowMs, nowMs),
    bury: (key, owner, nowMs) => conclude(key, owner, "dead", nowMs, nowMs),
    release: (key, owner, { nowMs, claimableAtMs }) => conclude(key, owner, "open", nowMs, claimableAtMs),
  };

  /** `true`: written. A row: the condition failed, and this is what stands there; `false`: it failed, and the answer does not say. */
  async function put(
    { key, owner, nowMs, leaseEndsAtMs, digest }: ClaimRequest,
    starts: number,
    { condition, values }: { condition: string; values: Record<string, AttributeValue> },
  ): Promise<true | false | Row> {
    try {
      await client.send(
        new PutItemCommand({
          TableName: table,
          Item: {
            pk: { S: `claim#${key}` },
            phase: running,
            claimOwner: { S: owner },
            leaseEndsAtMs: { N: String(leaseEndsAtMs) },
            starts: { N: String(starts) },
            digest: { S: digest },
            expiresAtSeconds: seconds(nowMs, rememberSeconds),
          },
          ConditionExpression: condition,
          ExpressionAttributeValues: { ...values, ":me": { S: owner }, ":running": running },
          ReturnValuesOnConditionCheckFailure: "ALL_OLD",
        }),
      );
      return true;
    } catch (error) {
      if (!(error instanceof ConditionalCheckFailedException)) throw error;
      return toRow(error.Item) ?? false;
    }
  }

  async function read(key: string): Promise<Row | undefined> {
    const { Item } = await client.send(
      new GetItemCommand({ TableName: table, Key: { pk: { S: `claim#${key}` } }, ConsistentRead: true }),
    );
    return toRow(Item);
  }

  async function conclude(
    key: string,
    owner: string,
    phase: Phase,
    nowMs: number,
    leaseEndsAtMs: number,
  ): Promise<boolean> {
    try {
      await client.send(
        new UpdateItemCommand({
          TableName: table,
          Key: { pk: { S: `claim#${key}` } },
          UpdateExpression: "SET phase = :phase, leaseEndsAtMs = :lease, starts = :none, expiresAtSeconds = :expires",
          ConditionExpression: "claimOwner = :me",
          ExpressionAttributeValues: {
            ":me": { S: owner },
            ":phase": { S: phase },
            ":lease": { N: String(leaseEndsAtMs) },
            ":none": { N: "0" },
            ":expires": seconds(nowMs, rememberSeconds),
          },
        }),
      );
      return true;
    } catch (error) {
      if (error instanceof ConditionalCheckFailedException) return false;
      throw error;
    }
  }
}

/** What a key's row means for a new claim, and how many starts without an outcome the claim would be. */
function judge(row: Row, { nowMs, redriven }: ClaimRequest): { claim: Claim; starts: number } {
  if (row.expiresAtSeconds * 1000 < nowMs) return { claim: { state: "claimed" }, starts: 1 };
  const { phase, digest, leaseEndsAtMs } = row;
  if (phase === "done" || (phase === "dead" && !redriven)) return { claim: { state: phase, digest }, starts: 0 };
  if (phase === "dead") return { claim: { state: "claimed" }, starts: 1 };
  if (leaseEndsAtMs > nowMs) return { claim: { state: "busy", leaseEndsAtMs }, starts: 0 };
  if (phase === "running" && row.starts >= deadlyStarts) return { claim: { state: "deadly" }, starts: row.starts };
  return { claim: { state: "claimed" }, starts: row.starts + 1 };
}

function toRow(item: Record<string, AttributeValue> | undefined): Row | undefined {
  if (item === undefined) return undefined;
  return {
    phase: (item["phase"]?.S ?? "open") as Phase,
    owner: item["claimOwner"]?.S ?? "",
    leaseEndsAtMs: Number(item["leaseEndsAtMs"]?.N ?? 0),
    starts: Number(item["starts"]?.N ?? 0),
    digest: item["digest"]?.S,
    expiresAtSeconds: Number(item["expiresAtSeconds"]?.N ?? 0),
  };
}

function seconds(nowMs: number, later = 0): { N: string } {
  return { N: String(Math.floor(nowMs / 1000) + later) };
}
