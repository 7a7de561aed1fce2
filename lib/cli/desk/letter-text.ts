import { utf8 } from "../../feishu/cipher.ts";
import { fieldsOf, stringOf } from "../../feishu/json.ts";
import type { EncryptKey } from "../../feishu/keys.ts";
import { oneLine } from "../command.ts";
import { paint } from "../paint.ts";
import { payloadText } from "../start/payloads.ts";
import type { LogEntry } from "../state/recent.ts";
import { appOf, defaultLane, type Letter, movedBySqs, type QueueName, receivedBytes } from "./letters.ts";
import type { Place } from "./place.ts";
import { ago, errorText, nameOf } from "./text.ts";
import { timelineLines } from "./timeline.ts";

/** Bytes that are no text are shown up to here. */
const maxHexBytes = 4_096;

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
  const lane = list.find((each) => each.name === name);
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
