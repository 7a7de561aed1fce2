import { DynamoDBClient } from "@aws-sdk/client-dynamodb";
import { limitConcurrency } from "./concurrency.ts";
import { JsonSigner, trimmed } from "./signer.ts";

/**
 * A client whose calls fail within their time: `requestTimeout` alone only warns.
 * @param options.tryMs What one try may take, of two. Between them it pauses for at most 100 ms.
 */
export function dynamoClient({ tryMs = 1_000 } = {}): DynamoDBClient {
  const client = new DynamoDBClient({
    maxAttempts: 2,
    signerConstructor: JsonSigner,
    // Its calls are alike: the steps of a call are put together once for each command.
    cacheMiddleware: true,
    requestHandler: {
      connectionTimeout: tryMs / 2,
      requestTimeout: tryMs,
      throwOnRequestTimeout: true,
      socketTimeout: tryMs,
    },
  });
  return limitConcurrency(trimmed(client));
}
