import type { CloudWatchLogs } from "@aws-sdk/client-cloudwatch-logs";
import { type Clock, pause, systemClock } from "../../clock.ts";
import { fieldsOf, parseJson, stringOf } from "../../feishu/json.ts";
import { levelOf } from "../../trace/log.ts";
import { CommandError, UsageError } from "../command.ts";
import { awsClients, reasonOf } from "../deploy/clients.ts";
import { serviceName } from "../deploy/parameter-store.ts";
import { longConnectionOf, stackResources } from "../deploy/stack.ts";
import { progressLine } from "../paint.ts";
import { rank } from "../start/output.ts";
import { type LogEntry, openRecent } from "../state/recent.ts";
import { type QueueName, toLetter } from "./letters.ts";
import type { Place } from "./place.ts";
import { asked } from "./sqs.ts";
import { rootOf } from "./timeline.ts";

export interface Range {
  readonly sinceMs: number;
  readonly untilMs: number;
}

export interface LogFilter {
  readonly id: string | undefined;
  /** Only what was logged at the levels warn and error. */
  readonly isFailed: boolean;
  readonly sinceMs: number;
}

/** What the functions of a place have logged. */
export interface Log {
  /**
   * All about an event, with the work that its callback deferred; oldest first.
   * @param id The event's id, a message's, or the `requestId` of its push.
   */
  about(id: string, range: Range, signal?: AbortSignal): Promise<readonly LogEntry[]>;
  /**
   * What the filter leaves, oldest first, and then what comes, until the signal is aborted.
   */
  read(filter: LogFilter, given: ReadOptions): Promise<void>;
}

export interface ReadOptions {
  /** Whether it waits for what comes. */
  readonly follows: boolean;
  readonly signal: AbortSignal;
  readonly clock?: Clock;
  readonly onEntry: (entry: LogEntry) => void;
}

/** Members of a line that may be what somebody searches by, besides the event's id. */
const otherIds = ["requestId", "messageId", "logId"] as const;

/** @param cannot The beginning of each message: `Cannot trace`. */
export function logOf(cannot: string, place: Place): Log {
  const { stage, region } = place;
  return stage === undefined || region === undefined ? localLog(place) : stageLog(cannot, { stage, region });
}

/**
 * The whole id that the beginning of one stands for, or one that npm start has cut: `9a1d01f0…698a`.
 * @returns What was given, if it stands for none.
 */
export function wholeId(cannot: string, given: string, ids: ReadonlySet<string>): string {
  const [start = "", end = ""] = given.split("…");
  if (ids.has(given) || start.length < 6) return given;
  const [found = given, ...others] = [...ids].filter((id) => id.startsWith(start) && id.endsWith(end));
  if (others.length === 0) return found;
  throw new CommandError(`${cannot}: ${others.length + 1} ids begin with "${start}". Give more of it`);
}

function localLog(place: Place): Log {
  const recent = openRecent(place.stateFolder);
  const isOf = (line: LogEntry["line"], ids: ReadonlySet<string>) => {
    const id = stringOf(line["id"]);
    return id !== undefined && ids.has(rootOf(id));
  };
  /** The events that an id names which is not an event's. */
  async function eventsOf(id: string, entries: readonly LogEntry[]): Promise<string[]> {
    const lines = entries.map(({ line }) => line).filter((line) => otherIds.some((name) => line[name] === id));
    const found = lines.flatMap((line) => stringOf(line["id"]) ?? []).map(rootOf);
    if (found.length > 0) return found;
    const pushed = recent.pushesWith(JSON.stringify(id).slice(1, -1)).map((push) => push.id);
    if (pushed.length > 0) return pushed;
    const queues: readonly QueueName[] = ["dead", "quarantine"];
    const letters = await Promise.all(
      queues.map(async (queue) =>
        (await place.look(queue)).messages.map((message) => toLetter(message, queue, place.lanes)),
      ),
    );
    return letters.flat().flatMap((letter) => (letter.messageId === id && letter.id !== undefined ? [letter.id] : []));
  }
  return {
    async about(given, { sinceMs, untilMs }) {
      const entries = recent.after(0);
      const known = new Set(entries.flatMap(({ line }) => stringOf(line["id"]) ?? []).map(rootOf));
      const id = wholeId("Cannot find it", rootOf(given), known);
      const own = new Set([id]);
      const ids = entries.some(({ line }) => isOf(line, own)) ? own : new Set(await eventsOf(id, entries));
      return entries.filter(
        ({ atMs, line }) =>
          atMs >= sinceMs && atMs <= untilMs && (isOf(line, ids) || (line["id"] == null && line["requestId"] === id)),
      );
    },
    async read({ id, isFailed, sinceMs }, { follows, signal, clock = systemClock, onEntry }) {
      const least = Math.max(rank[levelOf(process.env["LOG_LEVEL"])], isFailed ? rank.warn : 0);
      const isWanted = ({ atMs, line }: LogEntry) =>
        atMs >= sinceMs &&
        rank[line["level"] as keyof typeof rank] >= least &&
        (id === undefined || isOf(line, new Set([rootOf(id)])) || otherIds.some((name) => line[name] === id));
      for (let last = 0; !signal.aborted; await pause(clock, 200, signal)) {
        for (const { n, ...entry } of recent.after(last)) {
          last = n;
          if (isWanted(entry)) onEntry(entry);
        }
        if (!follows) return;
      }
    },
  };
}

/** Characters that mean nothing in a query or a filter. */
const plainId = /^[\w:.@#-]{1,128}$/;

/** @throws {UsageError} An id that cannot be asked for. */
function checkId(cannot: string, id: string): void {
  if (!plainId.test(id)) throw new UsageError(`${cannot}: the id is not letters, digits and :.@#-_ alone`);
}

/** The query of CloudWatch Logs Insights for all about an event. */
export function queryOf(cannot: string, given: string): string {
  checkId(cannot, given);
  const id = rootOf(given);
  const conditions = [`id = "${id}"`, `id like "${id}#"`, ...otherIds.map((name) => `${name} = "${id}"`)];
  return `fields @timestamp, @log, @message
| filter ${conditions.join(" or ")}
| sort @timestamp asc
| limit ${maxResults}`;
}

const maxResults = 10_000;
/** Between two looks at a query, and at what is new of a log. */
const queryPollMs = 300;
const followMs = 3_000;
/** CloudWatch may show a line so long after it was written. */
const lateMs = 60_000;
/** So much this machine's clock may be ahead of AWS's, of which the SDK knows only more. */
const skewMs = 300_000;
/** What another try does not change. */
const lasting = /Denied|Unauthorized|Credentials|Token|Signature|NotFound|Validation|InvalidParameter/;

/** The log groups of a stage's functions and of its long connection. */
export async function logGroupsOf(cannot: string, { stage, region }: { stage: string; region: string }) {
  const { cloudFormation } = awsClients({ region });
  const name = `${serviceName()}-${stage}`;
  const right = "cloudformation:ListStackResources";
  const own = await asked(cannot, right, stackResources(cloudFormation, name));
  // Few stages have one.
  const beside = await asked(cannot, right, stackResources(cloudFormation, longConnectionOf(name))).catch(
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

function stageLog(cannot: string, place: { stage: string; region: string }): Log {
  async function open() {
    const [{ CloudWatchLogs }, groups] = await Promise.all([
      import("@aws-sdk/client-cloudwatch-logs"),
      logGroupsOf(cannot, place),
    ]);
    // A person at a shell, perhaps far from the region, waits longer than a function.
    const requestHandler = { connectionTimeout: 5_000, socketTimeout: 30_000 };
    return { client: new CloudWatchLogs({ region: place.region, requestHandler, maxAttempts: 6 }), groups };
  }
  return {
    async about(id, { sinceMs, untilMs }, signal = new AbortController().signal) {
      const queryString = queryOf(cannot, id);
      const { client, groups } = await open();
      try {
        const query = {
          queryString,
          logGroupNames: groups.map(({ group }) => group),
          startTime: Math.floor(sinceMs / 1000),
          endTime: Math.ceil(untilMs / 1000),
        };
        const { queryId } = await asked(cannot, "logs:StartQuery", client.startQuery(query));
        const sources = new Map(groups.map(({ group, source }) => [group, source]));
        return (await resultsOf(cannot, { client, queryId, signal })).flatMap((row) => {
          const fields = Object.fromEntries(row.map(({ field = "", value = "" }) => [field, value]));
          const { "@timestamp": time = "", "@log": log = "", "@message": message = "" } = fields;
          const source = sources.get(log.slice(log.indexOf(":") + 1)) ?? log;
          return toEntry(Date.parse(`${time.replace(" ", "T")}Z`), source, message);
        });
      } finally {
        client.destroy();
      }
    },
    async read(filter, given) {
      const filterPattern = patternOf(cannot, filter);
      const { client, groups } = await open();
      try {
        await readGroups(cannot, { ...given, client, groups, filterPattern, sinceMs: filter.sinceMs });
      } finally {
        client.destroy();
      }
    },
  };
}

type LogGroup = Awaited<ReturnType<typeof logGroupsOf>>[number];

/**
 * Reads log groups. The first look may take minutes, so a terminal is told how far it is. When it follows them, it asks again
 * for what CloudWatch may show late, and gives each line once.
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
    const given = { client, filterPattern, sinceMs, signal, onPage };
    const found = await Promise.all(groups.map((group) => eventsOf(cannot, { ...given, ...group }))).finally(
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
async function resultsOf(
  cannot: string,
  given: { client: CloudWatchLogs; queryId: string | undefined; signal: AbortSignal },
) {
  const { client, queryId, signal } = given;
  const progress = progressLine();
  try {
    for (;;) {
      const {
        status,
        results = [],
        statistics,
      } = await asked(cannot, "logs:GetQueryResults", client.getQueryResults({ queryId }));
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
function patternOf(cannot: string, { id, isFailed }: LogFilter): string {
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
  given: {
    client: CloudWatchLogs;
    group: string;
    source: string;
    filterPattern: string;
    sinceMs: number;
    signal: AbortSignal;
    onPage: (lines: number) => void;
  },
): Promise<{ eventId: string; entry: LogEntry }[]> {
  const { client, group, source, filterPattern, sinceMs, signal, onPage } = given;
  const found: { eventId: string; entry: LogEntry }[] = [];
  for (let nextToken: string | undefined; !signal.aborted; ) {
    const page = await asked(
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
function toEntry(atMs: number, source: string, message: string): LogEntry[] {
  const line = fieldsOf(parseJson(message));
  return typeof line["stage"] === "string" ? [{ atMs, source, line }] : [];
}
