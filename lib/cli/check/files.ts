import { existsSync, readdirSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { isSmokeType } from "../../handling/dispatcher.ts";
import { type CatalogueEntry, find, nearestText } from "../../simulator/catalogue.ts";
import { generate, type HandlerKind, handlerNames, reservedName } from "../handlers/generate.ts";
import { posix } from "../project.ts";
import type { Finding } from "./finding.ts";

/** Code that Larkpost does not run, since only `.ts` files right in the folder are handlers. */
const otherCode = /\.([cm]?jsx?|[cm]ts|tsx)$/i;
/** What file managers and browsers call a copy. */
const copy = /( \(\d+\)| - copy| copy( \d+)?)$/i;
const declaresHandler = /\bon(Event|AnyEvent|Callback)\s*\(/;

/** Faults that the names of the files in `functions/events` and `functions/callbacks` show, and stale lists. */
export async function checkFiles(root: string): Promise<Finding[]> {
  const { changed } = await generate({ root, check: true });
  const stale = changed.map((file): Finding => {
    const folder = file.replace(/\.gen\.ts$/, "/");
    return {
      part: "files",
      file,
      line: 1,
      message: `does not list what ${folder} holds. Run "npm run generate"`,
      isBroken: true,
    };
  });
  return [...checkFolder(root, "events"), ...checkFolder(root, "callbacks"), ...checkBeside(root), ...stale];
}

/** Handlers elsewhere in `functions/`, by their names. A file of the same name in its folder may load such a one. */
function checkBeside(root: string): Finding[] {
  const folder = join(root, "functions");
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { recursive: true, encoding: "utf8" }).flatMap((path): Finding[] => {
    const file = `functions/${posix(path)}`;
    const [, name = ""] = /([^/]+)\.[cm]?[jt]sx?$/.exec(file) ?? [];
    const entry = typeNamed(name);
    if (entry === undefined || /^functions\/(events|callbacks)\//.test(file)) return [];
    const wanted = `functions/${folderOf(entry)}/${entry.type}.ts`;
    if (existsSync(join(root, wanted)) || !declaresHandler.test(readFileSync(join(folder, path), "utf8"))) return [];
    return [{ part: "files", file, line: 1, message: `is ignored: it is in another folder. Make it ${wanted}` }];
  });
}

function checkFolder(root: string, kind: HandlerKind): Finding[] {
  const folder = join(root, "functions", kind);
  if (!existsSync(folder)) return [];
  const names = new Set(handlerNames(kind, root));
  return readdirSync(folder, { recursive: true, encoding: "utf8" }).flatMap((path): Finding[] => {
    const name = posix(path);
    const file = `functions/${kind}/${name}`;
    const isInside = name.includes("/");
    if (!isInside && names.has(basename(name, ".ts")) && name.endsWith(".ts")) {
      const message = nameMistake(kind, basename(name, ".ts"), () => readFileSync(join(folder, path), "utf8"));
      return message === undefined ? [] : [{ part: "files", file, line: 1, message }];
    }
    const stem = basename(name).replace(/\.\w+$/, "");
    // A hidden one is an editor's. Emacs's, for a file that is not saved, cannot be read.
    const isCode = !stem.startsWith(".") && (otherCode.test(name) || /(?<!\.test|\.d)\.ts$/i.test(name));
    // Without a call of ours, it may be what was written for the official SDK.
    const isNamed = !isInside && typeNamed(stem) !== undefined;
    if (!isCode || (!isNamed && !declaresHandler.test(readFileSync(join(folder, path), "utf8")))) return [];
    const wanted = `functions/${kind}/${stem}.ts`;
    const why = isInside ? "it is in a sub-folder" : "it is not a .ts file";
    const cure = existsSync(join(root, wanted)) ? `Delete it: there is ${wanted}` : `Make it ${wanted}`;
    return [{ part: "files", file, line: 1, message: `is ignored: ${why}. ${cure}` }];
  });
}

/** What is wrong with a handler file's name, and what to do. */
function nameMistake(kind: HandlerKind, name: string, source: () => string): string | undefined {
  if (kind === "events" && name === "_default") return undefined;
  if (isSmokeType(name)) return reservedName;
  if (copy.test(name)) return `looks like a copy of ${name.replace(copy, "")}.ts. Delete it`;
  const entry = find(name);
  if (entry !== undefined) {
    const wanted = folderOf(entry);
    const what = entry.kind === "callback" ? "a callback" : "an event";
    return wanted === kind
      ? undefined
      : `is in the wrong folder: "${name}" is ${what}. Move it to functions/${wanted}/`;
  }
  if (isDeclared(name, source())) return undefined;
  const near = nearestText(name, 3, kind === "events" ? ["_default"] : []);
  return declaresHandler.test(source())
    ? `"${name}" is not in the catalogue${near}. If the platform has it, declare its payload (declare module "larkpost")`
    : `is no handler, and "${name}" is no type${near}. Move code that handlers share to functions/shared/`;
}

/** The type that a file is named after. A name of one word, such as `message`, may be of any code. */
function typeNamed(name: string): CatalogueEntry | undefined {
  return /[._]/.test(name) ? find(name) : undefined;
}

function folderOf({ kind }: CatalogueEntry): HandlerKind {
  return kind === "callback" ? "callbacks" : "events";
}

/** Whether the file declares the payload of its type, which makes it a type of the project's own. */
function isDeclared(name: string, source: string): boolean {
  const [, declared = ""] = /declare module ["']larkpost["']([\s\S]*)/.exec(source) ?? [];
  return (
    declared.includes(`"${name}"`) || declared.includes(`'${name}'`) || new RegExp(`\\b${name}\\??:`).test(declared)
  );
}
