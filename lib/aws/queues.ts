import type { MessageAttributeValue, SendMessageCommandInput } from "@aws-sdk/client-sqs";
import type { EventEnvelope, JobEnvelope } from "../feishu/envelope.ts";
import type { ReceiverPorts } from "../receiving/receiver.ts";
import type { AwsClient } from "./client.ts";
import { toBody, toGroupId } from "./record.ts";

/** The platform must have the answer before the job runs: a card that is updated earlier jumps back. */
const deferSeconds = 3;

/** The queues that a receiver sends to. */
export interface Queues {
  readonly eventsQueueUrl: string;
  readonly quarantineQueueUrl: string;
  /** Whether several tenants share the events queue, each as a message group, so that a busy one does not delay the others. */
  readonly isMarketplace?: boolean;
}

/** The receiver's ports. Both resolve when SQS has confirmed the message; the client compares its checksum. */
export function receiverQueues(client: AwsClient, queues: Queues): ReceiverPorts {
  return {
    send: async (envelope, signal) => send(client, eventMessage(queues, envelope), signal),
    quarantine: async (envelope, signal) => {
      const MessageAttributes = attributes({ reason: envelope.reason });
      const message = { QueueUrl: queues.quarantineQueueUrl, MessageBody: toBody(envelope), MessageAttributes };
      return send(client, message, signal);
    },
  };
}

/** Stores what a callback deferred. Resolves when SQS has confirmed it. */
export function deferTo(client: AwsClient, queues: Queues) {
  return async (job: JobEnvelope, signal: AbortSignal): Promise<void> =>
    send(client, { ...eventMessage(queues, job), DelaySeconds: deferSeconds }, signal);
}

function eventMessage(
  { eventsQueueUrl, isMarketplace = false }: Queues,
  envelope: EventEnvelope | JobEnvelope,
): SendMessageCommandInput {
  const { tenant } = envelope;
  const MessageGroupId = isMarketplace && tenant !== null ? toGroupId(tenant) : undefined;
  return { QueueUrl: eventsQueueUrl, MessageBody: toBody(envelope), MessageGroupId };
}

async function send(client: AwsClient, message: SendMessageCommandInput, abortSignal: AbortSignal): Promise<void> {
  await client.call("SendMessage", message, { abortSignal });
}

/** Text attributes. One without a value is left out, since SQS refuses an empty one. */
export function attributes(
  values: Readonly<Record<string, string | undefined>>,
): Record<string, MessageAttributeValue> {
  const filled = Object.entries(values).filter(([, value]) => value);
  return Object.fromEntries(filled.map(([name, value]) => [name, { DataType: "String", StringValue: value }]));
}
