import { callback } from "larkpost/aws";
import { callbacks } from "./callbacks.gen.ts";

// HTTP in, for callbacks: verifies, runs your handler, answers with what it returned.
export const handler = await callback({ callbacks });
