import { jobId } from "../../feishu/envelope.ts";
import type { Entry } from "../../simulator/chat/journal.ts";

/** Follows the events and callbacks that this terminal has caused, and their jobs. */
export function createProgress() {
  /** The ids that have not ended. */
  const open = new Set<string>();
  /** The ids of all events, callbacks and jobs. */
  const all = new Set<string>();
  let hasFailed = false;
  /** Whether the bot has done anything since the last input. */
  let hasReacted = false;

  return {
    fail(): void {
      hasFailed = true;
    },
    beginInput(): void {
      hasReacted = false;
    },
    add(id: string): void {
      open.add(id);
      all.add(id).add(jobId(id));
    },
    /** @returns Whether an input was handled without any reaction of the bot. */
    apply(entry: Entry): { isSilent: boolean } {
      switch (entry.what) {
        case "said":
        case "updated":
          if (entry.by === "bot") hasReacted = true;
          break;
        case "did":
          hasReacted ||= entry.did !== "missing";
          break;
        case "answered":
          hasReacted = true;
          if (!open.delete(entry.id)) break;
          if (entry.deferred !== null) open.add(jobId(entry.id));
          hasFailed ||= !entry.view.isTaken || entry.trouble === "failed" || entry.trouble === "late";
          break;
        case "undelivered":
          // Not with `||=`, which would keep the id when something has failed before.
          if (open.delete(entry.id)) hasFailed = true;
          break;
        case "ended": {
          const isOwn = open.delete(entry.id);
          hasFailed ||= isOwn && (entry.stage === "failed" || entry.stage === "dead");
          return { isSilent: isOwn && entry.stage === "handled" && !hasReacted };
        }
      }
      return { isSilent: false };
    },
    /** Whether the entry is what somebody did, or is about an event, callback or job of this terminal. */
    isOwn: (entry: Entry) => "message" in entry || entry.what === "did" || all.has(entry.id),
    /** Whether everything that this terminal has caused has ended. */
    isIdle: () => open.size === 0,
    hasFailed: () => hasFailed,
  };
}
