import { existsSync } from "node:fs";
import { userInfo } from "node:os";
import { type Command, InvalidArgumentError } from "commander";
import { systemClock } from "../../clock.ts";
import { CommandError, UsageError } from "../command.ts";
import { progressLine } from "../paint.ts";
import { keepRecent } from "../state/recent.ts";
import { hasId, matches } from "./letters.ts";
import { notFound } from "./look.ts";
import { type CommonOptions, common, type FilterOptions, filtered, filtersOf } from "./options.ts";
import { findPlace, type Place, stoppable } from "./place.ts";
import { type Redriven, redrive } from "./redrive.ts";
import { countOfLetters } from "./text.ts";

export function addRedrive(parent: Command): void {
  filtered(common(parent.command("redrive")))
    .description("move dead letters back to the queues of their lanes, so that they run again")
    .argument("[ids...]", "the events' ids, or the messages'")
    .option("--all", "all letters, or all that the filters leave")
    .option("--rate <rate>", "how many a second", rateOf, 10)
    .option("--force", "also what is refused below")
    .addHelpText(
      "after",
      `
A letter is sent to the queue of its lane and then deleted; of a lane that is no more, to that of the default one. Those
of a lane with an order are sent last, in the order in which they died. Ctrl-C stops after the letter in hand; the same
command goes on where it was, also after kill -9, and two may run at once: each event runs once more.

Refused without --force: what was redriven 3 times already, what is older than 33 days (the ledger remembers 35), and
what failed in the code that still runs. Always refused: what died again while the command runs, and of the quarantine
what this release cannot read either. It exits with 1 when a letter was refused. An event that completed never runs again.

It needs the rights cloudformation:DescribeStacks and lambda:GetFunction, sqs:ReceiveMessage, sqs:DeleteMessage,
sqs:ChangeMessageVisibility and sqs:GetQueueAttributes on the letters' queue, and sqs:SendMessage on the lanes' queues;
with a customer key also kms:Decrypt and kms:GenerateDataKey. Of the quarantine also ssm:GetParameter on the keys, since
what was received encrypted is in it as it came.

Examples:
  npm run dead -- redrive 5e3702a84e847582be8db7fb73283c02
  npm run dead -- redrive --fingerprint 1f0c9a2b --stage prod
  npm run dead -- redrive --all --rate 5/s --stage prod`,
    )
    .action(redriveLetters);
}

/** Letters a second. */
function rateOf(text: string): number {
  const [, rate] = /^(\d+(?:\.\d+)?)(?:\/s)?$/.exec(text) ?? [];
  if (Number(rate) >= 0.1 && Number(rate) <= 1_000) return Number(rate);
  throw new InvalidArgumentError("It is a rate from 0.1/s to 1000/s, such as 5/s.");
}

interface RedriveOptions extends CommonOptions, FilterOptions {
  readonly all?: boolean;
  readonly rate: number;
  readonly force?: boolean;
}

async function redriveLetters(ids: readonly string[], options: RedriveOptions): Promise<void> {
  const cannot = "Cannot redrive";
  const { queue, json = false, all = false, force = false } = options;
  const isChosen = ids.length > 0 || all || filtersOf(options).fingerprint !== undefined;
  if (!isChosen) throw new UsageError(`${cannot}: nothing says which letters. Give ids, --fingerprint or --all`);
  if (ids.length > 0 && all) throw new UsageError(`${cannot}: ids and --all are given. Leave one of them out`);
  const place = await findPlace(cannot, options);
  try {
    const { isIdle, missing, ...outcome } = await stoppable((signal) => redriveFrom(place, { ids, options, signal }));
    if (json) console.log(JSON.stringify({ ...outcome, refused: Object.fromEntries(outcome.refused) }));
    else {
      for (const line of outcomeLines(outcome, { queue, place })) console.log(line);
      if (isIdle && outcome.redriven.length > 0) console.log('They run when "npm start" runs');
    }
    if (outcome.isStopped) return;
    if (outcome.refused.size > 0) {
      const advice = force ? "Repair the cause" : "Repair the cause, or pass --force";
      throw new CommandError(`${cannot} ${countOfLetters(outcome.refused.size, queue)}. ${advice}`);
    }
    if (missing.size > 0) throw notFound([...missing].join(", "), queue, place);
  } finally {
    await place.close();
  }
}

/** What was done in all the queues of dead letters. */
interface Outcome extends Redriven {
  /** How many letters SQS shows only when those before them in their chats are gone. */
  readonly behind: number;
  readonly isStopped: boolean;
}

async function redriveFrom(
  place: Place,
  { ids, options, signal }: { ids: readonly string[]; options: RedriveOptions; signal: AbortSignal },
): Promise<Outcome & { readonly isIdle: boolean; readonly missing: ReadonlySet<string> }> {
  const { queue, force = false, rate: perSecond } = options;
  const filters = filtersOf(options);
  const isLocal = place.stage === undefined && existsSync(place.stateFolder);
  const recent = isLocal ? keepRecent(place.stateFolder, console.error) : undefined;
  const progress = progressLine();
  try {
    const codeChangedAtMs = force ? 0 : await place.codeChangedAtMs();
    const { sqs, eventsQueueUrl, letters, isIdle } = await place.queues();
    const encryptKeys = await place.encryptKeys(queue);
    const missing = new Set(ids);
    let count = 0;
    const passes: (Redriven & { readonly isFifo: boolean })[] = [];
    for (const { url, isFifo } of letters[queue]) {
      const pass = await redrive({
        sqs,
        perSecond,
        isFifo,
        lanes: place.lanes.list,
        clock: systemClock,
        signal,
        urls: { events: eventsQueueUrl, letters: url },
        judge: { queue, nowMs: Date.now(), codeChangedAtMs, force, encryptKeys },
        wants(letter) {
          const named = ids.filter((id) => hasId(letter, id));
          for (const id of named) missing.delete(id);
          return (ids.length === 0 || named.length > 0) && matches(letter, filters);
        },
        isEnough: () => ids.length > 0 && missing.size === 0,
        onRedriven(letter) {
          progress.show(`${++count} redriven`);
          const { id, type, lane } = letter;
          recent?.line("desk", { level: "info", stage: "redriven", id, type, lane, by: userInfo().username });
        },
      });
      passes.push({ ...pass, isFifo });
    }
    const hiddenIn = (wantsFifo: boolean) =>
      passes.reduce((sum, { isFifo, hidden }) => sum + (isFifo === wantsFifo ? hidden : 0), 0);
    return {
      redriven: passes.flatMap(({ redriven }) => redriven),
      refused: new Map(passes.flatMap(({ refused }) => [...refused])),
      hidden: hiddenIn(false),
      behind: hiddenIn(true),
      isStopped: signal.aborted,
      isIdle,
      missing,
    };
  } finally {
    progress.clear();
    recent?.close();
  }
}

function outcomeLines(
  { redriven, refused, hidden, behind, isStopped }: Outcome,
  { queue, place }: { queue: CommonOptions["queue"]; place: Place },
): string[] {
  const counts = [...Map.groupBy(refused.values(), (reason) => reason)];
  return [
    `Redriven: ${countOfLetters(redriven.length, queue)} of ${place.name}`,
    ...counts.map(([reason, { length: count }]) => `Refused:  ${count} × ${reason}`),
    ...(hidden > 0
      ? [`Hidden:   ${hidden}, by another desk or one that was killed. They are back within a minute`]
      : []),
    ...(behind > 0 ? [`Behind:   ${behind}, which SQS shows when those before them in their chats are gone`] : []),
    ...(isStopped ? ["Stopped. The same command goes on where it was"] : []),
  ];
}
