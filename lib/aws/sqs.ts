import { hash } from "node:crypto";
import { createSecureContext } from "node:tls";
import { type MessageAttributeValue, SendMessageCommand, SQSClient, type SQSClientConfig } from "@aws-sdk/client-sqs";
import { limitConcurrency } from "./concurrency.ts";
import { JsonSigner, withoutUnusedMiddleware } from "./signer.ts";

/**
 * A client that answers within the receiver's time: two attempts of 0.5 s each. All three timeouts are needed, since
 * `requestTimeout` alone only logs a warning.
 */
export function sqsClient(overrides: Partial<SQSClientConfig> = {}): SQSClient {
  const client = new SQSClient({
    maxAttempts: 2,
    signerConstructor: JsonSigner,
    requestHandler: { connectionTimeout: 250, requestTimeout: 500, throwOnRequestTimeout: true, socketTimeout: 500 },
    ...overrides,
  });
  return limitConcurrency(withoutUnusedMiddleware(client));
}

/**
 * Does everything of a send but the network call while the function starts, when Lambda gives it a whole CPU: compiles
 * the code, reads the credentials and prepares TLS. A failure is ignored here, since the first event meets and logs it.
 */
export async function warmUp(client: SQSClient, queueUrl: string): Promise<void> {
  const MessageBody = "{}";
  const body = Buffer.from(JSON.stringify({ MessageId: "warm-up", MD5OfMessageBody: hash("md5", MessageBody) }));
  const headers = { "content-type": "application/x-amz-json-1.0" };
  const requestHandler = { handle: async () => ({ response: { statusCode: 200, headers, body } }) };
  const offline = sqsClient({
    requestHandler: requestHandler as unknown as NonNullable<SQSClientConfig["requestHandler"]>,
  });
  try {
    createSecureContext();
    const sent = offline.send(new SendMessageCommand({ QueueUrl: queueUrl, MessageBody }));
    await Promise.all([client.config.credentials(), sent]);
  } catch {
    // The first event reports it.
  }
}

export type Client = Pick<SQSClient, "send">;

/** Text attributes. One without a value is left out, since SQS refuses an empty one. */
export function attributes(
  values: Readonly<Record<string, string | undefined>>,
): Record<string, MessageAttributeValue> {
  const filled = Object.entries(values).filter(([, value]) => value);
  return Object.fromEntries(filled.map(([name, value]) => [name, { DataType: "String", StringValue: value }]));
}
