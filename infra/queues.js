import { accepted, forDeployment, nameOf } from "./deployment.js";
import { visibilityTimeoutSeconds } from "./limits.js";
import { projectOf } from "./project.js";

/** @typedef {import("./deployment.js").Deployment} Deployment */

/**
 * The events queue, where it dead-letters to, and the quarantine. All are kept when the stack is
 * removed or a resource replaced: what they hold exists nowhere else.
 * @param {Deployment} deployment
 * @param {import("./project.js").Project} project
 */
export function queueResources(deployment, { limits } = projectOf({})) {
  return {
    EventsQueue: queue(deployment, "events", {
      MessageRetentionPeriod: limits.queueRetentionSeconds,
      VisibilityTimeout: visibilityTimeoutSeconds(limits),
      // The worker moves a failed event itself, with the reason. This is a net for what no code of ours could judge:
      // an invocation that never started, a process that was ended each time.
      RedrivePolicy: {
        deadLetterTargetArn: { "Fn::GetAtt": ["DeadLetterQueue", "Arn"] },
        maxReceiveCount: limits.maxReceiveCount,
      },
    }),
    DeadLetterQueue: queue(deployment, "dead-letters", {
      MessageRetentionPeriod: limits.deadLetterRetentionSeconds,
      // Of no other queue: a redrive goes back to where the messages came from. The ARN is spelled out,
      // since the events queue already refers to this one.
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
 * Only denies: who may use the queue is said by the functions' roles, and nobody else is let in.
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
