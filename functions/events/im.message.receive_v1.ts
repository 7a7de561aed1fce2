import { mentionsBot, onEvent, signValue, textOf } from "larkpost";

/** Answers a text: "card" with a card (its button is answered by `callbacks/card.action.trigger.ts`), others with an echo. */
export default onEvent(
  "im.message.receive_v1",
  async (event, context) => {
    const { sender, message } = event;
    // Two bots that answer each other never stop.
    if (sender.sender_type !== "user") return;
    if (message.chat_type === "group" && !mentionsBot(event)) return;
    const text = textOf(message);
    const place = message.chat_type === "p2p" ? "a direct chat" : "a group";
    context.log.info(`A ${message.message_type} message arrived in ${place}`, { characters: text.length });
    if (text === "") return;

    const isCard = text.toLowerCase() === "card";
    await context.reply(isCard ? card(await signValue({ pallet: 17 }, context)) : `You said: ${text}`);
  },
  // Feishu may push a message again under another event id, so the key is the message id.
  { key: ({ message }) => message.message_id },
);

function card(value: object) {
  const button = { tag: "button", text: { tag: "plain_text", content: "Release" } };
  return {
    schema: "2.0",
    header: { title: { tag: "plain_text", content: "Pallet 17" } },
    body: { elements: [{ ...button, behaviors: [{ type: "callback", value }] }] },
  };
}
