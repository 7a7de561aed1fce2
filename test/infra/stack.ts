import { type ChildProcess, fork } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { nodeEnv } from "../support/node-env.ts";
import type { Ended, Job } from "./osls.ts";

type Config = import("../../infra/config.js").Config;

const root = resolve(import.meta.dirname, "../..");

/** For osls in tests: neither credentials nor a region of this machine; what it compiles for itself is kept for the next run. */
export const oslsEnv = {
  ...nodeEnv,
  SLS_SCHEMA_CACHE_BASE_DIR: join(tmpdir(), "larkpost-osls-cache"),
};

export interface Resource {
  readonly Type: string;
  // biome-ignore lint/suspicious/noExplicitAny: a template is as deep as it likes; the specification is checked against it
  readonly Properties: Record<string, any>;
  readonly Metadata?: {
    readonly checkov?: { readonly skip: { id: string; comment: string }[] };
    readonly cfn_nag?: { readonly rules_to_suppress: { id: string; reason: string }[] };
  };
  readonly [attribute: string]: unknown;
}

export interface Template {
  readonly Resources: Readonly<Record<string, Resource>>;
  readonly Outputs: Readonly<Record<string, { Value: unknown; Export?: { Name: string } }>>;
}

export interface Compiled {
  readonly template: Template;
  /** The settings that osls acts on beside the template. */
  readonly provider: Readonly<Record<string, unknown>>;
  /** All that osls wrote, as one text. */
  readonly text: string;
}

interface Options {
  readonly params?: Readonly<Record<string, string>>;
  readonly env?: Readonly<Record<string, string>>;
  readonly config?: Config;
}

/** What must not get into a template, though it is in the environment that each is made in. */
export const canaries = {
  ENCRYPT_KEY: "canary-of-the-encrypt-key",
  VERIFICATION_TOKEN: "canary-of-the-verification-token",
  AWS_SECRET_ACCESS_KEY: "canary-of-the-secret-access-key",
};

/** A lane of each kind, for templates that test files share. */
export const lanes = {
  ai: {
    ...{ types: ["im.message.receive_v1"], order: "message.chat_id", timeoutSeconds: 600, concurrency: 200 },
    ...{ memoryMb: 1_024, attempts: 3, maxAgeSeconds: 900 },
  },
  bulk: { types: ["contact.*"], concurrency: 5 },
};

/** What has been compiled, by stage and options: test files that share their process ask for some alike. */
const compiled = new Map<string, Promise<Compiled>>();
/** The process that runs osls for this one. It waits for jobs without keeping this one alive. */
let osls: ChildProcess | undefined;
/** The jobs that it has, by their folders. */
const jobs = new Map<string, { ended: (ended: Ended) => void; failed: (reason: unknown) => void }>();

/**
 * Compiles serverless.yml for a stage as a deployment would, in a copy of the project with functions
 * of one line, without account or network. Nobody may change what it returns.
 *
 * @param options.env Has the app's id unless it says otherwise.
 * @param options.config The project's larkpost.config.js.
 */
export function compile(stage: string, options: Options = {}): Promise<Compiled> {
  const key = JSON.stringify([stage, options]);
  const promise = compiled.get(key) ?? compileAnew(stage, options);
  compiled.set(key, promise);
  return promise;
}

async function compileAnew(stage: string, options: Options): Promise<Compiled> {
  const { params = {}, env, config } = options;
  const folder = mkdtempSync(join(tmpdir(), "larkpost-stack-"));
  try {
    for (const name of ["serverless.yml", "package.json"]) cpSync(join(root, name), join(folder, name));
    for (const name of ["infra", "lib", "node_modules"]) symlinkSync(join(root, name), join(folder, name), "dir");
    for (const name of ["webhook", "callback", "worker"]) {
      mkdirSync(join(folder, "dist", name), { recursive: true });
      writeFileSync(join(folder, "dist", name, "index.mjs"), "export const handler = async () => {};\n");
    }
    if (config !== undefined) writeConfig(folder, config);
    const args = Object.entries(params).flatMap(([name, value]) => ["--param", `${name}=${value}`]);
    const { code, output } = await runOsls({
      folder,
      args: ["package", "--stage", stage, "--package", "out", ...args],
      env: { ...oslsEnv, ...canaries, APP_ID: "cli_0123456789abcdef", HOME: folder, ...env },
    });
    if (code !== 0) throw new Error(`osls cannot compile the stack:\n${output}`);
    const out = join(folder, "out");
    const read = (name: string) => readFileSync(join(out, name), "utf8");
    const state = JSON.parse(read("serverless-state.json")) as { service: { provider: Record<string, unknown> } };
    return {
      template: JSON.parse(read("cloudformation-template-update-stack.json")) as Template,
      provider: state.service.provider,
      text: readdirSync(out).map(read).join("\n"),
    };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Writes a project's larkpost.config.js. */
export function writeConfig(folder: string, config: Config): void {
  const source = `import { defineConfig } from "larkpost/config";\nexport default defineConfig(${JSON.stringify(config)});\n`;
  writeFileSync(join(folder, "larkpost.config.js"), source);
}

/** Has osls do one job, in the process that all jobs share. */
export async function runOsls(job: Job): Promise<Ended> {
  const { promise, resolve: ended, reject: failed } = Promise.withResolvers<Ended>();
  jobs.set(job.folder, { ended, failed });
  osls ??= start();
  osls.ref();
  osls.channel?.ref();
  osls.send(job);
  return promise;
}

function start(): ChildProcess {
  const child = fork(join(import.meta.dirname, "osls.ts"), { env: oslsEnv, execArgv: [] });
  child.on("message", (message: Ended) => {
    jobs.get(message.folder)?.ended(message);
    jobs.delete(message.folder);
    if (jobs.size > 0) return;
    child.unref();
    child.channel?.unref();
  });
  child.once("exit", (code, signal) => {
    for (const { failed } of jobs.values()) failed(new Error(`osls has ended with ${signal ?? code}`));
  });
  return child;
}

/** Every leaf of a value by its path, `Resources.EventsQueue.Properties.VisibilityTimeout` → 360. */
export function leaves(value: unknown, path: readonly string[] = []): Map<string, unknown> {
  if (typeof value !== "object" || value === null) return new Map([[path.join("."), value]]);
  return new Map(Object.entries(value).flatMap(([name, member]) => [...leaves(member, [...path, name])]));
}
