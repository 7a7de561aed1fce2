import { readFileSync } from "node:fs";
import { isAbsolute, relative, sep } from "node:path";
import { fileURLToPath } from "node:url";
import { oneLine } from "../command.ts";
import { columnsOf, paint } from "../paint.ts";
import { nestedText } from "./render.ts";

export type SourceOf = (path: string) => string | undefined;

interface Frame {
  readonly name: string | undefined;
  /** Relative to the project's folder, with `/`. */
  readonly path: string;
  readonly line: number;
  readonly column: number;
}

const maxWords = 8;
const maxFrames = 5;
/** Characters around the caret that are shown of a long source line. */
const maxSource = 64;

/**
 * Shows an error: its words, the frames of the project's own code, and the first frame's source with a caret.
 * @param options.engineFolder The engine's sources, whose frames are left out.
 * @param options.sourceOf The text of a file as it was loaded.
 */
export function failureLines(
  detail: string,
  { root, engineFolder, sourceOf }: { root: string; engineFolder: string; sourceOf: SourceOf },
): string[] {
  const all = detail.split("\n");
  const isFrame = (line: string) => /^\s*at /.test(line);
  const words = all.filter((line) => !isFrame(line)).slice(0, maxWords);
  const frames = all.filter(isFrame);
  const own = frames.flatMap((line) => ownFrame(line, root, engineFolder) ?? []).slice(0, maxFrames);
  const [first] = own;
  const source = first === undefined ? undefined : (sourceOf(first.path) ?? read(`${root}/${first.path}`));
  const places = own.map(({ path, line, column, name }) => {
    const place = `at ${path}:${line}:${column}`;
    return name === undefined ? place : `${place}  ${name}`;
  });
  // Without a frame of the project's, the engine's first one says where to look, if the words do not.
  const outer = frames.filter((line) => !/node_modules|node:|\.gen\.ts:/.test(line)).map((line) => line.trimStart());
  const namesFile = words.some((line) => /\bfunctions\/[\w./-]+\.ts\b/.test(line));
  const shown = own.length > 0 || namesFile ? places : outer.slice(0, 1);
  return [
    ...words.map((line) => paint("red", oneLine(line))),
    ...shown.slice(0, 1).map((line) => oneLine(line)),
    ...(first === undefined || source === undefined ? [] : excerpt(source, first)),
    ...shown.slice(1).map((line) => paint("dim", oneLine(line))),
  ].map(nestedText);
}

function ownFrame(line: string, root: string, engineFolder: string): Frame | undefined {
  const [, name = "", file = "", row, column] = /at (?:async )?(?:(.*) \()?(.+):(\d+):(\d+)/.exec(line) ?? [];
  const path = file.startsWith("file:") ? fileURLToPath(file.split("?", 1)[0] ?? file) : file;
  if (!isAbsolute(path) || path.startsWith(`${engineFolder}${sep}`)) return undefined;
  const inRoot = relative(root, path).replaceAll(sep, "/");
  if (inRoot.startsWith("../") || isAbsolute(inRoot) || /node_modules\/|\.gen\.ts/.test(inRoot)) return undefined;
  return {
    name: ownName(name),
    path: inRoot,
    line: Number(row),
    column: Number(column),
  };
}

/**
 * V8 names the functions of an object after Object, and a handler without a name after the member before it:
 * `onEvent.dedupe [as handle]`. Neither says anything.
 */
function ownName(name: string): string | undefined {
  if (/^Object\.(?:<anonymous>|handle)$|^(?!Object\.).* \[as handle\]$/.test(name)) return undefined;
  return name.replace(/^Object\.(\S+).*/, "$1") || undefined;
}

/** `12 │ the source line`, and a caret under the place. */
function excerpt(source: string, { line, column }: Frame): string[] {
  const full = source.split(/\r?\n/)[line - 1];
  if (full === undefined || full.trim() === "") return [];
  const text = full.replaceAll("\t", " ");
  const margin = text.length - text.trimStart().length;
  const at = Math.max(margin, column - 1);
  const from = at - margin > maxSource - 16 ? at - 16 : margin;
  const number = String(line);
  const before = oneLine(text.slice(from, at));
  return [
    `${paint("dim", `${number} │`)} ${oneLine(text.slice(from, from + maxSource))}`,
    `${paint("dim", `${" ".repeat(number.length)} │`)} ${" ".repeat(columnsOf(before))}${paint("red", "^")}`,
  ];
}

function read(file: string): string | undefined {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return undefined;
  }
}
