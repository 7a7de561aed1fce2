import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Command } from "commander";
import { oldCardType } from "../../feishu/classify.ts";
import { type CatalogueEntry, doublySubscribed, find, nearestText, nearestTypes } from "../../simulator/catalogue.ts";
import { isSlip } from "../../simulator/nearest.ts";
import { checkHandlers, resultLines } from "../check/check.ts";
import { CommandError, oneLine, subcommand, UsageError } from "../command.ts";
import { paint } from "../paint.ts";
import { existingRoot } from "../project.ts";
import { generate, handlerNames } from "./generate.ts";
import { handlerSource, testSource } from "./templates.ts";

export function newCommand(): Command {
  return subcommand("new")
    .description("write a handler file for an event or callback type, with a test that runs it on a sample")
    .argument("<type>", 'like contact.user.created_v3 or url.preview.get; "npm run types" lists them')
    .option("--force", "also a type that looks like a misspelt one of the catalogue")
    .addHelpText(
      "after",
      `
Writes functions/events/<type>.ts and its test, functions/events/<type>.test.ts, and lists the handler in
functions/events.gen.ts; for a callback type, the same under callbacks. Nothing that exists is overwritten.
A type that the catalogue does not list is written as an event, with a declaration of its payload to fill in; without
--force, only if it does not look like a misspelt one.

Examples:
  npm run new -- contact.user.created_v3
  npm run new -- url.preview.get`,
    )
    .action(run);
}

async function run(type: string, options: WriteOptions): Promise<void> {
  const root = existingRoot();
  const { entry, written, changed } = await writeHandler(root, type, options);
  for (const path of written) print(`Wrote ${strong(path)}`);
  for (const path of changed) print(`Updated ${path}`);
  // The new file, and those that are there: another may have been broken before.
  for (const line of resultLines(await checkHandlers(root, process.env))) print(line);
  for (const warning of warnings(entry, root)) console.error(`Warning: ${warning}`);
  for (const step of nextSteps(entry)) print(step);
}

interface WriteOptions {
  /** Also a type that looks like a misspelt one of the catalogue. */
  readonly force?: boolean;
}

/**
 * Writes a handler with its test, and lists it.
 * @returns `written` and `changed`: paths, relative to the project's folder.
 */
export async function writeHandler(
  root: string,
  type: string,
  { force = false }: WriteOptions = {},
): Promise<{ entry: CatalogueEntry; written: readonly string[]; changed: readonly string[] }> {
  const entry = find(type) ?? unlisted(type, force);
  const written = new Map([
    [`${pathOf(entry)}.ts`, handlerSource(entry)],
    [`${pathOf(entry)}.test.ts`, testSource(entry)],
  ]);
  for (const path of written.keys()) {
    if (existsSync(join(root, path))) throw new CommandError(`Cannot write ${path}: it exists. Nothing was changed`);
  }
  for (const [path, source] of written) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    // `wx`: a file that appeared meanwhile is not overwritten either.
    writeFileSync(join(root, path), source, { flag: "wx" });
  }
  const { changed } = await generate({ root });
  return { entry, written: [...written.keys()], changed };
}

/** Without its ending. */
function pathOf({ kind, type }: CatalogueEntry): string {
  return `functions/${kind === "callback" ? "callbacks" : "events"}/${type}`;
}

/**
 * An entry for a type that the catalogue does not have: it may be newer.
 * @throws {UsageError} No type of the platform is spelt like this; or, unless forced, it looks like a misspelt one.
 */
function unlisted(type: string, isForced: boolean): CatalogueEntry {
  if (!/^(?=.{1,200}$)[a-z][a-zA-Z0-9_]*(\.[a-zA-Z0-9_]+)*(?<!\.ts)$/.test(type)) {
    throw new UsageError(
      `Cannot write a handler for "${oneLine(type, 100)}": a type begins with a small letter, has letters, digits, "_" and ` +
        `"." only, and is no file's name${nearestText(type, 3)}`,
    );
  }
  const [likely = ""] = nearestTypes(type, 1);
  if (!isForced && (likely.includes(type) || isSlip(type, likely))) {
    throw new UsageError(
      `Cannot write a handler for "${type}": the catalogue does not have it${nearestText(type, 3)}. ` +
        "Correct it, or pass --force if the platform has that type",
    );
  }
  const version = type.includes(".") ? "2.0" : "1.0";
  return {
    type,
    version,
    kind: "event",
    domain: "",
    title: type,
    chinese: { domain: "", title: null },
    isTyped: false,
  };
}

/** What may be wrong with a handler that was written. */
export function warnings({ type, domain }: CatalogueEntry, root: string): string[] {
  const unlisted =
    `"${type}" is not in the catalogue. The handler declares its payload ("declare module"): write down the ` +
    `members that you use. If you meant another type, delete both files${nearestText(type, 3)}`;
  const twice = doublySubscribed(handlerNames("events", root)).map(
    ([older, newer]) =>
      `"${older}" and "${newer}" report the same fact with different ids. Subscribe to one of them only`,
  );
  return domain === "" ? [unlisted, ...twice] : twice;
}

/** What is left to do, a line each: locally, and in the developer console. */
export function nextSteps(entry: CatalogueEntry): string[] {
  const { type, kind, chinese } = entry;
  const setting = type === "card.action.trigger" ? " --set event.action.value.order=42" : "";
  const attempts = [
    `Try it: with "npm start" in another terminal, ${strong(`npm run send -- ${type}${setting}`)}`,
    `Test it: ${strong(`npm test -- ${pathOf(entry)}.test.ts`)}`,
  ];
  const named = chinese.title === null ? type : `${type} (${chinese.title})`;
  const publish = "publish a version of the app; until then nothing changes";
  if (kind === "callback") {
    const way = type === oldCardType ? "" : "choose the long connection, or ";
    const ask =
      `Let Feishu ask: in the developer console, under Events & Callbacks (事件与回调) → Callback configuration (回调配置), ${way}paste the ` +
      `address that ends in /callback as the request URL; add ${named}, and ${publish}`;
    if (type !== oldCardType) return [...attempts, ask];
    const flag = strong("LEGACY_CARD_CALLBACK=true");
    return [`Switch it on: set ${flag}; without it, the old card callback is refused`, ...attempts, ask];
  }
  const push =
    "Let Feishu push: in the developer console, under Events & Callbacks (事件与回调) → Event configuration (事件配置), choose the long " +
    "connection, or paste the address that ends in /webhook as the request URL; " +
    `add ${named}, grant a permission that it asks for, and ${publish}`;
  const subscription = subscriptions.find(([types]) => types.test(type))?.[1];
  return [...attempts, push, ...(subscription === undefined ? [] : [`Subscribe as well: ${subscription}`])];
}

/**
 * What the platform wants to be called before it pushes events of these types.
 * https://open.feishu.cn/document/ukTMukTMukTM/uYDNxYjL2QTM24iN0EjN/event-subscription-configure-/subscription-event-case
 */
const subscriptions: readonly (readonly [types: RegExp, call: string])[] = [
  [/(^|_)approval/, "for each approval definition, POST /open-apis/approval/v4/approvals/:approval_code/subscribe"],
  [/^calendar\./, "for each user, the subscription calls of the Calendar API with a user_access_token"],
  [/^drive\.file\./, "for each file, POST /open-apis/drive/v1/files/:file_token/subscribe"],
  [/^mail\./, "for each user, POST /open-apis/mail/v1/user_mailboxes/:user_mailbox_id/event/subscribe"],
];

function strong(text: string): string {
  return paint("bold", text);
}

function print(text: string): void {
  process.stdout.write(`${text}\n`);
}
