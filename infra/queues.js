import { accepted, forDeployment, nameOf } from "./deployment.js";
import { visibilityTimeoutSeconds } from "./limits.js";
import { projectOf } from "./project.js";

/** @typedef {import("./deployment.js").Deployment} Deployment */

/**
 * The events queue, its dead-letter queue, and the quarantine. All are kept when the stack is removed or a resource is
 * replaced: their messages exist nowhere else.
 * @param {Deployment} deployment
 * @param {import("./project.js").Project} project
 */
export function queueResources(deployment, { limits } = projectOf({})) {
  return {
    EventsQueue: queue(deployment, "events", {
      MessageRetentionPeriod: limits.queueRetentionSeconds,
      VisibilityTimeout: visibilityTimeoutSeconds(limits),
      // The worker moves a failed event itself, with the reason. SQS moves an event that no worker could decide about:
      // its invocations never started, or the process ended each time.
      RedrivePolicy: {
        deadLetterTargetArn: { "Fn::GetAtt": ["DeadLetterQueue", "Arn"] },
        maxReceiveCount: limits.maxReceiveCount,
      },
    }),
    DeadLetterQueue: queue(deployment, "dead-letters", {
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
    QuarantineQueue: queue(deployment, "quarantine", {
      MessageRetentionPeriod: limits.deadLetterRetentionSeconds,
      RedriveAllowPolicy: { redrivePermission: "denyAll" },
    }),
    EventsQueuePolicy: encryptedTransportOnly("EventsQueue"),
    DeadLetterQueuePolicy: encryptedTransportOnly("DeadLetterQueue"),
    QuarantineQueuePolicy: encryptedTransportOnly("QuarantineQueue"),
  };
}

export const queues = forDeployment((...given) => ({ Resources: queueResources(...given) }));

/**
 * @param {Deployment} deployment
 * @param {string} what
 * @param {object} properties
 */
function queue(deployment, what, properties) {
  const { customerKeyArn } = deployment;
  const isManaged = customerKeyArn === "";
  return {
    Type: "AWS::SQS::Queue",
    DeletionPolicy: "Retain",
    UpdateReplacePolicy: "Retain",
    ...(isManaged
      ? { Metadata: accepted({ CKV_AWS_27: "SQS-managed encryption is on", W48: "SQS-managed encryption is on" }) }
      : {}),
    Properties: {
      QueueName: nameOf(deployment, what),
      ...properties,
      ...(isManaged ? { SqsManagedSseEnabled: true } : { KmsMasterKeyId: customerKeyArn }),
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
