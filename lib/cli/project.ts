import { existsSync } from "node:fs";
import { dirname, join, resolve } from "node:path";

/** The engine's folder: this repository, or the package that a project installed. */
export const engineRoot = resolve(import.meta.dirname, "../..");

/**
 * The project's folder: `LARKPOST_ROOT`, or the nearest folder upwards from the current one that has a serverless.yml,
 * or the current one.
 */
export function projectRoot(): string {
  const given = process.env["LARKPOST_ROOT"];
  if (given !== undefined) return resolve(given);
  const current = process.cwd();
  for (let folder = current; ; folder = dirname(folder)) {
    if (existsSync(join(folder, "serverless.yml"))) return folder;
    if (folder === dirname(folder)) return current;
  }
}

/** Adds what is in the project's .env, and not in the environment. */
export function loadEnv(root: string): void {
  const file = join(root, ".env");
  if (existsSync(file)) process.loadEnvFile(file);
}
