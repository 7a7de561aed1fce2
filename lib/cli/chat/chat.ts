import { join, resolve } from "node:path";
import type { Command } from "commander";
import type { Entry } from "../../simulator/chat/journal.ts";
import { oneLine, subcommand, UsageError } from "../command.ts";
import { paint } from "../paint.ts";
import { projectRoot } from "../project.ts";
import { cardLines, chatLines, indented, nameOf } from "./lines.ts";
import { findConversation } from "./link.ts";
import { runScript } from "./script.ts";
import { help, type Screen, startSession } from "./session.ts";
import { runTerminal } from "./terminal.ts";

interface Options {
  readonly group?: boolean;
  readonly state: string;
  readonly wait: string;
  readonly json?: boolean;
}

export function chatCommand(): Command {
  return subcommand("chat")
    .description('talk to your bot, as a user of a simulated Feishu, while "npm start" runs')
    .option("--group", "talk in the group, where you mention the bot")
    .option("--state <folder>", "where the local runtime keeps its keys and address", ".larkpost")
    .option("--wait <ms>", "without a terminal: end when nothing has come for so long after the last line", "1000")
    .option("--json", "print one JSON object for each thing that happens, for scripts")
    .addHelpText(
      "after",
      `
${help}

Each line is pushed as im.message.receive_v1, encrypted and signed, and pushed again if it is not acknowledged; a
choice is asked as card.action.trigger. What handlers send through the Open API is what the bot says.
Without a terminal, lines come from the standard input, each when the handlers are through with the one before.
Exit code then: 0, or 1 if something failed.

Examples:
  npm run chat
  echo hello | npm run chat
  printf 'card\\n1\\n' | npm run --silent chat -- --json`,
    )
    .action(run);
}

async function run(options: Options): Promise<void> {
  if (!/^\d{1,7}$/.test(options.wait)) {
    throw new UsageError(`Cannot wait "${options.wait}" ms: --wait takes a whole number of milliseconds`);
  }
  const stateFolder = resolve(projectRoot(), options.state);
  const leaving = new AbortController();
  const link = findConversation(stateFolder, leaving.signal);
  const isJson = options.json === true;
  const isTerminal = process.stdin.isTTY === true && process.stdout.isTTY === true && !isJson;

  // The reader of a pipe has ended, for example `head`.
  process.stdout.on("error", () => process.exit());

  let print = (lines: readonly string[]): void => void process.stdout.write(lines.map((line) => `${line}\n`).join(""));
  const screen: Screen = {
    note: (text) =>
      print(isJson ? [JSON.stringify({ note: text })] : text.split("\n").map((line) => indented(dim(oneLine(line))))),
    trouble: (text) => print([isJson ? JSON.stringify({ trouble: text }) : paint("yellow", `    ! ${oneLine(text)}`)]),
    chosen: (number) => {
      if (!isTerminal && !isJson) print([`${nameOf(session.as())} ${number}`]);
    },
    ask: (field, hint) => {
      const text =
        `${oneLine(field.label, 200)}? ${paint("dim", hint === "" ? "" : `(${oneLine(hint, 500)})`)}`.trimEnd();
      print([isJson ? JSON.stringify({ ask: field }) : indented(text)]);
    },
    card: (message) => {
      const card = message.card ?? { title: "", lines: [], choices: [] };
      print(isJson ? [JSON.stringify({ card: message })] : cardLines(card).map(indented));
    },
  };
  const session = startSession(link, screen, { chat: options.group === true ? "group" : "p2p" });
  const show = (entry: Entry, isSilent: boolean) => {
    if (isJson) return print([JSON.stringify(entry)]);
    // An outcome of another terminal's input would appear below a message that it does not concern.
    if (!session.isOwn(entry)) return;
    // A terminal already shows what its user has typed.
    const isTyped = entry.what === "acted" || (entry.what === "said" && entry.by === "user");
    if (!(isTerminal && isTyped)) print(chatLines(entry));
    if (isSilent) screen.note("(handled; the bot said nothing)");
  };

  if (isTerminal) {
    print([dim('You talk to your bot. /help says what you can do; Ctrl-D ends. "npm start" shows what handlers do.')]);
    const onScreen = (above: typeof print) => {
      print = above;
    };
    await runTerminal({ link, session, historyFile: join(stateFolder, "chat-history"), onScreen, show });
  } else {
    await runScript(process.stdin, { link, session, quietMs: Number(options.wait), show });
    if (session.hasFailed()) process.exitCode = 1;
  }
  leaving.abort();
  // Its standard input may stay open.
  process.exit();
}

function dim(text: string): string {
  return paint("dim", text);
}
