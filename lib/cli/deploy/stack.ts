import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { CloudFormation } from "@aws-sdk/client-cloudformation";
import { fieldsOf } from "../../feishu/json.ts";
import { didYouMean } from "../../simulator/nearest.ts";
import type { Finding } from "../check/finding.ts";
import { findDangling } from "../check/references.ts";
import { CommandError } from "../command.ts";
import { functionNames } from "./build.ts";
import { reasonWithAdvice } from "./clients.ts";
import { osls, oslsFindings, type StackOptions, stackArgs } from "./osls.ts";
import { serviceName } from "./parameter-store.ts";

/** A resource of a template. `Ref` and the like stand in it as they were written. */
export interface Resource {
  readonly Type: string;
  readonly Properties?: Readonly<Record<string, unknown>>;
  /** `Retain` or `RetainExceptOnCreate`: it is kept when the stack is deleted. */
  readonly DeletionPolicy?: string;
  readonly DependsOn?: string | readonly string[];
}

export interface Template {
  readonly Resources: Readonly<Record<string, Resource>>;
  readonly Parameters?: Readonly<Record<string, unknown>>;
  readonly Outputs?: Readonly<Record<string, { readonly Value: unknown }>>;
}

/** A stack as it is to be, compiled on this machine. */
export interface Stack {
  readonly name: string;
  readonly service: string;
  readonly stage: string;
  readonly region: string;
  readonly tags: Readonly<Record<string, string>>;
  /** Logical ids of what the stack's policy keeps: no update replaces or deletes it. */
  readonly kept: readonly string[];
  readonly template: Template;
}

/** Where osls writes what it packages, and takes what it deploys. */
export const packageFolder = ".serverless";
export const templateFile = "cloudformation-template-update-stack.json";

/**
 * Compiles serverless.yml for a stage, and zips the functions of `dist`. Nothing leaves this machine.
 * @returns The stack, or what osls has against it: each reason once, though osls says it for every part that it stops.
 */
export async function compileStack(
  root: string,
  { stage, ...options }: StackOptions & { stage: string },
): Promise<{ stack?: Stack; findings: Finding[] }> {
  const { code, output } = await osls(["package", "--stage", stage, ...stackArgs(options)], { root, isQuiet: true });
  if (code !== 0) return { findings: oslsFindings(output) };
  return readStack(join(root, packageFolder), { root, stage, ...options });
}

/** The stack that osls has packaged into a folder. */
export function readStack(
  folder: string,
  { root, stage, ...options }: StackOptions & { root: string; stage: string },
): { stack: Stack; findings: Finding[] } {
  const read = (name: string) => JSON.parse(readFileSync(join(folder, name), "utf8")) as unknown;
  const { service, provider, initialServerlessConfig } = (read("serverless-state.json") as { service: State }).service;
  const params = fieldsOf(initialServerlessConfig.params);
  const { stackName = `${service}-${stage}`, region, stackTags, stackPolicy = [] } = provider;
  // As osls sets them.
  const tags = { STAGE: stage, ...stackTags };
  const template = read(templateFile) as Template;
  const kept = stackPolicy
    .filter(({ Effect }) => Effect === "Deny")
    .flatMap(({ Resource }) => [Resource].flat())
    .map((resource) => resource.replace("LogicalResourceId/", ""));
  const declared = { ...fieldsOf(params["default"]), ...fieldsOf(params[stage]) };
  const findings = [...findUnknownParameters(options, declared), ...findDanglingIn(template, root)];
  return { stack: { name: stackName, service, stage, region, tags, kept, template }, findings };
}

/** References of a whole template to nothing. */
function findDanglingIn(template: Template, root: string): Finding[] {
  // A macro makes resources that are not written there.
  if (/"(Fn::)?Transform":/.test(JSON.stringify(template))) return [];
  const { Resources: resources, Parameters, Outputs: others } = template;
  return findDangling(root, { resources, others, ids: Object.keys({ ...resources, ...Parameters }) });
}

/** osls takes any name. With a mistyped one, a setting would silently be its default. */
function findUnknownParameters({ param = [] }: StackOptions, declared: Readonly<Record<string, unknown>>): Finding[] {
  return param
    .map((variable) => variable.split("=", 1).join())
    .filter((name) => !Object.hasOwn(declared, name))
    .map((name) => {
      const advice = didYouMean(name, Object.keys(declared));
      const message = `serverless.yml has no such parameter, so nothing would take it.${advice}`;
      return { part: "deployment", file: `--param ${name}`, message };
    });
}

interface State {
  readonly service: string;
  /** serverless.yml. */
  readonly initialServerlessConfig: { readonly params?: unknown };
  readonly provider: {
    readonly region: string;
    readonly stackName?: string;
    readonly stackTags?: Readonly<Record<string, string>>;
    readonly stackPolicy?: readonly { readonly Effect: string; readonly Resource: string | readonly string[] }[];
  };
}

/**
 * Writes functions that cannot run in place of `dist`: the template does not depend on code, so with faults in the code
 * all else can be checked.
 * @returns Takes them away again, with what was packaged of them.
 */
export function placeholders(root: string): () => void {
  const dist = join(root, "dist");
  rmSync(dist, { recursive: true, force: true });
  for (const name of functionNames) {
    mkdirSync(join(dist, name), { recursive: true });
    writeFileSync(join(dist, name, "index.mjs"), 'throw new Error("Not built: the code has faults");\n');
  }
  return () => {
    for (const folder of [dist, join(root, packageFolder)]) rmSync(folder, { recursive: true, force: true });
  };
}

/** The resources of a type, by their logical ids, with their properties. */
export function ofType(
  { template }: Pick<Stack, "template">,
  type: string,
): (readonly [id: string, Readonly<Record<string, unknown>>])[] {
  return Object.entries(template.Resources).flatMap(([id, { Type, Properties = {} }]) =>
    Type === type ? [[id, Properties] as const] : [],
  );
}

/** The properties of the worker that a mapping invokes. */
export function workerOf(
  mapping: Readonly<Record<string, unknown>>,
  { template }: Stack,
): Readonly<Record<string, unknown>> | undefined {
  const [id = ""] = (fieldsOf(mapping["FunctionName"])["Fn::GetAtt"] as [string?] | undefined) ?? [];
  return template.Resources[id]?.Properties;
}

/** A function's environment variable, where it is a text in the template. */
export function variableOf({ template }: Stack, functionId: string, name: string): string | undefined {
  const { Variables } = fieldsOf(template.Resources[functionId]?.Properties?.["Environment"]);
  const value = fieldsOf(Variables)[name];
  return typeof value === "string" ? value : undefined;
}

/** An output, where it is a text in the template. */
export function outputOf({ template }: Stack, name: string): string | undefined {
  const value = template.Outputs?.[name]?.Value;
  return typeof value === "string" ? value : undefined;
}

/** A stack as it is on AWS. */
export interface DeployedStack {
  readonly id: string;
  readonly status: string;
  readonly changedAtMs: number;
  /** Whether CloudFormation refuses to delete it. */
  readonly isProtected: boolean;
  readonly outputs: ReadonlyMap<string, string>;
}

/** The name of the stack of a stage's long connection. */
export function longConnectionOf(stack: string): string {
  return `${stack}-long-connection`;
}

/** @returns `undefined`: there is none of that name. */
export async function describeStack(client: CloudFormation, name: string): Promise<DeployedStack | undefined> {
  try {
    const { Stacks: [found] = [] } = await client.describeStacks({ StackName: name });
    if (found === undefined) return undefined;
    const { StackId = "", StackStatus = "", CreationTime, LastUpdatedTime = CreationTime, Outputs = [] } = found;
    const isProtected = found.EnableTerminationProtection === true;
    const outputs = new Map(Outputs.map(({ OutputKey = "", OutputValue = "" }) => [OutputKey, OutputValue]));
    return { id: StackId, status: StackStatus, changedAtMs: LastUpdatedTime?.getTime() ?? 0, isProtected, outputs };
  } catch (error) {
    if (error instanceof Error && /does not exist/.test(error.message)) return undefined;
    throw error;
  }
}

/**
 * A stage's stack as it was last deployed, which this machine's sources may not make any more.
 * @throws {CommandError} There is none, or AWS does not say.
 */
export async function findStack(
  client: CloudFormation,
  { stage, region, task }: { stage: string; region: string; task: string },
): Promise<{ stack: Stack; deployed: DeployedStack }> {
  const service = serviceName();
  const name = `${service}-${stage}`;
  const read = async () => {
    const deployed = await describeStack(client, name);
    if (deployed === undefined) return undefined;
    const template = await deployedTemplate(client, name);
    const kept = Object.keys(template.Resources).filter((id) => isKept(template.Resources[id]));
    return { stack: { name, service, stage, region, tags: {}, kept, template }, deployed };
  };
  return askedOfStack(`Cannot ${task}`, { name, region }, read());
}

/**
 * @param cannot The beginning of each message: `Cannot start`.
 * @param answer `undefined`: there is no such stack.
 * @throws {CommandError} There is none, or AWS does not say.
 */
export async function askedOfStack<T>(
  cannot: string,
  { name, region }: { name: string; region: string },
  answer: Promise<T | undefined>,
): Promise<T> {
  const found = await answer.catch((error: unknown) => {
    const why = reasonWithAdvice(error, "cloudformation:DescribeStacks");
    throw new CommandError(`${cannot}: AWS does not say what is in the stack ${name} in ${region}: ${why}`);
  });
  if (found !== undefined) return found;
  throw new CommandError(`${cannot}: there is no stack ${name} in ${region}. Check --stage and --region`);
}

/** Whether a stack is deleted. A deleted one is known by its id only. */
export async function isGone(client: CloudFormation, id: string): Promise<boolean> {
  const { status = "DELETE_COMPLETE" } = (await describeStack(client, id)) ?? {};
  return status === "DELETE_COMPLETE";
}

/** Whether a resource outlives its stack. */
export function isKept(resource: Resource | undefined): boolean {
  return resource?.DeletionPolicy?.startsWith("Retain") === true;
}

/** The template that a stack was last deployed with. */
export async function deployedTemplate(client: CloudFormation, name: string): Promise<Template> {
  const { TemplateBody = "" } = await client.getTemplate({ StackName: name, TemplateStage: "Original" });
  return JSON.parse(TemplateBody) as Template;
}

/** The resources of a stack by their logical ids, each with its id on AWS. */
export async function stackResources(client: CloudFormation, name: string) {
  const resources: { readonly id: string; readonly type: string; readonly physicalId: string }[] = [];
  for (let NextToken: string | undefined; ; ) {
    const page = await client.listStackResources({
      StackName: name,
      ...(NextToken === undefined ? {} : { NextToken }),
    });
    for (const {
      LogicalResourceId = "",
      ResourceType = "",
      PhysicalResourceId = "",
      ResourceStatus,
    } of page.StackResourceSummaries ?? []) {
      if (ResourceStatus === "DELETE_COMPLETE") continue;
      resources.push({ id: LogicalResourceId, type: ResourceType, physicalId: PhysicalResourceId });
    }
    NextToken = page.NextToken;
    if (NextToken === undefined) return resources;
  }
}
