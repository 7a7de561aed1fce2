import assert from "node:assert/strict";
import { test } from "node:test";
import { tableResources } from "../../infra/tables.js";
import { dynamoAnswers } from "../../lib/aws/answers.ts";
import type { AwsClient } from "../../lib/aws/client.ts";
import { dynamoLedger } from "../../lib/aws/ledger.ts";
import { dynamoTokens } from "../../lib/aws/tokens.ts";
import { deployment } from "../infra/deployment.ts";

/** Every attribute of the table, by what the reason for which it may be under AWS's key says of it. */
const attributes = {
  ids: ["pk", "claimOwner"],
  hashes: ["digest"],
  times: ["leaseEndsAtMs", "endsAtMs", "expiresAtSeconds"],
  counts: ["phase", "runs", "unfinished", "counted", "redrives"],
  "the class and place of an error": ["death"],
  "reactions to remove": ["reactions"],
  "sealed tokens": ["sealed"],
  "what callbacks were answered": ["answer"],
};

test("the table holds what the reason for its key says, and nothing else", async () => {
  const written = new Set<string>();
  const client = {
    async call(_: string, input: { Item?: object; Key?: object; UpdateExpression?: string }) {
      for (const name of Object.keys({ ...input.Item, ...input.Key })) written.add(name);
      const [, set = "", added] = /^SET (.*?)(?: REMOVE .*)?$|^ADD (\w+) /.exec(input.UpdateExpression ?? "") ?? [];
      for (const [, name = ""] of set.matchAll(/(\w+) = /g)) written.add(name);
      if (added !== undefined) written.add(added);
      return {};
    },
  } as unknown as AwsClient;
  const { signal } = new AbortController();
  const run = { key: "k", owner: "o", nowMs: 1 };
  const ledger = dynamoLedger(client, "t");
  await ledger.claim({ ...run, leaseEndsAtMs: 2, maxRuns: 1, redrives: 0, digest: "d" });
  await ledger.storeReaction("k", "o", "om_1 OnIt");
  await ledger.conclude("k", "o", { phase: "done", nowMs: 1 });
  await ledger.conclude("k", "o", { phase: "dead", nowMs: 1 });
  await ledger.conclude("k", "o", { phase: "open", nowMs: 1, claimableAtMs: 2, death: "{}" });
  const answers = dynamoAnswers(client, "t");
  await answers.claim(run, signal);
  await answers.record({ ...run, answer: "{}" }, signal);
  const tokens = dynamoTokens(client, "t");
  await tokens.lease("cli_a/tenant", { nowMs: 1, untilMs: 2 });
  await tokens.write("cli_a/tenant", { sealed: "s", endsAtMs: 2 });
  await tokens.release("cli_a/tenant", 2);

  assert.deepEqual([...written].sort(), Object.values(attributes).flat().sort());
  const reason = JSON.stringify(tableResources(deployment).LedgerTable.Metadata);
  for (const kind of Object.keys(attributes)) assert.ok(reason.includes(kind), kind);
});
