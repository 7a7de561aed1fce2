import { parseJson } from "../../feishu/json.ts";
import { department, mei, uuid } from "../samples/facts.ts";
import type { Activity } from "./activity.ts";
import { type Answer, Refusal, success } from "./answer.ts";
import { type Call, type Route, required } from "./route.ts";
import type { User, World } from "./world.ts";

export type ApprovalStatus = "PENDING" | "APPROVED" | "REJECTED" | "CANCELED" | "DELETED";

/** An approval instance. */
export interface Approval {
  readonly instanceCode: string;
  readonly approvalCode: string;
  /** open_id of who wants the approval. */
  readonly userId: string;
  /** The widgets: a JSON document in a string. */
  readonly form: string;
  readonly status: ApprovalStatus;
  readonly startedAtMs: number;
  /** `null` while it is pending. */
  readonly endedAtMs: number | null;
  readonly uuid: string;
}

const malformed = 1390001;
const codeShape = /^[0-9A-F]{8}(?:-[0-9A-F]{4}){3}-[0-9A-F]{12}$/i;

/**
 * Approval instances: create and read. Their definitions are not simulated, so any code of one is taken.
 * https://open.feishu.cn/document/server-docs/approval-v4/instance/create (and `…/get`)
 */
export function createApprovals(options: {
  readonly nowMs: () => number;
  readonly newId: () => string;
  readonly isStrict: boolean;
  readonly world: World;
  readonly onActivity: (activity: Activity) => void;
}) {
  const { nowMs, newId, isStrict, world, onActivity } = options;
  const byCode = new Map<string, Approval>();

  function keep(approval: Approval): Approval {
    byCode.set(approval.instanceCode, approval);
    return approval;
  }

  /** Unless `isStrict`, an instance that was not made here is taken as approved, because an event has named it. */
  function find(instanceCode: string): Approval | undefined {
    const approval = byCode.get(instanceCode);
    if (approval !== undefined || isStrict || !codeShape.test(instanceCode)) return approval;
    return keep({
      ...{ instanceCode, approvalCode: "", userId: mei.open_id, form: "[]", status: "APPROVED", uuid: "" },
      ...{ startedAtMs: nowMs(), endedAtMs: nowMs() },
    });
  }

  function applicant({ user_id: userId, open_id: openId }: Call["body"]): User {
    const user =
      typeof userId === "string" && userId !== ""
        ? world.user("user_id", userId)
        : world.user("open_id", typeof openId === "string" ? openId : "");
    if (user === undefined) throw new Refusal(1390004);
    return user;
  }

  function create(call: Call): Answer {
    const { body } = call;
    const approvalCode = required(body, "approval_code", malformed);
    const form = required(body, "form", malformed);
    if (!Array.isArray(parseJson(form))) throw new Refusal(malformed, "form is not a list in JSON");
    const { open_id: userId } = applicant(body);
    const given = typeof body["uuid"] === "string" ? body["uuid"] : "";
    const before = [...byCode.values()].find((approval) => given !== "" && approval.uuid === given);
    const made = before ?? {
      ...{ instanceCode: uuid(newId()).toUpperCase(), approvalCode, userId, form, uuid: given },
      ...{ status: "PENDING" as const, startedAtMs: nowMs(), endedAtMs: null },
    };
    keep(made);
    if (before === undefined) onActivity({ what: "requested", about: `approval ${made.instanceCode}` });
    return success({ instance_code: made.instanceCode });
  }

  function get({ params }: Call): Answer {
    const approval = find(params.get("instance_id") ?? "");
    if (approval === undefined) throw new Refusal(1390003);
    const { userId, startedAtMs, endedAtMs, ...rest } = approval;
    const user = world.user("open_id", userId);
    const ids = { user_id: user?.user_id ?? "", open_id: userId };
    return success({
      ...{ approval_code: rest.approvalCode, approval_name: "Approval", instance_code: rest.instanceCode },
      ...{ ...ids, department_id: department, form: rest.form, status: rest.status, uuid: rest.uuid },
      ...{ serial_number: "", start_time: String(startedAtMs), end_time: String(endedAtMs ?? 0), reverted: false },
      ...{ task_list: [], comment_list: [] },
      timeline: [{ type: "START", create_time: String(startedAtMs), ...ids }],
    });
  }

  const path = "/open-apis/approval/v4/instances";
  const routes: Route[] = [
    { method: "POST", path, access: "tenant", malformed, operation: create },
    { method: "GET", path: `${path}/:instance_id`, access: "tenant", malformed, operation: get },
  ];
  return {
    routes,
    list: (): readonly Approval[] => [...byCode.values()],
    decide(instanceCode: string, status: ApprovalStatus): Approval {
      const approval = byCode.get(instanceCode);
      if (approval === undefined) throw new RangeError(`There is no approval instance "${instanceCode}"`);
      return keep({ ...approval, status, endedAtMs: status === "PENDING" ? null : nowMs() });
    },
  };
}
