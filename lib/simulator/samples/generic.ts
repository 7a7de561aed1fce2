import { type Facts, groupChat, mei, seconds, tomas } from "./facts.ts";

/**
 * For types without a sample: the members that events of a family have in common. A family is what its types begin with,
 * or match. The first one is used.
 */
const families: readonly (readonly [string | RegExp, (facts: Facts) => object])[] = [
  [
    "im.chat.",
    ({ tenant }) => ({ chat_id: groupChat, operator_id: mei, external: false, operator_tenant_key: tenant }),
  ],
  ["im.message.", ({ id }) => ({ message_id: `om_${id("message")}`, chat_id: groupChat })],
  [
    "drive.",
    () => ({
      file_token: "doxcnPalletPlan000000000017",
      file_type: "docx",
      operator_id: mei,
      subscriber_id_list: [tomas],
    }),
  ],
  ["calendar.", () => ({ calendar_id: "feishu.cn_warehouse-shifts@group.calendar.feishu.cn", user_id_list: [mei] })],
  ["task.", ({ id }) => ({ task_id: id("task"), obj_type: 1 })],
  [
    "vc.meeting.",
    ({ nowMs }) => ({
      meeting: { topic: "Shift handover", start_time: String(seconds(nowMs)) },
      operator: { id: mei },
    }),
  ],
  ["approval.", ({ id, nowMs }) => ({ instance_code: id("instance").toUpperCase(), operate_time: String(nowMs) })],
  // The rest is schema 1.0.
  [
    /approval/,
    ({ id, nowMs }) => ({
      instance_code: id("instance").toUpperCase(),
      operate_time: seconds(nowMs),
      open_id: tomas.open_id,
    }),
  ],
  ["user_", () => ({ open_id: tomas.open_id, employee_id: tomas.user_id, union_id: tomas.union_id })],
  ["dept_", () => ({ open_department_id: "od-c83f1e6a27d94b05913e7ad0f46b82c5" })],
  [/bot$/, () => ({ open_chat_id: groupChat, operator_open_id: mei.open_id })],
  [/chat|group/, () => ({ chat_id: groupChat, operator: { open_id: mei.open_id, user_id: mei.user_id } })],
];

export function genericEvent(type: string, facts: Facts): object {
  const isOf = (family: string | RegExp) => (typeof family === "string" ? type.startsWith(family) : family.test(type));
  return families.find(([family]) => isOf(family))?.[1](facts) ?? {};
}
