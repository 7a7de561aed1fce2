import { CommandError } from "../command.ts";
import { adviceOn, awsClients, reasonOf } from "../deploy/clients.ts";
import { serviceName } from "../deploy/parameter-store.ts";
import { type DeployedStack, describeStack } from "../deploy/stack.ts";

/** The outputs of a stack that commands use. */
const outputNames = [
  ...(["AppId", "EventsQueueUrl", "QuarantineQueueUrl", "DeadLetterQueueUrl", "LedgerTableName"] as const),
  ...(["Lanes", "DeadLetterFifoQueueUrl"] as const),
] as const;
export type Outputs = Readonly<Record<(typeof outputNames)[number], string | undefined>>;

/**
 * Finds the stack of a stage.
 * @param cannot The beginning of each message: `Cannot start`.
 * @throws {CommandError} AWS does not say, or there is none.
 */
export async function deployedStage(
  cannot: string,
  { stage, region }: { stage: string; region: string },
): Promise<{ stack: DeployedStack; outputs: Outputs; name: string }> {
  const name = `${serviceName()}-${stage}`;
  const { cloudFormation } = await awsClients({ region });
  const stack = await describeStack(cloudFormation, name).catch((error: unknown) => {
    const reason = reasonOf(error);
    const advice = adviceOn(reason, "cloudformation:DescribeStacks");
    throw new CommandError(
      `${cannot}: AWS does not say what is in the stack ${name} in ${region}: ${reason}. ${advice}`,
    );
  });
  if (stack === undefined) {
    throw new CommandError(`${cannot}: there is no stack ${name} in ${region}. Check --stage and --region`);
  }
  const outputs = Object.fromEntries(outputNames.map((output) => [output, stack.outputs.get(output)]));
  return { stack, outputs: outputs as Outputs, name };
}
