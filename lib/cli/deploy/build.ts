import { rmSync, statSync } from "node:fs";
import { join, relative } from "node:path";
import type { Command } from "commander";
import { type BuildResult, build as bundle } from "esbuild";
import { subcommand } from "../command.ts";
import { generate } from "../handlers/generate.ts";
import { projectRoot } from "../project.ts";

export const functionNames = ["webhook", "callback", "worker"] as const;
/** Those, and the process that is no Lambda: it goes into a container, and into no zip. */
const entryNames = [...functionNames, "long-connection"] as const;

/**
 * Bundles each entry to `dist/<name>/index.mjs` with its chunks beside it: one call an entry, so
 * that none carries another's chunks. The AWS SDK's credential providers and every handler file
 * become chunks that load when they are needed.
 *
 * @param options.names The functions alone, unless given.
 */
export async function build(
  options: { root?: string; outFolder?: string; names?: readonly (typeof entryNames)[number][] } = {},
) {
  const { root = projectRoot(), outFolder = join(root, "dist"), names = functionNames } = options;
  await generate({ root });
  rmSync(outFolder, { recursive: true, force: true });
  return Promise.all(
    names.map(async (name) => {
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
        alias: { "larkpost/aws": join(import.meta.dirname, `../../aws/entries/${name}.ts`) },
        // The Lark SDK looks there for its version, for a header.
        define: { __dirname: '""' },
        outExtension: { ".js": ".mjs" },
        chunkNames: "chunks/[name]-[hash]",
        // Packages written for CommonJS call `require`, which an ES module has not.
        banner: {
          js: 'import { createRequire as __createRequire } from "node:module"; const require = __createRequire(import.meta.url);',
        },
        logLevel: "silent",
      });
      return {
        name,
        file: join(outFolder, name, "index.mjs"),
        metafile: (result as BuildResult<{ metafile: true }>).metafile,
      };
    }),
  );
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
