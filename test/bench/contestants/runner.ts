import { readFileSync, writeSync } from "node:fs";

// A cold start: loads a module, has it answer one event, reports on descriptor 3 and ends.

type Handler = (event: unknown, context: object) => Promise<object>;

const [, , module = "", name = "", eventFile = ""] = process.argv;
const event: unknown = JSON.parse(readFileSync(eventFile, "utf8"));
const { [name]: handler } = (await import(module)) as Readonly<Record<string, Handler>>;
// At once, as on Lambda: its init phase ends when the module is evaluated, and the event is waiting.
const load = process.cpuUsage();
const answer = await handler?.(event, {});
const first = process.cpuUsage(load);
const firstCpuMs = (first.user + first.system) / 1000;
const cpuMs = firstCpuMs + (load.user + load.system) / 1000;
const peakMiB = process.resourceUsage().maxRSS / 1024;
writeSync(3, JSON.stringify({ answers: [answer], figures: { cpuMs, firstCpuMs, peakMiB } }));
process.exit(0);
