import { styleText } from "node:util";
import { oldCardType } from "../../feishu/classify.ts";
import { fallback } from "../../handling/fallback.ts";
import type { ClientView } from "../../simulator/platform/client-view.ts";
import type { PushResult } from "../../simulator/platform/push.ts";
import { oneLine } from "../command.ts";
import { logText } from "../desk/timeline.ts";
import { paint } from "../paint.ts";
import type { LogEntry } from "../state/recent.ts";
import type { Target } from "../state/target.ts";

/** The outcome of one push. */
export interface Outcome {
  readonly type: string;
  readonly id: string;
  readonly url: string;
  readonly result: PushResult;
  /** Whether the answer is the one that the command's options promise. */
  readonly isOk: boolean;
  readonly note: string | undefined;
  /** What the client shows for a callback's answer. */
  readonly view?: ClientView;
  /** The number of this push of the event, and the delay before the next if it failed; `null` after the last. */
  readonly retry?: { readonly number: number; readonly againMs: number | null } | undefined;
}

/** An outcome for scripts, to be printed as JSON. */
export function facts({ type, id, result, isOk, note, view, retry }: Outcome): object {
  const { status, ms, delivered, body } = result;
  return { type, id, attempt: retry?.number, status, ms, delivered, ok: isOk, note, view, body };
}

/**
 * An outcome for a person: `200 in 12 ms  im.message.receive_v1  id 3f1d…  {}`
 * @param log What the local runtime's log has of what went wrong.
 */
export function line(outcome: Outcome, log: readonly LogEntry[] = []): string {
  const { type, id, result, isOk, note, view, retry } = outcome;
  const { status } = result;
  const cause = view?.code == null ? note : `the client shows error ${view.code}: ${note}`;
  const parts = [
    `${paint(isOk ? "green" : "red", String(status ?? "none"))} in ${Math.round(result.ms)} ms`,
    paint("bold", oneLine(type)),
    id === "" ? undefined : `id ${oneLine(id, 100)}`,
    shown(view) ?? (result.body === "" ? undefined : oneLine(result.body)),
    cause === undefined || cause === `answered ${status}` ? undefined : paint(isOk ? "green" : "red", cause),
    retry === undefined ? undefined : paint("dim", retryText(retry, isOk)),
  ];
  const text = parts.filter((part) => part !== undefined).join("  ");
  const next = advice(outcome, log);
  return [text, ...log.map((entry) => logText(entry).text), ...(next === undefined ? [] : [paint("dim", next)])].join(
    "\n",
  );
}

/** What to look at after an unwanted answer. */
function advice(
  { type, result: { status, body }, isOk, view, retry }: Outcome,
  log: readonly LogEntry[] = [],
): string | undefined {
  if (log.some(({ line: { reason } }) => reason === "value-unsigned")) {
    return 'Or click in "npm run chat", where a card has the values that the bot signed';
  }
  if (log.length === 0 && view?.toast !== undefined && body === JSON.stringify(fallback(type, "failed"))) {
    return "The receiver's log says why";
  }
  if (isOk) return undefined;
  if (status === 503 && retry === undefined) return "Unavailable. The receiver's log says why";
  if (status !== 401) return undefined;
  return type === oldCardType
    ? "Refused. Check that LEGACY_CARD_CALLBACK is true at the receiver, and that VERIFICATION_TOKEN and APP_ID are the receiver's"
    : "Refused. Check that ENCRYPT_KEY, VERIFICATION_TOKEN and APP_ID are the receiver's";
}

/** What the client shows of an answer, like `toast success "Approved", card raw`. */
function shown(view: ClientView | undefined): string | undefined {
  const { toast, card, title } = view ?? {};
  const parts = [
    toast === undefined ? [] : [`toast ${toast.type === null ? "" : `${toast.type} `}"${oneLine(toast.text)}"`],
    title === undefined ? [] : [`preview "${oneLine(title)}"`],
    card === undefined ? [] : [`card ${card}`],
  ].flat();
  return parts.length === 0 ? undefined : parts.join(", ");
}

function retryText({ number, againMs }: { number: number; againMs: number | null }, isOk: boolean): string {
  if (isOk) return `push ${number}`;
  return againMs === null ? `push ${number}, given up` : `push ${number}, again in ${duration(againMs)}`;
}

/** `15 s`, `5 min`, `6 h` */
export function duration(ms: number): string {
  if (ms < 60_000) return `${ms / 1000} s`;
  return ms < 3_600_000 ? `${ms / 60_000} min` : `${ms / 3_600_000} h`;
}

export function summary(outcomes: readonly Outcome[]) {
  const statuses = new Map<string, number>();
  for (const { result } of outcomes) {
    const name = result.status === null ? "none" : String(result.status);
    statuses.set(name, (statuses.get(name) ?? 0) + 1);
  }
  const times = outcomes.flatMap(({ result }) => (result.status === null ? [] : [result.ms])).sort((a, b) => a - b);
  const at = (share: number) => times[Math.max(0, Math.ceil(share * times.length) - 1)] ?? null;
  return {
    sent: outcomes.length,
    ok: outcomes.filter(({ isOk }) => isOk).length,
    statuses: Object.fromEntries([...statuses].sort()),
    ackMs: { min: at(0), median: at(0.5), p99: at(0.99), max: at(1) },
  };
}

/** @param givenUp The ids of the events that were given up. */
export function summaryText(outcomes: readonly Outcome[], givenUp: readonly string[]): string {
  const { sent, ok, statuses, ackMs } = summary(outcomes);
  const counts = Object.entries(statuses).map(([status, n]) => `${n} × ${status === "none" ? "no answer" : status}`);
  const notes = new Set(outcomes.flatMap(({ isOk, note }) => (isOk || note === undefined ? [] : [note])));
  for (const next of outcomes.map((outcome) => advice(outcome))) if (next !== undefined) notes.add(next);
  const shownMs = (ms: number | null) => (ms === null ? "–" : `${Math.round(ms)} ms`);
  return [
    `${sent} sent: ${paint(ok === sent ? "green" : "red", counts.join(", "))}`,
    ...[...notes].map((note) => `  ${note}`),
    ...(givenUp.length === 0 ? [] : [`${givenUp.length} given up: ${oneLine(givenUp.join(" "))}`]),
    `ack min ${shownMs(ackMs.min)}, median ${shownMs(ackMs.median)}, p99 ${shownMs(ackMs.p99)}, max ${shownMs(ackMs.max)}`,
  ].join("\n");
}

export function unreachableText({ url, result: { problem } }: Outcome, { ifDown }: Target): string {
  return `Cannot reach ${url}: ${problem}. ${ifDown}`;
}

const warned = new Set<string>();

/** Prints each warning once, however many pushes it concerns. */
export function warn(text: string): void {
  if (warned.has(text)) return;
  warned.add(text);
  console.error(styleText("yellow", `Warning: ${oneLine(text)}`, { stream: process.stderr }));
}
