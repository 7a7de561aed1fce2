import { join } from "node:path";
import { describeError } from "../../trace/error.ts";
import { toLine } from "../../trace/log.ts";
import type { TraceEntry } from "../../trace/trace.ts";
import { oneLine } from "../command.ts";
import { paint } from "../paint.ts";
import { engineRoot } from "../project.ts";
import { failureLines } from "../start/failure.ts";
import { payloadText } from "../start/payloads.ts";
import { headLine } from "../start/render.ts";
import type { RunReport } from "./run.ts";

/** A step of a run on this machine, with the error's place in the project. */
export function entryText(entry: TraceEntry, root: string): string {
  const { error } = entry;
  const detail = error instanceof Error ? (error.stack ?? String(error)) : String(error);
  const shown = { root, engineFolder: join(engineRoot, "lib"), sourceOf: () => undefined };
  const details = error === undefined ? [] : failureLines(detail, shown);
  const line = toLine(entry, describeError);
  return [headLine(line, { now: new Date(), isCallback: false, details }), ...details].join("\n");
}

/** What would have been sent and deferred, and what the worker would make of the run. */
export function runLines(report: Omit<RunReport, "lines"> & { isSent: boolean }): string[] {
  const { verdict, reason, delaySeconds, ended, seconds, calls, deferred, isSent } = report;
  const sent = calls.flatMap(({ method, path, body, isKnown }) => [
    `${paint("magenta", "would send")}  ${method} ${oneLine(path, 500)}${isKnown ? "" : "  (not simulated: answered with success, without data)"}`,
    ...(body === undefined || body === "" ? [] : indented(bodyText(body))),
  ]);
  const later = deferred.flatMap(({ payload, delaySeconds: seconds }) => [
    `${paint("magenta", "would defer")} to ${seconds} s later`,
    ...indented(payloadText(JSON.stringify(payload) ?? "null")),
  ]);
  const after = delaySeconds === undefined ? "" : `, after ${delaySeconds} s`;
  const meaning = {
    done: "done: redrive the letter, or drop it",
    again: `it fails, and would be tried again${after}`,
    dead: `it fails for good (${reason})`,
    unhandled: "there is no handler of this type: it would be completed as unhandled",
    ended: `it ends the process (${ended})`,
    blocked: `it blocks the process, which was ended after ${seconds} s: it loops, or waits without await`,
  }[verdict];
  return [
    ...sent,
    ...later,
    `${paint("bold", "Verdict")}     ${meaning}`,
    ...(isSent ? ["What it called was really called"] : []),
  ];
}

function indented(text: string): string[] {
  return text.split("\n").map((line) => `            ${line}`);
}

function bodyText(body: string): string {
  try {
    return payloadText(body);
  } catch {
    return oneLine(body);
  }
}
