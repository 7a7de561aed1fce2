import { readFileSync } from "node:fs";
import { SourceMap, type SourceMapPayload, type SourceMapping } from "node:module";
import type { Frame } from "./thrown.ts";

/** The file beside a bundle that says which places of the user's code are in its chunks. The build writes it. */
export const placesFile = "places.json";
/** Characters of a source line's hash. */
export const lineHashLength = 4;

export interface Places {
  /** The beginning of the SHA-256 of all code of the bundle. */
  readonly version?: string;
  /** The names of the user's classes that are as short as those the bundler makes. */
  readonly shortNames?: readonly string[];
  /** The source map of each chunk, by file name, and for each source the hashes of its lines in one text. */
  readonly chunks: Readonly<Record<string, SourceMapPayload & { readonly lines: Readonly<Record<string, string>> }>>;
}

const isBundle = import.meta.url.endsWith(".mjs");
/** As stacks have it: a part of a URL. */
const engine = new URL("..", import.meta.url).pathname;
const maps = new Map<string, SourceMap>();
let read: Places | undefined;

/** Read when something first fails, so that no cold start waits for it. */
function places(): Places {
  try {
    const folder = import.meta.dirname.replace(/\/chunks$/, "");
    if (isBundle) read ??= JSON.parse(readFileSync(`${folder}/${placesFile}`, "utf8")) as Places;
  } catch {}
  read ??= { chunks: {} };
  return read;
}

export function codeVersion(): string | undefined {
  return places().version;
}

/** Whether a class has that name in the sources. In a bundle, other code's classes have names of up to three letters. */
export function isOriginalName(name: string): boolean {
  return !isBundle || name.length > 3 || places().shortNames?.includes(name) === true;
}

/** A frame's place in the sources, and a key that stays the same when lines are inserted above it; `undefined` if it is not in the user's code. */
export function placeOf({ path, line, column, at }: Frame): { at: string; key: string } | undefined {
  if (!isBundle) return path.startsWith(engine) ? undefined : { at, key: at.replace(/:\d+$/, "") };
  const name = path.slice(path.lastIndexOf("/") + 1);
  const chunk = places().chunks[name];
  if (chunk === undefined) return undefined;
  const map = maps.get(name) ?? new SourceMap(chunk);
  maps.set(name, map);
  const entryAt = (at: number) => map.findEntry(line - 1, at) as Partial<SourceMapping>;
  const [own, next] = [entryAt(column - 1), entryAt(column)];
  // V8 may name a member by its dot, which has no entry.
  const isDot = own.generatedColumn !== column - 1 && next.generatedColumn === column;
  const { originalSource: file, originalLine = 0, originalColumn = 0 } = isDot ? next : own;
  if (file === undefined) return undefined;
  const hash = chunk.lines[file]?.slice(originalLine * lineHashLength, (originalLine + 1) * lineHashLength);
  return { at: `${file}:${originalLine + 1}:${originalColumn + 1}`, key: `${file}:${hash}:${originalColumn}` };
}
