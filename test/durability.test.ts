import { test } from "node:test";
import { runtimeRows } from "./rows/runtime.ts";

// A file of its own: it waits for a visibility timeout, and other files run meanwhile.
const seed = Number(process.env["SEED"] ?? 20_262);

for (const row of runtimeRows) {
  test(`${row.id}: ${row.title} (sample of ${row.sample}, seed ${seed})`, async () => {
    await row.run({ n: row.sample, seed, progress: () => {} });
  });
}
