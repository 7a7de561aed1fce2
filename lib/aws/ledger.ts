import {
  type AttributeValue,
  ConditionalCheckFailedException,
  DynamoDBClient,
  GetItemCommand,
  PutItemCommand,
  UpdateItemCommand,
} from "@aws-sdk/client-dynamodb";
import { type Claim, type ClaimRequest, deadlyStarts, type Ledger, type Release } from "../handling/idempotency.ts";
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
  /** Runs that have started since the last redrive. */
  readonly runs: number;
  /** Those of them, the last in a row, that never reported. */
  readonly unfinished: number;
  readonly redrives: number;
  readonly death: string | undefined;
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
  return trimmed(client);
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
      const fresh = await put(request, anew, {
        condition: `attribute_not_exists(pk) OR expiresAtSeconds < :nowSeconds OR ${own}`,
        values: { ":nowSeconds": seconds(request.nowMs) },
      });
      if (fresh === true) return anew.claim;

      // Somebody has: what it may become depends on the row, and the row may change under our eyes.
      let row = fresh === false ? await read(request.key) : fresh;
      for (let tries = 0; tries < 5; tries++) {
        if (row === undefined) return { state: "busy", leaseEndsAtMs: request.nowMs };
        const judged = judge(row, request);
        if (!("runs" in judged)) return judged.claim;
        const taken = await put(request, judged, {
          condition: `(claimOwner = :theirs AND phase = :phase AND leaseEndsAtMs = :lease) OR ${own}`,
          values: {
            ":theirs": { S: row.owner },
            ":phase": { S: row.phase },
            ":lease": { N: String(row.leaseEndsAtMs) },
          },
        });
        if (taken === true) return judged.claim;
        row = taken === false ? await read(request.key) : taken;
      }
      return { state: "busy", leaseEndsAtMs: row?.leaseEndsAtMs ?? request.nowMs };
    },

    complete: (key, owner, nowMs) => conclude(key, owner, "done", { nowMs, claimableAtMs: nowMs }),
    bury: (key, owner, nowMs) => conclude(key, owner, "dead", { nowMs, claimableAtMs: nowMs }),
    release: (key, owner, release) => conclude(key, owner, "open", release),
  };

  /** `true`: written. A row: the condition failed, and this is what stands there; `false`: it failed, and the answer does not say. */
  async function put(
    { key, owner, nowMs, leaseEndsAtMs, redrives, digest }: ClaimRequest,
    { runs, unfinished, death }: Taken,
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
            runs: { N: String(runs) },
            unfinished: { N: String(unfinished) },
            redrives: { N: String(redrives) },
            digest: { S: digest },
            ...(death === undefined ? undefined : { death: { S: death } }),
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
    { nowMs, claimableAtMs, runs, death }: Omit<Release, "runs"> & { readonly runs?: number },
  ): Promise<boolean> {
    const changes: Record<string, AttributeValue> = {
      phase: { S: phase },
      leaseEndsAtMs: { N: String(claimableAtMs) },
      unfinished: { N: "0" },
      expiresAtSeconds: seconds(nowMs, rememberSeconds),
    };
    if (runs !== undefined) changes["runs"] = { N: String(runs) };
    if (death !== undefined) changes["death"] = { S: death };
    const values = Object.entries(changes).map(([name, value]) => [`:${name}`, value]);
    try {
      await client.send(
        new UpdateItemCommand({
          TableName: table,
          Key: { pk: { S: `claim#${key}` } },
          UpdateExpression: `SET ${Object.keys(changes).map((name) => `${name} = :${name}`)}`,
          ConditionExpression: "claimOwner = :me",
          ExpressionAttributeValues: { ...Object.fromEntries(values), ":me": { S: owner } },
        }),
      );
      return true;
    } catch (error) {
      if (error instanceof ConditionalCheckFailedException) return false;
      throw error;
    }
  }
}

/** A claim that takes the key, and what the row counts from then on. */
interface Taken {
  readonly claim: Claim;
  readonly runs: number;
  readonly unfinished: number;
  readonly death?: string | undefined;
}

const anew: Taken = { claim: { state: "claimed", run: 1 }, runs: 1, unfinished: 1 };

/** What a key's row means for a new claim. */
function judge(row: Row, { nowMs, redrives, maxRuns }: ClaimRequest): Taken | { readonly claim: Claim } {
  const { phase, digest, leaseEndsAtMs, runs, unfinished, death } = row;
  if (row.expiresAtSeconds * 1000 < nowMs) return anew;
  if (phase === "done") return { claim: { state: "done", digest } };
  const isRedriven = redrives > row.redrives;
  if (phase === "dead") return isRedriven ? anew : { claim: { state: "dead", digest } };
  if (leaseEndsAtMs > nowMs) return { claim: { state: "busy", leaseEndsAtMs } };
  if (isRedriven) return anew;
  const isCrashLoop = phase === "running" && unfinished >= deadlyStarts;
  if (isCrashLoop || runs >= maxRuns || death !== undefined) {
    return { claim: { state: "spent", run: runs, isCrashLoop, death }, runs, unfinished, death };
  }
  return { claim: { state: "claimed", run: runs + 1 }, runs: runs + 1, unfinished: unfinished + 1 };
}

function toRow(item: Record<string, AttributeValue> | undefined): Row | undefined {
  if (item === undefined) return undefined;
  return {
    phase: (item["phase"]?.S ?? "open") as Phase,
    owner: item["claimOwner"]?.S ?? "",
    leaseEndsAtMs: Number(item["leaseEndsAtMs"]?.N ?? 0),
    runs: Number(item["runs"]?.N ?? 0),
    unfinished: Number(item["unfinished"]?.N ?? 0),
    redrives: Number(item["redrives"]?.N ?? 0),
    death: item["death"]?.S,
    digest: item["digest"]?.S,
    expiresAtSeconds: Number(item["expiresAtSeconds"]?.N ?? 0),
  };
}

function seconds(nowMs: number, later = 0): { N: string } {
  return { N: String(Math.floor(nowMs / 1000) + later) };
}
