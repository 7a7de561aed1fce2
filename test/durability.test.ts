// first: it waits for a visibility timeout.
import { test } from "node:test";
import { runtimeRows } from "./rows/runtime.ts";

const seed = Number(process.env["SEED"] ?? 20_262);

for (const row of runtimeRows) {
  test(`${row.id}: ${row.title} (sample of ${row.sample}, seed ${seed})`, async () => {
    await row.run({ n: row.sample, seed, progress: () => {} });
  });
}
