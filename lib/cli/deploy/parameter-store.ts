import {
  GetServiceSettingCommand,
  ParameterNotFound,
  PutParameterCommand,
  SSMClient,
  UpdateServiceSettingCommand,
} from "@aws-sdk/client-ssm";
import { readSecrets } from "../../aws/secrets.ts";
import type { AppSecrets } from "../../settings/app-secrets.ts";

// What the command `secrets` asks SSM for; no function loads it.

type Client = Pick<SSMClient, "send">;

/** The account's own setting, in each region. */
const throughputSetting = "/ssm/parameter-store/high-throughput-enabled";

/** A person at a shell, perhaps far from the region, waits longer than a function. */
export function patientClient(region: string): SSMClient {
  return new SSMClient({ requestHandler: { connectionTimeout: 5_000, socketTimeout: 10_000 }, region });
}

/** The stored secrets, or `undefined` when there is no such parameter. */
export async function findSecrets(client: Client, parameter: string): Promise<AppSecrets | undefined> {
  try {
    return await readSecrets(client, parameter);
  } catch (error) {
    if (error instanceof ParameterNotFound) return undefined;
    throw error;
  }
}

/** Writes the SecureString, encrypted with a customer key or with the account's own. */
export async function writeSecrets(
  client: Client,
  parameter: string,
  secrets: AppSecrets,
  kmsKey?: string,
): Promise<void> {
  const { warnings: _, ...stored } = secrets;
  await client.send(
    new PutParameterCommand({
      Name: parameter,
      Type: "SecureString",
      Overwrite: true,
      Value: JSON.stringify(stored),
      ...(kmsKey === undefined ? undefined : { KeyId: kmsKey }),
    }),
  );
}

/**
 * Whether Parameter Store's higher throughput is on in this account and region.
 * https://docs.aws.amazon.com/systems-manager/latest/userguide/parameter-store-throughput.html
 */
export async function readThroughput(client: Client): Promise<{ readonly isHigh: boolean; readonly arn: string }> {
  const { ServiceSetting } = await client.send(new GetServiceSettingCommand({ SettingId: throughputSetting }));
  return { isHigh: ServiceSetting?.SettingValue === "true", arn: ServiceSetting?.ARN ?? throughputSetting };
}

/** @param arn As {@link readThroughput} found it: a policy can allow this one setting only by its ARN. */
export async function writeThroughput(client: Client, arn: string, isHigh: boolean): Promise<void> {
  await client.send(new UpdateServiceSettingCommand({ SettingId: arn, SettingValue: String(isHigh) }));
}
