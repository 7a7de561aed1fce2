import { join } from "node:path";
import { utf8 } from "../../feishu/cipher.ts";
import { fieldsOf, stringOf } from "../../feishu/json.ts";
import type { EncryptKey } from "../../feishu/keys.ts";
import { describeError } from "../../trace/error.ts";
import { toLine } from "../../trace/log.ts";
import type { TraceEntry } from "../../trace/trace.ts";
import { oneLine } from "../command.ts";
import { paint } from "../paint.ts";
import { engineRoot } from "../project.ts";
import { failureLines } from "../start/failure.ts";
import { payloadText } from "../start/payloads.ts";
import { headLine } from "../start/render.ts";
import type { LogEntry } from "../state/recent.ts";
import {
  appOf,
  defaultLane,
  type Group,
  groupsOf,
  type Letter,
  movedBySqs,
  type QueueName,
  receivedBytes,
} from "./letters.ts";
import type { Place } from "./place.ts";
import type { RunReport } from "./run.ts";
import { timelineLines } from "./timeline.ts";

/** More letters than these are shown by groups alone. */
const maxShown = 20;
/** Bytes that are no text are shown up to here. */
const maxHexBytes = 4_096;

/** A time of the past: `3 min ago`. */
export function ago(ms: number, nowMs: number): string {
  const seconds = Math.max(0, Math.round((nowMs - ms) / 1000));
  const [unit, size] = (
    [
      ["d", 86_400],
      ["h", 3_600],
      ["min", 60],
    ] as const
  ).find(([, least]) => seconds >= 2 * least) ?? ["s", 1];
  return `${Math.floor(seconds / size)} ${unit} ago`;
}

export function countOfLetters(count: number, queue: QueueName): string {
  const noun = queue === "dead" ? "dead letter" : "message";
  return `${count} ${noun}${count === 1 ? "" : "s"}${queue === "dead" ? "" : " in quarantine"}`;
}

/** The letters as JSON has them. No payload is among it. */
export function letterFacts(letter: Letter) {
  const { id, messageId, type, lane, reason, error, fingerprint, attempts, redrives } = letter;
  const { firstAttemptAtMs, diedAtMs } = letter;
  const { errorClass, errorCode, at } = error;
  const isoTime = (ms: number | undefined) => (ms === undefined ? undefined : new Date(ms).toISOString());
  return {
    id,
    messageId,
    type,
    lane,
    reason,
    errorClass,
    errorCode,
    at,
    fingerprint,
    attempts,
    redrives,
    firstAttemptAt: isoTime(firstAttemptAtMs),
    diedAt: isoTime(diedAtMs),
  };
}

export function listText(
  letters: readonly Letter[],
  given: { place: Place; queue: QueueName; nowMs: number; seen: number; total: number },
): string {
  const { place, queue, nowMs, seen, total } = given;
  const groups = groupsOf(letters);
  const inGroups = groups.length === 0 ? "" : ` in ${groups.length} group${groups.length === 1 ? "" : "s"}`;
  const unseen = seen < total ? ` (${seen} of about ${total} were seen: SQS shows some only later)` : "";
  const others = letters.length < seen ? `, of ${seen}` : "";
  const queueArgs = queue === "dead" ? "" : ` --queue ${queue}`;
  const command = "npm run dead --";
  const lines = [`${paint("bold", countOfLetters(letters.length, queue))}${inGroups}${others}: ${place.name}${unseen}`];
  for (const group of groups) {
    lines.push("", groupLine(group, nowMs));
    const shown = letters.length <= maxShown || groups.length === 1 ? group.letters : group.letters.slice(0, 2);
    for (const letter of shown) lines.push(`  ${letterLine(letter, nowMs)}`);
    const rest = group.letters.length - shown.length;
    if (rest > 0)
      lines.push(
        paint(
          "dim",
          `  and ${rest} more: ${command} list --fingerprint ${oneLine(group.fingerprint, 40)}${queueArgs}${place.args}`,
        ),
      );
  }
  const [first] = groups[0]?.letters ?? [];
  if (first !== undefined) {
    lines.push("", `Look at one   ${command} show ${nameOf(first)}${queueArgs}${place.args}`);
  }
  return lines.join("\n");
}

/** The id to type. */
export function nameOf({ id, messageId }: Letter): string {
  return id !== undefined && /^[\w:#.-]{1,128}$/.test(id) ? (id.includes("#") ? `'${id}'` : id) : messageId;
}

function groupLine({ fingerprint, letters }: Group, nowMs: number): string {
  const [latest] = letters;
  const oldest = letters.at(-1);
  if (latest === undefined || oldest === undefined) return fingerprint;
  const types = new Set(letters.map(({ type }) => type ?? "no type"));
  const [type = ""] = types;
  const parts = [
    paint("bold", oneLine(fingerprint, 40)),
    `${letters.length} ×`,
    oneLine(latest.reason, 40),
    types.size === 1 ? oneLine(type, 80) : `${types.size} types`,
    errorText(latest),
    letters.length === 1
      ? ago(latest.diedAtMs, nowMs)
      : `${ago(latest.diedAtMs, nowMs)}, oldest ${ago(oldest.diedAtMs, nowMs)}`,
  ];
  return parts.filter((part) => part !== "").join("  ");
}

function letterLine(letter: Letter, nowMs: number): string {
  const { attempts, redrives, diedAtMs, lane } = letter;
  const counts = [
    lane === defaultLane ? "" : `lane ${oneLine(lane, 40)}`,
    attempts === undefined ? "" : `${attempts} attempt${attempts === 1 ? "" : "s"}`,
    redrives === 0 ? "" : `redriven ${redrives} ×`,
  ];
  return [nameOf(letter), ago(diedAtMs, nowMs), ...counts].filter((part) => part !== "").join("  ");
}

function errorText({ error: { errorClass, errorCode, at } }: Letter): string {
  return [errorClass, errorCode, at]
    .flatMap((part) => (part === undefined ? [] : [oneLine(String(part), 200)]))
    .join("  ");
}

/** One letter with all that is known of it. */
export function showText(letter: Letter, { place, nowMs, payload, isReadable, queue, log }: ShowOptions): string {
  const { error, attempts, redrives, firstAttemptAtMs, diedAtMs, messageId, reason } = letter;
  const { frames = [], causes = [], message, codeVersion } = error;
  const time = (ms: number) => `${new Date(ms).toISOString()} (${ago(ms, nowMs)})`;
  const texts = (values: unknown) => (Array.isArray(values) ? values.map((value) => oneLine(String(value), 200)) : []);
  const rows: [string, string | undefined][] = [
    ["reason", reasonText(reason, queue)],
    ["lane", laneText(letter.lane, place)],
    ["died", time(diedAtMs)],
    ["first try", firstAttemptAtMs === undefined ? undefined : time(firstAttemptAtMs)],
    ["attempts", attempts?.toString()],
    ["redrives", String(redrives)],
    ["error", errorText(letter) || undefined],
    ["said", typeof message === "string" ? oneLine(message, 512) : undefined],
    ["frames", texts(frames).join("\n") || undefined],
    ["causes", causesText(causes) || undefined],
    ["fingerprint", oneLine(letter.fingerprint, 40)],
    ["code", codeVersion === undefined ? undefined : oneLine(String(codeVersion), 64)],
    ["app", cleanText(appOf(letter))],
    ...contentRows(letter, time),
    ["message", `${messageId}, ${Buffer.byteLength(letter.body)} bytes`],
  ];
  const lines = rows.flatMap(([name, text]) => {
    if (text === undefined) return [];
    const [first = "", ...more] = text.split("\n");
    return [`  ${name.padEnd(13)}${first}`, ...more.map((line) => `  ${" ".repeat(13)}${line}`)];
  });
  const title = [letter.type ?? "no type", letter.id ?? "no id"].map((part) => oneLine(part, 200)).join("  ");
  const queueArgs = queue === "dead" ? "" : ` --queue ${queue}`;
  const next = isReadable || queue === "dead" ? ["run", "redrive"] : ["drop"];
  const tails = payload === undefined ? ["show --payload", ...next] : next;
  const advice = tails.map(
    (tail) =>
      `  npm run dead -- ${tail} ${nameOf(letter)}${queueArgs}${place.args}${tail === "drop" ? " --why …" : ""}`,
  );
  const shown = payload === undefined ? [] : ["", payload];
  return [paint("bold", title), ...lines, ...logLines(log), ...shown, "", ...advice].join("\n");
}

function logLines({ entries, problem }: LetterLog): string[] {
  const [first] = entries;
  if (first === undefined) return ["", problem ?? "The log of that time has nothing of it"];
  return ["", paint("bold", `The log, from ${new Date(first.atMs).toISOString()} on`), ...timelineLines(entries)];
}

export interface ShowOptions {
  readonly place: Place;
  readonly queue: QueueName;
  readonly nowMs: number;
  /** As a text, if it is asked for. */
  readonly payload: string | undefined;
  /** Whether it is an event. */
  readonly isReadable: boolean;
  readonly log: LetterLog;
}

/** What the log says of a letter's event, or why it cannot be read. */
export interface LetterLog {
  readonly entries: readonly LogEntry[];
  readonly problem?: string;
}

const reasons: Readonly<Record<string, string>> = {
  nonRetryable: "the handler threw NonRetryableError",
  attemptsExhausted: "the last attempt failed",
  deadly: "its process died in five runs in a row",
  receivesExhausted: "no delivery came to a verdict",
  [movedBySqs]: "SQS moved it bare: no delivery of it came to a verdict, and its process wrote no reason",
};

function reasonText(reason: string, queue: QueueName): string {
  const meaning = queue === "dead" || reason === movedBySqs ? reasons[reason] : undefined;
  return meaning === undefined ? oneLine(reason, 100) : `${reason}: ${meaning}`;
}

/** `undefined` where there are no lanes. */
function laneText(name: string, { lanes: { list } }: Place): string | undefined {
  if (name === defaultLane) return list.length === 0 ? undefined : name;
  const lane = list.find((one) => one.name === name);
  if (lane === undefined) return `${oneLine(name, 40)}, which is no more: redrive gives it to the default lane`;
  return lane.order === undefined ? name : `${name}, in the order of ${oneLine(lane.order, 100)}`;
}

function causesText(causes: unknown): string {
  const list = Array.isArray(causes) ? causes : [];
  return list
    .map(fieldsOf)
    .map(({ errorClass, errorCode, at, message }) => [errorClass, errorCode, at, message])
    .map((parts) =>
      parts
        .flatMap((part) => stringOf(part) ?? [])
        .map((part) => oneLine(part, 300))
        .join("  "),
    )
    .join("\n");
}

function cleanText(text: string | null | undefined): string | undefined {
  return text == null ? undefined : oneLine(text, 128);
}

function contentRows(letter: Letter, time: (ms: number) => string): [string, string | undefined][] {
  const content = letter.content();
  if (content.kind === "unreadable")
    return [["content", `not an event that this release reads (${oneLine(content.why, 60)})`]];
  const { kind, schema, transport, tenant, createdAtMs, requestId } = content;
  const what = kind === "job" ? `deferred work of the ${content.of} (depth ${content.depth})` : "event";
  return [
    ["content", `${what}, schema ${schema}, by ${transport}`],
    ["tenant", cleanText(tenant)],
    ["made", createdAtMs === null || Number.isNaN(new Date(createdAtMs).getTime()) ? undefined : time(createdAtMs)],
    ["request id", cleanText(requestId)],
  ];
}

/** The payload without its secrets; what is no text, as hexadecimal digits. */
export function contentText(letter: Letter, encryptKeys: readonly EncryptKey[]): string {
  const content = letter.content();
  if (content.kind === "event") return payloadText(content.text);
  if (content.kind === "job")
    return payloadText(JSON.stringify({ payload: content.payload, [content.of]: content.event }));
  const bytes = receivedBytes(letter, encryptKeys);
  const readable = utf8(bytes);
  if (readable === undefined) return hexOf(bytes);
  try {
    return payloadText(readable);
  } catch {
    return oneLine(readable, 100_000);
  }
}

function hexOf(bytes: Buffer): string {
  const shown =
    bytes
      .subarray(0, maxHexBytes)
      .toString("hex")
      .match(/.{1,64}/g) ?? [];
  const rest = bytes.length - maxHexBytes;
  return [
    ...shown.map((line) => line.replaceAll(/(..)(?=.)/g, "$1 ")),
    ...(rest > 0 ? [`… and ${rest} bytes`] : []),
  ].join("\n");
}

/** A step of a run on this machine, with the error's place in the project. */
export function entryText(entry: TraceEntry, root: string): string {
  const { error } = entry;
  const detail = error instanceof Error ? (error.stack ?? String(error)) : String(error);
  const shown = { root, engineFolder: join(engineRoot, "lib"), sourceOf: () => undefined };
  const details = error === undefined ? [] : failureLines(detail, shown);
  const line = toLine(entry, describeError);
  return [headLine(line, { now: new Date(), isCallback: false, hasDetails: details.length > 0 }), ...details].join(
    "\n",
  );
}

/** What would have been sent and deferred, and what the worker would make of the run. */
export function runLines(given: Omit<RunReport, "lines"> & { isSent: boolean }): string[] {
  const { verdict, reason, delaySeconds, ended, seconds, calls, deferred, isSent } = given;
  const sent = calls.flatMap(({ method, path, body, isKnown }) => [
    `${paint("magenta", "would send")}  ${method} ${oneLine(path, 500)}${isKnown ? "" : "  (not simulated: answered with success, without data)"}`,
    ...(body === undefined || body === "" ? [] : indented(bodyText(body))),
  ]);
  const later = deferred.flatMap(({ payload, delaySeconds: seconds }) => [
    `${paint("magenta", "would defer")} to ${seconds} s later`,
    ...indented(payloadText(JSON.stringify(payload) ?? "null")),
  ]);
  const after = delaySeconds === undefined ? "" : `, after ${delaySeconds} s`;
  const meaning = {
    done: "done: redrive the letter, or drop it",
    again: `it fails, and would be tried again${after}`,
    dead: `it fails for good (${reason})`,
    unhandled: "there is no handler of this type: it would be completed as unhandled",
    ended: `it ends the process (${ended})`,
    blocked: `it blocks the process, which was ended after ${seconds} s: it loops, or waits without await`,
  }[verdict];
  return [
    ...sent,
    ...later,
    `${paint("bold", "Verdict")}     ${meaning}`,
    ...(isSent ? ["What it called was really called"] : []),
  ];
}

function indented(text: string): string[] {
  return text.split("\n").map((line) => `            ${line}`);
}

function bodyText(body: string): string {
  try {
    return payloadText(body);
  } catch {
    return oneLine(body);
  }
}
