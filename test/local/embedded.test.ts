import assert from "node:assert/strict";
import { fork, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { SQS } from "@aws-sdk/client-sqs";
import type { EmbeddedServices } from "../../lib/local/embedded.ts";
import { clientOf, exchangeOver } from "../../lib/local/exchange.ts";
import { reasonIn } from "../../lib/local/runtime.ts";
import { queueUrl } from "../../lib/local/sqs.ts";

test("the embedded services tell of a damaged store, end polls when told, and end with their parent what is blocked then", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "larkpost-"));
  mkdirSync(join(folder, "sqs"));
  writeFileSync(join(folder, "sqs/fauxqs.db"), "no database");
  const services = fork(join(import.meta.dirname, "../../lib/local/embedded.ts"), [folder], {
    execArgv: ["--disable-warning=ExperimentalWarning"],
  });
  const idle = () => spawn("sleep", ["600"]);
  const [blocked, left] = [idle(), idle()] as const;
  t.after(() => {
    for (const child of [services, blocked, left]) child.kill("SIGKILL");
    rmSync(folder, { recursive: true, force: true });
  });
  const [{ notices, endpoints, accessKeyId }] = (await once(services, "message")) as [EmbeddedServices];
  assert.match(
    notices.join("\n"),
    /^.*sqs is damaged \(.*\) and was moved to .*sqs\.damaged-\d{14}\. The queues start empty: .*$/,
  );
  // A runtime that stops does not wait for its polls.
  const { exchange, destroy } = exchangeOver(endpoints.sqs);
  const sqs = clientOf<SQS>("AmazonSQS", exchange, accessKeyId);
  await sqs.createQueue({ QueueName: "events" });
  const sentMs = performance.now();
  const poll = sqs.receiveMessage({ QueueUrl: queueUrl(endpoints.sqs, "events"), WaitTimeSeconds: 20 });
  const ending = setInterval(() => services.send("end polls"), 20);
  assert.deepEqual(await poll, {});
  clearInterval(ending);
  assert.ok(performance.now() - sentMs < 15_000, "the poll waited");
  destroy();

  for (const { pid } of [blocked, left]) services.send({ pid, isRunning: true });
  services.send({ pid: left.pid, isRunning: false });
  const ended = once(blocked, "exit");
  services.disconnect();
  assert.deepEqual(await ended, [null, "SIGKILL"]);
  assert.deepEqual([left.exitCode, left.signalCode], [null, null]);
});

test("what ended the embedded services is the message of their error, not the line that threw it", () => {
  const printed =
    "file:///app/state.ts:93\n    throw new Error(folder + `: ` + message);\n          ^\n\n" +
    "Error: dynamodb cannot be opened: EACCES\n    at checkLedger (file:///app/state.ts:93:11)\n\nNode.js v24.0.0\n";
  assert.equal(reasonIn(printed), "dynamodb cannot be opened: EACCES");
  assert.equal(reasonIn("TypeError [ERR_X]: no\n"), "no");
  assert.equal(reasonIn(""), undefined);
});
