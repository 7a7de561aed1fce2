import type { CloudFormation, CreateChangeSetInput, ResourceChange } from "@aws-sdk/client-cloudformation";
import { pause, systemClock } from "../../clock.ts";
import { CommandError } from "../command.ts";
import type { Resource, Stack } from "./stack.ts";

/** What CloudFormation takes without a bucket. */
export const mostTemplateBytes = 51_200;
/** What becomes of a stack. Its change set gets a name when it is made. */
type Update = Omit<CreateChangeSetInput, "ChangeSetName"> & { readonly StackName: string };

/** Has CloudFormation compare a template with the stack, by a change set that is deleted again. */
export async function compare(client: CloudFormation, update: Update): Promise<ResourceChange[]> {
  const { which, changes } = await createChangeSet(client, { ChangeSetType: "UPDATE", ...update });
  await client.deleteChangeSet(which);
  return changes;
}

/** Compares a stack with what is deployed, without alarms and dashboard if the template is too large with them. */
export async function compareStack(client: CloudFormation, stack: Stack): Promise<ResourceChange[]> {
  // They are more than half of a template, and nothing of Larkpost's refers to them.
  const isLarge = Buffer.byteLength(bodyOf(stack)) > mostTemplateBytes;
  const others = Object.entries(stack.template.Resources).filter(([, { Type }]) => !isCloudWatch(Type));
  const template = isLarge ? { ...stack.template, Resources: Object.fromEntries(others) } : stack.template;
  const changes = await compare(client, updateOf({ ...stack, template }));
  return isLarge ? changes.filter(({ ResourceType = "" }) => !isCloudWatch(ResourceType)) : changes;
}

function isCloudWatch(type: string): boolean {
  return type.startsWith("AWS::CloudWatch::");
}

/** Without the metadata: it holds reasons for static checks, and changes no resource. */
function bodyOf({ template }: Stack): string {
  const resources = Object.entries(template.Resources).map(([id, resource]) => {
    const { Metadata, ...others } = resource as Resource & { Metadata?: unknown };
    return [id, others] as const;
  });
  return JSON.stringify({ ...template, Resources: Object.fromEntries(resources) });
}

/**
 * The stack's template and tags, for a change set.
 * @throws {CommandError} CloudFormation takes no such template without a bucket.
 */
export function updateOf(stack: Stack): Update {
  const TemplateBody = bodyOf(stack);
  const bytes = Buffer.byteLength(TemplateBody);
  if (bytes > mostTemplateBytes) {
    throw new CommandError(
      `Cannot show the changes: the template has ${bytes} bytes, and CloudFormation compares ${mostTemplateBytes} at most without a bucket. Look at "npm run package" instead`,
    );
  }
  const Tags = Object.entries(stack.tags).map(([Key, Value]) => ({ Key, Value }));
  return { StackName: stack.name, TemplateBody, Tags };
}

/**
 * @returns The change set, and what it would change. It is deleted when it fails.
 * @throws {CommandError} CloudFormation does not take it.
 */
export async function createChangeSet(client: CloudFormation, update: Update) {
  const which = { StackName: update.StackName, ChangeSetName: `larkpost-${Date.now()}` };
  await client.createChangeSet({
    ...update,
    ...which,
    Capabilities: ["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM"],
  });
  try {
    return { which, changes: await readChanges(client, which) };
  } catch (error) {
    await client.deleteChangeSet(which);
    throw error;
  }
}

async function readChanges(
  client: CloudFormation,
  which: { StackName: string; ChangeSetName: string },
): Promise<ResourceChange[]> {
  const changes: ResourceChange[] = [];
  let waitMs = 50;
  for (let NextToken: string | undefined; ; ) {
    const page = await client.describeChangeSet({ ...which, ...(NextToken === undefined ? {} : { NextToken }) });
    const { Status = "", StatusReason = "", Changes = [] } = page;
    if (Status === "FAILED") {
      if (/didn't contain changes|No updates are to be performed/.test(StatusReason)) return [];
      throw new CommandError(`Cannot make the change set: ${StatusReason}`);
    }
    if (Status !== "CREATE_COMPLETE") {
      await pause(systemClock, waitMs);
      waitMs = Math.min(2 * waitMs, 1_000);
      continue;
    }
    changes.push(...Changes.flatMap(({ ResourceChange }) => ResourceChange ?? []));
    NextToken = page.NextToken;
    if (NextToken === undefined) return changes;
  }
}
