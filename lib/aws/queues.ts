import { SendMessageCommand, type SendMessageCommandInput } from "@aws-sdk/client-sqs";
import type { EventEnvelope, JobEnvelope } from "../feishu/envelope.ts";
import type { ReceiverPorts } from "../receiving/receiver.ts";
import { toBody, toGroupId } from "./record.ts";
import { attributes, type Client } from "./sqs.ts";

/** The platform must have the answer before the job runs: a card that is updated earlier jumps back. */
const deferSeconds = 3;

/** The receiver's ports. Both resolve when SQS has confirmed the message; the SDK compares its checksum. */
export function receiverQueues(
  client: Client,
  { eventsQueueUrl, quarantineQueueUrl }: { eventsQueueUrl: string; quarantineQueueUrl: string },
): ReceiverPorts {
  return {
    send: async (envelope, signal) => send(client, eventMessage(eventsQueueUrl, envelope), signal),
    quarantine: async (envelope, signal) => {
      const MessageAttributes = attributes({ reason: envelope.reason });
      return send(client, { QueueUrl: quarantineQueueUrl, MessageBody: toBody(envelope), MessageAttributes }, signal);
    },
  };
}

/** Stores what a callback deferred. Resolves when SQS has confirmed it. */
export function deferTo(client: Client, eventsQueueUrl: string) {
  return async (job: JobEnvelope, signal: AbortSignal): Promise<void> =>
    send(client, { ...eventMessage(eventsQueueUrl, job), DelaySeconds: deferSeconds }, signal);
}

function eventMessage(QueueUrl: string, envelope: EventEnvelope | JobEnvelope): SendMessageCommandInput {
  const { tenant } = envelope;
  return { QueueUrl, MessageBody: toBody(envelope), MessageGroupId: tenant === null ? undefined : toGroupId(tenant) };
}

async function send(client: Client, message: SendMessageCommandInput, abortSignal: AbortSignal): Promise<void> {
  await client.send(new SendMessageCommand(message), { abortSignal });
}
