import assert from "node:assert/strict";
import { test } from "node:test";
import { ConfigError } from "../../lib/errors.ts";
import { startHeartbeat } from "../../lib/long-connection/heartbeat.ts";
import { publish, subscribe, type TraceEntry } from "../../lib/trace/trace.ts";
import { testClock } from "../support/clock.ts";

function heard(): { stages: () => string[]; end: () => void } {
  const entries: TraceEntry[] = [];
  const end = subscribe("test", (entry) => entries.push(entry));
  return { stages: () => entries.splice(0).map(({ stage, facts }) => `${stage} ${facts?.["heartbeat"]}`), end };
}

test("a process says every so many seconds whether it is connected", async () => {
  const clock = testClock();
  const { stages, end } = heard();
  const stop = startHeartbeat({ HEARTBEAT_SECONDS: "20" }, clock);
  await clock.advance(20_000);
  assert.deepEqual(stages(), ["disconnected true"]);
  publish({ stage: "connected", level: "info" });
  await clock.advance(60_000);
  assert.deepEqual(stages(), ["connected undefined", "connected true", "connected true", "connected true"]);
  publish({ stage: "queued", level: "info" });
  publish({ stage: "disconnected", level: "warn" });
  stages();
  await clock.advance(20_000);
  assert.deepEqual(stages(), ["disconnected true"]);
  stop();
  assert.equal(clock.pending, 0);
  await clock.advance(60_000);
  assert.deepEqual(stages(), []);
  end();
});

test("a process says nothing unless asked to, and refuses what is no number of seconds", async () => {
  const clock = testClock();
  startHeartbeat({}, clock)();
  assert.equal(clock.pending, 0);
  assert.throws(() => startHeartbeat({ HEARTBEAT_SECONDS: "often" }, clock), ConfigError);
});
