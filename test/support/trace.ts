import { subscribe, type TraceEntry } from "../../lib/trace/trace.ts";

/** Collects what the flow tells; no line is printed meanwhile. */
export function recordTrace(): { entries: TraceEntry[]; stages: () => string[]; stop: () => void } {
  const entries: TraceEntry[] = [];
  const stop = subscribe("log", (entry) => entries.push(entry));
  return { entries, stages: () => entries.map(({ stage }) => stage), stop };
}
