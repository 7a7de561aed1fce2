import { DynamoDB } from "@aws-sdk/client-dynamodb";
import { SQS, type SQSClientConfig } from "@aws-sdk/client-sqs";
import { SSM } from "@aws-sdk/client-ssm";
import { type AwsClient, maxAttempts, type TryMs } from "./client.ts";
import { fromSdk } from "./sdk.ts";

/**
 * The client of the processes that are no Lambda, since a container's credentials are not in its environment. `connect`
 * looks for the credentials, which can take longer than a call may.
 */
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
  const sqs = new SQS(within(tryMs.sqs));
  const { credentials } = sqs.config;
  const dynamodb = new DynamoDB({ ...within(tryMs.dynamodb), credentials });
  const ssm = new SSM({ ...within(tryMs.ssm), credentials });
  return {
    ...fromSdk({ sqs, dynamodb, ssm }, tryMs),
    connect: () => Promise.allSettled([credentials()]),
  };
}
