import { type Clock, withDeadline } from "../clock.ts";
import { DeadlineError, isError, NonRetryableError } from "../errors.ts";
import type { Run } from "./run.ts";
import type { PublishStage } from "./stages.ts";
import type { MakeTools, ReactionCalls } from "./tools.ts";

/** What the removal leaves of the function's time, and the longest it may take. */
const outcomeMs = 3_000;
const removeWithinMs = 10_000;

export type Reactions = ReturnType<typeof reactionsOf>;

/** The reactions of an event's run, with those that earlier runs may have left. They are removed when the run ends. */
export function reactionsOf(options: {
  readonly envelope: Run["envelope"];
  readonly ports: { readonly clock: Clock; readonly tools: MakeTools; readonly remainingMs: () => number };
  readonly publishStage: PublishStage;
}) {
  const { envelope, ports, publishStage } = options;
  const stored = new Set<string>();
  const adding: Promise<unknown>[] = [];
  let isOver = false;
  return {
    /** Takes over what an earlier run stored and may have left. */
    inherit(reactions: readonly string[] = []): void {
      for (const reaction of reactions) stored.add(reaction);
    },

    /** Adds a reaction after it is stored, so that it is removed also when this process dies. */
    async add(emoji: string, calls: ReactionCalls, store: (reaction: string) => Promise<void>): Promise<void> {
      let own: string | undefined;
      const ended = Promise.withResolvers<void>();
      adding.push(ended.promise);
      try {
        // Awaited once, or V8 leaves the handler's frame out of the error.
        await calls.add(emoji, async (reaction) => {
          if (isOver) throw new TypeError("Cannot react: the run is over");
          if (!stored.has(reaction)) own = reaction;
          stored.add(reaction);
          await store(reaction);
        });
      } catch (error) {
        // Feishu has refused it, so there is nothing to remove. After any other error it may be there.
        if (own !== undefined && isError(error, NonRetryableError)) stored.delete(own);
        throw error;
      } finally {
        ended.resolve();
      }
    },

    /** Never rejects: what becomes of the event does not depend on it. */
    async remove(): Promise<void> {
      isOver = true;
      if (adding.length + stored.size === 0) return;
      const { clock, tools, remainingMs } = ports;
      const ms = Math.min(removeWithinMs, remainingMs() - outcomeMs);
      const endsAtMs = clock.nowMs() + ms;
      const error = () => new DeadlineError(`Cannot remove the reactions: ${ms} ms have passed`);
      const log = (error: unknown) =>
        publishStage({ stage: "log", level: "warn", facts: { message: "A reaction stays on its message" }, error });
      await withDeadline(clock, { ms, error }, async (signal) => {
        await Promise.all(adding);
        const run = { envelope, key: () => "", signal, remainingMs: () => Math.max(0, endsAtMs - clock.nowMs()) };
        const { reactions } = await tools(run);
        await Promise.all([...stored].map((reaction) => reactions.remove(reaction).catch(log)));
      }).catch(log);
    },
  };
}
