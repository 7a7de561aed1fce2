import { SSMClient } from "@aws-sdk/client-ssm";

/** A client that gives up within the receiver's time. */
export function ssmClient(): SSMClient {
  return new SSMClient({
    maxAttempts: 2,
    requestHandler: { connectionTimeout: 250, requestTimeout: 600, throwOnRequestTimeout: true, socketTimeout: 600 },
  });
}
