import type { MessageAttributeValue, SendMessageCommandInput } from "@aws-sdk/client-sqs";
import { isText } from "../feishu/classify.ts";
import type { EventEnvelope, JobEnvelope } from "../feishu/envelope.ts";
import { fieldsOf } from "../feishu/json.ts";
import type { ChainLimits, Deferrals } from "../handling/deferral.ts";
import type { ReceiverPorts } from "../receiving/receiver.ts";
import type { AwsClient } from "./client.ts";
import { type Lane, type LaneOf, laneQueueUrl } from "./lanes.ts";
import { toBody, toDeduplicationId, toGroupId } from "./record.ts";

/** The queues that a receiver sends to. */
export interface Queues {
  readonly eventsQueueUrl: string;
  readonly quarantineQueueUrl: string;
  /** Whether several tenants share the events queue, each as a message group, so that a busy one does not delay the others. */
  readonly isMarketplace?: boolean;
  /** The lane of an event type. Without it, all events go to the events queue. */
  readonly laneOf?: LaneOf | undefined;
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

/** Deferred work goes to the events queue. It is stored when SQS has confirmed it. */
export function deferralsTo(client: AwsClient, config: Queues & ChainLimits): Deferrals {
  const { maxDeferrals, deferForSeconds } = config;
  return {
    maxDeferrals,
    deferForSeconds,
    store: async (job, { delaySeconds: DelaySeconds, signal }) =>
      send(client, { ...eventMessage(config, job), DelaySeconds }, signal),
  };
}

function eventMessage(queues: Queues, envelope: EventEnvelope | JobEnvelope): SendMessageCommandInput {
  const lane = envelope.kind === "event" ? queues.laneOf?.(envelope.type) : undefined;
  return { ...addressOf(envelope, lane, queues), MessageBody: toBody(envelope) };
}

/**
 * Where an event's message goes: its lane's queue, and its group there. A FIFO queue runs a group's messages one after
 * another, and drops a second message with the same deduplication id within five minutes.
 *
 * @param options.redrive Makes another deduplication id: a redriven message must not be dropped for the first one.
 */
export function addressOf(
  envelope: EventEnvelope | JobEnvelope,
  lane: Lane | undefined,
  options: Pick<Queues, "eventsQueueUrl" | "isMarketplace"> & { readonly redrive?: number | string },
): Pick<SendMessageCommandInput, "QueueUrl" | "MessageGroupId" | "MessageDeduplicationId"> {
  const { eventsQueueUrl, isMarketplace, redrive = 0 } = options;
  const { id, app, receivedBy, tenant, event } = envelope;
  const QueueUrl = lane === undefined ? eventsQueueUrl : laneQueueUrl(eventsQueueUrl, lane);
  const group = isMarketplace ? tenant : null;
  if (!lane?.order) return { QueueUrl, MessageGroupId: group === null ? undefined : toGroupId(group) };
  let value: unknown = event;
  for (const name of lane.order.split(".")) value = fieldsOf(value)[name];
  const text = typeof value === "number" || isText(value) ? value : id;
  return {
    QueueUrl,
    MessageGroupId: toGroupId(group === null ? `${text}` : `${group} ${text}`),
    MessageDeduplicationId: toDeduplicationId([receivedBy ?? app, id, redrive]),
  };
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
