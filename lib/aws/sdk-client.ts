import { DynamoDB } from "@aws-sdk/client-dynamodb";
import { SQS, type SQSClientConfig } from "@aws-sdk/client-sqs";
import { SSM } from "@aws-sdk/client-ssm";
import { type AwsClient, maxAttempts, type TryMs } from "./client.ts";
import { fromSdk } from "./sdk.ts";

/** The long connection's client, since a container's credentials are not in its environment. */
export function sdkClient(
  tryMs: TryMs,
  settings: Pick<SQSClientConfig, "endpoint" | "region" | "credentials"> = {},
): AwsClient {
  // `requestTimeout` alone only logs a warning.
  const within = (ms: number) => ({
    ...settings,
    maxAttempts,
    requestHandler: { connectionTimeout: ms / 2, requestTimeout: ms, throwOnRequestTimeout: true, socketTimeout: ms },
  });
  const { sqs, dynamodb, ssm } = tryMs;
  return fromSdk(
    { sqs: new SQS(within(sqs)), dynamodb: new DynamoDB(within(dynamodb)), ssm: new SSM(within(ssm)) },
    tryMs,
  );
}
