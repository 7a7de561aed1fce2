import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { clearScreenDown, createInterface, cursorTo, moveCursor } from "node:readline";
import type { Entry } from "../../simulator/chat/journal.ts";
import { paint } from "../paint.ts";
import { follow } from "./follow.ts";
import { nameOf } from "./lines.ts";
import type { Link } from "./link.ts";
import type { Session } from "./session.ts";

const historySize = 500;

/**
 * Runs a conversation with a person at a terminal, until they leave with Ctrl-D, Ctrl-C or /quit. New entries appear
 * above the line that they are typing.
 * @throws {ChatError} The conversation is over before that.
 */
export async function runTerminal(options: {
  link: Link;
  session: Session;
  historyFile: string;
  /** Receives the function that prints lines above the prompt. */
  onScreen: (print: (lines: readonly string[]) => void) => void;
  show: (entry: Entry, isSilent: boolean) => void;
}): Promise<void> {
  const { link, session, historyFile, onScreen, show } = options;
  const { stdin: input, stdout: output } = process;
  const terminal = createInterface({
    input,
    output,
    historySize,
    removeHistoryDuplicates: true,
    history: readHistory(historyFile),
    terminal: true,
  });
  let isClosed = false;
  onScreen((lines) => {
    if (lines.length === 0) return;
    if (!isClosed) {
      moveCursor(output, 0, -terminal.getCursorPos().rows);
      cursorTo(output, 0);
      clearScreenDown(output);
    }
    output.write(lines.map((line) => `${line}\n`).join(""));
    if (!isClosed) terminal.prompt(true);
  });
  const prompt = () => {
    const place = session.chat() === "group" ? paint("dim", "(in the group) ") : "";
    terminal.setPrompt(`${nameOf(session.as())} ${place}`);
    terminal.prompt();
  };

  const left = Promise.withResolvers<void>();
  const { caughtUp, over } = follow(link, session, show);
  terminal.on("history", (lines) => writeHistory(historyFile, lines));
  terminal.on("SIGINT", () => terminal.close());
  terminal.once("close", () => {
    isClosed = true;
    left.resolve();
  });
  let working = caughtUp;
  terminal.on("line", (line) => {
    working = working.then(async () => {
      await session.input(line);
      if (session.isOver()) terminal.close();
      else if (!isClosed) prompt();
    });
    working.catch(left.reject);
  });
  try {
    await Promise.race([caughtUp, over]);
    prompt();
    await Promise.race([left.promise, over]);
  } finally {
    terminal.close();
    output.write("\n");
  }
}

/** Newest line first, as readline expects. */
function readHistory(file: string): string[] {
  return existsSync(file) ? readFileSync(file, "utf8").split("\n").filter(Boolean).slice(0, historySize) : [];
}

function writeHistory(file: string, lines: readonly string[]): void {
  writeFileSync(file, `${lines.join("\n")}\n`, { mode: 0o600 });
}
