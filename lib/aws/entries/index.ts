export { callback } from "./callback.ts";
export { webhook } from "./webhook.ts";
export { worker } from "./worker.ts";
