import { DynamoDB } from "@aws-sdk/client-dynamodb";
import { SQS, type SQSClientConfig } from "@aws-sdk/client-sqs";
import { SSM } from "@aws-sdk/client-ssm";
import { ConfigError } from "../errors.ts";
import { type AwsClient, maxAttempts, type TryMs } from "./client.ts";
import { fromSdk } from "./sdk.ts";

/**
 * The client of the processes that are no Lambda, since a container's credentials are not in its environment. `connect`
 * looks for the credentials, which can take longer than a call may.
 *
 * @throws {ConfigError} Neither the environment nor a profile names the region: the log has no message of each call's error.
 */
export async function sdkClient(
  tryMs: TryMs,
  settings: Pick<SQSClientConfig, "endpoint" | "region" | "credentials"> = {},
): Promise<AwsClient> {
  // `requestTimeout` alone only logs a warning.
  const within = (ms: number) => ({
    ...settings,
    maxAttempts,
    requestHandler: { connectionTimeout: ms / 2, requestTimeout: ms, throwOnRequestTimeout: true, socketTimeout: ms },
  });
  const sqs = new SQS(within(tryMs.sqs));
  const { credentials, region } = sqs.config;
  await region().catch((cause: Error) => {
    throw new ConfigError("Cannot start: AWS_REGION is not set, and no AWS profile names the region", { cause });
  });
  const dynamodb = new DynamoDB({ ...within(tryMs.dynamodb), credentials });
  const ssm = new SSM({ ...within(tryMs.ssm), credentials });
  return {
    ...fromSdk({ sqs, dynamodb, ssm }, tryMs),
    connect: () => Promise.allSettled([credentials()]),
  };
}
