import { join } from "node:path";
import { stripVTControlCharacters } from "node:util";
import { oldCardType } from "../../feishu/classify.ts";
import { paint, type Style } from "../paint.ts";
import { engineRoot, within } from "../project.ts";

type Line = Readonly<Record<string, unknown>>;

const styles: Readonly<Record<string, Style>> = {
  queued: "cyan",
  handled: "green",
  started: "dim",
  called: "dim",
  duplicate: "yellow",
  busy: "yellow",
  postponed: "yellow",
  unhandled: "yellow",
  stale: "yellow",
  misdirected: "yellow",
  refused: "red",
  failed: "red",
  late: "red",
  deferred: "cyan",
  redriven: "cyan",
  dead: ["red", "bold"],
  ended: "red",
  blocked: "yellow",
  leaked: "red",
  unavailable: "red",
  quarantined: "magenta",
  challenged: "cyan",
  connected: "green",
  disconnected: "yellow",
  ignored: "yellow",
  log: "bold",
};

/** Members that have a place of their own in the line, or are not shown. All others are shown as `name value`. */
const placed = new Set([
  "level",
  "stage",
  "id",
  "type",
  "app",
  "ms",
  "requestId",
  "message",
  "fingerprint",
  "at",
  "errorCode",
  "frames",
  "causes",
]);

/** With this the X-Tt-Logid begins of a push that a command forges, to see it refused. */
export const probeLogId = "larkpost-probe-";

/** What to do, by stage and reason. */
const cures: readonly (readonly [RegExp, string])[] = [
  [/^leaked /, "a promise was not awaited, or a timer threw: await it, or catch in the timer"],
  [/^failed value-unsigned$/, "sign the value with signValue, or leave signedValues out"],
  [/^disconnected discovery failed /, "check the network, HTTPS_PROXY and LARK_DOMAIN"],
];

/** The stages that end the answer of a callback. */
const answerStages: ReadonlySet<unknown> = new Set(["handled", "late", "unhandled", "duplicate"]);

/** The stages that say what became of a request, an event or a callback, for good or for this attempt. */
const outcomes: ReadonlySet<unknown> = new Set([
  ...[
    "handled",
    "failed",
    "ended",
    "dead",
    "late",
    "unhandled",
    "stale",
    "duplicate",
    "busy",
    "postponed",
    "lease-lost",
  ],
  ...["refused", "challenged", "misdirected", "unavailable", "quarantined"],
]);

export function isOutcome(stage: unknown): boolean {
  return outcomes.has(stage);
}

interface Shown {
  /** The entry is the callback function's. A person waits for its answer, so an outcome names the time of the answer. */
  readonly isCallback: boolean;
  /** The lines of the error, which follow: its class and its message are not repeated. */
  readonly details?: readonly string[];
  /** Its id is not cut, however long it is. */
  readonly isWhole?: boolean;
}

/** A trace entry as one line for a person: time (if it is given), stage, type, id, duration, and the rest. */
export function headLine(line: Line, shown: Shown & { readonly now?: Date }): string {
  const { now, isCallback, details, isWhole = false } = shown;
  const { stage } = line;
  const message = messageOf(line, details);
  const isLog = stage === "log";
  const id = isWhole ? textOf(line["id"]) : shortId(line["id"]);
  const parts = [
    ...[now && timeOf(now), stageOf(line), isLog ? message : undefined, textOf(line["type"]), id],
    ...[durationOf(line, isCallback), factsOf(line, details), isLog ? undefined : message],
  ];
  return joined(parts);
}

/** The message, and what to do if that says it not. The cure of a real refusal would mislead where a command has made it. */
function messageOf({ stage, message, requestId, reason }: Line, details: readonly string[] = []): string | undefined {
  const text = textOf(message);
  const own = text !== undefined && details.some((detail) => detail.includes(text)) ? undefined : text;
  const cure = cures.find(([of]) => of.test(`${stage} ${reason}`))?.[1];
  if (cure !== undefined) return own === undefined ? cure : `${own}. ${cure}`;
  if (stage !== "refused" || textOf(requestId)?.startsWith(probeLogId) !== true) return own;
  return "nothing to repair: by its X-Tt-Logid, doctor, smoke or deploy has forged it to see it refused";
}

/** The same as a line under an event's outcome, which has the type and the id. */
export function nestedLine(line: Line, { isCallback, details }: Shown): string {
  const { stage, level } = line;
  const message = messageOf(line, details);
  const isLog = stage === "log";
  const parts = [String(stage).padEnd(11), isLog ? message : undefined, durationOf(line, isCallback)];
  const text = joined([...parts, stripVTControlCharacters(factsOf(line, details) ?? ""), isLog ? undefined : message]);
  const isTrouble = level === "warn" || level === "error";
  return nestedText(isLog && !isTrouble ? text : paint(isTrouble ? "yellow" : "dim", text));
}

/** A text under an event's outcome, aligned with the stage. */
export function nestedText(text: string): string {
  return `          ${text}`;
}

/** What happened within a second in which not every event was printed: `97 events    95 handled, 2 failed`. */
export function countsLine(counts: ReadonlyMap<string, number>, botMessages: number, now: Date): string {
  const total = [...counts.values()].reduce((sum, count) => sum + count, 0);
  const events = [...counts].map(([stage, count]) => paint(styles[stage] ?? "reset", `${count} ${stage}`)).join(", ");
  const messages = botMessages === 0 ? undefined : `the bot sent or changed ${countOf(botMessages, "message")}`;
  return joined([timeOf(now), countOf(total, "event").padEnd(11), events, messages]);
}

function countOf(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

function joined(parts: readonly (string | undefined)[]): string {
  return parts.filter((part) => part !== undefined && part !== "").join("  ");
}

export function timeOf(now: Date): string {
  return paint("dim", now.toTimeString().slice(0, 8));
}

function stageOf({ stage }: Line): string {
  return paint(styles[String(stage)] ?? "reset", String(stage).padEnd(11));
}

function durationOf({ stage, ms }: Line, isCallback: boolean): string | undefined {
  if (ms === undefined) return undefined;
  return `${isCallback && answerStages.has(stage) ? "answer after " : ""}${ms} ms`;
}

function factsOf(line: Line, details: readonly string[] = []): string | undefined {
  const facts = Object.entries(line)
    .filter(([name, value]) => !placed.has(name) && value !== undefined && value !== null)
    .filter(([name]) => !(details.length > 0 && name === "errorClass"))
    .map(([name, value]) => (name === "delaySeconds" ? `again in ${value} s` : `${name} ${String(value)}`));
  return facts.length === 0 ? undefined : paint("dim", facts.join(", "));
}

function textOf(value: unknown): string | undefined {
  return typeof value === "string" ? value : undefined;
}

/** The beginning and the end of a long id. */
function shortId(value: unknown): string | undefined {
  return typeof value === "string" && value.length > 20 ? `${value.slice(0, 8)}…${value.slice(-4)}` : textOf(value);
}

/** What `npm start` prints when everything listens. */
export function welcome(facts: {
  url: string;
  callbackUrl: string;
  /** The simulated Open API; `undefined` with the keys of a real app. */
  openApi: string | undefined;
  state: string;
  handlers: readonly string[];
  callbacks: readonly string[];
  hasLongConnection: boolean;
  deadLetters: number;
  /** What a command needs to find this state: ` --state .other`, or nothing. */
  stateArgs: string;
  /** Besides the default one. */
  lanes: readonly string[];
}): string {
  const strong = (text: string) => paint("bold", text);
  const { url, callbackUrl, openApi, state, handlers, callbacks, hasLongConnection } = facts;
  const { lanes, deadLetters, stateArgs } = facts;
  const listed = strong(stateArgs === "" ? "npm run dead" : `npm run dead -- list${stateArgs}`);
  const waiting = `${deadLetters === 1 ? "1 waits" : `${deadLetters} wait`}: ${listed}`;
  const chat = strong(stateArgs === "" ? "npm run chat" : `npm run chat --${stateArgs}`);
  const own = "each with a queue and a worker of its own";
  const isLocal = openApi !== undefined;
  const typed = handlers.filter((name) => name !== "_default");
  const rest = handlers.includes("_default")
    ? "events/_default.ts takes the other events"
    : `${handlers.length + callbacks.length === 0 ? "none yet; " : "other "}events are completed as unhandled`;
  const files = [...typed.map((name) => `events/${name}`), ...callbacks.map((name) => `callbacks/${name}`), rest];
  const event = typed.find((name) => name.includes(".")) ?? "im.message.receive_v1";
  // The old card callback is refused unless LEGACY_CARD_CALLBACK is set.
  const callback = callbacks.find((name) => name !== oldCardType) ?? callbacks[0] ?? "card.action.trigger";
  const suggested = suggestions.find((type) => !typed.includes(type));
  const [added, addition] =
    suggested === undefined ? ["Find other types", "types"] : ["Add a handler   ", `new -- ${suggested}`];
  return `
${strong("Larkpost runs on this machine only (127.0.0.1); stop it with Ctrl-C.")}

  Request address   ${strong(url)}
  Callback address  ${strong(callbackUrl)}
  State             ${state}/ (queues, ledger${isLocal ? ", keys" : ""}; delete it to start empty)
  Keys              ${isLocal ? "made for this machine: no account is needed" : "your app's, from the environment or .env"}
  Open API          ${isLocal ? `${openApi}\n                    (a simulated Feishu: what handlers send appears here)` : "the real platform: what handlers send is really sent"}
  Handlers          ${files.join("\n                    ")}${lanes.length === 0 ? "" : `\n  Lanes             ${lanes.join(", ")} (${own})`}${deadLetters === 0 ? "" : `\n  Dead letters      ${waiting}`}

${isLocal ? `  Talk to the bot   ${chat}\n` : ""}  Send an event     ${strong(`npm run send -- ${event}${stateArgs}`)}
  Send a callback   ${strong(`npm run send -- ${callback}${stateArgs}`)}
  ${added}  ${strong(`npm run ${addition}`)}

Times in ms count from the request; in the worker, from when it got the event.
${hasLongConnection ? "" : `\n${isLocal ? toRealApp : toTunnel(url, callbackUrl)}\n`}`;
}

/** Types that a first project may want, the simplest first. The banner suggests one that has no handler. */
const suggestions = [
  "contact.user.created_v3",
  "im.chat.member.bot.added_v1",
  "im.message.reaction.created_v1",
  "im.message.receive_v1",
];

/** The keys that are made for this machine verify nothing that a real app sends. */
const toRealApp = `To receive from a real app, start with its id and secret from the developer
console (no public address is needed):
  APP_ID=cli_… APP_SECRET=… npm start -- --long-connection
${within(process.cwd(), join(engineRoot, "docs/real-webhook.md"))} shows how to receive by webhook.`;

function toTunnel(url: string, callbackUrl: string): string {
  return `To receive by webhook, open a public HTTPS tunnel to this port and paste its
address into the developer console, under Events & Callbacks:
  Event configuration > Request URL      https://your-host${new URL(url).pathname}
  Callback configuration > Request URL   https://your-host${new URL(callbackUrl).pathname}`;
}
