import { type Command, InvalidArgumentError, Option } from "commander";
import { systemClock } from "../../clock.ts";
import { apiConfig } from "../../open-api/config.ts";
import { noSecret } from "../../settings/app-secrets.ts";
import { CommandError, oneLine, subcommand, UsageError } from "../command.ts";
import { asked as askSsm, findSecrets, parameterName, patientClient } from "../deploy/parameter-store.ts";
import { parseExact } from "../send/payload.ts";
import { drop, droppedFile, isConfirmed } from "./drop.ts";
import { appOf, type Filters, groupsOf, hasId, type Letter, matches, type QueueName, toLetter } from "./letters.ts";
import { findPlace, type Place, type PlaceOptions, placed } from "./place.ts";
import { redrive } from "./redrive.ts";
import { runHere } from "./run.ts";
import { contentText, countOfLetters, entryText, letterFacts, listText, runLines, showText } from "./text.ts";

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
  filtered(common(command.command("redrive")))
    .description("move dead letters back to the events queue, so that they run again")
    .argument("[ids...]", "the events' ids, or the messages'")
    .option("--all", "all letters, or all that the filters leave")
    .option("--rate <rate>", "how many a second", rateOf, 10)
    .option("--force", "also what is refused below")
    .addHelpText(
      "after",
      `
A letter is sent to the events queue and then deleted. Ctrl-C stops after the letter in hand; the same command goes on
where it was, also after kill -9, and two may run at once: each event runs once more.

Refused without --force: what was redriven 3 times already, what is older than 33 days (the ledger remembers 35), and
what failed in the code that still runs. Of the quarantine, what this release cannot read either is always refused. It
exits with 1 when a letter was refused. An event that completed never runs again.

It needs the rights cloudformation:DescribeStacks and lambda:GetFunction, sqs:ReceiveMessage, sqs:DeleteMessage,
sqs:ChangeMessageVisibility and sqs:GetQueueAttributes on the letters' queue, and sqs:SendMessage on the events queue; with a customer key also
kms:Decrypt and kms:GenerateDataKey.

Examples:
  npm run dead -- redrive 5e3702a84e847582be8db7fb73283c02
  npm run dead -- redrive --fingerprint 1f0c9a2b --stage prod
  npm run dead -- redrive --all --rate 5/s --stage prod`,
    )
    .action(redriveLetters);
  common(command.command("run"))
    .description("run today's handler on this machine with a dead event, and send nothing")
    .argument("<id>", "the event's id, or the message's")
    .option("--send", "really call the Open API, with APP_SECRET or the stage's stored secret")
    .addHelpText(
      "after",
      `
The files of functions/ run as they are here, without the ledger and the queues: the letter stays where it is. Calls of
the Open API are recorded and printed, and a simulated Feishu answers them. All else that the handler reaches, it
reaches for real: databases, other services. Its environment is that of this machine, with .env. Without --stage its
DynamoDB is that of a running npm start.

With --send a message goes out under the event's own uuid, so that Feishu drops a second one within an hour. It exits
with 1 when the handler fails.

Examples:
  npm run dead -- run 5e3702a84e847582be8db7fb73283c02
  npm run dead -- run 5e3702a84e847582be8db7fb73283c02 --stage prod --send`,
    )
    .action(runLetter);
  common(command.command("drop"))
    .description("delete dead letters for good, and write down who did it and why")
    .argument("<ids...>", "the events' ids, or the messages'")
    .requiredOption("--why <text>", "the reason")
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

/** Letters a second. */
function rateOf(text: string): number {
  const [, rate] = /^(\d+(?:\.\d+)?)(?:\/s)?$/.exec(text) ?? [];
  if (Number(rate) >= 0.1 && Number(rate) <= 1_000) return Number(rate);
  throw new InvalidArgumentError("It is a rate from 0.1/s to 1000/s, such as 5/s.");
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
  throw notFound(
    id,
    queue,
    place,
    letters.length < total ? `: ${letters.length} of about ${total} were seen, so try again` : undefined,
  );
}

function notFound(
  id: string,
  queue: QueueName,
  { name }: Place,
  advice = `. Check the id: "npm run dead"`,
): CommandError {
  return new CommandError(`Cannot find "${oneLine(id, 128)}" among the ${queue} letters of ${name}${advice}`);
}

interface RedriveOptions extends CommonOptions, FilterOptions {
  readonly all?: boolean;
  readonly rate: number;
  readonly force?: boolean;
}

async function redriveLetters(ids: readonly string[], options: RedriveOptions): Promise<void> {
  const cannot = "Cannot redrive";
  const { queue, json = false, all = false, force = false, rate: perSecond } = options;
  const filters = filtersOf(options);
  const isChosen = ids.length > 0 || all || filters.fingerprint !== undefined;
  if (!isChosen) throw new UsageError(`${cannot}: nothing says which letters. Give ids, --fingerprint or --all`);
  if (ids.length > 0 && all) throw new UsageError(`${cannot}: ids and --all are given. Leave one of them out`);
  const place = await findPlace(cannot, options);
  const stopping = new AbortController();
  const stop = () => stopping.abort();
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, stop);
  try {
    const codeChangedAtMs = force ? 0 : await place.codeChangedAtMs();
    const { sqs, urls, isIdle } = await place.queues();
    const missing = new Set(ids);
    const show = progress("redriven");
    const { redriven, refused, hidden } = await redrive({
      ...{ sqs, perSecond, clock: systemClock, signal: stopping.signal },
      urls: { events: urls.events, letters: urls[queue] },
      judge: { queue, nowMs: Date.now(), codeChangedAtMs, force },
      wants(letter) {
        const named = ids.filter((id) => hasId(letter, id));
        for (const id of named) missing.delete(id);
        return (ids.length === 0 || named.length > 0) && matches(letter, filters);
      },
      isEnough: () => ids.length > 0 && missing.size === 0,
      onRedriven: show.one,
    });
    show.end();
    const isStopped = stopping.signal.aborted;
    const why = [...Map.groupBy(refused.values(), (reason) => reason)].map(([reason, { length: count }]) => ({
      reason,
      count,
    }));
    if (json) console.log(JSON.stringify({ redriven, refused: Object.fromEntries(refused), hidden, isStopped }));
    else {
      console.log(`Redriven: ${countOfLetters(redriven.length, queue)} of ${place.name}`);
      for (const { reason, count } of why) console.log(`Refused:  ${count} × ${reason}`);
      if (hidden > 0)
        console.log(`Hidden:   ${hidden}, by another desk or one that was killed. They are back within a minute`);
      if (isStopped) console.log("Stopped. The same command goes on where it was");
      if (isIdle && redriven.length > 0) console.log('They run when "npm start" runs');
    }
    if (isStopped) return;
    if (refused.size > 0) {
      throw new CommandError(`${cannot} ${countOfLetters(refused.size, queue)}. Repair the cause, or pass --force`);
    }
    if (missing.size > 0) throw notFound([...missing].join(", "), queue, place);
  } finally {
    for (const signal of ["SIGINT", "SIGTERM"] as const) process.off(signal, stop);
    await place.close();
  }
}

/** Counts at a terminal. */
function progress(done: string): { one: () => void; end: () => void } {
  const isShown = process.stderr.isTTY === true;
  let count = 0;
  return {
    one() {
      count++;
      if (isShown) process.stderr.write(`\r${count} ${done}\x1b[K`);
    },
    end: () => void (isShown && count > 0 && process.stderr.write("\r\x1b[K")),
  };
}

async function runLetter(
  id: string,
  { send = false, ...options }: CommonOptions & { readonly send?: boolean },
): Promise<void> {
  const { queue, json = false } = options;
  const place = await findPlace("Cannot run", options);
  try {
    const [letter] = await findLetters(place, queue, id);
    const content = letter?.content();
    if (content === undefined || content.kind === "unreadable") {
      throw new CommandError("Cannot run it: the letter is no event that this release reads");
    }
    const api = send ? await realApi(place, content.receivedBy ?? content.app ?? undefined) : undefined;
    const { lines, ...report } = await runHere(content, {
      place,
      api,
      onEntry: (entry) => (json ? undefined : console.log(entryText(entry, place.root))),
    });
    const { verdict } = report;
    if (json) console.log(JSON.stringify({ ...report, lines, isSent: send }));
    else for (const line of runLines({ ...report, isSent: send })) console.log(line);
    if (verdict === "again" || verdict === "dead")
      throw new CommandError("The handler fails: the letter is not to be redriven yet");
  } finally {
    await place.close();
  }
}

/** @throws {CommandError} The secret is not to be had. */
async function realApi({ stage, region }: Place, appId: string | undefined) {
  const { isMarketplace, warnings: _, ...api } = apiConfig(process.env, appId);
  if (isMarketplace)
    throw new CommandError("Cannot run with --send: a marketplace app's tickets are in the stage's ledger");
  const own = process.env["APP_SECRET"];
  const name = stage === undefined ? "" : parameterName(stage, "app");
  const stored =
    own || stage === undefined ? undefined : await askSsm(name, findSecrets(patientClient(region ?? ""), name));
  const secret = own || stored?.appSecret;
  if (!secret) throw new CommandError(`Cannot run with --send: ${noSecret}`);
  return { ...api, appSecret: async () => secret };
}

async function dropLetters(
  ids: readonly string[],
  options: CommonOptions & { readonly why: string; readonly yes?: boolean },
): Promise<void> {
  const { queue, json = false, yes = false } = options;
  const why = options.why.trim();
  if (why === "") throw new UsageError("Cannot drop: --why is empty. Say why");
  const place = await findPlace("Cannot drop", options);
  const stopping = new AbortController();
  const stop = () => stopping.abort();
  try {
    const found = (await Promise.all(ids.map((id) => findLetters(place, queue, id)))).flat();
    const what = `${countOfLetters(new Set(found.map(({ messageId }) => messageId)).size, queue)} of ${place.name}`;
    if (!yes && !(await isConfirmed(`Drop ${what} for good?`))) {
      console.log("Nothing was dropped");
      return;
    }
    for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, stop);
    const messageIds = [...new Set(found.map(({ messageId }) => messageId))];
    const dropped = await drop(messageIds, { place, queue, why, signal: stopping.signal });
    if (json)
      console.log(JSON.stringify({ dropped: dropped.map(letterFacts), why, isStopped: stopping.signal.aborted }));
    else
      console.log(
        `Dropped: ${countOfLetters(dropped.length, queue)} of ${place.name}. ${droppedFile} says who and why`,
      );
    if (dropped.length === messageIds.length || stopping.signal.aborted) return;
    throw new CommandError("Cannot drop the others: another desk has them. Look again in a minute");
  } finally {
    for (const signal of ["SIGINT", "SIGTERM"] as const) process.off(signal, stop);
    await place.close();
  }
}
