/** What a bot does other than sending and changing messages. */
export interface Activity {
  /** A verb, as in `reacted`; `missing` for a call that is not simulated. */
  readonly what: string;
  /** What it did that with, in one line for a person. */
  readonly about: string;
  readonly chatId?: string | undefined;
}

/** Calls functions with each fact, until they are removed. */
export function createListeners<Fact>() {
  const listeners = new Set<(fact: Fact) => void>();
  return {
    notify(fact: Fact): void {
      for (const listener of listeners) listener(fact);
    },
    /** @returns A function that removes the listener. */
    add(listener: (fact: Fact) => void): () => void {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
  };
}
