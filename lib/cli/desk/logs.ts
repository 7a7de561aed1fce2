import type { Command } from "commander";
import { oneLine, subcommand } from "../command.ts";
import type { LogEntry } from "../state/recent.ts";
import { logOf } from "./log.ts";
import { sinceOption } from "./options.ts";
import { findPlace, type PlaceOptions, placed, stoppable } from "./place.ts";
import { entryFacts, logText } from "./timeline.ts";

interface LogsOptions extends PlaceOptions {
  readonly id?: string;
  readonly failed?: boolean;
  readonly since: number;
  readonly follow?: boolean;
  readonly json?: boolean;
}

export function logsCommand(): Command {
  return placed(subcommand("logs"))
    .description("print what the functions logged, as npm start prints it")
    .option("--id <id>", "only what is about this event, or has this requestId")
    .option("--failed", "only warnings and errors")
    .addOption(sinceOption("from then on: 90s, 30min, 2h, 3d ago, or 2026-01-31T12:00:00Z", "1h"))
    .option("--follow", "go on with what comes, until Ctrl-C")
    .option("--json", "print a JSON object for each line")
    .addHelpText(
      "after",
      `
On this machine npm start keeps the lines of the last 7 days, 50,000 at most; LOG_LEVEL=debug shows all of them. On a
stage they are what its functions and its long connection wrote at their own LOG_LEVEL. It needs the rights
cloudformation:DescribeStacks, cloudformation:ListStackResources and logs:FilterLogEvents.

Examples:
  npm run logs -- --failed
  npm run logs -- --id 5e3702a84e847582be8db7fb73283c02 --since 2d
  npm run logs -- --stage prod --failed --follow`,
    )
    .action(run);
}

async function run({ json = false, ...options }: LogsOptions): Promise<void> {
  const cannot = "Cannot read the log";
  const { id, failed: isFailed = false, since: sinceMs, follow: follows = false } = options;
  const place = await findPlace(cannot, options);
  let day: string | undefined;
  const onEntry = (entry: LogEntry) => {
    if (json) {
      console.log(JSON.stringify(entryFacts(entry)));
      return;
    }
    const { text, day: shownDay } = logText(entry, day);
    day = shownDay;
    console.log(text);
  };
  await stoppable((signal) => logOf(cannot, place).read({ id, isFailed, sinceMs }, { follows, signal, onEntry }));
  await place.close();
  if (json || follows || day !== undefined) return;
  // Tells a person which log was read. It goes to stderr, so a pipe does not get it.
  const what = isFailed ? "no warning and no error" : "nothing";
  const about = id === undefined ? "" : ` about "${oneLine(id, 100)}"`;
  console.error(`The log of ${place.name} has ${what}${about} since ${new Date(sinceMs).toISOString()}`);
}
