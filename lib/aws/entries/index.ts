export { callback } from "./callback.ts";
export { fromSdk, webhook } from "./webhook.ts";
export { worker } from "./worker.ts";
