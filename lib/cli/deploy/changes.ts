import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { basename, join } from "node:path";
import type { CloudFormation, ResourceChange } from "@aws-sdk/client-cloudformation";
import type { Lambda } from "@aws-sdk/client-lambda";
import { fieldsOf } from "../../feishu/json.ts";
import { faultLine } from "../check/finding.ts";
import { CommandError } from "../command.ts";
import { paint } from "../paint.ts";
import { compare, compareStack } from "./change-set.ts";
import { reasonOf } from "./clients.ts";
import { findLeft } from "./kept.ts";
import { warning } from "./preflight/context.ts";
import type { Ready } from "./preflight/preflight.ts";
import { packageFolder, type Resource, type Stack } from "./stack.ts";

/** What a resource holds that a new one in its place would not: the engine's, and what a project may add. */
export const stateful: ReadonlyMap<string, string> = new Map([
  ["AWS::SQS::Queue", "its messages"],
  ["AWS::DynamoDB::Table", "its items"],
  ["AWS::DynamoDB::GlobalTable", "its items"],
  ["AWS::S3::Bucket", "its objects"],
  ["AWS::Cognito::UserPool", "its users"],
  ["AWS::KMS::Key", "its key, without which nobody reads what it encrypts"],
  ["AWS::SecretsManager::Secret", "its secret"],
  ...[
    ...["AWS::Backup::BackupVault", "AWS::DocDB::DBCluster", "AWS::DocDB::DBInstance", "AWS::EC2::Volume"],
    ...["AWS::EFS::FileSystem", "AWS::EMR::Cluster", "AWS::ElastiCache::CacheCluster"],
    ...["AWS::ElastiCache::ReplicationGroup", "AWS::Elasticsearch::Domain", "AWS::FSx::FileSystem"],
    ...["AWS::Kinesis::Stream", "AWS::Neptune::DBCluster", "AWS::Neptune::DBInstance"],
    ...["AWS::OpenSearchService::Domain", "AWS::QLDB::Ledger", "AWS::RDS::DBCluster", "AWS::RDS::DBInstance"],
    ...["AWS::Redshift::Cluster", "AWS::SDB::Domain"],
    // AWS's specification does not call these stateful.
    ...["AWS::Cassandra::Keyspace", "AWS::Cassandra::Table", "AWS::DocDBElastic::Cluster", "AWS::MSK::Cluster"],
    ...["AWS::MemoryDB::Cluster", "AWS::NeptuneGraph::Graph", "AWS::OpenSearchServerless::Collection"],
    ...["AWS::RedshiftServerless::Namespace", "AWS::S3Express::DirectoryBucket", "AWS::S3Tables::Table"],
    ...["AWS::S3Tables::TableBucket", "AWS::S3Vectors::Index", "AWS::S3Vectors::VectorBucket"],
    ...["AWS::Timestream::InfluxDBInstance", "AWS::Timestream::Table"],
  ].map((type) => [type, "its data"] as const),
]);

/** What goes with a resource of the stack, if anything. The bucket of osls has the zips of deployments alone. */
export function lostWith(id: string, type: string): string | undefined {
  return id === "ServerlessDeploymentBucket" ? undefined : stateful.get(type);
}

/** A new one has another address, which has to be pasted into the developer console. */
const addresses = ["AWS::ApiGatewayV2::Api", "AWS::ApiGatewayV2::DomainName", "AWS::Lambda::Url"];
const moved = ". Its address changes: paste the new one into the developer console";
const letGo =
  'keep it, or deploy it once more with DeletionPolicy: "Retain". Taken out after that, it stays outside of the stack';
const switched = ". The worker starts to take events, or stops";

/** One change in words. */
interface Line {
  readonly text: string;
  readonly isRefused: boolean;
}

/**
 * What a deployment would change, in words. Changes nothing.
 * @throws {CommandError} CloudFormation does not say.
 */
export async function changeLines(ready: Ready, root: string): Promise<Line[]> {
  const { stack, deployed, clients } = ready;
  const left = ready.adopt ? await findLeft(ready) : [];
  const adopted = left.map(({ id, type, name }) => `  < adopts ${id} (${type}): ${name}`);
  const ids = new Set<string | undefined>(left.map(({ id }) => id));
  const accepted = (texts: readonly string[]) => texts.map((text) => ({ text, isRefused: false }));
  if (deployed === undefined) return accepted([...adopted, ...created(stack, ids)]);
  const changes = (await compareStack(clients.cloudFormation, stack)).filter(
    (change) => !ids.has(change.LogicalResourceId),
  );
  const isSame = (id: string) => isSameCode(stack.template.Resources[id], { root, lambda: clients.lambda });
  const lines = await Promise.all(changes.map((change) => lineOf(change, stack, isSame)));
  return [...accepted(adopted), ...lines.filter((line) => line !== undefined)];
}

/**
 * What going back to an earlier deployment would change, in words. Changes nothing.
 * @param templateUrl Its template, in the bucket. Its code is there, too, and is not compared.
 */
export async function backLines(stack: Stack, templateUrl: string, client: CloudFormation): Promise<Line[]> {
  const changes = await compare(client, { StackName: stack.name, TemplateURL: templateUrl });
  const lines = await Promise.all(changes.map((change) => lineOf(change, stack, async () => false)));
  return lines.filter((line) => line !== undefined);
}

/** @returns Whether a deployment would do it. */
export function printChanges({ stack, account, deployed }: Ready, lines: readonly Line[]): boolean {
  const verb = deployed === undefined ? "create" : "change";
  const what = lines.length === 0 ? "change nothing of" : verb;
  return printLines(`Would ${what} the stack ${stack.name} in ${stack.region} of account ${account}`, lines);
}

/** @returns Whether none is refused. */
export function printLines(head: string, lines: readonly Line[]): boolean {
  console.log(head);
  for (const { text, isRefused } of lines) console.log(isRefused ? paint("red", text) : text);
  return lines.every(({ isRefused }) => !isRefused);
}

/**
 * Refuses an update that would lose something, and warns of addresses that it takes away and of a worker that it starts.
 * Where CloudFormation does not compare, the stack's own policy still keeps what the engine needs.
 * @returns Whether something changes, as far as is known.
 * @throws {CommandError} Something would be replaced that holds what a new one would not.
 */
export async function refuseLosses(task: string, stackName: string, compare: () => Promise<Line[]>): Promise<boolean> {
  let lines: readonly Line[];
  try {
    lines = await compare();
  } catch (error) {
    const text = error instanceof CommandError ? error.message : reasonOf(error);
    console.error(faultLine(warning(stackName, `was not compared with the template: ${text}`)));
    return true;
  }
  const refused = lines.filter(({ isRefused }) => isRefused).map(({ text }) => text);
  const announced = lines.filter(({ text }) => text.endsWith(moved) || text.endsWith(switched));
  for (const { text } of announced) console.error(paint("yellow", text));
  if (refused.length === 0) return lines.length > 0;
  throw new CommandError([`Cannot ${task}. Something would be lost:`, ...refused].join("\n"));
}

/** The resources of a new stack, by type. */
function created({ template }: Stack, adopted: ReadonlySet<string | undefined>): string[] {
  const resources = Object.entries(template.Resources).filter(([id]) => !adopted.has(id));
  const byType = Map.groupBy(resources, ([, { Type }]) => Type);
  return [...byType]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([type, found]) => `  + ${found.length} ${type}: ${found.map(([id]) => id).join(", ")}`);
}

/** @returns `undefined`: what the resource is stays as it was. */
async function lineOf(
  change: ResourceChange,
  { kept }: Stack,
  isSameCode: (id: string) => Promise<boolean>,
): Promise<Line | undefined> {
  const {
    Action = "",
    LogicalResourceId: id = "",
    ResourceType: type = "",
    PolicyAction,
    Replacement = "False",
    Details = [],
  } = change;
  const name = `${id} (${type})`;
  const lost = lostWith(id, type);
  const moves = addresses.includes(type) ? moved : "";
  if (Action === "Add") return { text: `  + creates ${name}`, isRefused: false };
  if (Action === "Remove") {
    const stays = PolicyAction === "Retain";
    const what = stays ? `lets go of ${name}: it stays, outside of the stack` : `deletes ${name}`;
    if (kept.includes(id)) return { text: `  - ${what}. Refused: the engine needs it`, isRefused: true };
    if (stays || lost === undefined) return { text: `  - ${what}${stays ? "" : moves}`, isRefused: false };
    if (PolicyAction === "Snapshot") return { text: `  - ${what}: a snapshot stays`, isRefused: false };
    return { text: `  - ${what} and ${lost}. Refused: ${letGo}`, isRefused: true };
  }
  const targets = Details.map(({ Target: { Attribute, Name } = {} }) =>
    Attribute === "Properties" ? Name : Attribute,
  );
  const all = [...new Set(targets.filter((target) => target !== undefined && target !== "Metadata"))];
  const isSame = all.includes("Code") && (await isSameCode(id));
  const properties = all.filter((target) => target !== "Code" || !isSame).join(", ");
  if (properties === "") return undefined;
  if (Replacement === "False") {
    const end = type === "AWS::Lambda::EventSourceMapping" && all.includes("Enabled") ? switched : "";
    return { text: `  ~ updates ${name}: ${properties}${end}`, isRefused: false };
  }
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
