import { type Command, InvalidArgumentError, Option } from "commander";
import { CommandError, oneLine, subcommand } from "../command.ts";
import { parseExact } from "../send/payload.ts";
import { appOf, type Filters, groupsOf, hasId, type Letter, matches, type QueueName, toLetter } from "./letters.ts";
import { findPlace, type Place, type PlaceOptions, placed } from "./place.ts";
import { contentText, letterFacts, listText, showText } from "./text.ts";

interface CommonOptions extends PlaceOptions {
  readonly queue: QueueName;
  readonly json?: boolean;
}

export interface FilterOptions {
  readonly type?: string;
  readonly reason?: string;
  readonly app?: string;
  readonly fingerprint?: string;
  readonly since?: number;
  readonly until?: number;
}

export function deadCommand(): Command {
  const command = subcommand("dead").description(
    "list, read, redrive, try or drop the events that have failed for good",
  );
  filtered(common(command.command("list", { isDefault: true })))
    .description("print the dead letters by what failed (this is what plain dead does)")
    .addHelpText(
      "after",
      `
Letters of one fault share a fingerprint: the class of the error and its place in your code. Nothing is taken out of
the queue. On this machine all letters are listed. On a stage SQS shows a queue by chance, and the first line says how
many were seen. It needs the rights cloudformation:DescribeStacks, sqs:GetQueueAttributes and sqs:ReceiveMessage.

Examples:
  npm run dead
  npm run dead -- list --type im.message.receive_v1 --since 2h
  npm run dead -- list --stage prod --fingerprint 1f0c9a2b
  npm run dead -- list --queue quarantine`,
    )
    .action(list);
  common(command.command("show"))
    .description("print one dead letter: why it died, where, and what it is about")
    .argument("<id>", "the event's id, or the message's")
    .option("--payload", "its content as well, without secrets")
    .addHelpText(
      "after",
      `
Examples:
  npm run dead -- show 5e3702a84e847582be8db7fb73283c02
  npm run dead -- show 5e3702a84e847582be8db7fb73283c02 --payload --stage prod`,
    )
    .action(show);
  return command;
}

function common(command: Command): Command {
  return placed(command)
    .addOption(new Option("--queue <queue>", "which letters").choices(["dead", "quarantine"]).default("dead"))
    .option("--json", "print one JSON object");
}

function filtered(command: Command): Command {
  return command
    .option("--type <type>", "only events of this type")
    .option("--reason <reason>", "only those that died for this reason")
    .option("--fingerprint <fingerprint>", "only those of this fault")
    .option("--app <id>", "only those of this app")
    .option(
      "--since <time>",
      "only those that died since then: 90s, 30min, 2h, 3d ago, or 2026-01-31T12:00:00Z",
      timeOf,
    )
    .option("--until <time>", "only those that died before then", timeOf);
}

/** Epoch milliseconds. */
function timeOf(text: string): number {
  const [, count, unit = ""] = /^(\d{1,6})(s|min|h|d)$/.exec(text) ?? [];
  const unitMs = { s: 1_000, min: 60_000, h: 3_600_000, d: 86_400_000 }[unit];
  if (count !== undefined && unitMs !== undefined) return Date.now() - Number(count) * unitMs;
  const ms = /^\d{4}-\d\d-\d\d/.test(text) ? Date.parse(text) : Number.NaN;
  if (!Number.isNaN(ms)) return ms;
  throw new InvalidArgumentError("It is a time such as 30min, 2h, 3d or 2026-01-31T12:00:00Z.");
}

function filtersOf({ since, until, ...filters }: FilterOptions): Filters {
  const { type, reason, app, fingerprint } = filters;
  return { type, reason, app, fingerprint, sinceMs: since, untilMs: until };
}

/** The letters of a place's queue. A terminal is told how far it is. */
async function lettersIn(place: Place, queue: QueueName): Promise<{ letters: Letter[]; total: number }> {
  const isShown = process.stderr.isTTY === true;
  const { messages, total } = await place.look(queue, (seen, of) => {
    if (isShown) process.stderr.write(`\r${seen} of ${of} seen\x1b[K`);
  });
  if (isShown) process.stderr.write("\r\x1b[K");
  return { letters: messages.map((message) => toLetter(message, queue)), total };
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

async function show(
  id: string,
  { payload: isPayload = false, ...options }: CommonOptions & { readonly payload?: boolean },
): Promise<void> {
  const { queue, json = false } = options;
  const place = await findPlace("Cannot show", options);
  try {
    const letters = await findLetters(place, queue, id);
    for (const letter of letters) {
      if (json) {
        const facts = { ...letterFacts(letter), app: appOf(letter), error: letter.error };
        console.log(JSON.stringify(isPayload ? { ...facts, payload: jsonOr(contentText(letter)) } : facts));
      } else console.log(showText(letter, { place, queue, nowMs: Date.now(), isPayload }));
    }
  } finally {
    await place.close();
  }
}

function jsonOr(text: string): unknown {
  try {
    return parseExact(text);
  } catch {
    return text;
  }
}

/** @throws {CommandError} None was seen. */
async function findLetters(place: Place, queue: QueueName, id: string): Promise<Letter[]> {
  const { letters, total } = await lettersIn(place, queue);
  const found = letters.filter((letter) => hasId(letter, id));
  if (found.length > 0) return found;
  const unseen =
    letters.length < total
      ? `: ${letters.length} of about ${total} were seen, so try again`
      : `. Check the id: "npm run dead"`;
  throw new CommandError(`Cannot find "${oneLine(id, 128)}" among the ${queue} letters of ${place.name}${unseen}`);
}
