import assert from "node:assert/strict";
import {
  cpSync,
  existsSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { generate } from "../../lib/cli/handlers/generate.ts";
import { type Block, readPage } from "./markdown.ts";
import { writeNewProject } from "./new-project.ts";

const root = resolve(import.meta.dirname, "../..");
const read = (path: string) => readFileSync(join(root, path), "utf8");

/** Each page in English and in Chinese. */
export const pairs: readonly (readonly [english: string, chinese: string])[] = [
  ["README.md", "README.zh-CN.md"],
  ...globSync("docs/*.md", { cwd: root })
    .sort()
    .map((path) => [path, path.replace("docs/", "docs/zh-CN/")] as const),
];

/**
 * The code of all pages, each a project as a reader would have it, and what `new` writes. Code is the same in both languages.
 * @returns `folder`: its tsconfig.json has all of them compiled as handler files are: style is not judged.
 */
export async function pageProjects(): Promise<{ folder: string; remove: () => void }> {
  const folder = mkdtempSync(join(tmpdir(), "larkpost-docs-"));
  cpSync(join(root, "package.json"), join(folder, "package.json"));
  for (const name of ["lib", "infra", "node_modules"]) symlinkSync(join(root, name), join(folder, name), "dir");
  for (const [path] of pairs) await writeProject(path, join(folder, "pages", path.replaceAll(/\W/g, "-")));
  await writeNewProject(join(folder, "new"));
  const config = { extends: join(root, "functions/tsconfig.json"), include: ["pages", "new"] };
  writeFileSync(join(folder, "tsconfig.json"), JSON.stringify(config));
  return { folder, remove: () => rmSync(folder, { recursive: true, force: true }) };
}

/** A page's code as a project: a block under the name in its first line, of others the imports. */
async function writeProject(path: string, folder: string): Promise<void> {
  for (const kind of ["events", "callbacks"]) mkdirSync(join(folder, "functions", kind), { recursive: true });
  const { blocks } = readPage(read(path));
  for (const [index, { language, code }] of blocks.entries()) {
    if (language !== "ts" && language !== "js") continue;
    const name = /^\/\/ (\S+\.(?:ts|js))\n/.exec(code)?.[1];
    const file = join(folder, name ?? `block-${index}.ts`);
    assert.ok(!existsSync(file), `${path} shows ${name} twice`);
    mkdirSync(dirname(file), { recursive: true });
    // A page promises more of its JavaScript than `functions/tsconfig.json` asks for.
    const check = language === "js" ? "// @ts-check\n" : "";
    writeFileSync(file, check + (name === undefined ? importsOf(code) : code));
  }
  writeFileSync(join(folder, "installed.d.ts"), installedModules(blocks));
  await generate({ root: folder });
}

function importsOf(code: string): string {
  return [...code.matchAll(/^import [\s\S]*?;$/gm)].map(([statement]) => statement).join("\n");
}

/** Packages that the page tells the reader to install: the project does not have them. */
function installedModules(blocks: readonly Block[]): string {
  const commands = blocks.flatMap(({ code }) => [...code.matchAll(/^npm install (\S+)$/gm)]);
  return commands.map(([, name]) => `declare module "${name}";\n`).join("");
}
