import { readFileSync } from "node:fs";
import { setImmediate as turn } from "node:timers/promises";

// A process that stays: loads a handler, then calls it as often as it is told.

interface Order {
  readonly times: number;
  /** How many calls run side by side. */
  readonly atOnce: number;
}
type Handler = (event: unknown, context: object) => Promise<object>;

const [, , module = "", name = "", eventFile = ""] = process.argv;
const event: unknown = JSON.parse(readFileSync(eventFile, "utf8"));
const { [name]: handler } = (await import(module)) as Readonly<Record<string, Handler>>;
if (handler === undefined) throw new Error(`${module} has no ${name}`);
const call = () => handler(event, {});

process.on("message", (order: Order) => void run(order));
process.on("disconnect", () => process.exit(0));
process.send?.({});

/** Each time has a turn of the event loop of its own, as in a function: what it leaves is freed between turns. */
async function run({ times, atOnce }: Order): Promise<void> {
  const startMs = performance.now();
  const start = process.cpuUsage();
  let answers: object[] = [];
  for (let time = 0; time < times; time++) {
    await turn();
    answers = atOnce === 1 ? [await call()] : await Promise.all(Array.from({ length: atOnce }, call));
  }
  const { user, system } = process.cpuUsage(start);
  const calls = times * atOnce;
  const figures = { cpuMs: (user + system) / 1000 / calls, wallMs: (performance.now() - startMs) / calls };
  process.send?.({ answers, figures });
}
