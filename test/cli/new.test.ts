import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { existsSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { temporaryProject } from "../support/project.ts";
import { larkpost, projectFolder } from "./run.ts";

/** Typed by the SDK, mistyped by it, without a type but with a sample, and without either. */
const types = ["im.message.receive_v1", "im.chat.updated_v1", "out_approval", "approval_instance", "approval_cc"];

/** A project that a new handler can be written to, checked and tested in. */
async function project() {
  const made = await temporaryProject({});
  for (const name of ["biome.json", "tsconfig.json"]) symlinkSync(join(projectFolder, name), join(made.root, name));
  return made;
}

/** Runs one of the project's tools in a folder; rejects with what it printed when it fails. */
function tool(root: string, file: string, args: readonly string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    // Without NODE_TEST_CONTEXT, or a test run within this one would report to it.
    const { NODE_TEST_CONTEXT: _, ...env } = process.env;
    execFile(file, args, { cwd: root, env }, (error, stdout, stderr) => {
      if (error === null) resolve(stdout);
      else reject(new Error(`${file} ${args.join(" ")}\n${stdout}\n${stderr}`));
    });
  });
}

describe("new", { concurrency: 3 }, () => {
  test("writes a handler and a test that lint, compile and pass as they are, and lists the handler", async (t) => {
    const { root, remove } = await project();
    t.after(remove);
    for (const type of types) {
      const { code, stdout, stderr } = await larkpost(["new", type], { root });
      assert.deepEqual([code, stderr], [0, ""]);
      assert.equal(
        stdout,
        [
          `Wrote functions/events/${type}.ts`,
          `Wrote test/events/${type}.test.ts`,
          "Updated functions/events.gen.ts",
          `Try it: with "npm start" in another terminal, npm run send -- ${type}`,
          "",
        ].join("\n"),
      );
    }
    symlinkSync(join(projectFolder, "test/support"), join(root, "test/support"), "dir");
    const list = readFileSync(join(root, "functions/events.gen.ts"), "utf8");
    for (const type of types) assert.ok(list.includes(`import("./events/${type}.ts")`), type);

    const bin = join(projectFolder, "node_modules/.bin");
    const tests = readdirSync(join(root, "test/events")).map((name) => join("test/events", name));
    await Promise.all([
      tool(root, join(bin, "biome"), ["ci", "--error-on-warnings", "functions", "test/events"]),
      tool(root, join(bin, "tsc"), ["--noEmit"]),
      tool(root, process.execPath, ["--test", "--test-isolation=none", ...tests]),
    ]);

    // The checks above do fail: on a member that the payload has not, and on a handler that throws.
    const file = join(root, "functions/events/out_approval.ts");
    const source = readFileSync(file, "utf8");
    writeFileSync(file, source.replace("Object.keys(event)", "event.out_nothing"));
    await assert.rejects(tool(root, join(bin, "tsc"), ["--noEmit"]), /'out_nothing' does not exist/);
    writeFileSync(file, source.replace("log.info(", "throw new Error(").replace(/, \{ members: .*\}\);/, ");"));
    await assert.rejects(
      tool(root, process.execPath, ["--test", "test/events/out_approval.test.ts"]),
      /not ok|✖ handles a sample of out_approval/,
    );
  });

  test("overwrites neither a handler nor a test that exists", async (t) => {
    const { root, write, remove } = await project();
    t.after(remove);
    write("app_ticket", "// mine\n");
    const { code, stderr } = await larkpost(["new", "app_ticket"], { root });
    assert.equal(code, 2);
    assert.equal(stderr, "Cannot write functions/events/app_ticket.ts: it exists. Nothing was changed\n");
    assert.equal(readFileSync(join(root, "functions/events/app_ticket.ts"), "utf8"), "// mine\n");
    assert.ok(!existsSync(join(root, "test")));
  });

  test("I13: warns when there is a handler for the other form of the same fact", async (t) => {
    const { root, write, remove } = await project();
    t.after(remove);
    write("message", "// mine\n");
    const { code, stderr } = await larkpost(["new", "im.message.receive_v1"], { root });
    assert.equal(code, 0);
    assert.equal(stderr.match(/^Warning: "message" and "im.message.receive_v1" report the same fact/gm)?.length, 1);
  });

  for (const [name, says] of [
    ["im.message.recieve_v1", /not in the catalogue\. Nearest: "im\.message\.receive_v1"/],
    ["../../escape", /not in the catalogue/],
    ["__proto__", /not in the catalogue/],
    ["card.action.trigger", /it is a callback.*functions\/callbacks\/ in a later release/],
  ] as const) {
    test(`refuses ${name} and writes nothing`, async (t) => {
      const { root, remove } = await project();
      t.after(remove);
      const { code, stdout, stderr } = await larkpost(["new", name], { root });
      assert.deepEqual([code, stdout], [2, ""]);
      assert.match(stderr, says);
      assert.deepEqual(readdirSync(join(root, "functions/events")), []);
      assert.ok(!existsSync(join(root, "test")));
    });
  }
});
