// first: it runs many cases.
import { test } from "node:test";
import { rows } from "./rows/all.ts";

const seed = Number(process.env["SEED"] ?? 20_261);

for (const row of rows) {
  test(`${row.id}: ${row.title} (sample of ${row.sample}, seed ${seed})`, async () => {
    await row.run({ n: row.sample, seed, progress: () => {} });
  });
}
