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
  readonly changeSets: Map<string, { template: Template; type: string; isCompared: boolean }>;
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
    return stack;
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
    if (type === "CREATE" && !stacks.has(name)) putStack(name, { Resources: {} }, "REVIEW_IN_PROGRESS");
    const stack = stackOf(form);
    stack.changeSets.set(form.get("ChangeSetName") ?? "", { template: templateOf(form), type, isCompared: false });
    return { Id: form.get("ChangeSetName"), StackId: stack.id };
  }

  function describeChangeSet(form: URLSearchParams): Fields {
    const stack = stackOf(form);
    const changeSet = changeSetOf(stack, form);
    const which = { ChangeSetName: form.get("ChangeSetName"), StackName: stack.name, StackId: stack.id };
    const { template, isCompared } = changeSet;
    changeSet.isCompared = true;
    // It takes some time.
    if (!isCompared) return { ...which, Status: "CREATE_IN_PROGRESS", Changes: [] };
    const Changes = changesBetween(stack.template, template).map((ResourceChange) => ({
      Type: "Resource",
      ResourceChange,
    }));
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

  /** Makes or updates the stack. An update that fails is rolled back. */
  function execute(form: URLSearchParams): void {
    const stack = stackOf(form);
    const { template, type } = changeSetOf(stack, form);
    const verb = type === "CREATE" ? "CREATE" : "UPDATE";
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
    const ofStack = (status: string) => event(stack.name, "AWS::CloudFormation::Stack", status);
    const changes = changesBetween(stack.template, template);
    stack.changeSets.clear();
    if (verb === "UPDATE") stack.updatedAt = new Date();
    ofStack(`${verb}_IN_PROGRESS`);
    const broken = changes.find(({ LogicalResourceId }) => LogicalResourceId === failing);
    failing = undefined;
    if (broken !== undefined) {
      event(broken.LogicalResourceId, broken.ResourceType, `${verb}_FAILED`, "the stand-in was told to fail");
      stack.status = verb === "CREATE" ? "ROLLBACK_COMPLETE" : "UPDATE_ROLLBACK_COMPLETE";
    } else {
      for (const { LogicalResourceId, ResourceType } of changes)
        event(LogicalResourceId, ResourceType, `${verb}_COMPLETE`);
      stack.template = template;
      stack.status = `${verb}_COMPLETE`;
    }
    ofStack(stack.status);
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
    const { QueueName, TableName, FunctionName } = resource.Properties ?? {};
    if (QueueName !== undefined) return `https://sqs.${region}.amazonaws.com/${account}/${QueueName}`;
    return String(TableName ?? FunctionName ?? `${name}-${id}`.toLowerCase());
  }

  return {
    stacks,
    /** Puts a stack there, as if it had been deployed long ago. */
    putStack,
    /** Has the next update fail at a resource. */
    failAt: (logicalId: string) => {
      failing = logicalId;
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

interface Change extends Fields {
  readonly LogicalResourceId: string;
  readonly ResourceType: string;
}

/** What a change set says of two templates. AWS's own specification says which property replaces a resource. */
function changesBetween(before: Template, after: Template): Change[] {
  const specification = loadSpecification();
  const same = (a: unknown, b: unknown) => JSON.stringify(a) === JSON.stringify(b);
  const [old, now] = [new Map(Object.entries(before.Resources)), new Map(Object.entries(after.Resources))];
  const change = (Action: string, id: string, { Type }: Resource, more = {}) => ({
    Action,
    LogicalResourceId: id,
    ResourceType: Type,
    ...more,
  });
  const removed = [...old].filter(([id]) => !now.has(id)).map(([id, resource]) => change("Remove", id, resource));
  const others = [...now].flatMap(([id, resource]) => {
    const was = old.get(id);
    if (was === undefined) return [change("Add", id, resource)];
    const [a, b] = [was.Properties ?? {}, resource.Properties ?? {}];
    const names = [...new Set([...Object.keys(a), ...Object.keys(b)])].filter((name) => !same(a[name], b[name]));
    const attributes = ["Metadata"].filter((name) => !same((was as never)[name], (resource as never)[name]));
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
