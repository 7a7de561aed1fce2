import { readFileSync } from "node:fs";
import { createRequire, Module } from "node:module";
import { join } from "node:path";

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
// osls loads these with everything else, and no job uses them.
const clients = ["api-gateway", "apigatewayv2", "cloudwatch", "iam"].map((name) => `@aws-sdk/client-${name}`);
for (const name of ["undici", "../lib/utils/download-template-from-repo.js", ...clients]) {
  const file = createRequire(command).resolve(name);
  require.cache[file] = Object.assign(new Module(file), { filename: file, loaded: true });
}
// To save its state, osls looks for each object among all before it, and catches the error where a value has no toJSON.
// That takes longer than to compile the stack.
const cycle = createRequire(command)("json-cycle") as { stringify: (...args: unknown[]) => string };
cycle.stringify = (state, ...others) => {
  const paths = new Map<unknown, string>();
  const withoutCycles = (given: unknown, path: string): unknown => {
    const { toJSON } = Object(given) as { toJSON?: unknown };
    const value = typeof toJSON === "function" ? toJSON.call(given) : given;
    if (typeof value !== "object" || value === null) return value;
    const before = paths.get(value);
    if (before !== undefined) return { $ref: before };
    paths.set(value, path);
    if (Array.isArray(value)) return value.map((one, index) => withoutCycles(one, `${path}[${index}]`));
    const members = Object.entries(value).map(([name, one]) => [
      name,
      withoutCycles(one, `${path}[${JSON.stringify(name)}]`),
    ]);
    return Object.fromEntries(members);
  };
  return JSON.stringify(withoutCycles(state, "$"), ...(others as []));
};
// The schema of serverless.yml is always the same, so its validator is made once, and refuses what serverless.yml and
// infra/functions.js do not name. With all that osls knows it is 8 MB of code, which take five seconds to write.
interface Schema {
  properties: {
    provider: { properties: Record<string, unknown> };
    functions: { patternProperties: Record<string, { properties: { events: { items: Events } } }> };
  };
}
interface Events {
  anyOf: { required: string[] }[];
}
const named = new Set(
  ["serverless.yml", "infra/functions.js"].flatMap((file) => {
    const text = readFileSync(join(import.meta.dirname, "../..", file), "utf8");
    return [...text.matchAll(/\b(\w+)\b/g)].map(([name]) => name);
  }),
);
const validators = require.resolve("osls/lib/classes/config-schema-handler/resolve-ajv-validate.js");
const validatorOf = require(validators) as (schema: Schema) => Promise<unknown>;
let validator: Promise<unknown> | undefined;
const validatorOnce = (schema: Schema) => {
  validator ??= validatorOf(schema);
  return validator;
};
Object.assign(require.cache[validators] ?? {}, { exports: validatorOnce });
// Before osls puts in place all that the schema refers to.
const { prototype } = require("osls/lib/classes/config-schema-handler/index.js") as {
  prototype: { schema: Schema; validateConfig: (config: unknown) => Promise<void> };
};
const { validateConfig } = prototype;
prototype.validateConfig = function (config) {
  if (validator !== undefined) {
    this.schema = { properties: { provider: { properties: { name: "aws" } }, functions: { patternProperties: {} } } };
    return validateConfig.call(this, config);
  }
  const { provider, functions } = this.schema.properties;
  const members = Object.values(functions.patternProperties).map(({ properties }) => properties);
  for (const { events } of members) {
    events.items.anyOf = events.items.anyOf.filter(({ required: [name = ""] }) => named.has(name));
  }
  for (const properties of [provider.properties, ...members]) {
    for (const name of Object.keys(properties)) if (!named.has(name)) Reflect.deleteProperty(properties, name);
  }
  return validateConfig.call(this, config);
};
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
