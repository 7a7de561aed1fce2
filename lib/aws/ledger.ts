import type { AttributeValue } from "@aws-sdk/client-dynamodb";
import { type Claim, type ClaimRequest, type Ledger, maxUnfinishedStarts } from "../handling/idempotency.ts";
import type { AwsClient, Item } from "./client.ts";
import { itemsOf, secondsOf } from "./dynamodb.ts";

/** How long a key is stored: longer than Feishu's retries, the queue, the dead-letter queue and a redrive together. */
export const rememberSeconds = 35 * 24 * 3600;

type Phase = "running" | "open" | "done" | "dead";
const running = { S: "running" satisfies Phase };
/** The row is this owner's running claim. */
const isOwnClaim = "claimOwner = :me AND phase = :running";

interface Row {
  readonly phase: Phase;
  readonly owner: string;
  readonly leaseEndsAtMs: number;
  /** Runs that have started since the last redrive. */
  readonly runs: number;
  /** How many of the last runs started and never reported. */
  readonly unfinished: number;
  readonly redrives: number;
  readonly death: string | undefined;
  readonly digest: string | undefined;
  /** What runs have put on messages, to be removed. */
  readonly reactions: readonly string[] | undefined;
  readonly expiresAtSeconds: number;
}

/** What a claim writes into the row, and what its caller gets. */
interface Grant {
  readonly claim: Claim;
  readonly runs: number;
  readonly unfinished: number;
  readonly death?: string | undefined;
  readonly reactions?: readonly string[] | undefined;
}

type Items = ReturnType<typeof itemsOf>;

/**
 * Claims in the ledger's table, under `claim#`. Every condition checks the expiry, since DynamoDB deletes expired items
 * days late.
 */
export function dynamoLedger(client: AwsClient, table: string): Ledger {
  const items = itemsOf(client, table, "claim");
  return {
    async claim(request) {
      // A new key takes one write. With this run's own token the first try was stored and its response was lost. That
      // counts only while the claim runs: a late try may arrive after this run has reported.
      let row = await put(items, request, firstRun, {
        condition: `attribute_not_exists(pk) OR expiresAtSeconds < :nowSeconds OR ${isOwnClaim}`,
        values: { ":nowSeconds": secondsOf(request.nowMs) },
      });
      if (row === "written") return firstRun.claim;

      // The row decides, and another run may change it between the read and the write.
      for (let tries = 0; tries < 5; tries++) {
        if (row === undefined) return { state: "busy", leaseEndsAtMs: request.nowMs };
        const judged = judge(row, request);
        const { reactions } = row;
        const claim = reactions === undefined ? judged.claim : { ...judged.claim, reactions };
        if (!("runs" in judged)) return claim;
        const next = await put(
          items,
          request,
          { ...judged, reactions },
          {
            condition: `claimOwner = :theirs AND phase = :phase AND leaseEndsAtMs = :lease OR ${isOwnClaim}`,
            values: {
              ":theirs": { S: row.owner },
              ":phase": { S: row.phase },
              ":lease": { N: String(row.leaseEndsAtMs) },
            },
          },
        );
        if (next === "written") return claim;
        row = next;
      }
      return { state: "busy", leaseEndsAtMs: row?.leaseEndsAtMs ?? request.nowMs };
    },

    async conclude(key, owner, { phase, nowMs, claimableAtMs = nowMs, death }) {
      const changes: Record<string, AttributeValue> = {
        phase: { S: phase },
        leaseEndsAtMs: { N: String(claimableAtMs) },
        unfinished: { N: "0" },
        expiresAtSeconds: secondsOf(nowMs, rememberSeconds),
      };
      if (death !== undefined) changes["death"] = { S: death };
      const values = Object.entries(changes).map(([name, value]) => [`:${name}`, value]);
      const failure = await items.update(key, {
        UpdateExpression: `SET ${Object.keys(changes).map((name) => `${name} = :${name}`)}`,
        ConditionExpression: "claimOwner = :me",
        ExpressionAttributeValues: { ...Object.fromEntries(values), ":me": { S: owner } },
      });
      return failure === undefined;
    },

    async storeReaction(key, owner, reaction) {
      const failure = await items.update(key, {
        UpdateExpression: "ADD reactions :reactions",
        ConditionExpression: isOwnClaim,
        ExpressionAttributeValues: { ":me": { S: owner }, ":running": running, ":reactions": { SS: [reaction] } },
      });
      return failure === undefined;
    },

    async withdraw(key, owner, nowMs) {
      const failure = await items.update(key, {
        UpdateExpression:
          "SET phase = :open, leaseEndsAtMs = :now, runs = runs - counted, unfinished = unfinished - counted",
        ConditionExpression: isOwnClaim,
        ExpressionAttributeValues: {
          ":me": { S: owner },
          ":running": running,
          ":open": { S: "open" satisfies Phase },
          ":now": { N: String(nowMs) },
        },
      });
      return failure === undefined;
    },
  };
}

/** Resolves with the row where the condition failed, `undefined` when that row is gone. */
async function put(
  items: Items,
  { key, owner, nowMs, leaseEndsAtMs, redrives, digest }: ClaimRequest,
  { claim: { state }, runs, unfinished, death, reactions }: Grant,
  { condition, values }: { condition: string; values: Record<string, AttributeValue> },
): Promise<"written" | Row | undefined> {
  const item: Record<string, AttributeValue> = {
    phase: running,
    claimOwner: { S: owner },
    leaseEndsAtMs: { N: String(leaseEndsAtMs) },
    runs: { N: String(runs) },
    unfinished: { N: String(unfinished) },
    // Whether this claim is one of them: one of a spent key is not.
    counted: { N: state === "claimed" ? "1" : "0" },
    redrives: { N: String(redrives) },
    digest: { S: digest },
    expiresAtSeconds: secondsOf(nowMs, rememberSeconds),
  };
  if (death !== undefined) item["death"] = { S: death };
  if (reactions !== undefined) item["reactions"] = { SS: [...reactions] };
  const failure = await items.put(key, item, {
    ConditionExpression: condition,
    ExpressionAttributeValues: { ...values, ":me": { S: owner }, ":running": running },
    ReturnValuesOnConditionCheckFailure: "ALL_OLD",
  });
  return failure === undefined ? "written" : toRow(failure.Item ?? (await items.read(key)));
}

const firstRun: Grant = { claim: { state: "claimed", run: 1 }, runs: 1, unfinished: 1 };

/** What a key's row means for a new claim. */
function judge(row: Row, { nowMs, redrives, maxRuns }: ClaimRequest): Grant | { readonly claim: Claim } {
  const { phase, digest, leaseEndsAtMs, runs, unfinished, death } = row;
  if (row.expiresAtSeconds * 1000 < nowMs) return firstRun;
  if (phase === "done") return { claim: { state: "done", digest } };
  const isRedriven = redrives > row.redrives;
  if (phase === "dead") return isRedriven ? firstRun : { claim: { state: "dead", digest } };
  if (leaseEndsAtMs > nowMs) return { claim: { state: "busy", leaseEndsAtMs } };
  if (isRedriven) return firstRun;
  const isCrashLoop = phase === "running" && unfinished >= maxUnfinishedStarts;
  if (isCrashLoop || runs >= maxRuns || death !== undefined) {
    return { claim: { state: "spent", run: runs, isCrashLoop, death }, runs, unfinished, death };
  }
  return { claim: { state: "claimed", run: runs + 1 }, runs: runs + 1, unfinished: unfinished + 1 };
}

function toRow(item: Item | undefined): Row | undefined {
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
    reactions: item["reactions"]?.SS,
    expiresAtSeconds: Number(item["expiresAtSeconds"]?.N ?? 0),
  };
}
