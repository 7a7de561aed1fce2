import { spawnSync } from "node:child_process";
import type { Command } from "commander";
import { type CatalogueEntry, catalogue, nearestText, search } from "../../simulator/catalogue.ts";
import { isSlip } from "../../simulator/nearest.ts";
import { hasSample } from "../../simulator/samples/samples.ts";
import { oneLine, subcommand } from "../command.ts";
import { columnsOf, paint } from "../paint.ts";
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
✔: functions/events/, or for a callback functions/callbacks/, has a file for it. ·: "npm run send" has a payload
written out; for the others it sends a generic one. (1.0) is the older schema. An event that is not listed is
received all the same. What is longer than the terminal is shown in PAGER, or less.

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
  else if (found.length !== 0) show(list(found, { isChinese: words.some((word) => /\p{Script=Han}/u.test(word)) }));
  if (found.length !== 0) return;
  const query = oneLine(words.join(" "), 100);
  console.error(`No type has "${query}"${nearestText(words.join("."), 5) || slipText(words)}`);
  process.exitCode = 1;
}

/** `. Did you mean "calendar v4"?`, if that finds something; empty if not. */
function slipText(words: readonly string[]): string {
  // A shorter one is near to too much.
  const parts = new Set(catalogue.flatMap(({ type }) => type.split(/[._]/).filter(({ length }) => length > 3)));
  const meant = words.map((word) => [...parts].find((part) => isSlip(word.toLowerCase(), part)) ?? word);
  return search(meant).length === 0 ? "" : `. Did you mean "${meant.join(" ")}"?`;
}

type Listed = CatalogueEntry & { readonly hasHandler: boolean; readonly hasSample: boolean };

/** In a terminal of this many columns, a title that does not fit beside its type is on a line of its own. */
const terminalColumns = 80;
const typeColumns = 44;

/**
 * The entries by domain. Titles and domains are shown in the language that was searched in; what has no Chinese title
 * keeps its English one.
 */
function list(entries: readonly Listed[], { isChinese }: { isChinese: boolean }): string {
  const dim = (text: string) => paint("dim", text);
  const width = Math.min(typeColumns, Math.max(...entries.map(({ type }) => type.length)));
  const domainOf = ({ domain, chinese }: Listed) => (isChinese ? chinese.domain : domain);
  const lines = [...Map.groupBy(entries, domainOf)].flatMap(([domain, those]) => [
    dim(domain),
    ...those.flatMap((entry) => {
      const { type, version, kind, title, chinese, hasHandler, hasSample } = entry;
      const first = `${hasHandler ? "✔" : " "}${hasSample ? "·" : " "} ${type.padEnd(width)}`;
      const facts = [kind === "callback" ? kind : "", version === "1.0" ? "1.0" : ""].filter((fact) => fact !== "");
      const named = (isChinese ? chinese.title : null) ?? title;
      const shown = facts.length > 0 ? `${named} (${facts.join(", ")})` : named;
      const isOneLine = first.length + 2 + columnsOf(shown) <= terminalColumns;
      return isOneLine ? [`${first}  ${shown}`] : [first.trimEnd(), `     ${shown}`];
    }),
  ]);
  const count = entries.length === catalogue.length ? `${entries.length}` : `${entries.length} of ${catalogue.length}`;
  return [...lines, dim(`${count} types. ✔ has a handler here, · has a sample for npm run send`)].join("\n");
}

/** What is longer than the terminal goes through PAGER, or less. */
function show(text: string): void {
  const { isTTY, rows } = process.stdout;
  if (isTTY && text.split("\n").length >= rows) {
    const [pager = "less", ...args] = (process.env["PAGER"] || "less").split(" ");
    const env = { LESS: "FRX", ...process.env };
    const { error } = spawnSync(pager, args, { input: `${text}\n`, env, stdio: ["pipe", "inherit", "inherit"] });
    if (error === undefined) return;
  }
  print(text);
}

function print(text: string): void {
  process.stdout.write(`${text}\n`);
}
