import { writeSync } from "node:fs";
import { type Clock, systemClock } from "../clock.ts";
import { clean } from "./clean.ts";
import { summarize } from "./thrown.ts";
import { isSubscribed, type Level, type Stage, type Subscriber, subscribe, type TraceEntry } from "./trace.ts";

const rank: Record<Level, number> = { debug: 0, info: 1, warn: 2, error: 3 };
const refusalsPerMinute = 100;

/**
 * Subscribes the JSON logger under the name `log`, unless that name is taken.
 * @param describe `describeError` for a function that runs handlers. The webhook must stay small.
 */
export function startLogging(env: NodeJS.ProcessEnv, describe?: Describe): void {
  if (isSubscribed("log")) return;
  const sampleRate = Number(env["LOG_SAMPLE_RATE"] ?? 1);
  subscribe("log", jsonLines({ level: levelOf(env["LOG_LEVEL"]), sampleRate, write: writeLine, describe }));
}

let usesStream = false;

/**
 * Writes to standard output without the stream of it, which takes more of a cold start to make than a request's lines.
 * A pipe that does not take a line at once gets it from the stream, as all later ones.
 */
function writeLine(line: string): void {
  let rest: Buffer = Buffer.from(line);
  try {
    if (!usesStream) rest = rest.subarray(writeSync(1, rest));
  } catch {
    // It is full.
  }
  if (rest.length === 0) return;
  usesStream = true;
  process.stdout.write(rest);
}

type Describe = (thrown: unknown) => object;

export function levelOf(text: string | undefined): Level {
  const level = text?.trim().toLowerCase();
  return level === "debug" || level === "warn" || level === "error" ? level : "info";
}

/**
 * The stages that `LOG_SAMPLE_RATE` leaves out: those of an event that succeeds at its first attempt, but for `started`,
 * which a metric filter counts. Of an event that fails, other lines have all that `queued` says, and the `handled` of a
 * later attempt is written.
 */
export const sampledStages: ReadonlySet<Stage> = new Set(["queued", "handled"]);

/** The event's id decides, so every function leaves out the lines of the same events. */
function isSampledOut({ stage, level, id, facts }: TraceEntry, rate: number): boolean {
  const isGood = sampledStages.has(stage) && level === "info" && (facts?.["attempt"] ?? 1) === 1;
  if (!isGood || id === undefined) return false;
  let hash = 0;
  for (let index = 0; index < id.length; index++) hash = (Math.imul(hash, 31) + id.charCodeAt(index)) | 0;
  return (hash >>> 0) / 2 ** 32 >= rate;
}

/**
 * A subscriber that writes each entry as a line of JSON. After 100 refusals in a minute, more are only counted, so that
 * an attacker cannot fill the log.
 */
export function jsonLines(options: {
  level: Level;
  /** The share of the events that go well whose {@link sampledStages} are written. */
  sampleRate?: number;
  write: (line: string) => unknown;
  clock?: Clock;
  describe?: Describe | undefined;
}): Subscriber {
  const { level, sampleRate = 1, write, clock = systemClock, describe } = options;
  let minute = 0;
  let refusals = 0;
  return (entry) => {
    if (rank[entry.level] < rank[level] || isSampledOut(entry, sampleRate)) return;
    if (entry.stage === "refused") {
      const now = Math.floor(clock.nowMs() / 60_000);
      if (now !== minute) {
        const unprinted = refusals - refusalsPerMinute;
        if (unprinted > 0) write(`${JSON.stringify({ level: "warn", stage: "refused", unprinted })}\n`);
        minute = now;
        refusals = 0;
      }
      if (++refusals > refusalsPerMinute) return;
    }
    write(`${JSON.stringify(toLine(entry, describe))}\n`);
  };
}

/** An entry as it is printed: cleaned, cut to length, and without any text that may come from a payload. */
export function toLine(entry: TraceEntry, describe: Describe = summarize): Record<string, unknown> {
  const core = {
    level: entry.level,
    stage: entry.stage,
    id: clean(entry.id),
    type: clean(entry.type),
    app: clean(entry.app),
    ms: entry.ms === undefined ? undefined : Math.round(entry.ms),
    requestId: clean(entry.requestId),
  };
  const facts = Object.entries(entry.facts ?? {}).map(([name, value]) => [
    name,
    typeof value === "string" ? clean(value, 512) : value,
  ]);
  // The core a second time: a handler's own field `id` or `stage` must not replace ours.
  return {
    ...core,
    ...Object.fromEntries(facts),
    ...(entry.description ?? (entry.error === undefined ? undefined : describe(entry.error))),
    ...core,
  };
}
