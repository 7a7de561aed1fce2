import type { EventOf } from "../../handler.ts";
import { bot, type Facts, groupChat, groupNames, mei, tomas } from "./facts.ts";

type GroupEvent = EventOf<"im.chat.disbanded_v1">;

const groupAction = ({ tenant }: Facts) =>
  ({ chat_id: groupChat, operator_id: mei, external: false, operator_tenant_key: tenant }) satisfies GroupEvent;

const group = (facts: Facts) =>
  ({ ...groupAction(facts), name: groupNames.en_us, i18n_names: groupNames }) satisfies GroupEvent;

export const messages = {
  "im.message.receive_v1": ({ id, nowMs, tenant }: Facts): EventOf<"im.message.receive_v1"> => ({
    sender: { sender_id: mei, sender_type: "user", tenant_key: tenant },
    message: {
      message_id: `om_${id("message")}`,
      create_time: String(nowMs - 350),
      update_time: String(nowMs - 350),
      chat_id: groupChat,
      chat_type: "group",
      message_type: "text",
      // A JSON document in a string, as the platform sends it.
      content: JSON.stringify({ text: "@_user_1 is pallet 17 on its way?" }),
      mentions: [{ key: "@_user_1", id: bot, mentioned_type: "bot", name: "Larkpost", tenant_key: tenant }],
    },
  }),

  "im.message.message_read_v1": ({ id, nowMs, tenant }: Facts): EventOf<"im.message.message_read_v1"> => ({
    reader: { reader_id: tomas, read_time: String(nowMs - 200), tenant_key: tenant },
    message_id_list: [`om_${id("message")}`, `om_${id("message before")}`],
  }),

  "im.message.reaction.created_v1": ({ id, nowMs }: Facts): EventOf<"im.message.reaction.created_v1"> => ({
    message_id: `om_${id("message")}`,
    reaction_type: { emoji_type: "THUMBSUP" },
    operator_type: "user",
    user_id: tomas,
    action_time: String(nowMs - 120),
  }),

  "im.message.recalled_v1": ({ id, nowMs }: Facts): EventOf<"im.message.recalled_v1"> => ({
    message_id: `om_${id("message")}`,
    chat_id: groupChat,
    recall_time: String(nowMs - 90),
    recall_type: "message_owner",
  }),

  "im.chat.member.bot.added_v1": (facts: Facts): EventOf<"im.chat.member.bot.added_v1"> => group(facts),

  "im.chat.member.user.added_v1": (facts: Facts): EventOf<"im.chat.member.user.added_v1"> => ({
    ...group(facts),
    users: [{ name: "Tomas Reyes", tenant_key: facts.tenant, user_id: tomas }],
  }),

  "im.chat.updated_v1": (facts: Facts): EventOf<"im.chat.updated_v1"> => ({
    ...groupAction(facts),
    before_change: {
      name: "Warehouse",
      i18n_names: { ...groupNames, en_us: "Warehouse" },
      at_all_permission: "all_members",
    },
    after_change: { name: groupNames.en_us, i18n_names: groupNames, at_all_permission: "only_owner", owner_id: mei },
    moderator_list: { added_member_list: [{ tenant_key: facts.tenant, user_id: tomas }], removed_member_list: [] },
  }),

  "im.chat.disbanded_v1": (facts: Facts): EventOf<"im.chat.disbanded_v1"> => group(facts),

  "application.bot.menu_v6": ({ nowMs }: Facts): EventOf<"application.bot.menu_v6"> => ({
    operator: { operator_name: "Mei Okafor", operator_id: mei },
    event_key: "shift_report",
    timestamp: Math.floor(nowMs / 1000),
  }),

  // Schema 1.0, superseded by im.message.receive_v1.
  message: ({ id }: Facts): Omit<EventOf<"message">, "type" | "app_id" | "tenant_key"> => ({
    root_id: "",
    parent_id: "",
    open_chat_id: `oc_${mei.open_id.slice(3)}`,
    chat_type: "private",
    msg_type: "text",
    open_id: mei.open_id,
    employee_id: mei.user_id,
    union_id: mei.union_id,
    open_message_id: `om_${id("message")}`,
    is_mention: false,
    text: "is pallet 17 on its way?",
    text_without_at_bot: "is pallet 17 on its way?",
  }),
};
