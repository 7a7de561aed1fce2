import { webhook } from "larkpost/aws";

// HTTP in, for events: verifies, queues, answers. Runs none of your code.
export const handler = await webhook();
