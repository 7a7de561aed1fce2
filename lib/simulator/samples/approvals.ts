import { type Facts, mei, seconds, tomas } from "./facts.ts";

/**
 * Approvals, all of schema 1.0. The SDK has no type for the first. Its types of the other two are wrong: a member typed
 * as an array of objects or of numbers is received as a string. So these samples are not checked against the SDK.
 */
export const approvals = {
  approval_instance: ({ id, nowMs }: Facts) => ({
    approval_code: code("warehouse purchase"),
    instance_code: code(id("instance")),
    status: "APPROVED",
    operate_time: String(nowMs - 300),
    instance_operate_time: String(nowMs - 300),
  }),

  out_approval: ({ id, nowMs }: Facts) => ({
    approval_code: code("outing"),
    instance_code: code(id("instance")),
    open_id: tomas.open_id,
    user_id: tomas.user_id,
    start_time: seconds(nowMs) - 600,
    end_time: seconds(nowMs),
    out_name: "@i18n@kind",
    out_image: "",
    out_interval: 10_800,
    out_unit: "HOUR",
    out_reason: "Supplier audit in Hangzhou",
    out_start_time: "2026-03-09 14:00:00",
    out_end_time: "2026-03-09 17:00:00",
    i18n_resources: [
      JSON.stringify({ is_default: true, locale: "zh_cn", texts: { "@i18n@kind": "外出" } }),
      JSON.stringify({ is_default: false, locale: "en_us", texts: { "@i18n@kind": "Outing" } }),
    ],
  }),

  leave_approvalV2: ({ id, nowMs }: Facts) => ({
    approval_code: code("leave"),
    instance_code: code(id("instance")),
    origin_instance_code: "",
    open_id: mei.open_id,
    user_id: mei.user_id,
    start_time: seconds(nowMs) - 900,
    end_time: seconds(nowMs),
    leave_name: "@i18n@annual",
    leave_unit: "HALF_DAY",
    leave_start_time: "2026-03-12 00:00:00",
    leave_end_time: "2026-03-13 12:00:00",
    leave_interval: 64_800,
    leave_reason: "Moving house",
    leave_feeding_arrive_late: 0,
    leave_feeding_leave_early: 0,
    leave_feeding_rest_daily: 0,
    // Not JSON. The platform writes lists like this in this event.
    leave_range: "[[2026-03-12 09:00:00,2026-03-13 12:00:00]]",
    leave_detail: "[[2026-03-12 09:00:00,2026-03-12 18:00:00],[2026-03-13 09:00:00,2026-03-13 12:00:00]]",
    i18n_resources: "[{is_default=true,locale=zh_cn,texts={@i18n@annual=年假}}]",
  }),
};

/** An approval's code: upper-case hex digits in five groups. The same text gives the same code. */
function code(seed: string): string {
  const hex = /^[0-9a-f]{32}$/.test(seed) ? seed : Buffer.from(seed.padEnd(16, ".")).toString("hex");
  const at = (from: number, to: number) => hex.slice(from, to).toUpperCase();
  return [at(0, 8), at(8, 12), at(12, 16), at(16, 20), at(20, 32)].join("-");
}
