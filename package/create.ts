import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { UsageError } from "../lib/cli/command.ts";
import { pack } from "./pack.ts";
import { projectFiles } from "./project.ts";

// `npm run create -- ../my-bot` writes a project that has this engine as a package.

/**
 * @param folder Empty, or not there. Its name is the project's.
 * @throws {UsageError} The folder holds something, or its name names no service.
 */
export async function create(folder: string): Promise<readonly string[]> {
  const name = basename(folder);
  if (!/^[a-z][a-z0-9-]{0,38}[a-z0-9]$/.test(name) || name === "larkpost") {
    throw new UsageError(
      `Cannot create "${name}": the folder's name is the project's, so it has small letters, digits and "-" only, and is not "larkpost"`,
    );
  }
  if (existsSync(folder) && readdirSync(folder).some((file) => file !== ".git")) {
    throw new UsageError(`Cannot create ${folder}: it is not empty. Nothing was changed`);
  }
  const vendor = join(folder, "vendor");
  const packed = await pack(vendor);
  const path = `vendor/${basename(packed)}`;
  const files = projectFiles(name, { path, content: readFileSync(packed) });
  for (const [file, text] of files) {
    mkdirSync(dirname(join(folder, file)), { recursive: true });
    writeFileSync(join(folder, file), text);
  }
  return [...files.keys(), path];
}

if (import.meta.main) {
  try {
    const [folder, ...rest] = process.argv.slice(2);
    if (folder === undefined || folder.startsWith("-") || rest.length > 0) {
      throw new UsageError("Called wrongly. It is npm run create -- ../my-bot, with the folder of the new project");
    }
    const written = await create(resolve(folder));
    for (const file of written) console.log(`Wrote ${join(folder, file)}`);
    console.log(`Next: cd ${folder} && npm ci && npm start`);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    console.error(error.message);
    process.exitCode = 2;
  }
}
