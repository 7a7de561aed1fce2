import { type Clock, systemClock } from "../clock.ts";
import { isSubscribed, type Level, type Subscriber, subscribe, type TraceEntry } from "./trace.ts";

const rank: Record<Level, number> = { debug: 0, info: 1, warn: 2, error: 3 };
const refusalsPerMinute = 100;

/** Subscribes the JSON logger under the name `log`, unless that name is taken. */
export function startLogging(env: NodeJS.ProcessEnv): void {
  if (isSubscribed("log")) return;
  subscribe("log", jsonLines({ level: levelOf(env["LOG_LEVEL"]), write: (line) => process.stdout.write(line) }));
}

export function levelOf(text: string | undefined): Level {
  const level = text?.trim().toLowerCase();
  return level === "debug" || level === "warn" || level === "error" ? level : "info";
}

/**
 * A subscriber that writes each entry as a line of JSON. After 100 refusals in a minute, more are only counted, so that
 * an attacker cannot fill the log.
 */
export function jsonLines(options: { level: Level; write: (line: string) => unknown; clock?: Clock }): Subscriber {
  const { level, write, clock = systemClock } = options;
  let minute = 0;
  let refusals = 0;
  return (entry) => {
    if (rank[entry.level] < rank[level]) return;
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
    write(`${JSON.stringify(toLine(entry))}\n`);
  };
}

/** An entry as it is printed: cleaned, cut to length, and without any text that may come from a payload. */
export function toLine(entry: TraceEntry): Record<string, unknown> {
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
    ...(entry.error === undefined ? undefined : describeError(entry.error)),
    ...core,
  };
}

/** Outside text for one log line: at most `max` long, without control, bidirectional and line-breaking characters. */
export function clean(text: string | null | undefined, max = 128): string | undefined {
  if (typeof text !== "string") return undefined;
  // Cut first, so that a megabyte costs nothing. A surrogate cut in half is removed like any unprintable character.
  return text
    .slice(0, max)
    .replace(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu, "")
    .trim();
}

export interface ErrorDescription {
  readonly errorClass: string;
  /** The error's `code`, if it is a short word (`ECONNRESET`, `NON_RETRYABLE`). */
  readonly errorCode?: string | undefined;
  /** The innermost frame of our or the user's code: `functions/events/x.ts:12:7`. */
  readonly at?: string | undefined;
  /** Equal for errors of one class with one stack, whatever their messages. */
  readonly fingerprint: string;
}

/**
 * Describes what was thrown without its message, which may quote a payload. Total: takes a thrown `undefined`, a frozen
 * object, and a getter that throws.
 */
export function describeError(thrown: unknown): ErrorDescription {
  const errorClass = word(memberOf(thrown, "name")) ?? (thrown === null ? "null" : typeof thrown);
  const frames = framesOf(memberOf(thrown, "stack"), memberOf(thrown, "message"));
  return {
    errorClass,
    errorCode: word(memberOf(thrown, "code")),
    at: frames[0],
    fingerprint: fnv1a([errorClass, ...frames.map((frame) => frame.replace(/:\d+$/, ""))].join("\n")),
  };
}

/** A member of an error; of another object, its `code` only. `undefined` if a getter or a proxy throws. */
function memberOf(thrown: unknown, name: "name" | "message" | "stack" | "code"): unknown {
  try {
    return name === "code" || thrown instanceof Error ? Object(thrown)[name] : undefined;
  } catch {
    return undefined;
  }
}

function word(value: unknown): string | undefined {
  return typeof value === "string" && /^[\w.:-]{1,64}$/.test(value) ? value : undefined;
}

function framesOf(stack: unknown, message: unknown): string[] {
  if (typeof stack !== "string" || typeof message !== "string") return [];
  // The message comes first, and may hold lines that look like frames; only what follows it is V8's. If the message was
  // changed later, the stack holds the earlier one, and its frames cannot be told from it.
  const start = stack.indexOf(message);
  if (start === -1) return [];
  const after = start + message.length;
  const frames: string[] = [];
  for (const line of stack.slice(after, after + 16_384).split("\n")) {
    const match = /^ {4}at (?:[^()]{0,200}\()?(?:file:\/\/)?(\/[^()]{1,400}:\d+:\d+)\)?$/.exec(line);
    const path = match?.[1];
    if (path === undefined || path.includes("/node_modules/")) continue;
    frames.push(path.replace(/^.*\/((?:functions|lib|dist|test)\/)/, "$1"));
    if (frames.length === 5) break;
  }
  return frames;
}

/** A short hash (FNV-1a, 32 bits) to group log lines by, and not for security. */
function fnv1a(text: string): string {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  return (hash >>> 0).toString(16).padStart(8, "0");
}
