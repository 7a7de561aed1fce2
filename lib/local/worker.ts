import type { Lane } from "../../infra/lanes.js";
import type { Functions } from "./functions.ts";
import { type PollerClient, startPoller } from "./poller.ts";

/** Feeds a worker function from a queue, as the deployed mapping does. */
export function startWorker(options: {
  readonly client: PollerClient;
  readonly queueUrl: string;
  readonly waitSeconds?: number;
  /** Its numbers, those of the queue included. */
  readonly lane: Pick<Lane, "batchSize" | "concurrency" | "timeoutSeconds" | "visibilityTimeoutSeconds">;
  readonly functions: Functions;
  readonly functionName: string;
  /** Called with what the function is about to be invoked with. */
  readonly onInvoke?: ((functionName: string, event: unknown) => void) | undefined;
  readonly onProblem: (problem: string) => void;
}) {
  const { lane, functions, functionName, onInvoke, ...poller } = options;
  const { batchSize, concurrency, timeoutSeconds, visibilityTimeoutSeconds } = lane;
  return startPoller({
    ...poller,
    batchSize,
    concurrency,
    visibilityTimeoutSeconds,
    async invoke(event) {
      // It may have crashed while the messages were received.
      await functions.whenUp(functionName);
      onInvoke?.(functionName, event);
      return functions.invoke(functionName, event, timeoutSeconds * 1000);
    },
    whenUp: () => functions.whenUp(functionName),
    // After this time, SQS has shown again each record that was being handled at the crash.
    hasCrashed: () => functions.hasCrashed(functionName, 3_000 * visibilityTimeoutSeconds),
  });
}

/** Whether a function's events come from a queue: each lane has one, `worker` or `workerAi`. */
export function isWorker(functionName: string): boolean {
  return functionName.startsWith("worker");
}

/** The variables of a lane's worker alone, as the deployed stack sets them. */
export function workerEnv({ attempts, maxReceiveCount, maxAgeSeconds, holdSeconds }: Lane): Record<string, string> {
  return {
    MAX_ATTEMPTS: String(attempts),
    MAX_RECEIVE_COUNT: String(maxReceiveCount),
    ...(maxAgeSeconds === null ? {} : { MAX_AGE_SECONDS: String(maxAgeSeconds) }),
    ...(holdSeconds === null ? {} : { HOLD_SECONDS: String(holdSeconds) }),
  };
}
