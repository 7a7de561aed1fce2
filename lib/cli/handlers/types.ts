import { styleText } from "node:util";
import type { Command } from "commander";
import { type CatalogueEntry, catalogue, nearestText, search } from "../../simulator/catalogue.ts";
import { hasSample } from "../../simulator/samples/samples.ts";
import { oneLine, subcommand } from "../command.ts";
import { columnsOf } from "../paint.ts";
import { handlerNames } from "./generate.ts";

export function typesCommand(): Command {
  return subcommand("types")
    .description("search the event and callback types that the platform is known to push")
    .argument(
      "[words...]",
      "all of them have to occur in the type, its title (English or Chinese), domain, kind or version",
    )
    .option("--json", "print an array of objects, for scripts")
    .addHelpText(
      "after",
      `
handler: functions/events/, or for a callback functions/callbacks/, has a file for it. sample: "npm run send"
has a payload written out; for the others it sends a generic one. An event that is not listed is received all
the same.

Examples:
  npm run types -- message
  npm run types -- contact v1.0
  npm run types -- 日历
  npm run types -- callback --json`,
    )
    .action(run);
}

function run(words: readonly string[], options: { json?: boolean }): void {
  const handlers = { event: new Set(handlerNames("events")), callback: new Set(handlerNames("callbacks")) };
  const found = search(words).map((entry) => ({
    ...entry,
    hasHandler: handlers[entry.kind].has(entry.type),
    hasSample: hasSample(entry.type),
  }));
  if (options.json === true) print(JSON.stringify(found, null, 2));
  else if (found.length > 0) print(table(found, { isChinese: words.some((word) => /\p{Script=Han}/u.test(word)) }));
  if (found.length > 0) return;
  const asked = words.join(" ");
  console.error(`No type has "${oneLine(asked, 100)}"${nearestText(words.join("."), 5)}`);
  process.exitCode = 1;
}

type Listed = CatalogueEntry & { readonly hasHandler: boolean; readonly hasSample: boolean };

/** Titles and domains are shown in the language that was searched in; what has no Chinese title keeps its English one. */
function table(entries: readonly Listed[], { isChinese }: { isChinese: boolean }): string {
  const rows = [
    ["type", "version", "kind", "domain", "title", "handler", "sample"],
    ...entries.map((entry) => [
      entry.type,
      `v${entry.version}`,
      entry.kind,
      isChinese ? entry.chinese.domain : entry.domain,
      (isChinese ? entry.chinese.title : null) ?? entry.title,
      entry.hasHandler ? "yes" : "",
      entry.hasSample ? "yes" : "",
    ]),
  ];
  const widths = rows[0]?.map((_, column) => Math.max(...rows.map((row) => columnsOf(row[column] ?? "")))) ?? [];
  const lines = rows.map((row) =>
    row
      .map((cell, column) => cell + " ".repeat((widths[column] ?? 0) - columnsOf(cell)))
      .join("  ")
      .trimEnd(),
  );
  const [head = "", ...body] = lines;
  const count =
    entries.length === catalogue.length ? `${entries.length} types` : `${entries.length} of ${catalogue.length} types`;
  const dim = (text: string) => styleText("dim", text, { stream: process.stdout });
  return [dim(head), ...body, dim(count)].join("\n");
}

function print(text: string): void {
  process.stdout.write(`${text}\n`);
}
