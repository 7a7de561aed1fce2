import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Command } from "commander";
import { projectOf } from "../infra/project.js";
import { commands } from "../lib/cli/commands.ts";
import { type Options, reportOf } from "../lib/cli/scale/report.ts";
import { scaleCommand } from "../lib/cli/scale/scale.ts";
import { toText } from "../lib/cli/scale/text.ts";

// `npm run docs` writes what commands print into pages of both languages: the help of each under its heading in
// command-line.md, and what `npm run scale` says below each call of it in scale.md.

const pages = ["command-line.md", "zh-CN/command-line.md"];
const scalePages = ["scale.md", "zh-CN/scale.md"];

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

/** The pages that do not hold what the commands print now, each with the text that it should have. */
export async function stalePages(): Promise<{ file: string; wanted: string }[]> {
  const texts = new Map([...(await allCommands())].map(([name, command]) => [name, helpText(command)]));
  const printed = new Map<string, string>();
  const written = [
    ...pages.map((page) => ({ page, write: (current: string) => withHelp(current, texts) })),
    ...scalePages.map((page) => ({ page, write: (current: string) => withForecasts(current, printed) })),
  ];
  return written
    .map(({ page, write }) => ({ file: join(import.meta.dirname, page), write }))
    .map(({ file, write }) => ({ file, current: readFileSync(file, "utf8"), write }))
    .map(({ file, current, write }) => ({ file, current, wanted: write(current) }))
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

/** @param printed What each call prints, for the next page. */
function withForecasts(page: string, printed: Map<string, string>): string {
  const block = /^(```sh\nnpm run scale -- (.+)\n```\n\n```text\n)[\s\S]*?(?=\n```$)/gm;
  return page.replaceAll(block, (_, head: string, args: string) => {
    const known = printed.get(args) ?? forecast(args.split(" "));
    printed.set(args, known);
    return head + known;
  });
}

/** What `npm run scale` prints with the limits of infra/limits.js. */
function forecast(args: readonly string[]): string {
  const command = scaleCommand();
  command.parseOptions([...args]);
  const options = command.opts<Options>();
  return toText(options, reportOf(options, projectOf({})));
}

if (import.meta.main) {
  for (const { file, wanted } of await stalePages()) {
    writeFileSync(file, wanted);
    console.log(`Wrote ${file}.`);
  }
}
