import { test } from "node:test";
import { pathToFileURL } from "node:url";
import { systemClock, withDeadline } from "../../lib/clock.ts";

const { files, limitMs } = JSON.parse(process.env["TESTS_TOGETHER"] ?? '{"files":[]}') as {
  files: string[];
  limitMs: number;
};

// The test files that share this process. Each test is reported with the file it is in.
for (const file of files) {
  try {
    const error = () => new Error(`its import has not ended for ${limitMs} ms`);
    await withDeadline(systemClock, { ms: limitMs, error }, () => import(pathToFileURL(file).href));
  } catch (error) {
    // Without this, no other file of this process would run.
    test(`cannot load ${file}`, () => Promise.reject(error));
  }
}
