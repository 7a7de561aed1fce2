import type { SSM } from "@aws-sdk/client-ssm";
import type { Command } from "commander";
import { oneLine, UsageError } from "../command.ts";
import { loadEnv, projectRoot } from "../project.ts";
import { awsClients } from "./clients.ts";
import { askSsm, regionOf } from "./parameter-store.ts";

/** The account's own setting, in each region. */
const throughputSetting = "/ssm/parameter-store/high-throughput-enabled";

export function addThroughput(parent: Command): void {
  parent
    .command("throughput")
    .description("print how often SSM's parameters can be read in this account and region, or change it")
    .option("--region <region>", "region of the deployment (default: AWS_REGION, AWS_DEFAULT_REGION, ap-southeast-1)")
    .option("--on", "10,000 reads a second")
    .option("--off", "40 reads a second, AWS's default")
    .option("--json", "print one JSON object")
    .addHelpText(
      "after",
      `
Each new instance of a function reads the keys once while it loads, and again about every 3 minutes while it is used.
At 40 reads a second, a deployment that replaces hundreds of instances at once has some requests answered with 503
until all have read. Feishu pushes such an event again, but no callback.

The setting is the account's, in one region: it changes the limit and the bill of every other application there as
well. While it is on, AWS bills each call of Parameter Store, $0.05 for 10,000. It needs the rights
ssm:GetServiceSetting and ssm:UpdateServiceSetting.

Example: npm run secrets -- throughput --on`,
    )
    .action((options: ThroughputOptions) => throughput(options));
}

interface ThroughputOptions {
  readonly region?: string;
  readonly on?: boolean;
  readonly off?: boolean;
  readonly json?: boolean;
}

async function throughput({
  region: typedRegion,
  on = false,
  off = false,
  json = false,
}: ThroughputOptions): Promise<void> {
  if (on && off) throw new UsageError("Cannot change the throughput: --on and --off are given. Leave one of them out");
  loadEnv(projectRoot());
  const region = regionOf(typedRegion);
  const client = awsClients({ region }).ssm;
  const before = await askSsm("its throughput", readThroughput(client));
  const isHigh = on || (before.isHigh && !off);
  if (isHigh !== before.isHigh) await askSsm("its throughput", writeThroughput(client, before.arn, isHigh));
  if (json) {
    console.log(JSON.stringify({ region, isHigh, wasHigh: before.isHigh }));
    return;
  }
  const [now, cost] = isHigh
    ? ["10,000 reads a second", "AWS bills each call of Parameter Store, $0.05 for 10,000"]
    : ["40 reads a second", "AWS's default, without a price"];
  const verb = isHigh === before.isHigh ? "is" : "is now";
  console.log(`The throughput of Parameter Store ${verb} ${now} in this account and ${region} (${cost})`);
}

/** What limits a deployment that replaces many instances. The keys do not depend on it: a refusal is only printed. */
export async function throughputLine(client: SSM) {
  try {
    const { isHigh } = await readThroughput(client);
    const text =
      "40 reads a second in this account and region: when a deployment replaces hundreds of instances at once, some requests get 503. See npm run secrets -- throughput --help";
    return { isHigh, lines: isHigh ? [] : [text] };
  } catch (error) {
    const name = error instanceof Error ? oneLine(error.name, 100) : "unknown error";
    return { isHigh: null, lines: [`not checked (ssm:GetServiceSetting: ${name})`] };
  }
}

/**
 * Whether Parameter Store's higher throughput is on in this account and region.
 * https://docs.aws.amazon.com/systems-manager/latest/userguide/parameter-store-throughput.html
 */
async function readThroughput(client: SSM): Promise<{ readonly isHigh: boolean; readonly arn: string }> {
  const { ServiceSetting } = await client.getServiceSetting({ SettingId: throughputSetting });
  return { isHigh: ServiceSetting?.SettingValue === "true", arn: ServiceSetting?.ARN ?? throughputSetting };
}

/** @param arn As {@link readThroughput} found it: a policy can allow this one setting only by its ARN. */
async function writeThroughput(client: SSM, arn: string, isHigh: boolean): Promise<void> {
  await client.updateServiceSetting({ SettingId: arn, SettingValue: String(isHigh) });
}
