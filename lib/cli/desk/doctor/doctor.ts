import { resolve } from "node:path";
import type { Command } from "commander";
import { systemClock } from "../../../clock.ts";
import { subcommand, UsageError } from "../../command.ts";
import { regionOf } from "../../deploy/parameter-store.ts";
import { paint, type Style } from "../../paint.ts";
import { loadEnv, projectRoot, stateArgs } from "../../project.ts";
import { type PlaceOptions, placed, stageArgs } from "../place.ts";
import { addressChecks } from "./addresses.ts";
import { alarmChecks } from "./alarms.ts";
import { type Check, examine } from "./check.ts";
import type { Finding, Level } from "./finding.ts";
import { functionChecks } from "./functions.ts";
import { keyChecks } from "./keys.ts";
import { ledgerChecks } from "./ledger.ts";
import { findMachine, type Machine, machineChecks } from "./machine.ts";
import { platformChecks } from "./platform.ts";
import { queueChecks } from "./queues.ts";
import { stackChecks } from "./stack.ts";
import { findStage, type Stage } from "./stage.ts";

export function doctorCommand(): Command {
  return placed(subcommand("doctor"))
    .description("look for what is wrong with a stage, or with this machine, and say what to do about each")
    .option("--json", "print one JSON object")
    .addHelpText(
      "after",
      `
All checks run side by side, each for 20 s at most. One that is refused names the missing right, and the others are made
all the same. Each address is asked a challenge, must refuse a forged event, and stores one of the type larkpost.smoke,
which no handler gets; nothing else is changed. The app's secret is tried by getting a token.

--json prints {"findings":[{"id","level","what","cure"}]}: the level is ok, warn or fail, and the cure null where nothing
is wrong. It exits with 1 when something fails, and with 0 when there are warnings alone.

Rights: cloudformation:DescribeStacks and GetTemplate, ssm:GetParameter on the keys, lambda:GetFunction,
ListEventSourceMappings and GetAccountSettings, sqs:GetQueueAttributes, dynamodb:DescribeTable and DescribeTimeToLive,
cloudwatch:DescribeAlarms and GetMetricData, sts:GetCallerIdentity; with topics sns:GetTopicAttributes; with a customer
key also kms:Decrypt, DescribeKey and GetKeyPolicy.

Examples:
  npm run doctor
  npm run doctor -- --stage prod
  npm run doctor -- --stage prod --json`,
    )
    .action(run);
}

const stageChecks: readonly Check<Stage>[] = [
  ...stackChecks,
  ...keyChecks,
  ...addressChecks,
  ...functionChecks,
  ...queueChecks,
  ...ledgerChecks,
  ...alarmChecks,
  ...platformChecks,
];

export const localChecks: readonly Check<Machine>[] = [...machineChecks, ...addressChecks, ...platformChecks];

async function run({ json = false, ...options }: PlaceOptions & { readonly json?: boolean }): Promise<void> {
  const root = projectRoot();
  loadEnv(root);
  const { stage, region: typedRegion, state } = options;
  if (stage === undefined) {
    if (typedRegion !== undefined) throw new UsageError("Cannot look: --region is of a stage. Give --stage as well");
    const machine = findMachine({ root, stateFolder: resolve(root, state), args: stateArgs(state) });
    return report("this machine", await examine(localChecks, machine, systemClock), json);
  }
  const region = regionOf(typedRegion);
  const subject = await findStage({ stage, region, root, args: stageArgs(stage, typedRegion) });
  try {
    report(`the stage ${stage} in ${region}`, await examine(stageChecks, subject, systemClock), json);
  } finally {
    // A check that was late may still wait for an answer.
    for (const client of Object.values(subject.clients)) client.destroy();
  }
}

const styles: Readonly<Record<Level, Style>> = { ok: "green", warn: "yellow", fail: "red" };

function report(place: string, findings: readonly Finding[], json: boolean): void {
  const count = (level: Level) => findings.filter((finding) => finding.level === level).length;
  if (count("fail") > 0) process.exitCode = 1;
  if (json) {
    console.log(JSON.stringify({ findings }));
    return;
  }
  const lines = findings.flatMap(({ level, what, cure }) => [
    `${paint(styles[level], level.padEnd(4))}  ${what}`,
    ...(cure === null ? [] : [`      ${cure}`]),
  ]);
  console.log(
    [`Looks at ${place}:`, ...lines, `${count("fail")} fail, ${count("warn")} warn, ${count("ok")} ok`].join("\n"),
  );
}
