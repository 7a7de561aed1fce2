// alone: it measures.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { promisify } from "node:util";
import type { Row } from "./bench/measure.ts";

const run = promisify(execFile);
const main = join(import.meta.dirname, "bench/main.ts");
const folder = mkdtempSync(join(tmpdir(), "larkpost-bench-test-"));
after(() => rmSync(folder, { recursive: true, force: true }));

test("the bench prints a line for each thing measured, with ratios and targets, and writes the same as JSON", async () => {
  const file = join(folder, "bench.json");
  const { stdout } = await run(process.execPath, [main, "--rounds", "1", "--only", "open", "--json", file]);
  const { rounds, node, rows } = JSON.parse(readFileSync(file, "utf8")) as {
    rounds: number;
    node: string;
    rows: Row[];
  };
  assert.deepEqual([rounds, node], [1, process.version]);
  const names = ["1 KB", "10 KB", "100 KB", "1 MB"].flatMap((size) => [`${size} of ASCII`, `${size} of Chinese`]);
  assert.deepEqual(
    rows.map(({ what }) => what),
    [...names, "100 KB of small members"],
  );

  const [heading, columns, ...lines] = stdout.trimEnd().split("\n");
  assert.match(heading ?? "", /^Verify, decrypt, parse/);
  assert.match(columns ?? "", /^ +floor +ours +peer +ours ÷ floor +ours ÷ peer$/);
  assert.equal(lines.length, rows.length);
  for (const [index, { what, unit, medians, ratios }] of rows.entries()) {
    assert.match(
      lines[index] ?? "",
      new RegExp(`^  ${what}(  +[\\d.]+ µs){3}(  +[\\d.]+ \\([\\d.]+–[\\d.]+\\)( ≤ [\\d.]+ [✓✗])?){2}$`),
    );
    assert.equal(unit, "µs");
    for (const name of ["floor", "ours", "peer"] as const) assert.ok((medians[name] ?? 0) > 0, `${what}: ${name}`);
    const size = what.startsWith("1 KB") ? "small" : names.includes(what) ? "larger" : "extra";
    assert.deepEqual(
      ratios.map(({ to, target }) => [to, target !== undefined]),
      [
        ["floor", size !== "extra"],
        ["peer", size === "small"],
      ],
    );
  }
});

test("the bench names the sections there are when asked for another", async () => {
  await assert.rejects(run(process.execPath, [main, "--only", "speed"]), {
    code: 2,
    stderr: "There is no section speed. Sections: cold first open warm record callback\n",
  });
});
