import { styleText } from "node:util";
import { oldCardType } from "../../feishu/classify.ts";

type Style = Parameters<typeof styleText>[0];

const styles: Readonly<Record<string, Style>> = {
  queued: "cyan",
  handled: "green",
  started: "dim",
  duplicate: "yellow",
  busy: "yellow",
  unhandled: "yellow",
  misdirected: "yellow",
  refused: "red",
  failed: "red",
  late: "red",
  deferred: "cyan",
  dead: ["red", "bold"],
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

/** The stages that end the answer of a callback. */
const answerStages = new Set(["handled", "late", "unhandled", "duplicate"]);

/**
 * A trace entry as one line for a person: time, stage, type, id, duration, and the rest.
 * @param options.isCallback The entry is the callback function's. A person waits for its answer, so the line names the
 * time after which it was answered.
 */
export function humanLine(
  line: Readonly<Record<string, unknown>>,
  detail: string | undefined,
  { now, isCallback }: { now: Date; isCallback: boolean },
): string {
  const paint = (style: Style, text: string) => styleText(style, text, { stream: process.stdout });
  const stage = String(line["stage"]);
  const facts = Object.entries(line)
    .filter(([name, value]) => !placed.has(name) && value !== undefined && value !== null)
    .map(([name, value]) => `${name} ${String(value)}`);
  const prefix = isCallback && answerStages.has(stage) ? "answer after " : "";
  const parts = [
    paint("dim", now.toTimeString().slice(0, 8)),
    paint(styles[stage] ?? "reset", stage.padEnd(11)),
    stage === "log" ? String(line["message"] ?? "") : undefined,
    text(line["type"]),
    shortId(line["id"]),
    line["ms"] === undefined ? undefined : `${prefix}${line["ms"]} ms`,
    facts.length > 0 ? paint("dim", facts.join(", ")) : undefined,
    stage === "log" ? undefined : text(line["message"]),
  ];
  const shown = parts.filter((part) => part !== undefined && part !== "").join("  ");
  return detail === undefined || stage === "refused" ? shown : `${shown}\n${paint("dim", indent(detail))}`;
}

function text(value: unknown): string | undefined {
  return typeof value === "string" ? value : undefined;
}

/** The beginning and the end of a long id. */
function shortId(value: unknown): string | undefined {
  return typeof value === "string" && value.length > 20 ? `${value.slice(0, 8)}…${value.slice(-4)}` : text(value);
}

function indent(detail: string): string {
  return detail
    .split("\n")
    .slice(0, 8)
    .map((line) => `            ${line.trimStart()}`)
    .join("\n");
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
}): string {
  const strong = (text: string) => styleText("bold", text, { stream: process.stdout });
  const { url, callbackUrl, openApi, state, handlers, callbacks, hasLongConnection } = facts;
  const isLocal = openApi !== undefined;
  const typed = handlers.filter((name) => name !== "_default");
  const rest = handlers.includes("_default")
    ? "events/_default.ts takes the other events"
    : `${handlers.length + callbacks.length === 0 ? "none yet; " : "other "}events are completed as unhandled`;
  const files = [...typed.map((name) => `events/${name}`), ...callbacks.map((name) => `callbacks/${name}`), rest];
  const event = typed.find((name) => name.includes(".")) ?? "im.message.receive_v1";
  // The old card callback is refused unless LEGACY_CARD_CALLBACK is set.
  const callback = callbacks.find((name) => name !== oldCardType) ?? callbacks[0] ?? "card.action.trigger";
  const [added, addition] = typed.includes(example)
    ? ["Find other types", "types -- message"]
    : ["Add a handler   ", `new -- ${example}`];
  return `
${strong("Larkpost runs on this machine only (127.0.0.1); stop it with Ctrl-C.")}

  Request address   ${strong(url)}
  Callback address  ${strong(callbackUrl)}
  State             ${state}/ (queues, ledger${isLocal ? ", keys" : ""}; delete it to start empty)
  Keys              ${isLocal ? "made for this machine: no account is needed" : "your app's, from the environment or .env"}
  Open API          ${isLocal ? `${openApi} (a simulated Feishu: what handlers send appears here)` : "the real platform: what handlers send is really sent"}
  Handlers          ${files.join("\n                    ")}

${isLocal ? `  Talk to the bot   ${strong("npm run chat")}\n` : ""}  Send an event     ${strong(`npm run send -- ${event}`)}
  Send a callback   ${strong(`npm run send -- ${callback}`)}
  ${added}  ${strong(`npm run ${addition}`)}
${hasLongConnection ? "" : `\n${isLocal ? toRealApp : toTunnel(url, callbackUrl)}\n`}`;
}

const example = "contact.user.created_v3";

/** The keys that are made for this machine verify nothing that a real app sends. */
const toRealApp = `To receive from a real app, start with its id and secret from the developer console (no public address is needed):
  APP_ID=cli_… APP_SECRET=… npm start -- --long-connection
docs/real-webhook.md shows how to receive by webhook.`;

function toTunnel(url: string, callbackUrl: string): string {
  return `To receive by webhook, open a public HTTPS tunnel to this port and paste its address into the developer console,
under Events & Callbacks:
  Event configuration > Request URL      https://your-host${new URL(url).pathname}
  Callback configuration > Request URL   https://your-host${new URL(callbackUrl).pathname}`;
}
