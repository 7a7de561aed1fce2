import { readFileSync, writeSync } from "node:fs";

// A process under test: loads a module, has it answer one event, reports on descriptor 3 and ends.

interface Answer {
  readonly statusCode: number;
}

const [, , module = "", eventFile = "", mode] = process.argv;
const event: unknown = JSON.parse(readFileSync(eventFile, "utf8"));
const { handler } = (await import(module)) as { handler: (event: unknown, context: object) => Promise<Answer> };
if (mode === "settled") await settled();
const load = process.cpuUsage();
const { statusCode } = await handler(event, {});
const first = process.cpuUsage(load);
const firstCpuMs = (first.user + first.system) / 1000;
const cpuMs = firstCpuMs + (load.user + load.system) / 1000;
writeSync(3, JSON.stringify({ statusCode, firstCpuMs, cpuMs }));
process.exit(0);

/**
 * Resolves when everything that loading started has finished: no file is being read, no request is
 * under way, and the process has used under 1 ms of CPU, helper threads included, in each of four
 * intervals of 25 ms (an idle process uses 0.2). A module may go on importing after its own
 * evaluation; Lambda lets it, as the first event comes later. The same wait for every contender,
 * and never more than 5 s.
 */
async function settled(): Promise<void> {
  const resting = new Set(["Timeout", "PipeWrap", "TTYWrap"]);
  const untilMs = performance.now() + 5000;
  for (let quiet = 0, last = process.cpuUsage(); quiet < 4 && performance.now() < untilMs; ) {
    await new Promise((resolve) => setTimeout(resolve, 25));
    const { user, system } = process.cpuUsage(last);
    last = process.cpuUsage();
    const isBusy = process.getActiveResourcesInfo().some((resource) => !resting.has(resource));
    quiet = !isBusy && user + system < 1000 ? quiet + 1 : 0;
  }
}
