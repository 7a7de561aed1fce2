import { toLine } from "../../lib/trace/log.ts";
import { subscribe, type TraceEntry } from "../../lib/trace/trace.ts";

const recordings = new Set<TraceEntry[]>();

/** The message of an entry's line. */
export function messageOf(entry: TraceEntry | undefined): string {
  return entry === undefined ? "" : String(toLine(entry)["message"]);
}

/** Collects what the flow tells; no line is printed meanwhile. Each test file of a process has a recording of its own. */
export function recordTrace(): { entries: TraceEntry[]; stages: () => string[]; stop: () => void } {
  const entries: TraceEntry[] = [];
  recordings.add(entries);
  const unsubscribe = subscribe("log", (entry) => {
    for (const recording of recordings) recording.push(entry);
  });
  const stop = () => {
    recordings.delete(entries);
    if (recordings.size === 0) unsubscribe();
  };
  return { entries, stages: () => entries.map(({ stage }) => stage), stop };
}
