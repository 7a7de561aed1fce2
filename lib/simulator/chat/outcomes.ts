import { jobId } from "../../feishu/envelope.ts";
import { endings, type Fact, type Trouble, troubles } from "./journal.ts";

/** Stages after which nothing changes what a callback's handler has done. */
const finalStages: ReadonlySet<unknown> = new Set(["handled", "duplicate", "late"]);

/** Follows the user's events and callbacks through the functions' trace, and records how their handlers ended. */
export function trackOutcomes(record: (fact: Fact) => void) {
  /** Events and jobs that have not ended. */
  const open = new Set<string>();
  /** Pending callbacks whose handler has deferred a job. */
  const deferred = new Set<string>();
  /** Pending callback → the last stage of its handler. */
  const stages = new Map<string, { stage?: unknown; reason?: string | undefined }>();

  return {
    eventPushed: (id: string): void => void open.add(id),
    callbackPushed(id: string): void {
      open.add(jobId(id));
      stages.set(id, {});
    },
    /** The functions have traced everything about a callback before it is answered, so its tracking ends here. */
    callbackAnswered(id: string): {
      deferred: string | null;
      trouble: Trouble | null;
      reason: string | null;
    } {
      const { stage, reason = null } = stages.get(id) ?? {};
      stages.delete(id);
      const job = deferred.delete(id) ? jobId(id) : null;
      if (job === null) open.delete(jobId(id));
      return { deferred: job, trouble: troubles.find((trouble) => trouble === stage) ?? null, reason };
    },
    /**
     * To be called with each entry of the functions' trace.
     * @param reason The first line of its error.
     */
    onStage(stage: unknown, id: unknown, type: unknown, reason?: string): void {
      if (typeof id !== "string") return;
      if (stage === "deferred" && open.has(jobId(id))) deferred.add(id);
      // A store that fails is traced too, before or after the handler. What the handler did counts.
      if (stages.has(id) && !finalStages.has(stages.get(id)?.stage)) stages.set(id, { stage, reason });
      const ending = endings.find((name) => name === stage);
      if (ending === undefined || !open.has(id)) return;
      if (ending !== "failed") open.delete(id);
      record({ what: "ended", id, type: typeof type === "string" ? type : "", stage: ending, reason: reason ?? null });
    },
  };
}
