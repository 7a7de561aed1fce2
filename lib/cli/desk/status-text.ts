import { oneLine } from "../command.ts";
import { paint } from "../paint.ts";
import type { LocalStatus } from "./local-status.ts";
import type { Place } from "./place.ts";
import { type DeadGroups, isKnown, type KeysState, type Part, type QueueState, type StageStatus } from "./status.ts";
import { ago } from "./text.ts";

interface Given {
  readonly place: Place;
  readonly nowMs: number;
}

/** So many groups of dead letters fit on a screen. */
const mostGroups = 5;

export function stageText(status: StageStatus, { place, nowMs }: Given): string {
  const { stack, longConnection, functions, addresses, queues, runs, dead, keys } = status;
  const since = (ms: number) => ago(ms, nowMs);
  const release = stack.release === undefined ? "" : `, release ${stack.release}`;
  return [
    `${paint("bold", place.name)}: ${stack.name}, ${stack.status}, deployed ${since(stack.changedAtMs)}${release}, app ${stack.app ?? "unknown"}`,
    ...rows("Code", functions, (list) =>
      list.map(({ name, sha256, changedAtMs }) => `${name}  sha256 ${sha256.slice(0, 12)}…  ${since(changedAtMs)}`),
    ),
    ...rows("Address", addresses, (list) => (list.length === 0 ? ["none"] : list)),
    ...rows("Connection", longConnection, (stack) =>
      stack === null ? [] : [`long connection, ${stack.status}, deployed ${since(stack.changedAtMs)}`],
    ),
    ...rows("Queues", queues, queueLines),
    ...rows("Last hour", runs, ({ started = 0, others = 0, ...ended }) => [
      [`${started} runs: ${others} done or told to wait`, ...countsOf(ended)].join(", "),
    ]),
    ...rows("Dead", dead, (groups) => deadLines(groups, { place, nowMs })),
    ...rows("Keys", keys, (found) => keyLines(found, nowMs)),
  ].join("\n");
}

export function localText(status: LocalStatus, { place, nowMs }: Given): string {
  const { isRunning, app, addresses, codeChangedAtMs, queues, events, dead } = status;
  const runs = isRunning ? "npm start runs" : "npm start does not run";
  return [
    `${paint("bold", place.name)}: ${runs}${app === undefined ? "" : `, app ${app}`}`,
    ...rows("Code", codeChangedAtMs, (ms) => [ms === 0 ? "none in this folder" : `changed ${ago(ms, nowMs)}`]),
    ...rows("Address", addresses, (list) => list),
    ...rows("Queues", queues, (list) => (list.length === 0 ? ["none yet"] : queueLines(list))),
    ...rows("Last hour", events, (phases) =>
      phases === null ? [] : [`events in the ledger: ${countsOf(phases).join(", ") || "none"}`],
    ),
    ...rows("Dead", dead, (groups) => deadLines(groups, { place, nowMs })),
  ].join("\n");
}

/** A label before the first line. */
function rows<T>(label: string, part: Part<T>, linesOf: (value: T) => readonly string[]): string[] {
  const lines = isKnown(part) ? linesOf(part) : [paint("red", `not known: ${part.problem}`)];
  return lines.map((line, index) => `  ${(index === 0 ? label : "").padEnd(11)}${oneLine(line, 400)}`);
}

function countsOf(counts: Readonly<Record<string, number>>): string[] {
  return Object.entries(counts).flatMap(([name, count]) => (count === 0 ? [] : [`${count} ${name}`]));
}

function queueLines(queues: readonly QueueState[]): string[] {
  const width = Math.max(...queues.map(({ name }) => name.length));
  return queues.map(({ name, waiting, running, delayed, oldestSeconds }) => {
    const age = oldestSeconds === undefined || oldestSeconds === 0 ? "" : `, the oldest for ${lasted(oldestSeconds)}`;
    const more = countsOf({ "being handled": running, delayed }).map((text) => `, ${text}`);
    return `${name.padEnd(width)}  ${waiting} waiting${more.join("")}${age}`;
  });
}

function lasted(seconds: number): string {
  return ago(0, seconds * 1000).replace(/ ago$/, "");
}

function deadLines({ total, seen, groups }: DeadGroups, { place, nowMs }: Given): string[] {
  if (total === 0) return ["none"];
  const unseen = seen < total ? ` (groups of the ${seen} that were looked at)` : "";
  const lines = groups
    .slice(0, mostGroups)
    .map(({ fingerprint, count, reason, type, errorClass, at, lastDiedAtMs }) =>
      [fingerprint, `${count} ×`, reason, type, errorClass, at, ago(lastDiedAtMs, nowMs)]
        .filter((text) => text !== undefined)
        .join("  "),
    );
  const more = groups.length > mostGroups ? [`and ${groups.length - mostGroups} groups more`] : [];
  return [`${total}${unseen}`, ...lines, ...more, `npm run dead -- list${place.args}`];
}

function keyLines({ parameter, version, storedAtMs, hasAppSecret, ...lists }: KeysState, nowMs: number): string[] {
  const stored = storedAtMs === undefined ? "" : `, stored ${ago(storedAtMs, nowMs)}`;
  const ends = (label: string, list: KeysState["encryptKeys"]) => {
    const texts = list.map(({ notAfterMs }) => {
      if (notAfterMs === null) return "current";
      return `${notAfterMs > nowMs ? "another until" : "one that ended at"} ${new Date(notAfterMs).toISOString()}`;
    });
    return `${label}: ${texts.join(", ")}`;
  };
  return [
    `${parameter}, version ${version}${stored}, ${hasAppSecret ? "with" : "without"} the app secret`,
    ends("Encrypt Key", lists.encryptKeys),
    ends("Verification Token", lists.verificationTokens),
  ];
}
