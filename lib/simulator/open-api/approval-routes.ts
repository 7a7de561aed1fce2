import { fieldsOf, type JsonObject, parseJson, stringOf } from "../../feishu/json.ts";
import { department, tomas } from "../samples/facts.ts";
import type { Activity } from "./activity.ts";
import { type Answer, Refusal, success } from "./answer.ts";
import type { Approval, Approvals, Settlement } from "./approvals.ts";
import { type Call, page, type Route, required } from "./route.ts";
import { idTypeOf, type User, type World } from "./world.ts";

const malformed = 1390001;

interface Parts {
  readonly approvals: Approvals;
  readonly world: World;
  readonly onActivity: (activity: Activity) => void;
}

/**
 * Approvals. Who approves is whom the call names, or Tomas; all of them have to.
 * https://open.feishu.cn/document/server-docs/approval-v4/instance/create
 * (and `…/get`, `…/list`, `…/cancel`, `…/task/approve`, `…/reject`, `…/transfer`, `…/approval/get`, `…/subscribe`)
 */
export function approvalRoutes(parts: Parts): Route[] {
  return [...instanceRoutes(parts), ...decisionRoutes(parts), ...definitionRoutes(parts)];
}

function route(method: string, path: string, operation: (call: Call) => Answer): Route {
  return { method, path: `/open-apis/approval/v4/${path}`, access: "tenant", malformed, operation };
}

function instanceRoutes({ approvals, world, onActivity }: Parts): Route[] {
  function create({ body }: Call): Answer {
    const approvalCode = required(body, "approval_code", malformed);
    const form = required(body, "form", malformed);
    if (!Array.isArray(parseJson(form))) throw new Refusal(malformed, "form is not a list in JSON");
    const { open_id: userId } = applicant(body, world);
    const requestUuid = stringOf(body["uuid"]) ?? "";
    const before = approvals.list().find((approval) => requestUuid !== "" && approval.uuid === requestUuid);
    if (before !== undefined) return success({ instance_code: before.instanceCode });
    const request = { approvalCode, userId, form, uuid: requestUuid };
    const { instanceCode } = approvals.add(request, approvers(body, world));
    onActivity({ what: "requested", about: `approval ${instanceCode}` });
    return success({ instance_code: instanceCode });
  }

  function get({ params }: Call): Answer {
    return success(instanceView(approvals.find(params.get("instance_id") ?? ""), world));
  }

  function list({ query }: Call): Answer {
    const approvalCode = query.get("approval_code") ?? "";
    const [from, to] = ["start_time", "end_time"].map((name) => Number(query.get(name) || Number.NaN));
    if (approvalCode === "" || Number.isNaN(from) || Number.isNaN(to)) {
      throw new Refusal(malformed, "approval_code, start_time and end_time are required");
    }
    const isWithin = ({ startedAtMs }: Approval) => startedAtMs >= (from ?? 0) && startedAtMs <= (to ?? 0);
    const found = approvals.list().filter((approval) => approval.approvalCode === approvalCode && isWithin(approval));
    const { items, ...rest } = page(found, query, { code: malformed, size: 100, maxSize: 100 });
    return success({ instance_code_list: items.map(({ instanceCode }) => instanceCode), ...rest });
  }

  return [
    route("POST", "instances", create),
    route("GET", "instances", list),
    route("GET", "instances/:instance_id", get),
  ];
}

/** @throws {Refusal} 1390004 */
function applicant({ user_id: userId, open_id: openId }: JsonObject, world: World): User {
  const user =
    typeof userId === "string" && userId !== ""
      ? world.user("user_id", userId)
      : world.user("open_id", typeof openId === "string" ? openId : "");
  if (user === undefined) throw new Refusal(1390004);
  return user;
}

/** The open_ids of whom the body names. @throws {Refusal} 1390004 */
function approvers(body: JsonObject, world: World): string[] {
  const named = (["open_id", "user_id"] as const).flatMap((idType) => {
    const nodes = body[`node_approver_${idType}_list`];
    const ids = (Array.isArray(nodes) ? nodes : []).flatMap((node) => fieldsOf(node)["value"] ?? []);
    return ids.map((id) => world.user(idType, String(id))?.open_id);
  });
  if (named.includes(undefined)) throw new Refusal(1390004);
  return named.length === 0 ? [tomas.open_id] : [...new Set(named.map(String))];
}

/** An instance as the API returns it. */
function instanceView(approval: Approval, world: World): object {
  const { userId, startedAtMs, endedAtMs, tasks, ...rest } = approval;
  const idsOf = (openId: string) => ({ user_id: world.user("open_id", openId)?.user_id ?? "", open_id: openId });
  const ended = tasks.filter(({ status }) => status === "APPROVED" || status === "REJECTED");
  return {
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
  };
}

/** What ends a task or an instance. */
function decisionRoutes({ approvals, world, onActivity }: Parts): Route[] {
  /** The instance that the body names, and its person by the kind of id in the query. @throws {Refusal} */
  function named({ query, body }: Call): { approval: Approval; openId: string } {
    const approval = approvals.find(required(body, "instance_code", malformed));
    const code = required(body, "approval_code", malformed);
    if (approval.approvalCode !== "" && approval.approvalCode !== code) throw new Refusal(1390002);
    return { approval, openId: person(query, required(body, "user_id", malformed)) };
  }

  function person(query: URLSearchParams, id: string): string {
    const user = world.user(idTypeOf(query, malformed), id);
    if (user === undefined) throw new Refusal(1390004);
    return user.open_id;
  }

  function settle(call: Call, status: Settlement): Answer {
    const { approval, openId } = named(call);
    const id = required(call.body, "task_id", malformed);
    const task = approval.tasks.find((each) => each.id === id && each.userId === openId && each.status === "PENDING");
    if (task === undefined) throw new Refusal(1390010);
    const nextUserId =
      status === "TRANSFERRED" ? person(call.query, required(call.body, "transfer_user_id", malformed)) : undefined;
    approvals.settle(approval, task, status, nextUserId);
    onActivity({ what: status.toLowerCase(), about: `approval ${approval.instanceCode}` });
    return success();
  }

  function cancel(call: Call): Answer {
    const { approval, openId } = named(call);
    if (approval.userId !== openId) throw new Refusal(malformed, "user_id did not request the approval");
    if (approval.status !== "PENDING") throw new Refusal(malformed, "the approval is not pending");
    approvals.decide(approval.instanceCode, "CANCELED");
    onActivity({ what: "canceled", about: `approval ${approval.instanceCode}` });
    return success();
  }

  return [
    route("POST", "instances/cancel", cancel),
    route("POST", "tasks/approve", (call) => settle(call, "APPROVED")),
    route("POST", "tasks/reject", (call) => settle(call, "REJECTED")),
    route("POST", "tasks/transfer", (call) => settle(call, "TRANSFERRED")),
  ];
}

function definitionRoutes({ approvals, onActivity }: Parts): Route[] {
  function subscribe({ params }: Call, isWanted: boolean): Answer {
    const code = params.get("approval_code") ?? "";
    approvals.subscribe(code, isWanted);
    onActivity({ what: isWanted ? "subscribed to" : "unsubscribed from", about: `approval ${code}` });
    return success();
  }

  return [
    route("GET", "approvals/:approval_code", () => success(definition)),
    route("POST", "approvals/:approval_code/subscribe", (call) => subscribe(call, true)),
    route("POST", "approvals/:approval_code/unsubscribe", (call) => subscribe(call, false)),
  ];
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
