import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, globSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";
import { styleText } from "node:util";
import { generate } from "../lib/cli/handlers/generate.ts";
import { pageProjects } from "./support/pages.ts";
import { isHandlerTest, problemOf, runFiles } from "./support/runner.ts";
import { codeIsJudged, tscArguments } from "./support/types.ts";

// `npm test`, the whole check: format, lint and types are looked at while the tests run, and every part is run to
// its end, so that one run names all that is wrong.
//
// Test files share a few processes, where what they import is loaded once. A file whose first line is `// alone: <why>`
// has a process of its own; so has one with `// first: <why>`, which takes long and is begun before the others. Those with
// the same `// in turn: <why>` are run by one of the shared processes.

const root = resolve(import.meta.dirname, "..");

interface Part {
  readonly name: string;
  readonly isOk: boolean;
  readonly seconds: string;
  /** What it printed, if it says what is wrong. */
  readonly output?: string;
}

/** The script behind a package's command: run by this Node, without a shell. */
function bin(name: string, of: string): string {
  const file = createRequire(import.meta.url).resolve(`${of}/package.json`);
  const { bin } = createRequire(file)(file) as { bin: Readonly<Record<string, string>> };
  return join(dirname(file), bin[name] ?? "");
}

/** Each part says by its exit code whether all is well. */
async function part(name: string, script: string, ...args: readonly string[]): Promise<Part> {
  const startMs = performance.now();
  const child = spawn(process.execPath, [script, ...args], { cwd: root, stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text: string) => {
      output += text;
    });
  }
  const [code] = (await once(child, "close")) as [number | null];
  const isOk = code === 0;
  const seconds = secondsSince(startMs);
  console.log(`${mark(isOk)} ${name} ${paint("dim", seconds)}`);
  return { name, isOk, seconds, output };
}

/** Before a first run, compiles what the tests share. Without that, or when it fails, they only take longer. */
async function compileOnce(cache: string): Promise<void> {
  const done = join(cache, `compiled-${process.version}`);
  if (existsSync(done)) return;
  console.log("Compiling what the tests share, once.");
  const script = join(root, "test/support/compile.ts");
  const child = spawn(process.execPath, [script], { stdio: ["ignore", "ignore", "inherit"] });
  const [code] = (await once(child, "close")) as [number | null];
  if (code !== 0) return;
  mkdirSync(cache, { recursive: true });
  writeFileSync(done, "");
}

async function tests(asked: readonly string[], cache: string): Promise<Part> {
  const startMs = performance.now();
  if (asked.length === 0) await compileOnce(cache);
  const files = ["test/**/*.test.ts", "functions/*/**/*.test.ts"].flatMap((glob) =>
    globSync(glob, { cwd: root }).sort(),
  );
  const marked = Object.groupBy(files, (file) => {
    const [mark = file] = /^\/\/ (first|alone|in turn: .+)/.exec(readFileSync(join(root, file), "utf8")) ?? [];
    return mark;
  });
  const { "// first": first = [], "// alone": alone = [], ...shared } = marked;
  const plan = { first, alone, together: Object.values(shared).map((list = []) => list) };
  const isWhole = asked.length === 0;
  const isOk = await runFiles({ root, ...(isWhole ? plan : { first: [], alone: asked, together: [] }), isWhole });
  return { name: "tests", isOk, seconds: secondsSince(startMs) };
}

function secondsSince(startMs: number): string {
  return `${((performance.now() - startMs) / 1000).toFixed(1)} s`;
}

function paint(style: "green" | "red" | "dim", text: string): string {
  return styleText(style, text, { stream: process.stdout });
}

function mark(isOk: boolean): string {
  return isOk ? paint("green", "✔") : paint("red", "✖");
}

// What one file has compiled need not be compiled by the next: the SDK, the embedded services, our own sources.
const cache = process.env["NODE_COMPILE_CACHE"] || join(root, "node_modules/.cache/larkpost");
process.env["NODE_COMPILE_CACHE"] = cache;
// esbuild and tsc are Go programs that live for seconds: a fifth of their time would go into collecting garbage.
process.env["GOGC"] ??= "400";
// The run takes memory for the first time millions of times, which costs most on a virtual machine. Where the C library is
// glibc, what it and Biome take is taken in pages of 2 MiB, and kept.
process.env["GLIBC_TUNABLES"] ??= ["hugetlb=1", "arena_max=1", `top_pad=${2 ** 24}`, `trim_threshold=${2 ** 30}`]
  .map((setting) => `glibc.malloc.${setting}`)
  .join(":");
process.env["_RJEM_MALLOC_CONF"] ??= "thp:always,dirty_decay_ms:-1";
const asked = process.argv.slice(2);
const problem = problemOf(root, asked);
if (problem !== undefined) {
  console.error(problem);
  process.exit(2);
}
// As `npm start` and `npm run build` do: whoever adds or deletes a handler file need not know of the lists.
const { changed } = await generate({ root });
if (changed.length > 0) console.log(`Wrote ${changed.join(", ")}.`);
// Whoever tests handlers has changed nothing that the others look at.
const ofHandlers = isHandlerTest(root, asked);
// What is wrong with pages that make no project is told by their test.
const pages = ofHandlers ? undefined : await pageProjects().catch(() => undefined);
if (pages !== undefined) process.env[codeIsJudged] = "1";
const tsc = tscArguments(ofHandlers ? ["functions"] : ["types", "functions"], pages && [pages.folder]);
const colors = `--colors=${process.stdout.isTTY ? "force" : "off"}`;
// One thread, since several would wait for each other.
const biome = [bin("biome", "@biomejs/biome"), "ci", "--error-on-warnings", "--threads=1", colors, "."] as const;
const parts = await Promise.all([
  tests(asked, cache),
  part(ofHandlers ? "types of functions" : "types", bin("tsc", "typescript"), ...tsc).finally(() => pages?.remove()),
  ...(ofHandlers ? [] : [part("format and lint", ...biome)]),
]);
for (const { name, isOk, output } of parts) {
  if (!isOk && output !== undefined) console.log(`\n${paint("red", `✖ ${name}`)}\n${output.trimEnd()}`);
}
console.log();
for (const { name, isOk, seconds } of parts) console.log(`${mark(isOk)} ${name} ${paint("dim", `(${seconds})`)}`);
process.exitCode = parts.every(({ isOk }) => isOk) ? 0 : 1;
