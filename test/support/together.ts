import { test } from "node:test";

// The test files that share this process. Each test is reported with the file it is in.
for (const file of JSON.parse(process.env["TESTS_TOGETHER"] ?? "[]") as string[]) {
  try {
    await import(file);
  } catch (error) {
    // Without this, no other file of this process would run.
    test(`cannot load ${file}`, () => Promise.reject(error));
  }
}
