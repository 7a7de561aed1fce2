import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import { setTimeout as pause } from "node:timers/promises";
import type { Entry } from "../../simulator/chat/journal.ts";
import { follow } from "./follow.ts";
import { ChatError, type Link } from "./link.ts";
import type { Session } from "./session.ts";

/** Longer than a handler may run. If the runtime has not reported its end by then, it will not. */
const maxLineMs = 120_000;

/**
 * Runs a conversation without a terminal. Each line is said when the handlers of the line before have ended. It ends when
 * there has been no entry for `quietMs` after the last line.
 * @throws {ChatError} The conversation is over before that, or a handler does not end.
 */
export async function runScript(
  input: Readable,
  options: {
    link: Link;
    session: Session;
    quietMs: number;
    /** How long all handlers of one line may take. */
    lineMs?: number;
    show: (entry: Entry, isSilent: boolean) => void;
  },
): Promise<void> {
  const { link, session, quietMs, lineMs = maxLineMs, show } = options;
  let changed = Promise.withResolvers<void>();
  const { caughtUp, over } = follow(link, session, (entry, isSilent) => {
    show(entry, isSilent);
    changed.resolve();
    changed = Promise.withResolvers();
  });

  const speak = async () => {
    await caughtUp;
    for await (const line of createInterface({ input })) {
      await session.input(line);
      // Set once, so that entries of other conversations do not extend it.
      const endMs = performance.now() + lineMs;
      while (!session.isIdle()) {
        const leftMs = endMs - performance.now();
        if (leftMs > 0 && (await isWithin(changed.promise, leftMs))) continue;
        throw new ChatError(`Cannot go on: after ${lineMs / 1000} s, the handler does not end`);
      }
      if (session.isOver()) break;
    }
    while (await isWithin(changed.promise, quietMs));
  };
  await Promise.race([over, speak()]);
}

async function isWithin(fact: Promise<void>, ms: number): Promise<boolean> {
  const ended = new AbortController();
  const late = pause(ms, false, { signal: ended.signal }).catch(() => false);
  const isTrue = await Promise.race([fact.then(() => true), late]);
  ended.abort();
  return isTrue;
}
