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
const command = require.resolve("osls/bin/serverless.js");
const script = require.resolve("osls/scripts/serverless.js");
// To save its state, osls calls toJSON of each value, and catches the error where there is none. That takes longer than to
// compile the stack, so here each has one.
const cycle = createRequire(command)("json-cycle") as { stringify: (...args: unknown[]) => string };
const { stringify } = cycle;
cycle.stringify = (...args) => {
  const toJSON = function (this: object) {
    return this.valueOf();
  };
  Object.defineProperty(Object.prototype, "toJSON", { value: toJSON, configurable: true });
  try {
    return stringify(...args);
  } finally {
    Reflect.deleteProperty(Object.prototype, "toJSON");
  }
};
// The schema of serverless.yml is always the same: its validator is looked up once, by a hash of 280 KB.
const validators = require.resolve("osls/lib/classes/config-schema-handler/resolve-ajv-validate.js");
const validatorOf = require(validators) as (schema: unknown) => Promise<unknown>;
let validator: Promise<unknown> | undefined;
Object.assign(require.cache[validators] ?? {}, { exports: (schema: unknown) => (validator ??= validatorOf(schema)) });
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
  for (const module of [command, script]) Reflect.deleteProperty(require.cache, module);
  require(command);
});
