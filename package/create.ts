import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { basename, dirname, isAbsolute, join, relative, resolve } from "node:path";
import { UsageError } from "../lib/cli/command.ts";
import { pack, runWithFolder } from "./pack.ts";
import { projectFiles } from "./project.ts";

// `npm run create -- ../my-bot` writes a project that has this engine as a package.

const root = resolve(import.meta.dirname, "..");

/**
 * @param folder Empty, or not there. Its name is the project's.
 * @throws {UsageError} The folder holds something, is inside this repository, or its name names no service.
 */
export async function create(folder: string): Promise<readonly string[]> {
  const name = basename(folder);
  if (!/^[a-z][a-z0-9-]{0,38}[a-z0-9]$/.test(name) || name === "larkpost") {
    throw new UsageError(
      `Cannot create "${name}": the folder's name is the project's. It has 2 to 40 small letters, digits and "-", begins with a letter, does not end with "-", and is not "larkpost"`,
    );
  }
  const fromRoot = relative(root, folder);
  if (!/^\.\.([\\/]|$)/.test(fromRoot) && !isAbsolute(fromRoot)) {
    throw new UsageError(`Cannot create ${folder}: it is inside this clone. Name one beside it: ../${name}`);
  }
  if (filesIn(folder).some((file) => file !== ".git")) {
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

/** Makes the folder if it is not there: one that cannot be written is found before the engine is compiled. */
function filesIn(folder: string): string[] {
  mkdirSync(folder, { recursive: true });
  return readdirSync(folder);
}

if (import.meta.main) {
  await runWithFolder("npm run create -- ../my-bot", async (folder) => {
    for (const file of await create(folder)) console.log(`Wrote ${join(folder, file)}`);
    const shown = /^[\w./\\:-]+$/.test(folder) ? folder : `"${folder}"`;
    console.log(`Next: cd ${shown} && npm ci && npm start`);
  });
}
