import type { SQSClientConfig } from "@aws-sdk/client-sqs";
import type { Env } from "../settings/environment.ts";
import { type AwsClient, awsClient, maxAttempts, type TryMs } from "./client.ts";
import { fromSdk } from "./sdk.ts";

/**
 * The client of the processes that are no Lambda. The SDK finds the credentials of a container, an instance or a profile, and
 * leaves a TLS handshake with an AWS that is far away more time. The queues of `npm start` need neither.
 */
export async function processClient(env: Env, tryMs: TryMs): Promise<AwsClient> {
  const isNear = env["AWS_ENDPOINT_URL_SQS"]?.startsWith("http:") === true;
  return isNear && hasCredentials(env) ? awsClient({ env, tryMs }) : sdkClient(tryMs);
}

/** Whether the small client finds what it needs. With a profile, the SDK leaves the environment's credentials alone. */
export function hasCredentials({ AWS_REGION, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_PROFILE }: Env): boolean {
  return Boolean(AWS_REGION && AWS_ACCESS_KEY_ID && AWS_SECRET_ACCESS_KEY && !AWS_PROFILE);
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
