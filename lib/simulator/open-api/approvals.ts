import { fieldsOf, parseJson, stringOf } from "../../feishu/json.ts";
import { department, mei, tomas, uuid } from "../samples/facts.ts";
import { type Activity, createListeners } from "./activity.ts";
import { type Answer, Refusal, success } from "./answer.ts";
import { type Call, page, type Route, required } from "./route.ts";
import { idTypeOf, type User, type World } from "./world.ts";

export type ApprovalStatus = "PENDING" | "APPROVED" | "REJECTED" | "CANCELED" | "DELETED";

/** What one person is asked. */
interface ApprovalTask {
  readonly id: string;
  /** open_id */
  readonly userId: string;
  readonly status: "PENDING" | "APPROVED" | "REJECTED" | "TRANSFERRED" | "DONE";
  readonly startedAtMs: number;
  /** `null` while it is pending. */
  readonly endedAtMs: number | null;
}

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
  readonly tasks: readonly ApprovalTask[];
}

const malformed = 1390001;
const codeShape = /^[0-9A-F]{8}(?:-[0-9A-F]{4}){3}-[0-9A-F]{12}$/i;

/**
 * Approval instances and their tasks. Their definitions are not simulated, so any code of one is taken. Who approves is
 * whom the call names, or Tomas; all of them have to.
 * https://open.feishu.cn/document/server-docs/approval-v4/instance/create
 * (and `…/get`, `…/list`, `…/cancel`, `…/task/approve`, `…/reject`, `…/transfer`, `…/approval/get`, `…/subscribe`)
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
  const subscribed = new Set<string>();
  const listeners = createListeners<Approval>();

  function changed(approval: Approval): Approval {
    keep(approval);
    if (subscribed.has(approval.approvalCode)) listeners.notify(approval);
    return approval;
  }

  function keep(approval: Approval): Approval {
    byCode.set(approval.instanceCode, approval);
    return approval;
  }

  /** Unless `isStrict`, an instance that was not made here is taken as approved, because an event has named it. */
  function find(instanceCode: string): Approval {
    const approval = byCode.get(instanceCode);
    if (approval !== undefined) return approval;
    if (isStrict || !codeShape.test(instanceCode)) throw new Refusal(1390003);
    return keep({
      instanceCode,
      approvalCode: "",
      userId: mei.open_id,
      form: "[]",
      status: "APPROVED",
      uuid: "",
      startedAtMs: nowMs(),
      endedAtMs: nowMs(),
      tasks: [],
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

  function newTask(userId: string): ApprovalTask {
    // An int64 in a string, as on the platform.
    const id = String(BigInt(`0x${newId().slice(0, 15)}`));
    return { id, userId, status: "PENDING", startedAtMs: nowMs(), endedAtMs: null };
  }

  function approvers(body: Call["body"]): string[] {
    const named = (["open_id", "user_id"] as const).flatMap((idType) => {
      const nodes = body[`node_approver_${idType}_list`];
      const ids = (Array.isArray(nodes) ? nodes : []).flatMap((node) => fieldsOf(node)["value"] ?? []);
      return ids.map((id) => world.user(idType, String(id))?.open_id);
    });
    if (named.includes(undefined)) throw new Refusal(1390004);
    return named.length === 0 ? [tomas.open_id] : [...new Set(named.map(String))];
  }

  function create({ body }: Call): Answer {
    const approvalCode = required(body, "approval_code", malformed);
    const form = required(body, "form", malformed);
    if (!Array.isArray(parseJson(form))) throw new Refusal(malformed, "form is not a list in JSON");
    const { open_id: userId } = applicant(body);
    const requestUuid = stringOf(body["uuid"]) ?? "";
    const before = [...byCode.values()].find((approval) => requestUuid !== "" && approval.uuid === requestUuid);
    if (before !== undefined) return success({ instance_code: before.instanceCode });
    const { instanceCode } = changed({
      instanceCode: uuid(newId()).toUpperCase(),
      approvalCode,
      userId,
      form,
      uuid: requestUuid,
      status: "PENDING",
      startedAtMs: nowMs(),
      endedAtMs: null,
      tasks: approvers(body).map(newTask),
    });
    onActivity({ what: "requested", about: `approval ${instanceCode}` });
    return success({ instance_code: instanceCode });
  }

  function get({ params }: Call): Answer {
    const { userId, startedAtMs, endedAtMs, tasks, ...rest } = find(params.get("instance_id") ?? "");
    const idsOf = (openId: string) => ({ user_id: world.user("open_id", openId)?.user_id ?? "", open_id: openId });
    const ended = tasks.filter(({ status }) => status === "APPROVED" || status === "REJECTED");
    return success({
      approval_code: rest.approvalCode,
      approval_name: "Approval",
      instance_code: rest.instanceCode,
      ...idsOf(userId),
      department_id: department,
      form: rest.form,
      status: rest.status,
      uuid: rest.uuid,
      serial_number: "",
      start_time: String(startedAtMs),
      end_time: String(endedAtMs ?? 0),
      reverted: false,
      task_list: tasks.map((task) => ({
        id: task.id,
        ...idsOf(task.userId),
        status: task.status,
        type: "AND",
        node_id: node.node_id,
        node_name: node.name,
        start_time: String(task.startedAtMs),
        end_time: String(task.endedAtMs ?? 0),
      })),
      comment_list: [],
      timeline: [
        { type: "START", create_time: String(startedAtMs), ...idsOf(userId) },
        ...ended.map((task) => ({
          type: task.status === "APPROVED" ? "PASS" : "REJECT",
          task_id: task.id,
          create_time: String(task.endedAtMs),
          ...idsOf(task.userId),
          node_key: node.node_id,
        })),
      ],
    });
  }

  function list({ query }: Call): Answer {
    const approvalCode = query.get("approval_code") ?? "";
    const [from, to] = ["start_time", "end_time"].map((name) => Number(query.get(name) || Number.NaN));
    if (approvalCode === "" || Number.isNaN(from) || Number.isNaN(to)) {
      throw new Refusal(malformed, "approval_code, start_time and end_time are required");
    }
    const isWithin = ({ startedAtMs }: Approval) => startedAtMs >= (from ?? 0) && startedAtMs <= (to ?? 0);
    const found = [...byCode.values()].filter(
      (approval) => approval.approvalCode === approvalCode && isWithin(approval),
    );
    const { items, ...rest } = page(found, query, { code: malformed, size: 100, maxSize: 100 });
    return success({ instance_code_list: items.map(({ instanceCode }) => instanceCode), ...rest });
  }

  /** Ends an instance, and the tasks that are still pending. */
  function end(approval: Approval, status: ApprovalStatus): Approval {
    const endedAtMs = status === "PENDING" ? null : nowMs();
    const ended = status === "APPROVED" || status === "REJECTED" ? status : "DONE";
    const tasks = approval.tasks.map(
      (task): ApprovalTask =>
        endedAtMs === null || task.endedAtMs !== null ? task : { ...task, status: ended, endedAtMs },
    );
    return changed({ ...approval, status, endedAtMs, tasks });
  }

  /** The instance that the body names, and its person by the kind of id in the query. @throws {Refusal} */
  function named({ query, body }: Call): { approval: Approval; openId: string } {
    const approval = find(required(body, "instance_code", malformed));
    const code = required(body, "approval_code", malformed);
    if (approval.approvalCode !== "" && approval.approvalCode !== code) throw new Refusal(1390002);
    return { approval, openId: person(query, required(body, "user_id", malformed)) };
  }

  function person(query: URLSearchParams, id: string): string {
    const user = world.user(idTypeOf(query, malformed), id);
    if (user === undefined) throw new Refusal(1390004);
    return user.open_id;
  }

  function settle(call: Call, status: "APPROVED" | "REJECTED" | "TRANSFERRED"): Answer {
    const { approval, openId } = named(call);
    const id = required(call.body, "task_id", malformed);
    const task = approval.tasks.find((each) => each.id === id && each.userId === openId && each.status === "PENDING");
    if (task === undefined) throw new Refusal(1390010);
    const next =
      status === "TRANSFERRED" ? [newTask(person(call.query, required(call.body, "transfer_user_id", malformed)))] : [];
    const tasks = approval.tasks.map((each) => (each === task ? { ...each, status, endedAtMs: nowMs() } : each));
    const settled = keep({ ...approval, tasks: [...tasks, ...next] });
    const isPending = settled.tasks.some((each) => each.status === "PENDING");
    if (status === "REJECTED" || (status === "APPROVED" && !isPending)) end(settled, status);
    onActivity({ what: status.toLowerCase(), about: `approval ${approval.instanceCode}` });
    return success();
  }

  function cancel(call: Call): Answer {
    const { approval, openId } = named(call);
    if (approval.userId !== openId) throw new Refusal(malformed, "user_id did not request the approval");
    if (approval.status !== "PENDING") throw new Refusal(malformed, "the approval is not pending");
    end(approval, "CANCELED");
    onActivity({ what: "canceled", about: `approval ${approval.instanceCode}` });
    return success();
  }

  function subscribe({ params }: Call, isWanted: boolean): Answer {
    const code = params.get("approval_code") ?? "";
    if (subscribed.has(code) === isWanted) throw new Refusal(1390007);
    if (isWanted) subscribed.add(code);
    else subscribed.delete(code);
    onActivity({ what: isWanted ? "subscribed to" : "unsubscribed from", about: `approval ${code}` });
    return success();
  }

  const route = (method: string, path: string, operation: (call: Call) => Answer): Route => {
    return { method, path: `/open-apis/approval/v4/${path}`, access: "tenant", malformed, operation };
  };
  return {
    routes: [
      route("POST", "instances", create),
      route("GET", "instances", list),
      route("GET", "instances/:instance_id", get),
      route("POST", "instances/cancel", cancel),
      route("POST", "tasks/approve", (call) => settle(call, "APPROVED")),
      route("POST", "tasks/reject", (call) => settle(call, "REJECTED")),
      route("POST", "tasks/transfer", (call) => settle(call, "TRANSFERRED")),
      route("GET", "approvals/:approval_code", () => success(definition)),
      route("POST", "approvals/:approval_code/subscribe", (call) => subscribe(call, true)),
      route("POST", "approvals/:approval_code/unsubscribe", (call) => subscribe(call, false)),
    ],
    list: (): readonly Approval[] => [...byCode.values()],
    /** Calls the listener for each instance of a subscribed definition that begins or ends. */
    onChange: listeners.add,
    decide(instanceCode: string, status: ApprovalStatus): Approval {
      const approval = byCode.get(instanceCode);
      if (approval === undefined) throw new RangeError(`There is no approval instance "${instanceCode}"`);
      return end(approval, status);
    },
  };
}

const node = {
  name: "Approval",
  node_id: "b078ffd28db767c502ac367053f6e0ac",
  node_type: "AND",
  need_approver: false,
  approver_chosen_multi: false,
  require_signature: false,
};
const definition = {
  approval_name: "Approval",
  status: "ACTIVE",
  form: "[]",
  node_list: [node],
  viewers: [{ type: "TENANT", id: "", user_id: "" }],
};
