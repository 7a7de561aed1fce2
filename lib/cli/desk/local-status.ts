import type { AttributeValue } from "@aws-sdk/client-dynamodb";
import { rememberSeconds } from "../../aws/ledger.ts";
import { fieldsOf } from "../../feishu/json.ts";
import { ledgerTable } from "../../local/runtime.ts";
import { storedQueues } from "../../local/state.ts";
import type { LocalRuntime } from "../state/target.ts";
import type { Place } from "./place.ts";
import { type DeadGroups, deadGroups, type Part, part, type QueueState } from "./status.ts";

export interface LocalStatus {
  readonly isRunning: boolean;
  readonly app: string | undefined;
  readonly addresses: readonly string[];
  readonly codeChangedAtMs: number;
  readonly queues: readonly QueueState[];
  /** Events of the last hour by the phase of their claim in the ledger, which is read while `npm start` runs. */
  readonly events: Part<Readonly<Record<string, number>>> | null;
  readonly dead: DeadGroups;
}

/** @param running What `npm start` has written, if it runs. */
export async function localStatus(place: Place, running: LocalRuntime | undefined): Promise<LocalStatus> {
  const { url, services } = running ?? {};
  const addresses = url === undefined ? [] : [url, new URL("callback", url).href];
  const events =
    services === undefined ? null : await part("dynamodb:Scan", () => phasesOf(services.dynamo, services.accessKeyId));
  return {
    isRunning: running !== undefined,
    app: running?.appId ?? process.env["APP_ID"],
    codeChangedAtMs: await place.codeChangedAtMs(),
    queues: storedQueues(place.stateFolder, Date.now()),
    dead: await deadGroups(place),
    addresses,
    events,
  };
}

/** A row's expiry says when it was written last. */
async function phasesOf(endpoint: string, accessKeyId: string): Promise<Record<string, number>> {
  const credentials = { accessKeyId, secretAccessKey: "local" };
  const { DynamoDB } = await import("@aws-sdk/client-dynamodb");
  const client = new DynamoDB({ region: "us-east-1", endpoint, credentials, maxAttempts: 1 });
  const since = Math.floor(Date.now() / 1000) - 3_600 + rememberSeconds;
  const phases: Record<string, number> = { done: 0, dead: 0, open: 0, running: 0 };
  try {
    for (let ExclusiveStartKey: Record<string, AttributeValue> | undefined; ; ) {
      const page = await client.scan({
        TableName: ledgerTable,
        ProjectionExpression: "phase",
        ExclusiveStartKey,
        FilterExpression: "begins_with(pk, :claim) AND expiresAtSeconds >= :since",
        ExpressionAttributeValues: { ":claim": { S: "claim#" }, ":since": { N: String(since) } },
      });
      for (const item of page.Items ?? []) {
        const phase = String(fieldsOf(item["phase"])["S"]);
        phases[phase] = (phases[phase] ?? 0) + 1;
      }
      ExclusiveStartKey = page.LastEvaluatedKey;
      if (ExclusiveStartKey === undefined) return phases;
    }
  } finally {
    client.destroy();
  }
}
