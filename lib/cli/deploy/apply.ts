import { setTimeout as sleep } from "node:timers/promises";
import type { CloudFormation, StackEvent } from "@aws-sdk/client-cloudformation";
import { oneLine } from "../command.ts";
import { paint } from "../paint.ts";
import { createChangeSet } from "./changes.ts";
import type { Ready } from "./preflight/preflight.ts";

const stackType = "AWS::CloudFormation::Stack";
const pollMs = 2_000;

/**
 * Makes or updates a stack by a change set, and prints what CloudFormation does until it has ended.
 * @returns Whether the stack is now as it is to be. Otherwise CloudFormation has taken the change back.
 */
export async function apply({ stack, deployed, clients: { cloudFormation } }: Ready): Promise<boolean> {
  const { which, changes } = await createChangeSet(stack, cloudFormation, deployed === undefined ? "CREATE" : "UPDATE");
  if (changes.length === 0) {
    await cloudFormation.deleteChangeSet(which);
    console.log(`Nothing changes in the stack ${stack.name}`);
    return true;
  }
  const known = new Set((await eventsOf(cloudFormation, stack.name)).map(({ EventId }) => EventId));
  await cloudFormation.executeChangeSet(which);
  for (;;) {
    const events = (await eventsOf(cloudFormation, stack.name)).filter(({ EventId }) => !known.has(EventId));
    for (const event of events.reverse()) {
      known.add(event.EventId);
      const { ResourceType, LogicalResourceId } = event;
      const status = String(event.ResourceStatus);
      console.log(eventLine(event));
      if (ResourceType !== stackType || LogicalResourceId !== stack.name || /_IN_PROGRESS$/.test(status)) continue;
      return /^(CREATE|UPDATE)_COMPLETE$/.test(status);
    }
    await sleep(pollMs);
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
