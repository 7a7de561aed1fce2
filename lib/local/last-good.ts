import { existsSync, readFileSync } from "node:fs";
import { registerHooks } from "node:module";

/** In the functions' environment: a file with the source of each module that is to run in its last good version, by URL. */
export const lastGoodVariable = "LARKPOST_LAST_GOOD";

/** Makes this process load those modules in that version. */
export function loadLastGood(file: string | undefined): void {
  if (file === undefined || !existsSync(file)) return;
  const sources = new Map(Object.entries(JSON.parse(readFileSync(file, "utf8")) as Record<string, string>));
  registerHooks({
    resolve(specifier, context, resolve) {
      try {
        return resolve(specifier, context);
      } catch (error) {
        // The file was deleted.
        const url = URL.parse(specifier, context.parentURL)?.href ?? "";
        if (sources.has(url)) return { url, shortCircuit: true };
        throw error;
      }
    },
    load(url, context, load) {
      const source = sources.get(url);
      if (source === undefined) return load(url, context);
      return { format: url.endsWith(".json") ? "json" : "module-typescript", source, shortCircuit: true };
    },
  });
}
