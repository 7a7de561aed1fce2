import { createRequire } from "node:module";
import type { CloudFormation } from "@aws-sdk/client-cloudformation";
import type { CloudWatch } from "@aws-sdk/client-cloudwatch";
import type { DynamoDB } from "@aws-sdk/client-dynamodb";
import type { KMS } from "@aws-sdk/client-kms";
import type { Lambda } from "@aws-sdk/client-lambda";
import type { SNS } from "@aws-sdk/client-sns";
import type { SQS } from "@aws-sdk/client-sqs";
import type { SSM } from "@aws-sdk/client-ssm";
import type { STS } from "@aws-sdk/client-sts";
import { oneLine } from "../command.ts";

export interface Clients {
  readonly cloudFormation: CloudFormation;
  readonly cloudWatch: CloudWatch;
  readonly dynamo: DynamoDB;
  readonly kms: KMS;
  readonly lambda: Lambda;
  readonly sns: SNS;
  readonly sqs: SQS;
  readonly ssm: SSM;
  readonly sts: STS;
}

/** The class of each client. */
const services: Readonly<Record<keyof Clients, string>> = {
  cloudFormation: "CloudFormation",
  cloudWatch: "CloudWatch",
  dynamo: "DynamoDB",
  kms: "KMS",
  lambda: "Lambda",
  sns: "SNS",
  sqs: "SQS",
  ssm: "SSM",
  sts: "STS",
};
type Class = new (settings: object) => { readonly config: { readonly credentials: unknown } };
const require = createRequire(import.meta.url);

/**
 * The SDK's clients, for what a deployment asks AWS. Each is loaded and made when it is first used, since few commands
 * use more than three: to load one takes about 20 ms. Those that were made are the object's own enumerable members.
 * @param options.profile Of the credentials; else they are found as the SDK finds them.
 * @param options.answerMs How long one try of a call waits. The SDK makes three.
 */
export function awsClients({
  region,
  profile,
  answerMs = 10_000,
}: {
  region: string;
  profile?: string | undefined;
  answerMs?: number;
}): Clients {
  // A person at a shell, perhaps far from the region, waits longer than a function.
  const requestHandler = { connectionTimeout: 5_000, socketTimeout: answerMs };
  // SQS as all others: at the endpoint of the region.
  const settings = { region, profile, requestHandler, useQueueUrlAsEndpoint: false };
  // Found once: each client would look for them, and assume the profile's role, by itself.
  let credentials: unknown;
  const clients = {};
  for (const [name, service] of Object.entries(services)) {
    const get = () => {
      const sdk = require(`@aws-sdk/client-${service.toLowerCase()}`) as Readonly<Record<string, unknown>>;
      const client = new (sdk[service] as Class)({ ...settings, credentials });
      credentials ??= client.config.credentials;
      Object.defineProperty(clients, name, { value: client, enumerable: true });
      return client;
    };
    Object.defineProperty(clients, name, { get, configurable: true });
  }
  return clients as Clients;
}

/** Why AWS gave no answer: the error's name, and the right that is missing if it names one. The rest may hold anything. */
export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return "unknown error";
  const [, right] = /not authorized to perform: ([a-z-]{1,20}:[A-Za-z]{1,40})\b/.exec(error.message) ?? [];
  const name = oneLine(error.name === "Error" ? error.message : error.name, 100);
  return right === undefined ? name : `${name} (${right})`;
}

/** Whether AWS does not let this user do it: each service words it in its own way. */
export function isDenied(reason: string): boolean {
  return /AccessDenied|Unauthorized|NotAuthorized|AuthorizationError/i.test(reason);
}

/** Whether AWS does not know who this is. */
export function isUnknownUser(reason: string): boolean {
  const names =
    /Credentials|ExpiredToken|UnrecognizedClient|InvalidClientTokenId|SignatureDoesNotMatch|InvalidSignature|InvalidAccessKey/i;
  return names.test(reason);
}

export const credentialsCure =
  'Run "aws sso login", or set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY';

/** Whether AWS, or its SDK, gave no answer. */
export function isOfAws(error: unknown): error is Error {
  return error instanceof Error && ("$metadata" in error || isUnknownUser(error.name));
}

/**
 * What to do when AWS gives no answer.
 * @param right What AWS wants for it, where {@link reasonOf} names none.
 */
export function adviceOn(reason: string, right?: string): string {
  const [, named = right] = /\(([a-z-]+:\w+)\)$/.exec(reason) ?? [];
  if (isDenied(reason)) return named ? `You need the right ${named}` : "Check what these AWS credentials may do";
  if (isUnknownUser(reason)) return credentialsCure;
  return 'Check the region and the network; "npm run doctor" finds what is missing';
}

/** {@link reasonOf}, and {@link adviceOn} it. */
export function reasonWithAdvice(error: unknown, right?: string): string {
  const reason = reasonOf(error);
  return `${reason}. ${adviceOn(reason, right)}`;
}

/** Why AWS refused, and what to do. What CloudFormation has against a template it says itself, and a template holds no secret. */
export function refusalLine(error: Error): string {
  if (error.name === "ValidationError") return `CloudFormation refuses it: ${oneLine(error.message, 500)}`;
  return reasonWithAdvice(error);
}
