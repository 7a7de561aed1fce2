import { createHash, randomUUID } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { buffer } from "node:stream/consumers";
import type { Resource, Template } from "../../lib/cli/deploy/stack.ts";
import { listenOnLoopback } from "../../lib/simulator/loopback.ts";
import { loadSpecification } from "../infra/specification.ts";
import { startStore } from "./ssm.ts";

type Fields = Readonly<Record<string, unknown>>;

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

/** A key of KMS: what `DescribeKey` says of it, and its policy. */
export interface CloudKey {
  readonly policy: object;
  readonly metadata?: Fields;
}

export const account = "111122223333";
const region = "ap-southeast-1";
const changesInPage = 10;
const json = { "content-type": "application/x-amz-json-1.1" };

/** An answer that is an error, as each service words it. */
class Refusal extends Error {
  readonly code: string;
  readonly status: number;

  constructor(code: string, message: string, status = 400) {
    super(message);
    this.code = code;
    this.status = status;
  }
}

/**
 * An AWS on 127.0.0.1 that a deployment runs against, in memory: CloudFormation with change sets, the deployment bucket,
 * SSM, STS, and of Lambda, KMS and SNS what a deployment asks. Stacks are made at once; what is in them is data alone.
 */
export async function startCloud() {
  const store = await startStore();
  const stacks = new Map<string, CloudStack>();
  const objects = new Map<string, { body: Buffer; headers: Fields; at: Date }>();
  const keys = new Map<string, CloudKey>();
  const topics = new Map<string, Fields>();
  const denied = new Set<string>();
  const limits = { concurrency: 1_000, reservedElsewhere: 0 };
  /** In place of the addresses that the template computes, where nothing listens. */
  const addresses = new Map<string, string>();
  const calls: string[] = [];
  /** The logical id of a resource that the next update fails at. */
  let failing: string | undefined;

  const server = createServer(async (request, response) => {
    const body = await buffer(request);
    try {
      await serve(request, body, response);
    } catch (error) {
      const known = error instanceof Refusal ? error : new Refusal("InternalFailure", String(error), 500);
      refuse(request, response, known);
    }
  });

  function count(action: string): void {
    calls.push(action);
    if (denied.has(action)) throw new Refusal("AccessDenied", `User is not authorized to perform: ${action}`, 403);
  }

  async function serve(request: IncomingMessage, body: Buffer, response: ServerResponse): Promise<void> {
    const target = request.headers["x-amz-target"];
    const [, service = ""] = /\/([\w-]+)\/aws4_request/.exec(request.headers.authorization ?? "") ?? [];
    if (typeof target === "string") {
      const action = target.split(".").at(-1) ?? "";
      count(`${service}:${action}`);
      const answer = kms(action, JSON.parse(String(body)));
      response.writeHead(200, json).end(JSON.stringify(answer));
    } else if (service === "lambda") {
      const answer = lambda(request.url ?? "");
      response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(answer));
    } else if (service === "s3") {
      bucket(request, body, response);
    } else {
      const form = new URLSearchParams(String(body));
      const action = form.get("Action") ?? "";
      count(`${service}:${action}`);
      const result = service === "cloudformation" ? cloudFormation(action, form) : other(action, form);
      response.writeHead(200, { "content-type": "text/xml" });
      response.end(xml({ [`${action}Response`]: { [`${action}Result`]: result } }));
    }
  }

  function other(action: string, form: URLSearchParams): Fields {
    if (action === "GetCallerIdentity") {
      return { Arn: `arn:aws:iam::${account}:user/deployer`, UserId: "AIDA", Account: account };
    }
    const attributes = topics.get(form.get("TopicArn") ?? "");
    if (action !== "GetTopicAttributes" || attributes === undefined) throw new Refusal("NotFound", "no topic", 404);
    const entry = Object.entries(attributes).map(([key, value]) => ({ key, value }));
    return { Attributes: new Raw(entry.map((one) => xml({ entry: one })).join("")) };
  }

  function kms(action: string, { KeyId }: { KeyId: string }): Fields {
    const found = keys.get(KeyId);
    if (found === undefined) throw new Refusal("NotFoundException", `no key ${KeyId}`);
    if (action === "GetKeyPolicy") return { Policy: JSON.stringify(found.policy) };
    const KeyMetadata = {
      KeyId,
      KeyState: "Enabled",
      KeySpec: "SYMMETRIC_DEFAULT",
      KeyManager: "CUSTOMER",
      ...found.metadata,
    };
    return { KeyMetadata };
  }

  function lambda(url: string): Fields {
    if (url.endsWith("/account-settings")) {
      count("lambda:GetAccountSettings");
      const reserved = [...stacks.values()]
        .flatMap(({ template }) => functionsOf(template))
        .reduce(
          (sum, { ReservedConcurrentExecutions = 0 }) => sum + Number(ReservedConcurrentExecutions),
          limits.reservedElsewhere,
        );
      return {
        AccountLimit: {
          ConcurrentExecutions: limits.concurrency,
          UnreservedConcurrentExecutions: limits.concurrency - reserved,
        },
      };
    }
    count("lambda:GetFunction");
    const [, name] = /\/functions\/([^/?]+)$/.exec(url) ?? [];
    const found = [...stacks.values()]
      .flatMap(({ template }) => functionsOf(template))
      .find(({ FunctionName }) => FunctionName === name);
    if (found === undefined) throw new Refusal("ResourceNotFoundException", `no function ${name}`, 404);
    const { ReservedConcurrentExecutions, Code } = found;
    const zip = [...objects].find(([key]) => key.endsWith(String((Code as Fields)["S3Key"])))?.[1].body ?? "";
    return {
      Configuration: {
        FunctionName: name,
        CodeSha256: createHash("sha256").update(zip).digest("base64"),
        LastModified: "2026-01-01T00:00:00.000+0000",
      },
      ...(ReservedConcurrentExecutions === undefined ? {} : { Concurrency: { ReservedConcurrentExecutions } }),
    };
  }

  function functionsOf({ Resources }: Template): Fields[] {
    return Object.values(Resources).flatMap(({ Type, Properties = {} }) =>
      Type === "AWS::Lambda::Function" ? [Properties] : [],
    );
  }

  function bucket(request: IncomingMessage, body: Buffer, response: ServerResponse): void {
    const { pathname, searchParams } = new URL(request.url ?? "/", "http://localhost");
    const key = decodeURIComponent(pathname.slice(1).replace(/\/$/, ""));
    const isBucket = !key.includes("/");
    const actions: Readonly<Record<string, string>> = {
      PUT: "s3:PutObject",
      HEAD: isBucket ? "s3:ListBucket" : "s3:GetObject",
      GET: searchParams.has("location") ? "s3:GetBucketLocation" : "s3:ListBucket",
      POST: "s3:DeleteObject",
    };
    count(actions[request.method ?? ""] ?? "s3:Unknown");
    switch (request.method) {
      case "PUT":
        objects.set(key, { body: unchunked(body, request), headers: metadataOf(request), at: new Date() });
        response.writeHead(200, { etag: '"0"' }).end();
        break;
      case "HEAD": {
        const found = objects.get(key);
        response.writeHead(found === undefined && !isBucket ? 404 : 200, found?.headers as never).end();
        break;
      }
      case "GET": {
        if (searchParams.has("location")) {
          response.end(`<LocationConstraint>${region}</LocationConstraint>`);
          break;
        }
        const prefix = `${key.split("/")[0]}/`;
        const contents = [...objects]
          .filter(([name]) => name.startsWith(prefix + (searchParams.get("prefix") ?? "")))
          .map(([name, { at }]) =>
            xml({ Contents: { Key: name.slice(prefix.length), LastModified: at.toISOString() } }),
          );
        response.end(`<ListBucketResult><IsTruncated>false</IsTruncated>${contents.join("")}</ListBucketResult>`);
        break;
      }
      default:
        for (const [, name] of String(body).matchAll(/<Key>([^<]+)<\/Key>/g)) objects.delete(`${key}/${name}`);
        response.end("<DeleteResult/>");
    }
  }

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

  function cloudFormation(action: string, form: URLSearchParams): Fields {
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

  /** Makes or updates the stack. An update that fails, or that the stack's policy refuses, is rolled back. */
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

  /** CloudFormation's functions, as far as outputs use them. */
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

  const port = await listenOnLoopback(server);
  return {
    /** Environment of a process that is to use this AWS. */
    env: {
      ...store.env,
      AWS_REGION: region,
      AWS_ENDPOINT_URL: `http://127.0.0.1:${port}`,
      AWS_ACCESS_KEY_ID: "AKIAIOSFODNN7EXAMPLE",
      AWS_SECRET_ACCESS_KEY: "a secret",
      // How often osls asks how far a stack is.
      SLS_AWS_MONITORING_FREQUENCY: "1",
    },
    store,
    stacks,
    keys,
    topics,
    limits,
    addresses,
    /** Each call as IAM names it: `cloudformation:DescribeStacks`. */
    calls,
    /** What the caller may not do. */
    denied,
    /** Has the next update fail at a resource. */
    failAt: (logicalId: string) => {
      failing = logicalId;
    },
    /** Puts a stack there, as if it had been deployed long ago. */
    putStack,
    async stop(): Promise<void> {
      server.closeAllConnections();
      await Promise.all([store.stop(), new Promise((stopped) => server.close(stopped))]);
    },
  };
}

export type Cloud = Awaited<ReturnType<typeof startCloud>>;

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
    const isReplaced = names.some((name) => specification.isReplacedBy(resource.Type, name));
    return [change("Modify", id, resource, { Replacement: isReplaced ? "True" : "False", Details })];
  });
  return [...removed, ...others];
}

/** XML that is written already. */
class Raw {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

function xml(value: unknown): string {
  if (value instanceof Raw) return value.text;
  if (Array.isArray(value)) return value.map((one) => `<member>${xml(one)}</member>`).join("");
  if (typeof value === "object" && value !== null) {
    return Object.entries(value)
      .map(([name, member]) => `<${name}>${xml(member)}</${name}>`)
      .join("");
  }
  return String(value).replaceAll("&", "&amp;").replaceAll("<", "&lt;");
}

function refuse(request: IncomingMessage, response: ServerResponse, { code, message, status }: Refusal): void {
  const isQuery = request.headers["content-type"]?.includes("x-www-form-urlencoded") === true;
  if (isQuery) {
    response.writeHead(status, { "content-type": "text/xml" });
    response.end(xml({ ErrorResponse: { Error: { Type: "Sender", Code: code, Message: message } } }));
  } else {
    response.writeHead(status, { ...json, "x-amzn-errortype": code });
    response.end(JSON.stringify({ __type: code, message }));
  }
}

/** The SDK sends an object in chunks, each behind its length, with a checksum at the end. */
function unchunked(body: Buffer, { headers }: IncomingMessage): Buffer {
  if (!String(headers["content-encoding"]).includes("aws-chunked")) return body;
  const parts: Buffer[] = [];
  for (let at = 0; ; ) {
    const end = body.indexOf("\r\n", at);
    const length = Number.parseInt(body.toString("latin1", at, end), 16);
    if (!(length > 0)) return Buffer.concat(parts);
    parts.push(body.subarray(end + 2, end + 2 + length));
    at = end + 2 + length + 2;
  }
}

function metadataOf({ headers }: IncomingMessage): Fields {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => name.startsWith("x-amz-meta-")));
}
