import { enableCompileCache } from "node:module";
import { Command } from "commander";
import { LarkpostError } from "../errors.ts";
import { UsageError } from "./command.ts";

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
