import { HandlerTimeoutError } from "../errors.ts";
import type { EventEnvelope, JobEnvelope } from "../feishu/envelope.ts";
import { Claims, type ClaimsOptions, type Delivery, type Verdict } from "./claims.ts";
import { contextOf } from "./context.ts";
import { type Deferrals, withDeferral } from "./deferral.ts";
import type { Dispatch, DispatchJob, HandlerFile } from "./dispatcher.ts";
import { giveUp } from "./give-up.ts";
import { idempotencyKey } from "./idempotency.ts";
import { type Reactions, reactionsOf } from "./reactions.ts";
import { runWithin } from "./run.ts";
import { type PublishStage, stagePublisher } from "./stages.ts";
import type { MakeTools } from "./tools.ts";

export interface WorkerPorts extends Pick<ClaimsOptions, "ledger" | "clock" | "random" | "maxAttempts"> {
  readonly dispatch: Dispatch;
  readonly dispatchJob: DispatchJob;
  readonly tools: MakeTools;
  readonly deferrals: Deferrals;
  /** Makes a unique token. */
  readonly newOwner: () => string;
  /** Milliseconds until Lambda ends this function. */
  readonly remainingMs: () => number;
}

/** The end of a run's time, to store its outcome and answer the batch. */
export const reserveMs = 5_000;
/** A lease ends this long after its function, since the clocks of two machines differ. */
export const leaseMarginMs = 10_000;
/** A handler is not started with less time. */
const leastHandlerMs = 1_000;

/**
 * Envelope → verdict, at most one success per idempotency key: claims the key, runs the handler in the time that is left
 * and records the outcome.
 *
 * Never rejects for what a handler does. Rejects when the ledger fails before the handler runs, or when the handler's
 * success cannot be stored. The record must then come back.
 */
export async function consume(
  envelope: EventEnvelope | JobEnvelope,
  delivery: Delivery,
  ports: WorkerPorts,
): Promise<Verdict> {
  const { id, type, app } = envelope;
  const { clock, remainingMs } = ports;
  const { receives } = delivery;
  const startMs = clock.nowMs();
  const publishStage = stagePublisher(envelope, () => clock.nowMs() - startMs);
  const file = envelope.kind === "job" ? ports.dispatchJob(envelope) : ports.dispatch(type);
  if (file === undefined) {
    publishStage({ stage: "unhandled", level: "info" });
    return { kind: "done" };
  }
  const path = `functions/${envelope.kind === "job" ? "" : "events/"}${file.name}.ts`;
  const reactions = reactionsOf({ envelope, ports, publishStage });
  const claims = new Claims(delivery, {
    ...ports,
    publishStage,
    reactions,
    owner: ports.newOwner(),
    leaseEndsAtMs: startMs + remainingMs() + leaseMarginMs,
    input: inputOf(envelope),
    hasTime: () => remainingMs() > leastHandlerMs,
    giveUp: (death, key) => giveUp(envelope, death, { file, path, key, ports, publishStage }),
  });
  if (remainingMs() - reserveMs < leastHandlerMs) return claims.postpone();
  const idKey = idempotencyKey({ app, handler: file.name, id: envelope.kind === "job" ? envelope.key : id });
  // Loading the file may have crashed the process. A redelivery claims before it loads, so that such a crash counts.
  const verdict = receives > 1 ? await claims.claim(idKey) : undefined;
  const { lane } = delivery;
  return verdict ?? attempt(envelope, { file, path, lane, idKey, claims, reactions, ports, publishStage });
}

interface Attempt {
  readonly file: HandlerFile;
  readonly path: string;
  readonly lane: string | undefined;
  /** The key by the event's id. A handler may have its own. */
  readonly idKey: string;
  readonly claims: Claims;
  readonly reactions: Reactions;
  readonly ports: WorkerPorts;
  readonly publishStage: PublishStage;
}

/** Loads, claims and runs. All user code runs within the run's deadline. */
async function attempt(
  envelope: EventEnvelope | JobEnvelope,
  { file, path, lane, idKey, claims, reactions, ports, publishStage }: Attempt,
): Promise<Verdict> {
  const { clock } = ports;
  const { id, type, app, tenant } = envelope;
  const ms = ports.remainingMs() - reserveMs;
  if (ms < leastHandlerMs) return claims.postpone();
  const endsAtMs = clock.nowMs() + ms;
  const progress: { step: "load" | "key" | "claim" | "run" } = { step: "load" };
  const expired = () => {
    const advice = progress.step === "run" ? `. ${adviceFor(lane)}` : "";
    return new HandlerTimeoutError(`Cannot ${progress.step} ${path}: ${ms} ms have passed${advice}`);
  };
  let verdict: Verdict | undefined;
  try {
    await runWithin(envelope, { clock, ms, expired }, async (signal) => {
      const handler = await file.load();
      progress.step = "key";
      const input = inputOf(envelope);
      const ownKey = handler.key?.(input, { id, type, app, tenant });
      const hasOwnKey = typeof ownKey === "string" && ownKey !== "";
      const key = hasOwnKey ? idempotencyKey({ app, handler: file.name, id, ownKey }) : idKey;
      // After the deadline it must neither claim nor run.
      signal.throwIfAborted();
      progress.step = "claim";
      if (handler.dedupe === "off") await claims.leaveLedger();
      const remainingMs = () => Math.max(0, endsAtMs - clock.nowMs());
      verdict = await claims.claim(key);
      if (verdict === undefined && remainingMs() < leastHandlerMs) verdict = await claims.postpone();
      if (verdict !== undefined) return;
      const run = { envelope, key: () => key, signal, remainingMs };
      const tools = await ports.tools(run);
      signal.throwIfAborted();
      progress.step = "run";
      publishStage({ stage: "started", level: "info", facts: { attempt: claims.runs, redrives: claims.redrives } });
      const context = contextOf(run, { attempt: claims.runs, tools });
      const hasDeferred = handler.deferred !== undefined;
      const deferring = { ...run, deferrals: ports.deferrals, clock, path, hasDeferred, publishStage };
      const react = (emoji: string) => reactions.add(emoji, tools.reactions, (entry) => claims.storeReaction(entry));
      await withDeferral(deferring, (defer) => handler.handle(input, { ...context, defer, react }));
    });
  } catch (error) {
    // A leak of the file, like an unhandled rejection, does not change the verdict.
    if (verdict !== undefined) return verdict;
    if (progress.step === "run") return claims.fail(error);
    if (progress.step === "claim") {
      // The ledger failed, so the handler must not run, and no run counts.
      await claims.withdraw();
      throw error;
    }
    return (await claims.claimOne(idKey)) ?? claims.fail(error, progress.step);
  }
  return verdict ?? claims.complete();
}

function adviceFor(lane: string | undefined): string {
  const setting = lane === undefined ? "limits.workerTimeoutSeconds" : `lanes.${lane}.timeoutSeconds`;
  return `Raise ${setting} in larkpost.config.js (900 at most), or put the rest off with "defer"`;
}

function inputOf(envelope: EventEnvelope | JobEnvelope): unknown {
  return envelope.kind === "job" ? envelope.payload : envelope.event;
}
