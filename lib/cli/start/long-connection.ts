import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { Command } from "commander";
import { readProject } from "../../../infra/project.js";
import { longConnectionConfig } from "../../aws/config.ts";
import { ConfigError } from "../../errors.ts";
import { reasonOf } from "../../local/long-connection.ts";
import { describeError } from "../../trace/error.ts";
import { levelOf, toLine } from "../../trace/log.ts";
import { subscribe } from "../../trace/trace.ts";
import { CommandError, subcommand } from "../command.ts";
import { logText } from "../desk/timeline.ts";
import { generate } from "../handlers/generate.ts";
import { paint } from "../paint.ts";
import { loadEnv, projectRoot, refuseUnset } from "../project.ts";
import { appVariables } from "../state/local-keys.ts";
import { rank } from "./output.ts";
import { setVariables } from "./variables.ts";

export function longConnectionCommand(): Command {
  return subcommand("long-connection")
    .description("receive over the long connection, without a public address: dials the platform, queues on AWS")
    .option(
      "--stage <stage>",
      "take app, domain, queues and ledger of this deployed stage, and its stored keys, where they are not set",
    )
    .option("--region <region>", "with --stage: its region (default: AWS_REGION, AWS_DEFAULT_REGION, ap-southeast-1)")
    .option("--json", "print JSON lines, one a stage, instead of text for a person")
    .addHelpText(
      "after",
      `
Settings come from the environment, and what is not there from a file .env: APP_ID, and APP_SECRET or
SECRETS_PARAMETER; EVENTS_QUEUE_URL, QUARANTINE_QUEUE_URL and LEDGER_TABLE of the deployed stage; if need be LANES,
LARK_DOMAIN (feishu, lark), CALLBACK_DEADLINE_MS, HEALTH_PORT, LOG_LEVEL. AWS credentials and region as everywhere.
With --stage, the app, LARK_DOMAIN and ALLOW_OTHER_DOMAIN of .env are not read.

Runs until SIGTERM or Ctrl-C, answers the messages in hand, and exits with 0; with 1 when the platform
refuses the app or a setting is missing. The deployed worker runs the handlers of events; those of callbacks run here.

Examples:
  npm run long-connection -- --stage prod
  APP_ID=cli_… APP_SECRET=… EVENTS_QUEUE_URL=https://… npm run long-connection`,
    )
    .action(run);
}

interface Options {
  readonly json?: boolean;
  readonly stage?: string;
  readonly region?: string;
}

async function run({ json = false, stage, region }: Options): Promise<void> {
  const root = projectRoot();
  // .env has an app for this machine.
  const ofApp: readonly string[] = [...appVariables, "LARK_DOMAIN", "ALLOW_OTHER_DOMAIN"];
  loadEnv(root, (name) => stage === undefined || !ofApp.includes(name));
  if (stage !== undefined) await setFromStage(stage, region);
  const own = process.env["SECRETS_PARAMETER"] ? ["APP_ID"] : ["APP_ID", "APP_SECRET"];
  refuseUnset("start", [...own, "EVENTS_QUEUE_URL", "QUARANTINE_QUEUE_URL", "LEDGER_TABLE"]);
  setVariables(await readProject(root), (table, variable) => {
    throw new ConfigError(`Cannot start: ${variable} is not set. It is the name of the deployed stage's ${table}`);
  });
  // First, so that a missing setting is reported in one line, not as a trace entry.
  longConnectionConfig(process.env);
  await generate({ root });
  startPrinting(json);
  // From here on, the module handles the signals and ends the process.
  await import(pathToFileURL(join(root, "functions/long-connection.ts")).href);
}

/**
 * Sets what the environment lacks to what the stack has.
 * @throws {CommandError} The stack cannot be read, is of an older release, or of another app.
 */
async function setFromStage(stage: string, typedRegion: string | undefined): Promise<void> {
  // Loaded here, because they bring SDKs along.
  const [{ parameterName, regionOf }, { deployedStage }] = await Promise.all([
    import("../deploy/parameter-store.ts"),
    import("../state/deployed.ts"),
  ]);
  const region = regionOf(typedRegion);
  process.env["AWS_REGION"] = region;
  const { outputs, name: stack } = await deployedStage("Cannot start", { stage, region });
  const found = {
    APP_ID: outputs.AppId,
    LARK_DOMAIN: outputs.LarkDomain,
    EVENTS_QUEUE_URL: outputs.EventsQueueUrl,
    QUARANTINE_QUEUE_URL: outputs.QuarantineQueueUrl,
    LEDGER_TABLE: outputs.LedgerTableName,
  };
  for (const [name, value] of Object.entries(found)) {
    const own = process.env[name];
    if (value === undefined && !own) {
      throw new CommandError(
        `Cannot start: the stack ${stack} in ${region} does not say its ${name}. Deploy it again with this release`,
      );
    }
    if (own && value && own !== value && name !== "APP_ID") {
      console.error(paint("yellow", `${name} of the environment is used, and not the stage's, ${value}`));
    }
    process.env[name] ||= value;
  }
  const app = process.env["APP_ID"];
  if (outputs.AppId !== undefined && app !== outputs.AppId) {
    throw new CommandError(
      `Cannot start: APP_ID is "${app}", and the stage "${stage}" is of the app "${outputs.AppId}": its worker runs no event of another. Unset APP_ID and APP_SECRET`,
    );
  }
  if (outputs.Lanes !== undefined) process.env["LANES"] ||= outputs.Lanes;
  if (!process.env["APP_SECRET"]) process.env["SECRETS_PARAMETER"] ||= parameterName(stage, "app");
}

/** Prints text in place of the process's own JSON, unless that is wanted. The reason why it gave up goes to stderr. */
function startPrinting(json: boolean): void {
  const level = levelOf(process.env["LOG_LEVEL"]);
  // The process logs JSON, unless the name is taken.
  subscribe(json ? "reason" : "log", (entry) => {
    const line = toLine(entry, describeError);
    if (entry.stage === "misconfigured") console.error(reasonOf(line));
    else if (!json && rank[entry.level] >= rank[level]) {
      console.log(logText({ atMs: Date.now(), source: "long-connection", line }).text);
    }
  });
}
