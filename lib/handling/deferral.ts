import { type CallbackEnvelope, type JobEnvelope, jobId } from "../feishu/envelope.ts";
import type { LoadedCallback } from "./dispatcher.ts";
import type { PublishStage } from "./stages.ts";

/** The `defer` of one callback's run. */
export function deferral(options: {
  readonly envelope: CallbackEnvelope;
  readonly handler: LoadedCallback;
  readonly signal: AbortSignal;
  readonly store: (job: JobEnvelope, signal: AbortSignal) => Promise<void>;
  readonly publishStage: PublishStage;
}) {
  const { envelope, handler, signal, store, publishStage } = options;
  let storing: Promise<void> | undefined;
  let isClosed = false;

  return {
    /** Refuses further jobs and resolves when the job is stored. */
    async close(): Promise<void> {
      isClosed = true;
      await storing;
    },
    defer(payload: unknown): Promise<void> {
      const problem = findProblem();
      if (problem !== undefined) return Promise.reject(new TypeError(`Cannot defer: ${problem}`));
      const { kind: _, ...callback } = envelope;
      const job: JobEnvelope = { ...callback, kind: "job", id: jobId(envelope.id), payload };
      storing = store(job, signal).then(() => publishStage({ stage: "deferred", level: "info" }));
      // `close` reports the rejection, so one that the handler does not await is handled.
      storing.catch(() => {});
      return storing;
    },
  };

  function findProblem(): string | undefined {
    if (isClosed || signal.aborted) return "the callback is answered already";
    if (storing !== undefined) return "the callback has deferred already";
    if (handler.deferred === undefined) return `functions/callbacks/${handler.name}.ts has no deferred`;
    return undefined;
  }
}
