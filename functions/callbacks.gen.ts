// Generated from functions/callbacks/ by `npm run generate`. Do not edit: add or remove a file there.
import type { CallbackList } from "larkpost";

export const callbacks: CallbackList = {
  "card.action.trigger": () => import("./callbacks/card.action.trigger.ts"),
};
