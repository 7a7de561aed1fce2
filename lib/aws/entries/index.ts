import type { callback as Callback } from "./callback.ts";
import type { webhook as Webhook } from "./webhook.ts";
import type { worker as Worker } from "./worker.ts";

// `larkpost/aws`: a process loads the maker that it calls, and not the other two.

export const callback: typeof Callback = async (options) => (await import("./callback.ts")).callback(options);
export const webhook: typeof Webhook = async (options) => (await import("./webhook.ts")).webhook(options);
export const worker: typeof Worker = async (options) => (await import("./worker.ts")).worker(options);
export { fromSdk } from "../sdk.ts";
