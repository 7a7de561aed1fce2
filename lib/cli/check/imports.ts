import { fork } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { stripVTControlCharacters } from "node:util";
import { moduleBeside } from "../../local/module-beside.ts";
import type { HandlerKind } from "../handlers/generate.ts";
import { handlerNames } from "../handlers/generate.ts";
import { isEngine, isPackage, within } from "../project.ts";
import type { Finding } from "./finding.ts";
import type { Loaded, Missing } from "./loader.ts";

/** In which a file has to be loaded. */
const limitMs = 5_000;
const keptOutput = 2_000;

interface HandlerFile {
  readonly kind: HandlerKind;
  readonly name: string;
}

/**
 * Loads every handler file, `except` some, in a process of its own, one after the other, and checks what it exports. A file that
 * hangs or ends that process costs one process; the files after it get another.
 * @returns `modules`: the project's own modules that were loaded, relative to its folder.
 */
export async function checkImports(
  root: string,
  { env, except }: { env: NodeJS.ProcessEnv; except: ReadonlySet<string> },
): Promise<{ findings: Finding[]; modules: ReadonlySet<string> }> {
  const files = (["events", "callbacks"] as const).flatMap((kind) =>
    handlerNames(kind, root)
      .map((name) => ({ kind, name }))
      .filter(({ name }) => !except.has(`functions/${kind}/${name}.ts`)),
  );
  const findings: LoadFinding[] = [];
  const modules = new Set<string>();
  for (let left = files; left.length > 0; ) {
    const { count, found } = await loadSome(root, left, env, (path) => modules.add(within(root, path)));
    findings.push(...found);
    left = left.slice(count);
  }
  // A fault of shared code is one, however many handlers load it.
  const byFault = Map.groupBy(findings, ({ file, line, message }) => `${file}:${line} ${message}`);
  const distinct = [...byFault.values()].flatMap(([first, ...others]): Finding[] => {
    if (first === undefined) return [];
    const { handler, ...finding } = first;
    if (finding.file === handler) return [finding];
    const more = others.length === 0 ? "" : ` and ${others.length} more`;
    return [{ ...finding, message: `${finding.message} (loaded by ${handler}${more})` }];
  });
  return { findings: distinct, modules };
}

type LoadFinding = Finding & { readonly handler: string };

/** @returns How many of the files were dealt with, at least one. */
async function loadSome(
  root: string,
  files: readonly HandlerFile[],
  env: NodeJS.ProcessEnv,
  onModule: (path: string) => void,
): Promise<{ count: number; found: LoadFinding[] }> {
  const child = fork(moduleBeside(import.meta, "loader"), [root], {
    cwd: root,
    env,
    stdio: ["ignore", "pipe", "pipe", "ipc"],
    execArgv: ["--disable-warning=ExperimentalWarning"],
  });
  const found: LoadFinding[] = [];
  let count = 0;
  let output = "";
  let timer: NodeJS.Timeout | undefined;
  let isLate = false;
  const loadNext = () => {
    clearTimeout(timer);
    const file = files[count];
    if (file === undefined) return void child.kill("SIGKILL");
    child.send({ ...file, path: join(root, "functions", file.kind, `${file.name}.ts`) }, () => {});
    timer = setTimeout(() => {
      isLate = true;
      child.kill("SIGKILL");
    }, limitMs);
  };
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding("utf8").on("data", (text: string) => {
      output = (output + stripVTControlCharacters(text)).slice(0, keptOutput);
    });
  }
  const { promise: closed, resolve: close } = Promise.withResolvers<string>();
  child.once("close", (code, by) => setImmediate(close, by ?? `exit code ${code}`));
  // A file prints before its message is sent, and one turn of the event loop reads both, in any order.
  child.on("message", (message: Loaded | { ready: true }) => setImmediate(onMessage, message));
  const onMessage = (message: Loaded | { ready: true }) => {
    if ("ready" in message) return loadNext();
    const { problem, modules } = message;
    for (const path of modules) onModule(path);
    const file = files[count];
    if (problem !== undefined && file !== undefined) found.push(toFinding(root, file, problem, output));
    count += 1;
    output = "";
    loadNext();
  };
  const ended = await closed;
  clearTimeout(timer);
  const file = files[count];
  if (file === undefined) return { count: files.length, found };
  const text = isLate
    ? `has not been loaded after ${limitMs / 1000} s: something at its top level waits or loops. Move it into the handler`
    : `ended the process (${ended}) while it was loaded. Take process.exit out, or what crashes it`;
  found.push(toFinding(root, file, { text }, output));
  return { count: count + 1, found };
}

function toFinding(
  root: string,
  { kind, name }: HandlerFile,
  problem: NonNullable<Loaded["problem"]>,
  output: string,
): LoadFinding {
  const own = `functions/${kind}/${name}.ts`;
  const missing = missingPlace(root, problem.missing);
  const { file = own, line, column } = missing ?? placeOf(root, problem.stack) ?? {};
  return {
    handler: own,
    part: "loading",
    file,
    line: line ?? exportLine(join(root, own)),
    column,
    message: missing?.message ?? problem.text,
    output: output === "" ? undefined : output,
    isBroken: true,
  };
}

/** Where the project imports what is not there, and what to do. */
function missingPlace(root: string, missing?: Missing) {
  if (missing === undefined || isEngine(missing.importer) || isPackage(missing.importer)) return undefined;
  const { kind, name, importer } = missing;
  const isIt = (path: string) =>
    kind === "module" ? resolve(dirname(importer), path) === name : path === name || path.startsWith(`${name}/`);
  const lines = readFileSync(importer, "utf8").split("\n");
  const index = lines.findIndex((line) =>
    [...line.matchAll(/["'`]([^"'`]+)["'`]/g)].some(([, path = ""]) => isIt(path)),
  );
  const cure = existsSync(`${name}.ts`) ? "Write its extension, .ts" : "Create it, or correct the import";
  const message =
    kind === "module"
      ? `imports ${within(root, name)}, which is not there. ${cure}`
      : `imports the package ${name}, which is not installed. Run "npm install ${name}", or correct the import`;
  return { file: within(root, importer), line: Math.max(0, index) + 1, column: undefined, message };
}

/** The first place of the user's code in a stack, or in the head that V8 gives a syntax error. */
function placeOf(root: string, stack = ""): { file: string; line: number; column?: number } | undefined {
  for (const [, url = "", line, column] of stack.matchAll(/(file:\/\/[^\s()]+?\.[cm]?[jt]s):(\d+)(?::(\d+))?/g)) {
    const path = within(root, fileURLToPath(url));
    if (isEngine(fileURLToPath(url)) || /^\.\.\/|(^|\/)node_modules\//.test(path)) continue;
    return { file: path, line: Number(line), ...(column === undefined ? {} : { column: Number(column) }) };
  }
  return undefined;
}

function exportLine(file: string): number {
  const lines = readFileSync(file, "utf8").split("\n");
  return (
    Math.max(
      0,
      lines.findIndex((line) => /^\s*export default\b/.test(line)),
    ) + 1
  );
}
