import { hash } from "node:crypto";
import type { GetItemCommandInput, PutItemCommandInput, UpdateItemCommandInput } from "@aws-sdk/client-dynamodb";
import type { ChangeMessageVisibilityCommandInput, SendMessageCommandInput } from "@aws-sdk/client-sqs";
import type { GetParameterCommandInput } from "@aws-sdk/client-ssm";
import { type Clock, pause, systemClock } from "../clock.ts";
import { ConfigError } from "../errors.ts";
import { fieldsOf, parseJson, stringOf } from "../feishu/json.ts";
import { type Env, isHttpUrl } from "../settings/environment.ts";
import { type Answer, Connections, named, type Post } from "./connections.ts";
import { amzDate, authorization } from "./signature.ts";

/** A value in DynamoDB. Only texts, numbers and sets of texts are stored. */
type Value = { readonly S?: string | undefined; readonly N?: string | undefined; readonly SS?: readonly string[] };
export type Item = Readonly<Record<string, Value>>;

/** The calls of the functions: input and output of each, named and shaped as the SDK's commands. */
export interface Calls {
  SendMessage: [SendMessageCommandInput, unknown];
  ChangeMessageVisibility: [ChangeMessageVisibilityCommandInput, unknown];
  PutItem: [PutItemCommandInput, unknown];
  UpdateItem: [UpdateItemCommandInput, unknown];
  GetItem: [GetItemCommandInput, { readonly Item?: Item | undefined }];
  GetParameter: [
    GetParameterCommandInput,
    { readonly Parameter?: { readonly Value?: string | undefined } | undefined },
  ];
}

export interface CallOptions {
  readonly abortSignal?: AbortSignal;
}

export interface AwsClient {
  /** Rejects with an {@link AwsError}. */
  call<N extends keyof Calls>(name: N, input: Calls[N][0], options?: CallOptions): Promise<Calls[N][1]>;
  /** Opens a connection to each for the first call. Never rejects, since that call reports what is wrong. */
  connect(services: readonly Service[]): Promise<unknown>;
  destroy(): void;
}

/** As the SDK's: `name` is AWS's own, `TimeoutError`, `AbortError`, or `Error` with a `code` of Node's. */
export interface AwsError extends Error {
  readonly code?: string;
  readonly $metadata?: { readonly httpStatusCode: number; readonly requestId?: string | undefined };
  /** The item whose condition failed, if the call asked for it. */
  readonly Item?: Item;
}

/** A call is a POST of JSON that `x-amz-target` names. https://smithy.io/2.0/aws/protocols/aws-json-1_0-protocol.html */
const services = {
  sqs: { target: "AmazonSQS", version: "1.0" },
  dynamodb: { target: "DynamoDB_20120810", version: "1.0" },
  ssm: { target: "AmazonSSM", version: "1.1" },
} as const;
export type Service = keyof typeof services;

export const serviceOf: Readonly<Record<keyof Calls, Service>> = {
  SendMessage: "sqs",
  ChangeMessageVisibility: "sqs",
  PutItem: "dynamodb",
  UpdateItem: "dynamodb",
  GetItem: "dynamodb",
  GetParameter: "ssm",
};

/** How long a try may take. Connecting may take half of it. */
export type TryMs = Readonly<Record<Service, number>>;
export const defaultTryMs: TryMs = { sqs: 500, dynamodb: 1_000, ssm: 600 };

export const maxAttempts = 2;
const longestPauseMs = 100;
/** AWS refuses a signature that is 5 minutes early or late. */
const skewMs = 240_000;
const lateAnswerMs = 5_000;
/** To open a connection early may take longer: the handlers' files are loaded meanwhile. */
const connectMs = 2_000;

/** https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html, and Node's codes without an answer. */
const retryable: ReadonlySet<string | number | undefined> = new Set([
  ...[429, 500, 502, 503, 504],
  ...["RequestTimeout", "RequestTimeoutException", "TimeoutError", "PriorRequestNotComplete"],
  ...["Throttling", "ThrottlingException", "ThrottledException", "RequestThrottled", "RequestThrottledException"],
  ...["ProvisionedThroughputExceededException", "RequestLimitExceeded", "LimitExceededException", "SlowDown"],
  ...["TooManyRequestsException", "TransactionInProgressException", "BandwidthLimitExceeded", "EC2ThrottledException"],
  ...["ECONNRESET", "ECONNREFUSED", "EPIPE", "ETIMEDOUT", "EHOSTUNREACH", "ENETUNREACH", "ENOTFOUND", "EAI_AGAIN"],
]);

/** The time of a call with its tries, and the pauses between them. */
export function callMs(tryMs: number): number {
  return maxAttempts * tryMs + longestPauseMs * (maxAttempts - 1);
}

interface AwsClientOptions {
  readonly env?: Env;
  readonly tryMs?: Partial<TryMs>;
  readonly clock?: Clock;
  readonly random?: () => number;
}

/**
 * Calls AWS for a function that has little time: two tries on connections that are kept. It takes a tenth of the SDK's
 * size and a quarter of its CPU, and needs what Lambda gives: credentials in the environment, read at each call since
 * they rotate, and AWS's own endpoints, or those of AWS_ENDPOINT_URL_SQS, _DYNAMODB, _SSM and AWS_ENDPOINT_URL.
 *
 * @throws {ConfigError} AWS_REGION is not set, or an endpoint is no URL.
 */
export function awsClient(options: AwsClientOptions = {}): AwsClient {
  const { env = process.env, clock = systemClock, random = Math.random } = options;
  const tryMs = { ...defaultTryMs, ...options.tryMs };
  const { AWS_REGION: region = "" } = env;
  if (region === "") throw new ConfigError("Cannot start: AWS_REGION is not set. Lambda sets it");
  const connections = Object.fromEntries(
    Object.keys(services).map((service) => [service, new Connections(endpointOf(service, region, env), clock)]),
  ) as Record<Service, Connections>;
  /** AWS's clock less ours. */
  let offsetMs = 0;

  /** Whether the answer shows that our clock is wrong. Later signatures have AWS's time. */
  function followClock({ date }: Answer["headers"], sentAtMs: number): boolean {
    const aheadMs = Date.parse(date ?? "") - clock.nowMs();
    // Lambda may freeze the process while an answer is under way: its date is then an old one.
    const isLate = clock.nowMs() - sentAtMs > lateAnswerMs;
    if (isLate || !(Math.abs(aheadMs - offsetMs) >= skewMs)) return false;
    offsetMs = aheadMs;
    return true;
  }

  function headersOf(service: Service, name: string, body: string, attempt: number): Post["headers"] {
    const { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey, AWS_SESSION_TOKEN: token } = env;
    if (!accessKeyId || !secretAccessKey) {
      throw named("CredentialsProviderError", "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set");
    }
    const { host, path } = connections[service];
    const { target, version } = services[service];
    const date = amzDate(clock.nowMs() + offsetMs);
    const signed: [string, string][] = [
      ["content-type", `application/x-amz-json-${version}`],
      ["host", host],
      ["x-amz-date", date],
    ];
    if (token) signed.push(["x-amz-security-token", token]);
    signed.push(["x-amz-target", `${target}.${name}`]);
    const signature = authorization(signed, { path, body, date, region, service, accessKeyId, secretAccessKey });
    const headers: [string, string][] = [
      ...signed,
      ["authorization", signature],
      ["content-length", String(Buffer.byteLength(body))],
      ["amz-sdk-request", `attempt=${attempt}; max=${maxAttempts}`],
    ];
    // Lambda finds functions that call each other without end by this header.
    const trace = env["AWS_LAMBDA_FUNCTION_NAME"] && env["_X_AMZN_TRACE_ID"];
    if (trace) headers.push(["x-amzn-trace-id", trace]);
    return headers;
  }

  async function call<N extends keyof Calls>(name: N, input: Calls[N][0], { abortSignal }: CallOptions = {}) {
    const service = serviceOf[name];
    const body = JSON.stringify(input);
    let endsAtMs = Number.POSITIVE_INFINITY;
    for (let attempt = 1; ; attempt++) {
      let wasSkewed = false;
      const sentAtMs = clock.nowMs();
      try {
        const answer = await connections[service].post({
          headers: headersOf(service, name, body, attempt),
          body,
          tryMs: Math.max(0, Math.min(tryMs[service], endsAtMs - clock.nowMs())),
          abortSignal,
          onConnection() {
            endsAtMs = Math.min(endsAtMs, clock.nowMs() + callMs(tryMs[service]));
          },
        });
        wasSkewed = followClock(answer.headers, sentAtMs);
        const output = outputOf(name, answer);
        if (name === "SendMessage") checkStored(input as SendMessageCommandInput, output);
        return output;
      } catch (thrown) {
        const { name: reason, code, $metadata } = thrown as AwsError;
        const isWorthIt = wasSkewed || [reason, code, $metadata?.httpStatusCode].some((word) => retryable.has(word));
        if (attempt === maxAttempts || !isWorthIt || clock.nowMs() >= endsAtMs) throw thrown;
      }
      await pause(clock, random() * longestPauseMs, abortSignal);
    }
  }

  return {
    call,
    connect: (wanted) =>
      Promise.allSettled(
        wanted.map(async (service) => {
          // AWS knows no such operation and says so, on a connection that stays open.
          const headers = headersOf(service, "Connect", "{}", 1);
          await connections[service].post({ headers, body: "{}", tryMs: connectMs });
        }),
      ),
    destroy() {
      for (const each of Object.values(connections)) each.destroy();
    },
  };
}

/** https://docs.aws.amazon.com/general/latest/gr/rande.html */
function endpointOf(service: string, region: string, env: Env): URL {
  const domain = region.startsWith("cn-") ? "amazonaws.com.cn" : "amazonaws.com";
  const name = `AWS_ENDPOINT_URL_${service.toUpperCase()}`;
  const endpoint = env[name] || env["AWS_ENDPOINT_URL"] || `https://${service}.${region}.${domain}`;
  if (isHttpUrl(endpoint)) return new URL(endpoint);
  throw new ConfigError(`Cannot start: ${name}, or AWS_ENDPOINT_URL, is not an http(s) URL`);
}

/** @throws {AwsError} AWS refused the call, or its answer is no JSON. */
function outputOf<N extends keyof Calls>(call: N, { status, headers, text }: Answer): Calls[N][1] {
  const $metadata = { httpStatusCode: status, requestId: stringOf(headers["x-amzn-requestid"]) };
  const output = parseJson(text || "{}");
  if (output === undefined) throw named("SyntaxError", `${call}: the answer is no JSON`, { $metadata });
  const body = fieldsOf(output);
  if (status < 300) return body as Calls[N][1];
  const type = String(headers["x-amzn-errortype"] ?? body["code"] ?? body["__type"] ?? "");
  const name = /^(?:.*#)?(\w{1,64})(?:[:,].*)?$/.exec(type)?.[1] ?? "Unknown";
  const message = `${call}: ${String(body["message"] ?? body["Message"] ?? status).slice(0, 500)}`;
  throw named(name, message, { $metadata, Item: body["Item"] as Item });
}

/** @throws {AwsError} SQS has stored another text than the one that was sent. */
function checkStored({ MessageBody = "" }: SendMessageCommandInput, output: unknown): void {
  if (fieldsOf(output)["MD5OfMessageBody"] === hash("md5", MessageBody)) return;
  throw named("InvalidChecksumError", "SendMessage: SQS has stored another text than the one that was sent");
}
