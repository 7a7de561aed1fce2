import { styleText } from "node:util";
import type { Entry } from "../../simulator/chat/journal.ts";
import { levelOf } from "../../trace/log.ts";
import { botLine, entryFacts } from "../chat/lines.ts";
import { type Checked, resultLines } from "../check/check.ts";
import type { Finding } from "../check/finding.ts";
import { humanLine, welcome } from "./render.ts";
import type { Change } from "./watch.ts";

/** Severity of the levels. */
export const rank = { debug: 0, info: 1, warn: 2, error: 3 };

export interface CheckedHandlers extends Handlers {
  readonly changes?: readonly Change[];
  readonly checked: Checked;
  /** The files whose last good version runs. */
  readonly kept?: readonly string[];
}

interface Handlers {
  readonly handlers: readonly string[];
  readonly callbacks: readonly string[];
}

export interface Started extends Handlers {
  readonly url: string;
  readonly callbackUrl: string;
  readonly services: object;
  /** The simulated Open API; `undefined` with the keys of a real app. */
  readonly openApi: string | undefined;
  readonly stateFolder: string;
  /** The state folder, relative to the working directory. */
  readonly shownState: string;
  readonly hasLongConnection: boolean;
}

/** What `npm start` prints: text for a person, or JSON lines. */
export function createOutput(isJson: boolean) {
  const level = rank[levelOf(process.env["LOG_LEVEL"])];
  const print = (text: string) => void process.stdout.write(`${text}\n`);
  const printFacts = (facts: object) => print(JSON.stringify(facts));
  const paint = (style: "yellow" | "dim", text: string) => styleText(style, text, { stream: process.stdout });

  const notice = (message: string) => {
    if (isJson) printFacts({ notice: message });
    else print(paint("yellow", `! ${message}`));
  };
  const noticed = new Set<string>();

  return {
    notice,
    noticeOnce(message: string): void {
      if (!noticed.has(message)) notice(message);
      noticed.add(message);
    },
    /** Prints what a bot does. */
    entry(entry: Entry): void {
      const line = isJson ? entryFacts(entry) : botLine(entry, new Date());
      if (line !== undefined) print(line);
    },
    /** Prints a trace entry of a function, unless LOG_LEVEL excludes it. */
    line(name: string, line: Record<string, unknown>, detail: string | undefined): void {
      if (rank[line["level"] as keyof typeof rank] < level) return;
      if (isJson) printFacts(line);
      else print(humanLine(line, detail, { now: new Date(), isCallback: name !== "worker" }));
    },
    started({ services, stateFolder, shownState, hasLongConnection, ...shown }: Started): void {
      const { url, callbackUrl, openApi, handlers, callbacks } = shown;
      const facts = { url, callbackUrl, openApi: openApi ?? null, services, state: stateFolder, handlers, callbacks };
      if (isJson) printFacts({ ready: true, ...facts });
      else print(welcome({ ...shown, state: shownState, hasLongConnection }));
    },
    /** The handlers were loaded, at the start or after changes. */
    checked({ changes = [], checked, kept = [], ...names }: CheckedHandlers): void {
      const { findings } = checked;
      if (isJson) {
        const paths = changes.map(({ path }) => path);
        if (paths.length > 0) printFacts({ reloaded: paths[0], changes, ...names, findings, lastGood: kept });
        else if (findings.length > 0) printFacts({ findings });
        return;
      }
      for (const { path, kind } of changes) print(paint("dim", `~ ${path} ${kind}`));
      for (const line of resultLines(checked)) print(line);
      for (const path of kept)
        print(paint("yellow", `! ${path}: its last good version goes on until you save a good one`));
    },
    /** What the compiler says, which takes longer. */
    compiled(findings: readonly Finding[]): void {
      if (findings.length === 0) return;
      if (isJson) printFacts({ findings });
      else for (const line of resultLines({ handlers: 0, findings })) print(line);
    },
    stopping(): void {
      if (!isJson) print("Stopping: what is running may finish; what is queued stays for the next start.");
    },
  };
}
