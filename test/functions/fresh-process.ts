import { execFile } from "node:child_process";
import { pathToFileURL } from "node:url";
import { promisify } from "node:util";
import { nodeEnv } from "../support/node-env.ts";

/** One call of a built function. */
export interface Step {
  readonly file: string;
  readonly event: unknown;
  /** Set from this step on, `null` unset. A function with others is loaded anew. */
  readonly settings?: Readonly<Record<string, string | null>>;
}

export interface Done {
  // biome-ignore lint/suspicious/noExplicitAny: whatever the function answers.
  readonly answer: any;
  /** The URLs of all modules that were loaded by the time of the answer. */
  readonly loaded: readonly string[];
  /** What was logged. */
  readonly lines: readonly string[];
}

const script = `
import { writeSync } from "node:fs";
import { registerHooks } from "node:module";
// A busy machine is no fault: time goes ten times slower. Pauses, of 0.1 s at most, take no longer.
const { now } = Date;
const { setTimeout: after } = globalThis;
const sinceMs = now();
Date.now = () => sinceMs + Math.round((now() - sinceMs) / 10);
globalThis.setTimeout = (fire, ms, ...rest) => after(fire, ms > 100 ? 10 * ms : ms, ...rest);
const loaded = [];
registerHooks({ load: (url, context, next) => (loaded.push(url), next(url, context)) });
const done = [];
let version = 0;
for (const { url, event, settings } of JSON.parse(process.env.STEPS)) {
  if (settings !== undefined) version++;
  for (const [name, value] of Object.entries(settings ?? {})) {
    if (value === null) delete process.env[name];
    else process.env[name] = value;
  }
  const { handler } = await import(url + (version === 0 ? "" : "?" + version));
  done.push({ answer: await handler(event), loaded: [...loaded] });
  writeSync(1, "\\0");
}
process.stderr.write(JSON.stringify(done), () => process.exit());`;

/**
 * Calls built functions in one fresh process, one after the other, and says of each call what came of it.
 * A process that hangs is ended after a minute, and the promise rejects.
 */
export async function inFreshProcess(
  steps: readonly Step[],
  settings: Readonly<Record<string, string | undefined>>,
): Promise<Done[]> {
  const STEPS = JSON.stringify(steps.map(({ file, ...step }) => ({ ...step, url: pathToFileURL(file).href })));
  const { stdout, stderr } = await promisify(execFile)(process.execPath, ["--input-type=module", "-e", script], {
    env: { ...nodeEnv, ...settings, STEPS },
    timeout: 60_000,
    maxBuffer: 10_000_000,
  });
  const logs = stdout.split("\0").map((log) => log.split("\n").filter((line) => line !== ""));
  return (JSON.parse(stderr) as Omit<Done, "lines">[]).map((one, index) => ({ ...one, lines: logs[index] ?? [] }));
}
