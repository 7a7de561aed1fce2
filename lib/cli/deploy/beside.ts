import { cpSync, existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { createRequire, findPackageJSON, isBuiltin, SourceMap } from "node:module";
import { dirname, extname, join, relative, resolve, sep } from "node:path";
import { pathToFileURL } from "node:url";
import { type Loader, type Metafile, transform } from "esbuild";
import { fieldsOf } from "../../feishu/json.ts";
import type { Finding } from "../check/finding.ts";
import { isEngine, isPackage, posix, within } from "../project.ts";

/** Expressions for a module's own file and, with those, for its folder. A module may give both names. */
const ownFile = String.raw`import\.meta\.filename|__filename|(?:\w+\.)?fileURLToPath\(\s*import\.meta\.url\s*\)`;
const ownUrl = String.raw`new URL\(\s*["'\x60]\.\/?["'\x60]\s*,\s*import\.meta\.url\s*\)`;
const ownFolder = (file: string) =>
  String.raw`import\.meta\.dirname|__dirname|(?:\w+\.)?dirname\(\s*(?:${file})\s*\)|(?:\w+\.)?fileURLToPath\(\s*${ownUrl}\s*\)|${ownUrl}\.pathname`;
const text = `(?:"([^"\\n]*)"|'([^'\\n]*)'|\`([^\`$]*)\`)`;
/** The ways in which code names a file beside it that can be read off the code: each with the path as literals. */
const namingsFrom = (here: string) => [
  new RegExp(
    `(require\\(\\s*)?\\b(?:\\w+\\.)?(?:join|resolve)\\(\\s*(?:${here})\\s*((?:,\\s*${text}\\s*)+),?\\s*\\)`,
    "g",
  ),
  new RegExp(`(require\\(\\s*)?(?:${here})\\s*\\+\\s*(${text})`, "g"),
  new RegExp(`(require\\(\\s*)?\`\\$\\{(?:${here})\\}([^\`$]*)\``, "g"),
  new RegExp(`()new URL\\(\\s*(${text})\\s*,\\s*import\\.meta\\.url\\s*,?\\s*\\)`, "g"),
];
const place = String.raw`import\.meta\.(?:url|dirname|filename|resolve)|\b__(?:dirname|filename)\b`;
const reads = String.raw`\b(?:readFile|readFileSync|createReadStream|readdir|readdirSync|opendir|openSync)`;
/** With the place of a module, what is read, or loaded by a name that is made when it runs. */
const readsFiles = new RegExp(String.raw`${reads}\b|\b(?:require|import)\(\s*[^\s"'\x60)]`);
/** A module's own `require`. The bundle does not hold what only that loads. */
const ownRequire =
  /(?:const|let|var)\s+(\w+)\s*=\s*(?:\w+\.)?createRequire\(\s*import\.meta\.(?:url|filename)\s*,?\s*\)/g;
/** Reads whose path is not made: what has no `/` before it is looked for from the folder of the process. */
const reading = new RegExp(`${reads}\\(\\s*${text}`, "g");
/** Names that CommonJS has. A bundle gives them to packages; run from its source, the project's own module has none. */
const ofCommonJs = {
  __dirname: "Write import.meta.dirname",
  __filename: "Write import.meta.filename",
  require: "Write import",
};
/** Texts, comments, and regular expressions, which may hold quotes. */
const tokens =
  /"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|`(?:\\.|[^`\\])*`|\/\*.*?\*\/|\/\/[^\n]*|\/(?<=(?:[=(,:[!&|?{;>]\s*|\breturn\s)\/)(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/\\[\n])+\//gs;
const isCode = /\.[cm]?[jt]sx?$/;

/** Packages that look for their own version beside their code, and do without. */
const harmless = /node_modules\/(?:@larksuiteoapi\/node-sdk|@aws-sdk|@smithy)\//;
/** Packages that load compiled code. */
const native = /node_modules\/(?:node-gyp-build|bindings|@mapbox\/node-pre-gyp|pkg-prebuilds|prebuild-install)\//;

/**
 * Copies the files that the project's modules and its packages read from beside their code to the same place beside
 * their bundle: a template, a font, a word list. What cannot be followed is a fault, since it would work on this
 * machine and fail once it is deployed.
 * @param folder The bundle's folder, from which `outputs` are reached as well.
 */
export async function copyBeside(root: string, folder: string, { inputs: all, outputs }: Metafile): Promise<Finding[]> {
  // The lists of handlers import those as modules that load later.
  const imports = Object.values(all).flatMap((module) => module.imports);
  const imported = new Set(imports.filter(({ kind }) => kind === "import-statement").map(({ path }) => path));
  const faults: Finding[] = [];
  const copied = new Map<string, string>();
  for (const [output, { inputs }] of Object.entries(outputs)) {
    for (const [input, { bytesInOutput }] of Object.entries(inputs)) {
      const module = resolve(root, input);
      if (bytesInOutput === 0 || !isCode.test(module) || isEngine(module) || harmless.test(posix(module))) continue;
      const absent = await usesCommonJs(root, module);
      faults.push(...absent);
      // The files that it reads by them are looked at once it names them in another way.
      if (absent.length > 0) continue;
      const { paths, faults: found } = pathsIn(root, module, imported.has(input));
      faults.push(...found);
      for (const { path, line } of paths) {
        const source = resolve(dirname(module), path);
        const target = resolve(root, dirname(output), path);
        const problem = refusal({ source, target, folder, module, before: copied.get(target) });
        if (problem !== undefined) faults.push({ ...at(root, module, line), message: problem });
        else if (existsSync(source)) {
          copied.set(target, source);
          cpSync(source, target, { recursive: true });
        }
      }
    }
  }
  return faults;
}

function at(root: string, module: string, line: number) {
  return { part: "bundle", file: within(root, module), line } as const;
}

/** The paths beside the module that it names, and what it names so that nobody can follow it. */
function pathsIn(
  root: string,
  module: string,
  isImported: boolean,
): { paths: { path: string; line: number }[]; faults: Finding[] } {
  const source = readFileSync(module, "utf8");
  if (native.test(posix(module))) {
    const message = "loads native code, which a bundle cannot hold. Choose a package of JavaScript or WebAssembly";
    return { paths: [], faults: [{ ...at(root, module, 1), message }] };
  }
  const lineOf = (index: number) => source.slice(0, index).split("\n").length;
  let rest = withoutComments(source);
  const faults = isPackage(module) ? [] : readsFromProcess(root, module, rest, lineOf);
  // What a module of the project exports may be used by those that import it, where it cannot be followed.
  const unlessExported = isImported && !isPackage(module) ? "(?<!\\bexport\\s+)" : "";
  /** An expression, or a name that the module gives it. */
  const named = (expression: string) => {
    const names: string[] = [];
    const declaration = `(?:${unlessExported}\\b(?:const|let|var)\\s+|,\\s*)(\\w+)\\s*=\\s*(?:${expression})(?=\\s*(?:[;,]|$))`;
    rest = rest.replaceAll(new RegExp(declaration, "gm"), (found, name: string) => {
      names.push(`(?<![.\\w])${name}\\b(?!\\s*:)`);
      return blank(found);
    });
    return [expression, ...names].join("|");
  };
  const here = named(ownFolder(named(ownFile)));
  const anyPlace = new RegExp(`${place}|${here}`);
  if (!anyPlace.test(rest)) return { paths: [], faults };
  const paths: { path: string; line: number }[] = [];
  for (const naming of namingsFrom(here)) {
    rest = rest.replaceAll(naming, (found, call: string | undefined, path: string, ...groups: unknown[]) => {
      const line = lineOf(groups.findLast((group) => typeof group === "number") as number);
      const parts = literals(path);
      const beside = `./${parts.length === 0 ? path : parts.join("/")}`;
      paths.push({ path: beside, line });
      if (call !== undefined && call !== "" && isPackage(module) && !beside.endsWith(".json")) {
        const message = `requires ${beside} by a path that is made when it runs, so the bundle does not hold what that needs. Choose another package`;
        faults.push({ ...at(root, module, line), message });
      }
      return blank(found);
    });
  }
  for (const [declaration, name] of rest.matchAll(ownRequire)) {
    let others = rest.replace(declaration, blank);
    others = others.replaceAll(new RegExp(`\\b${name}\\(\\s*${text}\\s*\\)`, "g"), (found, ...groups: unknown[]) => {
      const required = String(groups[0] ?? groups[1] ?? groups[2]);
      const line = lineOf(groups[3] as number);
      if (/^\.{1,2}\//.test(required)) paths.push({ path: required, line });
      else if (!isBuiltin(required) && canRequire(module, required)) {
        const message = `requires ${required} through createRequire, so the bundle does not hold it. Import it`;
        faults.push({ ...at(root, module, line), message });
      }
      return blank(found);
    });
    if (!new RegExp(`\\b${name}\\b`).test(others)) rest = others;
  }
  const left = anyPlace.exec(withoutTexts(rest));
  if (left === null || (isPackage(module) && !readsFiles.test(rest))) return { paths, faults };
  const message = isPackage(module)
    ? "reads or requires files beside its code by names that the build cannot follow, so it would not find them once it is deployed. Choose another package, or give it the content"
    : `uses ${left[0]}, and the bundle has another place. Name the file in one piece, new URL("./file", import.meta.url), or import it`;
  return { paths, faults: [...faults, { ...at(root, module, lineOf(left.index)), message }] };
}

/** Reads of files that are in the project's folder, which is the folder of the process on this machine alone. */
function readsFromProcess(root: string, module: string, source: string, lineOf: (index: number) => number): Finding[] {
  return [...source.matchAll(reading)].flatMap(({ 0: found, 1: double, 2: single, 3: back, index }): Finding[] => {
    const path = double ?? single ?? back ?? "";
    // A file such as .env is this machine's own, and code does without.
    if (!/^(?:\.\/)?\w/.test(path) || !existsSync(join(root, path))) return [];
    const beside = posix(relative(dirname(module), join(root, path)));
    const named = beside.startsWith(".") ? beside : `./${beside}`;
    const message = `reads ${path} from the folder of the process, which is another once it is deployed. Name it from here: new URL("${named}", import.meta.url)`;
    return [{ ...at(root, module, lineOf(index + found.search(/\S/))), message }];
  });
}

/** Uses of what an ES module does not have, by a module of the project. esbuild tells them from names that it declares. */
async function usesCommonJs(root: string, module: string): Promise<Finding[]> {
  if (isPackage(module) || isCommonJs(module)) return [];
  const define = Object.fromEntries(Object.keys(ofCommonJs).map((name) => [name, `larkpost_${name}`]));
  const loader = extname(module).replace(/^\.[cm]?/, "") as Loader;
  const options = { loader, define, sourcemap: "external", target: "node24", logLevel: "silent" } as const;
  // A syntax error is reported where the module is loaded.
  const { code, map } = await transform(readFileSync(module, "utf8"), options).catch(() => ({ code: "", map: "" }));
  return Object.entries(ofCommonJs).flatMap(([name, instead]): Finding[] => {
    const index = code.indexOf(`larkpost_${name}`);
    if (index < 0 || new RegExp(`typeof larkpost_${name}\\b(?![.(])`).test(code)) return [];
    const before = code.slice(0, index).split("\n");
    const place = new SourceMap(JSON.parse(map)).findEntry(before.length - 1, before.at(-1)?.length ?? 0);
    const message = `uses ${name}, which no ES module has: it throws under npm start. ${instead}`;
    return [{ ...at(root, module, "originalLine" in place ? place.originalLine + 1 : 1), message }];
  });
}

function isCommonJs(module: string): boolean {
  if (!/\.[jt]sx?$/.test(module)) return /\.c[jt]s$/.test(module);
  const manifest = findPackageJSON(pathToFileURL(module));
  return manifest !== undefined && fieldsOf(JSON.parse(readFileSync(manifest, "utf8")))["type"] === "commonjs";
}

/** Whether it is installed. A package does without what is not. */
function canRequire(module: string, name: string): boolean {
  try {
    createRequire(module).resolve(name);
    return true;
  } catch {
    return false;
  }
}

function literals(source: string): string[] {
  return [...source.matchAll(new RegExp(text, "g"))].map(([, double, single, back]) => double ?? single ?? back ?? "");
}

function blank(found: string): string {
  return found.replaceAll(/[^\n]/g, " ");
}

/** Texts stay as they are. */
function withoutComments(source: string): string {
  return source.replaceAll(tokens, (token) => (/^\/[*/]/.test(token) ? blank(token) : token));
}

/** Their quotes stay, and a template that takes values. */
function withoutTexts(source: string): string {
  const emptied = (token: string) => `${token[0]}${blank(token.slice(1, -1))}${token.at(-1)}`;
  return source.replaceAll(tokens, (token) => (/^`[\s\S]*[{}]/.test(token) ? token : emptied(token)));
}

/** Why a file cannot be copied beside the bundle; `undefined` if it can, or if a package does without. */
function refusal(options: {
  source: string;
  target: string;
  folder: string;
  module: string;
  before: string | undefined;
}) {
  const { source, target, folder, module, before } = options;
  if (!existsSync(source))
    return isPackage(module)
      ? undefined
      : `reads ${within(dirname(module), source)}, which is not there. Add it, or correct its name`;
  if (!isPackage(module) && isCode.test(source)) {
    return `names ${within(dirname(module), source)} as a file. The bundle does not hold it: import it`;
  }
  if (!target.startsWith(folder + sep)) {
    return `reads ${within(dirname(module), source)}, which has no place beside the bundle. Put it into a folder beside the code or one above`;
  }
  if (before === undefined || before === source || isSame(before, source)) return undefined;
  return `reads ${within(dirname(module), source)}, and another file has that place beside the bundle (${before}). Rename one`;
}

function isSame(one: string, other: string): boolean {
  const folders = [one, other].map((path) => statSync(path).isDirectory());
  if (folders[0] !== folders[1]) return false;
  if (folders[0] !== true) return readFileSync(one).equals(readFileSync(other));
  const names = [one, other].map((folder) => readdirSync(folder).sort().join("\n"));
  return names[0] === names[1] && readdirSync(one).every((name) => isSame(join(one, name), join(other, name)));
}
