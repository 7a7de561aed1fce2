import { hash } from "node:crypto";
import type { Clock } from "../clock.ts";
import { NonRetryableError } from "../errors.ts";
import { type JobEnvelope, jobId } from "../feishu/envelope.ts";
import type { Context } from "../handler.ts";
import type { Run } from "./run.ts";
import type { PublishStage } from "./stages.ts";

/** How far a chain of deferred work may go: how many runs it may have, and for how long after its beginning. */
export interface ChainLimits {
  readonly maxDeferrals: number;
  readonly deferForSeconds: number;
}

/** Where deferred work goes. */
export interface Deferrals extends ChainLimits {
  /** Resolves once the job is durable. */
  readonly store: (job: JobEnvelope, options: { delaySeconds: number; signal: AbortSignal }) => Promise<void>;
}

/** The platform must have the answer before the job runs: a card that is updated earlier jumps back. */
const answerSeconds = 3;
/** SQS delays a message no longer. */
const maxDelaySeconds = 900;

/** Runs a handler with its `defer`. What it defers is stored when this settles, also where the handler does not await it. */
export async function withDeferral<T>(
  run: Pick<Run, "envelope" | "key" | "signal"> & {
    readonly deferrals: Deferrals;
    readonly clock: Clock;
    /** The handler's file, and whether it has a `deferred`. */
    readonly path: string;
    readonly hasDeferred: boolean;
    readonly publishStage: PublishStage;
  },
  handle: (defer: Context["defer"]) => T,
): Promise<Awaited<T>> {
  const { envelope, signal, deferrals, clock, publishStage } = run;
  const parent = envelope.kind === "job" ? envelope : undefined;
  const depth = 1 + (parent?.depth ?? 0);
  const chainStartedAtMs = parent?.chainStartedAtMs ?? clock.nowMs();
  const stored: Promise<void>[] = [];
  let isOver = false;
  try {
    return await handle((payload, { delaySeconds: requestedDelay = 0 } = {}) => {
      const refusal = refusalOf(requestedDelay);
      if (refusal !== undefined) return Promise.reject(refusal);
      const leastSeconds = envelope.kind === "callback" ? answerSeconds : 0;
      const delaySeconds = Math.ceil(Math.max(leastSeconds, requestedDelay));
      const storing = store(payload, delaySeconds).then(() =>
        publishStage({ stage: "deferred", level: "info", facts: { depth, delaySeconds } }),
      );
      // It is awaited below, so a rejection that the handler does not await is handled.
      storing.catch(() => {});
      stored.push(storing);
      return storing;
    });
  } finally {
    isOver = true;
    await Promise.all(stored);
  }

  function refusalOf(delaySeconds: number): Error | undefined {
    const problem = findProblem(delaySeconds);
    if (problem !== undefined) return new TypeError(`Cannot defer: ${problem}`);
    const limit = findLimit(delaySeconds);
    if (limit === undefined) return undefined;
    return Object.assign(new NonRetryableError(`Cannot defer: ${limit}`), { isMessageSafe: true });
  }

  function findProblem(delaySeconds: number): string | undefined {
    if (isOver || signal.aborted) return "the run is over";
    if (!run.hasDeferred) return `${run.path} has no deferred`;
    const isDelay = delaySeconds >= 0 && delaySeconds <= maxDelaySeconds;
    return isDelay ? undefined : `delaySeconds is not within 0 and ${maxDelaySeconds}`;
  }

  function findLimit(delaySeconds: number): string | undefined {
    const { maxDeferrals, deferForSeconds } = deferrals;
    if (depth > maxDeferrals) return `the chain has ${maxDeferrals} runs already (limits.maxDeferrals)`;
    const endsAtMs = chainStartedAtMs + deferForSeconds * 1000;
    if (clock.nowMs() + delaySeconds * 1000 <= endsAtMs) return undefined;
    return `the chain would be older than ${deferForSeconds} s (limits.deferForSeconds)`;
  }

  /** The n-th work that the run defers has the same id and key in each run, so it is done once. */
  async function store(payload: unknown, delaySeconds: number): Promise<void> {
    const n = stored.length + 1;
    const key = hash("sha256", JSON.stringify([run.key(), n]), "base64url");
    const root = parent?.root ?? envelope.id;
    const first = n === 1 ? "" : String(n);
    // In a chain it does not grow with the depth.
    const place = parent === undefined ? first : key.slice(0, 16);
    const of = envelope.kind === "job" ? envelope.of : envelope.kind;
    const job = { ...envelope, kind: "job", of, id: jobId(root, place), payload, root, place, key, depth } as const;
    await deferrals.store({ ...job, chainStartedAtMs }, { delaySeconds, signal });
  }
}
