import { createRequire } from "node:module";

/** One run of osls. */
export interface Job {
  readonly folder: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

/** What came of the job in that folder. */
export interface Ended {
  readonly folder: string;
  readonly code: number;
  readonly output: string;
}

// Runs osls once for each job that the parent sends, in one process: to load it takes ten times as long as to compile a
// stack. It has no function to call, so its command is loaded anew for each job, and is over when nothing is left to
// wait for but the parent.

// Each load of the command adds its own.
process.setMaxListeners(0);
const jobs: Job[] = [];
process.on("message", (job: Job) => {
  jobs.push(job);
  process.channel?.unref();
});
process.on("disconnect", () => process.exit());
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
    process.send?.({ folder: current.folder, code: Number(process.exitCode ?? 0), output } satisfies Ended);
  }
  process.exitCode = 0;
  output = "";
  current = jobs.shift();
  if (current === undefined) return process.channel?.ref();
  const { folder, args, env } = current;
  process.chdir(folder);
  process.argv = [process.execPath, command, ...args];
  for (const name of Object.keys(process.env)) Reflect.deleteProperty(process.env, name);
  Object.assign(process.env, env);
  Reflect.deleteProperty(require.cache, command);
  require(command);
});
