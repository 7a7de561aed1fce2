import { Command } from "commander";
import { LarkpostError } from "../errors.ts";

/** The command was asked for something it cannot do, or lacks a setting: exit code 2, nothing was done. */
export class UsageError extends LarkpostError {
  override readonly name = "UsageError";
  readonly code = "USAGE";
}

/**
 * A command whose exit codes tell apart what scripts need: 0 done, 1 it did not work, 2 wrong usage.
 */
export function subcommand(name: string): Command {
  return new Command(name)
    .showHelpAfterError(`Run "npm run ${name} -- --help" for options and examples.`)
    .exitOverride(({ exitCode }) => process.exit(exitCode === 0 ? 0 : 2));
}

/** Runs a command's action; a {@link UsageError} becomes one line on stderr and exit code 2. */
export async function withUsage(command: Command, run: () => Promise<void> | void): Promise<void> {
  try {
    await run();
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    command.showHelpAfterError(false).error(error.message, { exitCode: 2 });
  }
}

/** Outside text for a terminal: one line, and no control character that could move the cursor or hide text. */
export function oneLine(text: string, limit = 2_000): string {
  const cut = text.length > limit ? `${text.slice(0, limit)}… (${text.length} characters)` : text;
  return cut.replaceAll(/[\p{Cc}\u2028\u2029\u202a-\u202e\u2066-\u2069]/gu, (character) =>
    character === "\n"
      ? " "
      : JSON.stringify(character)
          .slice(1, -1)
          .replace(/^[^\\]$/u, "\u{fffd}"),
  );
}

/** `"a", "b"`, for naming what may have been meant. */
export function quoted(names: readonly string[]): string {
  return names.map((name) => `"${name}"`).join(", ");
}
