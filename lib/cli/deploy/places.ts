import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { basename, dirname, join, relative, resolve, sep } from "node:path";
import type { Metafile } from "esbuild";
import { lineHashLength, type Places, placesFile } from "../../trace/places.ts";
import { isEngine, isPackage } from "../project.ts";

/** The name of a Node module among a bundle's files. */
const builtin = /\bbuiltin(-object)?:[\w\\/]+$/;

/** Whether a file is the project's own code: neither the engine nor a package, nor a module of Node. */
export function isUsers(root: string, path: string): boolean {
  const file = resolve(root, path);
  return !builtin.test(file) && file.startsWith(root + sep) && !isPackage(file) && !isEngine(file);
}

/**
 * Writes the file beside a bundle that says which places of the user's code are in its chunks: source maps without what
 * is of packages and of the engine, and a hash of each source line, since a line's number changes when lines are inserted
 * above it.
 * @param folder The bundle's, with a linked source map for each chunk.
 */
export function writePlaces(folder: string, { root, metafile }: { root: string; metafile: Metafile }): void {
  const shortNames = new Set<string>();
  const chunks = Object.entries(metafile.outputs).flatMap(([path, { inputs, entryPoint }]) => {
    // The entry itself holds no handler.
    const isEntry = basename(path) === "index.mjs" && entryPoint !== undefined;
    if (!path.endsWith(".mjs") || isEntry || !Object.keys(inputs).some((input) => isUsers(root, input))) return [];
    const file = resolve(root, path);
    const map = JSON.parse(readFileSync(`${file}.map`, "utf8")) as { sources: string[]; mappings: string };
    // In a source map they are URLs.
    const sources = map.sources.map((source) => relative(root, resolve(dirname(file), decodeURIComponent(source))));
    const users = new Set(sources.flatMap((source, index) => (isUsers(root, source) ? [index] : [])));
    const lines = Object.fromEntries(
      [...users].map((index) => {
        const source = sources[index] ?? "";
        const text = readFileSync(join(root, source), "utf8");
        for (const [, name = ""] of text.matchAll(/\bclass\s+(\w{1,3})\b/g)) shortNames.add(name);
        return [source, hashesOf(text)];
      }),
    );
    const named = sources.map((source, index) => (users.has(index) ? source : ""));
    const mappings = onlySources(map.mappings, users);
    return [[basename(path), { version: 3, sources: named, names: [], mappings, lines }] as const];
  });
  const code = createHash("sha256");
  const paths = Object.keys(metafile.outputs).filter((path) => path.endsWith(".mjs"));
  for (const path of paths.sort()) code.update(readFileSync(resolve(root, path)));
  const version = code.digest("hex").slice(0, 12);
  const places = { version, shortNames: [...shortNames], chunks: Object.fromEntries(chunks) } as unknown as Places;
  writeFileSync(join(folder, placesFile), `${JSON.stringify(places)}\n`);
}

/** A hash of each line. A line that is there twice has two. */
function hashesOf(source: string): string {
  const seen = new Map<string, number>();
  const hashes = source.split("\n").map((line) => {
    const count = (seen.get(line) ?? 0) + 1;
    seen.set(line, count);
    return createHash("sha256").update(`${count} ${line}`).digest("base64url").slice(0, lineHashLength);
  });
  return hashes.join("");
}

const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/**
 * The mappings of some sources, without names. A segment has its generated column, and then source, line and column, each
 * as the difference from the one before.
 * https://tc39.es/ecma426/
 */
export function onlySources(mappings: string, sources: ReadonlySet<number>): string {
  const read = [0, 0, 0];
  const written = [0, 0, 0];
  return mappings
    .split(";")
    .map((line) => {
      const columns = { read: 0, written: 0 };
      let isOpen = false;
      const kept: string[] = [];
      for (const segment of line === "" ? [] : line.split(",")) {
        const [column = 0, ...original] = decode(segment);
        columns.read += column;
        for (const [index, difference] of original.slice(0, 3).entries()) read[index] = (read[index] ?? 0) + difference;
        const isWanted = original.length > 0 && sources.has(read[0] ?? 0);
        // The first segment of other code ends what is mapped before it.
        if (!isWanted && !isOpen) continue;
        isOpen = isWanted;
        const place = isWanted ? read.map((value, index) => value - (written[index] ?? 0)) : [];
        if (isWanted) written.splice(0, 3, ...read);
        kept.push([columns.read - columns.written, ...place].map(encode).join(""));
        columns.written = columns.read;
      }
      return kept.join(",");
    })
    .join(";");
}

/** Base64 digits of five bits each, the lowest first. The lowest bit of a number is its sign. */
function decode(segment: string): number[] {
  const numbers: number[] = [];
  let [value, shift] = [0, 0];
  for (const character of segment) {
    const digit = digits.indexOf(character);
    value += (digit & 31) << shift;
    shift += 5;
    if (digit & 32) continue;
    numbers.push(value & 1 ? -(value >> 1) : value >> 1);
    [value, shift] = [0, 0];
  }
  return numbers;
}

function encode(number: number): string {
  let rest = number < 0 ? (-number << 1) | 1 : number << 1;
  let text = "";
  do {
    const digit = rest & 31;
    rest >>>= 5;
    text += digits[rest > 0 ? digit | 32 : digit];
  } while (rest > 0);
  return text;
}
