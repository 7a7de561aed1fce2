import type { CallbackList, EventList } from "../../handler.ts";
import type { AwsClient } from "../client.ts";

export interface EntryOptions {
  /** The generated lists of `functions/events` and `functions/callbacks`. */
  readonly events?: EventList;
  readonly callbacks?: CallbackList;
  /** Instead of the process's own environment. */
  readonly env?: NodeJS.ProcessEnv;
  /** `fromSdk(…)`, where credentials are not in the environment. On Lambda they are, and the own client is faster. */
  readonly aws?: AwsClient;
}
