import { onCallback } from "../../lib/handler.ts";

/** Answers a click on a card's button, and does the slow part of it afterwards. */
export default onCallback(
  "card.action.trigger",
  async ({ action }, { defer }) => {
    await defer({ value: action.value });
    return {
      toast: { type: "success", content: "Received", i18n: { en_us: "Received", zh_cn: "已收到" } },
    };
  },
  {
    async deferred(_payload, { log, callback }) {
      // Runs in the worker, with retries: book the order, call the slow service, update the card.
      log.info("A card was clicked", { component: callback.action.tag });
    },
  },
);
