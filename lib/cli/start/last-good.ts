import { existsSync, globSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { Finding } from "../check/finding.ts";
import { posix } from "../project.ts";

/**
 * Remembers the files of `functions/`, and what those import from elsewhere, as they were when they could be loaded, so
 * that a file that a save has broken or taken away goes on in its last good version.
 * @param file Where `lib/local/last-good.ts` finds the versions that are to be loaded.
 */
export function rememberGood(root: string, file: string) {
  const good = new Map<string, string>();
  // What the run before has left is of no use to this one.
  rmSync(file, { force: true });
  return {
    /** The text of that file, relative to the root, as it was when it could be loaded. */
    textOf: (path: string) => good.get(path),
    /**
     * Called after each check.
     * @param checkAgain What is wrong with the files of now, the kept ones in their last good version.
     * @returns The files, relative to the root, whose last good version is loaded from now on.
     */
    async keep(
      { findings, modules }: { findings: readonly Finding[]; modules: Iterable<string> },
      checkAgain: () => Promise<readonly Finding[]>,
    ): Promise<string[]> {
      const found = globSync("functions/*/**/*.{ts,js,json}", { cwd: root }).map(posix);
      const now = new Map(
        [...found, ...modules, ...good.keys()].map((path) => [path, textIn(join(root, path))] as const),
      );
      const put = (paths: readonly string[]) => {
        const sources = paths.map((path) => [pathToFileURL(join(root, path)).href, good.get(path)]);
        writeFileSync(file, JSON.stringify(Object.fromEntries(sources)), { mode: 0o600 });
        return paths;
      };
      const broken = brokenIn(findings);
      const changed = [...now]
        .filter(([path, text]) => good.has(path) && good.get(path) !== text && !(text === undefined && isHandler(path)))
        .map(([path]) => path);
      // An unchanged file can only be broken by a changed one, and it is not known which.
      const isExplained = [...broken].every((path) => changed.includes(path) || !good.has(path));
      let replaced = put(isExplained ? changed.filter((path) => broken.has(path)) : changed);
      // Nor may an old version fit what else has changed, such as a name that it imports.
      const isPart = replaced.length > 0 && replaced.length < changed.length;
      if (isPart && [...brokenIn(await checkAgain())].some((path) => good.has(path))) replaced = put(changed);
      for (const [path, text] of now) {
        if (broken.has(path) || replaced.includes(path)) continue;
        if (text === undefined) good.delete(path);
        else good.set(path, text);
      }
      return [...replaced];
    },
  };
}

function textIn(file: string): string | undefined {
  return existsSync(file) ? readFileSync(file, "utf8") : undefined;
}

/** A handler that was taken away is not missed by other files. */
function isHandler(path: string): boolean {
  return /^functions\/(events|callbacks)\/[^/]+$/.test(path);
}

function brokenIn(findings: readonly Finding[]): ReadonlySet<string> {
  return new Set(findings.filter(({ isBroken }) => isBroken).map((finding) => finding.file));
}
