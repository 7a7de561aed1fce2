import { oneLine } from "../command.ts";
import { paint } from "../paint.ts";
import { defaultLane, type Group, groupsOf, type Letter, type QueueName } from "./letters.ts";
import type { Place } from "./place.ts";

/** More letters than these are shown by groups alone. */
const maxShown = 20;

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
  { place, queue, nowMs, seen, total }: { place: Place; queue: QueueName; nowMs: number; seen: number; total: number },
): string {
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
  if (id === undefined || !/^[\w:#.-]{1,128}$/.test(id)) return messageId;
  // A shell takes what follows a # for a comment.
  return id.includes("#") ? `'${id}'` : id;
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

export function errorText({ error: { errorClass, errorCode, at } }: Letter): string {
  return [errorClass, errorCode, at]
    .flatMap((part) => (part === undefined ? [] : [oneLine(String(part), 200)]))
    .join("  ");
}
