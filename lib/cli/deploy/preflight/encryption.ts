import type { KMS } from "@aws-sdk/client-kms";
import type { Finding } from "../../check/finding.ts";
import { ofType } from "../stack.ts";
import { about, type Context, unlessRefused, warning } from "./context.ts";
import { isAllowed, isForLog, keyPolicy, type Principal, type Statement } from "./key-policy.ts";

const keyPlace = "--param customerKeyArn";

/** The customer's key: that it is one, that it is usable, and that its policy lets the roles and the log use it. */
export async function findKeyFaults(context: Context): Promise<Finding[]> {
  const { stack, account, clients } = context;
  const keyArn = [
    ...ofType(stack, "AWS::SQS::Queue").map(([, { KmsMasterKeyId }]) => KmsMasterKeyId),
    ...ofType(stack, "AWS::Logs::LogGroup").map(([, { KmsKeyId }]) => KmsKeyId),
  ].find((arn) => typeof arn === "string");
  if (keyArn === undefined) return [];
  const [, partition, region] = /^arn:([\w-]+):kms:([\w-]+):\d{12}:key\/[\w-]+$/.exec(keyArn) ?? [];
  if (region === undefined) {
    const what = keyArn.includes("alias/")
      ? "is an alias, which roles and log groups do not take"
      : "is no ARN of a key";
    return [about(keyPlace, `"${keyArn}" ${what}. Pass arn:aws:kms:${stack.region}:${account}:key/…`)];
  }
  if (region !== stack.region) {
    return [about(keyPlace, `is a key of ${region}, and the stack goes to ${stack.region}. Pass a key of that region`)];
  }
  return unlessRefused(keyPlace, async () => {
    const fault = await unusable(clients.kms, keyArn);
    if (fault !== undefined) return [about(keyPlace, fault)];
    const statements = await keyPolicy(clients.kms, keyArn);
    const isAccount = (principal: Principal) =>
      principal.AWS.some((arn) => arn === "*" || arn === account || arn.endsWith(`::${account}:root`));
    const ofRoles = ["kms:Decrypt", "kms:GenerateDataKey", "kms:Encrypt", "kms:DescribeKey"];
    const ofLogs = ["kms:Encrypt", "kms:Decrypt", "kms:ReEncryptTo", "kms:GenerateDataKey", "kms:DescribeKey"];
    const groups = ofType(stack, "AWS::Logs::LogGroup").map(
      ([, { LogGroupName }]) => `arn:${partition}:logs:${region}:${account}:log-group:${LogGroupName}`,
    );
    const isLog = (principal: Principal, { Condition }: Statement) =>
      principal.Service.some((service) => service.startsWith(`logs.${region}.amazonaws.com`)) &&
      groups.every((group) => isForLog(Condition, group));
    return [
      ...(isAllowed(statements, ofRoles, isAccount)
        ? []
        : [
            about(
              keyPlace,
              `its policy leaves the roles of account ${account} out. Allow arn:${partition}:iam::${account}:root ${ofRoles.join(", ")}`,
            ),
          ]),
      ...(isAllowed(statements, ofLogs, isLog)
        ? []
        : [
            about(
              keyPlace,
              `its policy does not let CloudWatch Logs encrypt ${groups[0]} and the others. Allow logs.${region}.amazonaws.com kms:Encrypt*, kms:Decrypt*, kms:ReEncrypt*, kms:GenerateDataKey*, kms:Describe*`,
            ),
          ]),
    ];
  });
}

/** The alarms' topics: that they exist where the alarms are, and that CloudWatch may use their keys. */
export async function findTopicFaults(context: Context): Promise<Finding[]> {
  const topics = new Map<string, string>();
  for (const [, { AlarmActions = [], AlarmDescription }] of ofType(context.stack, "AWS::CloudWatch::Alarm")) {
    const name = String(AlarmDescription).startsWith("Page") ? "pageTopicArn" : "ticketTopicArn";
    for (const topic of AlarmActions as unknown[]) if (typeof topic === "string") topics.set(topic, `--param ${name}`);
  }
  const found = [...topics].map(([arn, place]) => findTopicFault(arn, place, context));
  return (await Promise.all(found)).flat();
}

async function findTopicFault(arn: string, place: string, { stack, clients }: Context): Promise<Finding[]> {
  const [, region] = /^arn:[\w-]+:sns:([\w-]+):\d{12}:[\w-]+$/.exec(arn) ?? [];
  if (region === undefined) return [about(place, `"${arn}" is no ARN of an SNS topic. Pass arn:aws:sns:…`)];
  if (region !== stack.region) {
    return [
      about(place, `is a topic of ${region}, and alarms reach topics of their own region. Make one in ${stack.region}`),
    ];
  }
  return unlessRefused(place, async () => {
    let attributes: Record<string, string>;
    try {
      attributes = (await clients.sns.getTopicAttributes({ TopicArn: arn })).Attributes ?? {};
    } catch (error) {
      if (!isMissing(error)) throw error;
      return [about(place, `there is no topic ${arn}. Create it, and subscribe to it`)];
    }
    const { KmsMasterKeyId, SubscriptionsConfirmed } = attributes;
    const silence = `nobody is subscribed to the topic ${arn}: no alarm would be heard. Subscribe to it, and confirm what SNS sends`;
    const unheard = SubscriptionsConfirmed === "0" ? [warning(place, silence)] : [];
    if (!KmsMasterKeyId) return unheard;
    const { KeyMetadata } = await clients.kms.describeKey({ KeyId: KmsMasterKeyId });
    if (KeyMetadata?.KeyManager === "AWS") {
      return [
        about(
          place,
          `the topic is encrypted with ${KmsMasterKeyId}, which CloudWatch cannot use: no alarm would arrive. Use a key of yours`,
        ),
      ];
    }
    const statements = await keyPolicy(clients.kms, KeyMetadata?.KeyId ?? KmsMasterKeyId);
    const isCloudWatch = (principal: Principal) => principal.Service.includes("cloudwatch.amazonaws.com");
    if (isAllowed(statements, ["kms:Decrypt", "kms:GenerateDataKey"], isCloudWatch)) return unheard;
    return [
      about(
        place,
        `the policy of the topic's key ${KmsMasterKeyId} leaves CloudWatch out: no alarm would arrive. Allow cloudwatch.amazonaws.com kms:Decrypt and kms:GenerateDataKey*`,
      ),
    ];
  });
}

/** Why nothing can be encrypted with the key. */
async function unusable(kms: KMS, KeyId: string): Promise<string | undefined> {
  try {
    const { KeyMetadata: { KeyState, KeySpec } = {} } = await kms.describeKey({ KeyId });
    if (KeyState !== "Enabled") return `the key's state is ${KeyState}. Enable it, or pass another`;
    return KeySpec === "SYMMETRIC_DEFAULT"
      ? undefined
      : `is a key of ${KeySpec}. SQS and Logs take symmetric keys alone`;
  } catch (error) {
    if (isMissing(error)) return "there is no such key. Check its ARN";
    throw error;
  }
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && error.name.startsWith("NotFound");
}
