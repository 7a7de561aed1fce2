// first: its processes wait for stalled calls.
import { test } from "node:test";
import { faultRows } from "./rows/faults.ts";

const seed = Number(process.env["SEED"] ?? 20_275);

for (const row of faultRows) {
  test(`${row.id}: ${row.title} (sample of ${row.sample}, seed ${seed})`, async (t) => {
    t.diagnostic((await row.run({ n: row.sample, seed, progress: () => {} })) ?? "");
  });
}
