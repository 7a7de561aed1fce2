import { randomUUID } from "node:crypto";
import type { Resource, Template } from "../../lib/cli/deploy/stack.ts";
import { loadSpecification } from "../infra/specification.ts";

export const account = "111122223333";
export const region = "ap-southeast-1";

export type Fields = Readonly<Record<string, unknown>>;

/** An answer that is an error, as each service words it. */
export class Refusal extends Error {
  readonly code: string;
  readonly status: number;

  constructor(code: string, message: string, status = 400) {
    super(message);
    this.code = code;
    this.status = status;
  }
}

/** A stack as CloudFormation keeps it. */
export interface CloudStack {
  readonly name: string;
  readonly id: string;
  readonly createdAt: Date;
  status: string;
  updatedAt: Date | undefined;
  template: Template;
  policy: string | undefined;
  isProtected: boolean;
  /** Newest first. */
  readonly events: Fields[];
  readonly changeSets: Map<string, ChangeSet>;
}

interface ChangeSet {
  readonly template: Template;
  readonly type: string;
  /** Why CloudFormation does not take it. */
  readonly fault: string | undefined;
  isCompared: boolean;
  changes?: readonly Change[];
}

/** A queue or a table. It may be there without a stack. */
export interface Holder {
  readonly type: string;
  stack: CloudStack | undefined;
  /** Whether AWS refuses to delete it. */
  isProtected: boolean;
}

const changesInPage = 10;

/**
 * CloudFormation with change sets, in memory. Stacks are made at once; what is in them is data alone.
 * @param options.objects The bodies in S3 by their keys, where templates are.
 * @param options.addresses In place of the outputs that the template computes.
 */
export function cloudFormation(options: {
  objects: ReadonlyMap<string, { readonly body: Buffer }>;
  addresses: ReadonlyMap<string, string>;
}) {
  const { objects, addresses } = options;
  const stacks = new Map<string, CloudStack>();
  /** What holds messages or items, by its name on AWS. */
  const holders = new Map<string, Holder>();
  /** The logical id of a resource that the next update fails at. */
  let failing: string | undefined;

  function putStack(name: string, template: Template, status = "UPDATE_COMPLETE"): CloudStack {
    const id = `arn:aws:cloudformation:${region}:${account}:stack/${name}/${randomUUID()}`;
    const stack: CloudStack = {
      name,
      id,
      createdAt: new Date(0),
      status,
      updatedAt: undefined,
      template,
      policy: undefined,
      isProtected: false,
      events: [],
      changeSets: new Map(),
    };
    stacks.set(name, stack);
    for (const resource of Object.values(template.Resources)) hold(stack, resource);
    return stack;
  }

  /** @returns Whether it is new: `false` when the name is taken. */
  function hold(stack: CloudStack, { Type, Properties = {} }: Resource): boolean {
    const name = holderName({ Type, Properties });
    if (name === undefined) return true;
    if (holders.has(name)) return false;
    holders.set(name, { type: Type, stack, isProtected: Properties["DeletionProtectionEnabled"] === true });
    return true;
  }

  /** Takes a resource out of its stack. What is kept, or protected from deletion, is still there. */
  function release(resource: Resource, isKept: boolean): void {
    const name = holderName(resource) ?? "";
    const holder = holders.get(name);
    if (holder === undefined) return;
    holder.stack = undefined;
    if (!isKept && !holder.isProtected) holders.delete(name);
  }

  function stackOf(form: URLSearchParams): CloudStack {
    const name = form.get("StackName") ?? "";
    const found = stacks.get(name) ?? [...stacks.values()].find(({ id }) => id === name);
    if (found === undefined) throw new Refusal("ValidationError", `Stack with id ${name} does not exist`);
    return found;
  }

  function answer(action: string, form: URLSearchParams): Fields {
    switch (action) {
      case "DescribeStacks":
        return { Stacks: [describe(stackOf(form))] };
      case "CreateChangeSet":
        return createChangeSet(form);
      case "DescribeChangeSet":
        return describeChangeSet(form);
      case "ExecuteChangeSet":
        execute(form);
        return {};
      case "GetTemplate":
        return { TemplateBody: JSON.stringify(stackOf(form).template) };
      case "DeleteStack":
        deleteStack(form);
        return {};
      case "DeleteChangeSet":
        stackOf(form).changeSets.delete(form.get("ChangeSetName") ?? "");
        return {};
      case "DescribeStackEvents":
        return { StackEvents: stackOf(form).events };
      case "DescribeStackResource": {
        const LogicalResourceId = form.get("LogicalResourceId") ?? "";
        return {
          StackResourceDetail: { LogicalResourceId, PhysicalResourceId: physicalId(stackOf(form), LogicalResourceId) },
        };
      }
      case "ListStackResources": {
        const stack = stackOf(form);
        const StackResourceSummaries = Object.entries(stack.template.Resources).map(([id, { Type }]) => ({
          LogicalResourceId: id,
          PhysicalResourceId: physicalId(stack, id),
          ResourceType: Type,
          ResourceStatus: "CREATE_COMPLETE",
        }));
        return { StackResourceSummaries };
      }
      case "SetStackPolicy":
        stackOf(form).policy = form.get("StackPolicyBody") ?? undefined;
        return {};
      case "UpdateTerminationProtection":
        stackOf(form).isProtected = form.get("EnableTerminationProtection") === "true";
        return {};
      case "ValidateTemplate":
        templateOf(form);
        return {};
      default:
        throw new Refusal("InvalidAction", `the stand-in has no ${action}`);
    }
  }

  function describe(stack: CloudStack): Fields {
    const outputs = Object.entries(stack.template.Outputs ?? {}).map(([OutputKey, { Value }]) => ({
      OutputKey,
      OutputValue: addresses.get(OutputKey) ?? String(resolve(stack, Value)),
    }));
    return {
      StackName: stack.name,
      StackId: stack.id,
      StackStatus: stack.status,
      CreationTime: stack.createdAt.toISOString(),
      ...(stack.updatedAt === undefined ? {} : { LastUpdatedTime: stack.updatedAt.toISOString() }),
      EnableTerminationProtection: stack.isProtected,
      Outputs: outputs,
    };
  }

  function templateOf(form: URLSearchParams): Template {
    const url = form.get("TemplateURL");
    const text = url === null ? form.get("TemplateBody") : objects.get(new URL(url).pathname.slice(1))?.body;
    if (text === null || text === undefined) throw new Refusal("ValidationError", `there is no template at ${url}`);
    if (url === null && Buffer.byteLength(text) > 51_200)
      throw new Refusal("ValidationError", "templateBody is too long");
    return JSON.parse(String(text)) as Template;
  }

  function createChangeSet(form: URLSearchParams): Fields {
    const [name, type] = [form.get("StackName") ?? "", form.get("ChangeSetType") ?? ""];
    if (type !== "UPDATE" && !stacks.has(name)) putStack(name, { Resources: {} }, "REVIEW_IN_PROGRESS");
    const stack = stackOf(form);
    const template = templateOf(form);
    const fault = type === "IMPORT" ? importFault(stack, template, form) : undefined;
    stack.changeSets.set(form.get("ChangeSetName") ?? "", { template, type, fault, isCompared: false });
    return { Id: form.get("ChangeSetName"), StackId: stack.id };
  }

  /**
   * Why these resources cannot be imported.
   * https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/resource-import.html
   */
  function importFault(stack: CloudStack, template: Template, form: URLSearchParams): string | undefined {
    if (!isSame(stack.template.Outputs, template.Outputs))
      return "As part of the import operation, you cannot modify or add [Outputs]";
    const wanted = new Map<string, { type: string; identifier: string }>();
    for (let n = 1; form.has(`ResourcesToImport.member.${n}.LogicalResourceId`); n++) {
      const member = (name: string) => form.get(`ResourcesToImport.member.${n}.${name}`) ?? "";
      const [key, value] = ["key", "value"].map((part) => member(`ResourceIdentifier.entry.1.${part}`));
      wanted.set(member("LogicalResourceId"), { type: member("ResourceType"), identifier: `${key}=${value}` });
    }
    const others = changesBetween(stack.template, template).filter(
      ({ Action, LogicalResourceId }) => Action !== "Add" || !wanted.has(LogicalResourceId),
    );
    if (others.length > 0)
      return `You have modified resources [${others.map(({ LogicalResourceId }) => LogicalResourceId)}] in your template that are not being imported. Update, create or delete operations cannot be executed during import operations.`;
    for (const [id, { type, identifier }] of wanted) {
      const resource = template.Resources[id];
      if (resource?.DeletionPolicy === undefined)
        return `The following resources to import [${id}] must have DeletionPolicy attribute specified in the template.`;
      const name = holderName(resource) ?? "";
      const is = type === "AWS::SQS::Queue" ? `QueueUrl=${queueUrl(name)}` : `TableName=${name}`;
      const holder = holders.get(name);
      if (resource.Type !== type || holder?.type !== type || identifier !== is)
        return `Resource ${id} of type ${type} with identifier ${identifier} was not found`;
      if (holder.stack !== undefined) return `${name} already exists in stack ${holder.stack.id}`;
    }
    return undefined;
  }

  function describeChangeSet(form: URLSearchParams): Fields {
    const stack = stackOf(form);
    const changeSet = changeSetOf(stack, form);
    const which = { ChangeSetName: form.get("ChangeSetName"), StackName: stack.name, StackId: stack.id };
    const { template, fault, isCompared } = changeSet;
    changeSet.isCompared = true;
    // It takes some time.
    if (!isCompared) return { ...which, Status: "CREATE_IN_PROGRESS", Changes: [] };
    if (fault !== undefined) return { ...which, Status: "FAILED", StatusReason: fault, Changes: [] };
    // Each page shows some of the same.
    changeSet.changes ??= changesBetween(stack.template, template);
    const Changes = changeSet.changes.map((ResourceChange) => ({ Type: "Resource", ResourceChange }));
    const StatusReason = "The submitted information didn't contain changes.";
    const status = Changes.length === 0 ? { Status: "FAILED", StatusReason } : { Status: "CREATE_COMPLETE" };
    const first = Number(form.get("NextToken") ?? 0);
    const next = first + changesInPage < Changes.length ? { NextToken: first + changesInPage } : {};
    return { ...which, ...status, Changes: Changes.slice(first, first + changesInPage), ...next };
  }

  function changeSetOf(stack: CloudStack, form: URLSearchParams) {
    const found = stack.changeSets.get(form.get("ChangeSetName") ?? "");
    if (found === undefined) throw new Refusal("ChangeSetNotFound", "no such change set", 404);
    return found;
  }

  function eventsOf(stack: CloudStack) {
    const event = (LogicalResourceId: string, ResourceType: string, ResourceStatus: string, reason = "") =>
      stack.events.unshift({
        EventId: randomUUID(),
        StackName: stack.name,
        StackId: stack.id,
        Timestamp: new Date().toISOString(),
        LogicalResourceId,
        ResourceType,
        ResourceStatus,
        ResourceStatusReason: reason,
      });
    return { event, ofStack: (status: string) => event(stack.name, "AWS::CloudFormation::Stack", status) };
  }

  /** Makes or updates the stack, or imports what is there. What fails is rolled back. */
  function execute(form: URLSearchParams): void {
    const stack = stackOf(form);
    const { template, type } = changeSetOf(stack, form);
    const verb = ["CREATE", "IMPORT"].find((one) => one === type) ?? "UPDATE";
    const { event, ofStack } = eventsOf(stack);
    const changes = changesBetween(stack.template, template);
    stack.changeSets.clear();
    if (verb !== "CREATE") stack.updatedAt = new Date();
    ofStack(`${verb}_IN_PROGRESS`);
    const made: Resource[] = [];
    let broken: { change: Change; reason: string } | undefined;
    for (const change of changes) {
      const resource = template.Resources[change.LogicalResourceId];
      if (change.LogicalResourceId === failing) {
        failing = undefined;
        broken ??= { change, reason: "the stand-in was told to fail" };
      }
      if (resource === undefined || change["Action"] !== "Add") continue;
      const holder = holders.get(holderName(resource) ?? "");
      if (verb === "IMPORT" && holder !== undefined) holder.stack = stack;
      else if (hold(stack, resource)) made.push(resource);
      else broken ??= { change, reason: `${holderName(resource)} already exists` };
    }
    if (broken !== undefined) {
      const { LogicalResourceId, ResourceType } = broken.change;
      const step = broken.change["Action"] === "Add" ? "CREATE" : "UPDATE";
      event(LogicalResourceId, ResourceType, `${step}_FAILED`, broken.reason);
      // RetainExceptOnCreate keeps nothing that this very operation has made.
      for (const resource of made) release(resource, resource.DeletionPolicy === "Retain");
      stack.status = verb === "CREATE" ? "ROLLBACK_COMPLETE" : "UPDATE_ROLLBACK_COMPLETE";
    } else {
      for (const { Action, LogicalResourceId, ResourceType } of changes) {
        event(LogicalResourceId, ResourceType, `${verb}_COMPLETE`);
        const removed = stack.template.Resources[LogicalResourceId];
        if (Action === "Remove" && removed !== undefined) release(removed, isKept(removed));
      }
      stack.template = template;
      stack.status = `${verb}_COMPLETE`;
    }
    ofStack(stack.status);
  }

  function deleteStack(form: URLSearchParams): void {
    const stack = stackOf(form);
    if (stack.isProtected)
      throw new Refusal(
        "ValidationError",
        `Stack [${stack.name}] cannot be deleted while TerminationProtection is enabled`,
      );
    for (const resource of Object.values(stack.template.Resources)) release(resource, isKept(resource));
    stacks.delete(stack.name);
  }

  /** CloudFormation's functions, as far as outputs and environments use them. */
  function resolve(stack: CloudStack, value: unknown): unknown {
    if (Array.isArray(value)) return value.map((one) => resolve(stack, one));
    if (typeof value !== "object" || value === null) return value;
    const { Ref, "Fn::Join": join, "Fn::GetAtt": attribute } = value as Record<string, unknown>;
    if (typeof Ref === "string") return pseudo[Ref] ?? physicalId(stack, Ref);
    if (Array.isArray(join)) return (resolve(stack, join[1]) as unknown[]).join(String(join[0]));
    if (Array.isArray(attribute)) return `https://${String(attribute[0]).toLowerCase()}.example/`;
    return value;
  }

  function physicalId({ name, template }: CloudStack, id: string): string {
    const resource = template.Resources[id];
    if (resource === undefined) throw new Refusal("ValidationError", `Resource ${id} does not exist for stack ${name}`);
    const { QueueName, TableName, FunctionName, LogGroupName } = resource.Properties ?? {};
    if (QueueName !== undefined) return queueUrl(String(QueueName));
    return String(TableName ?? FunctionName ?? LogGroupName ?? `${name}-${id}`.toLowerCase());
  }

  return {
    stacks,
    holders,
    /** Puts a stack there, as if it had been deployed long ago. */
    putStack,
    /** Has the next update of a resource fail. */
    failAt: (logicalId: string) => {
      failing = logicalId;
    },
    /** Makes or updates a stack at once, as osls does. */
    deploy(name: string, template: Template): void {
      const type = stacks.has(name) ? "UPDATE" : "CREATE";
      const { changeSets } = stacks.get(name) ?? putStack(name, { Resources: {} }, "REVIEW_IN_PROGRESS");
      changeSets.set("osls", { template, type, fault: undefined, isCompared: true });
      execute(new URLSearchParams({ StackName: name, ChangeSetName: "osls" }));
    },
    answer,
    resolve,
  };
}

const pseudo: Readonly<Record<string, string>> = {
  "AWS::Region": region,
  "AWS::URLSuffix": "amazonaws.com",
  "AWS::AccountId": account,
  "AWS::Partition": "aws",
};

export function queueUrl(name: string): string {
  return `https://sqs.${region}.amazonaws.com/${account}/${name}`;
}

function holderName({ Type, Properties = {} }: Resource): string | undefined {
  const name = Type === "AWS::SQS::Queue" ? Properties["QueueName"] : Properties["TableName"];
  return /::(Queue|Table)$/.test(Type) && typeof name === "string" ? name : undefined;
}

function isKept({ DeletionPolicy = "" }: Resource): boolean {
  return DeletionPolicy.startsWith("Retain");
}

function isSame(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

interface Change extends Fields {
  readonly LogicalResourceId: string;
  readonly ResourceType: string;
}

/** What a change set says of two templates. AWS's own specification says which property replaces a resource. */
function changesBetween(before: Template, after: Template): Change[] {
  const specification = loadSpecification();
  const [old, now] = [new Map(Object.entries(before.Resources)), new Map(Object.entries(after.Resources))];
  const change = (Action: string, id: string, { Type }: Resource, more = {}) => ({
    Action,
    LogicalResourceId: id,
    ResourceType: Type,
    ...more,
  });
  const removed = [...old]
    .filter(([id]) => !now.has(id))
    .map(([id, resource]) =>
      change("Remove", id, resource, {
        PolicyAction: isKept(resource) ? "Retain" : (resource.DeletionPolicy ?? "Delete"),
      }),
    );
  const others = [...now].flatMap(([id, resource]) => {
    const was = old.get(id);
    if (was === undefined) return [change("Add", id, resource)];
    if (isSame(was, resource)) return [];
    const [a, b] = [was.Properties ?? {}, resource.Properties ?? {}];
    const names = [...new Set([...Object.keys(a), ...Object.keys(b)])].filter((name) => !isSame(a[name], b[name]));
    const attributes = ["Metadata", "DeletionPolicy", "UpdateReplacePolicy"].filter(
      (name) => !isSame((was as never)[name], (resource as never)[name]),
    );
    const Details = [
      ...names.map((Name) => ({ Target: { Attribute: "Properties", Name } })),
      ...attributes.map((Attribute) => ({ Target: { Attribute } })),
    ];
    if (Details.length === 0) return [];
    const replacing = names.filter((name) => specification.isReplacedBy(resource.Type, name));
    // What a reference will be is known only when the update runs.
    const isCertain = replacing.some(
      (name) => typeof b[name] !== "object" || !/^\{"(Ref|Fn::)/.test(JSON.stringify(b[name])),
    );
    const Replacement = replacing.length === 0 ? "False" : isCertain ? "True" : "Conditional";
    return [change("Modify", id, resource, { Replacement, Details })];
  });
  return [...removed, ...others];
}
