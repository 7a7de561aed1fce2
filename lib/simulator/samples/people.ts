import type { EventOf } from "../../handler.ts";
import { department, type Facts, mei, seconds, tomas } from "./facts.ts";

type Person = NonNullable<EventOf<"contact.user.created_v3">["object"]>;

const person = ({ nowMs }: Facts) =>
  ({
    ...tomas,
    name: "Tomas Reyes",
    en_name: "Tomas Reyes",
    nickname: "Tom",
    email: "tomas.reyes@warehouse.example",
    enterprise_email: "tomas@warehouse.example",
    job_title: "Shift lead",
    mobile: "+0000000017",
    gender: 1,
    avatar: {
      avatar_72: "https://images.warehouse.example/tomas-72.png",
      avatar_240: "https://images.warehouse.example/tomas-240.png",
      avatar_640: "https://images.warehouse.example/tomas-640.png",
      avatar_origin: "https://images.warehouse.example/tomas.png",
    },
    status: { is_frozen: false, is_resigned: false, is_activated: true, is_exited: false, is_unjoin: false },
    department_ids: [department],
    leader_user_id: mei.open_id,
    city: "Ningbo",
    country: "CN",
    work_station: "Dock 3",
    join_time: seconds(nowMs) - 86_400,
    employee_no: "W-0317",
    employee_type: 1,
    orders: [{ department_id: department, user_order: 4, department_order: 1, is_primary_dept: true }],
    custom_attrs: [{ type: "TEXT", id: "C-7093", value: { text: "forklift licence" } }],
  }) satisfies Person;

export const people = {
  "contact.user.created_v3": (facts: Facts): EventOf<"contact.user.created_v3"> => ({ object: person(facts) }),

  "contact.user.updated_v3": (facts: Facts): EventOf<"contact.user.updated_v3"> => {
    const object = person(facts);
    const { open_id, union_id, user_id, name, mobile } = object;
    return { object, old_object: { open_id, union_id, user_id, name, mobile, job_title: "Picker", city: "Suzhou" } };
  },

  "contact.user.deleted_v3": (facts: Facts): EventOf<"contact.user.deleted_v3"> => {
    const object = person(facts);
    return {
      object: { ...object, department_ids: [], orders: [], status: { ...object.status, is_resigned: true } },
      old_object: { open_id: tomas.open_id, department_ids: [department] },
    };
  },

  "contact.department.created_v3": (): EventOf<"contact.department.created_v3"> => ({
    object: {
      name: "Night shift",
      parent_department_id: department,
      department_id: "night-3",
      open_department_id: "od-c83f1e6a27d94b05913e7ad0f46b82c5",
      leader_user_id: mei.open_id,
      order: 20,
      status: { is_deleted: false },
      leaders: [{ leaderType: 1, leaderID: mei.open_id }],
      department_hrbps: [tomas],
    },
  }),
};
