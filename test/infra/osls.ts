import { writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

/** One run of osls. What came of it is written to `osls.json` in its folder. */
export interface Job {
  readonly folder: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

// Runs osls once for each job, in one process: to load it takes ten times as long as to compile a stack. It has no
// function to call, so its command is loaded anew for each job, and is over when nothing is left to wait for.

const jobs = JSON.parse(process.argv[2] ?? "[]") as Job[];
const require = createRequire(import.meta.url);
const command = require.resolve("osls/scripts/serverless.js");
let output = "";
for (const stream of [process.stdout, process.stderr]) {
  stream.write = (text: string | Uint8Array) => {
    output += String(text);
    return true;
  };
}

let current: Job | undefined;
process.on("beforeExit", () => {
  if (current !== undefined) {
    writeFileSync(join(current.folder, "osls.json"), JSON.stringify({ code: process.exitCode ?? 0, output }));
  }
  process.exitCode = 0;
  output = "";
  current = jobs.shift();
  if (current === undefined) return;
  const { folder, args, env } = current;
  process.chdir(folder);
  process.argv = [process.execPath, command, ...args];
  for (const name of Object.keys(process.env)) Reflect.deleteProperty(process.env, name);
  Object.assign(process.env, env);
  Reflect.deleteProperty(require.cache, command);
  require(command);
});
