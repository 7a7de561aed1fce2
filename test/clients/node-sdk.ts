import { createRequire } from "node:module";

// The official Node SDK of any version, as the Feishu documents use it for events and for callbacks:
// https://open.feishu.cn/document/server-docs/event-subscription-guide/event-subscription-configure-/request-url-configuration-case
// https://open.feishu.cn/document/event-subscription-guide/callback-subscription/step-1-choose-a-subscription-mode/configure-callback-request-address
// https://open.feishu.cn/document/server-side-sdk/nodejs-sdk/handling-events

const [, , version = "@larksuiteoapi/node-sdk"] = process.argv;
const Lark = createRequire(import.meta.url)(version) as typeof import("@larksuiteoapi/node-sdk");
const { LARK_DOMAIN: domain = "", APP_ID: appId = "", APP_SECRET: appSecret = "" } = process.env;

// The Client of older versions takes the port of its domain for a parameter of the path.
const portless = "http://feishu.test";
Lark.defaultHttpInstance.interceptors.request.use((request) => {
  return Object.assign(request, { url: request.url?.replace(portless, domain) });
});

const baseConfig = { appId, appSecret };
const client = new Lark.Client({ ...baseConfig, domain: portless });
const wsClient = new Lark.WSClient({ ...baseConfig, domain, loggerLevel: Lark.LoggerLevel.info });
const eventDispatcher = new Lark.EventDispatcher({}).register({
  "im.message.receive_v1": async ({ message: { chat_id, content } }) => {
    const title = `回复： ${JSON.parse(content).text}`;
    await client.im.v1.message.create({
      params: { receive_id_type: "chat_id" },
      data: {
        receive_id: chat_id,
        content: Lark.messageCard.defaultCard({ title, content: "新年好" }),
        msg_type: "interactive",
      },
    });
  },
  out_approval: (data: { instance_code: string }) => console.log(`out_approval ${data.instance_code}`),
  "card.action.trigger": ({ action }: { action: { tag: string } }) => {
    console.log(`card action ${action.tag}`);
    return { toast: { type: "success", content: `卡片交互成功 ${action.tag}` } };
  },
});
void wsClient.start({ eventDispatcher });
