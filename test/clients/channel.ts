import { createLarkChannel } from "@larksuiteoapi/node-sdk";

// The Channel module of the official Node SDK: it normalizes what comes, and sends.

const { LARK_DOMAIN: domain = "", APP_ID: appId = "", APP_SECRET: appSecret = "" } = process.env;
const channel = createLarkChannel({ appId, appSecret, domain });
channel.on({
  message: async (message) => void (await channel.send(message.chatId, { text: `回复： ${message.content}` })),
  cardAction: (event) => console.log(`card action ${event.action.tag}`),
});
await channel.connect();
