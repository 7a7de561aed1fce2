import { type Command, InvalidArgumentError, Option } from "commander";
import { grouped } from "../../../infra/contradictions.js";
import { pricesOf, regions } from "../../../infra/prices.js";
import { readProject } from "../../../infra/project.js";
import { subcommand } from "../command.ts";
import { projectRoot } from "../project.ts";
import { billOf, fronts, type Usage } from "./model.ts";

interface Options extends Pick<Usage, "events" | "handlerMs" | "front" | "dedupe" | "logSampleRate"> {
  readonly region: string;
  readonly json?: boolean;
}

export function costCommand(): Command {
  return subcommand("cost")
    .description("print what events cost on AWS, at list prices, with this project's limits")
    .option("--events <count>", "how many events", numberOf, 1e6)
    .option("--handler-ms <ms>", "how long a handler takes", numberOf, 200)
    .addOption(new Option("--front <front>", "what receives the pushes").choices(fronts).default("httpApi"))
    .addOption(new Option("--dedupe <how>", "as the handlers say").choices(["required", "off"]).default("required"))
    .addOption(new Option("--region <region>", "whose prices").choices(Object.keys(regions)).default("us-east-1"))
    .option("--json", "print an object, for scripts")
    .addHelpText(
      "after",
      `
The bill is for events of up to 64 KB that succeed at once: with full batches, as under load, and with batches of one,
as with an event a second and no batchWindowSeconds. The long connection's processes are billed by the hour, and a
stage's alarms by the month: neither is part of it.

Examples:
  npm run cost -- --events 1e6 --handler-ms 200 --front functionUrl
  npm run cost -- --dedupe off --region ap-southeast-1`,
    )
    .action(async ({ json, ...options }: Options) => {
      const { limits, logSampleRate } = await readProject(projectRoot());
      const bills = billsOf({ ...options, logSampleRate }, limits);
      const facts = { ...options, prices: pricesOf, currency: "USD", bills };
      console.log(json === true ? JSON.stringify(facts, null, 2) : toText(options, bills));
    });
}

function numberOf(text: string): number {
  const number = Number(text);
  if (text.trim() !== "" && number >= 0 && Number.isFinite(number)) return number;
  throw new InvalidArgumentError("It is a number, such as 200 or 1e6.");
}

/** With full batches, and with batches of one. */
export function billsOf({ region, ...usage }: Options, limits: Usage["limits"] & { batchSize: number }) {
  const prices = regions[region];
  if (prices === undefined) throw new TypeError(`No prices of ${region}`);
  const sizes = new Set([limits.batchSize, 1]);
  return [...sizes].map((batch) => ({ batch, ...billOf({ ...usage, batch, prices, limits }) }));
}

export function toText(
  { events, handlerMs, front, dedupe, region }: Options,
  bills: ReturnType<typeof billsOf>,
): string {
  const row = (name: string, cells: readonly (string | number)[]) =>
    name.padEnd(30) + cells.map((cell) => (typeof cell === "number" ? cell.toFixed(2) : cell).padStart(15)).join("");
  return [
    `${grouped(events)} events, by ${front}, dedupe ${dedupe}`,
    `List prices of ${region}, ${pricesOf}, without the free tier`,
    "",
    row(
      "$",
      bills.map(({ batch }) => `batches of ${batch}`),
    ),
    ...Object.keys(bills[0]?.parts ?? {}).map((name) =>
      row(
        name,
        bills.map(({ parts }) => parts[name] ?? 0),
      ),
    ),
    row(
      "sum",
      bills.map(({ sum }) => sum),
    ),
    row(
      `with handlers of ${handlerMs} ms`,
      bills.map(({ sum, handlers }) => sum + handlers),
    ),
  ].join("\n");
}
