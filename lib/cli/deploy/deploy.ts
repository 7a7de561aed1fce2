import { type Command, Option } from "commander";
import { subcommand, UsageError } from "../command.ts";
import { smokeStack } from "../desk/smoke.ts";
import { paint } from "../paint.ts";
import { existingRoot } from "../project.ts";
import { recordStage, stagesFile } from "../state/stages.ts";
import { changeLines, printChanges, refuseLosses } from "./changes.ts";
import { reasonOf } from "./clients.ts";
import { adopt, findLeft, protectTables } from "./kept.ts";
import { laneCostLines } from "./lane-cost.ts";
import { deployLongConnection } from "./long-connection.ts";
import { osls, type StackOptions, stackArgs, withStackOptions } from "./osls.ts";
import type { Wishes } from "./preflight/long-connection.ts";
import { preflight, type Ready } from "./preflight/preflight.ts";
import { addressesOf, probeStack } from "./probe.ts";
import { type DeployedStack, describeStack, longConnectionOf, packageFolder } from "./stack.ts";

export function deployCommand(): Command {
  return withStackOptions(subcommand("deploy"))
    .description("check, bundle and deploy the functions with all they need, and print and probe their addresses")
    .requiredOption("--stage <stage>", "stage to deploy: dev, prod, …; stages share nothing")
    .option("--dry-run", "say what would change, and change nothing")
    .option("--force", "even if the stage is another app's")
    .option("--adopt", "go on with the queues and the ledger that a removed stack has left")
    .option("--no-probe", "push nothing to the new addresses")
    .option("--smoke", "follow an event through queue, worker and ledger as well, and click: as npm run smoke does")
    .option("--long-connection", "deploy the stage's long connection instead, a stack of its own beside the stage's")
    .option("--image <image>", "of the long connection: with a tag or a digest, in the region's registry")
    .option("--vpc <vpc>", "where its tasks run: vpc-…")
    .option("--subnets <subnets>", "theirs, with commas between them: subnet-…,subnet-…")
    .option("--public-ip", "give each task a public address, for subnets without a NAT gateway")
    .option("--no-public-ip", "give them none (the default)")
    .addOption(new Option("-p, --package <folder>").hideHelp())
    .addHelpText(
      "after",
      `
Needs AWS credentials, found as the AWS SDK finds them, and the app's id: APP_ID in the environment, or
--param appId=cli_…. The app's keys are no part of a deployment: npm run secrets stores them.

Before anything is sent, it checks the code, the configuration and what AWS would refuse or run badly, and names all
faults at once. Afterwards it pushes a challenge, a forged event and one of the type larkpost.smoke to each address.

The long connection takes its settings from the deployed stage. Options that are left out stay as they were.

Examples:
  APP_ID=cli_a1b2c3d4e5f60718 npm run deploy -- --stage prod
  APP_ID=cli_a1b2c3d4e5f60718 npm run deploy -- --stage prod --dry-run
  npm run deploy -- --stage prod --long-connection --image 111122223333.dkr.ecr.ap-southeast-1.amazonaws.com/larkpost:2`,
    )
    .action(run);
}

interface Options extends StackOptions, Wishes {
  readonly longConnection?: boolean;
  readonly package?: string;
  readonly dryRun?: boolean;
  readonly force?: boolean;
  readonly adopt?: boolean;
  readonly probe: boolean;
  readonly smoke?: boolean;
}

async function run(passedOn: readonly string[], options: Options): Promise<void> {
  const { stage, package: folder, dryRun: isDry = false, longConnection, ...all } = options;
  const { probe: isProbed, smoke: isSmoked = false, ...others } = all;
  const { image, vpc, subnets, publicIp, force = false, adopt: mayAdopt = false, ...stack } = others;
  if (longConnection) {
    if (stack.param !== undefined || stack.config !== undefined || passedOn.length > 0) {
      throw new UsageError(
        "Cannot deploy the long connection with --param, --config or options of osls: its settings are the deployed stage's",
      );
    }
    if (isSmoked || mayAdopt || force) {
      throw new UsageError(
        "Cannot deploy the long connection with --smoke, --adopt or --force: they are for the stage's own stack",
      );
    }
    return deployLongConnection({ stage, ...others }, isDry);
  }
  if ([image, vpc, subnets, publicIp].some((option) => option !== undefined)) {
    throw new UsageError("Cannot deploy with --image, --vpc, --subnets or --public-ip: they need --long-connection");
  }
  if (folder !== undefined || passedOn.some((option) => /^(--package|-p)(=|$)/.test(option))) {
    throw new UsageError(
      "Cannot deploy a packaged folder: its settings were taken when it was made. Leave --package out",
    );
  }
  const root = existingRoot();
  const checked = await preflight(root, { ...stack, stage, force, adopt: mayAdopt });
  if (isDry) {
    if (!printChanges(checked, await changeLines(checked, root))) process.exitCode = 1;
    for (const line of laneCostLines(checked.stack)) console.log(line);
    return;
  }
  const ready = checked.adopt ? await withAdopted(checked) : checked;
  const isChanged = await refuseLosses("deploy", ready.stack.name, () => changeLines(ready, root));
  console.log(`Deploys the stack ${ready.stack.name} in ${ready.stack.region} of account ${ready.account}`);
  // Without it, osls compares with the last upload, which is not what runs after a rollback or a failure.
  const forced = isChanged ? ["--force"] : [];
  const args = ["deploy", "--stage", stage, "--package", packageFolder, ...stackArgs(stack), ...forced, ...passedOn];
  const { code } = await osls(args, { root });
  if (code !== 0) process.exitCode = 1;
  const deployed = await deployedNow(ready, code === 0);
  if (deployed === undefined) return;
  if (!(await protectTables(ready))) process.exitCode = 1;
  const { outputs } = deployed;
  const [request, callback, appId] = ["RequestAddress", "CallbackAddress", "AppId"].map((name) => outputs.get(name));
  // Without a front it has neither.
  if (appId === undefined || (request === undefined) !== (callback === undefined)) {
    console.error(`Deployed. Cannot read the addresses and the app: the stack ${ready.stack.name} has no such outputs`);
    process.exitCode = 1;
    return;
  }
  if (code !== 0) console.error("\nThe stack is deployed. What failed came after it, and is above.");
  // The options with which `npm run secrets` reaches the same stack.
  const where = stack.region === undefined ? `--stage ${stage}` : `--stage ${stage} --region ${stack.region}`;
  // With both fronts, the stack has these outputs as well.
  const byUrl = ["RequestAddressByFunctionUrl", "CallbackAddressByFunctionUrl"].flatMap(
    (name) => outputs.get(name) ?? [],
  );
  const target = outputs.get("DomainTarget");
  const addresses = request === undefined || callback === undefined ? undefined : { request, callback, byUrl, target };
  console.log(addresses === undefined ? withoutAddresses(where) : nextSteps(addresses, where));
  if (recordStage(stage, appId, root)) {
    console.log(
      `${stagesFile} now has the app of "${stage}". Commit it: it keeps "npm start -- --long-connection" from taking that stage's events.\n`,
    );
  }
  if (await hasLongConnection(ready)) {
    console.log(`The stage's long connection has the settings of its own last deployment. Deploy it, too:
     ${paint("bold", `npm run deploy -- ${where} --long-connection`)}
`);
  }
  if (isSmoked) {
    const { stack, clients } = ready;
    await smokeStack({ stage, region: stack.region, outputs, clients });
    return;
  }
  if (!isProbed || addresses === undefined) return;
  if (!(await probeStack(addressesOf(outputs), { stack: ready.stack, ssm: ready.clients.ssm }))) process.exitCode = 1;
}

/** Makes the stack of what a removed one has left. A deployment updates it as any other. */
async function withAdopted(ready: Ready): Promise<Ready> {
  const { stack, clients } = ready;
  const left = await findLeft(ready);
  if (left.length === 0) {
    console.error(`Nothing to adopt: no removed stack has left anything of ${stack.name}`);
    return ready;
  }
  await adopt(ready, left);
  console.log(`Adopted ${left.map(({ name }) => name).join(", ")}, with what is in them`);
  return { ...ready, deployed: await describeStack(clients.cloudFormation, stack.name) };
}

/**
 * The stack after osls. When osls failed, it is deployed all the same if its update is complete, and is newer than what
 * was there before: osls's last calls change nothing that runs.
 */
async function deployedNow({ stack, clients, deployed }: Ready, isDone: boolean): Promise<DeployedStack | undefined> {
  try {
    const now = await describeStack(clients.cloudFormation, stack.name);
    if (now === undefined && isDone) throw new Error("there is none");
    if (!isDone && /ROLLBACK_COMPLETE$/.test(now?.status ?? "")) {
      console.error(`\nAWS rolled it back: the stack ${stack.name} is as it was before.`);
    }
    const isChanged = now !== undefined && now.changedAtMs > (deployed?.changedAtMs ?? 0);
    const isComplete = isChanged && now.status === "UPDATE_COMPLETE" && now.outputs.has("AppId");
    return isDone || isComplete ? now : undefined;
  } catch (error) {
    console.error(`Cannot read the addresses of the stack ${stack.name}: ${reasonOf(error)}`);
    process.exitCode = 1;
    return undefined;
  }
}

async function hasLongConnection({ stack, clients }: Ready): Promise<boolean> {
  const found = await describeStack(clients.cloudFormation, longConnectionOf(stack.name)).catch(() => undefined);
  return found !== undefined;
}

function withoutAddresses(where: string): string {
  return `
The stage has no address. Deploy its long connection, by which events and callbacks come:
     ${paint("bold", `npm run deploy -- ${where} --long-connection --image … --vpc vpc-… --subnets subnet-…`)}
`;
}

interface Addresses {
  readonly request: string;
  readonly callback: string;
  /** Function URLs beside them. */
  readonly byUrl: readonly string[];
  /** What the domain's DNS must point to, if it is not in Route 53. */
  readonly target: string | undefined;
}

function nextSteps({ request, callback, byUrl, target }: Addresses, where: string): string {
  const strong = (text: string) => paint("bold", text);
  const [requestUrl, callbackUrl] = byUrl.map((url) => `\n  or                ${strong(url)}`);
  const record = target && `\n${new URL(request).host} needs a CNAME record to ${strong(target)} in its DNS.\n`;
  return `
  Request address   ${strong(request)}${requestUrl ?? ""}
  Callback address  ${strong(callback)}${callbackUrl ?? ""}
${record ?? ""}
In the Feishu developer console, open your app, then Events & Callbacks (事件与回调):
  1. Encryption Strategy (加密策略): its Encrypt Key and Verification Token are those that you stored. To store others:
     ${strong(`npm run secrets -- set ${where}`)}
  2. Event configuration (事件配置) > Subscription mode: Send notifications to developer's server (将事件发送至开发者服务器).
     Paste the request address as the Request URL, and save. Feishu checks it at once.
  3. Event configuration > Add events: those that functions/events/ has files for, with the permissions they ask for.
  4. Callback configuration (回调配置) > Subscription mode: Send callbacks to developer's server (将回调发送至开发者服务器).
     Paste the callback address, and save. Add callbacks: those that functions/callbacks/ has files for.
  5. Publish a version of the app: subscriptions take effect with it.
`;
}
