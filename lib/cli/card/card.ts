import { text } from "node:stream/consumers";
import type { Command } from "commander";
import { checkCard } from "../../feishu/card.ts";
import type { CardFinding } from "../../feishu/checked-card.ts";
import { depthOf, isObject, type JsonObject, maxDepth, parseJson } from "../../feishu/json.ts";
import { cardView } from "../../simulator/chat/card-view.ts";
import { cardLines } from "../chat/lines.ts";
import { oneLine, subcommand } from "../command.ts";
import { paint } from "../paint.ts";
import { parseObject, readFileText } from "../send/payload.ts";

export function cardCommand(): Command {
  return subcommand("card")
    .description("check a card by Feishu's rules before it is sent, and show it as a terminal can")
    .argument(
      "<file>",
      'the JSON of a card of version 1.0 or 2.0, or a reference to a template; "-" reads the standard input',
    )
    .option("--json", "print one JSON object: faults and warnings, each with code, path, message and page")
    .addHelpText(
      "after",
      `
✖: Feishu refuses the card, with this code. !: it may be refused, or not be shown as meant. Each has its place as Feishu
writes it, and the page that has the rule.
The card may be inside the answer to a callback, or inside the message of a custom bot.
Exit code: 0 Feishu takes the card, 1 it refuses it, 2 there is no card to read.

Examples:
  npm run card -- order.json
  npm run --silent card -- order.json --json`,
    )
    .action(run);
}

async function run(file: string, options: { json?: boolean }): Promise<void> {
  // Not by readFileSync(0): a pipe whose writer is slow would be an error.
  const parsed =
    file === "-" ? parseObject(await text(process.stdin), "the standard input") : parseObject(readFileText(file), file);
  const shown = cardIn(parsed);
  const checked = checkCard(shown);
  if (options.json === true) print([JSON.stringify(checked, null, 2)]);
  else {
    if (depthOf(shown, maxDepth + 1) <= maxDepth) print(cardLines(cardView(JSON.stringify(shown) ?? "")));
    print(checked.faults.map((finding) => findingLine(paint("red", `✖ ${finding.code}`), finding)));
    print(checked.warnings.map((finding) => findingLine(paint("yellow", "!"), finding)));
  }
  if (checked.faults.length > 0) process.exitCode = 1;
}

/** The card itself, or that of a callback's answer, of a message's body, or of what a custom bot takes. */
function cardIn(parsed: JsonObject): unknown {
  const around = parsed["schema"] === undefined && isObject(parsed["card"]) ? parsed["card"] : parsed;
  const { type, data, content } = around;
  if (type === "raw") return data;
  return typeof content === "string" ? parseJson(content) : around;
}

function findingLine(sign: string, { path, message, value, page }: CardFinding): string {
  const about = value === undefined ? message : `${message}: ${value}`;
  return `${sign} ${oneLine(path)}  ${oneLine(about)}\n    ${paint("dim", page ?? "reported by users of the platform")}`;
}

function print(lines: readonly string[]): void {
  if (lines.length > 0) process.stdout.write(`${lines.join("\n")}\n`);
}
