import { hash } from "node:crypto";
import { createSecureContext } from "node:tls";
import { type MessageAttributeValue, SendMessageCommand, SQSClient, type SQSClientConfig } from "@aws-sdk/client-sqs";
import { limitConcurrency } from "./concurrency.ts";
import { JsonSigner, trimmed } from "./signer.ts";

/**
 * A client that answers within the receiver's budget: two attempts of 0.5 s each. All three timeouts
 * are needed, since `requestTimeout` alone only logs a warning and lets a stalled call go on.
 */
export function sqsClient(overrides: Partial<SQSClientConfig> = {}): SQSClient {
  const client = new SQSClient({
    maxAttempts: 2,
    signerConstructor: JsonSigner,
    requestHandler: { connectionTimeout: 250, requestTimeout: 500, throwOnRequestTimeout: true, socketTimeout: 500 },
    ...overrides,
  });
  return limitConcurrency(trimmed(client));
}

/**
 * Does all of a send but the sending, while the function starts: it compiles what the first event would wait
 * for with a fraction of a CPU, reads the credentials and prepares TLS. Nothing leaves the process, and
 * nothing hangs on it: whatever fails here fails again, and is told, with the first event.
 */
export async function rehearse(client: SQSClient, queueUrl: string): Promise<void> {
  const MessageBody = "{}";
  const body = Buffer.from(JSON.stringify({ MessageId: "rehearsal", MD5OfMessageBody: hash("md5", MessageBody) }));
  const headers = { "content-type": "application/x-amz-json-1.0" };
  const requestHandler = { handle: async () => ({ response: { statusCode: 200, headers, body } }) };
  const actor = sqsClient({
    requestHandler: requestHandler as unknown as NonNullable<SQSClientConfig["requestHandler"]>,
  });
  try {
    createSecureContext();
    await Promise.all([
      client.config.credentials(),
      actor.send(new SendMessageCommand({ QueueUrl: queueUrl, MessageBody })),
    ]);
  } catch {
    // See above.
  }
}

export type Client = Pick<SQSClient, "send">;

/** String attributes, those without a value left out: SQS refuses an empty one. */
export function attributes(
  values: Readonly<Record<string, string | undefined>>,
): Record<string, MessageAttributeValue> {
  return Object.fromEntries(
    Object.entries(values).flatMap(([name, value]) =>
      value ? [[name, { DataType: "String", StringValue: value }]] : [],
    ),
  );
}
