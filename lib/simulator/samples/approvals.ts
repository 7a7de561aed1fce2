import { type Facts, mei, seconds, tomas, uuid } from "./facts.ts";

/**
 * Approvals, all of schema 1.0. The SDK has no type for the first. Its types of the other two are wrong: a member typed
 * as an array of objects or of numbers is received as a string. So these samples are not checked against the SDK.
 */
export const approvals = {
  approval_instance: ({ id, nowMs }: Facts) => ({
    approval_code: "77617265-686F-7573-6520-707572636861",
    instance_code: uuid(id("instance")).toUpperCase(),
    status: "APPROVED",
    operate_time: String(nowMs - 300),
    instance_operate_time: String(nowMs - 300),
  }),

  out_approval: ({ id, nowMs }: Facts) => ({
    approval_code: "6F757469-6E67-2E2E-2E2E-2E2E2E2E2E2E",
    instance_code: uuid(id("instance")).toUpperCase(),
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
    approval_code: "6C656176-652E-2E2E-2E2E-2E2E2E2E2E2E",
    instance_code: uuid(id("instance")).toUpperCase(),
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
