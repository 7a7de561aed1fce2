// alone: it waits for what hangs.
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { pathToFileURL } from "node:url";
import { oddName } from "./support/project.ts";
import { isHandlerTest, problemOf } from "./support/runner.ts";

const root = mkdtempSync(join(tmpdir(), oddName));
after(() => rmSync(root, { recursive: true, force: true }));
const files = {
  "good.test.mjs": 'test("is well", () => {});',
  // The longer runs first.
  "leaves.test.mjs":
    'await null; beforeEach(() => { process.env.LEFT += "behind"; Error.stackTraceLimit = 99; }); test("leaves", () => {});',
  "finds.test.mjs":
    'test("finds", () => { if ("LEFT" in process.env || Error.stackTraceLimit > 98) throw new Error("left"); });',
  "before.test.mjs": 'globalThis.began = true; test("begins", () => {});',
  "after.test.mjs": 'test("goes on", () => { if (!globalThis.began) throw new Error("in another process"); });',
  "bad.test.mjs": 'test("is wrong", () => { throw new Error("on purpose"); });',
  "drops.test.mjs": 'test("drops", async () => { await null; void Promise.reject(new Error("not awaited")); });',
  "exits.test.mjs":
    'test("exits", () => new Promise(() => setTimeout(() => process.exit(0), 10))); test("is lost", () => {});',
  "absent.test.mjs": 'import "./nowhere.mjs";',
  "hangs.test.mjs": 'test("hangs", () => new Promise((resolve) => setTimeout(resolve, 2_000)));',
  "waits.test.mjs": "await new Promise(() => {});",
  "blocks.test.mjs":
    'test("blocks", async () => { await new Promise((resolve) => setTimeout(resolve, 100)); writeFileSync(new URL("blocks", import.meta.url), ""); Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0); });',
  "endless.test.mjs":
    'console.error("about to hang"); writeFileSync(new URL("endless", import.meta.url), ""); setInterval(() => {}, 1_000); await new Promise(() => {});',
};
for (const [name, source] of Object.entries(files)) {
  const imports = 'import { writeFileSync } from "node:fs";\nimport { beforeEach, test } from "node:test";';
  writeFileSync(join(root, name), `${imports}\n${source}\n`);
}
/** A clock that waits for two files to hang, however long it takes to start them; then their runner has heard of them. */
const untilTheyHang = `{
  after(ms, fire) {
    const timer = setInterval(() => {
      if (!["blocks", "endless"].every((name) => existsSync(new URL(name, import.meta.url)))) return;
      clearInterval(timer);
      setImmediate(() => setImmediate(fire));
    }, 20);
    return () => clearInterval(timer);
  },
}`;

/** Runs files as `npm test` does, in a process of its own: no test may run others. */
async function runFiles(options: object, clock?: string): Promise<{ isOk: boolean; output: string }> {
  const module = JSON.stringify(pathToFileURL(join(import.meta.dirname, "support/runner.ts")).href);
  const given = JSON.stringify({ root, first: [], alone: [], together: [], isWhole: true, ...options });
  const imports = `import { existsSync } from "node:fs"; import { runFiles } from ${module};`;
  const script = `${imports} process.exitCode = (await runFiles({ ...${given}, clock: ${clock} })) ? 0 : 1;`;
  const { NODE_TEST_CONTEXT: _, ...env } = process.env;
  const file = join(root, "run.mjs");
  writeFileSync(file, script);
  const child = spawn(process.execPath, [file], { env });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text: string) => {
      output += text;
    });
  }
  const [code] = (await once(child, "close")) as [number | null];
  return { isOk: code === 0, output };
}

test("npm test is well when every file is, names the slowest, and runs files in turn in one of the shared processes", async () => {
  const inTurn = ["leaves.test.mjs", "finds.test.mjs", "before.test.mjs", "after.test.mjs"];
  const { isOk, output } = await runFiles({ together: [["good.test.mjs"], inTurn] });
  assert.ok(isOk, output);
  assert.match(output, /^5 test files share 2 processes, 0 have one of their own/);
  assert.match(output, /slowest files\n(?: +\d+\.\d s {2}\w+\.test\.mjs\n){5}/);
});

test("npm test names what fails, what cannot be loaded and what hangs, and runs the rest", async () => {
  const { isOk, output } = await runFiles({
    ...{ together: [["absent.test.mjs"], ["waits.test.mjs"], ["good.test.mjs"]], sharedProcesses: 1 },
    testLimitMs: 1_000,
    ...{ alone: ["hangs.test.mjs", "bad.test.mjs", "absent.test.mjs", "exits.test.mjs"], first: ["good.test.mjs"] },
  });
  assert.ok(!isOk, output);
  for (const told of [
    "✔ good.test.mjs",
    "✖ bad.test.mjs: is wrong",
    "on purpose",
    "✖ hangs.test.mjs: hangs",
    "test timed out after 1000ms",
    `cannot load ${join(root, "absent.test.mjs")}`,
    `cannot load ${join(root, "waits.test.mjs")}`,
    "its import has not ended for 1000 ms",
    "stderr of absent.test.mjs",
    "✖ exits.test.mjs ",
    "a test ended its process",
    "Cannot find module",
    "ℹ pass 2",
  ]) {
    assert.ok(output.includes(told), `${told} is not in:\n${output}`);
  }
});

test("npm test fails when an error is awaited by nobody, and says which", async () => {
  const { isOk, output } = await runFiles({ alone: ["drops.test.mjs"], together: [["drops.test.mjs"]] });
  assert.ok(!isOk, output);
  for (const file of ["drops.test.mjs", "shared process"]) assert.ok(output.includes(`✖ ${file} `), output);
  assert.equal(output.split('"Error: not awaited"').length, 3, output);
});

test("npm test ends, and names file and test, when a file neither tests nor ends, or blocks its process", async () => {
  const alone = ["endless.test.mjs", "blocks.test.mjs"];
  const { isOk, output } = await runFiles({ alone, silenceLimitMs: 4_000 }, untilTheyHang);
  assert.ok(!isOk, output);
  const [line = ""] = /✖ nothing has ended for 4 s: ended, with .*/.exec(output) ?? [];
  for (const named of ["endless.test.mjs", "blocks.test.mjs", "blocks.test.mjs: blocks"]) {
    assert.ok(line.includes(named), `${named} is not in:\n${output}`);
  }
});

test("npm test with a handler's test alone leaves the engine's format and types unchecked", () => {
  const handlers = ["functions/events/a.test.ts", join(root, "functions/callbacks/b.test.ts")];
  assert.ok(isHandlerTest(root, handlers));
  for (const files of [[], ["functions.test.ts"], ["functions/../lib/a.test.ts"], [...handlers, "test/a.test.ts"]]) {
    assert.ok(!isHandlerTest(root, files), files.join(" "));
  }
});

test("npm test of what is no test says that it cannot, and tests nothing", () => {
  const { status, stdout, stderr } = spawnSync(process.execPath, [
    join(import.meta.dirname, "all.ts"),
    "nowhere.test.ts",
  ]);
  assert.deepEqual([status, String(stdout)], [2, ""]);
  assert.match(String(stderr), /^Cannot test nowhere\.test\.ts: there is no such file\./);
  const project = join(import.meta.dirname, "..");
  const because = /^Cannot test functions\/webhook\.ts: it is no test\. Its name ends with/;
  assert.match(problemOf(project, ["functions/webhook.ts"]) ?? "", because);
  assert.match(problemOf(project, ["functions"]) ?? "", /^Cannot test functions: it is no test\. Its name ends with/);
  assert.equal(problemOf(project, ["test/runner.test.ts"]), undefined);
});
