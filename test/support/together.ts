import { AsyncResource } from "node:async_hooks";
import { mkdirSync } from "node:fs";
import { flushCompileCache } from "node:module";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { pathToFileURL } from "node:url";
import { systemClock, withDeadline } from "../../lib/clock.ts";
import { followingPromises } from "./test-process.ts";

const { lists, taken, limitMs } = JSON.parse(process.env["TESTS_TOGETHER"] ?? "{}") as {
  lists: readonly (readonly string[])[];
  /** A folder, in which each process marks the lists that it takes. */
  taken: string;
  limitMs: number;
};

// Test files that share this process. Each is a suite, so its hooks are for its own tests, and finds the environment and
// the length of stacks that the process began with. Each test is reported with the file it is in.
const env = { ...process.env };
const { stackTraceLimit } = Error;
let isIdle = true;
for (const [index, files] of lists.entries()) {
  for (const file of take(index) ? files : []) {
    isIdle = false;
    await describe(file, () => {
      after(() => {
        for (const name of Object.keys(process.env)) if (!(name in env)) delete process.env[name];
        Object.assign(process.env, env);
        Error.stackTraceLimit = stackTraceLimit;
      });
      // What the file calls `test` in is its own suite.
      return new AsyncResource("test file").runInAsyncScope(() => followingPromises(() => load(file)));
    });
  }
}
// node:test counts a process that reports nothing as a test, so one without files reports an empty suite.
if (isIdle) await describe("no file is left");

/** Takes a list, unless another process has. Of several that make the same folder at once, one succeeds. */
function take(index: number): boolean {
  try {
    mkdirSync(join(taken, String(index)));
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    return false;
  }
}

async function load(file: string): Promise<void> {
  try {
    const error = () => new Error(`its import has not ended for ${limitMs} ms`);
    await withDeadline(systemClock, { ms: limitMs, error }, () => import(pathToFileURL(file).href));
    // In a fresh clone, what this process has compiled need not be compiled by those beside it.
    flushCompileCache();
  } catch (error) {
    // Without this, no other file of this process would run.
    test(`cannot load ${file}`, () => Promise.reject(error));
  }
}
