import { CommandError } from "../command.ts";
import { execute } from "./apply.ts";
import { createChangeSet, mostTemplateBytes } from "./change-set.ts";
import { type Clients, reasonOf } from "./clients.ts";
import type { Context } from "./preflight/context.ts";
import { deployedTemplate, type Resource, type Stack, stackResources } from "./stack.ts";

type Known = Pick<Context, "stack" | "deployed" | "clients">;

/** A queue or a table of the engine. It is kept when its stack is removed, and has the same name in the next one. */
interface Kept {
  readonly id: string;
  readonly type: string;
  readonly name: string;
}

/** One that is there, by what CloudFormation imports it by. */
export interface Left extends Kept {
  readonly identifier: Readonly<Record<string, string>>;
}

function keptOf({ kept, template }: Stack): Kept[] {
  return kept.flatMap((id) => {
    const { Type: type = "", Properties: { QueueName, TableName } = {} } = template.Resources[id] ?? {};
    const name = QueueName ?? TableName;
    return typeof name === "string" ? [{ id, type, name }] : [];
  });
}

/** What is there under the stack's names, and in no such stack: the stack was removed, or could not clean up. */
export async function findLeft({ stack, deployed, clients }: Known): Promise<Left[]> {
  const owned = deployed === undefined ? [] : await stackResources(clients.cloudFormation, stack.name);
  const ids = new Set(owned.map(({ id }) => id));
  const found = await Promise.all(
    keptOf(stack).map(async (kept) => {
      const identifier = ids.has(kept.id) ? undefined : await identifierOf(kept, clients);
      return identifier === undefined ? [] : [{ ...kept, identifier }];
    }),
  );
  return found.flat();
}

/** @returns `undefined`: there is none of that name. */
async function identifierOf({ type, name }: Kept, { sqs, dynamo }: Clients): Promise<Left["identifier"] | undefined> {
  try {
    if (type === "AWS::DynamoDB::Table") {
      await dynamo.describeTable({ TableName: name });
      return { TableName: name };
    }
    return { QueueUrl: (await sqs.getQueueUrl({ QueueName: name })).QueueUrl ?? "" };
  } catch (error) {
    if (error instanceof Error && /QueueDoesNotExist|ResourceNotFound/.test(error.name)) return undefined;
    throw error;
  }
}

/**
 * Imports what is left into the stack, which is made if there is none. The deployment that follows updates it as any
 * other. Nothing of what it holds changes, and a policy of `Retain` keeps it even if the import fails.
 * https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/resource-import.html
 * @throws {CommandError} CloudFormation does not import it.
 */
export async function adopt({ stack, deployed, clients: { cloudFormation } }: Known, left: readonly Left[]) {
  const before = deployed === undefined ? { Resources: {} } : await deployedTemplate(cloudFormation, stack.name);
  const imported = left.map(({ id, type, name }) => [id, asImported(stack.template.Resources[id], { type, name })]);
  const template = { ...before, Resources: { ...before.Resources, ...Object.fromEntries(imported) } };
  const TemplateBody = JSON.stringify(template);
  if (Buffer.byteLength(TemplateBody) > mostTemplateBytes) {
    const names = left.map(({ name }) => name).join(", ");
    throw new CommandError(
      `Cannot adopt ${names}: the stack ${stack.name} is there, and CloudFormation adds to so large a one only by a bucket. Delete what is empty, or give the lane another name`,
    );
  }
  const { which } = await createChangeSet(cloudFormation, {
    StackName: stack.name,
    ChangeSetType: "IMPORT",
    TemplateBody,
    ResourcesToImport: left.map(({ id, type, identifier }) => ({
      LogicalResourceId: id,
      ResourceType: type,
      ResourceIdentifier: identifier,
    })),
  });
  const status = await execute(cloudFormation, which);
  if (status !== "IMPORT_COMPLETE") {
    throw new CommandError(`Cannot adopt what is left of ${stack.name}: its status is ${status}. The reason is above`);
  }
}

/**
 * A queue is imported by what it cannot change, so that the update sets all its attributes again. A table is imported as it is
 * to be: DynamoDB refuses a setting that it has already.
 */
function asImported(resource: Resource | undefined, { type, name }: { type: string; name: string }) {
  const queue = { QueueName: name, ...(name.endsWith(".fifo") ? { FifoQueue: true } : {}) };
  const Properties = type === "AWS::SQS::Queue" ? queue : resource?.Properties;
  return { Type: type, DeletionPolicy: "Retain", UpdateReplacePolicy: "Retain", Properties };
}

/**
 * Protects the ledger from deletion, which the template does not: then a first deployment that fails could not clean up.
 * @returns Whether it is protected.
 */
export async function protectTables({ stack, clients: { dynamo } }: Known): Promise<boolean> {
  const tables = keptOf(stack).filter(({ type }) => type === "AWS::DynamoDB::Table");
  let isDone = true;
  for (const { name } of tables) {
    try {
      const { Table } = await dynamo.describeTable({ TableName: name });
      if (Table?.DeletionProtectionEnabled === true) continue;
      await dynamo.updateTable({ TableName: name, DeletionProtectionEnabled: true });
      console.log(`Protected the table ${name} from deletion`);
    } catch (error) {
      isDone = false;
      console.error(
        `Did not protect the table ${name} from deletion: ${reasonOf(error)}. Deploy with the deployer's rights: docs/deploy.md`,
      );
    }
  }
  return isDone;
}
