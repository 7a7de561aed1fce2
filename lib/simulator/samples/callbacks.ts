import { type Facts, groupChat, mei } from "./facts.ts";

/** Callbacks. */
export const callbacks = {
  "card.action.trigger": ({ id, tenant }: Facts) => ({
    operator: { tenant_key: tenant, ...mei },
    // The credential for updating this card later. It is not the Verification Token.
    token: `c-${id("card").padEnd(40, "0")}`,
    action: { tag: "button", name: "Button_release", value: { order: "17", decision: "release" } },
    host: "im_message",
    context: { open_message_id: `om_${id("message")}`, open_chat_id: groupChat },
  }),

  "url.preview.get": ({ id, tenant }: Facts) => ({
    operator: { tenant_key: tenant, open_id: mei.open_id, user_id: mei.user_id },
    host: "im_message",
    context: {
      url: "https://stock.warehouse.example/pallets/17",
      preview_token: id("preview"),
      open_message_id: `om_${id("message")}`,
      open_chat_id: groupChat,
    },
  }),
};
