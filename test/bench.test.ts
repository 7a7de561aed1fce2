import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { stripVTControlCharacters } from "node:util";
import { type Comparison, compare, exitCode, interleave, type Row, type Samples, spread } from "./bench/measure.ts";
import { selfTimes } from "./bench/profile.ts";
import { table } from "./bench/table.ts";
import { command } from "./cli/run.ts";

const script = join(import.meta.dirname, "bench/main.ts");
const bench = (...args: readonly string[]) => command(args, { script, env: { HOME: folder } });
const folder = mkdtempSync(join(tmpdir(), "larkpost-bench-test-"));
after(() => rmSync(folder, { recursive: true, force: true }));

test("the bench runs each contestant once a round, and begins each round with another one", async () => {
  const order: string[] = [];
  const contestant = (name: string) => async () => ({ figure: order.push(name) });
  const samples = await interleave({ a: contestant("a"), b: contestant("b"), c: contestant("c") }, 3, () => {});
  assert.equal(order.join(""), "abcbcacab");
  assert.deepEqual(samples["b"], [{ figure: 2 }, { figure: 4 }, { figure: 9 }]);
});

test("the bench shows a median with its quartiles, between two values where there is none", () => {
  assert.deepEqual(spread([4, 1, 3, 2, 5]), { median: 3, low: 2, high: 4 });
  assert.deepEqual(spread([1, 2, 3, 4]), { median: 2.5, low: 1.75, high: 3.25 });
});

const comparison: Comparison = { what: "a row", figure: "cpuMs", by: "floor", must: 2 };
const samplesOf = (ours: readonly number[], floor: readonly number[]): Samples => {
  const toSamples = (values: readonly number[]) => values.map((cpuMs) => ({ cpuMs, wallMs: 10 * cpuMs }));
  return { floor: toSamples(floor), ours: toSamples(ours), "node-sdk": toSamples(floor.map((ms) => 3 * ms)) };
};

test("a ratio of the bench is the median of the rounds' own ratios, so that a slow round weighs on both sides", () => {
  // The medians' ratio would be 1.
  const { ratio, wall, medians, others } = compare(comparison, samplesOf([2, 40, 4], [1, 20, 4]));
  assert.deepEqual(ratio, { median: 2, low: 1.5, high: 2 });
  assert.deepEqual(wall, ratio);
  assert.deepEqual(medians, { floor: 4, ours: 4, "node-sdk": 12 });
  assert.equal(others["node-sdk"]?.median, 3);
});

const verdicts = [
  { when: "its median is at most what it must be", ours: [1, 2, 9], verdict: "met", code: 0 },
  { when: "a quarter of its rounds is, and the median is over it", ours: [1, 3, 9], verdict: "near", code: 0 },
  { when: "even that quarter is over it", ours: [2.5, 3, 9], verdict: "missed", code: 1 },
  { when: "a contestant failed", ours: [], verdict: "missed", code: 1 },
] as const;
for (const { when, ours, verdict, code } of verdicts) {
  test(`a row of the bench is ${verdict} when ${when}, and the bench then exits with ${code}`, () => {
    const row = compare(comparison, samplesOf(ours, [1, 1, 1]));
    assert.equal(row.verdict, verdict);
    assert.equal(exitCode([compare(comparison, samplesOf([1], [1])), row]), code);
  });
}

test("a row of the bench about growth divides by how much more work there is", () => {
  const { ratio, verdict } = compare({ ...comparison, times: 10, must: 1.1 }, samplesOf([10, 10, 20], [1, 1, 1]));
  assert.deepEqual([ratio.median, ratio.high, verdict], [1, 1.5, "met"]);
});

test("the bench's table has a line for each row: times, ratio, quartiles, what it must be, wall time and the official SDK", () => {
  const rows = [
    compare(comparison, samplesOf([30, 60, 60], [20, 20, 20])),
    compare({ what: "size", figure: "zipKB", must: 16 }, { ours: [{ zipKB: 143.96 }] }),
    compare({ what: "small", figure: "cpuMs", by: "node-sdk" }, samplesOf([0.02], [0.02])),
  ];
  const [heading = "", ...lines] = stripVTControlCharacters(table(rows)).trimEnd().split("\n");
  assert.deepEqual(cells(heading), ["ours", "beside", "ratio", "quartiles", "must", "wall", "node-sdk"]);
  assert.deepEqual(lines.map(cells), [
    ["a row", "60.0 ms", "20.0 ms", "3.00", "2.25–3.00", "≤ 2 ✗", "3.00", "3.00"],
    ["size", "144 KB", "≤ 16 ✗"],
    ["small", "20.0 µs", "60.0 µs", "0.33", "0.33–0.33", "0.33"],
  ]);
});

function cells(line: string): string[] {
  return line.trim().split(/ {2,}/);
}

test("a profile counts what Node's small modules do for whoever called them, and no idle time", () => {
  const frame = (functionName: string, url = "") => ({ functionName, url, lineNumber: 0, columnNumber: 0 });
  const nodes = [
    { id: 1, callFrame: frame("(root)"), children: [2, 3, 4, 6] },
    { id: 2, callFrame: frame("(idle)") },
    { id: 3, callFrame: frame("(garbage collector)") },
    { id: 4, callFrame: frame("send", "file:///dist/index.mjs"), children: [5, 7] },
    { id: 5, callFrame: frame("from", "node:buffer"), children: [] },
    { id: 6, callFrame: frame("onStreamRead", "node:internal/stream_base_commons") },
    { id: 7, callFrame: frame("compileForInternalLoader", "node:internal/bootstrap/realm") },
  ];
  const profile = { nodes, samples: [2, 3, 4, 5, 6, 7], timeDeltas: [900, 100, 200, 300, 400, 500] };
  const sourceOf = ({ url }: { url: string }) => (url.startsWith("file:") ? "/project/lib/aws/sqs.ts" : undefined);
  assert.deepEqual(Object.fromEntries(selfTimes([profile], sourceOf)), {
    "garbage collection": 0.1,
    "AWS client": 0.5,
    "node:https, TLS, sockets": 0.4,
    "module loading": 0.5,
  });
});

test("the bench prints its table, writes the same as JSON, and exits with 1 only when a row is missed", async () => {
  const file = join(folder, "bench.json");
  const ran = await bench("--only", "zip", "--json", file);
  const { node, rows } = JSON.parse(readFileSync(file, "utf8")) as { node: string; rows: readonly Row[] };
  assert.equal(node, process.version);
  assert.equal(ran.stdout, stripVTControlCharacters(table(rows)));
  assert.equal(ran.code, exitCode(rows));
  assert.ok((rows[0]?.medians["ours"] ?? 0) > 1, "the webhook's zip has a size");
});

test("the bench names what it measures when asked for something else", async () => {
  const names = "cold challenge open warm worker click";
  for (const [option, known] of [
    ["--only", `${names} zip scale`],
    ["--profile", names],
  ] as const) {
    assert.deepEqual(await bench(option, "speed"), {
      ...{ code: 2, stdout: "", stderr: `There is no speed. Names: ${known}\n` },
    });
  }
});
