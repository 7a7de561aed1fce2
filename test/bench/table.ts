import { styleText } from "node:util";
import type { Contender, Ratio, Row } from "./measure.ts";

const widths = { what: 44, figure: 10, ratio: 26 };

/** The rows as text: a heading for each section, medians, and our ratios with their quartiles and targets. */
export function table(rows: readonly Row[], headings: ReadonlyMap<string, string>): string {
  const lines: string[] = [];
  let section = "";
  for (const row of rows) {
    if (row.section !== section) {
      section = row.section;
      lines.push("", paint("bold", headings.get(section) ?? section), heading());
    }
    lines.push(line(row));
  }
  return `${lines.join("\n").trimStart()}\n`;
}

function heading(): string {
  const names = ["floor", "ours", "peer"].map((name) => name.padStart(widths.figure));
  const ratios = ["ours ÷ floor", "ours ÷ peer"].map((name) => `  ${name}`.padEnd(widths.ratio));
  return paint("dim", [" ".repeat(widths.what), ...names, ...ratios].join("").trimEnd());
}

function line({ what, unit, medians, ratios }: Row): string {
  const figure = (name: Contender) => {
    const value = medians[name];
    return (value === undefined ? "" : `${short(value)} ${unit}`).padStart(widths.figure);
  };
  const ratio = (to: Ratio["to"]) => {
    const found = ratios.find((one) => one.to === to);
    return found === undefined ? " ".repeat(widths.ratio) : cell(found);
  };
  const cells = [figure("floor"), figure("ours"), figure("peer"), ratio("floor"), ratio("peer")];
  return `  ${what}`.padEnd(widths.what) + cells.join("").trimEnd();
}

function cell({ median, low, high, target }: Ratio): string {
  const text = `  ${median.toFixed(2)} (${low.toFixed(2)}–${high.toFixed(2)})`;
  if (target === undefined) return text.padEnd(widths.ratio);
  const mark = target.isMet ? "✓" : "✗";
  return paint(target.isMet ? "green" : "red", `${text} ≤ ${target.atMost} ${mark}`.padEnd(widths.ratio));
}

function short(value: number): string {
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2);
}

function paint(style: Parameters<typeof styleText>[0], text: string): string {
  return styleText(style, text, { stream: process.stdout });
}
