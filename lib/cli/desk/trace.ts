import type { Command } from "commander";
import { stringOf } from "../../feishu/json.ts";
import { CommandError, oneLine, subcommand, UsageError } from "../command.ts";
import { paint } from "../paint.ts";
import { timeOf as clockTime } from "../start/render.ts";
import type { LogEntry } from "../state/recent.ts";
import { logGroupsOf, queryOf } from "./cloudwatch-logs.ts";
import { logOf } from "./log.ts";
import { sinceOption } from "./options.ts";
import { findPlace, type Place, type PlaceOptions, placed, stoppable } from "./place.ts";
import { dayOf, entryFacts, rootOf, timelineLines, verdictOf } from "./timeline.ts";

interface TraceOptions extends PlaceOptions {
  readonly since: number;
  readonly query?: boolean;
  readonly json?: boolean;
}

export function traceCommand(): Command {
  return placed(subcommand("trace"))
    .description("print all that became of one event, from its push to its last attempt")
    .argument("<id>", "the event's id, a message's, or the push's requestId (X-Tt-Logid)")
    .addOption(sinceOption("with --stage: from then on: 30min, 2h, 3d ago, or 2026-01-31T12:00:00Z", "1d"))
    .option("--query", "with --stage: print the query and its log groups, and do not run it")
    .option("--json", "print one JSON object")
    .addHelpText(
      "after",
      `
With the answer of a callback, the work that it deferred, each call of the Open API, and redrives. On this machine the
id may also be that of a chat's message (om_…), an id as npm start shortens it (9a1d01f0…698a), or the beginning of one.

A stage logs calls that went well with LOG_LEVEL=debug only. There it is one query of CloudWatch Logs Insights, billed
by what it looks through: --since says how far back. It needs the rights
cloudformation:DescribeStacks, cloudformation:ListStackResources, logs:StartQuery, logs:GetQueryResults and
logs:StopQuery.

Examples:
  npm run trace -- 5e3702a84e847582be8db7fb73283c02
  npm run trace -- 5e3702a84e847582be8db7fb73283c02 --stage prod --since 7d
  npm run trace -- 5e3702a84e847582be8db7fb73283c02 --stage prod --query`,
    )
    .action(run);
}

async function run(id: string, { json = false, query = false, ...options }: TraceOptions): Promise<void> {
  const cannot = "Cannot trace";
  const { stage, since: sinceMs } = options;
  if (query && stage === undefined) throw new UsageError(`${cannot}: --query is of a stage. Give --stage as well`);
  const queryString = query ? queryOf(cannot, id) : undefined;
  const place = await findPlace(cannot, options);
  try {
    const { region } = place;
    if (queryString !== undefined && stage !== undefined && region !== undefined) {
      const groups = await logGroupsOf(cannot, { stage, region });
      console.log([...groups.map(({ group }) => `# ${group}`), queryString].join("\n"));
      return;
    }
    const range = { sinceMs: stage === undefined ? 0 : sinceMs, untilMs: Date.now() };
    const entries = await stoppable((signal) => logOf(cannot, place).about(id, range, signal));
    if (entries.length === 0) {
      const list = `npm run events${place.args === "" ? "" : ` -- list${place.args}`}`;
      const advice =
        stage === undefined ? `Check the id: "${list}"` : 'Check the id, or look further back with "--since 7d"';
      throw new CommandError(`Cannot find "${oneLine(id, 128)}" in the log of ${place.name}. ${advice}`);
    }
    if (json) console.log(JSON.stringify({ id, stage, region, lines: entries.map(entryFacts) }));
    else console.log(traceText(id, entries, place));
  } finally {
    await place.close();
  }
}

function traceText(id: string, entries: readonly LogEntry[], place: Place): string {
  const ids = new Set(entries.flatMap(({ line }) => stringOf(line["id"]) ?? []).map(rootOf));
  // Lines of a request have no event's id: they are the event's, if the request has brought one.
  const [requested = id] = ids.size === 1 ? ids : [id];
  const groups = [...Map.groupBy(entries, ({ line }) => rootOf(stringOf(line["id"]) ?? requested))];
  return groups.map(([own, lines]) => eventText(own, lines, { tracedId: id, place })).join("\n\n");
}

/** One event. */
function eventText(
  id: string,
  entries: readonly LogEntry[],
  { tracedId, place }: { tracedId: string; place: Place },
): string {
  const type = entries.map(({ line }) => stringOf(line["type"])).find((found) => found !== undefined);
  const app = entries.map(({ line }) => stringOf(line["app"])).find((found) => found !== undefined);
  const title = [type ?? "no type", id, ...(app === undefined ? [] : [app])].map((part) => oneLine(part, 200));
  const startMs = entries[0]?.atMs ?? 0;
  const own = entries.filter(({ line }) => line["id"] === id);
  const { verdict } = verdictOf(own) ?? {};
  const advice = [
    ...(verdict === "dead" ? [`Its letter   npm run dead -- show ${id}${place.args}`] : []),
    // By another id, a stage's query finds only the lines that have that id.
    ...(place.stage !== undefined && id !== rootOf(tracedId)
      ? [`All of it    npm run trace -- ${id}${place.args}`]
      : []),
  ];
  return [
    paint("bold", title.join("  ")),
    `${dayOf(startMs)} ${clockTime(new Date(startMs))}  ${place.name}`,
    ...timelineLines(entries),
    ...(advice.length === 0 ? [] : ["", ...advice]),
  ].join("\n");
}
