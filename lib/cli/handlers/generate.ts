import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Command } from "commander";
import { isSmokeType, smokeType } from "../../handling/dispatcher.ts";
import { CommandError, subcommand } from "../command.ts";
import { existingRoot, projectRoot } from "../project.ts";

const lineWidth = 120;

/** Folders of `functions/` that hold handler files, and the type that each one's list has to fit. */
const listTypes = { events: "EventList", callbacks: "CallbackList" } as const;

export type HandlerKind = keyof typeof listTypes;

/** What is wrong with a handler file named {@link smokeType}. */
export const reservedName = `would never run: ${smokeType} is reserved for "npm run smoke". Rename it`;

/**
 * Writes the lists of handler files: literal thunks, so that the compiler checks each file against its
 * name, and each handler is a chunk of its own that loads when it is needed. Two lists, so that no
 * function carries the other's handlers.
 *
 * @param options.check Writes nothing.
 * @returns The lists that were stale, relative to the root.
 */
export async function generate(options: { root?: string; check?: boolean } = {}): Promise<{ changed: string[] }> {
  const { root = existingRoot(), check = false } = options;
  const changed: string[] = [];
  for (const kind of ["events", "callbacks"] as const) {
    const path = `functions/${kind}.gen.ts`;
    const wanted = listSource(kind, handlerNames(kind, root));
    const file = join(root, path);
    if (existsSync(file) && readFileSync(file, "utf8").replaceAll("\r\n", "\n") === wanted) continue;
    if (!check) writeFileSync(file, wanted);
    changed.push(path);
  }
  return { changed };
}

/** Names of the files in `functions/events` or `functions/callbacks`, sorted: types, and for events perhaps `_default`. */
export function handlerNames(kind: HandlerKind, root: string = projectRoot()): string[] {
  const folder = join(root, "functions", kind);
  if (!existsSync(folder)) return [];
  return readdirSync(folder)
    .filter((name) => /^[^.].*\.ts$/.test(name) && !/\.(test|d)\.ts$/.test(name))
    .map((name) => name.slice(0, -".ts".length))
    .sort();
}

/** The source of a list. */
export function listSource(kind: HandlerKind, names: readonly string[]): string {
  const entries = names.map((name) => {
    const key = /^[A-Za-z_$][\w$]*$/.test(name) ? name : JSON.stringify(name);
    const load = `import(${JSON.stringify(`./${kind}/${name}.ts`)})`;
    const line = `  ${key}: () => ${load},`;
    return line.length <= lineWidth ? line : `  ${key}: () =>\n    ${load},`;
  });
  const body = entries.length === 0 ? "{}" : `{\n${entries.join("\n")}\n}`;
  const type = listTypes[kind];
  return `// Generated from functions/${kind}/ by \`npm run generate\`. Do not edit: add or remove a file there.
import type { ${type} } from "larkpost";

export const ${kind}: ${type} = ${body};
`;
}

export function generateCommand(): Command {
  return subcommand("generate")
    .description(
      "write the lists of handler files, functions/events.gen.ts and functions/callbacks.gen.ts (npm start and npm run new do it as well)",
    )
    .action(async () => {
      for (const kind of ["events", "callbacks"] as const) {
        const reserved = handlerNames(kind).find(isSmokeType);
        if (reserved !== undefined) {
          throw new CommandError(`Cannot list functions/${kind}/${reserved}.ts: it ${reservedName}`);
        }
      }
      const { changed } = await generate();
      if (changed.length === 0) console.log("The generated lists are up to date.");
      else console.log(`Wrote ${changed.join(", ")}.`);
    });
}
