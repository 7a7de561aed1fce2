import { type Command, InvalidArgumentError, Option } from "commander";
import type { Filters, QueueName } from "./letters.ts";
import { type PlaceOptions, placed } from "./place.ts";

export interface CommonOptions extends PlaceOptions {
  readonly queue: QueueName;
  readonly json?: boolean;
}

export interface FilterOptions {
  readonly type?: string;
  readonly lane?: string;
  readonly reason?: string;
  readonly app?: string;
  readonly fingerprint?: string;
  readonly since?: number;
  readonly until?: number;
}

export function common(command: Command): Command {
  return placed(command)
    .addOption(new Option("--queue <queue>", "which letters").choices(["dead", "quarantine"]).default("dead"))
    .option("--json", "print one JSON object");
}

export function filtered(command: Command): Command {
  return command
    .option("--type <type>", "only events of this type")
    .option("--lane <lane>", "only those that died in this lane, or in the default one")
    .option("--reason <reason>", "only those that died for this reason")
    .option("--fingerprint <fingerprint>", "only those of this fault")
    .option("--app <id>", "only those of this app")
    .option(
      "--since <time>",
      "only those that died since then: 90s, 30min, 2h, 3d ago, or 2026-01-31T12:00:00Z",
      timeOf,
    )
    .option("--until <time>", "only those that died before then", timeOf);
}

/** An option's time in epoch milliseconds: an ISO time, or how long ago. */
export function timeOf(text: string): number {
  const [, count, unit = ""] = /^(\d{1,6})(s|min|h|d)$/.exec(text) ?? [];
  const unitMs = { s: 1_000, min: 60_000, h: 3_600_000, d: 86_400_000 }[unit];
  if (count !== undefined && unitMs !== undefined) return Date.now() - Number(count) * unitMs;
  const ms = /^\d{4}-\d\d-\d\d/.test(text) ? Date.parse(text) : Number.NaN;
  if (!Number.isNaN(ms)) return ms;
  throw new InvalidArgumentError("It is a time such as 30min, 2h, 3d or 2026-01-31T12:00:00Z.");
}

export function filtersOf({ since, until, ...filters }: FilterOptions): Filters {
  const { type, lane, reason, app, fingerprint } = filters;
  return { type, lane, reason, app, fingerprint, sinceMs: since, untilMs: until };
}

/** `--since`, by default so long ago. */
export function sinceOption(description: string, ago: string): Option {
  return new Option("--since <time>", description).argParser(timeOf).default(timeOf(ago), ago);
}
