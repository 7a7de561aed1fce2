import { pause, systemClock } from "../../clock.ts";
import { stringOf } from "../../feishu/json.ts";
import { levelOf } from "../../trace/log.ts";
import { CommandError } from "../command.ts";
import { rank } from "../start/output.ts";
import { type LogEntry, openRecent } from "../state/recent.ts";
import {
  type LogFilter,
  logGroupsOf,
  otherIds,
  patternOf,
  queryOf,
  type ReadOptions,
  readGroups,
  resultsOf,
  toEntry,
} from "./cloudwatch-logs.ts";
import { type QueueName, toLetter } from "./letters.ts";
import type { Place } from "./place.ts";
import { askAws } from "./sqs.ts";
import { rootOf } from "./timeline.ts";

interface Range {
  readonly sinceMs: number;
  readonly untilMs: number;
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
  read(filter: LogFilter, options: ReadOptions): Promise<void>;
}

/** @param cannot The beginning of each message: `Cannot trace`. */
export function logOf(cannot: string, place: Place): Log {
  const { stage, region } = place;
  return stage === undefined || region === undefined ? localLog(place) : stageLog(cannot, { stage, region });
}

/**
 * The whole id that the beginning of one stands for, or one that npm start has cut: `9a1d01f0…698a`.
 * @returns `typed` itself, if it stands for none.
 */
export function wholeId(cannot: string, typed: string, ids: ReadonlySet<string>): string {
  const [start = "", end = ""] = typed.split("…");
  if (ids.has(typed) || start.length < 6) return typed;
  const [found = typed, ...others] = [...ids].filter((id) => id.startsWith(start) && id.endsWith(end));
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
    async about(typed, { sinceMs, untilMs }) {
      const entries = recent.after(0);
      const known = new Set(entries.flatMap(({ line }) => stringOf(line["id"]) ?? []).map(rootOf));
      const id = wholeId("Cannot find it", rootOf(typed), known);
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
        const { queryId } = await askAws(cannot, "logs:StartQuery", client.startQuery(query));
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
    async read(filter, options) {
      const filterPattern = patternOf(cannot, filter);
      const { client, groups } = await open();
      try {
        await readGroups(cannot, { ...options, client, groups, filterPattern, sinceMs: filter.sinceMs });
      } finally {
        client.destroy();
      }
    },
  };
}
