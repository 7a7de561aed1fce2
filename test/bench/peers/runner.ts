import { readFileSync, writeSync } from "node:fs";

// A process under test: loads a module, has it answer one event, reports on descriptor 3 and ends.

interface Answer {
  readonly statusCode: number;
}

const [, , module = "", eventFile = ""] = process.argv;
const event: unknown = JSON.parse(readFileSync(eventFile, "utf8"));
const { handler } = (await import(module)) as { handler: (event: unknown, context: object) => Promise<Answer> };
// At once, as on Lambda: its init phase ends when the module is evaluated, and the event is waiting.
const load = process.cpuUsage();
const { statusCode } = await handler(event, {});
const first = process.cpuUsage(load);
const firstCpuMs = (first.user + first.system) / 1000;
const cpuMs = firstCpuMs + (load.user + load.system) / 1000;
writeSync(3, JSON.stringify({ statusCode, firstCpuMs, cpuMs }));
process.exit(0);
