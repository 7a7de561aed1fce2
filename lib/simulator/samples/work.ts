import type { EventOf } from "../../handler.ts";
import { type Facts, mei, seconds, tomas, uuid } from "./facts.ts";

const host = { id: mei, user_role: 1, user_type: 1 };

/** Documents, calendar, tasks and meetings. */
export const work = {
  "drive.file.edit_v1": (): EventOf<"drive.file.edit_v1"> => ({
    file_token: "doxcnPalletPlan000000000017",
    file_type: "docx",
    operator_id_list: [mei],
    subscriber_id_list: [tomas],
  }),

  "drive.file.bitable_record_changed_v1": ({ id, nowMs }: Facts): EventOf<"drive.file.bitable_record_changed_v1"> => ({
    file_token: "bascnStockList0000000000017",
    file_type: "bitable",
    table_id: "tblStock0000000017",
    revision: 208,
    operator_id: mei,
    action_list: [
      {
        record_id: `rec${id("record").slice(0, 7)}`,
        action: "record_edited",
        before_value: [{ field_id: "fldCount017", field_value: "40" }],
        after_value: [{ field_id: "fldCount017", field_value: "38" }],
      },
    ],
    subscriber_id_list: [tomas],
    update_time: seconds(nowMs),
  }),

  "calendar.calendar.event.changed_v4": ({ id }: Facts): EventOf<"calendar.calendar.event.changed_v4"> => ({
    calendar_id: "feishu.cn_warehouse-shifts@group.calendar.feishu.cn",
    user_id_list: [mei, tomas],
    calendar_event_id: `${id("calendar event")}_0`,
    change_type: "update",
    rsvp_infos: [{ from_user_id: tomas, rsvp_status: "accept" }],
  }),

  "task.task.updated_v1": ({ id }: Facts): EventOf<"task.task.updated_v1"> => ({
    task_id: uuid(id("task")),
    obj_type: 1,
  }),

  "vc.meeting.meeting_ended_v1": ({ id, nowMs }: Facts): EventOf<"vc.meeting.meeting_ended_v1"> => ({
    meeting: {
      // A string, as on the platform, because the id has 64 bits.
      id: `7${BigInt(`0x${id("meeting").slice(0, 14)}`)
        .toString()
        .padStart(18, "0")
        .slice(0, 18)}`,
      topic: "Shift handover",
      meeting_no: "317204865",
      meeting_source: 1,
      start_time: String(seconds(nowMs) - 1_260),
      end_time: String(seconds(nowMs)),
      host_user: host,
      owner: host,
      meeting_sub_type: 1,
    },
    operator: host,
  }),

  // Schema 1.0.
  app_ticket: ({ id }: Facts): Omit<EventOf<"app_ticket">, "type" | "app_id"> => ({
    app_ticket: `g1-${id("ticket")}`,
  }),
};
