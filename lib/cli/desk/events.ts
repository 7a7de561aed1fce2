import { resolve } from "node:path";
import { type Command, InvalidArgumentError } from "commander";
import { stringOf } from "../../feishu/json.ts";
import { CommandError, oneLine, subcommand } from "../command.ts";
import { paint } from "../paint.ts";
import { loadEnv, projectRoot, stateArgs } from "../project.ts";
import { facts, line as pushLine } from "../send/report.ts";
import { payloadText } from "../start/payloads.ts";
import { type LogEntry, openRecent, type Push, type Recent } from "../state/recent.ts";
import { wholeId } from "./log.ts";
import { timeOf } from "./options.ts";
import { replayed } from "./replay.ts";
import { ago } from "./text.ts";
import { entryFacts, logText, span, verdictOf } from "./timeline.ts";

interface StateOptions {
  readonly state: string;
  readonly json?: boolean;
}

interface ListOptions extends StateOptions {
  readonly type?: string;
  readonly failed?: boolean;
  readonly since?: number;
  readonly last: number;
}

interface ReplayOptions extends StateOptions {
  readonly edit?: boolean;
  readonly sameId?: boolean;
}

export function eventsCommand(): Command {
  const command = subcommand("events").description("list, show and replay recent events and callbacks");
  local(command.command("list", { isDefault: true }))
    .description("print what came to this machine, and what became of it (this is what plain events does)")
    .option("--type <type>", "only of this type")
    .option("--failed", "only what failed, also if it is tried again")
    .option("--since <time>", "from then on: 90s, 30min, 2h, 3d ago, or 2026-01-31T12:00:00Z", timeOf)
    .option("--last <n>", "the last so many", countOf, 30)
    .addHelpText(
      "after",
      `
npm start keeps the pushes of the last 7 days, and the last 50,000 lines of its log, in its state folder, without keys,
tokens and other secrets. The newest is last. Of a stage, npm run trace and npm run logs read the log.

Examples:
  npm run events
  npm run events -- --failed --since 1h
  npm run --silent events -- --json --type im.message.receive_v1`,
    )
    .action(list);
  local(command.command("show"))
    .description("print what was pushed, without its secrets")
    .argument("<id>", "the event's id")
    .addHelpText("after", "\nExample:\n  npm run events -- show 5e3702a84e847582be8db7fb73283c02")
    .action(show);
  local(command.command("replay"))
    .description("push an event or a callback again, and print what becomes of it")
    .argument("<id>", "its id")
    .option("--edit", "change its JSON before, in VISUAL, EDITOR or vi")
    .option("--same-id", "under its own id, as the platform pushes again: an event that is done does not run again")
    .addHelpText(
      "after",
      `
It goes through the door of the running npm start, signed and encrypted, as a new push: with an id and a time of now. So
that its handler runs, this machine's ledger forgets a key of the handler's own under which the event is done. A
message that it sent under that key within an hour is not sent twice. Secrets were not kept; a card's update token is a
new one, with which no card can be changed. It exits with 1 when the push is not taken, or the handler fails.

Examples:
  npm run events -- replay 5e3702a84e847582be8db7fb73283c02
  npm run events -- replay 5e3702a84e847582be8db7fb73283c02 --edit
  npm run events -- replay 5e3702a84e847582be8db7fb73283c02 --same-id`,
    )
    .action(replay);
  return command;
}

function local(command: Command): Command {
  return command
    .option("--state <folder>", "where npm start keeps its state", ".larkpost")
    .option("--json", "print JSON");
}

function countOf(text: string): number {
  if (/^[1-9]\d{0,5}$/.test(text)) return Number(text);
  throw new InvalidArgumentError("It is a whole number from 1 to 999999.");
}

function recentOf({ state }: StateOptions) {
  const root = projectRoot();
  loadEnv(root);
  const stateFolder = resolve(root, state);
  return { stateFolder, recent: openRecent(stateFolder), args: stateArgs(state) };
}

const failures: ReadonlySet<string> = new Set([
  ...["failed", "ended", "blocked", "dead", "late", "leaked", "lease-lost", "unavailable", "quarantined"],
]);

function list({ type, failed = false, since = 0, last, json = false, ...options }: ListOptions): void {
  const { recent } = recentOf(options);
  const byId = Map.groupBy(recent.after(0), ({ line }) => stringOf(line["id"]));
  const all = [...byId].flatMap(([id, entries]) => eventOf(id, entries) ?? []);
  const wanted = all
    .filter((event) => event.atMs >= since && (type === undefined || event.type === type))
    .filter(({ verdict }) => !failed || failures.has(verdict))
    .sort((a, b) => a.atMs - b.atMs)
    .slice(-last);
  if (json) {
    const events = wanted.map(({ atMs, ...event }) => ({ time: new Date(atMs).toISOString(), ...event }));
    console.log(JSON.stringify({ events }));
    return;
  }
  if (wanted.length === 0) console.log(all.length === 0 ? "Nothing has come yet" : "Nothing of this kind has come");
  const rows = wanted.map((event) => rowOf(event, Date.now()));
  const widths = [0, 1, 2].map((column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  for (const row of rows) {
    const cells = row.map((cell, column) => cell.padEnd(widths[column] ?? 0));
    const verdict = paint(styleOf(row[2] ?? ""), cells[2] ?? "");
    console.log([...cells.slice(0, 2), verdict, ...cells.slice(3)].join("  ").trimEnd());
  }
}

function styleOf(verdict: string): "red" | "green" | "reset" {
  if (failures.has(verdict.split(" ", 1).join())) return "red";
  return verdict === "handled" ? "green" : "reset";
}

interface RecentEvent {
  readonly id: string;
  readonly type: string | undefined;
  readonly atMs: number;
  readonly verdict: string;
  readonly ms: unknown;
  readonly attempt: unknown;
  readonly lane: string | undefined;
}

function eventOf(id: string | undefined, entries: readonly LogEntry[]): RecentEvent | undefined {
  const found = verdictOf(entries);
  if (id === undefined || found === undefined) return undefined;
  const { verdict, entry } = found;
  const named = (name: string) => entries.map(({ line }) => stringOf(line[name])).find((text) => text !== undefined);
  const { ms, attempt } = entry.line;
  const lane = entries.map(({ source }) => /^worker([A-Z]\w*)$/.exec(source)?.[1]).find((name) => name !== undefined);
  const atMs = entries[0]?.atMs ?? 0;
  return { id, type: named("type"), atMs, verdict, ms, attempt, lane: lane?.toLowerCase() };
}

/** Age, type, verdict, id, and the rest. */
function rowOf({ id, type, atMs, verdict, ms, attempt, lane }: RecentEvent, nowMs: number): string[] {
  const tries = typeof attempt === "number" && attempt > 1 ? ` (attempt ${attempt})` : "";
  const time = typeof ms === "number" ? span(ms) : "";
  return [
    ago(atMs, nowMs),
    oneLine(type ?? "no type", 80),
    `${verdict}${tries}`,
    oneLine(id, 128),
    [time, lane === undefined ? "" : `lane ${lane}`].filter((part) => part !== "").join("  "),
  ];
}

function show(id: string, { json = false, ...options }: StateOptions): void {
  const { text } = pushOf(id, recentOf(options), "show");
  console.log(json ? text : payloadText(text));
}

/** @throws {CommandError} It was not kept. */
function pushOf(id: string, { recent, args }: { recent: Recent; args: string }, task: string): Push {
  const ids = recent.after(0).flatMap(({ line }) => stringOf(line["id"]) ?? []);
  const push = recent.push(wholeId(`Cannot ${task} it`, id, new Set(ids)));
  if (push !== undefined) return push;
  const shown = oneLine(id, 128);
  throw new CommandError(
    id.includes("#")
      ? `Cannot ${task} "${shown}": it is work that a callback deferred. Take the callback: the id before the #`
      : `Cannot ${task} "${shown}": no push of it was kept. Check the id: "npm run events${args === "" ? "" : ` -- list${args}`}"`,
  );
}

async function replay(id: string, { edit = false, sameId = false, json = false, ...options }: ReplayOptions) {
  const { recent, stateFolder, args } = recentOf(options);
  const push = pushOf(id, { recent, args }, "replay");
  const { outcome, newId, stage, lines } = await replayed(push, { recent, stateFolder, edit, sameId });
  if (json) {
    console.log(JSON.stringify({ ...facts(outcome), replayOf: push.id, verdict: stage, lines: lines.map(entryFacts) }));
  } else {
    console.log(pushLine(outcome));
    for (const entry of lines) console.log(logText(entry).text);
    if (stage === undefined && outcome.isOk) {
      console.log(`It is not over yet: npm run trace -- ${newId}${args}`);
      if (sameId) console.log("A lane with `order` drops what was pushed less than five minutes before");
    }
    if (stage === "dead") console.log(`Its letter: npm run dead -- show ${newId}${args}`);
    const why = sameId ? "The event is done" : "Another event of the same key is done";
    if (stage === "duplicate") console.log(`${why}, so nothing ran`);
  }
  if (!outcome.isOk || failures.has(stage ?? "")) process.exitCode = 1;
}
