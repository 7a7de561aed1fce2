import type { Command } from "commander";

/** Each command by its name, loaded when it is asked for: `start` brings the embedded services along, `types` a catalogue. */
export const commands = new Map<string, () => Promise<Command>>([
  ["start", async () => (await import("./start/start.ts")).startCommand()],
  ["chat", async () => (await import("./chat/chat.ts")).chatCommand()],
  ["long-connection", async () => (await import("./start/long-connection.ts")).longConnectionCommand()],
  ["worker", async () => (await import("./start/worker.ts")).workerCommand()],
  ["simulate", async () => (await import("./start/simulate.ts")).simulateCommand()],
  ["send", async () => (await import("./send/send.ts")).sendCommand()],
  ["new", async () => (await import("./handlers/new.ts")).newCommand()],
  ["card", async () => (await import("./card/card.ts")).cardCommand()],
  ["types", async () => (await import("./handlers/types.ts")).typesCommand()],
  ["generate", async () => (await import("./handlers/generate.ts")).generateCommand()],
  ["check", async () => (await import("./check/check.ts")).checkCommand()],
  ["package", async () => (await import("./deploy/package.ts")).packageCommand()],
  ["deploy", async () => (await import("./deploy/deploy.ts")).deployCommand()],
  ["rollback", async () => (await import("./deploy/rollback.ts")).rollbackCommand()],
  ["remove", async () => (await import("./deploy/remove.ts")).removeCommand()],
  ["secrets", async () => (await import("./deploy/secrets.ts")).secretsCommand()],
  ["dead", async () => (await import("./desk/dead.ts")).deadCommand()],
  ["status", async () => (await import("./desk/status-command.ts")).statusCommand()],
  ["smoke", async () => (await import("./desk/smoke.ts")).smokeCommand()],
  ["cost", async () => (await import("./cost/cost.ts")).costCommand()],
  ["scale", async () => (await import("./scale/scale.ts")).scaleCommand()],
  ["build", async () => (await import("./deploy/build.ts")).buildCommand()],
]);
