import type { ClientView } from "../platform/client-view.ts";
import type { Person } from "../samples/facts.ts";
import type { MessageView } from "./message-view.ts";

/** What somebody in the chats sees, and what happened to an event or a callback of the user. */
export type Fact =
  | {
      readonly what: "said";
      readonly by: "user";
      readonly user: Person;
      readonly id: string;
      readonly message: MessageView;
    }
  /** What else a user did, in words for a person. */
  | { readonly what: "acted"; readonly user: Person; readonly id: string; readonly about: string }
  | {
      readonly what: "said" | "updated" | "recalled";
      readonly by: "bot";
      readonly message: MessageView;
      /** The text that the client types out after an update. */
      readonly streamed?: string | undefined;
    }
  /** What else the bot did, in words for a person; `missing`: a call that is not simulated, and its answer. */
  | { readonly what: "did"; readonly did: string; readonly about: string; readonly chat: MessageView["chat"] | null }
  /** A push of an event failed. It is pushed again after `againMs`; `null`: never. */
  | {
      readonly what: "undelivered";
      readonly id: string;
      readonly problem: string;
      readonly againMs: number | null;
    }
  /** The client shows `view` for a callback's answer. */
  | {
      readonly what: "answered";
      readonly id: string;
      readonly messageId: string;
      readonly view: ClientView;
      /** The id of the job that the handler deferred. */
      readonly deferred: string | null;
      /** Why the answer is not the handler's, and the first line of its error. */
      readonly trouble: Trouble | null;
      readonly reason: string | null;
    }
  /**
   * The handler of an event or of a job has ended, for now (`failed`) or for good. Of a receiver that is not ours, it is
   * known only that it has acknowledged the event.
   */
  | {
      readonly what: "ended";
      readonly id: string;
      readonly type: string;
      readonly stage: Ending;
      readonly reason: string | null;
    };

export const endings = ["handled", "unhandled", "failed", "dead", "acknowledged"] as const;
export type Ending = (typeof endings)[number];
export const troubles = ["unhandled", "failed", "late"] as const;
export type Trouble = (typeof troubles)[number];

/** Entries are numbered from 1. */
export type Entry = Fact & { readonly n: number };

const maxEntries = 1_000;

/** The last thousand facts of a conversation. */
export function createJournal() {
  const entries: Entry[] = [];
  const listeners = new Set<(entry: Entry) => void>();
  let count = 0;
  return {
    record(fact: Fact): void {
      const entry = { n: ++count, ...fact };
      entries.push(entry);
      if (entries.length > maxEntries) entries.shift();
      for (const listener of listeners) listener(entry);
    },
    /** The entries after the `n`th, oldest first. */
    after: (n: number): readonly Entry[] => entries.filter((entry) => entry.n > n),
    /** How many facts were recorded. */
    count: () => count,
    /** @returns A function that removes the listener. */
    onEntry(listener: (entry: Entry) => void): () => void {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
  };
}
