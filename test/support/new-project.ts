import assert from "node:assert/strict";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { generate } from "../../lib/cli/handlers/generate.ts";
import { writeHandler } from "../../lib/cli/handlers/new.ts";

/** Typed by the SDK, mistyped by it, without a type but with a sample, without either, and not in the catalogue. */
export const eventTypes = [
  "im.message.receive_v1",
  "im.chat.updated_v1",
  "out_approval",
  "approval_instance",
  "approval_cc",
  "calendar.room.booked_v9",
];
export const callbackTypes = ["card.action.trigger", "card.action.trigger_v1", "url.preview.get", "profile.view.get"];

/** As somebody brings it from elsewhere: compiles under `strict`, but neither as our formatter writes nor as our linter likes. */
const ported = `import { onEvent } from 'larkpost'
import { prices } from '../shared/prices.js'
interface Options { note?: string; [name: string]: string | undefined }
const unused = 1
function find(names: string[], wanted: string) {
  for (const name of names) { if (name == wanted) return name.length }
}
export default onEvent('contact.user.created_v3', async ({ object }, context) => {
  var options: Options = { note: object?.name }
  const first = [options.note ?? ''][0].length
  switch (find([], 'x')) { case 1: options.other = process.env.HOME; default: prices.sum(first) }
  if (options.note) return options.note
})
`;

/** A project in an empty folder, with what `new` writes for each of those types and with {@link addJudged}. */
export async function writeNewProject(root: string): Promise<void> {
  for (const kind of ["events", "callbacks"]) mkdirSync(join(root, "functions", kind), { recursive: true });
  for (const type of [...eventTypes, ...callbackTypes]) await writeHandler(root, type);
  // It is compiled with the pages, which declare this type with fewer members.
  for (const ending of [".ts", ".test.ts"]) {
    const file = join(root, `functions/events/approval_instance${ending}`);
    const text = readFileSync(file, "utf8").replaceAll("approval_instance", "approval_instances");
    writeFileSync(join(root, `functions/events/approval_instances${ending}`), text);
    rmSync(file);
  }
  await addJudged(root);
}

/**
 * Adds to such a project what the compiler has to take, a handler from elsewhere, and what it has to mind: a member that
 * the payload has not, an answer that the platform does not know, and a file that has another type than its name says.
 * Above each of those lines stands that it is wrong, so the project compiles only if it is.
 */
export async function addJudged(root: string): Promise<void> {
  const path = (name: string) => join(root, "functions", name);
  const write = (name: string, text: string) => writeFileSync(path(name), text);
  const read = (name: string) => readFileSync(path(name), "utf8");
  mkdirSync(path("shared"), { recursive: true });
  write("shared/prices.js", "export const prices = { sum: (list) => list };\n");
  write("events/contact.user.created_v3.ts", ported);
  write("events/im.chat.disbanded_v1.ts", read("events/im.message.receive_v1.ts"));
  await generate({ root });
  write("events.gen.ts", wrong(read("events.gen.ts"), '"im.chat.disbanded_v1": '));
  const event = read("events/out_approval.ts").replace(/\ndeclare module[\s\S]*?\n}\n/, "");
  write("wrong.ts", wrong(event.replace("Object.keys(event)", "event.out_nothing"), "event.out_nothing"));
  const answer = read("callbacks/card.action.trigger.ts").replace('"success"', '"victory"');
  assert.match(answer, /"victory"/);
  write("wrong-answer.ts", wrong(answer, "onCallback("));
}

/** A source in which the last line with such a text does not compile. */
function wrong(source: string, text: string): string {
  const at = source.lastIndexOf("\n", source.lastIndexOf(text));
  assert.ok(at > 0, text);
  return `${source.slice(0, at)}\n// @ts-expect-error${source.slice(at)}`;
}
