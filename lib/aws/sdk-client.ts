import type { SQSClientConfig } from "@aws-sdk/client-sqs";
import type { Env } from "../settings/environment.ts";
import { type AwsClient, awsClient, maxAttempts, type TryMs } from "./client.ts";
import { fromSdk } from "./sdk.ts";

/**
 * The client of the processes that are no Lambda: the small one, if the environment has what it needs. Otherwise the SDK
 * is loaded, and finds the credentials of a container, an instance or a profile.
 */
export async function processClient(env: Env, tryMs: TryMs): Promise<AwsClient> {
  const { AWS_REGION: region, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_PROFILE } = env;
  // With a profile, the SDK leaves the environment's credentials alone.
  if (region && AWS_ACCESS_KEY_ID && AWS_SECRET_ACCESS_KEY && !AWS_PROFILE) return awsClient({ env, tryMs });
  return sdkClient(tryMs, region ? { region } : {});
}

/** `connect` looks for the credentials, which can take longer than a call may. */
export async function sdkClient(
  tryMs: TryMs,
  settings: Pick<SQSClientConfig, "endpoint" | "region" | "credentials"> = {},
): Promise<AwsClient> {
  const [{ SQS }, { DynamoDB }, { SSM }] = await Promise.all([
    import("@aws-sdk/client-sqs"),
    import("@aws-sdk/client-dynamodb"),
    import("@aws-sdk/client-ssm"),
  ]);
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
