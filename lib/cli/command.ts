import { Command } from "commander";
import { LarkpostError } from "../errors.ts";

/** The command was called wrongly (an unknown command, option or argument): exit code 2, and nothing was done. */
export class UsageError extends LarkpostError {
  override readonly name = "UsageError";
  readonly code = "USAGE";
}

/** The command failed, or refuses to do what was asked: exit code 1. */
export class CommandError extends LarkpostError {
  override readonly name = "CommandError";
  readonly code = "COMMAND";
}

/** A command that throws where commander would end the process: `main.ts` alone decides the exit code. */
export function subcommand(name: string): Command {
  return new Command(name).showHelpAfterError(helpOf(`${name} --`)).exitOverride();
}

/** @param command As it is typed after `npm run`: `dead -- drop`. */
export function helpOf(command: string): string {
  return `Run "npm run ${command} --help" for options and examples.`;
}

/** Outside text for a terminal: one line, and no control character that could move the cursor or hide text. */
export function oneLine(text: string, limit = 2_000): string {
  const cut = text.length > limit ? `${text.slice(0, limit)}… (${text.length} characters)` : text;
  return cut.replaceAll(/[\p{Cc}\u2028\u2029\u202a-\u202e\u2066-\u2069]/gu, (character) =>
    character === "\n"
      ? " "
      : JSON.stringify(character)
          .slice(1, -1)
          .replace(/^[^\\]/u, "\u{fffd}"),
  );
}
