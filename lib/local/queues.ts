import type { SQS } from "@aws-sdk/client-sqs";
import { type Lane, lanesOf } from "../../infra/lanes.js";
import type { Project } from "../../infra/project.js";
import { queueArn, queueUrl } from "./sqs.ts";

/** What queues are created with: the SDK's client, or one of `exchange.ts`. */
export type QueueClient = Pick<SQS, "createQueue" | "getQueueAttributes" | "listQueues" | "setQueueAttributes">;

/** What the numbers of the lanes are made of. */
export type Numbers = Pick<Project, "limits" | "optional" | "lanes">;

const region = "us-east-1";

/** Creates the queues with the deployed stack's attributes, or sets those attributes on the queues of an earlier run. */
export async function createQueues(client: QueueClient, project: Numbers): Promise<void> {
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
export async function queuesWithoutLane(client: QueueClient, lanes: readonly Lane[]) {
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

async function createQueue(client: QueueClient, name: string, attributes: Record<string, string>): Promise<void> {
  try {
    await client.createQueue({ QueueName: name, Attributes: attributes });
  } catch (error) {
    // Not by `instanceof`: the embedded SQS sends the code of older SDKs, so the SDK does not make its class.
    if (!(error instanceof Error && error.name.endsWith("QueueNameExists"))) throw error;
    await client.setQueueAttributes({ QueueUrl: urlOf(name), Attributes: attributes });
  }
}

async function countOf(client: QueueClient, name: string): Promise<number> {
  const { Attributes = {} } = await client.getQueueAttributes({ QueueUrl: urlOf(name), AttributeNames: ["All"] });
  const { ApproximateNumberOfMessages, ApproximateNumberOfMessagesNotVisible, ApproximateNumberOfMessagesDelayed } =
    Attributes;
  return [ApproximateNumberOfMessages, ApproximateNumberOfMessagesNotVisible, ApproximateNumberOfMessagesDelayed]
    .map(Number)
    .reduce((sum, messages) => sum + messages);
}

/** The embedded SQS looks at the path alone. */
function urlOf(name: string): string {
  return queueUrl("http://127.0.0.1", name);
}
