import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { text } from "node:stream/consumers";
import { queueUrl } from "../../lib/local/sqs.ts";
import { startCloud } from "../support/cloud.ts";
import { eventBody } from "../support/events.ts";
import { type Call, startFaults } from "../support/faults.ts";
import type { Random } from "../support/random.ts";
import { until } from "../support/until.ts";
import type { Worker } from "../support/worker.ts";
import { assertOnceEach, row, settleAll } from "./worker.ts";

const projectFolder = resolve(import.meta.dirname, "../..");
/** In place of a minute: so soon the letters of a desk that was killed are shown again. */
const hiddenSeconds = 2;

/** A stage whose queues are the bench's. A desk that redrives its letters is a process, and is killed at one of its calls. */
async function startStage(bench: Worker, random: Random, letters: number) {
  const root = mkdtempSync(join(tmpdir(), "larkpost-desk-"));
  writeFileSync(join(root, "serverless.yml"), "service: larkpost\n");
  const cloud = await startCloud();
  const sqs = await startFaults(bench.services.exchangeSqs, ({ action, body }) =>
    action === "ReceiveMessage" ? { ...body, VisibilityTimeout: hiddenSeconds } : body,
  );
  const names = { EventsQueueUrl: "events", DeadLetterQueueUrl: "dead-letters", QuarantineQueueUrl: "quarantine" };
  const outputs = Object.entries(names).map(([name, queue]) => [name, { Value: queueUrl(sqs.endpoint, queue) }]);
  cloud.putStack("larkpost-prod", { Resources: {}, Outputs: Object.fromEntries(outputs) });

  const desks = new Map<string, ChildProcess>();
  const kills: string[] = [];
  let started = 0;
  const nextDeath = (within: number) => ({
    atCall: 1 + sqs.calls("SendMessage") + random.below(within),
    action: random.pick(["SendMessage", "DeleteMessage"]),
    isBehind: random.chance(0.5),
  });
  // However few letters there are, one desk is killed: first where a letter is sent, and not yet deleted.
  let death = { ...nextDeath(Math.min(100, letters)), action: "SendMessage", isBehind: true };
  /** Kills the desk whose call it is, when its time has come. */
  const ends = (isBehind: boolean) => (call: Call) => {
    if (sqs.calls("SendMessage") < death.atCall || call.action !== death.action || isBehind !== death.isBehind) {
      return false;
    }
    const [, key = ""] = /Credential=(\w+)\//.exec(call.authorization) ?? [];
    const isKilled = desks.get(key)?.kill("SIGKILL") ?? false;
    if (!isKilled) return false;
    desks.delete(key);
    kills.push(`${isBehind ? "behind" : "before"} ${call.action}`);
    death = nextDeath(100);
    return true;
  };
  sqs.inject("*", { kind: "stall" }, ends(false));
  sqs.inject("*", { kind: "mute" }, ends(true));

  return {
    kills,
    started: () => started,
    sent: () => sqs.calls("SendMessage") - kills.filter((where) => where === "before SendMessage").length,
    /** Resolves when a desk has ended, by itself or killed. */
    async redrive(): Promise<void> {
      const key = `DESK${++started}`;
      const args = ["dead", "redrive", "--all", "--force", "--rate", "1000", "--stage", "prod"];
      const desk = spawn(process.execPath, [join(projectFolder, "lib/cli/main.ts"), ...args], {
        env: {
          ...cloud.env,
          PATH: process.env["PATH"],
          HOME: root,
          LARKPOST_ROOT: root,
          AWS_ACCESS_KEY_ID: key,
          NODE_COMPILE_CACHE: join(projectFolder, "node_modules/.cache/larkpost"),
        },
        stdio: ["ignore", "ignore", "pipe"],
      });
      desks.set(key, desk);
      const [said, [code]] = await Promise.all([text(desk.stderr), once(desk, "close") as Promise<[number | null]>]);
      const isAlive = desks.delete(key);
      if (isAlive) assert.equal(code, 0, said);
      else await sqs.quiet();
    },
    async stop(): Promise<void> {
      for (const desk of desks.values()) desk.kill("SIGKILL");
      await Promise.all([cloud.stop(), sqs.stop()]);
      rmSync(root, { recursive: true });
    },
  };
}

export const deskRows = [
  row({
    id: "X2",
    title: "two desks that redrive at once and are killed again and again give each dead event one run more",
    full: 2_000,
    sample: 6,
    async check({ bench, random, n, progress }) {
      const ids = Array.from({ length: n }, () => bench.newId("dead"));
      const failing = { "test.event": () => Promise.reject(new Error("not repaired yet")) };
      await bench.send(...ids.map((id) => eventBody({ id })));
      // The ledger knows each as dead, as it would after ten attempts.
      for (let records = await bench.receive(); records.length > 0; records = await bench.receive()) {
        await bench.invoke(records, { handlers: failing, maxAttempts: 1 });
      }
      assert.deepEqual(await bench.counts(), { queued: 0, dead: n, quarantined: 0 });
      bench.trace.entries.length = 0;
      const stage = await startStage(bench, random, n);
      try {
        // The worker handles what one desk has sent while the other goes on.
        let settled = Promise.resolve();
        const settle = async () => void (await settleAll(bench, { "test.event": () => {} }));
        /** How many are dead, as soon as one of them is shown: without one, a desk would start for nothing. */
        const shown = () =>
          until(
            "a letter is shown",
            async () => {
              const letters = await bench.services.take(bench.urls.deadLetterQueueUrl, { max: 1, hiddenSeconds: 0 });
              const { dead } = await bench.counts();
              return (letters.length > 0 || dead === 0) && { dead };
            },
            { everyMs: 100 },
          );
        const desk = async () => {
          for (let { dead } = await shown(); dead > 0; { dead } = await shown()) {
            await stage.redrive();
            settled = settled.then(settle);
            await settled;
            progress(n - dead);
          }
        };
        await Promise.all([desk(), desk()]);
        await settle();
      } finally {
        await stage.stop();
      }
      assertOnceEach(bench, ids);
      assert.deepEqual(bench.idsAt("started").toSorted(), ids.toSorted());
      assert.deepEqual(await bench.counts(), { queued: 0, dead: 0, quarantined: 0 });
      assert.ok(stage.kills.length > 0, "no desk was killed");
      const kills = [...Map.groupBy(stage.kills, (where) => where)].map(([where, { length }]) => `${length} ${where}`);
      return [
        `${n} dead, ${stage.started()} desks, ${stage.kills.length} of them killed (${kills.sort().join(", ")})`,
        `${stage.sent()} sent, ${bench.idsAt("duplicate").length} of them duplicates, ${bench.idsAt("handled").length} runs more`,
      ].join("; ");
    },
  }),
];
