import { onEvent, signValue } from "larkpost";

/** Answers a text: "card" with a card (its button is answered by `callbacks/card.action.trigger.ts`), others with an echo. */
export default onEvent("im.message.receive_v1", async ({ message }, context) => {
  const place = message.chat_type === "p2p" ? "a direct chat" : "a group";
  context.log.info(`A ${message.message_type} message arrived in ${place}`, { characters: message.content.length });
  if (message.message_type !== "text") return;
  const { text } = JSON.parse(message.content) as { text?: string };
  if (!text) return;

  const isCard = text.trim().toLowerCase() === "card";
  const content = isCard ? card(await signValue({ pallet: 17 }, context)) : { text: `You said: ${text}` };
  await context.request("POST", `/open-apis/im/v1/messages/${message.message_id}/reply`, {
    body: { msg_type: isCard ? "interactive" : "text", content: JSON.stringify(content) },
  });
});

function card(value: object) {
  const button = { tag: "button", text: { tag: "plain_text", content: "Release" } };
  return {
    schema: "2.0",
    header: { title: { tag: "plain_text", content: "Pallet 17" } },
    body: { elements: [{ ...button, behaviors: [{ type: "callback", value }] }] },
  };
}
