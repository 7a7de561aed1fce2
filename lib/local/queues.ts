import type { SQS } from "@aws-sdk/client-sqs";
import { type Lane, lanesOf } from "../../infra/lanes.js";
import type { Project } from "../../infra/project.js";
import { queueArn, queueUrl } from "./sqs.ts";

/** What the numbers of the lanes are made of. */
export type Numbers = Pick<Project, "limits" | "optional" | "lanes">;

const region = "us-east-1";

/** Creates the queues with the deployed stack's attributes, or sets those attributes on the queues of an earlier run. */
export async function createQueues(client: SQS, project: Numbers): Promise<void> {
  const { queueRetentionSeconds, deadLetterRetentionSeconds } = project.limits;
  const lanes = lanesOf(project);
  const nets = new Set(["dead-letters", ...lanes.map(netOf)]);
  for (const name of [...nets, "quarantine"]) {
    await createQueue(client, name, { MessageRetentionPeriod: String(deadLetterRetentionSeconds) });
  }
  for (const lane of lanes) {
    const MessageRetentionPeriod = String(queueRetentionSeconds);
    await createQueue(client, lane.queueName, { MessageRetentionPeriod, ...attributesOf(lane) });
  }
}

/**
 * The queues of earlier runs that hold events and are no lane's. Each becomes a lane with the default lane's numbers, so
 * that the default worker can run them.
 */
export async function queuesWithoutLane(client: SQS, lanes: readonly Lane[]) {
  const { QueueUrls = [] } = await client.listQueues({ QueueNamePrefix: "events-" });
  const names = QueueUrls.map((url) => url.replace(/^.*\//, ""));
  const found: { readonly name: string; readonly count: number; readonly lane: Lane }[] = [];
  for (const queueName of names.filter((name) => !lanes.some((lane) => lane.queueName === name))) {
    const count = await countOf(client, queueName);
    const [defaultLane] = lanes;
    if (count === 0 || defaultLane === undefined) continue;
    const lane = { ...defaultLane, queueName, ...(isFifo(queueName) ? { batchSize: 1 } : {}) };
    await createQueue(client, queueName, attributesOf(lane));
    found.push({ name: queueName.replace(/^events-|\.fifo$/g, ""), count, lane });
  }
  return found;
}

function attributesOf(lane: Lane): Record<string, string> {
  const { visibilityTimeoutSeconds, maxReceiveCount } = lane;
  const deadLetterTargetArn = queueArn(netOf(lane), region);
  return {
    VisibilityTimeout: String(visibilityTimeoutSeconds),
    RedrivePolicy: JSON.stringify({ deadLetterTargetArn, maxReceiveCount }),
  };
}

function netOf({ queueName }: Lane): string {
  return isFifo(queueName) ? "dead-letters.fifo" : "dead-letters";
}

/** The embedded SQS makes a FIFO queue of such a name. Of high throughput, it knows nothing. */
function isFifo(queueName: string): boolean {
  return queueName.endsWith(".fifo");
}

async function createQueue(client: SQS, name: string, attributes: Record<string, string>): Promise<void> {
  try {
    await client.createQueue({ QueueName: name, Attributes: attributes });
  } catch (error) {
    // Not by `instanceof`: the embedded SQS sends the code of older SDKs, so the SDK does not make its class.
    if (!(error instanceof Error && error.name.endsWith("QueueNameExists"))) throw error;
    const QueueUrl = await urlOf(client, name);
    await client.setQueueAttributes({ QueueUrl, Attributes: attributes });
  }
}

async function countOf(client: SQS, name: string): Promise<number> {
  const QueueUrl = await urlOf(client, name);
  const { Attributes = {} } = await client.getQueueAttributes({ QueueUrl, AttributeNames: ["All"] });
  const { ApproximateNumberOfMessages, ApproximateNumberOfMessagesNotVisible, ApproximateNumberOfMessagesDelayed } =
    Attributes;
  return [ApproximateNumberOfMessages, ApproximateNumberOfMessagesNotVisible, ApproximateNumberOfMessagesDelayed]
    .map(Number)
    .reduce((sum, messages) => sum + messages);
}

async function urlOf(client: SQS, name: string): Promise<string> {
  const endpoint = await client.config.endpoint?.();
  const base = endpoint === undefined ? "" : `${endpoint.protocol}//${endpoint.hostname}:${endpoint.port}`;
  return queueUrl(base, name);
}
