import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { stripVTControlCharacters } from "node:util";
import { type Command, Option } from "commander";
import { noAppId } from "../../../infra/deployment.js";
import { ConfigError } from "../../errors.ts";
import { refuseFaults } from "../check/check.ts";
import { subcommand, UsageError } from "../command.ts";
import { paint } from "../paint.ts";
import { projectRoot } from "../project.ts";
import { recordStage, stagesFile } from "../state/stages.ts";
import { build } from "./build.ts";
import { osls, type StackOptions, stackArgs, withStackOptions } from "./package.ts";

export function deployCommand(): Command {
  return withStackOptions(subcommand("deploy"))
    .description("bundle the functions, deploy them with all they need, and print their addresses")
    .requiredOption("--stage <stage>", "stage to deploy: dev, prod, …; stages share nothing")
    .addOption(new Option("-p, --package <folder>").hideHelp())
    .addHelpText(
      "after",
      `
Needs AWS credentials, found as the AWS SDK finds them, and the app's id: APP_ID in the environment, or
--param appId=cli_…. The app's keys are no part of a deployment: npm run secrets stores them.

Example: APP_ID=cli_a1b2c3d4e5f60718 npm run deploy -- --stage prod`,
    )
    .action(run);
}

async function run(
  passedOn: readonly string[],
  { stage, package: folder, ...stack }: StackOptions & { stage: string; package?: string },
): Promise<void> {
  if (folder !== undefined || passedOn.some((option) => /^(--package|-p)(=|$)/.test(option))) {
    throw new UsageError(
      "Cannot deploy a packaged folder: its settings were taken when it was made. Leave --package out",
    );
  }
  const root = projectRoot();
  refuseWithoutApp(root, stack);
  await refuseFaults(root, "deploy");
  await build({ root });
  const { code } = await osls(["deploy", "--stage", stage, ...stackArgs(stack), ...passedOn], { root });
  if (code !== 0) {
    process.exitCode = 1;
    return;
  }
  const info = ["info", "--verbose", "--stage", stage, ...stackArgs(stack)];
  const { output } = await osls(info, { root, isQuiet: true });
  const request = outputOf(output, "RequestAddress");
  const callback = outputOf(output, "CallbackAddress");
  const appId = outputOf(output, "AppId");
  if (request === undefined || callback === undefined || appId === undefined) {
    console.error(
      `Deployed. Cannot read the addresses and the app: run "npx osls ${info.join(" ")}" and check its outputs`,
    );
    process.exitCode = 1;
    return;
  }
  // What `npm run secrets` must be told as well, to reach the same stack.
  const where = stack.region === undefined ? `--stage ${stage}` : `--stage ${stage} --region ${stack.region}`;
  console.log(nextSteps({ request, callback }, where));
  if (recordStage(stage, appId, root)) {
    console.log(
      `${stagesFile} now has the app of "${stage}". Commit it: it keeps "npm start -- --long-connection" from taking that stage's events.\n`,
    );
  }
}

/**
 * Spares the check and the bundles where osls would refuse. A project may name its app in serverless.yml, for all
 * stages or for one, or in a file that `--config` names.
 * @throws {ConfigError} No app is named anywhere.
 */
function refuseWithoutApp(root: string, { param = [], config }: StackOptions): void {
  const isNamed = config !== undefined || param.some((setting) => /^appId=./.test(setting));
  if (isNamed || process.env["APP_ID"]) return;
  const file = join(root, "serverless.yml");
  const isInFile = existsSync(file) && /^ *appId: (?!\$\{env:APP_ID, ''\})/m.test(readFileSync(file, "utf8"));
  if (!isInFile) throw new ConfigError(noAppId);
}

const outputShapes = {
  RequestAddress: "https://\\S+",
  CallbackAddress: "https://\\S+",
  AppId: "cli_\\w+",
  EventsQueueUrl: "https?://\\S+",
  QuarantineQueueUrl: "https?://\\S+",
  LedgerTableName: "\\S+",
};

/** The stack's output of that name, out of what `osls info --verbose` prints. */
export function outputOf(output: string, name: keyof typeof outputShapes): string | undefined {
  return new RegExp(`^\\s*${name}: (${outputShapes[name]})$`, "m").exec(stripVTControlCharacters(output))?.[1];
}

function nextSteps(addresses: { request: string; callback: string }, where: string): string {
  const strong = (text: string) => paint("bold", text);
  return `
  Request address   ${strong(addresses.request)}
  Callback address  ${strong(addresses.callback)}

In the Feishu developer console, open your app, then Events & Callbacks:
  1. Encryption Strategy: copy Encrypt Key and Verification Token into
     ${strong(`npm run secrets -- set ${where}`)}
  2. Event configuration > Request URL: paste the request address and save. Feishu checks it at once.
  3. Event configuration > Add events: subscribe to the types that functions/events/ has files for.
  4. Callback configuration > Request URL: paste the callback address and save, then Add callbacks: those
     that functions/callbacks/ has files for.
`;
}
