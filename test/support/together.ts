import { AsyncResource } from "node:async_hooks";
import { basename } from "node:path";
import { after, describe, test } from "node:test";
import { pathToFileURL } from "node:url";
import { systemClock, withDeadline } from "../../lib/clock.ts";

const { files, limitMs } = JSON.parse(process.env["TESTS_TOGETHER"] ?? "{}") as {
  files: Readonly<Record<string, readonly string[]>>;
  limitMs: number;
};

// The test files that share this process. Each is a suite, so its hooks are for its own tests, and finds the environment
// that the process began with. Each test is reported with the file it is in.
const env = { ...process.env };
let loaded = Promise.resolve();
for (const file of files[basename(process.argv[1] ?? "")] ?? []) {
  describe(file, () => {
    after(() => {
      for (const name of Object.keys(process.env)) if (!(name in env)) delete process.env[name];
      Object.assign(process.env, env);
    });
    // One file is loaded after the other, and what it calls `test` in is its own suite.
    const suite = new AsyncResource("test file");
    loaded = loaded.then(() => suite.runInAsyncScope(load, undefined, file));
    return loaded;
  });
}

async function load(file: string): Promise<void> {
  try {
    const error = () => new Error(`its import has not ended for ${limitMs} ms`);
    await withDeadline(systemClock, { ms: limitMs, error }, () => import(pathToFileURL(file).href));
  } catch (error) {
    // Without this, no other file of this process would run.
    test(`cannot load ${file}`, () => Promise.reject(error));
  }
}
