import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import { setTimeout as pause } from "node:timers/promises";
import type { Entry } from "../../simulator/chat/conversation.ts";
import { follow } from "./follow.ts";
import { ChatError, type Link } from "./link.ts";
import type { Session } from "./session.ts";

/** A handler may take its whole time; a runtime that does not tell of its end is not waited for much longer. */
const patienceMs = 120_000;

/**
 * A conversation without a person: says each line once the handlers are through with the one before, and ends when
 * nothing has come for a while.
 * @throws {ChatError} The conversation is over before, or a handler does not end.
 */
export async function runScript(
  input: Readable,
  options: {
    link: Link;
    session: Session;
    quietMs: number;
    /** How long the handlers of one line may take in all. */
    lineMs?: number;
    show: (entry: Entry, isSilent: boolean) => void;
  },
): Promise<void> {
  const { link, session, quietMs, lineMs = patienceMs, show } = options;
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
      // What others do meanwhile gives it no more time.
      const endMs = performance.now() + lineMs;
      while (!session.isSettled()) {
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
