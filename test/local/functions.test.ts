import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { type Functions, startFunctions } from "../../lib/local/functions.ts";
import { ProcessEndedError } from "../../lib/local/process.ts";
import { until } from "../support/until.ts";

/** Writes down its process, and answers with it and what it was given; dies, blocks or falls silent when it is told to. */
const source = `
import { appendFileSync, existsSync, rmSync } from "node:fs";
import { publish } from ${JSON.stringify(join(import.meta.dirname, "../../lib/trace/trace.ts"))};
appendFileSync(new URL(import.meta.url + ".pids"), process.pid + "\\n");
const dies = new URL(import.meta.url + ".dies");
if (existsSync(dies)) process.exit(rmSync(dies) ?? 4);
export const handler = async (event) => {
  if (event === "silence") process.removeAllListeners("disconnect").disconnect();
  if (event === "silence") return new Promise(() => setInterval(() => {}, 1_000));
  for (const stage of event === "ends" ? ["handled", "failed", "dead", "late", "lease-lost", "unhandled"] : []) {
    publish({ stage: "started", level: "info", id: stage, type: "test.ends_v1" });
    publish({ stage, level: "info", id: stage, type: "test.ends_v1" });
  }
  for (const [id, type] of [["probe", "larkpost.smoke"], ["e-1", "test.block_v1"]]) {
    if (/block|die/.test(event)) publish({ stage: "started", level: "info", id, type });
  }
  if (event === "die") await new Promise(setImmediate);
  if (event === "die") process.exit(3);
  if (event === "block") Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
  return { pid: process.pid, event };
};
`;

describe("functions, each in a process of its own", () => {
  // A path is not a URL: in one, "#" begins a fragment and "%61" is an "a".
  const folder = mkdtempSync(join(tmpdir(), "larkpost #%61 "));
  const file = (name: string) => join(folder, `${name}.mjs`);
  const notices: string[] = [];
  const lines: Record<string, unknown>[] = [];
  /** What was said of events that their process could not say. */
  const endings = () => lines.splice(0).filter(({ stage }) => stage === "ended" || stage === "blocked");
  let functions: Functions;
  const isAlive = (pid: number) => {
    try {
      return process.kill(pid, 0);
    } catch {
      return false;
    }
  };
  const alive = (name: string) =>
    readFileSync(`${file(name)}.pids`, "utf8")
      .trimEnd()
      .split("\n")
      .map(Number)
      .filter(isAlive);
  /** How a process ended, and when the next one starts. */
  const said = () =>
    notices.flatMap((notice) => {
      const [, ...parts] = /^the one function's process (.*); starting it again(.*)$/.exec(notice) ?? [];
      return parts.length === 0 ? [] : [parts];
    });
  const pidOf = async (name: string) => ((await functions.invoke(name, "hello", 5_000)) as { pid: number }).pid;

  before(async () => {
    for (const name of ["one", "other"]) writeFileSync(file(name), source);
    functions = startFunctions({
      modules: new Map(["one", "other"].map((name) => [name, file(name)])),
      env: process.env,
      onLine: (_, line) => lines.push(line),
      onNotice: (notice) => notices.push(notice),
      pingEveryMs: 200,
    });
    await functions.ready();
  });
  after(async () => {
    await functions.stop(0);
    rmSync(folder, { recursive: true, force: true });
  });

  test("one that dies fails what it had, comes back by itself, and leaves the other's process alone", async () => {
    const before = { one: await pidOf("one"), other: await pidOf("other") };
    // The next one dies before it can be asked.
    writeFileSync(`${file("one")}.dies`, "");
    await assert.rejects(functions.invoke("one", "die", 5_000), /the one function's process ended \(exit code 3\)/);
    assert.equal(await pidOf("other"), before.other);
    const own = { id: "e-1", type: "test.block_v1" };
    assert.deepEqual(endings(), [{ stage: "ended", level: "error", reason: "exit code 3", ...own }]);
    assert.ok(functions.hasCrashed("one", 60_000));
    assert.ok(!functions.hasCrashed("other", Number.POSITIVE_INFINITY));

    // No request that comes now needs to fail: who waits is not forgotten when a process dies that was on its way, nor when
    // there is none.
    const isUp = functions.whenUp("one");
    const { execPath } = process;
    await until("a pause", () => said().length === 2);
    process.execPath = "/nowhere";
    await until("a longer one", () => said().length === 3);
    process.execPath = execPath;
    await isUp;
    const after = await pidOf("one");
    assert.equal(typeof after, "number");
    assert.notEqual(after, before.one);
    assert.deepEqual(said(), [
      ["ended (exit code 3)", ""],
      ["ended (exit code 4)", " in 0.5 s"],
      ["cannot be started (spawn /nowhere ENOENT)", " in 1 s"],
    ]);
  });

  test("one whose process cannot be started is told in one line", async () => {
    const tooMuch = { modules: new Map([["one", file("one")]]), env: { ...process.env, MUCH: "x".repeat(300_000) } };
    const { ready } = startFunctions({ ...tooMuch, onLine: () => {}, onNotice: () => {} });
    const message = "Cannot start the one function: the one function's process cannot be started (spawn E2BIG)";
    await assert.rejects(ready(), { name: "ConfigError", message });
  });

  test("one that cannot be asked any more has ended, also before its exit is known", async () => {
    const pid = await pidOf("one");
    const lost = functions.invoke("one", "silence", 60_000);
    const errors: unknown[] = [];
    const failed = () => {
      functions.invoke("one", "hello", 60_000).catch((error: unknown) => errors.push(error));
      return errors[0];
    };
    assert.ok((await until("what cannot be sent", failed)) instanceof ProcessEndedError);
    process.kill(pid, "SIGKILL");
    await assert.rejects(lost, ProcessEndedError);
    await functions.whenUp("one");
    // One that has run is started again at once.
    assert.deepEqual(said().at(-1), ["ended (SIGKILL)", ""]);
  });

  test("one that dies and no longer loads is waited for only as long as asked, and is back when its code is: two reloads at once leave one process for each function", async () => {
    writeFileSync(file("one"), "throw new Error('broken on purpose');\n");
    await assert.rejects(functions.invoke("one", "die", 5_000));
    await until("the notice", () => notices.some((notice) => /it is down until its code changes/.test(notice)));
    assert.ok(!notices.some((notice) => /broken on purpose.*; starting it again/s.test(notice)));
    await functions.whenUp("one", 20);
    await assert.rejects(functions.invoke("one", "hello", 5_000));
    assert.equal(typeof (await pidOf("other")), "number");

    const isUp = functions.whenUp("one");
    writeFileSync(file("one"), source);
    await Promise.all([functions.reload(), functions.reload()]);
    await isUp;
    for (const name of ["one", "other"]) {
      await until("one process", () => alive(name).length === 1);
      assert.deepEqual(alive(name), [await pidOf(name)]);
    }
  });

  test("a change that cannot be loaded leaves the running code in place and says so", async () => {
    const before = await pidOf("one");
    const deeper = 'new Error("fourth", { cause: new Error("fifth") })';
    const inner = `Object.assign(new TypeError("nothing listens", { cause: ${deeper} }), { name: "Errors" })`;
    const cause = `new AggregateError([${inner}])`;
    // V8 gives the error of Promise.any no frames.
    const classes = "class Down extends RangeError {}\nclass Off extends Down {}\n";
    const rejected = `Promise.reject(new Off("broken on purpose", { cause: ${cause} }))`;
    writeFileSync(file("one"), `${source}${classes}await Promise.any([${rejected}]);\n`);
    await functions.reload();
    assert.match(
      notices.join("\n"),
      /cannot start the one function, the code before .*: AggregateError: .*\ncaused by Off: broken on purpose\ncaused by AggregateError\ncaused by Errors: nothing listens\ncaused by Error: fourth\n {4}at file:/,
    );
    assert.equal(await pidOf("one"), before);
    writeFileSync(file("one"), source);
  });

  test("a handler that blocks its process is named, and a reload ends the process, at once or as soon as it is known", async (t) => {
    await functions.invoke("one", "ends", 60_000);
    lines.length = 0;
    const blocked = functions.invoke("one", "block", 60_000);
    const said = await until("the notice", () => notices.find((notice) => notice.includes("has blocked")));
    assert.match(
      said,
      /^the handler of test\.block_v1 \(e-1\) has blocked the one function's process for 1 s: it loops/,
    );
    // The reload knows that the one is blocked. That the other is will show.
    const leaving = functions.invoke("other", "block", 60_000);
    await until("it is blocked", () => lines.filter(({ stage }) => stage === "started").length === 4);
    const reason = "SIGKILL as it was blocked";
    const ended = (name: string) => ({ name: "Error", message: `the ${name} function's process ended (${reason})` });
    await Promise.all([
      assert.rejects(blocked, ended("one")),
      assert.rejects(leaving, ended("other")),
      functions.reload(),
    ]);
    const own = { id: "e-1", type: "test.block_v1" };
    const [first, ...others] = endings();
    assert.deepEqual(first, { stage: "blocked", level: "warn", ms: 1_000, ...own });
    const end = { stage: "ended", level: "error", reason, ...own };
    // On a busy machine, the other may be known to be blocked before the reload has its next process.
    assert.deepEqual(
      others.filter(({ stage }) => stage === "ended"),
      [end, end],
    );
    assert.equal(notices.filter((notice) => notice.includes("has blocked the one")).length, 1);
    assert.ok(!notices.some((notice) => notice.includes("ran for")), "the reload ended it, not its timeout");
    lines.length = 0;
    t.mock.timers.enable({ apis: ["setTimeout"] });
    const late = assert.rejects(functions.invoke("one", "block", 50), ProcessEndedError);
    while (!lines.some(({ id }) => id === "e-1")) await new Promise(setImmediate);
    t.mock.timers.tick(50);
    t.mock.timers.reset();
    await late;
    // On a busy machine it may have blocked for a second by then, and be named.
    const ends = endings().filter(({ stage }) => stage === "ended");
    assert.deepEqual(ends, [{ stage: "ended", level: "error", reason: "SIGKILL after 0.05 s", ...own }]);
    await functions.whenUp("one");
    assert.equal(typeof (await pidOf("one")), "number");
  });

  test("who waits for one that is down finds none once all have stopped", async () => {
    writeFileSync(file("one"), "throw new Error('broken on purpose');\n");
    await assert.rejects(functions.invoke("one", "die", 5_000));
    const waiting = functions.whenUp("one");
    await functions.stop(0);
    await waiting;
    await assert.rejects(functions.invoke("one", "hello", 5_000), ProcessEndedError);
  });
});
