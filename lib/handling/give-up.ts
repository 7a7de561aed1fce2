import type { Clock } from "../clock.ts";
import { HandlerTimeoutError } from "../errors.ts";
import type { EventEnvelope, JobEnvelope } from "../feishu/envelope.ts";
import type { Death } from "./claims.ts";
import { contextOf } from "./context.ts";
import type { HandlerFile } from "./dispatcher.ts";
import { runWithin } from "./run.ts";
import type { PublishStage } from "./stages.ts";
import type { MakeTools } from "./tools.ts";

/** How long a file's `onGiveUp` may take, and what it leaves of the function's time to answer the batch. */
const giveUpWithinMs = 5_000;
const answerMs = 500;

/** Runs the file's `onGiveUp` for a dead event. Never rejects: the event's end is decided, and a failure is only logged. */
export async function giveUp(
  envelope: EventEnvelope | JobEnvelope,
  { reason, error, runs = 0 }: Death,
  options: {
    readonly file: HandlerFile;
    readonly path: string;
    readonly key: string;
    readonly ports: { readonly clock: Clock; readonly tools: MakeTools; readonly remainingMs: () => number };
    readonly publishStage: PublishStage;
  },
): Promise<void> {
  const { file, path, key, ports, publishStage } = options;
  const { clock } = ports;
  const ms = Math.min(giveUpWithinMs, ports.remainingMs() - answerMs);
  const endsAtMs = clock.nowMs() + ms;
  const expired = () => new HandlerTimeoutError(`Cannot finish the onGiveUp of ${path}: ${ms} ms have passed`);
  try {
    await runWithin(envelope, { clock, ms, expired }, async (signal) => {
      // A file that cannot be loaded was logged when the event failed.
      const { onGiveUp } = await file.load().catch(() => ({ onGiveUp: undefined }));
      if (onGiveUp === undefined) return;
      // It has a key of its own, because its first message is not the handler's first message.
      const run = {
        envelope,
        key: () => `${key} onGiveUp`,
        signal,
        remainingMs: () => Math.max(0, endsAtMs - clock.nowMs()),
      };
      const context = contextOf(run, { attempt: runs, tools: await ports.tools(run) });
      signal.throwIfAborted();
      const payload = envelope.kind === "job" ? envelope.payload : undefined;
      const { errorClass: name = "", errorCode: code, message, at } = error ?? {};
      const death = { reason, attempts: runs, error: error && { name, code, message, at } };
      await onGiveUp(envelope.event, { ...context, payload }, death);
    });
  } catch (thrown) {
    publishStage({ stage: "failed", level: "error", facts: { reason: "give-up" }, error: thrown });
  }
}
