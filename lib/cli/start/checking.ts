import { lastGoodVariable } from "../../local/last-good.ts";
import { checkHandlers } from "../check/check.ts";
import { checkTypes } from "../check/compiler.ts";
import { type Finding, isRepeated } from "../check/finding.ts";
import { rememberGood } from "./last-good.ts";
import type { createOutput } from "./output.ts";
import type { Change } from "./watch.ts";

/** Checks the handlers at the start and after each change, and prints what it finds. */
export function startChecking(options: {
  readonly root: string;
  /** As in {@link rememberGood}. */
  readonly lastGoodFile: string;
  readonly output: ReturnType<typeof createOutput>;
  readonly names: () => { readonly handlers: readonly string[]; readonly callbacks: readonly string[] };
}) {
  const { root, lastGoodFile, output, names } = options;
  const good = rememberGood(root, lastGoodFile);
  let compiling = new AbortController();
  let compiled: Promise<void> = Promise.resolve();
  let working: Promise<unknown> = Promise.resolve();

  async function checkOnce(changes: readonly Change[], reload?: () => Promise<unknown>): Promise<ReadonlySet<string>> {
    compiling.abort();
    compiling = new AbortController();
    const { signal } = compiling;
    const checked = await checkHandlers(root, process.env);
    const env = { ...process.env, [lastGoodVariable]: lastGoodFile };
    const kept = await good.keep(checked, async () => (await checkHandlers(root, env)).findings);
    await reload?.();
    output.checked({ changes, checked, kept, ...names() });
    compiled = checkTypes(root, { signal }).then((findings) => {
      const broken = new Set(checked.findings.map(({ file }) => file));
      const isPrinted = (finding: Finding) =>
        (finding.isBroken && broken.has(finding.file)) || isRepeated(finding, checked.findings);
      if (!signal.aborted) output.compiled(findings.filter((finding) => !isPrinted(finding)));
    });
    return checked.modules;
  }

  return {
    /** The text of that file, relative to the root, as it was when it could be loaded. */
    sourceOf: good.textOf,
    /**
     * Loads each handler, lets `reload` put the code to work, with broken files in their last good version, and prints
     * the result. The types are checked after that, in the background; the next change ends an older check of them. A
     * call waits until the one before has ended. Resolves with the project's own modules that were loaded.
     */
    check(changes: readonly Change[], reload?: () => Promise<unknown>): Promise<ReadonlySet<string>> {
      const checked = working
        .then(() => checkOnce(changes, reload))
        .catch((error: unknown) => {
          console.error(error);
          return new Set<string>();
        });
      working = checked;
      return checked;
    },
    async close(): Promise<void> {
      await working;
      compiling.abort();
      await compiled;
    },
  };
}
