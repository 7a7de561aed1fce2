import { publish, type TraceEntry } from "../trace/trace.ts";
import type { Run } from "./run.ts";

export type PublishStage = (entry: Pick<TraceEntry, "stage" | "level" | "facts" | "error" | "description">) => void;

/** Publishes the stages of one envelope, each with the envelope's ids and the time that has passed. */
export function stagePublisher({ id, type, app, requestId }: Run["envelope"], elapsedMs: () => number): PublishStage {
  return (entry) => publish({ id, type, app, ms: elapsedMs(), requestId, ...entry });
}
