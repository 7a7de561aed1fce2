import { enableCompileCache } from "node:module";
import { Command } from "commander";
import { LarkpostError } from "../errors.ts";
import { UsageError } from "./command.ts";
import { commands } from "./commands.ts";

// Halves the start of a short command such as `send`.
enableCompileCache();

async function main(args: readonly string[]): Promise<void> {
  const program = new Command("larkpost").description(
    "Receives Feishu/Lark events on serverless, and here on this machine.",
  );
  const asked = commands.get(args[0] ?? "");
  if (asked === undefined && args[0] !== undefined && !/^(-h|--help|help)$/.test(args[0])) {
    throw new UsageError(`There is no command "${args[0]}". Commands: ${[...commands.keys()].join(", ")}`);
  }
  const loaded = await Promise.all((asked === undefined ? [...commands.values()] : [asked]).map((load) => load()));
  for (const command of loaded) program.addCommand(command);
  await program.parseAsync(args, { from: "user" });
}

try {
  await main(process.argv.slice(2));
} catch (error) {
  if (error instanceof LarkpostError || error instanceof UsageError) console.error(error.message);
  else if ((error as NodeJS.ErrnoException | null)?.code === "EADDRINUSE") {
    console.error("Cannot start: the port is in use. Stop the other program, or set PORT to another port");
  } else console.error(error);
  process.exitCode = error instanceof UsageError ? 2 : 1;
}
