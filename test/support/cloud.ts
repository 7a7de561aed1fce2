import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { buffer } from "node:stream/consumers";
import type { Template } from "../../lib/cli/deploy/stack.ts";
import { listenOnLoopback } from "../../lib/simulator/loopback.ts";
import { cloudLogs } from "./cloud-logs.ts";
import { account, cloudFormation, type Fields, queueUrl, Refusal, region } from "./cloudformation.ts";
import { startStore } from "./ssm.ts";

/** A key of KMS: what `DescribeKey` says of it, and its policy. */
export interface CloudKey {
  readonly policy: object;
  readonly metadata?: Fields;
}

const json = { "content-type": "application/x-amz-json-1.1" };

/**
 * An AWS on 127.0.0.1 that a deployment runs against, in memory: CloudFormation with change sets, the deployment bucket,
 * SSM, STS, CloudWatch's metrics and logs, and of Lambda, KMS, SNS, SQS, DynamoDB and ECR what a deployment asks. Stacks are made at once; what is in them is data alone.
 */
export async function startCloud() {
  const store = await startStore();
  const objects = new Map<string, { body: Buffer; headers: Fields; at: Date }>();
  const keys = new Map<string, CloudKey>();
  const topics = new Map<string, Fields>();
  /** The messages of queues by their names: visible, hidden, delayed. */
  const messages = new Map<string, readonly [number, number, number]>();
  const denied = new Set<string>();
  /** CloudWatch's values of the last minutes: by the metric's name, and the value of its one dimension. */
  const metrics = new Map<string, number>();
  const limits = { concurrency: 1_000, reservedElsewhere: 0 };
  /** When the functions were last changed, or one by its name, in place of when the stack was. */
  const functions: { changedAt?: string; [name: `larkpost-${string}`]: string } = {};
  /** What AWS says beside what the template has of a function, an alarm or a table, or of a worker's mapping, by its name. */
  const said = new Map<string, Fields>();
  /** In place of the addresses that the template computes, where nothing listens. */
  const addresses = new Map<string, string>();
  const formation = cloudFormation({ objects, addresses });
  const { stacks, holders } = formation;
  const calls: string[] = [];
  const throttled = new Map<string, number>();
  const logs = cloudLogs();

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
    const refusal = action.startsWith("sns:") ? "AuthorizationError" : "AccessDenied";
    if (denied.has(action)) throw new Refusal(refusal, `User is not authorized to perform: ${action}`, 403);
    const left = throttled.get(action) ?? 0;
    throttled.set(action, Math.max(0, left - 1));
    if (left > 0) throw new Refusal("ThrottlingException", "Rate exceeded");
  }

  async function serve(request: IncomingMessage, body: Buffer, response: ServerResponse): Promise<void> {
    const target = request.headers["x-amz-target"];
    const [, service = ""] = /\/([\w-]+)\/aws4_request/.exec(request.headers.authorization ?? "") ?? [];
    if (typeof target === "string") {
      const action = target.split(".").at(-1) ?? "";
      const isMetrics = service === "monitoring";
      count(`${isMetrics ? "cloudwatch" : service}:${action}`);
      const input = JSON.parse(String(body)) as Fields;
      const known =
        service === "kms"
          ? kms(action, String(input["KeyId"]))
          : service === "logs"
            ? logs.answer(action, input)
            : undefined;
      const ofMetrics = () => (action === "DescribeAlarms" ? alarms(input) : measured(input));
      const answer = known ?? (isMetrics ? ofMetrics() : holder(service, action, input));
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
      if (denied.has(`${service}:${action} ${form.get("StackName")}`)) throw new Refusal("AccessDenied", "no", 403);
      const result = service === "cloudformation" ? formation.answer(action, form) : other(action, form);
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

  /** What SQS, DynamoDB and ECR say of a name. There is no repository. */
  function holder(service: string, action: string, input: Fields): Fields {
    if (service === "ecr") throw new Refusal("RepositoryNotFoundException", "no such repository");
    if (action === "GetQueueAttributes") return counted(String(input["QueueUrl"]).split("/").at(-1) ?? "");
    const name = String(input["QueueName"] ?? input["TableName"]);
    const found = holders.get(name);
    if (found === undefined && service === "sqs")
      throw new Refusal("com.amazonaws.sqs#QueueDoesNotExist", `no queue ${name}`);
    if (found === undefined) throw new Refusal("ResourceNotFoundException", `no table ${name}`);
    if (action === "GetQueueUrl") return { QueueUrl: queueUrl(name) };
    if (action === "UpdateTable") found.isProtected = input["DeletionProtectionEnabled"] === true;
    if (action === "DescribeTimeToLive")
      return { TimeToLiveDescription: { TimeToLiveStatus: "ENABLED", ...said.get(`${name} TTL`) } };
    return { Table: { TableName: name, DeletionProtectionEnabled: found.isProtected, ...said.get(name) } };
  }

  /** One alarm a page. */
  function alarms({ AlarmNamePrefix, NextToken = "0" }: Fields): Fields {
    const all = [...stacks.values()]
      .flatMap(({ template }) => propertiesOf(template, "AWS::CloudWatch::Alarm"))
      .filter(({ AlarmName }) => String(AlarmName).startsWith(String(AlarmNamePrefix)));
    const [alarm, next] = [all[Number(NextToken)], Number(NextToken) + 1];
    const MetricAlarms = alarm === undefined ? [] : [{ ...alarm, ...said.get(String(alarm["AlarmName"])) }];
    return { MetricAlarms, ...(next < all.length ? { NextToken: String(next) } : {}) };
  }

  /** A few metrics a page. */
  function measured({ MetricDataQueries, NextToken = "0" }: Fields): Fields {
    const queries = MetricDataQueries as { Id: string; MetricStat: { Metric: MetricOf } }[];
    const end = Number(NextToken) + 5;
    const MetricDataResults = queries.slice(end - 5, end).map(({ Id, MetricStat: { Metric } }) => {
      const value = metrics.get(`${Metric.MetricName} ${Metric.Dimensions[0]?.Value}`);
      const Timestamps = [Math.floor(Date.now() / 1000) - 60, Math.floor(Date.now() / 1000) - 120];
      return {
        Id,
        Values: value === undefined ? [] : [value, value],
        Timestamps: value === undefined ? [] : Timestamps,
      };
    });
    return { MetricDataResults, ...(end < queries.length ? { NextToken: String(end) } : {}) };
  }

  function counted(queue: string): Fields {
    const found = messages.get(queue);
    if (found === undefined) throw new Refusal("com.amazonaws.sqs#QueueDoesNotExist", `no queue ${queue}`);
    const names = ["", "NotVisible", "Delayed"].map((name) => `ApproximateNumberOfMessages${name}`);
    return { Attributes: Object.fromEntries(names.map((name, index) => [name, String(found[index])])) };
  }

  function kms(action: string, KeyId: string): Fields {
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
    if (url.includes("/event-source-mappings")) {
      count("lambda:ListEventSourceMappings");
      const wanted = new URL(url, "http://localhost").searchParams.get("FunctionName");
      const EventSourceMappings = [...stacks.values()].flatMap(({ template: { Resources } }) =>
        Object.values(Resources)
          .filter(({ Type, Properties }) => {
            const [id = ""] = ((Properties?.["FunctionName"] ?? {}) as Record<string, [string?]>)["Fn::GetAtt"] ?? [];
            return Type === "AWS::Lambda::EventSourceMapping" && Resources[id]?.Properties?.["FunctionName"] === wanted;
          })
          .map(({ Properties }) => ({
            UUID: "uuid-1",
            State: Properties?.["Enabled"] === false ? "Disabled" : "Enabled",
            ...said.get(`${wanted} mapping`),
          })),
      );
      return { EventSourceMappings };
    }
    count("lambda:GetFunction");
    const [, name] = /\/functions\/([^/?]+)$/.exec(url) ?? [];
    const [stack, found] =
      [...stacks.values()]
        .flatMap((one) => functionsOf(one.template).map((properties) => [one, properties] as const))
        .find(([, { FunctionName }]) => FunctionName === name) ?? [];
    if (stack === undefined) throw new Refusal("ResourceNotFoundException", `no function ${name}`, 404);
    const { ReservedConcurrentExecutions, Code, Environment } = found as Fields;
    const { Variables = {} } = (Environment ?? {}) as { Variables?: Fields };
    const zip = [...objects].find(([key]) => key.endsWith(String((Code as Fields)["S3Key"])))?.[1].body ?? "";
    return {
      Configuration: {
        FunctionName: name,
        CodeSha256: createHash("sha256").update(zip).digest("base64"),
        LastModified:
          functions[name as `larkpost-${string}`] ??
          functions.changedAt ??
          (stack.updatedAt ?? stack.createdAt).toISOString(),
        Environment: {
          Variables: Object.fromEntries(
            Object.entries(Variables).map(([key, value]) => [key, String(formation.resolve(stack, value))]),
          ),
        },
        ...said.get(String(name)),
      },
      ...(ReservedConcurrentExecutions === undefined ? {} : { Concurrency: { ReservedConcurrentExecutions } }),
    };
  }

  function functionsOf(template: Template): Fields[] {
    return propertiesOf(template, "AWS::Lambda::Function");
  }

  function propertiesOf({ Resources }: Template, type: string): Fields[] {
    return Object.values(Resources).flatMap(({ Type, Properties = {} }) => (Type === type ? [Properties] : []));
  }

  function bucket(request: IncomingMessage, body: Buffer, response: ServerResponse): void {
    const { pathname, searchParams } = new URL(request.url ?? "/", "http://localhost");
    const key = decodeURIComponent(pathname.slice(1).replace(/\/$/, ""));
    const isBucket = !key.includes("/");
    const actions: Readonly<Record<string, string>> = {
      PUT: "s3:PutObject",
      HEAD: isBucket ? "s3:ListBucket" : "s3:GetObject",
      GET: !isBucket ? "s3:GetObject" : searchParams.has("location") ? "s3:GetBucketLocation" : "s3:ListBucket",
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
        const headers = found === undefined ? {} : { ...found.headers, "last-modified": found.at.toUTCString() };
        response.writeHead(found === undefined && !isBucket ? 404 : 200, headers).end();
        break;
      }
      case "GET": {
        if (!isBucket) {
          response.end(objects.get(key)?.body);
          break;
        }
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
    holders,
    keys,
    topics,
    messages,
    limits,
    functions,
    said,
    metrics,
    addresses,
    /** Each call as IAM names it: `cloudformation:DescribeStacks`. */
    calls,
    /** What the caller may not do: an action, or with a stack's name behind it that of one stack, whose refusal names no right. */
    denied,
    /** How often a call is throttled before it is answered. */
    throttled,
    logs,
    putStack: formation.putStack,
    failAt: formation.failAt,
    deploy: formation.deploy,
    async stop(): Promise<void> {
      server.closeAllConnections();
      await Promise.all([store.stop(), new Promise((stopped) => server.close(stopped))]);
    },
  };
}

interface MetricOf {
  readonly MetricName: string;
  readonly Dimensions: readonly { readonly Value: string }[];
}

export type Cloud = Awaited<ReturnType<typeof startCloud>>;

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
