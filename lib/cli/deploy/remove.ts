import type { Command } from "commander";
import { CommandError, subcommand } from "../command.ts";
import { projectRoot } from "../project.ts";
import { forgetStage, stagesFile } from "../state/stages.ts";
import { lostWith } from "./changes.ts";
import { awsClients } from "./clients.ts";
import { osls, type StackOptions, stackArgs, withStackOptions } from "./osls.ts";
import { regionOf } from "./parameter-store.ts";
import {
  describeStack,
  findStack,
  isGone,
  isKept,
  longConnectionOf,
  type Stack,
  stackResources,
  type Template,
  variableOf,
} from "./stack.ts";

export function removeCommand(): Command {
  return withStackOptions(subcommand("remove"))
    .description("delete a stage's stack; queues, ledger and keys are kept")
    .requiredOption("--stage <stage>", "stage to remove")
    .addHelpText(
      "after",
      `
What holds events is kept: the queues, the ledger and the stored keys. It prints how to deploy the stage again
with them, and how to delete them. The resources of larkpost.config.js go with their data, unless their DeletionPolicy
keeps them. A stack that is protected from deletion is refused, as that of "prod" is.

Example:
  npm run remove -- --stage dev`,
    )
    .action(run);
}

interface Left {
  readonly id: string;
  readonly type: string;
  readonly physicalId: string;
}

async function run(passedOn: readonly string[], options: StackOptions & { stage: string }): Promise<void> {
  const { stage, ...stackOptions } = options;
  const root = projectRoot();
  const region = regionOf(stackOptions.region);
  const clients = awsClients({ region, profile: stackOptions.awsProfile });
  const { cloudFormation } = clients;
  const { stack, deployed } = await findStack(cloudFormation, { stage, region, task: "remove" });
  if (deployed.isProtected) {
    const lift = `aws cloudformation update-termination-protection --no-enable-termination-protection --stack-name ${stack.name} --region ${region}`;
    throw new CommandError(
      `Cannot remove: the stack ${stack.name} in ${region} is protected from deletion. Run "${lift}", and then this again`,
    );
  }
  const connection = longConnectionOf(stack.name);
  if ((await describeStack(cloudFormation, connection)) !== undefined) {
    throw new CommandError(
      `Cannot remove: the stack ${connection} uses a role of ${stack.name}. Run "aws cloudformation delete-stack --stack-name ${connection} --region ${region}", wait until it is gone, and run this again`,
    );
  }
  const resources = await stackResources(cloudFormation, stack.name);
  const left = resources.filter(({ id }) => isKept(stack.template.Resources[id]));
  console.log([`Removes the stack ${stack.name} in ${region}`, ...lossLines(stack.template)].join("\n"));
  const { code } = await osls(["remove", "--stage", stage, ...stackArgs(stackOptions), ...passedOn], { root });
  // Its last calls may fail when the stack is gone already.
  if (code !== 0 && !(await isGone(cloudFormation, deployed.id))) {
    process.exitCode = 1;
    return;
  }
  if (forgetStage(stage, root)) console.log(`${stagesFile} has no "${stage}" any more. Commit it.`);
  const where = stackOptions.region === undefined ? `--stage ${stage}` : `--stage ${stage} --region ${region}`;
  console.log(whatIsLeft(left, { stack, where }));
}

/** What goes for ever with the stack: the project's own, for what the engine needs is kept. */
function lossLines({ Resources }: Template): string[] {
  return Object.entries(Resources).flatMap(([id, resource]) => {
    const lost = lostWith(id, resource.Type);
    if (lost === undefined || isKept(resource)) return [];
    return resource.DeletionPolicy === "Snapshot" ? [] : [`  - deletes ${id} (${resource.Type}) and ${lost}`];
  });
}

function whatIsLeft(left: readonly Left[], { stack, where }: { stack: Stack; where: string }): string {
  const parameters = [
    variableOf(stack, "WorkerLambdaFunction", "SECRETS_PARAMETER"),
    variableOf(stack, "WorkerLambdaFunction", "EXTRA_SECRETS_PARAMETER"),
  ].filter((name) => name !== undefined);
  const width = Math.max(...left.map(({ id }) => id.length), "keys".length);
  const { region } = stack;
  return [
    "\nThese are kept, with what is in them:",
    ...left.map(({ id, physicalId }) => `  ${id.padEnd(width)}  ${physicalId}`),
    ...parameters.map((name) => `  ${"keys".padEnd(width)}  ${name}`),
    "\nTo deploy the stage again with them, so that the worker goes on with the events in the queue:",
    `  npm run deploy -- ${where} --adopt`,
    "\nTo delete them, for ever:",
    ...left.flatMap(({ type, physicalId }) => deletion(type, physicalId).map((line) => `  ${line} --region ${region}`)),
    ...parameters.map((name) => `  aws ssm delete-parameter --name ${name} --region ${region}`),
    "",
  ].join("\n");
}

function deletion(type: string, physicalId: string): string[] {
  if (type === "AWS::SQS::Queue") return [`aws sqs delete-queue --queue-url ${physicalId}`];
  if (type !== "AWS::DynamoDB::Table") return [];
  return [
    `aws dynamodb update-table --no-deletion-protection-enabled --table-name ${physicalId}`,
    `aws dynamodb delete-table --table-name ${physicalId}`,
  ];
}
