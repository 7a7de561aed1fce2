import { mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { isBuiltin } from "node:module";
import { basename, dirname, join, relative } from "node:path";
import type { Command } from "commander";
import { type BuildFailure, build as bundle, type Metafile, type OutputFile, type Plugin, transform } from "esbuild";
import { moduleBeside } from "../../local/module-beside.ts";
import { type Finding, refusal } from "../check/finding.ts";
import { CommandError, subcommand } from "../command.ts";
import { generate, handlerNames, listSource } from "../handlers/generate.ts";
import { engineModules, existingRoot, isEngine, within } from "../project.ts";
import { copyBeside } from "./beside.ts";
import { isUsers, writePlaces } from "./places.ts";

export const functionNames = ["webhook", "callback", "worker"] as const;
/** Those, and the process that is no Lambda: it goes into a container, and into no zip. */
const entryNames = [...functionNames, "long-connection"] as const;

/** The code cannot be bundled, or would not work in a bundle. */
export class BuildError extends CommandError {
  readonly findings: readonly Finding[];

  constructor(findings: readonly Finding[]) {
    super(refusal("build", findings));
    this.findings = findings;
  }
}

/** Packages written for CommonJS call `require` and read beside their code; an ES module has no names for that. */
const required = 'const require = process.getBuiltinModule("node:module").createRequire(import.meta.url);';
const places = " const __dirname = import.meta.dirname, __filename = import.meta.filename;";

/**
 * Bundles each entry to `dist/<name>/index.mjs` with its chunks beside it: one call an entry, so
 * that none carries another's chunks. Every handler file and the official client
 * become chunks that load when they are needed. Files that the project's code reads from beside it are copied along.
 *
 * @param options.names The functions alone, unless given.
 * @param options.without Files that are taken for empty, relative to the root. With them, the lists of handlers are those
 * that the folders want, and are not written.
 * @throws {BuildError}
 */
export async function build(
  options: {
    root?: string;
    outFolder?: string;
    names?: readonly (typeof entryNames)[number][];
    without?: ReadonlySet<string>;
  } = {},
) {
  const { root = existingRoot(), outFolder = join(root, "dist"), names = functionNames, without } = options;
  if (without === undefined) await generate({ root });
  rmSync(outFolder, { recursive: true, force: true });
  return Promise.all(
    names.map(async (name) => {
      const runsHandlers = name !== "webhook";
      const result = await bundle({
        absWorkingDir: root,
        entryPoints: { index: `functions/${name}.ts` },
        outdir: join(outFolder, name),
        platform: "node",
        target: "node24",
        format: "esm",
        splitting: true,
        bundle: true,
        // As modules, packages give up what is not used; their CommonJS is taken whole.
        mainFields: ["module", "main"],
        minify: true,
        sourcemap: "linked",
        sourcesContent: false,
        metafile: true,
        // One maker an entry: what the others load when it is asked for would be written beside it as chunks.
        alias: { "larkpost/aws": moduleBeside(import.meta, `../../aws/entries/${name}`) },
        outExtension: { ".js": ".mjs" },
        chunkNames: "chunks/[name]-[hash]",
        banner: { js: runsHandlers ? required + places : required },
        logLevel: "silent",
        write: false,
        plugins: [
          ...(without === undefined ? [] : [leaveOut(root, without)]),
          compiledAlike,
          lazyBuiltins,
          ...(runsHandlers ? [keepUsersNames(root)] : []),
        ],
      }).catch((error: unknown) => {
        throw new BuildError(faultsOf(error));
      });
      const { metafile, files } = withNumberedChunks(result);
      for (const { path, text } of files) {
        mkdirSync(dirname(path), { recursive: true });
        writeFileSync(path, text);
      }
      const folder = join(outFolder, name);
      const faults = await copyBeside(root, folder, metafile);
      if (faults.length > 0) throw new BuildError(faults);
      if (runsHandlers) writePlaces(folder, { root, metafile });
      return { name, file: join(folder, "index.mjs"), metafile };
    }),
  );
}

// The same handlers give the same bytes in this repository and in a project that has the engine as a package.

/** The engine's modules as {@link compiledAlike} prints them, by path and text. */
const printed = new Map<string, Promise<{ code: string }>>();

/**
 * Prints the engine's modules alike, whether they are TypeScript or were compiled: esbuild shortens names by how often
 * each letter occurs in a source, types and layout included. Each text is printed once for all entries and builds.
 */
const compiledAlike: Plugin = {
  name: "compiled alike",
  setup(bundler) {
    // Not asked of every module: that is a third of a second.
    bundler.onLoad({ filter: new RegExp(`${engineModules.source}.*\\.[jt]s$`) }, async ({ path }) => {
      const text = readFileSync(path, "utf8");
      const key = `${path} ${text}`;
      const promise = printed.get(key) ?? print(path, text);
      printed.set(key, promise);
      return { contents: (await promise).code, loader: "js" };
    });
  },
};

function print(path: string, text: string) {
  return transform(text, {
    loader: "ts",
    target: "node24",
    charset: "utf8",
    sourcemap: "inline",
    sourcesContent: false,
    sourcefile: basename(path),
    tsconfigRaw: { compilerOptions: { verbatimModuleSyntax: true } },
  });
}

/**
 * Takes Node's modules as objects. To import one by name reads all that it exports, and with `node:http` that loads
 * `fetch` and WebSockets: a quarter of a cold start. The engine's own imports become reads of the members that it names;
 * other code may need the whole object, as CommonJS does.
 */
const lazyBuiltins: Plugin = {
  name: "lazy builtins",
  setup(bundler) {
    const [whole, members] = ["builtin-object", "builtin"];
    bundler.onResolve({ filter: /^node:/ }, ({ path, kind, importer }) => {
      // An `import()` asks for the module's names, and one that Node does not have must fail where it is asked for.
      if (kind === "dynamic-import" || !isBuiltin(path)) return { path, external: true };
      const isOwn = kind === "import-statement" && isEngine(importer);
      return { path: path.slice("node:".length), namespace: isOwn ? members : whole };
    });
    bundler.onLoad({ filter: /^/, namespace: whole }, ({ path }) => ({
      contents: `module.exports = process.getBuiltinModule(${JSON.stringify(`node:${path}`)});`,
    }));
    bundler.onLoad({ filter: /^/, namespace: members }, ({ path }) => {
      const module = process.getBuiltinModule(`node:${path}`) ?? {};
      const lines = [
        `const object = process.getBuiltinModule(${JSON.stringify(`node:${path}`)}), read = (name) => object[name];`,
        "export default object;",
        // Only what is used is read: some members print a warning.
        ...Object.keys(module).map(
          (name) => `const $${name} = /* @__PURE__ */ read("${name}"); export { $${name} as ${name} };`,
        ),
      ];
      return { contents: lines.join("\n") };
    });
  },
};

/**
 * Keeps the names of classes and functions of the project's own code, since a log line names the class of what a handler
 * threw. The option for all code would make the bundles 8 % larger, and slower to load.
 */
function keepUsersNames(root: string): Plugin {
  return {
    name: "keep users' names",
    setup(bundler) {
      bundler.onLoad({ filter: /\.ts$/ }, async ({ path }) => {
        if (!isUsers(root, path) || path.endsWith(".gen.ts")) return undefined;
        const options = { loader: "ts", keepNames: true, sourcemap: "inline", sourcesContent: false } as const;
        try {
          const { code } = await transform(readFileSync(path, "utf8"), { ...options, sourcefile: basename(path) });
          return { contents: code, loader: "js" };
        } catch (error) {
          const file = within(root, path);
          const { errors } = error as BuildFailure;
          return {
            errors: errors.map(({ text, location }) => ({ text, location: location && { ...location, file } })),
          };
        }
      });
    },
  };
}

/** Takes the files for empty, makes the lists of handlers from the folders, and bundles nothing of the engine, which has no faults. */
function leaveOut(root: string, files: ReadonlySet<string>): Plugin {
  return {
    name: "leave out",
    setup(bundler) {
      bundler.onResolve({ filter: /^larkpost\b/ }, async ({ path, pluginData, ...options }) => {
        if (pluginData === leaveOut) return undefined;
        const resolved = await bundler.resolve(path, { ...options, pluginData: leaveOut });
        return isEngine(resolved.path) ? { path, external: true } : resolved;
      });
      bundler.onLoad({ filter: /\.[jt]s$/ }, ({ path }) => {
        const file = within(root, path);
        const kind = (["events", "callbacks"] as const).find((each) => file === `functions/${each}.gen.ts`);
        if (kind !== undefined) return { contents: listSource(kind, handlerNames(kind, root)), loader: "ts" };
        // As CommonJS it may be asked for any name.
        return files.has(file) ? { contents: "module.exports = {};", loader: "js" } : undefined;
      });
    },
  };
}

/**
 * Numbers the chunks in the order in which the code imports them, since esbuild's hashes differ with the modules' paths,
 * and leaves out those that nothing imports. A number is as long as a hash, so the source maps stay right.
 */
function withNumberedChunks({ metafile, outputFiles }: { metafile: Metafile; outputFiles: readonly OutputFile[] }) {
  const numbers = new Map<string, string>();
  const visit = (path: string) => {
    const hash = hashIn(path);
    if (hash !== undefined) {
      if (numbers.has(hash)) return;
      numbers.set(hash, String(numbers.size + 1).padStart(hash.length, "0"));
    }
    for (const { path: imported } of metafile.outputs[path]?.imports ?? []) visit(imported);
  };
  const paths = Object.keys(metafile.outputs);
  for (const path of paths) if (hashIn(path) === undefined) visit(path);
  const isUsed = (path: string) => numbers.has(hashIn(path) ?? "") || hashIn(path) === undefined;
  const rename = (text: string) => text.replaceAll(hashes, (hash) => numbers.get(hash) ?? hash);
  const outputs = Object.entries(metafile.outputs).filter(([path]) => isUsed(path));
  return {
    metafile: JSON.parse(rename(JSON.stringify({ ...metafile, outputs: Object.fromEntries(outputs) }))) as Metafile,
    files: outputFiles
      .filter(({ path }) => isUsed(path))
      .map(({ path, text }) => ({ path: rename(path), text: rename(text) })),
  };
}

const hashes = /(?<=-)[A-Z0-9]{8}(?=\.mjs)/g;

function hashIn(path: string): string | undefined {
  return path.match(hashes)?.[0];
}

/** esbuild's own errors, with their places. */
function faultsOf(error: unknown): Finding[] {
  const { errors } = error as BuildFailure;
  if (!Array.isArray(errors)) throw error;
  return errors.map(({ text, location }) => ({
    part: "bundle",
    file: location?.file ?? "functions",
    line: location?.line,
    column: location === null ? undefined : location.column + 1,
    message: text.startsWith('No loader is configured for ".node" files')
      ? `${text}. A bundle cannot hold native code: choose a package of JavaScript or WebAssembly`
      : text,
  }));
}

export function buildCommand(): Command {
  return subcommand("build")
    .description(`bundle to dist/<name>/index.mjs: ${entryNames.join(", ")}`)
    .action(async () => {
      const built = await build({ names: entryNames });
      for (const { file, metafile } of built) {
        const outputs = Object.entries(metafile.outputs).filter(([path]) => path.endsWith(".mjs"));
        const total = outputs.reduce((sum, [, { bytes }]) => sum + bytes, 0);
        const entry = statSync(file).size;
        const shown = relative(process.cwd(), file);
        console.log(`${shown}  ${kib(entry)}, with its ${outputs.length - 1} chunks ${kib(total)}`);
      }
    });
}

function kib(bytes: number): string {
  return `${(bytes / 1024).toFixed(0)} KiB`;
}
