import type { Entry } from "../../simulator/chat/conversation.ts";
import type { Link } from "./link.ts";
import type { Session } from "./session.ts";

/**
 * Takes what was before, unseen, and then follows the conversation until it is over.
 * @param show Is given each new entry, and whether the bot let something pass without any reaction.
 * @returns What resolves once all that was before is taken, and what rejects when the conversation is over.
 */
export function follow(link: Link, session: Session, show: (entry: Entry, isSilent: boolean) => void) {
  const caughtUp = Promise.withResolvers<void>();
  const run = async (): Promise<never> => {
    let n = 0;
    const take = (entry: Entry, isShown: boolean) => {
      n = entry.n;
      return session.take(entry, { isShown });
    };
    for (;;) {
      const entries = await link.after(n);
      if (entries.length === 0) break;
      for (const entry of entries) take(entry, false);
    }
    caughtUp.resolve();
    for (;;) {
      const entries = await link.next(n);
      await session.acted();
      for (const entry of entries) show(entry, take(entry, true).isSilent);
    }
  };
  const over = run();
  over.catch(caughtUp.reject);
  return { caughtUp: caughtUp.promise, over };
}
