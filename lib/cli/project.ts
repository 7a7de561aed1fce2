import { existsSync, readFileSync, statSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { parseEnv } from "node:util";
import { ConfigError } from "../errors.ts";

/** The engine's folder: this repository, or the package that a project installed. */
export const engineRoot = resolve(import.meta.dirname, "../..");

/** Where a project keeps the state of `npm start`, unless --state says otherwise. */
export const defaultState = ".larkpost";

/** What a command needs to use that state: ` --state .other`, or nothing. */
export function stateArgs(state: string): string {
  return state === defaultState ? "" : ` --state ${state}`;
}

/** A path with `/`, on Windows as well. */
export function posix(path: string): string {
  return path.replaceAll("\\", "/");
}

/** A path as messages name it: relative to the project's folder, with `/`. */
export function within(root: string, path: string): string {
  return posix(relative(root, path));
}

export function isPackage(module: string): boolean {
  return posix(module).includes("/node_modules/");
}

/** The paths of the engine's own modules. */
export const engineModules = new RegExp(
  `^${engineRoot.replaceAll(/[\\^$.*+?()[\]{}|]/g, "\\$&")}[\\\\/](?:lib|infra)[\\\\/]`,
);

export function isEngine(module: string): boolean {
  return engineModules.test(module);
}

/**
 * The project's folder: `LARKPOST_ROOT`, or the nearest folder upwards from the current one that has a serverless.yml,
 * or the current one.
 */
export function projectRoot(): string {
  return findRoot() ?? process.cwd();
}

/**
 * The project's folder, for a command that needs one. In a container's build stage it has no serverless.yml, but the
 * function that the container runs.
 * @throws {ConfigError} There is no project: files would be looked for, or written, anywhere.
 */
export function existingRoot(): string {
  const root = findRoot();
  if (root !== undefined) return root;
  if (existsSync("functions/long-connection.ts")) return process.cwd();
  const advice = "Change into the project's folder, or name it in LARKPOST_ROOT";
  throw new ConfigError(
    `There is no project: neither ${process.cwd()} nor a folder above it has a serverless.yml. ${advice}`,
  );
}

function findRoot(): string | undefined {
  const chosen = process.env["LARKPOST_ROOT"];
  if (chosen !== undefined) return resolve(chosen);
  for (let folder = process.cwd(); ; folder = dirname(folder)) {
    if (existsSync(join(folder, "serverless.yml"))) return folder;
    if (folder === dirname(folder)) return undefined;
  }
}

/**
 * Adds what is in the project's .env, and not in the environment.
 * @param isRead Says of a name whether it is read.
 */
export function loadEnv(root: string, isRead: (name: string) => boolean = () => true): void {
  for (const [name, value] of Object.entries(parseEnv(envFile(root)))) {
    if (isRead(name)) process.env[name] ??= value;
  }
}

/**
 * Names all settings that are missing. What is wrong with a single one is said where it is read.
 * @throws {ConfigError} At least two are not set, or empty.
 */
export function refuseUnset(task: string, names: readonly string[]): void {
  const unset = names.filter((name) => !process.env[name]);
  if (unset.length < 2) return;
  throw new ConfigError(
    `Cannot ${task}: ${unset.slice(0, -1).join(", ")} and ${unset.at(-1)} are not set. Put them into the environment or into .env`,
  );
}

/**
 * The text of the project's .env, or none.
 * @throws {ConfigError} It is a folder: Docker makes one of a file that it is to mount and does not find.
 */
export function envFile(root: string): string {
  const file = join(root, ".env");
  const found = statSync(file, { throwIfNoEntry: false });
  if (found?.isDirectory()) throw new ConfigError(`Cannot read ${file}: it is a folder`);
  return found === undefined ? "" : readText(file);
}

/** The text of a file that a person wrote. Editors and shells of Windows may write a byte order mark, or UTF-16. */
export function readText(file: string): string {
  const bytes = readFileSync(file);
  const encoding = bytes[0] === 0xff && bytes[1] === 0xfe ? "utf-16le" : "utf-8";
  return new TextDecoder(encoding).decode(bytes);
}
