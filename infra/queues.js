import { accepted, nameOf } from "./deployment.js";
import { lanesOf } from "./lanes.js";
import { projectOf } from "./project.js";
import { stackResources } from "./tags.js";

/** @typedef {import("./deployment.js").Deployment} Deployment */

/**
 * The queue of each lane, their dead-letter queues, and the quarantine. All are kept when the stack is removed or a resource is
 * replaced: their messages exist nowhere else. A first deployment that fails takes them away again.
 * @param {Deployment} deployment
 * @param {import("./project.js").Project} project
 */
export function queueResources(deployment, project = projectOf({})) {
  const { limits, optional } = project;
  const lanes = lanesOf(project);
  const queue = (/** @type {string} */ what, /** @type {object} */ properties) =>
    queueOf(deployment, optional, what, properties);
  /** @type {Record<string, object>} */
  const queues = Object.fromEntries(
    lanes.map((lane) => [
      lane.queueId,
      queue(lane.queueName, {
        MessageRetentionPeriod: limits.queueRetentionSeconds,
        VisibilityTimeout: lane.visibilityTimeoutSeconds,
        ...(lane.order === null ? {} : fifo),
        // The worker moves a failed event itself, with the reason. SQS moves an event that no worker could decide about:
        // its invocations never started, or the process ended each time.
        RedrivePolicy: {
          deadLetterTargetArn: { "Fn::GetAtt": [lane.deadLetterQueueId, "Arn"] },
          maxReceiveCount: lane.maxReceiveCount,
        },
      }),
    ]),
  );
  for (const id of new Set(lanes.map(({ deadLetterQueueId }) => deadLetterQueueId))) {
    const isFifo = id === "DeadLetterFifoQueue";
    queues[id] = queue(isFifo ? "dead-letters.fifo" : "dead-letters", {
      MessageRetentionPeriod: limits.deadLetterRetentionSeconds,
      ...(isFifo ? fifo : {}),
      // Only for the lanes' queues, so that a redrive goes back to them. The ARNs are written out, since those queues
      // already refer to this one.
      RedriveAllowPolicy: {
        redrivePermission: "byQueue",
        sourceQueueArns: lanes
          .filter(({ deadLetterQueueId }) => deadLetterQueueId === id)
          .map(({ queueName }) => ({
            "Fn::Sub": `arn:\${AWS::Partition}:sqs:\${AWS::Region}:\${AWS::AccountId}:${nameOf(deployment, queueName)}`,
          })),
      },
    });
  }
  queues["QuarantineQueue"] = queue("quarantine", {
    MessageRetentionPeriod: limits.deadLetterRetentionSeconds,
    RedriveAllowPolicy: { redrivePermission: "denyAll" },
  });
  const policies = Object.keys(queues).map((id) => [`${id}Policy`, encryptedTransportOnly(id)]);
  return { ...queues, ...Object.fromEntries(policies) };
}

/** In high-throughput mode: the limits of a FIFO queue hold for each message group. */
const fifo = {
  FifoQueue: true,
  DeduplicationScope: "messageGroup",
  FifoThroughputLimit: "perMessageGroupId",
};

export const queues = stackResources(queueResources);

/** As in lib/aws/record.ts. AWS gives new queues the same, and those that it made before August 2025 a quarter of it. */
const messageBytes = 1_048_576;

/**
 * @param {Deployment} deployment
 * @param {Pick<import("./project.js").Project["optional"], "queueKeyReuseSeconds">} optional
 * @param {string} what
 * @param {object} properties
 */
function queueOf(deployment, { queueKeyReuseSeconds }, what, properties) {
  const { customerKeyArn } = deployment;
  const isManaged = customerKeyArn === "";
  return {
    Type: "AWS::SQS::Queue",
    DeletionPolicy: "RetainExceptOnCreate",
    UpdateReplacePolicy: "Retain",
    ...(isManaged
      ? { Metadata: accepted({ CKV_AWS_27: "SQS-managed encryption is on", W48: "SQS-managed encryption is on" }) }
      : {}),
    Properties: {
      QueueName: nameOf(deployment, what),
      MaximumMessageSize: messageBytes,
      ...properties,
      ...(isManaged ? { SqsManagedSseEnabled: true } : { KmsMasterKeyId: customerKeyArn }),
      ...(isManaged || queueKeyReuseSeconds === null ? {} : { KmsDataKeyReusePeriodSeconds: queueKeyReuseSeconds }),
    },
  };
}

/**
 * Denies requests without TLS. The functions' roles grant the rights, and nobody else has any.
 * @param {string} queueId
 */
function encryptedTransportOnly(queueId) {
  return {
    Type: "AWS::SQS::QueuePolicy",
    Properties: {
      Queues: [{ Ref: queueId }],
      PolicyDocument: {
        Version: "2012-10-17",
        Statement: [
          {
            Sid: "EncryptedTransportOnly",
            Effect: "Deny",
            Principal: "*",
            Action: "sqs:*",
            Resource: { "Fn::GetAtt": [queueId, "Arn"] },
            Condition: { Bool: { "aws:SecureTransport": "false" } },
          },
        ],
      },
    },
  };
}
