import type { Entry } from "../../simulator/chat/journal.ts";
import type { Link } from "./link.ts";
import type { Session } from "./session.ts";

/**
 * Applies the earlier entries without showing them, and then follows the conversation until it is over.
 * @param show Shows a new entry. `isSilent`: an input was handled without any reaction of the bot.
 * @returns `caughtUp` resolves when the earlier entries are applied. `over` rejects when the conversation is over.
 */
export function follow(link: Link, session: Session, show: (entry: Entry, isSilent: boolean) => void) {
  const caughtUp = Promise.withResolvers<void>();
  const run = async (): Promise<never> => {
    let n = 0;
    const apply = (entry: Entry, isShown: boolean) => {
      n = entry.n;
      return session.apply(entry, { isShown });
    };
    for (;;) {
      const entries = await link.after(n);
      if (entries.length === 0) break;
      for (const entry of entries) apply(entry, false);
    }
    caughtUp.resolve();
    for (;;) {
      const entries = await link.next(n);
      await session.acted();
      for (const entry of entries) show(entry, apply(entry, true).isSilent);
    }
  };
  const over = run();
  over.catch(caughtUp.reject);
  return { caughtUp: caughtUp.promise, over };
}
