import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Command } from "commander";
import { isLockedByOther, lockState } from "../../local/state.ts";
import { subcommand } from "../command.ts";
import { readLocal } from "../state/target.ts";
import { localStatus } from "./local-status.ts";
import { findPlace, type Place, type PlaceOptions, placed } from "./place.ts";
import { isKnown, stageStatus } from "./status.ts";
import { localText, stageText } from "./status-text.ts";

const cannot = "Cannot say how it is";

export function statusCommand(): Command {
  return placed(subcommand("status"))
    .description(
      "print on one screen how a stage, or npm start, is: versions, addresses, queues, runs, dead letters, keys",
    )
    .option("--json", "print one JSON object")
    .addHelpText(
      "after",
      `
Changes nothing. A part that may not be read says which right is missing, and the others are printed all the same; then
it exits with 1. The groups of dead letters are those of the first 200 that SQS shows; those that it moved itself from a
lane with an order are hidden from others meanwhile.

Rights: cloudformation:DescribeStacks, lambda:GetFunction, sqs:GetQueueAttributes, sqs:ReceiveMessage on the dead
letters, cloudwatch:GetMetricData and ssm:GetParameter on the keys; with a customer key also kms:Decrypt, and with a lane
that has an order sqs:ChangeMessageVisibility.

Examples:
  npm run status
  npm run status -- --stage prod`,
    )
    .action(run);
}

async function run({ json = false, ...options }: PlaceOptions & { readonly json?: boolean }): Promise<void> {
  const place = await findPlace(cannot, options);
  try {
    const { stage, region, name } = place;
    const nowMs = Date.now();
    const isStage = stage !== undefined && region !== undefined;
    const status = isStage
      ? await stageStatus(cannot, { ...place, stage, region })
      : await localStatus(place, runningLocal(place));
    if (json) console.log(JSON.stringify({ place: name, stage, region, ...status }));
    else console.log("stack" in status ? stageText(status, { place, nowMs }) : localText(status, { place, nowMs }));
    if (!Object.values(status).every(isKnown)) process.exitCode = 1;
  } finally {
    await place.close();
  }
}

/** What `npm start` has written. `undefined` if it does not run: then no process has the lock. */
function runningLocal({ stateFolder }: Place) {
  if (!existsSync(stateFolder)) return undefined;
  try {
    lockState(stateFolder)();
    return undefined;
  } catch (error) {
    if (!isLockedByOther(error)) throw error;
    return readLocal(join(stateFolder, "local.json"));
  }
}
