import { findFaults } from "../../check/check.ts";
import { type Finding, faultLine, faultsAmong, refusal } from "../../check/finding.ts";
import { CommandError } from "../../command.ts";
import { build } from "../build.ts";
import { awsClients, reasonOf, reasonWithAdvice } from "../clients.ts";
import type { StackOptions } from "../osls.ts";
import { regionOf } from "../parameter-store.ts";
import { compileStack, type DeployedStack, describeStack, placeholders, type Stack } from "../stack.ts";
import { findMissingExtras, findOtherApp, findOtherDomain, findStoredKeyFaults } from "./app.ts";
import { findTooLittleConcurrency, findUnthrottledUrls } from "./concurrency.ts";
import { about, type Check, type Context, type Local } from "./context.ts";
import { findKeyFaults, findTopicFaults } from "./encryption.ts";
import { findLostLanes } from "./lanes.ts";
import { findUnadopted } from "./left.ts";
import { findLongNames } from "./names.ts";
import { findLacks } from "./region.ts";
import { findStuckStack } from "./status.ts";
import { findPausedWorker } from "./worker.ts";

/** The checks that need no AWS. */
const onMachine: readonly ((context: Local) => Finding[])[] = [
  findLongNames,
  findLacks,
  findOtherApp,
  findOtherDomain,
  findUnthrottledUrls,
];
const onAws: readonly Check[] = [
  findStuckStack,
  findUnadopted,
  findStoredKeyFaults,
  findMissingExtras,
  findKeyFaults,
  findTopicFaults,
  findTooLittleConcurrency,
  findPausedWorker,
  findLostLanes,
];

export type Ready = Omit<Context, "root" | "force" | "resumes">;

/**
 * Checks, builds and compiles the project, and asks AWS for what a deployment depends on. Changes nothing on AWS.
 * @returns The stack, ready to be deployed from the folder that {@link compileStack} wrote.
 * @throws {CommandError} Its message has a line for each fault. Warnings are printed.
 */
export async function preflight(
  root: string,
  options: StackOptions & { stage: string; force?: boolean; adopt?: boolean },
): Promise<Ready> {
  const { config, code } = await findFaults(root);
  const findings = [...config, ...code];
  let cleanUp = () => {};
  if (findings.length === 0) await build({ root });
  else cleanUp = placeholders(root);
  try {
    // Without a configuration, there is no stack to look at.
    const { stack, findings: refused } = config.length === 0 ? await compileStack(root, options) : { findings: [] };
    const { ready, findings: more } = await checkOnAws(root, options, stack);
    return unlessFaulty(ready, [...findings, ...refused, ...more]);
  } finally {
    cleanUp();
  }
}

/**
 * @returns What is ready. Warnings are printed.
 * @throws {CommandError} Its message has a line for each fault.
 */
export function unlessFaulty(ready: Ready | undefined, findings: readonly Finding[]): Ready {
  const faults = faultsAmong(findings);
  for (const finding of findings) if (!faults.includes(finding)) console.error(faultLine(finding));
  if (faults.length === 0 && ready !== undefined) return ready;
  throw new CommandError(refusal("deploy", faults));
}

async function checkOnAws(
  root: string,
  { region, awsProfile, param = [], force = false, adopt = false }: StackOptions & { force?: boolean; adopt?: boolean },
  stack: Stack | undefined,
): Promise<{ ready?: Ready; findings: Finding[] }> {
  const clients = awsClients({ region: stack?.region ?? regionOf(region), profile: awsProfile });
  const local = stack === undefined ? [] : checkOnMachine({ root, stack, deployed: undefined, force, adopt });
  let account: string;
  try {
    account = (await clients.sts.getCallerIdentity({})).Account ?? "";
  } catch (error) {
    return { findings: [...local, unknownCredentials(error)] };
  }
  if (stack === undefined) return { findings: [] };
  let deployed: DeployedStack | undefined;
  try {
    deployed = await describeStack(clients.cloudFormation, stack.name);
  } catch (error) {
    return { findings: [...local, unknownStack(stack.name, account, error)] };
  }
  const resumes = param.includes("worker=running");
  const findings = await checkStack({ root, stack, clients, account, deployed, force, resumes, adopt });
  return { ready: { stack, clients, account, deployed, adopt }, findings };
}

export function unknownCredentials(error: unknown): Finding {
  const text = `AWS does not say whose they are: ${reasonWithAdvice(error)}. What AWS knows was not checked`;
  return about("AWS credentials", text);
}

export function unknownStack(name: string, account: string, error: unknown): Finding {
  const text = `account ${account} does not say what it is: ${reasonOf(error)}. Give the user the deployer's rights: docs/deploy.md`;
  return about(name, text);
}

/** Everything that can be found about a stack that was compiled. */
export async function checkStack(context: Context): Promise<Finding[]> {
  const found = await Promise.all(onAws.map((find) => find(context)));
  return [...checkOnMachine(context), ...found.flat()];
}

function checkOnMachine(context: Local): Finding[] {
  return onMachine.flatMap((find) => find(context));
}
