import { basename } from "node:path";
import { paint } from "../paint.ts";

/** One fault, where it is, and what to do about it. */
export interface Finding {
  readonly part: "files" | "types" | "loading" | "config" | "settings" | "bundle" | "engine" | "deployment";
  /** Relative to the project's folder, with `/`. Of a deployment: where it is set, or what it is about. */
  readonly file: string;
  readonly line?: number | undefined;
  readonly column?: number | undefined;
  /** A sentence, which ends with what to do. */
  readonly message: string;
  /** What the file printed while it was loaded. */
  readonly output?: string | undefined;
  /** Whether the handlers of the file cannot run as it is. */
  readonly isBroken?: boolean | undefined;
  /** Whether it stops nothing. */
  readonly isWarning?: boolean | undefined;
  /** What AWS answered, where it did not let that be checked. */
  readonly unchecked?: unknown;
}

/** `functions/events/x.ts:12:7  its sentence`. */
export function findingLine({ file, line, column, message, output }: Finding): string {
  const place = [file, line, line === undefined ? undefined : column].filter((part) => part !== undefined).join(":");
  const printed = output === undefined ? "" : `\n    It printed: ${output.trimEnd().replaceAll("\n", "\n    ")}`;
  return `${place}  ${message.replaceAll("\n", "\n    ")}${printed}`;
}

/** Whether the compiler only repeats, at a list of handler files, what another finding says of the file that it loads. */
export function isRepeated({ part, file, message }: Finding, others: readonly Finding[]): boolean {
  const [, kind] = /^functions\/(events|callbacks)\.gen\.ts$/.exec(file) ?? [];
  if (part !== "types" || kind === undefined) return false;
  return others.some((other) => {
    const name = basename(other.file, ".ts");
    const isOfHandler = other.part !== "types" && other.file === `functions/${kind}/${name}.ts`;
    return isOfHandler && [`/${name}.ts"`, `'${name}'`, `"${name}"`].some((quoted) => message.includes(quoted));
  });
}

/**
 * Sorts by file and place, each fault once: where the compiler says why a file cannot be loaded, the failure to load it is
 * left out, and so is what {@link isRepeated}.
 */
export function sorted(findings: readonly Finding[]): Finding[] {
  const explained = new Set(
    findings.filter(({ part, isBroken }) => part === "types" && isBroken).map(({ file }) => file),
  );
  return findings
    .filter((each) => (each.part !== "loading" || !explained.has(each.file)) && !isRepeated(each, findings))
    .sort((a, b) => Number(a.file > b.file) - Number(a.file < b.file) || (a.line ?? 0) - (b.line ?? 0));
}

/** The findings that are no warnings. */
export function faultsAmong(findings: readonly Finding[]): Finding[] {
  return findings.filter(({ isWarning }) => isWarning !== true);
}

/** Why a command does not do its task (`build`), with a line for each fault. */
export function refusal(task: string, findings: readonly Finding[]): string {
  return [`Cannot ${task}. Fix this first:`, ...sorted(findings).map(faultLine)].join("\n");
}

export function faultLine(finding: Finding): string {
  const sign = finding.isWarning === true ? paint("yellow", "!") : paint("red", "✖");
  return `${sign} ${findingLine(finding)}`;
}
