import { globSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { Finding } from "../check/finding.ts";
import { posix } from "../project.ts";

/**
 * Remembers the files of `functions/` as they were when they could be loaded, so that a file that a save has broken
 * goes on in its last good version.
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
    async keep(findings: readonly Finding[], checkAgain: () => Promise<readonly Finding[]>): Promise<string[]> {
      const now = new Map(
        globSync("functions/*/**/*.{ts,js,json}", { cwd: root }).map((path) => [
          posix(path),
          readFileSync(join(root, path), "utf8"),
        ]),
      );
      const put = (paths: readonly string[]) => {
        const sources = paths.map((path) => [pathToFileURL(join(root, path)).href, good.get(path)]);
        writeFileSync(file, JSON.stringify(Object.fromEntries(sources)), { mode: 0o600 });
        return paths;
      };
      const broken = brokenIn(findings);
      const changed = [...now].filter(([path, text]) => (good.get(path) ?? text) !== text).map(([path]) => path);
      // A file that nobody touched is broken by one that somebody did, and it is not known by which.
      const isExplained = [...broken].every((path) => changed.includes(path) || !good.has(path));
      let replaced = put(isExplained ? changed.filter((path) => broken.has(path)) : changed);
      // Nor may an old version fit what else has changed, such as a name that it imports.
      const isPart = replaced.length > 0 && replaced.length < changed.length;
      if (isPart && [...brokenIn(await checkAgain())].some((path) => good.has(path))) replaced = put(changed);
      for (const [path, text] of now) if (!broken.has(path) && !replaced.includes(path)) good.set(path, text);
      return [...replaced];
    },
  };
}

function brokenIn(findings: readonly Finding[]): ReadonlySet<string> {
  return new Set(findings.filter(({ isBroken }) => isBroken).map((finding) => finding.file));
}
