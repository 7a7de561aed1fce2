import type { CloudFormation } from "@aws-sdk/client-cloudformation";
import type { Command } from "commander";
import { CommandError, subcommand } from "../command.ts";
import { projectRoot } from "../project.ts";
import { backLines, printLines, refuseLosses } from "./changes.ts";
import { awsClients } from "./clients.ts";
import { osls, oslsFindings, type StackOptions, stackArgs, withStackOptions } from "./osls.ts";
import { regionOf } from "./parameter-store.ts";
import { addressesOf, probeStack } from "./probe.ts";
import { findStack, type Stack, stackResources } from "./stack.ts";

export function rollbackCommand(): Command {
  return withStackOptions(subcommand("rollback"))
    .description("list the deployments of a stage that AWS still has, or go back to one")
    .requiredOption("--stage <stage>", "stage to roll back")
    .option("--to <timestamp>", "the deployment to go back to, as the list has it")
    .option("--dry-run", "say what would change back, and change nothing")
    .option("--no-probe", "push nothing to the addresses")
    .addHelpText(
      "after",
      `
The stack gets the template and the code of that deployment; queues, ledger and keys stay as they are. AWS has the
last five deployments. Without --to, nothing changes.

Examples:
  npm run rollback -- --stage prod
  npm run rollback -- --stage prod --to 1764377215000 --dry-run
  npm run rollback -- --stage prod --to 1764377215000`,
    )
    .action(run);
}

interface Options extends StackOptions {
  readonly stage: string;
  readonly to?: string;
  readonly dryRun?: boolean;
  readonly probe: boolean;
}

async function run(passedOn: readonly string[], options: Options): Promise<void> {
  const { stage, to, dryRun: isDry = false, probe: isProbed, ...stackOptions } = options;
  const root = projectRoot();
  const region = regionOf(stackOptions.region);
  const clients = awsClients({ region, profile: stackOptions.awsProfile });
  const { cloudFormation } = clients;
  const { stack } = await findStack(cloudFormation, { stage, region, task: "roll back" });
  const args = ["rollback", "--stage", stage, ...stackArgs(stackOptions), ...passedOn];
  const listed = await osls(args, { root, isQuiet: true });
  if (listed.code !== 0) {
    throw new CommandError(
      `Cannot roll back: ${oslsFindings(listed.output)
        .map(({ message }) => message)
        .join("; ")}`,
    );
  }
  const deployments = [...listed.output.matchAll(/^Timestamp: (\d+)$/gm)].map(([, timestamp = ""]) => timestamp);
  const current = timestampOf(stack);
  if (to === undefined) {
    console.log(listOf(deployments, { stack, current }));
    return;
  }
  if (!deployments.includes(to) || to === current) {
    const reason = to === current ? `${to} runs now` : `there is no deployment ${to}`;
    throw new CommandError(`Cannot roll back: ${reason}. ${listOf(deployments, { stack, current })}`);
  }
  const template = `${await folderOf(cloudFormation, stack, to)}/compiled-cloudformation-template.json`;
  if (isDry) {
    const lines = await backLines(stack, template, cloudFormation);
    if (!printLines(`Would go back from ${dateOf(current)} to ${dateOf(to)}:`, lines)) process.exitCode = 1;
    return;
  }
  await refuseLosses("roll back", stack.name, () => backLines(stack, template, cloudFormation));
  console.log(`Rolls the stack ${stack.name} in ${region} back to the deployment of ${dateOf(to)}`);
  const { code } = await osls([...args, "--timestamp", to], { root });
  if (code !== 0) {
    process.exitCode = 1;
    return;
  }
  const { stack: now, deployed } = await findStack(cloudFormation, { stage, region, task: "roll back" });
  console.log(
    `The stack has the deployment of ${dateOf(to)}. The next "npm run deploy" deploys what is in this folder.`,
  );
  const addresses = addressesOf(deployed.outputs);
  if (!isProbed || addresses.length === 0) return;
  const target = { stack: now, ssm: clients.ssm };
  if (!(await probeStack(addresses, target))) process.exitCode = 1;
}

/** When the deployment that runs was made: each has a folder of its own in the bucket, named after that. */
function timestampOf({ template }: Stack): string | undefined {
  return /"S3Key":"[^"]*\/(\d+)-\d{4}-[^"]*"/.exec(JSON.stringify(template))?.[1];
}

/** Where osls puts a deployment's zips and template. */
async function folderOf(client: CloudFormation, { name, service, stage, region }: Stack, timestamp: string) {
  const resources = await stackResources(client, name);
  const bucket = resources.find(({ id }) => id === "ServerlessDeploymentBucket")?.physicalId;
  const host = `s3.${region}.amazonaws.com${region.startsWith("cn-") ? ".cn" : ""}`;
  const folder = `${timestamp}-${new Date(Number(timestamp)).toISOString()}`;
  return `https://${host}/${bucket}/serverless/${service}/${stage}/${folder}`;
}

function listOf(
  timestamps: readonly string[],
  { stack, current }: { stack: Stack; current: string | undefined },
): string {
  const noteOn = (timestamp: string) => {
    if (timestamp === current) return "  runs now";
    const isNewer = current !== undefined && Number(timestamp) > Number(current);
    return isNewer ? "  newer: it failed, or was rolled back" : "";
  };
  const lines = timestamps.toReversed().map((timestamp) => `  ${timestamp}  ${dateOf(timestamp)}${noteOn(timestamp)}`);
  return [
    `Deployments of ${stack.name} in ${stack.region}, newest first:`,
    ...lines,
    `What would change back: npm run rollback -- --stage ${stack.stage} --region ${stack.region} --to <timestamp> --dry-run`,
  ].join("\n");
}

function dateOf(timestamp = "0"): string {
  return new Date(Number(timestamp))
    .toISOString()
    .replace("T", " ")
    .replace(/\.\d+Z$/, " UTC");
}
