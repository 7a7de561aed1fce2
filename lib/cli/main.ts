import { readFileSync } from "node:fs";
import { enableCompileCache } from "node:module";
import { join } from "node:path";
import { Command, CommanderError } from "commander";
import { LarkpostError } from "../errors.ts";
import { nearest } from "../nearest.ts";
import { UsageError } from "./command.ts";
import { engineRoot } from "./project.ts";

// Halves the start of a short command such as `send`.
enableCompileCache();

const commands = new Map<string, () => Promise<Command>>([
  ["start", async () => (await import("./start/start.ts")).startCommand()],
  ["chat", async () => (await import("./chat/chat.ts")).chatCommand()],
  ["long-connection", async () => (await import("./start/long-connection.ts")).longConnectionCommand()],
  ["send", async () => (await import("./send/send.ts")).sendCommand()],
  ["new", async () => (await import("./handlers/new.ts")).newCommand()],
  ["types", async () => (await import("./handlers/types.ts")).typesCommand()],
  ["generate", async () => (await import("./handlers/generate.ts")).generateCommand()],
  ["package", async () => (await import("./deploy/package.ts")).packageCommand()],
  ["deploy", async () => (await import("./deploy/deploy.ts")).deployCommand()],
  ["secrets", async () => (await import("./deploy/secrets.ts")).secretsCommand()],
  ["build", async () => (await import("./deploy/build.ts")).buildCommand()],
]);

/** Loads the asked command only: `start` brings the embedded services along, `types` a catalogue. */
async function main(args: readonly string[]): Promise<void> {
  const { version } = JSON.parse(readFileSync(join(engineRoot, "package.json"), "utf8")) as { version: string };
  const program = new Command("larkpost")
    .description("Receives Feishu/Lark events on serverless, and here on this machine.")
    .version(version)
    .exitOverride()
    .addHelpText("after", "\nExit code of every command: 0 done, 1 failed or refused, 2 called wrongly.");
  const [name = ""] = args;
  const asked = commands.get(name);
  if (asked === undefined && name !== "" && name !== "help" && !name.startsWith("-")) {
    const [likely] = nearest(name, [...commands.keys()], 1);
    throw new UsageError(
      `There is no command "${name}". Did you mean "${likely}"? Commands: ${[...commands.keys()].join(", ")}`,
    );
  }
  const loaded = await Promise.all((asked === undefined ? [...commands.values()] : [asked]).map((load) => load()));
  for (const command of loaded) program.addCommand(command);
  await program.parseAsync(args, { from: "user" });
}

/** The one rule: 0 done, 1 failed or refused, 2 called wrongly. */
function exitCodeOf(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
  return error instanceof UsageError ? 2 : 1;
}

try {
  await main(process.argv.slice(2));
} catch (error) {
  process.exitCode = exitCodeOf(error);
  // Commander has printed its own.
  if (error instanceof LarkpostError) console.error(error.message);
  else if ((error as NodeJS.ErrnoException | null)?.code === "EADDRINUSE") {
    console.error("Cannot start: the port is in use. Stop the other program, or set PORT to another port");
  } else if (!(error instanceof CommanderError)) console.error(error);
}
