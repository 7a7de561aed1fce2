import { SendMessageCommand } from "@aws-sdk/client-sqs";
import type { JobEnvelope } from "../feishu/envelope.ts";
import type { ReceiverPorts } from "../receiving/receiver.ts";
import { toBody, toGroupId } from "./record.ts";
import { attributes, type Client } from "./sqs.ts";

/** The receiver's two ports: both resolve when SQS has confirmed the message (the SDK compares its checksum). */
export function receiverQueues(
  client: Client,
  urls: { eventsQueueUrl: string; quarantineQueueUrl: string },
): ReceiverPorts {
  return {
    async send(envelope, signal) {
      await client.send(
        new SendMessageCommand({
          QueueUrl: urls.eventsQueueUrl,
          MessageBody: toBody(envelope),
          ...(envelope.tenant === null ? undefined : { MessageGroupId: toGroupId(envelope.tenant) }),
        }),
        { abortSignal: signal },
      );
    },
    async quarantine(envelope, signal) {
      await client.send(
        new SendMessageCommand({
          QueueUrl: urls.quarantineQueueUrl,
          MessageBody: toBody(envelope),
          MessageAttributes: attributes({ reason: envelope.reason }),
        }),
        { abortSignal: signal },
      );
    },
  };
}

/** The platform must have the answer before the job runs: a card that is updated earlier jumps back. */
const deferSeconds = 3;

/** Stores what a callback put off; resolves when SQS has confirmed it. */
export function deferTo(client: Client, eventsQueueUrl: string) {
  return async (job: JobEnvelope, signal: AbortSignal): Promise<void> => {
    await client.send(
      new SendMessageCommand({
        QueueUrl: eventsQueueUrl,
        MessageBody: toBody(job),
        DelaySeconds: deferSeconds,
        ...(job.tenant === null ? undefined : { MessageGroupId: toGroupId(job.tenant) }),
      }),
      { abortSignal: signal },
    );
  };
}
