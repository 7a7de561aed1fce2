import type { CloudFormation, StackEvent } from "@aws-sdk/client-cloudformation";
import { pause, systemClock } from "../../clock.ts";
import { oneLine } from "../command.ts";
import { paint } from "../paint.ts";
import { createChangeSet, updateOf } from "./change-set.ts";
import type { Context } from "./preflight/context.ts";

const stackType = "AWS::CloudFormation::Stack";
const pollMs = 2_000;

/**
 * Makes or updates a stack by a change set, and prints what CloudFormation does until it has ended.
 * @returns Whether the stack is now as it is to be. Otherwise CloudFormation has taken the change back.
 */
export async function apply(context: Pick<Context, "stack" | "deployed" | "clients">): Promise<boolean> {
  const { stack, deployed, clients } = context;
  const { cloudFormation } = clients;
  const ChangeSetType = deployed === undefined ? "CREATE" : "UPDATE";
  const { which, changes } = await createChangeSet(cloudFormation, { ...updateOf(stack), ChangeSetType });
  if (changes.length === 0) {
    await cloudFormation.deleteChangeSet(which);
    console.log(`Nothing changes in the stack ${stack.name}`);
    return true;
  }
  return /^(CREATE|UPDATE)_COMPLETE$/.test(await execute(cloudFormation, which));
}

/**
 * Executes a change set, and prints what CloudFormation does until it has ended.
 * @returns The stack's status then.
 */
export async function execute(
  client: CloudFormation,
  which: { readonly StackName: string; readonly ChangeSetName: string },
): Promise<string> {
  const { StackName: name } = which;
  const known = new Set((await eventsOf(client, name)).map(({ EventId }) => EventId));
  await client.executeChangeSet(which);
  for (;;) {
    const events = (await eventsOf(client, name)).filter(({ EventId }) => !known.has(EventId));
    for (const event of events.reverse()) {
      known.add(event.EventId);
      const { ResourceType, LogicalResourceId } = event;
      const status = String(event.ResourceStatus);
      console.log(eventLine(event));
      if (ResourceType === stackType && LogicalResourceId === name && !/_IN_PROGRESS$/.test(status)) return status;
    }
    await pause(systemClock, pollMs);
  }
}

/** The last hundred, the newest first. */
async function eventsOf(client: CloudFormation, StackName: string): Promise<StackEvent[]> {
  return (await client.describeStackEvents({ StackName })).StackEvents ?? [];
}

function eventLine({ ResourceStatus, LogicalResourceId, ResourceType, ResourceStatusReason = "" }: StackEvent): string {
  const text = `  ${ResourceStatus}  ${LogicalResourceId} (${ResourceType})`;
  const line = ResourceStatusReason === "" ? text : `${text}: ${oneLine(ResourceStatusReason, 500)}`;
  return /FAILED|ROLLBACK/.test(String(ResourceStatus)) ? paint("red", line) : line;
}
