import { readFileSync } from "node:fs";

// A process under test that stays: loads a handler, then calls it as often as it is told, one call after another.

interface Answer {
  readonly statusCode: number;
}

const [, , module = "", exported = "", eventFile = ""] = process.argv;
const event: unknown = eventFile === "" ? {} : JSON.parse(readFileSync(eventFile, "utf8"));
const handlers = (await import(module)) as Record<string, (event: unknown, context: object) => Promise<Answer>>;
const handler = handlers[exported];
if (handler === undefined) throw new Error(`${module} has no ${exported}`);

process.on("message", ({ count }: { count: number }) => void run(count));
process.on("disconnect", () => process.exit(0));
process.send?.({ ready: true });

async function run(count: number): Promise<void> {
  const startMs = performance.now();
  const start = process.cpuUsage();
  for (let n = 0; n < count; n++) {
    const { statusCode } = (await handler?.(event, {})) ?? { statusCode: 0 };
    if (statusCode !== 200) throw new Error(`${module} answered ${statusCode}`);
  }
  const { user, system } = process.cpuUsage(start);
  process.send?.({ cpuMs: (user + system) / 1000 / count, wallMs: (performance.now() - startMs) / count });
}
