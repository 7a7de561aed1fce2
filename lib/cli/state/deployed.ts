import { awsClients } from "../deploy/clients.ts";
import { serviceName } from "../deploy/parameter-store.ts";
import { askedOfStack, type DeployedStack, describeStack } from "../deploy/stack.ts";

/** The outputs of a stack that commands use. */
const outputNames = [
  ...(["AppId", "LarkDomain", "EventsQueueUrl", "QuarantineQueueUrl", "DeadLetterQueueUrl"] as const),
  ...(["LedgerTableName", "Lanes", "DeadLetterFifoQueueUrl"] as const),
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
  const { cloudFormation } = awsClients({ region });
  const stack = await askedOfStack(cannot, { name, region }, describeStack(cloudFormation, name));
  const outputs = Object.fromEntries(outputNames.map((output) => [output, stack.outputs.get(output)]));
  return { stack, outputs: outputs as Outputs, name };
}
