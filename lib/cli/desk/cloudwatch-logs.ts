import type { CloudWatchLogs } from "@aws-sdk/client-cloudwatch-logs";
import { type Clock, pause, systemClock } from "../../clock.ts";
import { fieldsOf, parseJson } from "../../feishu/json.ts";
import { CommandError, UsageError } from "../command.ts";
import { awsClients, reasonOf } from "../deploy/clients.ts";
import { serviceName } from "../deploy/parameter-store.ts";
import { longConnectionOf, stackResources } from "../deploy/stack.ts";
import { progressLine } from "../paint.ts";
import type { LogEntry } from "../state/recent.ts";
import { askAws } from "./sqs.ts";
import { rootOf } from "./timeline.ts";

export interface LogFilter {
  readonly id: string | undefined;
  /** Only what was logged at the levels warn and error. */
  readonly isFailed: boolean;
  readonly sinceMs: number;
}

export interface ReadOptions {
  /** Whether it waits for what comes. */
  readonly follows: boolean;
  readonly signal: AbortSignal;
  readonly clock?: Clock;
  readonly onEntry: (entry: LogEntry) => void;
}

/** Members of a line, other than the event's id, that somebody may search by. */
export const otherIds = ["requestId", "messageId", "logId"] as const;

/** Characters that mean nothing in a query or a filter. */
const plainId = /^[\w:.@#-]{1,128}$/;

/** @throws {UsageError} An id that cannot be asked for. */
function checkId(cannot: string, id: string): void {
  if (!plainId.test(id)) throw new UsageError(`${cannot}: the id is not letters, digits and :.@#-_ alone`);
}

/** The query of CloudWatch Logs Insights for all about an event. */
export function queryOf(cannot: string, id: string): string {
  checkId(cannot, id);
  const root = rootOf(id);
  const conditions = [`id = "${root}"`, `id like "${root}#"`, ...otherIds.map((name) => `${name} = "${root}"`)];
  return `fields @timestamp, @log, @message
| filter ${conditions.join(" or ")}
| sort @timestamp asc
| limit ${maxResults}`;
}

const maxResults = 10_000;
/** The waits between two reads of a query's state, and between two reads of a log that is followed. */
const queryPollMs = 300;
const followMs = 3_000;
/** CloudWatch may show a line this long after it was written. */
const lateMs = 60_000;
/** This machine's clock may be this far ahead of AWS's. The SDK corrects a larger difference. */
const skewMs = 300_000;
/** Errors that another try does not change. */
const lasting = /Denied|Unauthorized|Credentials|Token|Signature|NotFound|Validation|InvalidParameter/;

/** The log groups of a stage's functions and of its long connection. */
export async function logGroupsOf(cannot: string, { stage, region }: { stage: string; region: string }) {
  const { cloudFormation } = awsClients({ region });
  const name = `${serviceName()}-${stage}`;
  const right = "cloudformation:ListStackResources";
  const own = await askAws(cannot, right, stackResources(cloudFormation, name));
  // Few stages have one.
  const beside = await askAws(cannot, right, stackResources(cloudFormation, longConnectionOf(name))).catch(
    (error: CommandError) => {
      if (/does not exist/.test(String(fieldsOf(error.cause)["message"]))) return [];
      throw error;
    },
  );
  return [...own, ...beside]
    .filter(({ type, physicalId }) => type === "AWS::Logs::LogGroup" && /^\/(?:aws\/lambda|ecs)\//.test(physicalId))
    .map(({ physicalId }) => ({
      group: physicalId,
      source: physicalId.slice(physicalId.lastIndexOf("/") + 1).replace(`${name}-`, ""),
    }));
}

type LogGroup = Awaited<ReturnType<typeof logGroupsOf>>[number];

/**
 * Reads log groups. The first look may take minutes, so it shows its progress at a terminal. When it follows them, it
 * asks again for what CloudWatch may show late, and passes on each line once.
 */
export async function readGroups(
  cannot: string,
  options: ReadOptions & {
    client: CloudWatchLogs;
    groups: readonly LogGroup[];
    filterPattern: string;
    sinceMs: number;
  },
): Promise<void> {
  const { client, groups, filterPattern, follows, signal, clock = systemClock, onEntry } = options;
  let { sinceMs } = options;
  let newestMs = 0;
  const seen = new Map<string, number>();
  const progress = progressLine();
  let count = 0;
  const onFirstPage = (lines: number) => {
    count += lines;
    progress.show(`looking: ${count} lines`);
  };
  const look = async (onPage = (_: number) => {}) => {
    const untilMs = clock.nowMs() + client.config.systemClockOffset;
    const request = { client, filterPattern, sinceMs, signal, onPage };
    const found = await Promise.all(groups.map((group) => eventsOf(cannot, { ...request, ...group }))).finally(
      progress.clear,
    );
    const fresh = found.flat().filter(({ eventId }) => !seen.has(eventId));
    for (const { eventId, entry } of fresh.sort((a, b) => a.entry.atMs - b.entry.atMs)) {
      seen.set(eventId, entry.atMs);
      newestMs = Math.max(newestMs, entry.atMs);
      onEntry(entry);
    }
    sinceMs = Math.max(sinceMs, Math.min(newestMs, untilMs) - lateMs, untilMs - skewMs - lateMs);
    for (const [eventId, atMs] of seen) if (atMs < sinceMs) seen.delete(eventId);
  };
  await look(onFirstPage);
  while (follows) {
    await pause(clock, followMs, signal);
    if (signal.aborted) return;
    // What is throttled, or a network that is gone for a while, ends nothing: the next look begins where this one did.
    await look().catch((error: unknown) => {
      const reason = error instanceof CommandError ? reasonOf(error.cause) : "";
      if (reason === "" || lasting.test(reason)) throw error;
      console.error(`${cannot} for the moment: ${reason}. It goes on where it was`);
    });
  }
}

/** Waits for a query's results. At a terminal it says how much was looked through. */
export async function resultsOf(
  cannot: string,
  query: { client: CloudWatchLogs; queryId: string | undefined; signal: AbortSignal },
) {
  const { client, queryId, signal } = query;
  const progress = progressLine();
  try {
    for (;;) {
      const {
        status,
        results = [],
        statistics,
      } = await askAws(cannot, "logs:GetQueryResults", client.getQueryResults({ queryId }));
      if (status === "Complete") return results;
      if (status !== "Scheduled" && status !== "Running") {
        throw new CommandError(`${cannot}: the query of the log ended as ${status}. Type the command again`);
      }
      progress.show(`looking: ${Math.round((statistics?.bytesScanned ?? 0) / 1_048_576)} MB`);
      await pause(systemClock, queryPollMs, signal);
      if (!signal.aborted) continue;
      await client.stopQuery({ queryId }).catch(() => {});
      throw new CommandError(`${cannot}: it was stopped`);
    }
  } finally {
    progress.clear();
  }
}

/** A filter of CloudWatch Logs: lines of ours, and neither the platform's own nor what a handler printed. */
export function patternOf(cannot: string, { id, isFailed }: LogFilter): string {
  if (id !== undefined) checkId(cannot, id);
  const ids = [...otherIds.map((name) => `$.${name} = "${id}"`), `$.id = "${id}"`, `$.id = "${id}#*"`];
  const parts = [
    ...(isFailed ? ['($.level = "warn" || $.level = "error")'] : []),
    ...(id === undefined ? [] : [`(${ids.join(" || ")})`]),
  ];
  return `{ ${parts.length === 0 ? '$.stage = "*"' : parts.join(" && ")} }`;
}

/** All of a log group that a filter leaves, page by page. */
async function eventsOf(
  cannot: string,
  options: {
    client: CloudWatchLogs;
    group: string;
    source: string;
    filterPattern: string;
    sinceMs: number;
    signal: AbortSignal;
    onPage: (lines: number) => void;
  },
): Promise<{ eventId: string; entry: LogEntry }[]> {
  const { client, group, source, filterPattern, sinceMs, signal, onPage } = options;
  const found: { eventId: string; entry: LogEntry }[] = [];
  for (let nextToken: string | undefined; !signal.aborted; ) {
    const page = await askAws(
      cannot,
      "logs:FilterLogEvents",
      client.filterLogEvents({ logGroupName: group, startTime: sinceMs, filterPattern, nextToken }),
    );
    for (const { eventId = "", timestamp = 0, message = "" } of page.events ?? []) {
      for (const entry of toEntry(timestamp, source, message)) found.push({ eventId, entry });
    }
    onPage(page.events?.length ?? 0);
    nextToken = page.nextToken;
    if (nextToken === undefined) break;
  }
  return found;
}

/** None, if the message is not a line of ours. */
export function toEntry(atMs: number, source: string, message: string): LogEntry[] {
  const line = fieldsOf(parseJson(message));
  return typeof line["stage"] === "string" ? [{ atMs, source, line }] : [];
}
