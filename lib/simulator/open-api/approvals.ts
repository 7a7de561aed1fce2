import { mei, uuid } from "../samples/facts.ts";
import { createListeners } from "./activity.ts";
import { Refusal } from "./answer.ts";

export type ApprovalStatus = "PENDING" | "APPROVED" | "REJECTED" | "CANCELED" | "DELETED";

/** What one person is asked. */
interface ApprovalTask {
  readonly id: string;
  /** open_id */
  readonly userId: string;
  readonly status: "PENDING" | Settlement | "DONE";
  readonly startedAtMs: number;
  /** `null` while it is pending. */
  readonly endedAtMs: number | null;
}

export type Settlement = "APPROVED" | "REJECTED" | "TRANSFERRED";

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

const codeShape = /^[0-9A-F]{8}(?:-[0-9A-F]{4}){3}-[0-9A-F]{12}$/i;

/** Approval instances and their tasks. Their definitions are not simulated, so any code of one is taken. */
export function createApprovals(options: {
  readonly nowMs: () => number;
  readonly newId: () => string;
  readonly isStrict: boolean;
}) {
  const { nowMs, newId, isStrict } = options;
  const byCode = new Map<string, Approval>();
  const subscribed = new Set<string>();
  const listeners = createListeners<Approval>();

  /** Keeps an instance that begins or ends. */
  function changed(approval: Approval): Approval {
    keep(approval);
    if (subscribed.has(approval.approvalCode)) listeners.notify(approval);
    return approval;
  }

  function keep(approval: Approval): Approval {
    byCode.set(approval.instanceCode, approval);
    return approval;
  }

  function newTask(userId: string): ApprovalTask {
    // An int64 in a string, as on the platform.
    const id = String(BigInt(`0x${newId().slice(0, 15)}`));
    return { id, userId, status: "PENDING", startedAtMs: nowMs(), endedAtMs: null };
  }

  return {
    list: (): readonly Approval[] => [...byCode.values()],
    /** Calls the listener for each instance of a subscribed definition that begins or ends. */
    onChange: listeners.add,

    /**
     * Unless `isStrict`, an instance that was not made here is taken as approved, because an event has named it.
     * @throws {Refusal} 1390003
     */
    find(instanceCode: string): Approval {
      const approval = byCode.get(instanceCode);
      if (approval !== undefined) return approval;
      if (isStrict || !codeShape.test(instanceCode)) throw new Refusal(1390003);
      return keep(assumed(instanceCode, nowMs()));
    },

    /** @param approvers open_ids. All of them have to approve. */
    add(request: Pick<Approval, "approvalCode" | "userId" | "form" | "uuid">, approvers: readonly string[]): Approval {
      return changed({
        ...request,
        instanceCode: uuid(newId()).toUpperCase(),
        status: "PENDING",
        startedAtMs: nowMs(),
        endedAtMs: null,
        tasks: approvers.map(newTask),
      });
    },

    /** Ends a task. A rejected one and the last approved one end the instance; a transferred one leaves a new task. */
    settle(approval: Approval, task: ApprovalTask, status: Settlement, nextUserId?: string): void {
      const tasks = approval.tasks.map((each) => (each === task ? { ...each, status, endedAtMs: nowMs() } : each));
      const next = nextUserId === undefined ? [] : [newTask(nextUserId)];
      const settled = keep({ ...approval, tasks: [...tasks, ...next] });
      const isPending = settled.tasks.some((each) => each.status === "PENDING");
      if (status === "REJECTED" || (status === "APPROVED" && !isPending)) changed(ended(settled, status, nowMs()));
    },

    /** @throws {RangeError} There is no such instance. */
    decide(instanceCode: string, status: ApprovalStatus): Approval {
      const approval = byCode.get(instanceCode);
      if (approval === undefined) throw new RangeError(`There is no approval instance "${instanceCode}"`);
      return changed(ended(approval, status, nowMs()));
    },

    /** @throws {Refusal} 1390007 The definition is subscribed to already, or is not. */
    subscribe(approvalCode: string, isWanted: boolean): void {
      if (subscribed.has(approvalCode) === isWanted) throw new Refusal(1390007);
      if (isWanted) subscribed.add(approvalCode);
      else subscribed.delete(approvalCode);
    },
  };
}

export type Approvals = ReturnType<typeof createApprovals>;

/** An instance that was made before the simulator was started. */
function assumed(instanceCode: string, atMs: number): Approval {
  return {
    instanceCode,
    approvalCode: "",
    userId: mei.open_id,
    form: "[]",
    status: "APPROVED",
    uuid: "",
    startedAtMs: atMs,
    endedAtMs: atMs,
    tasks: [],
  };
}

/** An instance in another state. Its end ends the tasks that are still pending. */
function ended(approval: Approval, status: ApprovalStatus, atMs: number): Approval {
  if (status === "PENDING") return { ...approval, status, endedAtMs: null };
  const taskStatus = status === "APPROVED" || status === "REJECTED" ? status : "DONE";
  const tasks = approval.tasks.map(
    (task): ApprovalTask => (task.endedAtMs === null ? { ...task, status: taskStatus, endedAtMs: atMs } : task),
  );
  return { ...approval, status, endedAtMs: atMs, tasks };
}
