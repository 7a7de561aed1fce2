import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { styleText } from "node:util";
import type { Command } from "commander";
import { hasSample, sampleEnvelope } from "../simulator/samples.ts";
import { type CatalogueEntry, doublySubscribed, find, nearest } from "./catalogue.ts";
import { oneLine, quoted, subcommand, UsageError, withUsage } from "./command.ts";
import { generate, handlerNames } from "./generate.ts";
import { projectRoot } from "./project.ts";

export function newCommand(): Command {
  const command = subcommand("new")
    .description("write a handler file for an event type, with a test that runs it on a sample")
    .argument("<type>", 'event type, like contact.user.created_v3; "npm run types" lists them')
    .addHelpText(
      "after",
      `
Writes functions/events/<type>.ts and test/events/<type>.test.ts, and lists the handler in
functions/events.gen.ts. Nothing that exists is overwritten.

Example:
  npm run new -- contact.user.created_v3`,
    );
  return command.action((type: string) => withUsage(command, () => run(type)));
}

async function run(type: string): Promise<void> {
  const root = projectRoot();
  const entry = checkedEntry(type);
  const written = new Map([
    [`functions/events/${type}.ts`, handlerSource(entry)],
    [`test/events/${type}.test.ts`, testSource(type)],
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
  print(`Try it: with "npm start" in another terminal, ${strong(`npm run send -- ${type}`)}`);
}

function checkedEntry(type: string): CatalogueEntry {
  const entry = find(type);
  if (entry === undefined) {
    const names = quoted(nearest(type, 3));
    throw new UsageError(
      `Cannot write a handler for "${oneLine(type, 100)}": it is not in the catalogue. Nearest: ${names}. ` +
        "For a type that is newer than the catalogue, copy a file of functions/events/",
    );
  }
  if (entry.kind === "callback") {
    throw new UsageError(
      `Cannot write a handler for "${type}": it is a callback, answered while the user waits. ` +
        "Callbacks get files under functions/callbacks/ in a later release",
    );
  }
  return entry;
}

function handlerSource({ type, title, version, isTyped }: CatalogueEntry): string {
  const declaration = isTyped && !mistyped.has(type) ? "" : `\n${declarationSource(type)}`;
  const key = messageKeys.get(type);
  const body = `log.info("${title}", { members: Object.keys(event).join(", ") });`;
  const handler =
    key === undefined
      ? `onEvent("${type}", async (event, { log }) => {
  ${body}
});`
      : `onEvent(
  "${type}",
  async (event, { log }) => {
    ${body}
  },
  // The platform advises this for messages: a repeated push may carry another event id.
  { key: ${key} },
);`;
  return `import { onEvent } from "../../lib/handler.ts";
${declaration}
/** ${title} (schema ${version}). Returning means done, throwing means another attempt. */
export default ${handler}
`;
}

/** Types whose identity is not the event's id, and what it is instead. */
const messageKeys: ReadonlyMap<string, string> = new Map([
  ["im.message.receive_v1", "({ message }) => message.message_id"],
  ["message", "({ open_message_id }) => open_message_id"],
]);

/** Types for which the SDK promises shapes that the wire does not have: lists that arrive as texts. */
const mistyped: ReadonlySet<string> = new Set(["out_approval", "leave_approvalV2"]);

/** The payload's type, where the SDK has none: read off the sample, if there is one. */
function declarationSource(type: string): string {
  const name = isIdentifier(type) ? type : JSON.stringify(type);
  const options = { nowMs: 0, appId: "cli_", newId: () => "0", schema: find(type)?.version };
  const shape = hasSample(type) ? shapeOf(sampleEnvelope(type, options).event, "    ") : "Record<string, unknown>";
  const comment = hasSample(type)
    ? "As in the sample; other members may come, and some of these may not."
    : "Its shape is not known here: write down the members that you use.";
  return `declare module "../../lib/handler.ts" {
  interface EventTypes {
    /** ${comment} */
    ${name}: ${shape};
  }
}
`;
}

/** A TypeScript type that the value has; objects over several lines, as the formatter keeps them. */
function shapeOf(value: unknown, indent: string): string {
  if (Array.isArray(value)) {
    const [first] = value;
    return first === undefined ? "unknown[]" : `${shapeOf(first, indent)}[]`;
  }
  if (value === null) return "unknown";
  if (typeof value !== "object") return typeof value;
  const members = Object.entries(value).map(
    ([name, member]) =>
      `${indent}  ${isIdentifier(name) ? name : JSON.stringify(name)}: ${shapeOf(member, `${indent}  `)};\n`,
  );
  return members.length === 0 ? "Record<string, unknown>" : `{\n${members.join("")}${indent}}`;
}

function testSource(type: string): string {
  return `import assert from "node:assert/strict";
import { test } from "node:test";
import handler from "../../functions/events/${type}.ts";
import { contextFor } from "../support/context.ts";

test("handles a sample of ${type}", async () => {
  const { event, context } = contextFor("${type}");
  await assert.doesNotReject(async () => handler.handle(event, context));
});
`;
}

function isIdentifier(name: string): boolean {
  return /^[A-Za-z_$][\w$]*$/.test(name);
}

function strong(text: string): string {
  return styleText("bold", text, { stream: process.stdout });
}

function print(text: string): void {
  process.stdout.write(`${text}\n`);
}
