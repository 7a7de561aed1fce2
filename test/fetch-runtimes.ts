import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { globSync, mkdirSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import type { SealedRequest } from "../lib/feishu/envelope.ts";
import { bodyLimitBytes } from "../lib/receiving/http.ts";
import { cardText } from "./support/callbacks.ts";
import { appId, bare, challengeText, encryptKey, push, unsigned, v2Text, verificationToken } from "./support/push.ts";
import { script } from "./support/script.ts";
import { startServices } from "./support/services.ts";

// `fetchHandler` in Bun and in Deno, with a real queue. Optional: each of them has 100 MB, so they are no dependencies.

const root = resolve(import.meta.dirname, "..");
const folder = join(root, ".larkpost/fetch-runtimes");
const versions = ["bun@1.4.5", "deno@2.9.6"];
const runtimes = [
  { name: "bun", binary: "node_modules/@oven/*/bin/bun{,.exe}", args: ["run"] },
  { name: "deno", binary: "node_modules/@deno/*/deno{,.exe}", args: ["run", "--allow-all", "--no-lock"] },
];

script("fetch-runtimes")
  .description("receive in Bun and Deno, which are installed first, outside the project's dependencies")
  .parse();

mkdirSync(folder, { recursive: true });
writeFileSync(join(folder, "package.json"), JSON.stringify({ private: true }));
// Their binaries come in packages of their own; the scripts only move them.
const install = ["install", "--no-save", "--no-audit", "--no-fund", "--ignore-scripts", ...versions];
const { status } = spawnSync("npm", install, {
  cwd: folder,
  stdio: ["ignore", "ignore", "inherit"],
  // There it is npm.cmd, which only a shell runs.
  shell: process.platform === "win32",
});
assert.equal(status, 0, "Cannot install the runtimes");

const services = await startServices();
const { PATH = "", HOME = "" } = process.env;
const keys = { APP_ID: appId, ENCRYPT_KEY: encryptKey, VERIFICATION_TOKEN: verificationToken };
const env = { PATH, HOME, ...services.env, ...keys, APP_SECRET: "an app secret for tests", LOG_LEVEL: "error" };
for (const { name, binary, args } of runtimes) {
  const [file] = globSync(binary, { cwd: folder });
  assert.ok(file, `${name} has no binary for this machine`);
  const program = [...args, join(import.meta.dirname, "support/fetch-server.ts")];
  const child = spawn(join(folder, file), program, { cwd: root, env, stdio: ["ignore", "pipe", "inherit"] });
  try {
    await receives(`http://127.0.0.1:${await portOf(child.stdout)}/`, name);
  } finally {
    child.kill();
  }
  console.log(`✔ ${name} receives: challenge, event, callback; refuses what is forged or too long`);
}
await services.stop();

async function portOf(output: NodeJS.ReadableStream): Promise<number> {
  for await (const line of createInterface(output)) {
    const { port } = JSON.parse(line) as { port?: number };
    if (port !== undefined) return port;
  }
  return assert.fail("it ended before it listened");
}

async function receives(url: string, name: string): Promise<void> {
  const send = async ({ headers, rawBody }: SealedRequest) => {
    const body = Uint8Array.from(rawBody);
    const response = await fetch(url, { method: "POST", headers: Object.fromEntries(headers), body });
    return { status: response.status, body: await response.json() };
  };
  const nowMs = Date.now();
  const stored = () => services.count(services.urls.eventsQueueUrl);
  const before = await stored();
  assert.equal((await fetch(url)).status, 200);
  const challenge = { challenge: "7c5a9b1e-4d2f" };
  assert.deepEqual(await send(unsigned(challengeText())), { status: 200, body: challenge });
  assert.equal((await send(push(v2Text(), { encryptKey: "another key", nowMs }))).status, 401);
  assert.equal((await send(bare("x".repeat(bodyLimitBytes + 1)))).status, 413);
  assert.equal(await stored(), before);
  assert.deepEqual(await send(push(v2Text(), { nowMs })), { status: 200, body: {} });
  assert.equal(await stored(), before + 1);
  const answer = await send(push(cardText({ id: name }), { nowMs }));
  assert.ok(answer.status === 200 && "toast" in (answer.body as object));
}
