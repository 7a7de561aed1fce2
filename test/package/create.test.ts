import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, globSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { type TestContext, test } from "node:test";
import { checkEngineParts, entryFiles } from "../../lib/cli/check/engine-parts.ts";
import { create } from "../../package/create.ts";
import { deriveLock, type Manifest } from "../../package/lock.ts";
import { enginePackage, packedManifest, runWithFolder } from "../../package/pack.ts";
import { projectFiles } from "../../package/project.ts";

// What `npm run create` writes, and what `check` finds in it after an upgrade. `npm run try-package` installs and runs it.

const root = resolve(import.meta.dirname, "../..");
const tarball = { path: "vendor/larkpost-1.2.3.tgz", content: Buffer.from("a tarball") };
const files = projectFiles("my-bot", tarball);
const text = (file: string) => files.get(file) ?? "";

interface Lock {
  readonly packages: Readonly<Record<string, { readonly [member: string]: unknown }>>;
}

const lockHere = JSON.parse(readFileSync(join(root, "package-lock.json"), "utf8")) as Lock;

/** A sample, which the user of this repository may have deleted. */
const isSample = (file: string) => /^functions\/(events|callbacks)\//.test(file);

test("a project is 18 files: none of the engine's, and the lists are generated", () => {
  assert.deepEqual(
    [...files.keys()].sort(),
    [
      ".env.example",
      ".gitattributes",
      ".github/workflows/test.yml",
      ".gitignore",
      "README.md",
      "functions/callback.ts",
      "functions/callbacks/card.action.trigger.test.ts",
      "functions/callbacks/card.action.trigger.ts",
      "functions/events/im.message.receive_v1.test.ts",
      "functions/events/im.message.receive_v1.ts",
      "functions/long-connection.ts",
      "functions/webhook.ts",
      "functions/worker.ts",
      "larkpost.config.js",
      "package-lock.json",
      "package.json",
      "serverless.yml",
      "tsconfig.json",
    ]
      .filter((file) => !isSample(file) || existsSync(join(root, file)))
      .sort(),
  );
  assert.match(text(".gitignore"), /^functions\/\*\.gen\.ts$/m);
});

test("serverless.yml has the project's name, at most 80 lines, and every part from the package", () => {
  const lines = text("serverless.yml").trimEnd().split("\n");
  assert.ok(lines.length <= 80, `${lines.length} lines`);
  assert.ok(lines.includes("service: my-bot"));
  assert.deepEqual(
    lines.filter((line) => /\$\{file\((?!node_modules\/larkpost\/infra\/)/.test(line)),
    [],
  );
});

test("the lock has the engine's versions, the tarball's checksum, and no host", () => {
  const { packages } = JSON.parse(text("package-lock.json")) as Lock;
  const { dependencies, devDependencies, engines } = JSON.parse(text("package.json")) as Manifest;
  assert.deepEqual(packages[""], { name: "my-bot", hasInstallScript: true, dependencies, devDependencies, engines });
  const { resolved, integrity } = packages["node_modules/larkpost"] ?? {};
  assert.deepEqual([resolved, /^sha512-.{86}==$/.test(String(integrity))], ["file:vendor/larkpost-1.2.3.tgz", true]);
  for (const [place, { version, ...entry }] of Object.entries(packages)) {
    if (place === "" || place === "node_modules/larkpost") continue;
    assert.equal(version, lockHere.packages[place]?.["version"], place);
    assert.ok(!("resolved" in entry), place);
  }
  for (const name of [
    ...Object.keys(packedManifest({ version: "1.2.3" }).dependencies),
    "osls",
    "typescript",
    "node",
  ]) {
    assert.ok(packages[`node_modules/${name}`], name);
  }
  assert.ok(!packages["node_modules/@biomejs/biome"], "a tool of the engine's own");
});

test("a lock that is derived for this repository itself is the one that npm has written, byte for byte", () => {
  const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as Manifest;
  const written = readFileSync(join(root, "package-lock.json"), "utf8").replaceAll("\r\n", "\n");
  assert.equal(deriveLock(manifest, lockHere.packages), written);
});

test("the tarball's package.json names compiled files, and no tool of this repository", () => {
  const { exports, dependencies, ...rest } = packedManifest({ version: "1.2.3" });
  assert.deepEqual(exports, {
    ".": { types: "./lib/handler.d.ts", default: "./lib/handler.js" },
    "./aws": { types: "./lib/aws/entries/index.d.ts", default: "./lib/aws/entries/index.js" },
    "./config": { types: "./infra/config.d.ts", default: "./infra/config.js" },
    "./feishu": { types: "./lib/feishu/face.d.ts", default: "./lib/feishu/face.js" },
    "./http": { types: "./lib/aws/entries/http.d.ts", default: "./lib/aws/entries/http.js" },
    "./long-connection": {
      types: "./lib/aws/entries/long-connection.d.ts",
      default: "./lib/aws/entries/long-connection.js",
    },
    "./test": { types: "./lib/testing/context.d.ts", default: "./lib/testing/context.js" },
  });
  assert.equal(rest.version, "1.2.3");
  for (const member of ["devDependencies", "scripts", "allowScripts"]) assert.ok(!(member in rest), member);
  const imported = globSync("{lib,infra}/**/*.{ts,js}", { cwd: root }).flatMap((file) =>
    [...readFileSync(join(root, file), "utf8").matchAll(/^import (?!type).*from "([^".][^"]*)";$/gm)].map(
      ([, name = ""]) => name,
    ),
  );
  const packages = imported
    .filter((name) => !/^node:|^larkpost/.test(name))
    .map((name) => /^(@[^/]+\/)?[^/]+/.exec(name)?.[0] ?? "");
  assert.deepEqual(
    [...new Set(packages)].filter((name) => !(name in dependencies)),
    [],
  );
});

function written(t: TestContext): { folder: string; change: (file: string, change: (text: string) => string) => void } {
  const folder = mkdtempSync(join(tmpdir(), "larkpost-thin-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const write = (file: string, content: string) => {
    mkdirSync(dirname(join(folder, file)), { recursive: true });
    writeFileSync(join(folder, file), content);
  };
  for (const file of ["serverless.yml", ...entryFiles]) write(file, text(file));
  return { folder, change: (file, change) => write(file, change(text(file))) };
}

test("check finds nothing in a new project, in what is the project's own, or with the line ends of Windows", (t) => {
  const { folder, change } = written(t);
  assert.deepEqual(checkEngineParts(folder), []);
  change("serverless.yml", (yaml) =>
    yaml
      .replace("stage: dev", "stage: test")
      .replace("front: httpApi", "front: functionUrl\n    mine: 1")
      .replace(/ {2}logs: .*/, "  logs: { lambda: { logFormat: Text } }")
      .replace(/ {2}stackTags: .*/, "  stackTags:\n    team: people")
      .replace("queues.js):queues}", "queues.js):queues} # Mine.")
      .replaceAll("\n", "\r\n"),
  );
  change(
    "functions/worker.ts",
    (source) => `// Mine.\r\nimport "./shared/tracing.ts";\r\n${source.replaceAll("\n", "\r\n")}`,
  );
  assert.deepEqual(checkEngineParts(folder), []);
});

test("check names an entry that the engine wants otherwise or does not find, with the difference", (t) => {
  const { folder, change } = written(t);
  change("functions/worker.ts", (source) => source.replace("{ events, callbacks }", "events"));
  rmSync(join(folder, "functions/webhook.ts"));
  const [webhook, worker, ...others] = checkEngineParts(folder);
  assert.deepEqual(others, []);
  assert.equal(webhook?.file, "functions/webhook.ts");
  assert.match(
    webhook.message,
    /^is missing\. In larkpost \d+\.\d+\.\d+ it is:\n\+ import \{ webhook \} from "larkpost\/aws";\n/,
  );
  assert.match(
    worker?.message ?? "",
    /^is otherwise in larkpost \d+\.\d+\.\d+\. Take it over:\n- export const handler = await worker\(events\);\n\+ export const handler = await worker\(\{ events, callbacks \}\);$/,
  );
});

test("check names each part of serverless.yml that is missing, has moved, or is gone", (t) => {
  const { folder, change } = written(t);
  change("serverless.yml", (yaml) =>
    yaml
      .replace(/ {2}stackPolicy: .*\n/, "")
      .replace("infra/functions.js):webhook", "infra/webhook.js):webhook")
      .replace("infra/queues.js):queues", "infra/old.js):old"),
  );
  const findings = checkEngineParts(folder).map(({ file, message }) => `${file}: ${message}`);
  const { version } = enginePackage;
  const folderOf = "${file(node_modules/larkpost/infra";
  assert.deepEqual(findings, [
    `serverless.yml: lacks provider.stackPolicy, which larkpost ${version} wants. Add:\n+ stackPolicy: ${folderOf}/provider.js):stackPolicy}`,
    `serverless.yml: functions.webhook is otherwise in larkpost ${version}. Take it over:\n- - webhook: ${folderOf}/webhook.js):webhook}\n+ - webhook: ${folderOf}/functions.js):webhook}`,
    `serverless.yml: lacks resources: ${folderOf}/queues.js):queues}, which larkpost ${version} wants. Add:\n+ - ${folderOf}/queues.js):queues}`,
    `serverless.yml: resources: ${folderOf}/old.js):old} is no part of larkpost ${version}. Delete:\n- - ${folderOf}/old.js):old}`,
  ]);
});

test("this repository, which has the engine itself, is compared with nothing", () => {
  assert.deepEqual(checkEngineParts(root), []);
});

test("create refuses a name that no service has, a folder inside this repository, and one that holds something", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "larkpost-thin-"));
  t.after(() => rmSync(folder, { recursive: true }));
  for (const name of ["My Bot", "larkpost", "x", "1st", "bot-", "机器人", "node_modules", "a[b]"]) {
    await assert.rejects(create(join(folder, name)), /It has 2 to 40 small letters, .* is not "larkpost"/, name);
  }
  await assert.rejects(create(join(root, "inside")), /it is inside this clone\. Name one beside it: \.\.\/inside$/);
  mkdirSync(join(folder, "bot"));
  writeFileSync(join(folder, "bot/mine"), "");
  await assert.rejects(create(join(folder, "bot")), /is not empty\. Nothing was changed/);
  assert.deepEqual(globSync("**", { cwd: folder }).sort(), [".", "bot", "bot/mine"]);
});

test("the scripts say how they are called, take a folder from where npm was called, and name one that cannot be written", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "larkpost thin-"));
  t.after(() => rmSync(folder, { recursive: true }));
  writeFileSync(join(folder, "file"), "");
  const run = (script: string, ...args: string[]) => {
    const command = ["--import", "./lib/cli/check-node.js", `package/${script}.ts`, ...args];
    const { status, stdout, stderr } = spawnSync(process.execPath, command, {
      cwd: root,
      env: { ...process.env, INIT_CWD: folder },
      encoding: "utf8",
    });
    return { status, output: stdout + stderr };
  };
  assert.match(
    enginePackage.scripts["create"] ?? "",
    /^node --import \.\/lib\/cli\/check-node\.js package\/create\.ts$/,
  );
  const usage = "npm run create -- ../my-bot\n";
  assert.deepEqual(run("create", "--help"), { status: 0, output: `Usage: ${usage}` });
  const { argv, exitCode } = process;
  const printed = t.mock.method(console, "error", () => {});
  for (const args of [[], ["one", "two"], ["--force"]]) {
    process.argv = [...argv.slice(0, 2), ...args];
    await runWithFolder(usage.trim(), () => assert.fail());
    assert.deepEqual(printed.mock.calls.at(-1)?.arguments, [`Called wrongly. It is ${usage.trim()}`]);
    assert.equal(process.exitCode, 2);
    Object.assign(process, { argv, exitCode });
  }
  const { status, output } = run("create", "file/bot");
  assert.equal(status, 1);
  assert.match(output, /^Cannot go on: E(NOTDIR|EXIST): .*file.*\. Check that path and its rights\n$/);
  assert.ok(output.includes(join(folder, "file")), output);
  assert.equal(run("pack", "--help").output, "Usage: npm run pack -- ../my-bot/vendor\n");
});
