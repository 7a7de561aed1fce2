import { styleText } from "node:util";

type Style = Parameters<typeof styleText>[0];

const styles: Readonly<Record<string, Style>> = {
  queued: "cyan",
  handled: "green",
  started: "dim",
  duplicate: "yellow",
  busy: "yellow",
  unhandled: "yellow",
  misdirected: "yellow",
  refused: "red",
  failed: "red",
  dead: ["red", "bold"],
  leaked: "red",
  unavailable: "red",
  quarantined: "magenta",
  challenged: "cyan",
  log: "bold",
};

/** Facts shown by their own words; the rest are for machines. */
const quiet = new Set([
  "level",
  "stage",
  "id",
  "type",
  "app",
  "ms",
  "requestId",
  "message",
  "fingerprint",
  "at",
  "errorCode",
]);

/** A stage as one line for a person: time, stage, type, id, how long, and what else there is to know. */
export function humanLine(line: Readonly<Record<string, unknown>>, detail: string | undefined, now: Date): string {
  const paint = (style: Style, text: string) => styleText(style, text, { stream: process.stdout });
  const stage = String(line["stage"]);
  const facts = Object.entries(line)
    .filter(([name, value]) => !quiet.has(name) && value !== undefined && value !== null)
    .map(([name, value]) => `${name} ${String(value)}`);
  const parts = [
    paint("dim", now.toTimeString().slice(0, 8)),
    paint(styles[stage] ?? "reset", stage.padEnd(11)),
    stage === "log" ? String(line["message"] ?? "") : undefined,
    text(line["type"]),
    shortId(line["id"]),
    line["ms"] === undefined ? undefined : `${String(line["ms"])} ms`,
    facts.length > 0 ? paint("dim", facts.join(", ")) : undefined,
    stage === "log" ? undefined : text(line["message"]),
  ];
  const shown = parts.filter((part) => part !== undefined && part !== "").join("  ");
  return detail === undefined || stage === "refused" ? shown : `${shown}\n${paint("dim", indent(detail))}`;
}

function text(value: unknown): string | undefined {
  return typeof value === "string" ? value : undefined;
}

/** Enough of an id to tell it from its neighbours. */
function shortId(value: unknown): string | undefined {
  return typeof value === "string" && value.length > 20 ? `${value.slice(0, 8)}…${value.slice(-4)}` : text(value);
}

function indent(detail: string): string {
  return detail
    .split("\n")
    .slice(0, 8)
    .map((line) => `            ${line.trimStart()}`)
    .join("\n");
}
