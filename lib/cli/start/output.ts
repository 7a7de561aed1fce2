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

interface OutputOptions {
  readonly root: string;
  readonly isJson: boolean;
  readonly isQuiet: boolean;
  readonly state: string;
}

/** What `npm start` prints: text for a person, or JSON lines. */
export function createOutput(options: OutputOptions) {
  const level = rank[levelOf(process.env["LOG_LEVEL"])];
  const output = options.isJson ? jsonOutput() : textOutput(options);
  const noticed = new Set<string>();
  return {
    ...output,
    noticeOnce(message: string): void {
      if (!noticed.has(message)) output.notice(message);
      noticed.add(message);
    },
    /**
     * Prints a trace entry of a function, unless LOG_LEVEL excludes it.
     * @param sourceOf The text of a file of the project as it was loaded.
     */
    line(name: string, line: Record<string, unknown>, detail: string | undefined, sourceOf: SourceOf): void {
      if (rank[line["level"] as keyof typeof rank] < level) return;
      output.line(name, line, detail, sourceOf);
    },
  };
}

function print(text: string): void {
  process.stdout.write(`${text}\n`);
}

/** Text for a person. */
function textOutput({ root, isQuiet, state }: OutputOptions) {
  const args = stateArgs(state);
  const changed = (changes: readonly Change[]) => {
    for (const { path, kind } of changes) print(paint("dim", `~ ${path} ${kind}`));
  };
  const blocks = createBlocks({ print, isQuiet, clock: systemClock, showCommand: `npm run dead -- show${args}` });
  return {
    notice: (message: string): void => print(paint("yellow", `! ${message}`)),
    /** Prints what a bot does. */
    entry(entry: Entry): void {
      const line = botLine(entry);
      if (line !== undefined) blocks.bot(line);
    },
    line(name: string, line: Record<string, unknown>, detail: string | undefined, sourceOf: SourceOf): void {
      const isShown = detail !== undefined && line["stage"] !== "refused";
      const details = isShown ? failureLines(detail, { root, engineFolder: join(engineRoot, "lib"), sourceOf }) : [];
      blocks.line(line, details, !isWorker(name));
    },
    /** Prints what came, without secrets. */
    payload: ({ id, text }: Payload): void => blocks.payload(id, payloadText(text)),
    started: ({ shownState, ...started }: Started): void =>
      print(welcome({ ...started, stateArgs: args, state: shownState })),
    /** What the simulated Feishu answers has changed. */
    changed,
    /** The handlers were loaded, at the start or after changes. */
    checked({ changes = [], checked, kept = [] }: CheckedHandlers): void {
      changed(changes);
      for (const line of resultLines(checked)) print(line);
      for (const path of kept)
        print(paint("yellow", `! ${path}: its last good version goes on until you save a good one`));
    },
    /** What the compiler says, which takes longer. */
    compiled(findings: readonly Finding[]): void {
      if (findings.length === 0) return;
      for (const line of resultLines({ handlers: 0, findings })) print(line);
    },
    stopping: (): void => print("Stopping: what is running may finish; what is queued stays for the next start."),
    stop: blocks.stop,
  };
}

/** A JSON document a line. */
function jsonOutput(): ReturnType<typeof textOutput> {
  const printFacts = (facts: object) => print(JSON.stringify(facts));
  return {
    notice: (message) => printFacts({ notice: message }),
    entry(entry) {
      const line = entryFacts(entry);
      if (line !== undefined) print(line);
    },
    line: (_name, line) => printFacts(line),
    payload: ({ id, text }) => printFacts({ id, payload: parseExact(payloadText(text)) }),
    started({ stateFolder, openApi = null, ...started }) {
      const { url, callbackUrl, services, handlers, callbacks, deadLetters, lanes } = started;
      const facts = { url, callbackUrl, openApi, services, state: stateFolder, handlers, callbacks };
      printFacts({ ready: true, ...facts, deadLetters, lanes });
    },
    changed: (changes) => printFacts({ reloaded: changes[0]?.path, changes }),
    checked({ changes = [], checked: { findings }, kept = [], ...names }) {
      const [first] = changes;
      if (first !== undefined) printFacts({ reloaded: first.path, changes, ...names, findings, lastGood: kept });
      else if (findings.length > 0) printFacts({ findings });
    },
    compiled(findings) {
      if (findings.length > 0) printFacts({ findings });
    },
    stopping() {},
    stop() {},
  };
}
