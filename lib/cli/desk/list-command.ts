import type { Command } from "commander";
import { groupsOf, matches } from "./letters.ts";
import { lettersIn } from "./look.ts";
import { type CommonOptions, common, type FilterOptions, filtered, filtersOf } from "./options.ts";
import { findPlace } from "./place.ts";
import { letterFacts, listText } from "./text.ts";

export function addList(parent: Command): void {
  filtered(common(parent.command("list", { isDefault: true })))
    .description("print the dead letters by what failed (this is what plain dead does)")
    .addHelpText(
      "after",
      `
Letters of one fault share a fingerprint: the class of the error and its place in your code. Nothing is taken out of
the queue. On this machine all letters are listed. On a stage SQS shows a queue by chance, and the first line says how
many were seen. It needs the rights cloudformation:DescribeStacks, sqs:GetQueueAttributes and sqs:ReceiveMessage, and with a
lane that has an order sqs:ChangeMessageVisibility: letters that SQS moved from it are hidden from others meanwhile.

Examples:
  npm run dead
  npm run dead -- list --type im.message.receive_v1 --since 2h
  npm run dead -- list --stage prod --fingerprint 1f0c9a2b
  npm run dead -- list --queue quarantine`,
    )
    .action(list);
}

async function list(options: CommonOptions & FilterOptions): Promise<void> {
  const { queue, json = false } = options;
  const place = await findPlace("Cannot list", options);
  try {
    const { letters, total } = await lettersIn(place, queue);
    const filters = filtersOf(options);
    const found = letters.filter((letter) => matches(letter, filters));
    if (!json) {
      console.log(listText(found, { place, queue, nowMs: Date.now(), seen: letters.length, total }));
      return;
    }
    const groups = groupsOf(found).map(({ fingerprint, letters: group }) => ({ fingerprint, count: group.length }));
    const { stage, region } = place;
    console.log(
      JSON.stringify({ stage, region, queue, total, seen: letters.length, groups, letters: found.map(letterFacts) }),
    );
  } finally {
    await place.close();
  }
}
