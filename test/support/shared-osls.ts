import childProcess, { type SpawnOptions } from "node:child_process";
import { EventEmitter } from "node:events";
import { syncBuiltinESMExports } from "node:module";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { runOsls } from "../infra/stack.ts";

/** One run of osls, in place of its process. */
type Run = (
  args: readonly string[],
  env: Readonly<Record<string, string>>,
) => Promise<{ readonly code: number; readonly output: string }>;

/** The projects, by their folders, whose osls is another function. */
const projects = new Map<string, Run>();
const oslsScript = join("osls/bin/serverless.js");
const { spawn } = childProcess;

/**
 * Has each run of osls in this project done by a function. A process would take more than most commands do, and with it
 * this process copies the memory that it writes to next.
 * @returns Takes it back.
 */
export function runOslsBy(root: string, run: Run): () => void {
  projects.set(root, run);
  replaceSpawn(spawnOutside);
  return () => {
    projects.delete(root);
    if (projects.size === 0) replaceSpawn(spawn);
  };
}

/**
 * Gives a temporary project an osls that has each of its runs done by the process that the tests share: to load it takes
 * ten times as long as what it does.
 */
export function shareOsls(root: string) {
  const runs: { readonly args: readonly string[]; readonly output: string }[] = [];
  const stop = runOslsBy(root, async (args, env) => {
    const ended = await runOsls({ folder: root, args, env });
    runs.push({ args, output: ended.output });
    return ended;
  });
  return {
    /** What it was asked since the start, and printed. */
    runs,
    stop,
  };
}

function replaceSpawn(by: unknown): void {
  Object.assign(childProcess, { spawn: by });
  syncBuiltinESMExports();
}

function spawnOutside(...given: readonly unknown[]): unknown {
  const [, args, options] = given as [string, (readonly string[])?, SpawnOptions?];
  const run = projects.get(String(options?.cwd));
  if (run === undefined || args?.[0]?.endsWith(oslsScript) !== true) return Reflect.apply(spawn, childProcess, given);
  // What the command prints to its own terminal is not asked for.
  const stdout = options?.stdio === "inherit" ? null : new PassThrough();
  const child = Object.assign(new EventEmitter(), { stdout, stderr: null });
  run(args.slice(1), { ...(process.env as Record<string, string>) }).then(
    ({ code, output }) => {
      if (stdout === null) child.emit("close", code);
      else stdout.once("end", () => child.emit("close", code)).end(output);
    },
    (error: unknown) => child.emit("error", error),
  );
  return child;
}
