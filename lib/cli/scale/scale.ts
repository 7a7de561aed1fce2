import { type Command, InvalidArgumentError, Option } from "commander";
import { presets } from "../../../infra/limits.js";
import { pricesOf, regions } from "../../../infra/prices.js";
import { projectOf, readProject } from "../../../infra/project.js";
import { didYouMean } from "../../simulator/nearest.ts";
import { subcommand } from "../command.ts";
import { projectRoot } from "../project.ts";
import { quotas as awsQuotas, type Quotas, quotasOf } from "./quotas.ts";
import { type Options, type Report, reportOf } from "./report.ts";
import { toText } from "./text.ts";

export function scaleCommand(): Command {
  return subcommand("scale")
    .description("simulate a rate of events on AWS: what breaks first, what is lost, what to change")
    .requiredOption("--rate <number>", "events a second", numberAbove0)
    .option("--handler-ms <ms>", "how long a handler takes", numberAbove0, 200)
    .option("--share <lane=part...>", "of the events, of a lane; the others have equal parts of what is left", shareOf)
    .option("--handler <lane=ms...>", "how long a lane's handlers take, in place of --handler-ms", handlerOf)
    .option("--minutes <number>", "how long the rate lasts, at most 1440", minutesOf, 60)
    .addOption(
      new Option("--front <front>", "what receives the pushes").choices(["httpApi", "functionUrl"]).default("httpApi"),
    )
    .addOption(new Option("--dedupe <how>", "as the handlers say").choices(["required", "off"]).default("required"))
    .addOption(new Option("--preset <name>", "its limits, in place of the project's").choices(Object.keys(presets)))
    .option("--quota <name=number...>", "another quota of AWS's than the default", quotaOf)
    .addOption(new Option("--region <region>", "whose prices").choices(Object.keys(regions)).default("us-east-1"))
    .option("--seed <number>", "the same seed gives the same run", wholeNumber, 1)
    .option("--json", "print an object, for scripts")
    .addHelpText(
      "after",
      `
The stage was idle, and the rate begins at once. Events have up to 1 KB and succeed. Exits with 1 when events are lost,
when one waits until an alarm rings, or when more than 1 % are stored five minutes late or later.

Quotas: ${Object.keys(awsQuotas).join(", ")}.

Examples:
  npm run scale -- --rate 10000 --handler-ms 200
  npm run scale -- --rate 100 --share ai=0.6 bulk=0.1 --handler ai=8000
  npm run scale -- --rate 10000 --preset large --quota concurrency=3000 gatewayRate=20000`,
    )
    .action(async ({ json, ...options }: Options & { readonly json?: boolean }) => {
      const report = reportOf(
        options,
        options.preset === undefined ? await readProject(projectRoot()) : projectOf({ preset: options.preset }),
      );
      console.log(json === true ? JSON.stringify(factsOf(options, report), null, 2) : toText(options, report));
      if (!report.now.holds) process.exitCode = 1;
    });
}

function factsOf(options: Options, report: Report) {
  return { ...options, quotas: quotasOf, prices: pricesOf, currency: "USD", ...report };
}

function numberAbove0(text: string): number {
  const number = Number(text);
  if (number > 0 && Number.isFinite(number)) return number;
  throw new InvalidArgumentError("It is a number above 0, such as 200 or 1e4.");
}

function wholeNumber(text: string): number {
  if (/^\d{1,9}$/.test(text)) return Number(text);
  throw new InvalidArgumentError("It is a whole number, such as 42.");
}

function minutesOf(text: string): number {
  const minutes = numberAbove0(text);
  if (minutes <= 1_440) return minutes;
  throw new InvalidArgumentError("It is at most 1440, a day.");
}

function shareOf(text: string, others: Readonly<Record<string, number>> = {}) {
  const [name = "", value = ""] = text.split("=");
  const share = Number(value);
  if (value !== "" && share >= 0 && share <= 1) return { ...others, [name]: share };
  throw new InvalidArgumentError("It is a lane and a number from 0 to 1, such as ai=0.6.");
}

function handlerOf(text: string, others: Readonly<Record<string, number>> = {}) {
  const [name = "", value = ""] = text.split("=");
  return { ...others, [name]: numberAbove0(value) };
}

function quotaOf(text: string, others: Partial<Quotas> = {}): Partial<Quotas> {
  const [name = "", value = ""] = text.split("=");
  if (Object.hasOwn(awsQuotas, name)) return { ...others, [name]: numberAbove0(value) };
  throw new InvalidArgumentError(`"${name}" is no quota.${didYouMean(name, Object.keys(awsQuotas))}`);
}
