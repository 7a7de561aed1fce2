import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, type TestContext, test } from "node:test";
import { reasonOf, startLongConnectionProcess } from "../../lib/local/long-connection.ts";
import { until } from "../support/until.ts";

const trace = JSON.stringify(new URL("../../lib/trace/trace.ts", import.meta.url).href);
const folder = mkdtempSync(join(tmpdir(), "larkpost-long-connection-"));
after(() => rmSync(folder, { recursive: true, force: true }));

/** What stands for functions/long-connection.ts: it writes down that it runs, and how it leaves. */
const standIn = (does: string, mark = "a") => `
import { appendFileSync } from "node:fs";
import { publish } from ${trace};
const write = (what) => appendFileSync(process.env.EFFECTS, what + " ${mark} " + process.pid + "\\n");
const connect = () => { write("on"); process.send({ isConnected: true }); };
process.once("SIGTERM", () => { write("off"); process.exit(0); });
const giveUp = (message) => {
  publish({ stage: "misconfigured", level: "error", facts: { message } });
  process.exit(1);
};
setInterval(() => {}, 1000);
${does}
`;

let count = 0;
function setUp(t: TestContext, source: string, { stopGraceMs = 5_000 } = {}) {
  const name = `stand-in-${count++}`;
  const module = join(folder, `${name}.mjs`);
  const effects = join(folder, `${name}.txt`);
  const change = (next: string) => writeFileSync(module, next);
  change(source);
  const notices: string[] = [];
  const lines: Record<string, unknown>[] = [];
  const reasons: string[] = [];
  const running = startLongConnectionProcess({
    module,
    env: { ...process.env, EFFECTS: effects },
    onLine: (line) => lines.push(line),
    onNotice: (notice) => notices.push(notice),
    onGivenUp: (reason) => reasons.push(reason),
    restartAfterMs: 20,
    stopGraceMs,
  });
  t.after(() => running.stop());
  const written = () => (existsSync(effects) ? readFileSync(effects, "utf8").trim().split("\n") : []);
  return {
    ...{ running, notices, lines, reasons, change },
    written: () => written().map((line) => line.split(" ").slice(0, 2).join(" ")),
    pids: () => written().map((line) => Number(line.split(" ")[2])),
  };
}

const isAlive = (pid: number | undefined) => {
  try {
    return process.kill(pid ?? 0, 0);
  } catch {
    return false;
  }
};

describe("the long connection's process on this machine", () => {
  test("is started when it is connected, hands its lines over, and is not started again when its terminal asked it to leave", async (t) => {
    const one = setUp(t, standIn('publish({ stage: "connected", level: "info" }); connect();'));
    await one.running.start();
    await until("its line", () => one.lines.some(({ stage }) => stage === "connected"));
    const [pid = 0] = one.pids();
    process.kill(pid, "SIGTERM");
    await until("its end", () => !isAlive(pid));
    await one.running.stop();
    assert.deepEqual(one.written(), ["on a", "off a"]);
    assert.deepEqual([one.notices, one.reasons], [[], []]);
  });

  test("is started when it has tried in vain, for it goes on trying, and is started again when it crashes; once it gives up it is not, and says why once", async (t) => {
    const vain = 'publish({ stage: "disconnected", level: "warn", facts: { reason: "busy" } });';
    const crash = `${vain} process.on("message", () => {}); setTimeout(() => process.exit(5), 30);`;
    const one = setUp(t, standIn(crash));
    await one.running.start();
    one.change(standIn('connect(); setTimeout(() => giveUp("Cannot connect: refused"), 20);', "b"));
    await until("another", () => one.written().includes("on b"));
    await until("a reason", () => one.reasons.length > 0);
    assert.deepEqual(one.notices, ["the long connection's process ended (exit code 5); starting it again in 0.02 s"]);
    assert.deepEqual([one.reasons, one.written()], [["Cannot connect: refused"], ["on b"]]);
    assert.deepEqual(
      one.lines.map(({ stage }) => stage),
      ["disconnected"],
    );
  });

  test("that gives up before it is connected says why", async (t) => {
    const one = setUp(t, standIn('giveUp("Cannot connect: the app may not");'));
    await assert.rejects(one.running.start(), { message: "Cannot connect: the app may not" });
    assert.deepEqual(one.reasons, []);
  });

  test("that fails in a way nobody foresaw says what is known of it", () => {
    assert.equal(reasonOf({ errorClass: "TypeError", at: "lib/x.ts:1:2" }), "Cannot go on: TypeError at lib/x.ts:1:2");
  });

  test("goes on when the change cannot be loaded or gives up, is replaced once the next is connected, and leaves when it is stopped", async (t) => {
    const one = setUp(t, standIn("connect();"));
    await one.running.start();
    const fails = 'publish({ stage: "misconfigured", level: "error", error: new TypeError("x") }); process.exit(1);';
    for (const [code, says] of [
      ["connect(;", /^cannot start the long connection, the code before the change goes on: /],
      [fails, /goes on: Cannot go on: TypeError: x/],
    ] as const) {
      one.change(standIn(code, "b"));
      await one.running.reload();
      assert.match(one.notices.splice(0).join("\n"), says);
      assert.deepEqual([one.written(), one.reasons], [["on a"], []]);
      assert.ok(isAlive(one.pids()[0]));
    }
    one.change(standIn("setTimeout(connect, 50);", "b"));
    await one.running.reload();
    assert.deepEqual(one.written(), ["on a", "on b", "off a"]);
    await one.running.stop();
    assert.deepEqual(one.written(), ["on a", "on b", "off a", "off b"]);
    assert.deepEqual([one.notices, one.reasons], [[], []]);
  });

  test("that does not leave is ended all the same", async (t) => {
    const one = setUp(t, standIn("connect(); Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);"), {
      stopGraceMs: 100,
    });
    await one.running.start();
    const [pid = 0] = one.pids();
    const stopped = one.running.stop();
    try {
      await until("its end", () => !isAlive(pid), { withinMs: 5_000 });
    } finally {
      if (isAlive(pid)) process.kill(pid, "SIGKILL");
      await stopped;
    }
  });
});
