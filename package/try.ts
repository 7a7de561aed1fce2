import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { cpSync, globSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { startCloud } from "../test/support/cloud.ts";
import { temporaryProject } from "../test/support/project.ts";
import { create } from "./create.ts";
import { enginePackage } from "./pack.ts";

// `npm run try-package` goes the way of somebody who has the engine as a package, in an empty folder outside this
// repository: create, start, chat, new, test, package, deploy, upgrade, test. After its `npm ci` it needs no network.

const root = resolve(import.meta.dirname, "..");
const clean = mkdtempSync(join(tmpdir(), "larkpost-try-"));
const folder = join(clean, "my-bot");
/** For each command, on a busy machine. */
const limitMs = 240_000;
const kept = /^npm_config_(cache|registry|userconfig|globalconfig)$/i;
/** Without what npm and this repository have added to it: the project has to bring its own Node and its own commands. */
const env: NodeJS.ProcessEnv = {
  ...Object.fromEntries(
    Object.entries(process.env).filter(([name]) => kept.test(name) || !/^(npm_|LARKPOST|APP_|AWS_|NODE_)/i.test(name)),
  ),
  PATH: (process.env["PATH"] ?? "")
    .split(delimiter)
    .filter((path) => !path.includes("node_modules"))
    .join(delimiter),
};

function spawnNpm(args: readonly string[], more: NodeJS.ProcessEnv = {}): ChildProcess {
  const script = process.env["npm_execpath"];
  const [command, ...first] = script === undefined ? ["npm"] : [process.execPath, script];
  return spawn(command ?? "npm", [...first, ...args], {
    cwd: folder,
    env: { ...env, npm_config_offline: "true", ...more },
    stdio: ["pipe", "pipe", "pipe"],
    timeout: limitMs,
    shell: script === undefined && process.platform === "win32",
  });
}

/** @returns What it printed. */
async function ended(child: ChildProcess, { input = "", exitCode = 0 } = {}): Promise<string> {
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding("utf8").on("data", (text: string) => {
      output += text;
    });
  }
  child.stdin?.on("error", () => {}).end(input);
  const [code] = (await once(child, "close")) as [number | null];
  assert.equal(code, exitCode, `${child.spawnargs.join(" ")}\n${output}`);
  return output;
}

const npm = (args: readonly string[], options?: Parameters<typeof ended>[1]) => ended(spawnNpm(args), options);

async function step<T>(name: string, work: () => Promise<T>): Promise<T> {
  const startMs = performance.now();
  const result = await work();
  console.log(`✔ ${name} (${((performance.now() - startMs) / 1000).toFixed(1)} s)`);
  return result;
}

/** Starts everything with the long connection, talks to the bot, sends over the connection, and stops. */
async function startAndChat(): Promise<void> {
  const child = spawnNpm(["run", "--silent", "start", "--", "--port", "0", "--json", "--long-connection"]);
  const closed = once(child, "close");
  let problems = "";
  child.stderr?.setEncoding("utf8").on("data", (text: string) => {
    problems += text;
  });
  const started = Promise.withResolvers<void>();
  let stages = "";
  createInterface({ input: child.stdout as NonNullable<typeof child.stdout> }).on("line", (line) => {
    stages += line;
    if (stages.includes('"ready":true') && stages.includes('"stage":"connected"')) started.resolve();
  });
  closed.then(() => started.reject(new Error(`npm start ended:\n${problems}`)), started.reject);
  try {
    await started.promise;
    const said = await npm(["run", "--silent", "chat", "--", "--json"], { input: "hi\ncard\n1\n" });
    for (const expected of ["You said: hi", "Pallet 17", "Received"]) assert.ok(said.includes(expected), said);
    const callback = ["card.action.trigger", "--via", "long-connection"];
    assert.match(await npm(["run", "--silent", "send", "--", ...callback]), /^200 .*toast success "Received"/m);
  } finally {
    child.kill("SIGTERM");
    await closed;
  }
}

type Zips = readonly { readonly name: string; readonly file: string }[];

/** Packages the handlers of the project with the engine of this repository. */
async function packageHere(): Promise<Map<string, Buffer>> {
  const sources = (kind: string) =>
    Object.fromEntries(
      globSync(`functions/${kind}/*.ts`, { cwd: folder })
        .filter((file) => !file.endsWith(".test.ts"))
        .map((file) => [file.slice(`functions/${kind}/`.length, -".ts".length), read(file)]),
    );
  const project = await temporaryProject(sources("events"), sources("callbacks"));
  try {
    for (const file of ["serverless.yml", "tsconfig.json", "functions/tsconfig.json"]) {
      cpSync(join(root, file), join(project.root, file));
    }
    writeFileSync(join(project.root, "larkpost.config.js"), read("larkpost.config.js"));
    const command = [join(root, "lib/cli/larkpost.js"), "package", "--json"];
    return zipsIn(
      await ended(
        spawn(process.execPath, command, { cwd: project.root, env: { ...env, LARKPOST_ROOT: project.root } }),
      ),
    );
  } finally {
    project.remove();
  }
}

function zipsIn(output: string): Map<string, Buffer> {
  const { zips } = JSON.parse(output.slice(output.indexOf("{"))) as { zips: Zips };
  return new Map(zips.map(({ name, file }) => [name, readFileSync(file)]));
}

/** Stores the keys, and deploys to an AWS on this machine, where nothing listens at the addresses. */
async function deploy(): Promise<void> {
  const cloud = await startCloud();
  try {
    const env = { ...cloud.env, APP_ID: "cli_0123456789abcdef" };
    const key = "0123456789abcdefghijklmnopqrstuv";
    const keys = { APP_SECRET: key, ENCRYPT_KEY: key, VERIFICATION_TOKEN: key };
    const stored = await ended(spawnNpm(["run", "secrets", "--", "set", "--stage", "prod"], { ...env, ...keys }));
    assert.match(stored, /^Stored \/my-bot\/prod\/app$/m);
    const args = ["run", "deploy", "--", "--stage", "prod", "--param", "front=functionUrl", "--no-probe"];
    const printed = await ended(spawnNpm(args, env));
    assert.match(printed, /Request address {3}https:\/\/webhooklambdafunctionurl\.example\/webhook/);
    assert.equal(cloud.stacks.get("my-bot-prod")?.status, "UPDATE_COMPLETE");
  } finally {
    await cloud.stop();
  }
}

/** A newer tarball: that of now, with another version, which wants an entry and serverless.yml otherwise. */
async function packNewer(version: string): Promise<string> {
  const newer = join(clean, "newer");
  cpSync(join(folder, "node_modules/larkpost"), newer, { recursive: true });
  const manifest = JSON.parse(readFileSync(join(newer, "package.json"), "utf8")) as object;
  writeFileSync(join(newer, "package.json"), JSON.stringify({ ...manifest, version }));
  for (const file of ["functions/worker.ts", "serverless.yml"]) {
    writeFileSync(join(newer, file), takenOver(readFileSync(join(newer, file), "utf8")));
  }
  await npm(["pack", newer, "--pack-destination", join(folder, "vendor"), "--silent"]);
  return `./vendor/larkpost-${version}.tgz`;
}

/** A file as the newer engine wants it. */
function takenOver(source: string): string {
  return source
    .replace("worker({ events, callbacks })", "worker({ callbacks, events })")
    .replace("    front: httpApi\n", "$&    newer: ''\n");
}

/** Every file of the project, as Git would have it. */
function files(): Map<string, string> {
  const paths = globSync("{*,.*,{functions,vendor,.github}/**}", { cwd: folder }).filter(
    (path) => statSync(join(folder, path)).isFile() && !path.endsWith(".gen.ts"),
  );
  return new Map(paths.sort().map((path) => [path, readFileSync(join(folder, path), "base64")]));
}

function read(file: string): string {
  return readFileSync(join(folder, file), "utf8");
}

try {
  await step("create", () => create(folder));
  await step("npm ci", () =>
    ended(spawnNpm(["ci"], { npm_config_offline: "false", npm_config_prefer_offline: "true" })),
  );
  await step("npm start, npm run chat: hi, card; npm run send over the long connection", startAndChat);
  await step("npm run new", () => npm(["run", "new", "--", "contact.user.created_v3"]));
  const tested = await step("npm test", () => npm(["test"]));
  assert.match(tested, /✔ 3 handlers[\s\S]*ℹ pass 3\n/);
  await step("the types of the package, and of what it needs", () =>
    npm(["exec", "--", "tsc", "--noEmit", "--skipLibCheck", "false"]),
  );
  const zips = await step("npm run package", async () =>
    zipsIn(await npm(["run", "--silent", "package", "--", "--json"])),
  );
  await step("the zips are those of this repository, byte for byte", async () =>
    assert.deepEqual(zips, await packageHere()),
  );
  await step("npm run secrets, npm run deploy", deploy);
  const before = files();
  const lockBefore = read("package-lock.json").split("\n");
  const version = enginePackage.version.replace(/\d+$/, (patch) => String(Number(patch) + 1));
  await step(`upgrade to ${version}`, async () => npm(["install", await packNewer(version)]));
  const changed = () => {
    const after = files();
    return [...after].filter(([path, content]) => before.get(path) !== content).map(([path]) => path);
  };
  assert.deepEqual(changed(), ["package-lock.json", "package.json", `vendor/larkpost-${version}.tgz`]);
  const others = read("package-lock.json")
    .split("\n")
    .filter((line, index) => line !== lockBefore[index]);
  assert.match(others.join("\n"), /^ +"larkpost": .*\n +"version": .*\n +"resolved": .*\n +"integrity": .*$/);
  assert.match(
    await npm(["exec", "--", "larkpost", "--version"]),
    new RegExp(`^${version.replaceAll(".", "\\.")}$`, "m"),
  );
  const named = await step("npm test names what it wants otherwise", () => npm(["test"], { exitCode: 1 }));
  for (const expected of [
    "functions/worker.ts:1  is otherwise in larkpost",
    "+ export const handler = await worker({ callbacks, events });",
    "serverless.yml  lacks params.default.newer",
    "+ newer: ''",
  ]) {
    assert.ok(named.includes(expected), named);
  }
  assert.equal(changed().length, 3, "nothing was overwritten");
  for (const file of ["functions/worker.ts", "serverless.yml"])
    writeFileSync(join(folder, file), takenOver(read(file)));
  await step("npm test, once it is taken over", () => npm(["test"]));
} finally {
  rmSync(clean, { recursive: true, force: true, maxRetries: 3 });
}
