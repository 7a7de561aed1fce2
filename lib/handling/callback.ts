import { type Clock, withDeadline } from "../clock.ts";
import { HandlerTimeoutError, InvalidAnswerError, isError } from "../errors.ts";
import { checkAnswer, type JsonAnswer } from "../feishu/answers.ts";
import { type CallbackEnvelope, type JobEnvelope, jobId } from "../feishu/envelope.ts";
import type { JsonObject } from "../feishu/json.ts";
import type { CallbackContext } from "../handler.ts";
import type { Answer } from "../receiving/receiver.ts";
import type { Signer } from "../signed-value.ts";
import { publish, type TraceEntry } from "../trace/trace.ts";
import { missingMember, readCard, UntrustedValueError } from "./card-action.ts";
import { contextOf } from "./context.ts";
import type { DispatchCallback, LoadedCallback } from "./dispatcher.ts";
import { type Failure, fallback } from "./fallback.ts";
import { type AnswerStore, idempotencyKey } from "./idempotency.ts";
import { runWithin } from "./run.ts";
import type { MakeServices } from "./services.ts";

export interface CallbackPorts {
  readonly dispatch: DispatchCallback;
  readonly answers: AnswerStore;
  /** Stores a job; resolves once it is durable. */
  readonly defer: (job: JobEnvelope, signal: AbortSignal) => Promise<void>;
  readonly signer: Signer;
  readonly services: MakeServices;
  readonly clock: Clock;
  /** A token unlike any other. */
  readonly newOwner: () => string;
  /** Milliseconds from the request's beginning until a fallback goes out instead of the handler's answer. */
  readonly deadlineMs: number;
}

/** What the last write may take behind the deadline. */
export const recordWithinMs = 150;
/** A store that has not answered by then counts as down: the handler needs the rest of the time. */
const claimWithinMs = 900;
/** One try at the store, so that a second one fits into {@link claimWithinMs}: a click must outlive one lost packet. */
export const callbackTryMs = 350;
/** A handler is not started with less. */
const leastHandlerMs = 50;
/** Between two looks at another run of the same callback: soon at first, and still often when time grows short. */
const firstLookMs = 50;
const lastLookMs = 100;

/**
 * Callback → Answer, once per callback: claims, runs the handler against the deadline, checks what it returned
 * and remembers it. Never rejects, and always answers 200: whatever else is answered is, to the user who
 * clicked, an error of the client's, and the platform does not ask again.
 */
export async function answerCallback(
  envelope: CallbackEnvelope,
  ports: CallbackPorts,
  { elapsedMs }: { elapsedMs: () => number },
): Promise<Answer> {
  const { id, type, app, requestId } = envelope;
  const { clock, answers } = ports;
  const tell = (entry: Pick<TraceEntry, "stage" | "level" | "facts" | "error">) =>
    publish({ id, type, app, ms: elapsedMs(), requestId, ...entry });
  const leftMs = () => ports.deadlineMs - elapsedMs();
  const owner = ports.newOwner();
  /** Set once the key is ours: what is answered from then on is remembered. */
  let key: string | undefined;
  let hasRun = false;
  /** Ours, not one that a handler threw: that one may be anything, and say anything. */
  let invalid: InvalidAnswerError | undefined;

  const missing = missingMember(envelope);
  if (missing !== undefined) {
    tell({ stage: "failed", level: "error", facts: { reason: "incomplete", field: missing } });
    return toAnswer(written(fallback(type, "failed")));
  }
  const found = ports.dispatch(type);
  if (found === undefined) {
    tell({ stage: "unhandled", level: "warn" });
    return toAnswer(written(fallback(type, "unhandled")));
  }

  let answer: JsonAnswer;
  try {
    answer = await runWithin(
      envelope,
      {
        clock,
        ms: leftMs(),
        endsAtLeak: true,
        expired: () =>
          new HandlerTimeoutError(`Cannot answer ${type} with its handler: ${ports.deadlineMs} ms are over`),
      },
      async (signal) => {
        const handler = await found;
        const { event, ...card } = await readCard(envelope, handler, ports);
        const before = handler.dedupe === "off" ? undefined : await take(handler, signal);
        if (before !== undefined) return before;
        const services = await servicesOf(handler, signal);
        if (leftMs() < leastHandlerMs)
          throw new HandlerTimeoutError(`Cannot start the handler of ${type}: no time is left`);
        tell({ stage: "started", level: "info" });
        const deferral = deferrals(handler, signal);
        const context: CallbackContext = Object.assign(contextOf(envelope, { attempt: 1, signal, services }), {
          ...card,
          defer: deferral.defer,
        });
        let returned: unknown;
        try {
          returned = await handler.handle(event, context);
        } finally {
          // Also what the handler did not wait for: it is stored before the answer is out, or there is none.
          const sending = deferral.close();
          if (sending !== undefined) await sending;
        }
        signal.throwIfAborted();
        const checked = checkAnswer(type, returned);
        if ("fault" in checked) {
          const { field, found } = checked.fault;
          invalid = new InvalidAnswerError(`Cannot answer ${type}: ${field} ${found}`, { field });
          throw invalid;
        }
        hasRun = true;
        return checked;
      },
    );
    // Only now: a promise that the handler dropped makes the run a failed one.
    if (hasRun) tell({ stage: "handled", level: "info" });
  } catch (error) {
    const failure = failureOf(error, leftMs());
    const facts = error === invalid && invalid ? { field: invalid.field, message: invalid.message } : reasonOf(error);
    // Errors raise an alarm. People do click on expired cards, so that is a warning.
    const level = failure === "expired" ? "warn" : "error";
    tell({ stage: failure === "late" ? "late" : "failed", level, facts, error: causeOf(error) });
    answer = written(fallback(type, failure));
  }
  if (key !== undefined) await remember({ key, owner, nowMs: clock.nowMs(), answer: answer.json });
  return toAnswer(answer);

  /** Claims the callback; if it came before, what was answered then, waiting for it while there is time. */
  async function take(handler: LoadedCallback, signal: AbortSignal): Promise<JsonAnswer | undefined> {
    const wanted = keyOf(handler);
    let lookAgainMs = firstLookMs;
    for (;;) {
      // Whatever came before may have outlasted the deadline: nothing is claimed behind the answer.
      signal.throwIfAborted();
      let taken: Awaited<ReturnType<AnswerStore["claim"]>>;
      try {
        taken = await withDeadline(
          clock,
          { ms: Math.min(claimWithinMs, leftMs()), error: () => new StoreFailure() },
          (stop) => {
            const request = { key: wanted, owner, nowMs: clock.nowMs() };
            return answers.claim(request, AbortSignal.any([stop, signal]));
          },
        );
      } catch (error) {
        signal.throwIfAborted();
        throw new StoreFailure({ cause: error });
      }
      if (taken.state === "claimed") {
        key = wanted;
        return undefined;
      }
      if (taken.state === "answered") {
        const before = { answer: JSON.parse(taken.answer) as JsonObject, json: taken.answer };
        tell({ stage: "duplicate", level: "info" });
        return before;
      }
      // The other run answers, or runs into the same deadline.
      await pause(clock, lookAgainMs, signal);
      lookAgainMs = Math.min(2 * lookAgainMs, lastLookMs);
    }
  }

  function keyOf(handler: LoadedCallback): string {
    return idempotencyKey({ app, handler: `callbacks/${handler.name}`, id });
  }

  async function servicesOf(handler: LoadedCallback, signal: AbortSignal) {
    // Most callbacks call nothing: their key is made when one does.
    const key = () => keyOf(handler);
    const { updateCard: _, ...services } = await ports.services({ envelope, key, signal, remainingMs: leftMs });
    return services;
  }

  async function remember(request: Parameters<AnswerStore["record"]>[0]): Promise<void> {
    try {
      const graceMs = Math.min(claimWithinMs, leftMs() + recordWithinMs);
      await withDeadline(clock, { ms: graceMs, error: () => new StoreFailure() }, (signal) =>
        answers.record(request, signal),
      );
    } catch (error) {
      // The user gets the answer all the same; a second push of this callback waits for it in vain.
      tell({ stage: "failed", level: "error", facts: { reason: "store" }, error });
    }
  }

  function deferrals(handler: LoadedCallback, signal: AbortSignal) {
    let sending: Promise<void> | undefined;
    let isClosed = false;
    return {
      /** Takes nothing more, and waits for what was taken. */
      close() {
        isClosed = true;
        return sending;
      },
      defer(payload: unknown): Promise<void> {
        const mistake =
          isClosed || signal.aborted
            ? "the callback is answered already"
            : sending !== undefined
              ? "something was put off already"
              : handler.deferred === undefined
                ? `functions/callbacks/${handler.name}.ts has no deferred`
                : undefined;
        if (mistake !== undefined) return Promise.reject(new TypeError(`Cannot defer: ${mistake}`));
        const { kind: _, ...callback } = envelope;
        const job: JobEnvelope = { ...callback, kind: "job", id: jobId(id), payload };
        sending = ports.defer(job, signal).then(() => tell({ stage: "deferred", level: "info" }));
        // Heard by `close`; a handler that does not wait for it must not leave it dropped.
        sending.catch(() => {});
        return sending;
      },
    };
  }
}

class StoreFailure extends Error {
  constructor(options?: ErrorOptions) {
    super("Cannot tell whether the callback came before", options);
  }
}

function reasonOf(error: unknown): { reason: string } | undefined {
  if (isError(error, UntrustedValueError)) return { reason: `value-${error.state}` };
  return isError(error, StoreFailure) ? { reason: "store" } : undefined;
}

/** What the log is to describe: the store's own error, not that it failed us. */
function causeOf(error: unknown): unknown {
  return isError(error, StoreFailure) ? (error.cause ?? error) : error;
}

function failureOf(error: unknown, leftMs: number): Failure {
  if (leftMs <= 0 || isError(error, HandlerTimeoutError)) return "late";
  return isError(error, UntrustedValueError) && error.state === "expired" ? "expired" : "failed";
}

function written(answer: JsonObject): JsonAnswer {
  return { answer, json: JSON.stringify(answer) };
}

function toAnswer({ answer, json }: JsonAnswer): Answer {
  return { status: 200, body: answer, json };
}

function pause(clock: Clock, ms: number, signal: AbortSignal): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const cancel = clock.after(ms, resolve);
  signal.addEventListener("abort", () => reject(signal.reason as Error), { once: true });
  return promise.finally(cancel);
}
