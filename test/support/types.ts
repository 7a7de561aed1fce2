import { mkdirSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";

const root = resolve(import.meta.dirname, "../..");
const folder = join(root, "node_modules/.cache/larkpost/types");
const configs = { types: join(root, "tsconfig.json"), functions: join(root, "functions/tsconfig.json") };

/** The variable that tells tests that the code of the pages, and what `new` writes, is compiled beside them. */
export const codeIsJudged = "LARKPOST_TESTS_CODE_IS_JUDGED";

/**
 * What tsc is given to judge several projects in one process, where the types of packages are parsed once: the official
 * SDK's alone are 17 MB. What it found out about files that have not changed since is kept for the next run.
 * @param others Folders of other projects, of which nothing is kept.
 */
export function tscArguments(projects: readonly (keyof typeof configs)[], others: readonly string[] = []): string[] {
  const files = projects.map((name) => {
    const file = join(folder, name, "tsconfig.json");
    const compilerOptions = { incremental: true, tsBuildInfoFile: join(folder, `${name}.tsbuildinfo`) };
    mkdirSync(join(folder, name), { recursive: true });
    // Written each time: after a newer configuration, files are compared by their contents instead of their times.
    writeFileSync(file, JSON.stringify({ extends: configs[name], compilerOptions }));
    return file;
  });
  // Several threads would each check the types that they share; the cores have the tests to run.
  return ["--build", "--singleThreaded", "--pretty", "false", ...files, ...others];
}
