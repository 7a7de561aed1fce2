import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { CloudFormation, ResourceChange } from "@aws-sdk/client-cloudformation";
import type { Lambda } from "@aws-sdk/client-lambda";
import { fieldsOf } from "../../feishu/json.ts";
import { faultLine } from "../check/finding.ts";
import { CommandError } from "../command.ts";
import { paint } from "../paint.ts";
import { reasonOf } from "./clients.ts";
import { warning } from "./preflight/context.ts";
import type { Ready } from "./preflight/preflight.ts";
import { packageFolder, type Resource, type Stack } from "./stack.ts";

/** What CloudFormation takes without a bucket. */
const mostTemplateBytes = 51_200;
/** What a resource holds that a new one in its place would not. */
const stateful = new Map([
  ["AWS::SQS::Queue", "its messages"],
  ["AWS::DynamoDB::Table", "its items"],
  ["AWS::S3::Bucket", "its objects"],
]);
/** A new one has another address, which has to be pasted into the developer console. */
const addresses = ["AWS::ApiGatewayV2::Api", "AWS::Lambda::Url"];

/** One change in words. */
interface Line {
  readonly text: string;
  readonly isRefused: boolean;
}

/**
 * What a deployment would change, in words. Changes nothing.
 * @throws {CommandError} CloudFormation does not say.
 */
export async function changeLines({ stack, deployed, clients }: Ready, root: string): Promise<Line[]> {
  if (deployed === undefined) return created(stack).map((text) => ({ text, isRefused: false }));
  const changes = await changesOf(stack, clients.cloudFormation);
  const lines = await Promise.all(changes.map((change) => lineOf(change, { stack, root, lambda: clients.lambda })));
  return lines.filter((line) => line !== undefined);
}

/** @returns Whether a deployment would do it. */
export function printChanges({ stack, account, deployed }: Ready, lines: readonly Line[]): boolean {
  const verb = deployed === undefined ? "create" : "change";
  const what = lines.length === 0 ? "change nothing of" : verb;
  console.log(`Would ${what} the stack ${stack.name} in ${stack.region} of account ${account}`);
  for (const { text, isRefused } of lines) console.log(isRefused ? paint("red", text) : text);
  return lines.every(({ isRefused }) => !isRefused);
}

/**
 * Refuses a deployment that would lose something. Where CloudFormation does not compare, the stack's own policy still
 * keeps what the engine needs.
 * @throws {CommandError} Something would be replaced that holds what a new one would not.
 */
export async function refuseReplacements(ready: Ready, root: string): Promise<void> {
  let lines: readonly Line[];
  try {
    lines = await changeLines(ready, root);
  } catch (error) {
    const text = error instanceof CommandError ? error.message : reasonOf(error);
    console.error(faultLine(warning(ready.stack.name, `was not compared with the template: ${text}`)));
    return;
  }
  const refused = lines.filter(({ isRefused }) => isRefused).map(({ text }) => text);
  if (refused.length > 0) throw new CommandError(["Cannot deploy. Something would be lost:", ...refused].join("\n"));
}

/** The resources of a new stack, by type. */
function created({ template }: Stack): string[] {
  const byType = Map.groupBy(Object.entries(template.Resources), ([, { Type }]) => Type);
  return [...byType]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([type, found]) => `  + ${found.length} ${type}: ${found.map(([id]) => id).join(", ")}`);
}

/** Has CloudFormation compare the template with the stack, by a change set that is deleted again. */
async function changesOf(stack: Stack, client: CloudFormation): Promise<ResourceChange[]> {
  // Alarms and dashboard are more than half of a template, and nothing of Larkpost's refers to them.
  const isLarge = Buffer.byteLength(bodyOf(stack)) > mostTemplateBytes;
  const others = Object.entries(stack.template.Resources).filter(([, { Type }]) => !isCloudWatch(Type));
  const template = isLarge ? { ...stack.template, Resources: Object.fromEntries(others) } : stack.template;
  const { which, changes } = await createChangeSet({ ...stack, template }, client, "UPDATE");
  await client.deleteChangeSet(which);
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
 * @returns The change set, and what it would change. It is deleted when it fails.
 * @throws {CommandError} CloudFormation does not take the template.
 */
export async function createChangeSet(stack: Stack, client: CloudFormation, type: "CREATE" | "UPDATE") {
  const TemplateBody = bodyOf(stack);
  const bytes = Buffer.byteLength(TemplateBody);
  if (bytes > mostTemplateBytes) {
    throw new CommandError(
      `Cannot show the changes: the template has ${bytes} bytes, and CloudFormation compares ${mostTemplateBytes} at most without a bucket. Look at "npm run package" instead`,
    );
  }
  const which = { StackName: stack.name, ChangeSetName: `larkpost-${Date.now()}` };
  await client.createChangeSet({
    ...which,
    ChangeSetType: type,
    TemplateBody,
    Capabilities: ["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM"],
    Tags: Object.entries(stack.tags).map(([Key, Value]) => ({ Key, Value })),
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
  for (let NextToken: string | undefined; ; ) {
    const page = await client.describeChangeSet({ ...which, ...(NextToken === undefined ? {} : { NextToken }) });
    const { Status = "", StatusReason = "", Changes = [] } = page;
    if (Status === "FAILED") {
      if (/didn't contain changes|No updates are to be performed/.test(StatusReason)) return [];
      throw new CommandError(`Cannot show the changes: ${StatusReason}`);
    }
    if (Status !== "CREATE_COMPLETE") {
      await sleep(250);
      continue;
    }
    changes.push(...Changes.flatMap(({ ResourceChange }) => ResourceChange ?? []));
    NextToken = page.NextToken;
    if (NextToken === undefined) return changes;
  }
}

/** @returns `undefined`: what the resource is stays as it was. */
async function lineOf(
  change: ResourceChange,
  { stack, root, lambda }: { stack: Stack; root: string; lambda: Lambda },
): Promise<Line | undefined> {
  const {
    Action = "",
    LogicalResourceId: id = "",
    ResourceType: type = "",
    Replacement = "False",
    Details = [],
  } = change;
  const name = `${id} (${type})`;
  const lost = stateful.get(type);
  const moves = addresses.includes(type) ? ". Its address changes: paste the new one into the developer console" : "";
  if (Action === "Add") return { text: `  + creates ${name}`, isRefused: false };
  if (Action === "Remove") {
    const isRefused = stack.kept.includes(id);
    const end = lost === undefined ? moves : ` and ${lost}`;
    return { text: `  - deletes ${name}${end}${isRefused ? ". Refused: the engine needs it" : ""}`, isRefused };
  }
  const targets = Details.map(({ Target: { Attribute, Name } = {} }) =>
    Attribute === "Properties" ? Name : Attribute,
  );
  const all = [...new Set(targets.filter((target) => target !== undefined && target !== "Metadata"))];
  const isSame = all.includes("Code") && (await isSameCode(stack.template.Resources[id], { root, lambda }));
  const properties = all.filter((target) => target !== "Code" || !isSame).join(", ");
  if (properties === "") return undefined;
  if (Replacement === "False") return { text: `  ~ updates ${name}: ${properties}`, isRefused: false };
  if (Replacement !== "True") return { text: `  ! may replace ${name}: ${properties}${moves}`, isRefused: false };
  const isRefused = lost !== undefined;
  const end = isRefused
    ? `. Refused, since the new one lacks ${lost}. Undo it, or give the new one an id of its own`
    : moves;
  return { text: `  ! replaces ${name}: ${properties}${end}`, isRefused };
}

/** Each deployment has a folder of its own in the bucket, so the code's place changes although the code does not. */
async function isSameCode(
  resource: Resource | undefined,
  { root, lambda }: { root: string; lambda: Lambda },
): Promise<boolean> {
  const { FunctionName, Code } = fieldsOf(resource?.Properties);
  const { S3Key } = fieldsOf(Code);
  if (typeof FunctionName !== "string" || typeof S3Key !== "string") return false;
  const zip = readFileSync(join(root, packageFolder, basename(S3Key)));
  const { Configuration } = await lambda.getFunction({ FunctionName });
  return Configuration?.CodeSha256 === createHash("sha256").update(zip).digest("base64");
}
