import { styleText } from "node:util";
import type { Row } from "./measure.ts";

const columns = ["ours", "beside", "ratio", "quartiles", "must", "wall", "node-sdk"] as const;
const widths: Readonly<Record<(typeof columns)[number], number>> = {
  ours: 11,
  beside: 11,
  ratio: 8,
  quartiles: 13,
  must: 10,
  wall: 7,
  "node-sdk": 10,
};
const marks = { met: "✓", near: "≈", missed: "✗" };
const styles = { met: "green", near: "yellow", missed: "red" } as const;

/** The rows as text: medians, our share of what stands beside us with its quartiles, and what it must be. */
export function table(rows: readonly Row[]): string {
  const first = Math.max(...rows.map(({ what }) => what.length));
  const heading = columns.map((name) => name.padStart(widths[name])).join("");
  return [paint("dim", " ".repeat(first) + heading), ...rows.map((row) => line(row, first)), ""].join("\n");
}

function line(row: Row, first: number): string {
  const { what, of = "ours", by, must, verdict, ratio, wall } = row;
  const cells: Readonly<Record<(typeof columns)[number], string>> = {
    ours: figure(row, of),
    beside: by === undefined ? "" : figure(row, by),
    ratio: by === undefined ? "" : short(ratio.median),
    quartiles: by === undefined ? "" : `${short(ratio.low)}–${short(ratio.high)}`,
    must: must === undefined ? "" : `≤ ${must}${verdict === undefined ? "" : ` ${marks[verdict]}`}`,
    wall: wall === undefined ? "" : short(wall.median),
    "node-sdk": officialSdk(row),
  };
  const text = columns
    .map((name) => cells[name].padStart(widths[name]))
    .join("")
    .trimEnd();
  return what.padEnd(first) + (verdict === undefined ? text : paint(styles[verdict], text));
}

function officialSdk(row: Row): string {
  const spread = row.others["node-sdk"];
  if (spread === undefined) return "";
  return row.by === undefined ? figure(row, "node-sdk") : short(spread.median);
}

function figure({ figure, medians }: Row, name: string): string {
  const value = medians[name] ?? Number.NaN;
  if (figure.endsWith("Ms")) return value < 0.1 ? `${short(value * 1000)} µs` : `${short(value)} ms`;
  const unit = /(?:MiB|KB)$/.exec(figure)?.[0];
  return unit === undefined ? String(value) : `${short(value)} ${unit}`;
}

function short(value: number): string {
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2);
}

function paint(style: Parameters<typeof styleText>[0], text: string): string {
  return styleText(style, text, { stream: process.stdout });
}
