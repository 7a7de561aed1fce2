import type { CardView, Choice } from "../../simulator/chat/card-view.ts";
import type { Entry } from "../../simulator/chat/journal.ts";
import type { MessageView } from "../../simulator/chat/message-view.ts";
import type { ClientView } from "../../simulator/platform/client-view.ts";
import type { Person } from "../../simulator/samples/facts.ts";
import { oneLine } from "../command.ts";
import { paint, type Style } from "../paint.ts";
import { duration } from "../send/report.ts";

const emptyCard = "(an empty card)";
const toastStyles: ReadonlyMap<string | null, Style> = new Map<string | null, Style>([
  ["success", "green"],
  ["error", "red"],
  ["warning", "yellow"],
]);

/** An entry as a person in the chat sees it. Without lines if it is not visible. */
export function chatLines(entry: Entry): readonly string[] {
  switch (entry.what) {
    case "said":
    case "updated":
    case "recalled":
      return messageLines(entry);
    case "acted":
      return [`${nameOf(entry.user)} ${paint("dim", `(${oneLine(entry.about)})`)}`];
    case "did":
      return entry.did === "missing"
        ? [trouble(entry.about)]
        : [indented(paint("dim", `(the bot ${entry.did} ${oneLine(entry.about, 300)})`))];
    case "undelivered": {
      const next = entry.againMs === null ? "given up" : `pushed again in ${duration(entry.againMs)}`;
      return [trouble(`not delivered: ${entry.problem}; ${next}`)];
    }
    case "answered":
      return [...troubleLines(entry), ...answerLines(entry.view)];
    case "ended":
      return endingLines(entry);
  }
}

/** What `npm start` prints when a bot does something. */
export function botLine(entry: Entry): string | undefined {
  if (entry.what === "did") {
    if (entry.did === "missing") return paint("yellow", `! ${oneLine(entry.about, 600)}`);
    return joined(entry.did, oneLine(entry.about, 300), entry.chat);
  }
  if (!("by" in entry) || entry.by !== "bot") return undefined;
  const { what, message, streamed } = entry;
  if (streamed !== undefined) return joined("streamed", oneLine(streamed, 300), message.chat);
  const line = joined(what, what === "recalled" ? undefined : oneLineOf(message) || emptyCard, message.chat);
  return [line, ...(message.warnings ?? []).map((warning) => paint("yellow", `! ${oneLine(warning, 300)}`))].join("  ");
}

function joined(what: string, about: string | undefined, chat: MessageView["chat"] | null): string {
  const parts = [paint("magenta", `bot ${what}`.padEnd(11)), about, chat === null ? undefined : placeOf(chat)];
  return parts.filter((part) => part !== undefined).join("  ");
}

/** The same as JSON. */
export function entryFacts(entry: Entry): string | undefined {
  if (entry.what === "did") {
    const { did, about, chat } = entry;
    return JSON.stringify(did === "missing" ? { notice: about } : { bot: did, about, chat });
  }
  return "by" in entry && entry.by === "bot" ? JSON.stringify({ bot: entry.what, ...entry.message }) : undefined;
}

function messageLines(entry: Extract<Entry, { by: string }>): readonly string[] {
  const { what, message } = entry;
  if ("streamed" in entry && entry.streamed !== undefined) return textLines(entry.streamed).map(indented);
  const name = entry.by === "bot" ? paint("magenta", "bot ›") : nameOf(entry.user);
  const place = message.chat.kind === "group" ? `in ${groupName(message.chat.name)}` : undefined;
  const notes = [place, what === "said" ? undefined : what].filter((note) => note !== undefined);
  const heading = notes.length === 0 ? name : `${name} ${paint("dim", `(${notes.join(", ")})`)}`;
  if (what === "recalled") return [heading];
  // The heading gets a line of its own, so that the bar beside a card is straight.
  if (message.card !== undefined && notes.length > 0) return [heading, ...cardLines(message.card).map(indented)];
  const [first = "", ...rest] = message.card === undefined ? textLines(message.text) : cardLines(message.card);
  return [`${heading} ${first}`, ...rest.map(indented)];
}

/** How a user is shown: Mei is you, unless you say otherwise. */
export function nameOf(user: Person): string {
  return paint("cyan", `${user === "mei" ? "you" : user} ›`);
}

/** Aligned with the text after `bot › ` or `you › `. */
export function indented(line: string): string {
  return `      ${line}`;
}

function textLines(text = ""): readonly string[] {
  return text.split("\n").map((line) => oneLine(line));
}

/** A card with a bar beside it, and its buttons with their numbers. */
export function cardLines({ title, lines, choices }: CardView): readonly string[] {
  const heading = title === "" ? [] : [paint("bold", oneLine(title))];
  const shown = [
    ...heading,
    ...lines.flatMap((line) => line.split("\n")).map((line) => oneLine(line)),
    ...choices.map((choice, index) => choiceLine(choice, index + 1)),
  ];
  return (shown.length === 0 ? [emptyCard] : shown).map((line) => `${paint("dim", "│")} ${line}`);
}

function choiceLine(choice: Choice, number: number): string {
  const label = oneLine(choice.label, 200);
  switch (choice.does) {
    case "callback":
      return `${paint("bold", `[${number}]`)} ${label}`;
    case "open":
      return `[${number}] ${label} ${paint("dim", `opens ${oneLine(choice.url, 500)}`)}`;
    case "nothing":
      return paint("dim", `[${number}] ${label} (${choice.why})`);
  }
}

function answerLines({ isTaken, code, problem = "", warning, toast }: ClientView): readonly string[] {
  if (!isTaken) return [trouble(`the client shows error ${code}: ${oneLine(problem)}`)];
  if (warning !== undefined) return [trouble(oneLine(warning))];
  if (toast === undefined) return [indented(paint("dim", "(answered, without a toast)"))];
  return [indented(paint(toastStyles.get(toast.type) ?? "cyan", `toast: ${oneLine(toast.text)}`))];
}

/** Why the answer is the fallback toast, not the handler's. */
function troubleLines({ trouble: of, reason }: Extract<Entry, { what: "answered" }>): readonly string[] {
  const type = "card.action.trigger";
  switch (of) {
    case null:
      return [];
    case "unhandled":
      return [trouble(`there is no handler of ${type}: "npm run new -- ${type}" writes one`)];
    case "failed":
      return [trouble(`the handler of ${type} failed; ${why(reason)}`)];
    case "late":
      return [trouble(`the handler of ${type} was too late; "npm start" shows how long it took`)];
  }
}

/** The error, in its first line. */
function why(reason: string | null): string {
  return reason === null ? '"npm start" shows why' : `${oneLine(reason, 600)} ("npm start" shows more)`;
}

function endingLines({ stage, type, reason }: Extract<Entry, { what: "ended" }>): readonly string[] {
  switch (stage) {
    case "handled":
    case "acknowledged":
      return [];
    case "unhandled":
      return [trouble(`there is no handler of ${oneLine(type)}: "npm run new -- ${oneLine(type)}" writes one`)];
    case "failed":
      return [trouble(`the handler of ${oneLine(type)} failed, and is tried again; ${why(reason)}`)];
    case "dead":
      return [trouble(`the handler of ${oneLine(type)} failed for good; ${why(reason)}`)];
  }
}

/** A message in one line. */
function oneLineOf({ card, text = "" }: MessageView): string {
  if (card === undefined) return oneLine(text);
  const buttons = card.choices.map(({ label }) => `[${label}]`);
  return oneLine([card.title, ...card.lines, ...buttons].filter((part) => part !== "").join("  "), 300);
}

function placeOf({ kind, name }: MessageView["chat"]): string {
  return paint("dim", kind === "group" ? `in ${groupName(name)}` : `to ${oneLine(name, 80)}`);
}

/** A group that the bot writes to, and that was not made here, has no name. */
function groupName(name: string): string {
  return oneLine(name, 80) || "a group";
}

function trouble(text: string): string {
  return paint("yellow", `    ! ${text}`);
}
