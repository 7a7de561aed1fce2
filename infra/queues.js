import { accepted, nameOf } from "./deployment.js";
import { visibilityTimeoutSeconds } from "./limits.js";
import { projectOf } from "./project.js";
import { stackResources } from "./tags.js";

/** @typedef {import("./deployment.js").Deployment} Deployment */

/**
 * The events queue, its dead-letter queue, and the quarantine. All are kept when the stack is removed or a resource is
 * replaced: their messages exist nowhere else. A first deployment that fails takes them away again.
 * @param {Deployment} deployment
 * @param {import("./project.js").Project} project
 */
export function queueResources(deployment, { limits, optional } = projectOf({})) {
  const queue = (/** @type {string} */ what, /** @type {object} */ properties) =>
    queueOf(deployment, optional, what, properties);
  return {
    EventsQueue: queue("events", {
      MessageRetentionPeriod: limits.queueRetentionSeconds,
      VisibilityTimeout: visibilityTimeoutSeconds(limits),
      // The worker moves a failed event itself, with the reason. SQS moves an event that no worker could decide about:
      // its invocations never started, or the process ended each time.
      RedrivePolicy: {
        deadLetterTargetArn: { "Fn::GetAtt": ["DeadLetterQueue", "Arn"] },
        maxReceiveCount: limits.maxReceiveCount,
      },
    }),
    DeadLetterQueue: queue("dead-letters", {
      MessageRetentionPeriod: limits.deadLetterRetentionSeconds,
      // Only for the events queue, so that a redrive goes back to it. The ARN is written out, since the events queue
      // already refers to this queue.
      RedriveAllowPolicy: {
        redrivePermission: "byQueue",
        sourceQueueArns: [
          {
            "Fn::Sub": `arn:\${AWS::Partition}:sqs:\${AWS::Region}:\${AWS::AccountId}:${nameOf(deployment, "events")}`,
          },
        ],
      },
    }),
    QuarantineQueue: queue("quarantine", {
      MessageRetentionPeriod: limits.deadLetterRetentionSeconds,
      RedriveAllowPolicy: { redrivePermission: "denyAll" },
    }),
    EventsQueuePolicy: encryptedTransportOnly("EventsQueue"),
    DeadLetterQueuePolicy: encryptedTransportOnly("DeadLetterQueue"),
    QuarantineQueuePolicy: encryptedTransportOnly("QuarantineQueue"),
  };
}

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
