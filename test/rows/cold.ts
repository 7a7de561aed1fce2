import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { build } from "../../lib/cli/deploy/build.ts";
import { type ColdStart, coldInstances } from "../support/cold-instances.ts";
import type { Row } from "./row.ts";

const percent = (share: number) => `${(100 * share).toFixed(2)} %`;

function print(perSecond: number, { requests, tookMs, reads, throttled, ...shares }: ColdStart): void {
  const { unavailable, unavailableLater, slowestMs } = shares;
  console.log(
    `K1  ${perSecond} reads a second: ${percent(unavailable)} of ${requests} requests got 503, ${percent(unavailableLater)} after 2 s; slowest ${slowestMs} ms; loaded in ${(tookMs / 1000).toFixed(1)} s; ${reads} reads, ${throttled} throttled`,
  );
}

/** Lambda starts 1,000 instances of a function in 10 s at most: https://docs.aws.amazon.com/lambda/latest/dg/scaling-behavior.html */
export const coldRows: readonly Row[] = [
  {
    id: "K1",
    title: "cold instances of the built webhook find their keys at Parameter Store's higher throughput",
    full: 1_000,
    sample: 24,
    async run({ n, progress }) {
      const folder = mkdtempSync(join(tmpdir(), "larkpost-"));
      try {
        const [webhook] = await build({ outFolder: folder, names: ["webhook"] });
        const file = webhook?.file ?? "";
        const high = await coldInstances(file, { count: n, perSecond: 10_000 });
        print(10_000, high);
        progress(n);
        // No bar: what the default throughput does, for comparison.
        print(40, await coldInstances(file, { count: n, perSecond: 40 }));
        assert.ok(high.unavailable <= 0.005, `${percent(high.unavailable)} of the requests got 503`);
        assert.equal(high.unavailableLater, 0, `${percent(high.unavailableLater)} got 503 after the first 2 s`);
        assert.ok(high.reads <= 1.1 * n, `${high.reads} reads: an instance needs one`);
      } finally {
        rmSync(folder, { recursive: true, force: true });
      }
    },
  },
];
