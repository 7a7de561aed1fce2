import { execFile } from "node:child_process";
import { cpSync, globSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { promisify } from "node:util";
import { entryFiles } from "../lib/cli/check/engine-parts.ts";
import { UsageError } from "../lib/cli/command.ts";

// `npm run pack` makes the tarball that a project has as its engine: JavaScript, since Node strips no types under
// node_modules, with its declarations, the pages of docs/, and what `larkpost check` compares a project with.

const root = resolve(import.meta.dirname, "..");
const run = promisify(execFile);

/** This repository's package.json, as far as it is read here. */
interface EnginePackage {
  readonly name: string;
  readonly version: string;
  readonly exports: Readonly<Record<string, string>>;
  readonly scripts: Readonly<Record<string, string>>;
  readonly dependencies: Readonly<Record<string, string>>;
  readonly devDependencies: Readonly<Record<string, string>>;
  readonly allowScripts: Readonly<Record<string, boolean>>;
  readonly engines: Readonly<Record<string, string>>;
}

export const enginePackage = readJson<EnginePackage>("package.json");

export function readJson<T>(file: string): T {
  return JSON.parse(readFileSync(join(root, file), "utf8")) as T;
}

/** The package.json of the tarball. */
export function packedManifest({ version }: { version: string }): Omit<EnginePackage, "exports"> & { exports: object } {
  const { devDependencies, scripts, allowScripts, ...manifest } = enginePackage;
  const faces = Object.entries(manifest.exports).map(([face, file]) => {
    const path = file.replace(/\.[jt]s$/, "");
    return [face, { types: `${path}.d.ts`, default: `${path}.js` }];
  });
  return { ...manifest, version, exports: Object.fromEntries(faces) } as ReturnType<typeof packedManifest>;
}

/**
 * Writes `larkpost-<version>.tgz` into a folder.
 * @returns Its path.
 */
export async function pack(folder: string, { version = enginePackage.version } = {}): Promise<string> {
  const staged = mkdtempSync(join(tmpdir(), "larkpost-pack-"));
  try {
    await compile(staged);
    const others = [
      "README.md",
      "README.zh-CN.md",
      "CHANGELOG.md",
      "LICENSE",
      "Containerfile",
      "serverless.yml",
      ...entryFiles,
    ];
    for (const file of [...others, ...globSync("docs/{,zh-CN/}*.md", { cwd: root }), "docs/picture/start.svg"]) {
      cpSync(join(root, file), join(staged, file));
    }
    writeFileSync(join(staged, "package.json"), `${JSON.stringify(packedManifest({ version }), null, 2)}\n`);
    mkdirSync(folder, { recursive: true });
    await npm(["pack", staged, "--pack-destination", resolve(folder), "--silent"], folder);
    return join(resolve(folder), `larkpost-${version}.tgz`);
  } finally {
    rmSync(staged, { recursive: true, force: true });
  }
}

async function compile(folder: string): Promise<void> {
  const tsc = join(dirname(createRequire(import.meta.url).resolve("typescript/package.json")), "bin/tsc");
  await run(process.execPath, [tsc, "--project", join(import.meta.dirname, "tsconfig.json"), "--outDir", folder]);
}

/** Runs the npm that runs this script, or the machine's. */
export async function npm(args: readonly string[], cwd: string, env: NodeJS.ProcessEnv = process.env): Promise<string> {
  const script = process.env["npm_execpath"];
  const { stdout } =
    script === undefined
      ? await run("npm", args, { cwd, env, shell: process.platform === "win32" })
      : await run(process.execPath, [script, ...args], { cwd, env });
  return stdout;
}

/**
 * Runs a script whose one argument is a folder. npm runs scripts in this repository's folder, and says where it was
 * called itself.
 * @param usage How it is called, with an example of the folder.
 * @param options.otherwise The folder where none is given.
 */
export async function runWithFolder(
  usage: string,
  work: (folder: string) => Promise<void>,
  { otherwise = "" } = {},
): Promise<void> {
  const [folder = otherwise, ...rest] = process.argv.slice(2);
  try {
    if (folder === "--help" || folder === "-h") return console.log(`Usage: ${usage}`);
    if (folder === "" || folder.startsWith("-") || rest.length > 0)
      throw new UsageError(`Called wrongly. It is ${usage}`);
    await work(resolve(process.env["INIT_CWD"] ?? ".", folder));
  } catch (error) {
    const isSystemError = error instanceof Error && "syscall" in error && "path" in error;
    if (!(error instanceof UsageError) && !isSystemError) throw error;
    console.error(isSystemError ? `Cannot go on: ${error.message}. Check that path and its rights` : error.message);
    process.exitCode = isSystemError ? 1 : 2;
  }
}

if (import.meta.main) {
  const print = async (folder: string) => console.log(await pack(folder));
  await runWithFolder("npm run pack -- ../my-bot/vendor", print, { otherwise: "." });
}
