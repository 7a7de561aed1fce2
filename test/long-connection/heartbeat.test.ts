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

test("each line says how long ago the last message came; after QUIET_SECONDS without one it is an error", async () => {
  const clock = testClock();
  const entries: TraceEntry[] = [];
  const end = subscribe("test", (entry) => entries.push(entry));
  const beats = async (env: Record<string, string>, ...messages: (TraceEntry | undefined)[]) => {
    entries.length = 0;
    const stop = startHeartbeat({ HEARTBEAT_SECONDS: "20", ...env }, clock);
    for (const message of messages) {
      await clock.advance(5_900);
      if (message !== undefined) publish(message);
      await clock.advance(14_100);
    }
    stop();
    return entries
      .filter(({ facts }) => facts?.["heartbeat"] === true)
      .map(({ level, facts }) => [level, facts?.["lastEventSeconds"]]);
  };
  const queued: TraceEntry = { stage: "queued", level: "info", id: "1", requestId: null };
  const connected: TraceEntry = { stage: "connected", level: "info" };
  const quiet = [connected, undefined, queued, undefined, undefined];
  const ages = [null, null, 14, 34, 54];
  assert.deepEqual(
    await beats({}, ...quiet),
    ages.map((age) => ["info", age]),
  );
  const levels = ["info", "error", "info", "info", "error"];
  assert.deepEqual(
    await beats({ QUIET_SECONDS: "39" }, ...quiet),
    ages.map((age, index) => [levels[index], age]),
  );
  // Another alarm knows that it is not connected.
  assert.deepEqual(await beats({ QUIET_SECONDS: "1" }, undefined), [["info", null]]);
  assert.equal((await beats({ QUIET_SECONDS: "40" }, ...quiet))[1]?.[0], "info", "40 s are not over 40 s");
  end();
});

test("a process says nothing unless asked to, and refuses what is no number of seconds", async () => {
  const clock = testClock();
  startHeartbeat({}, clock)();
  assert.equal(clock.pending, 0);
  assert.throws(() => startHeartbeat({ HEARTBEAT_SECONDS: "often" }, clock), ConfigError);
  assert.throws(() => startHeartbeat({ QUIET_SECONDS: "never" }, clock), ConfigError);
});
