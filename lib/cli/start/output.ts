import { join } from "node:path";
import { systemClock } from "../../clock.ts";
import { isWorker } from "../../local/worker.ts";
import type { Entry } from "../../simulator/chat/journal.ts";
import { levelOf } from "../../trace/log.ts";
import { botLine, entryFacts } from "../chat/lines.ts";
import { type Checked, resultLines } from "../check/check.ts";
import type { Finding } from "../check/finding.ts";
import { paint } from "../paint.ts";
import { engineRoot, stateArgs } from "../project.ts";
import { parseExact } from "../send/payload.ts";
import { createBlocks } from "./blocks.ts";
import { failureLines, type SourceOf } from "./failure.ts";
import { type Payload, payloadText } from "./payloads.ts";
import { welcome } from "./render.ts";
import type { Change } from "./watch.ts";

/** Severity of the levels. */
export const rank = { debug: 0, info: 1, warn: 2, error: 3 };

interface CheckedHandlers extends Handlers {
  readonly changes?: readonly Change[];
  readonly checked: Checked;
  /** The files whose last good version runs. */
  readonly kept?: readonly string[];
}

interface Handlers {
  readonly handlers: readonly string[];
  readonly callbacks: readonly string[];
}

interface Started extends Handlers {
  readonly url: string;
  readonly callbackUrl: string;
  readonly services: object;
  /** The simulated Open API; `undefined` with the keys of a real app. */
  readonly openApi: string | undefined;
  readonly stateFolder: string;
  /** The state folder, relative to the working directory. */
  readonly shownState: string;
  readonly hasLongConnection: boolean;
  /** How many wait. */
  readonly deadLetters: number;
  /** Besides the default one. */
  readonly lanes: readonly string[];
}

/** What `npm start` prints: text for a person, or JSON lines. */
export function createOutput(options: { root: string; isJson: boolean; isQuiet: boolean; state: string }) {
  const { root, isJson, isQuiet, state } = options;
  const args = stateArgs(state);
  const level = rank[levelOf(process.env["LOG_LEVEL"])];
  const print = (text: string) => void process.stdout.write(`${text}\n`);
  const printFacts = (facts: object) => print(JSON.stringify(facts));
  const blocks = createBlocks({ print, isQuiet, clock: systemClock, showCommand: `npm run dead -- show${args}` });

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
      const line = isJson ? entryFacts(entry) : botLine(entry);
      if (line === undefined) return;
      if (isJson) print(line);
      else blocks.bot(line);
    },
    /**
     * Prints a trace entry of a function, unless LOG_LEVEL excludes it.
     * @param sourceOf The text of a file of the project as it was loaded.
     */
    line(name: string, line: Record<string, unknown>, detail: string | undefined, sourceOf: SourceOf): void {
      if (rank[line["level"] as keyof typeof rank] < level) return;
      if (isJson) {
        printFacts(line);
        return;
      }
      const isShown = detail !== undefined && line["stage"] !== "refused";
      const details = isShown ? failureLines(detail, { root, engineFolder: join(engineRoot, "lib"), sourceOf }) : [];
      blocks.line(line, details, !isWorker(name));
    },
    /** Prints what came, without secrets. */
    payload({ id, text }: Payload): void {
      const shown = payloadText(text);
      if (isJson) printFacts({ id, payload: parseExact(shown) });
      else blocks.payload(id, shown);
    },
    started({ services, stateFolder, shownState, hasLongConnection, deadLetters, ...shown }: Started): void {
      const { url, callbackUrl, openApi, handlers, callbacks } = shown;
      const facts = { url, callbackUrl, openApi: openApi ?? null, services, state: stateFolder, handlers, callbacks };
      if (isJson) printFacts({ ready: true, ...facts, deadLetters, lanes: shown.lanes });
      else print(welcome({ ...shown, deadLetters, stateArgs: args, state: shownState, hasLongConnection }));
    },
    /** What the simulated Feishu answers has changed. */
    changed(changes: readonly Change[]): void {
      if (isJson) printFacts({ reloaded: changes[0]?.path, changes });
      else for (const { path, kind } of changes) print(paint("dim", `~ ${path} ${kind}`));
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
    stop: blocks.stop,
  };
}
