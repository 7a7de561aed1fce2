import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, isAbsolute, join, relative, resolve, sep } from "node:path";
import { pipeline } from "node:stream/promises";
import { run, type TestsStream } from "node:test";
import { spec } from "node:test/reporters";
import { pathToFileURL } from "node:url";
import { styleText } from "node:util";
import { type Clock, systemClock } from "../../lib/clock.ts";

/** More than the cores that a small machine has: most files wait for something now and then. */
const concurrency = 5;
/** The file that a process of several test files starts with. */
const sharedEntry = join(import.meta.dirname, "together.ts");
const paint = (style: "green" | "red" | "dim", text: string) => styleText(style, text, { stream: process.stdout });

/** Whether these files, of which there must be one, are tests of handlers alone. */
export function isHandlerTest(root: string, files: readonly string[]): boolean {
  const folder = join(root, "functions") + sep;
  return files.length > 0 && files.every((file) => resolve(root, file).startsWith(folder));
}

/** Why these files cannot be tested. */
export function problemOf(root: string, files: readonly string[]): string | undefined {
  const absent = files.filter((file) => !existsSync(resolve(root, file)));
  if (absent.length > 0) {
    return `Cannot test ${absent.join(", ")}: there is no such file. Give its path from the project's folder`;
  }
  const file = files.find((one) => !one.endsWith(".test.ts"));
  if (file === undefined) return undefined;
  const beside = file.replace(/\.ts$/, ".test.ts");
  const advice =
    beside !== file && existsSync(resolve(root, beside)) ? `Did you mean ${beside}?` : "Its name ends with .test.ts";
  return `Cannot test ${file}: it is no test. ${advice}`;
}

/** Runs test files, prints each as it ends, then what failed and what took longest. */
export async function runFiles(options: {
  readonly root: string;
  /** In processes of their own, these before the others. */
  readonly first: readonly string[];
  readonly alone: readonly string[];
  /** In processes that they share. Files of one list are run by the same process. */
  readonly together: readonly (readonly string[])[];
  /** Each takes the next of those lists whenever it has done one, so that all of them end at about the same time. */
  readonly sharedProcesses?: number;
  /** Without it, each test is printed. */
  readonly isWhole: boolean;
  /** For one test, and for the import of a file that shares its process. What hangs is named, and the rest goes on. */
  readonly testLimitMs?: number;
  /** In which some test ends. Without one, something blocks its process, and the whole run is ended. */
  readonly silenceLimitMs?: number;
  /** Of the silence. */
  readonly clock?: Clock;
}): Promise<boolean> {
  const { root, first, alone, isWhole, sharedProcesses = 3 } = options;
  const { testLimitMs = 180_000, silenceLimitMs = 210_000, clock = systemClock } = options;
  const kept = join(root, "node_modules/.cache/larkpost/test-seconds.json");
  const seconds = new Map(Object.entries(isWhole ? readSeconds(kept) : {}));
  /** Before a first run, a longer file is expected to take longer. */
  const expected = (file: string) =>
    seconds.get(file) ?? (first.includes(file) ? 60 : sizeOf(join(root, file)) / 10_000);
  const longestFirst = (lists: readonly (readonly string[])[]) =>
    lists
      .map((files) => ({ files, expected: files.reduce((sum, file) => sum + expected(file), 0) }))
      .sort((a, b) => b.expected - a.expected)
      .map(({ files }) => files.map((file) => join(root, file)));
  const own = longestFirst([...first, ...alone].map((file) => [file])).flat();
  const together = longestFirst(options.together);
  const shared = Array.from({ length: Math.min(sharedProcesses, together.length) }, () => sharedEntry);
  // These start once every file with its own process has started, and take lists that nobody has taken.
  const late = together.length > shared.length ? shared.slice(0, Math.max(0, concurrency - shared.length)) : [];
  if (isWhole) {
    const counts = `${together.flat().length} test files share ${shared.length} processes, ${own.length} have one of their own`;
    console.log(`${counts}, ${concurrency} processes at a time.`);
  }
  const taken = mkdtempSync(join(tmpdir(), "larkpost-tests-"));
  process.env["TESTS_TOGETHER"] = JSON.stringify({ lists: together, taken, limitMs: testLimitMs });
  const stop = new AbortController();
  const events = run({
    files: [...shared, ...own, ...late],
    concurrency,
    cwd: root,
    execArgv: ["--import", pathToFileURL(join(import.meta.dirname, "test-process.ts")).href],
    timeout: testLimitMs,
    signal: stop.signal,
  });
  const nameOf = (file: string) => (file === sharedEntry ? "shared process" : relative(root, file));
  const { seconds: measured, complaints } = watch(events, { nameOf, isWhole, stop, silenceLimitMs, clock });
  const isOk = verdict(events);
  await pipeline(
    events,
    async function* (source: AsyncIterable<{ readonly type: string }>) {
      // Of a whole run the failures alone: what passed is told by the file.
      for await (const event of source) if (!isWhole || /^test:(?:fail|diagnostic)$/.test(event.type)) yield event;
    },
    new spec(),
    process.stdout,
    { end: false },
  );
  rmSync(taken, { recursive: true, force: true });
  for (const [file, text] of complaints) console.log(`\n${paint("red", `stderr of ${file}`)}\n${text.trimEnd()}`);
  if (isWhole) {
    const slowest = [...measured].sort(([, a], [, b]) => b - a);
    mkdirSync(dirname(kept), { recursive: true });
    writeFileSync(kept, JSON.stringify(Object.fromEntries(slowest)));
    const list = slowest.slice(0, 8).map(([file, took]) => `  ${took.toFixed(1).padStart(6)} s  ${file}`);
    console.log(["\nslowest files", ...list].join("\n"));
  }
  return isOk();
}

/** Prints each file as it ends, and measures it. A file of a shared process is a suite there. */
function watch(
  events: TestsStream,
  options: {
    readonly nameOf: (file: string) => string;
    readonly isWhole: boolean;
    readonly stop: AbortController;
    readonly silenceLimitMs: number;
    readonly clock: Clock;
  },
) {
  const { nameOf, isWhole, stop, silenceLimitMs, clock } = options;
  const seconds = new Map<string, number>();
  const failed = new Set<string>();
  /** What the processes wrote to stderr whose file failed. */
  const complaints = new Map<string, string>();
  /** Files and tests. A process that is blocked may not have told of its last test. */
  const running = new Map<string, string>();
  const onSilence = () => {
    const what = [...running.values()].join(", ");
    console.log(paint("red", `✖ nothing has ended for ${silenceLimitMs / 1000} s: ended, with ${what}`));
    stop.abort();
  };
  let endSilence = clock.after(silenceLimitMs, onSilence);
  events.on("test:dequeue", ({ name, file = "" }) => {
    running.set(`${file} ${name}`, name === file ? nameOf(file) : `${nameOf(file)}: ${name}`);
  });
  events.on("test:complete", ({ name, file = "", details }) => {
    endSilence();
    endSilence = clock.after(silenceLimitMs, onSilence);
    running.delete(`${file} ${name}`);
    const tookSeconds = details.duration_ms / 1000;
    const isFailed = details.error !== undefined;
    if (name === file) {
      if (file !== sharedEntry) seconds.set(nameOf(file), tookSeconds);
      if (isFailed) failed.add(file);
      const sign = isFailed ? paint("red", "✖") : paint("green", "✔");
      if (isWhole) console.log(`${sign} ${nameOf(file)} ${paint("dim", `${tookSeconds.toFixed(1)} s`)}`);
      return;
    }
    if (details.type === "suite" && file === sharedEntry && isAbsolute(name)) seconds.set(nameOf(name), tookSeconds);
    if (isFailed && isWhole && details.type !== "suite") console.log(`${paint("red", "✖")} ${nameOf(file)}: ${name}`);
  });
  // Told in the order of the files, so after the file has ended.
  events.on("test:stderr", ({ file, message }) => {
    if (isWhole && failed.has(file)) complaints.set(nameOf(file), (complaints.get(nameOf(file)) ?? "") + message);
  });
  events.once("end", () => endSilence());
  return { seconds, complaints };
}

function verdict(events: TestsStream): () => boolean {
  let isOk: boolean | undefined;
  events.on("test:fail", ({ skip, todo }) => {
    if (skip === undefined && todo === undefined) isOk = false;
  });
  events.on("test:summary", ({ file, success }) => {
    if (file === undefined) isOk = success && (isOk ?? true);
  });
  return () => isOk === true;
}

/** 0 for one that is not there: its process says so. */
function sizeOf(file: string): number {
  return statSync(file, { throwIfNoEntry: false })?.size ?? 0;
}

function readSeconds(file: string): Record<string, number> {
  try {
    return JSON.parse(readFileSync(file, "utf8")) as Record<string, number>;
  } catch {
    // No run has been before.
    return {};
  }
}
