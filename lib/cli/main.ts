import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Command, CommanderError } from "commander";
import { LarkpostError } from "../errors.ts";
import { watchNpm } from "../local/parent.ts";
import { didYouMean } from "../simulator/nearest.ts";
import { helpOf, oneLine, UsageError } from "./command.ts";
import { commands } from "./commands.ts";
import { isOfAws, refusalLine } from "./deploy/clients.ts";
import { engineRoot } from "./project.ts";

async function main(args: readonly string[]): Promise<void> {
  const { version } = JSON.parse(readFileSync(join(engineRoot, "package.json"), "utf8")) as { version: string };
  const program = new Command("larkpost")
    .description("Receives Feishu/Lark events on serverless, and here on this machine.")
    .version(version)
    .exitOverride()
    .addHelpText("after", "\nExit code of every command: 0 done, 1 failed or refused, 2 called wrongly.");
  const [name = ""] = args;
  refuseEmpty(args);
  const load = commands.get(name);
  const isHelp = ["", "help", "--help", "-h"].includes(name);
  refuseUnknown(named(args), [...commands.keys()]);
  const loads = isHelp ? [...commands.values()] : [];
  if (load !== undefined) loads.push(load);
  const loaded = await Promise.all(loads.map((each) => each()));
  for (const command of loaded) {
    program.addCommand(command);
    for (const each of command.commands) each.showHelpAfterError(helpOf(`${command.name()} -- ${each.name()}`));
  }
  const inner = isHelp ? [] : loaded.flatMap((command) => command.commands.map((each) => each.name()));
  if (inner.length > 0) refuseUnknown(named(args.slice(1)), inner, name);
  if (load !== undefined && process.env["npm_lifecycle_event"] === name) refuseTaken(loaded, args);
  await program.parseAsync(args, { from: "user" });
}

/** The command that is to be run, or whose help is wanted. */
function named([first = "", second = ""]: readonly string[]): string {
  return first === "help" ? second : first;
}

/** @throws {UsageError} It is neither an option nor the name of a command, which may be one of a command `of` several. */
function refuseUnknown(name: string, names: readonly string[], of?: string): void {
  if (name === "" || name.startsWith("-") || [...names, "help"].includes(name)) return;
  const shown = oneLine(of === undefined ? name : `${of} ${name}`, 100);
  throw new UsageError(`There is no command "${shown}".${didYouMean(name, names)} Commands: ${names.join(", ")}`);
}

/**
 * A shell's variable that is not set leaves one: `--stage "$STAGE"`.
 * @throws {UsageError} An argument or the value of an option is empty.
 */
function refuseEmpty(args: readonly string[]): void {
  const index = args.findIndex((arg) => /^(?:--[a-z-]+=)?$/.test(arg));
  if (index === -1) return;
  const [option] = /^--?[a-z-]+/.exec(args[index] || (args[index - 1] ?? "")) ?? [];
  throw new UsageError(`${option ?? "An argument"} is empty. If it comes from a variable of the shell, set that`);
}

/**
 * npm takes the options before `--`, some without a word: `npm run deploy --dry-run` would deploy.
 * @throws {UsageError} It has taken one.
 */
function refuseTaken([command]: readonly Command[], args: readonly string[]): void {
  const inner = command?.commands.find((each) => each.name() === args[1]);
  for (const { long, short, negate, hidden } of [command, inner].flatMap((each) => each?.options ?? [])) {
    const name = `${long}`.replace(negate ? "--no-" : "--", "").replaceAll("-", "_");
    const value = process.env[`npm_config_${name}`];
    const isOff = value === "" || value === "false";
    const isGiven = args.some((arg) => arg === long || arg === short || arg.startsWith(`${long}=`));
    if (value === undefined || isOff !== negate || isGiven || hidden) continue;
    const start = inner === undefined ? `${args[0]} --` : `${args[0]} -- ${args[1]}`;
    throw new UsageError(`npm has taken ${long}. Write it after --: npm run ${start} ${long} …`);
  }
}

/** The one rule: 0 done, 1 failed or refused, 2 called wrongly. */
function exitCodeOf(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
  return error instanceof UsageError ? 2 : 1;
}

/** A file that cannot be read, a folder that cannot be written: the message names it, and a stack would not help. */
function isSystemError(error: unknown): error is NodeJS.ErrnoException {
  return error instanceof Error && "syscall" in error && "path" in error;
}

/** Runs a command, and sets the process's exit code. */
export async function run(args: readonly string[]): Promise<void> {
  // npm does not always pass on the signal that ends it, and without npm nobody would end this process.
  if (process.env["npm_lifecycle_event"] !== undefined) watchNpm(() => process.kill(process.pid, "SIGTERM"));
  try {
    await main(args);
  } catch (error) {
    process.exitCode = exitCodeOf(error);
    // Commander has printed its own.
    if (error instanceof LarkpostError) console.error(error.message);
    else if (isOfAws(error)) console.error(`Cannot go on: ${refusalLine(error)}`);
    else if (isSystemError(error)) console.error(`Cannot go on: ${error.message}. Check that path and its rights`);
    else if (!(error instanceof CommanderError)) console.error(error);
  }
}

if (import.meta.main) await run(process.argv.slice(2));
