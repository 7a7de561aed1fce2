import type { Clock } from "../clock.ts";
import { HandlerTimeoutError, InvalidAnswerError, isError } from "../errors.ts";
import { checkAnswer, type JsonAnswer } from "../feishu/answers.ts";
import type { CallbackEnvelope } from "../feishu/envelope.ts";
import type { Answer } from "../receiving/receiver.ts";
import type { Signer } from "../signed-value.ts";
import { type AnswerStore, answeredOnce, StoreFailure } from "./answered-once.ts";
import { isSmoke, missingMember, readCard, UntrustedValueError } from "./card-action.ts";
import { contextOf } from "./context.ts";
import { type Deferrals, withDeferral } from "./deferral.ts";
import { type DispatchCallback, smokeType } from "./dispatcher.ts";
import { type Failure, fallback } from "./fallback.ts";
import { idempotencyKey } from "./idempotency.ts";
import { runWithin } from "./run.ts";
import { stagePublisher } from "./stages.ts";
import type { MakeTools } from "./tools.ts";

export interface CallbackPorts {
  readonly dispatch: DispatchCallback;
  readonly answers: AnswerStore;
  readonly deferrals: Deferrals;
  readonly signer: Signer;
  readonly tools: MakeTools;
  readonly clock: Clock;
  readonly newOwner: () => string;
  /** Milliseconds from the request's beginning until a fallback is sent instead of the handler's answer. */
  readonly deadlineMs: number;
}

/** A handler is not started with less time. */
const leastHandlerMs = 50;

/**
 * Callback → Answer, once per callback: claims, runs the handler against the deadline, checks its answer and stores it.
 * Never rejects and always answers 200. The client shows any other status as an error of its own, and the platform does
 * not send the callback again.
 */
export async function answerCallback(
  envelope: CallbackEnvelope,
  ports: CallbackPorts,
  { elapsedMs }: { elapsedMs: () => number },
): Promise<Answer> {
  const { id, type, app } = envelope;
  const { clock, deadlineMs } = ports;
  const publishStage = stagePublisher(envelope, elapsedMs);
  const leftMs = () => deadlineMs - elapsedMs();

  const missing = missingMember(envelope);
  if (missing !== undefined) {
    publishStage({ stage: "failed", level: "error", facts: { reason: "incomplete", field: missing } });
    return toAnswer(fallbackAnswer(type, "failed"));
  }
  const loading = ports.dispatch(isSmoke(envelope) ? smokeType : type);
  if (loading === undefined) {
    publishStage({ stage: "unhandled", level: "warn" });
    return toAnswer(fallbackAnswer(type, "unhandled"));
  }

  const { claim, storeAnswer } = answeredOnce({
    store: ports.answers,
    owner: ports.newOwner(),
    clock,
    leftMs,
    publishStage,
  });
  let hasRun = false;
  /** The error made here for a bad answer. A handler's own errors never set it, because their `field` must not be logged. */
  let invalid: InvalidAnswerError | undefined;
  let answer: JsonAnswer;
  const path = `functions/callbacks/${type}.ts`;
  const expired = () => new HandlerTimeoutError(`Cannot answer with ${path}: ${deadlineMs} ms are over`);
  try {
    answer = await runWithin(envelope, { clock, ms: leftMs(), endsAtLeak: true, expired }, async (signal) => {
      const handler = await loading;
      const { event, ...card } = await readCard(envelope, handler, ports);
      const key = () => idempotencyKey({ app, handler: `callbacks/${handler.name}`, id });
      const earlier = handler.dedupe === "off" ? undefined : await claim(key(), signal);
      if (earlier !== undefined) return earlier;
      const run = { envelope, key, signal, remainingMs: () => Math.max(0, leftMs()) };
      const tools = await ports.tools(run);
      if (leftMs() < leastHandlerMs) {
        throw new HandlerTimeoutError(`Cannot start ${path}: no time is left`);
      }
      publishStage({ stage: "started", level: "info" });
      const context = { ...contextOf(run, { attempt: 1, tools }), ...card };
      const hasDeferred = handler.deferred !== undefined;
      const deferring = { ...run, deferrals: ports.deferrals, clock, path, hasDeferred, publishStage };
      const returned = await withDeferral(deferring, (defer) => handler.handle(event, { ...context, defer }));
      signal.throwIfAborted();
      const checked = checkAnswer(type, returned);
      if ("fault" in checked) {
        const { field, found } = checked.fault;
        invalid = new InvalidAnswerError(`Cannot answer with ${path}: ${field} ${found}`, { field });
        throw invalid;
      }
      hasRun = true;
      return checked;
    });
    // Reported after `runWithin`, since a rejection that the handler did not await still fails the run.
    if (hasRun) publishStage({ stage: "handled", level: "info" });
  } catch (error) {
    const failure = failureOf(error, leftMs());
    const facts = error === invalid ? { field: invalid?.field } : reasonOf(error);
    // Errors raise an alarm. A click on an expired card is common, so it is a warning.
    const level = failure === "expired" ? "warn" : "error";
    publishStage({ stage: failure === "late" ? "late" : "failed", level, facts, error });
    answer = fallbackAnswer(type, failure);
  }
  await storeAnswer(answer.json);
  return toAnswer(answer);
}

function reasonOf(error: unknown): { reason: string } | undefined {
  if (isError(error, UntrustedValueError)) return { reason: `value-${error.state}` };
  return isError(error, StoreFailure) ? { reason: "store" } : undefined;
}

function failureOf(error: unknown, leftMs: number): Failure {
  if (leftMs <= 0 || isError(error, HandlerTimeoutError)) return "late";
  return isError(error, UntrustedValueError) && error.state === "expired" ? "expired" : "failed";
}

function fallbackAnswer(type: string, failure: Failure): JsonAnswer {
  const answer = fallback(type, failure);
  return { answer, json: JSON.stringify(answer) };
}

function toAnswer({ answer, json }: JsonAnswer): Answer {
  return { status: 200, body: answer, json };
}
