// alone: it lints, compiles and tests what it wrote.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { describe, test } from "node:test";
import { entryFiles } from "../../../lib/cli/check/engine-parts.ts";
import { nextSteps, warnings, writeHandler } from "../../../lib/cli/handlers/new.ts";
import { addJudged, callbackTypes, eventTypes } from "../../support/new-project.ts";
import { temporaryProject } from "../../support/project.ts";
import { codeIsJudged } from "../../support/types.ts";
import { larkpost, projectFolder } from "../run.ts";

/** Read before commands run here, each of which has an environment of its own meanwhile. */
const isJudged = process.env[codeIsJudged] !== undefined;
/** What the developer console calls them, if it is known; and what has to be called before the platform pushes them. */
const named: Readonly<Record<string, string>> = {
  "im.message.receive_v1": "im.message.receive_v1 (接收消息)",
  "im.chat.updated_v1": "im.chat.updated_v1 (群配置修改)",
  out_approval: "out_approval (外出审批)",
  approval_instance: "approval_instance (审批实例状态变更)",
  approval_cc: "approval_cc (审批抄送状态变更)",
  "card.action.trigger": "card.action.trigger (卡片回传交互)",
  "card.action.trigger_v1": "card.action.trigger_v1 (消息卡片回传交互（旧）)",
  "url.preview.get": "url.preview.get (拉取链接预览数据)",
};
const approvals = "for each approval definition, POST /open-apis/approval/v4/approvals/:approval_code/subscribe";
const subscriptions: Readonly<Record<string, string>> = {
  out_approval: approvals,
  approval_instance: approvals,
  approval_cc: approvals,
  "calendar.room.booked_v9": "for each user, the subscription calls of the Calendar API with a user_access_token",
};

/** What is printed besides what was written. */
function steps(type: string): string[] {
  const setting = type === "card.action.trigger" ? " --set event.action.value.order=42" : "";
  const kind = callbackTypes.includes(type) ? "callbacks" : "events";
  const said = [
    `Try it: with "npm start" in another terminal, npm run send -- ${type}${setting}`,
    `Test it: npm test -- functions/${kind}/${type}.test.ts`,
  ];
  if (type === "card.action.trigger_v1") {
    said.unshift("Switch it on: set LEGACY_CARD_CALLBACK=true; without it, the old card callback is refused");
  }
  const name = named[type] ?? type;
  said.push(
    kind === "callbacks"
      ? `Let Feishu ask: in the developer console, under Events & Callbacks (事件与回调) → Callback configuration (回调配置), ${
          type === "card.action.trigger_v1" ? "" : "choose the long connection, or "
        }paste the address that ends in /callback as the request URL; add ${name}, and publish a version of the app; until then nothing changes`
      : "Let Feishu push: in the developer console, under Events & Callbacks (事件与回调) → Event configuration (事件配置), choose the long " +
          `connection, or paste the address that ends in /webhook as the request URL; add ${name}, grant a permission ` +
          "that it asks for, and publish a version of the app; until then nothing changes",
  );
  const subscription = subscriptions[type];
  return subscription === undefined ? said : [...said, `Subscribe as well: ${subscription}`];
}

/** What is said of a type that the catalogue does not list. */
function warning(type: string): RegExp {
  return type === "calendar.room.booked_v9"
    ? /^"calendar\.room\.booked_v9" is not in the catalogue\. The handler declares its payload .* delete both files$/
    : /^$/;
}

/** A project that a new handler can be written to, checked and tested in. */
async function project() {
  const made = await temporaryProject({});
  for (const name of ["tsconfig.json", "functions/tsconfig.json"])
    cpSync(join(projectFolder, name), join(made.root, name));
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

async function failureOf(running: Promise<unknown>): Promise<string> {
  return running.then(
    () => assert.fail("it succeeded"),
    (error: Error) => error.message,
  );
}

describe("new", { concurrency: 3 }, () => {
  test("writes a handler and a test that lint, compile and pass as they are, and lists the handler", async (t) => {
    const { root, remove } = await project();
    t.after(remove);
    const types = [...eventTypes, ...callbackTypes];
    for (const [index, type] of types.entries()) {
      const kind = callbackTypes.includes(type) ? "callbacks" : "events";
      const path = `functions/${kind}/${type}`;
      // To load what is there takes a process. It shows all of them in the end, and its one line in the beginning.
      if (index > 0 && index < types.length - 1) {
        const { entry, written, changed } = await writeHandler(root, type);
        assert.deepEqual([written, changed], [[`${path}.ts`, `${path}.test.ts`], [`functions/${kind}.gen.ts`]]);
        assert.match(warnings(entry, root).join("\n"), warning(type));
        assert.deepEqual(nextSteps(entry), steps(type));
        continue;
      }
      const { code, stdout, stderr } = await larkpost(["new", type], { root });
      assert.equal(code, 0);
      assert.equal(stderr, "");
      assert.equal(
        stdout,
        [
          `Wrote ${path}.ts`,
          `Wrote ${path}.test.ts`,
          `Updated functions/${kind}.gen.ts`,
          `✔ ${index + 1} handler${index === 0 ? "" : "s"}`,
          ...steps(type),
          "",
        ].join("\n"),
      );
    }
    const lists = ["events", "callbacks"].map((kind) => readFileSync(join(root, `functions/${kind}.gen.ts`), "utf8"));
    for (const type of eventTypes) assert.ok(lists[0]?.includes(`import("./events/${type}.ts")`), type);
    for (const type of callbackTypes) assert.ok(lists[1]?.includes(`import("./callbacks/${type}.ts")`), type);

    const unlisted = readFileSync(join(root, "functions/events/calendar.room.booked_v9.ts"), "utf8");
    assert.match(unlisted, /^declare module [\s\S]*"calendar\.room\.booked_v9": Record<string, unknown>;/m);

    const bin = join(projectFolder, "node_modules/.bin");
    const tests = ["functions/events", "functions/callbacks"].flatMap((folder) =>
      readdirSync(join(root, folder))
        .filter((name) => name.endsWith(".test.ts"))
        .map((name) => join(folder, name)),
    );
    assert.equal(tests.length, eventTypes.length + callbackTypes.length);
    // One run of the linter shows both: it has nothing against what was written where it is told to look, and passes over
    // the folders of `functions/` as the project has it configured, whatever is in them.
    const linted = join(root, "linted");
    const rules = JSON.parse(readFileSync(join(projectFolder, "biome.json"), "utf8")) as object;
    const copy = (to: string, config: object, folders: readonly string[] = ["events", "callbacks"]) => {
      for (const name of folders) {
        cpSync(join(root, "functions", name), join(linted, to, "functions", name), { recursive: true });
      }
      writeFileSync(join(linted, to, "biome.json"), JSON.stringify({ ...rules, ...config, root: false }));
    };
    copy("told", { files: {} });

    // It has nothing against a handler from elsewhere either.
    await addJudged(root);
    copy("passed", {}, ["events", "callbacks", "shared"]);
    writeFileSync(join(linted, "biome.json"), "{}");
    const folders = ["told/functions", "passed/functions"];
    assert.match(
      await tool(linted, join(bin, "biome"), ["ci", "--error-on-warnings", ...folders]),
      /Checked 20 files /,
    );

    // `npm test` has them compiled with the other types.
    if (!isJudged) {
      // They bring the rest of the engine along.
      for (const entry of entryFiles) rmSync(join(root, entry));
      await tool(root, join(bin, "tsc"), ["--project", "functions", "--pretty", "false", "--singleThreaded"]);
    }

    // One run shows all of the tests as well: each passes, and fails when its handler does, or answers wrongly.
    const failing = join(root, "functions/failing");
    mkdirSync(failing);
    const event = join(root, "functions/events/out_approval.ts");
    const callback = join(root, "functions/callbacks/card.action.trigger.ts");
    for (const [file, text] of [
      [event, readFileSync(event, "utf8").replace("log.info(", "throw new Error(")],
      [callback, readFileSync(join(root, "functions/wrong-answer.ts"), "utf8")],
    ] as const) {
      const name = basename(file, ".ts");
      writeFileSync(join(failing, `${name}.ts`), text);
      cpSync(file.replace(/\.ts$/, ".test.ts"), join(failing, `${name}.test.ts`));
      tests.push(`functions/failing/${name}.test.ts`);
    }
    const failures = await failureOf(tool(root, process.execPath, ["--test", "--test-isolation=none", ...tests]));
    assert.match(failures, /^ℹ pass 10$/m);
    assert.match(failures, /^ℹ fail 2$/m);
    assert.match(failures, /✖ handles a sample of out_approval/);
    assert.match(failures, /✖ answers a sample of card.action.trigger/);
    assert.match(failures, /toast\.type/);
  });

  test("overwrites neither a handler nor a test that exists", async (t) => {
    const { root, write, remove } = await project();
    t.after(remove);
    write("app_ticket", "// mine\n");
    const { code, stderr } = await larkpost(["new", "app_ticket"], { root });
    assert.equal(code, 1);
    assert.equal(stderr, "Cannot write functions/events/app_ticket.ts: it exists. Nothing was changed\n");
    assert.equal(readFileSync(join(root, "functions/events/app_ticket.ts"), "utf8"), "// mine\n");
    assert.deepEqual(readdirSync(join(root, "functions/events")), ["app_ticket.ts"]);
  });

  test("I13: warns when there is a handler for the other form of the same fact", async (t) => {
    const { root, write, remove } = await project();
    t.after(remove);
    write("message", "// mine\n");
    const { code, stderr } = await larkpost(["new", "im.message.receive_v1"], { root });
    assert.equal(code, 0);
    assert.equal(stderr.match(/^Warning: "message" and "im.message.receive_v1" report the same fact/gm)?.length, 1);
  });

  for (const [index, type] of ["im.message.recieve_v1", "im.message.receive_v2", "im.message.receive"].entries()) {
    test(`refuses "${type}", which looks misspelt, and writes it when it is forced to`, async (t) => {
      const { root, remove } = await project();
      t.after(remove);
      const refused = await larkpost(["new", type], { root });
      assert.deepEqual([refused.code, refused.stdout], [2, ""]);
      const said = 'the catalogue does not have it. Nearest: "im.message.receive_v1"';
      assert.ok(refused.stderr.startsWith(`Cannot write a handler for "${type}": ${said}`), refused.stderr);
      assert.match(refused.stderr, /Correct it, or pass --force if the platform has that type\n$/);
      assert.deepEqual(readdirSync(join(root, "functions/events")), []);
      const force = async () => {
        // As above: one of them shows the whole command.
        if (index > 0) return warnings((await writeHandler(root, type, { force: true })).entry, root).join("\n");
        const { code, stderr } = await larkpost(["new", type, "--force"], { root });
        assert.equal(code, 0);
        return stderr;
      };
      assert.match(await force(), /not in the catalogue\..* delete both files\. Nearest: "im\.message\.receive_v1"/);
      assert.ok(existsSync(join(root, `functions/events/${type}.ts`)));
    });
  }

  for (const name of [
    "../../escape",
    "__proto__",
    "_default",
    "Im.message",
    "im.message.receive_v1.ts",
    "im..message",
    "a/b",
    'x"; import "y',
    "x".repeat(300),
  ]) {
    test(`refuses "${name.slice(0, 20)}" and writes nothing`, async (t) => {
      const { root, remove } = await project();
      t.after(remove);
      const { code, stdout, stderr } = await larkpost(["new", name], { root });
      assert.deepEqual([code, stdout], [2, ""]);
      assert.match(
        stderr,
        /a type begins with a small letter, has letters, .* and is no file's name(\. Nearest: ".*)?\n$/,
      );
      assert.deepEqual(readdirSync(join(root, "functions/events")), []);
      assert.deepEqual(readdirSync(join(root, "functions/callbacks")), []);
    });
  }
});
