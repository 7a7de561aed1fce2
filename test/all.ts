import { spawn } from "node:child_process";
import { once } from "node:events";
import { globSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";
import { finished } from "node:stream/promises";
import { run } from "node:test";
import { spec } from "node:test/reporters";
import { styleText } from "node:util";
import { generate } from "../lib/cli/handlers/generate.ts";

// `npm test`, the whole check: format, lint and types are looked at while the tests run, and every part is run to
// its end, so that one run names all that is wrong.

const root = resolve(import.meta.dirname, "..");
/** Files that take long, longest first: begun last, one of them would run alone at the end. The others follow by name. */
const first = [
  "durability",
  "faults",
  "local/runtime",
  "rows",
  "infra/template",
  "cli/start/start-long-connection",
  "long-connection/process",
  "functions/callback",
  "cli/deploy/package",
  "cli/handlers/new",
  "functions/webhook",
  "handling/worker",
];
/** Files that share no state: in one process, what they import is loaded once, for less than half the CPU. */
const together =
  /^test\/(?:feishu\/(?!old-card)|simulator\/(?!.*official)|cli\/(?:send\/payload|start\/render|chat\/session)|aws\/(?:signer|config)|handling\/dispatcher|long-connection\/heartbeat|open-api\/(?:tokens|client)|functions\/samples|testing\/|(?:public-surface|rooms|handler|message)\.)/;
/** More than the cores that a small machine has: most files wait for something now and then. */
const concurrency = 5;

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
async function part(name: string, script: string, args: readonly string[]): Promise<Part> {
  const startMs = performance.now();
  const child = spawn(process.execPath, [script, ...args], { cwd: root, stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text: string) => {
      output += text;
    });
  }
  const [code] = (await once(child, "close")) as [number | null];
  return { name, isOk: code === 0, seconds: secondsSince(startMs), output };
}

/** Runs the files, or all of them, and prints them as `node --test` does. */
async function tests(asked: readonly string[]): Promise<Part> {
  const startMs = performance.now();
  const all = globSync(["test/**/*.test.ts", "functions/*/**/*.test.ts"], { cwd: root }).sort();
  const slow = first.map((name) => join("test", `${name}.test.ts`)).filter((file) => all.includes(file));
  const apart = all.filter((file) => !together.test(file));
  const files = asked.length > 0 ? asked : [...new Set([...slow, ...apart])];
  let isOk: boolean | undefined;
  const events = run({ files: files.map((file) => resolve(root, file)), concurrency, cwd: root });
  events.on("test:fail", ({ skip, todo }) => {
    if (skip === undefined && todo === undefined) isOk = false;
  });
  events.on("test:summary", ({ file, success }) => {
    if (file === undefined) isOk = success && (isOk ?? true);
  });
  const printed = events.compose(spec);
  printed.pipe(process.stdout, { end: false });
  await finished(printed);
  return { name: "tests", isOk: isOk === true, seconds: secondsSince(startMs) };
}

function secondsSince(startMs: number): string {
  return `${((performance.now() - startMs) / 1000).toFixed(1)} s`;
}

const paint = (style: "green" | "red" | "dim", text: string) => styleText(style, text, { stream: process.stdout });

// What one file has compiled need not be compiled by the next: the SDK, the embedded services, our own sources.
process.env["NODE_COMPILE_CACHE"] ??= join(root, "node_modules/.cache/larkpost");
const asked = process.argv.slice(2);
// As `npm start` and `npm run build` do: whoever adds or deletes a handler file need not know of the lists.
const { changed } = await generate({ root });
if (changed.length > 0) console.log(`Wrote ${changed.join(", ")}.`);
const light =
  asked.length > 0 ? [] : globSync("test/**/*.test.ts", { cwd: root }).filter((file) => together.test(file));
const parts = await Promise.all([
  part("format and lint", bin("biome", "@biomejs/biome"), [
    "ci",
    "--error-on-warnings",
    `--colors=${process.stdout.isTTY ? "force" : "off"}`,
    ".",
  ]),
  part("types", bin("tsc", "typescript"), []),
  part("types of functions", bin("tsc", "typescript"), ["--project", "functions"]),
  ...(light.length === 0
    ? []
    : [part("tests of one process", "--test", ["--test-isolation=none", "--test-reporter=spec", ...light.sort()])]),
  tests(asked),
]);
for (const { name, isOk, output } of parts) {
  // How many there were, of what all is well with.
  const counts = isOk ? output?.match(/^ℹ (?:tests|pass|fail|skipped) \d+$/gm) : undefined;
  if (counts?.length) console.log(`${name}: ${counts.map((line) => line.slice(2)).join(", ")}`);
  if (!isOk && output !== undefined) console.log(`\n${paint("red", `✖ ${name}`)}\n${output.trimEnd()}`);
}
console.log();
for (const { name, isOk, seconds } of parts) {
  console.log(`${isOk ? paint("green", "✔") : paint("red", "✖")} ${name} ${paint("dim", `(${seconds})`)}`);
}
process.exitCode = parts.every(({ isOk }) => isOk) ? 0 : 1;
