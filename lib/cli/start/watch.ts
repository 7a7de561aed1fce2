import chokidar from "chokidar";
import { configFile } from "../../../infra/project.js";

/**
 * Calls `changed` once for changes within 30 ms, with the path of the first. A call waits until the one before has
 * ended.
 */
export function watch(root: string, changed: (path: string) => Promise<void>): { close: () => Promise<void> } {
  const watcher = chokidar.watch(["functions", "lib", "infra", configFile], {
    cwd: root,
    ignoreInitial: true,
    // The code that only this process runs. A change of it needs a new start.
    ignored: (path, stats) =>
      /[\\/]lib[\\/](cli|local|simulator)([\\/]|$)/.test(`/${path}`) ||
      (stats?.isFile() === true && !/(?<!\.gen)\.(ts|js|json)$/.test(path)),
  });
  let timer: NodeJS.Timeout | undefined;
  let first: string | undefined;
  let working: Promise<void> = Promise.resolve();
  watcher.on("all", (_event, path) => {
    if (/\.gen\.ts$/.test(path)) return;
    first ??= path;
    clearTimeout(timer);
    timer = setTimeout(() => {
      const path = first ?? "";
      first = undefined;
      working = working.then(() => changed(path)).catch((error: unknown) => console.error(error));
    }, 30);
  });
  return {
    async close() {
      clearTimeout(timer);
      await watcher.close();
      await working;
    },
  };
}
