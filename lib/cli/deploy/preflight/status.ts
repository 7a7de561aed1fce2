import type { Finding } from "../../check/finding.ts";
import type { Stack } from "../stack.ts";
import { about, type Context } from "./context.ts";

const updatable: ReadonlySet<string> = new Set([
  "CREATE_COMPLETE",
  "UPDATE_COMPLETE",
  "UPDATE_ROLLBACK_COMPLETE",
  "UPDATE_FAILED",
  "IMPORT_COMPLETE",
  "IMPORT_ROLLBACK_COMPLETE",
]);

/** A stack that cannot be changed as it is. */
export function findStuckStack({
  stack,
  deployed,
}: Pick<Context, "deployed"> & { readonly stack: Pick<Stack, "name" | "region"> }): Finding[] {
  if (deployed === undefined || updatable.has(deployed.status)) return [];
  const { status } = deployed;
  const advice = adviceFor(status, `--stack-name ${stack.name} --region ${stack.region}`);
  return [about(stack.name, `the stack's status is ${status}, in which it cannot be updated. ${advice}`)];
}

function adviceFor(status: string, which: string): string {
  if (status === "UPDATE_ROLLBACK_FAILED") {
    return `Repair what its events name, then run "aws cloudformation continue-update-rollback ${which}"`;
  }
  if (/_IN_PROGRESS$/.test(status) && status !== "REVIEW_IN_PROGRESS") return "Wait until that has ended";
  return `Nothing runs in it. Run "aws cloudformation delete-stack ${which}", and deploy again`;
}
