import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Command } from "commander";
import { projectRoot } from "./project.ts";

const lineWidth = 120;

/**
 * Writes the list of handler files: literal thunks, so that the compiler checks each file against its
 * name, and each handler is a chunk of its own that loads when its event comes.
 *
 * @param options.check Writes nothing.
 * @returns The lists that were stale, relative to the root.
 */
export async function generate(options: { root?: string; check?: boolean } = {}): Promise<{ changed: string[] }> {
  const { root = projectRoot(), check = false } = options;
  const path = "functions/events.gen.ts";
  const wanted = eventList(handlerNames(root));
  const file = join(root, path);
  if (existsSync(file) && readFileSync(file, "utf8") === wanted) return { changed: [] };
  if (!check) writeFileSync(file, wanted);
  return { changed: [path] };
}

/** Names of the files in `functions/events`, sorted: event types, and perhaps `_default`. */
export function handlerNames(root: string = projectRoot()): string[] {
  const folder = join(root, "functions/events");
  if (!existsSync(folder)) return [];
  return readdirSync(folder)
    .filter((name) => /^[^.].*\.ts$/.test(name) && !/\.(test|d)\.ts$/.test(name))
    .map((name) => name.slice(0, -".ts".length))
    .sort();
}

function eventList(names: readonly string[]): string {
  const entries = names.map((name) => {
    const key = /^[A-Za-z_$][\w$]*$/.test(name) ? name : JSON.stringify(name);
    const load = `import(${JSON.stringify(`./events/${name}.ts`)})`;
    const line = `  ${key}: () => ${load},`;
    return line.length <= lineWidth ? line : `  ${key}: () =>\n    ${load},`;
  });
  const body = entries.length === 0 ? "{}" : `{\n${entries.join("\n")}\n}`;
  return `// Generated from functions/events/ by \`npm run generate\`. Do not edit: add or remove a file there.
import type { EventList } from "../lib/handler.ts";

export const events = ${body} satisfies EventList;
`;
}

export function generateCommand(): Command {
  return new Command("generate")
    .description("write the list of handler files, functions/events.gen.ts (npm start and npm run new do it as well)")
    .option("--check", "write nothing; exit with 1 when the list is stale")
    .action(async ({ check = false }: { check?: boolean }) => {
      const { changed } = await generate({ check });
      if (changed.length === 0) console.log("The generated list is up to date.");
      else if (!check) console.log(`Wrote ${changed.join(", ")}.`);
      else {
        console.error(
          `Stale: ${changed.join(", ")} does not list what functions/events/ holds. Run "npm run generate"`,
        );
        process.exitCode = 1;
      }
    });
}
