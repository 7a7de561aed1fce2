import { onCallback } from "larkpost";

/** Answers a click on a card's button, and defers the slow work. */
export default onCallback(
  "card.action.trigger",
  async ({ action }, { defer, isSigned }) => {
    // Act only on a value that this app has signed. Others may come from anywhere.
    if (isSigned) await defer(action.value);
    return {
      toast: { type: "success", content: "Received", i18n: { en_us: "Received", zh_cn: "已收到" } },
    };
  },
  {
    // Runs in the worker a few seconds later, with retries: call the slow service, then show its result.
    async deferred({ pallet }: { pallet: number }, { log, updateCard }) {
      log.info("A pallet is released", { pallet });
      await updateCard({
        schema: "2.0",
        header: { title: { tag: "plain_text", content: `Pallet ${pallet} is released` } },
        body: { elements: [] },
      });
    },
  },
);
