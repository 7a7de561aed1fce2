import { rmSync, statSync } from "node:fs";
import { join, relative } from "node:path";
import type { Command } from "commander";
import { type BuildFailure, build as bundle } from "esbuild";
import { type Finding, findingLine, sorted } from "../check/finding.ts";
import { CommandError, subcommand } from "../command.ts";
import { generate } from "../handlers/generate.ts";
import { projectRoot } from "../project.ts";
import { copyBeside } from "./beside.ts";
import { writePlaces } from "./places.ts";

export const functionNames = ["webhook", "callback", "worker"] as const;
/** Those, and the process that is no Lambda: it goes into a container, and into no zip. */
const entryNames = [...functionNames, "long-connection"] as const;

/** The code cannot be bundled, or would not work in a bundle. */
export class BuildError extends CommandError {
  readonly findings: readonly Finding[];

  constructor(findings: readonly Finding[]) {
    const lines = sorted(findings).map((finding) => `✖ ${findingLine(finding)}`);
    super(["Cannot build. Fix this first:", ...lines].join("\n"));
    this.findings = findings;
  }
}

/** Packages written for CommonJS call `require` and read beside their code; an ES module has no names for that. */
const required =
  'import { createRequire as __createRequire } from "node:module"; const require = __createRequire(import.meta.url);';
const places = " const __dirname = import.meta.dirname, __filename = import.meta.filename;";

/**
 * Bundles each entry to `dist/<name>/index.mjs` with its chunks beside it: one call an entry, so
 * that none carries another's chunks. The AWS SDK's credential providers and every handler file
 * become chunks that load when they are needed. Files that the project's code reads from beside it are copied along.
 *
 * @param options.names The functions alone, unless given.
 * @throws {BuildError}
 */
export async function build(
  options: { root?: string; outFolder?: string; names?: readonly (typeof entryNames)[number][] } = {},
) {
  const { root = projectRoot(), outFolder = join(root, "dist"), names = functionNames } = options;
  await generate({ root });
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
        // A log line names the class of what a handler threw.
        keepNames: runsHandlers,
        sourcemap: "linked",
        sourcesContent: false,
        metafile: true,
        // One maker an entry: what the others load when it is asked for would be written beside it as chunks.
        alias: { "larkpost/aws": join(import.meta.dirname, `../../aws/entries/${name}.ts`) },
        outExtension: { ".js": ".mjs" },
        chunkNames: "chunks/[name]-[hash]",
        banner: { js: runsHandlers ? required + places : required },
        logLevel: "silent",
      }).catch((error: unknown) => {
        throw new BuildError(faultsOf(error));
      });
      const folder = join(outFolder, name);
      const faults = copyBeside(root, folder, result.metafile);
      if (faults.length > 0) throw new BuildError(faults);
      if (runsHandlers) writePlaces(folder, { root, metafile: result.metafile });
      return { name, file: join(folder, "index.mjs"), metafile: result.metafile };
    }),
  );
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
