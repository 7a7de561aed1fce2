import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Command } from "commander";
import { commands } from "../lib/cli/commands.ts";

// `npm run docs` writes the help of each command under its heading in command-line.md of both languages.

const pages = ["command-line.md", "zh-CN/command-line.md"];

/** Every command and subcommand by what is typed after `larkpost`: `send`, `secrets set`, … */
export async function allCommands(): Promise<Map<string, Command>> {
  const program = new Command("larkpost");
  for (const load of commands.values()) program.addCommand(await load());
  const found = new Map<string, Command>();
  const collect = (parent: Command, names: readonly string[]) => {
    for (const command of parent.commands) {
      const path = [...names, command.name()];
      found.set(path.join(" "), command);
      collect(command, path);
    }
  };
  collect(program, []);
  return found;
}

/** The pages that do not hold the present help texts, each with the text that it should have. */
export async function stalePages(): Promise<{ file: string; wanted: string }[]> {
  const texts = new Map([...(await allCommands())].map(([name, command]) => [name, helpText(command)]));
  return pages
    .map((page) => join(import.meta.dirname, page))
    .map((file) => ({ file, current: readFileSync(file, "utf8") }))
    .map(({ file, current }) => ({ file, current, wanted: withHelp(current, texts) }))
    .filter(({ current, wanted }) => current !== wanted);
}

/** What `--help` prints in a terminal of 80 columns. */
function helpText(command: Command): string {
  let text = "";
  command.configureOutput({
    writeOut: (part) => {
      text += part;
    },
    getOutHelpWidth: () => 80,
    getOutHasColors: () => false,
  });
  command.outputHelp();
  return text.trim();
}

function withHelp(page: string, texts: ReadonlyMap<string, string>): string {
  const missing = new Set(texts.keys());
  const section = /^(#{2,3} ([\w -]+)\n(?:(?!#|```).*\n)*```text\n)[\s\S]*?(?=\n```$)/gm;
  const filled = page.replaceAll(section, (found: string, head: string, name: string) => {
    const text = texts.get(name);
    if (text === undefined) return found;
    missing.delete(name);
    return head + text;
  });
  if (missing.size === 0) return filled;
  throw new Error(`Cannot write the page: it has no heading with a text block for ${[...missing].join(", ")}`);
}

if (import.meta.main) {
  for (const { file, wanted } of await stalePages()) {
    writeFileSync(file, wanted);
    console.log(`Wrote ${file}.`);
  }
}
