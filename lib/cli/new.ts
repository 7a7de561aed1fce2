import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { styleText } from "node:util";
import type { Command } from "commander";
import { oldCardType } from "../feishu/classify.ts";
import { type CatalogueEntry, doublySubscribed, find, nearestTypes } from "./catalogue.ts";
import { oneLine, quoted, subcommand, UsageError, withUsage } from "./command.ts";
import { generate, handlerNames } from "./generate.ts";
import { projectRoot } from "./project.ts";
import { handlerSource, testSource } from "./templates.ts";

export function newCommand(): Command {
  const command = subcommand("new")
    .description("write a handler file for an event or callback type, with a test that runs it on a sample")
    .argument("<type>", 'like contact.user.created_v3 or url.preview.get; "npm run types" lists them')
    .addHelpText(
      "after",
      `
Writes functions/events/<type>.ts and test/events/<type>.test.ts, and lists the handler in
functions/events.gen.ts; for a callback type, the same under callbacks. Nothing that exists is overwritten.

Examples:
  npm run new -- contact.user.created_v3
  npm run new -- url.preview.get`,
    );
  return command.action((type: string) => withUsage(command, () => run(type)));
}

async function run(type: string): Promise<void> {
  const root = projectRoot();
  const entry = checkedEntry(type);
  const folder = entry.kind === "callback" ? "callbacks" : "events";
  const written = new Map([
    [`functions/${folder}/${type}.ts`, handlerSource(entry)],
    [`test/${folder}/${type}.test.ts`, testSource(entry)],
  ]);
  for (const path of written.keys()) {
    if (existsSync(join(root, path))) throw new UsageError(`Cannot write ${path}: it exists. Nothing was changed`);
  }
  for (const [path, source] of written) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    // `wx`: a file that appeared meanwhile is not overwritten either.
    writeFileSync(join(root, path), source, { flag: "wx" });
  }
  const { changed } = await generate({ root });

  for (const path of written.keys()) print(`Wrote ${strong(path)}`);
  for (const path of changed) print(`Updated ${path}`);
  for (const [older, newer] of doublySubscribed(handlerNames("events", root))) {
    console.error(
      `Warning: "${older}" and "${newer}" report the same fact with different ids. Subscribe to one of them only`,
    );
  }
  if (type === oldCardType) {
    print(`Switch it on: set ${strong("LEGACY_CARD_CALLBACK=true")}; without it, the old card callback is refused`);
  }
  const setting = type === "card.action.trigger" ? " --set event.action.value.order=42" : "";
  print(`Try it: with "npm start" in another terminal, ${strong(`npm run send -- ${type}${setting}`)}`);
  if (entry.kind === "callback") {
    print(
      "Let Feishu ask: paste the address that ends in /callback into the developer console, under " +
        `Events & Callbacks → Callback configuration → Request URL, and add ${type} there`,
    );
  }
}

function checkedEntry(type: string): CatalogueEntry {
  const entry = find(type);
  if (entry === undefined) {
    const names = quoted(nearestTypes(type, 3));
    throw new UsageError(
      `Cannot write a handler for "${oneLine(type, 100)}": it is not in the catalogue. Nearest: ${names}. ` +
        "For a type that is newer than the catalogue, copy a file of functions/events/",
    );
  }
  return entry;
}

function strong(text: string): string {
  return styleText("bold", text, { stream: process.stdout });
}

function print(text: string): void {
  process.stdout.write(`${text}\n`);
}
