import type { Command } from "commander";
import { CommandError, UsageError } from "../command.ts";
import { drop, droppedFile, isConfirmed } from "./drop.ts";
import { findLetters } from "./look.ts";
import { type CommonOptions, common } from "./options.ts";
import { findPlace, stoppable } from "./place.ts";
import { countOfLetters, letterFacts } from "./text.ts";

export function addDrop(parent: Command): void {
  common(parent.command("drop"))
    .description("delete dead letters for good, and write down who did it and why")
    .argument("<ids...>", "the events' ids, or the messages'")
    .requiredOption("--why <text>", "the reason, which must be given")
    .option("--yes", "do not ask")
    .addHelpText(
      "after",
      `
Asks first; where there is no terminal, --yes is wanted. Each letter's facts, without its content, go to dropped.jsonl
in the state folder of this machine, with the time, the reason and who it was: the AWS identity, or the user.

It needs the rights of redrive, without those on the events queue and the function, and sts:GetCallerIdentity.

Examples:
  npm run dead -- drop 5e3702a84e847582be8db7fb73283c02 --why "a test of ours"
  npm run dead -- drop 5e3702a84e847582be8db7fb73283c02 --why "asked to forget it" --stage prod --yes`,
    )
    .action(dropLetters);
}

async function dropLetters(
  ids: readonly string[],
  options: CommonOptions & { readonly why: string; readonly yes?: boolean },
): Promise<void> {
  const { queue, json = false, yes = false } = options;
  const why = options.why.trim();
  if (why === "") throw new UsageError("Cannot drop: --why is empty. Say why");
  const place = await findPlace("Cannot drop", options);
  try {
    const found = (await Promise.all(ids.map((id) => findLetters(place, queue, id)))).flat();
    const messageIds = [...new Set(found.map(({ messageId }) => messageId))];
    const what = `${countOfLetters(messageIds.length, queue)} of ${place.name}`;
    if (!yes && !(await isConfirmed(`Drop ${what} for good?`))) {
      throw new CommandError("Nothing was dropped");
    }
    const { dropped, isStopped } = await stoppable(async (signal) => {
      const letters = await drop(messageIds, { place, queue, why, signal });
      return { dropped: letters, isStopped: signal.aborted };
    });
    if (json) console.log(JSON.stringify({ dropped: dropped.map(letterFacts), why, isStopped }));
    else
      console.log(
        `Dropped: ${countOfLetters(dropped.length, queue)} of ${place.name}. ${droppedFile} says who and why`,
      );
    if (dropped.length === messageIds.length || isStopped) return;
    throw new CommandError("Cannot drop the others: another desk has them. Look again in a minute");
  } finally {
    await place.close();
  }
}
