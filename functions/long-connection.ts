import { longConnection } from "larkpost/long-connection";
import { callbacks } from "./callbacks.gen.ts";

// A process, not a Lambda: dials the platform, queues events, answers callbacks.
await longConnection({ callbacks });
