import type { SQSClient } from "@aws-sdk/client-sqs";
import type { limits as defaultLimits } from "../../infra/limits.js";
import type { Functions } from "./functions.ts";
import { startPoller } from "./poller.ts";

/** Feeds the worker function from its queue, as the deployed mapping does. */
export function startWorker(options: {
  readonly client: SQSClient;
  readonly queueUrl: string;
  /** The queue's. */
  readonly visibilityTimeoutSeconds: number;
  readonly waitSeconds?: number;
  readonly limits: typeof defaultLimits;
  readonly functions: Functions;
  /** Called with what the function is about to be invoked with. */
  readonly onInvoke?: ((functionName: string, event: unknown) => void) | undefined;
  readonly onProblem: (problem: string) => void;
}) {
  const { limits, functions, onInvoke, ...poller } = options;
  return startPoller({
    ...poller,
    batchSize: limits.batchSize,
    concurrency: limits.maxConcurrency,
    async invoke(event) {
      // It may have crashed while the messages were received.
      await functions.whenUp("worker");
      onInvoke?.("worker", event);
      return functions.invoke("worker", event, limits.workerTimeoutSeconds * 1000);
    },
    whenUp: () => functions.whenUp("worker"),
    // By the end of this time, SQS has shown each record again that was being handled at the crash.
    hasCrashed: () => functions.hasCrashed("worker", 3_000 * options.visibilityTimeoutSeconds),
  });
}
