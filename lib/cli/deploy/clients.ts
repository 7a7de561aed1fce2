import { oneLine } from "../command.ts";

export type Clients = Awaited<ReturnType<typeof awsClients>>;

/**
 * The SDK's clients, for what a deployment asks AWS. Loaded when it is asked: that takes a third of a second, and no
 * function has them.
 * @param options.profile Of the credentials; else they are found as the SDK finds them.
 * @param options.answerMs How long one try of a call waits. The SDK makes three.
 */
export async function awsClients({
  region,
  profile,
  answerMs = 10_000,
}: {
  region: string;
  profile?: string | undefined;
  answerMs?: number;
}) {
  const [{ CloudFormation }, { DynamoDB }, { KMS }, { Lambda }, { SNS }, { SQS }, { SSM }, { STS }] = await Promise.all(
    [
      import("@aws-sdk/client-cloudformation"),
      import("@aws-sdk/client-dynamodb"),
      import("@aws-sdk/client-kms"),
      import("@aws-sdk/client-lambda"),
      import("@aws-sdk/client-sns"),
      import("@aws-sdk/client-sqs"),
      import("@aws-sdk/client-ssm"),
      import("@aws-sdk/client-sts"),
    ],
  );
  // A person at a shell, perhaps far from the region, waits longer than a function.
  const requestHandler = { connectionTimeout: 5_000, socketTimeout: answerMs };
  const settings = { region, requestHandler, ...(profile === undefined ? {} : { profile }) };
  const cloudFormation = new CloudFormation(settings);
  // Found once: each client would look for them, and assume the profile's role, by itself.
  const others = { ...settings, credentials: cloudFormation.config.credentials };
  return {
    cloudFormation,
    dynamo: new DynamoDB(others),
    kms: new KMS(others),
    lambda: new Lambda(others),
    sns: new SNS(others),
    // As all others: at the endpoint of the region.
    sqs: new SQS({ ...others, useQueueUrlAsEndpoint: false }),
    ssm: new SSM(others),
    sts: new STS(others),
  };
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

/** What to do when AWS gives no answer. */
export function adviceOn(reason: string, right: string): string {
  if (isDenied(reason)) return `You need the right ${right}`;
  if (isUnknownUser(reason)) return credentialsCure;
  return "Check the region and the network, and type the command again: it goes on where it was";
}
