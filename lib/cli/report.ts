import { styleText } from "node:util";
import type { PushResult } from "../simulator/push.ts";
import { oneLine } from "./command.ts";

/** One push to be: its text, and what it is called on the screen. */
export interface Shot {
  readonly text: string;
  readonly type: string;
  readonly id: string;
}

export interface Outcome extends Omit<Shot, "text"> {
  readonly result: PushResult;
  /** Whether it was answered as the options promise. */
  readonly isOk: boolean;
  readonly note: string | undefined;
}

/** An outcome for scripts. */
export function facts({ type, id, result, isOk, note }: Outcome): object {
  const { status, ms, delivered, body } = result;
  return { type, id, status, ms, delivered, ok: isOk, ...(note === undefined ? {} : { note }), body };
}

/** An outcome for a person: `200 in 12 ms  im.message.receive_v1  id 3f1d…  {}` */
export function line({ type, id, result, isOk, note }: Outcome): string {
  const parts = [
    `${paint(isOk ? "green" : "red", String(result.status ?? "none"))} in ${Math.round(result.ms)} ms`,
    paint("bold", oneLine(type)),
    id === "" ? undefined : `id ${oneLine(id, 100)}`,
    result.body === "" ? undefined : oneLine(result.body),
    note === undefined || note === `answered ${result.status}` ? undefined : paint(isOk ? "green" : "red", note),
  ];
  const shown = parts.filter((part) => part !== undefined).join("  ");
  if (isOk || result.status !== 401) return shown;
  return `${shown}\n${paint("dim", "Refused. Check that ENCRYPT_KEY, VERIFICATION_TOKEN and APP_ID are the receiver's")}`;
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
    statuses: Object.fromEntries([...statuses].sort(([a], [b]) => (a < b ? -1 : 1))),
    ackMs: { min: at(0), median: at(0.5), p99: at(0.99), max: at(1) },
  };
}

export function summaryText(outcomes: readonly Outcome[]): string {
  const { sent, ok, statuses, ackMs } = summary(outcomes);
  const counts = Object.entries(statuses).map(([status, n]) => `${n} × ${status === "none" ? "no answer" : status}`);
  const notes = new Set(outcomes.flatMap(({ isOk, note }) => (isOk || note === undefined ? [] : [note])));
  const shownMs = (ms: number | null) => (ms === null ? "–" : `${Math.round(ms)} ms`);
  return [
    `${sent} sent: ${paint(ok === sent ? "green" : "red", counts.join(", "))}`,
    ...[...notes].map((note) => `  ${note}`),
    `ack min ${shownMs(ackMs.min)}, median ${shownMs(ackMs.median)}, p99 ${shownMs(ackMs.p99)}, max ${shownMs(ackMs.max)}`,
  ].join("\n");
}

function paint(style: Parameters<typeof styleText>[0], text: string): string {
  return styleText(style, text, { stream: process.stdout });
}
