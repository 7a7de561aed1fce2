// Generated from functions/events/ by `npm run generate`. Do not edit: add or remove a file there.
import type { EventList } from "larkpost";

export const events: EventList = {
  approval_instance: () => import("./events/approval_instance.ts"),
  "im.message.receive_v1": () => import("./events/im.message.receive_v1.ts"),
};
