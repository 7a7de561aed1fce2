import { fieldsOf, stringOf } from "../../feishu/json.ts";
import { oneLine } from "../command.ts";
import { paint } from "../paint.ts";
import { headLine, isOutcome, nestedText } from "../start/render.ts";
import type { LogEntry } from "../state/recent.ts";

// Lines of the log for a person: one by one, or all of an event.

/** The event's id. That of deferred work begins with its callback's, and a `#`. */
export function rootOf(id: string): string {
  return id.split("#", 1).join();
}

/** What became of an event, a callback or deferred work. */
export interface Verdict {
  /** The stage that says it; `running` (or `blocked`) and `queued` before there is one; `leaked` for a run that is handled and leaked. */
  readonly verdict: string;
  /** The line of it. */
  readonly entry: LogEntry;
}

/** Whether an outcome of a delivery changes nothing for the event: it has run before, or waits. */
function isPassing({ stage, reason }: LogEntry["line"]): boolean {
  if (stage === "failed") return reason === "ledger" || reason === "visibility" || reason === "give-up";
  return stage === "duplicate" || stage === "busy" || stage === "postponed";
}

/** @param entries Of one id, oldest first, at least one. */
export function verdictOf(entries: readonly LogEntry[]): Verdict | undefined {
  let found: Verdict | undefined;
  let hasLeaked = false;
  for (const entry of entries) {
    const stage = String(entry.line["stage"]);
    const { of } = entry.line;
    const before = found?.verdict ?? "queued";
    hasLeaked = stage === "leaked" || (hasLeaked && stage !== "started");
    if (stage === "started") found = { verdict: "running", entry };
    else if (stage === "blocked") found = { verdict: stage, entry };
    else if (isOutcome(stage) && !isPassing(entry.line)) found = { verdict: stage, entry };
    // The worker may have begun before the line is written.
    else if (stage === "redriven" && before === "dead") found = { verdict: "queued", entry };
    else if (stage === "postponed") found ??= { verdict: "queued", entry };
    // The line of the run itself was lost with its process.
    else if (/^(?:running|blocked|ended)$/.test(before) && (of === "done" || of === "dead")) {
      found = { verdict: of === "dead" ? of : "handled", entry };
    } else if (isOutcome(stage) && before === "queued") found = { verdict: stage, entry };
    // The webhook's line may come after the worker's.
    else if (stage === "queued") found ??= { verdict: stage, entry };
  }
  // What leaks as the run ends does not fail it any more.
  return hasLeaked && found?.verdict === "handled" ? { ...found, verdict: "leaked" } : found;
}

/** An entry as JSON has it. */
export function entryFacts({ atMs, source, line }: LogEntry) {
  return { ...line, time: new Date(atMs).toISOString(), function: source };
}

/** The local day: `2026-01-31`. */
export function dayOf(atMs: number): string {
  const date = new Date(atMs);
  return [date.getFullYear(), date.getMonth() + 1, date.getDate()]
    .map((part) => String(part).padStart(2, "0"))
    .join("-");
}

/**
 * A line as `npm start` prints it, with its whole id.
 * @param day The day of the line before. Another day is named.
 */
export function logText(entry: LogEntry, day = dayOf(Date.now())): { text: string; day: string } {
  const { atMs, source, line } = entry;
  const head = headLine(line, { now: new Date(atMs), isCallback: isCallback(source), isWhole: true });
  const own = dayOf(atMs);
  return { text: [...(own === day ? [] : [paint("dim", own)]), head, ...errorLines(line)].join("\n"), day: own };
}

/** Whether somebody may wait for the function's answer. Each lane has a worker of its own. */
function isCallback(source: string): boolean {
  return !source.startsWith("worker");
}

/** Where an error was thrown, and what caused it. */
function errorLines({ at, frames, causes }: LogEntry["line"]): string[] {
  const places = Array.isArray(frames) ? frames : [at].filter((place) => place !== undefined);
  const causeLine = (cause: unknown) => {
    const { errorClass, errorCode, at: place, message } = fieldsOf(cause);
    const parts = [errorClass, errorCode, place, message].filter((part) => part !== undefined);
    return `caused by ${parts.join("  ")}`;
  };
  const lines = [...places.map((place) => `at ${place}`), ...(Array.isArray(causes) ? causes.map(causeLine) : [])];
  return lines.map((line) => nestedText(paint("dim", oneLine(line, 300))));
}

/** All of an event from its push on: when, in which function, and what. */
export function timelineLines(entries: readonly LogEntry[]): string[] {
  const startMs = entries[0]?.atMs ?? 0;
  const rows = entries.map((entry) => {
    const { atMs, source, line } = entry;
    const id = stringOf(line["id"]) ?? "";
    const place = `${source}${id.slice(rootOf(id).length)}`;
    return { after: `+${span(atMs - startMs)}`, place, line, isCallback: isCallback(source) };
  });
  const widthOf = (texts: readonly string[]) => Math.max(...texts.map(({ length }) => length));
  const afterWidth = widthOf(rows.map(({ after }) => after));
  const placeWidth = widthOf(rows.map(({ place }) => place));
  return rows.flatMap(({ after, place, line, ...shown }) => {
    const what = headLine({ ...line, type: undefined, id: undefined }, shown);
    const when = paint("dim", after.padStart(afterWidth));
    return [
      `  ${when}  ${oneLine(place, 100).padEnd(placeWidth)}  ${what}`,
      ...errorLines(line).map((text) => `  ${text}`),
    ];
  });
}

/** `12 ms`, `3.4 s`, `51 min`, `2 h 5 min` */
export function span(ms: number): string {
  if (ms < 1_000) return `${Math.max(0, ms)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)} s`;
  const minutes = Math.floor(ms / 60_000);
  if (minutes < 10) return `${minutes} min ${Math.floor((ms % 60_000) / 1000)} s`;
  return minutes < 120 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}
