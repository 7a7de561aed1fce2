import { worker } from "larkpost/aws";
import { callbacks } from "./callbacks.gen.ts";
import { events } from "./events.gen.ts";

// SQS in: runs your handlers, once per event.
export const handler = await worker({ events, callbacks });
