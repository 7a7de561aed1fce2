import type { CallbackList, EventList } from "../../handler.ts";

/** The generated lists of `functions/events` and `functions/callbacks`, and the environment instead of the process's own. */
export interface EntryOptions {
  readonly events?: EventList;
  readonly callbacks?: CallbackList;
  readonly env?: NodeJS.ProcessEnv;
}
