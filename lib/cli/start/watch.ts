import { statfsSync } from "node:fs";
import chokidar from "chokidar";
import { configFile } from "../../../infra/project.js";
import { posix } from "../project.ts";

export interface Change {
  /** Relative to the project's folder, with `/`. */
  readonly path: string;
  readonly kind: "added" | "removed" | "changed";
}

/** The folder of the answers that the simulated Feishu is given. */
export const ownAnswers = "test/simulated";

const kinds: Readonly<Record<string, Change["kind"]>> = { add: "added", unlink: "removed", change: "changed" };

/**
 * File systems that report no change to Linux which was made on the other side: 9P (`/mnt/c` of WSL 2), FUSE (a folder
 * that Docker Desktop shares), VirtualBox's, NFS and SMB. The numbers are those of statfs.
 */
const silentFileSystems: ReadonlySet<number> = new Set([
  0x01021997, 0x65735546, 0x786f4256, 0x6969, 0x517b, 0xff534d42, 0xfe534d42,
]);

/** Whether files must be compared every 100 ms, since no event tells of a change. */
export function mustPoll(fileSystem: number): boolean {
  return silentFileSystems.has(fileSystem);
}

/** What two changes of one file come to, the later one `now`: an editor creates a file first, and then writes it. */
function netKind(before: Change["kind"] | undefined, now: Change["kind"]): Change["kind"] {
  if (before === "added" && now === "changed") return "added";
  return before === "removed" && now === "added" ? "changed" : now;
}

/** Calls `changed` once for the changes within 30 ms. A call waits until the one before has ended. */
export function watch(
  root: string,
  changed: (changes: readonly Change[]) => Promise<void>,
  { usePolling = mustPoll(statfsSync(root).type) } = {},
): { add: (modules: Iterable<string>) => void; close: () => Promise<void> } {
  const watcher = chokidar.watch(["functions", "lib", "infra", ownAnswers, configFile], {
    cwd: root,
    ignoreInitial: true,
    usePolling,
    // The code that only this process runs. A change of it needs a new start.
    ignored: (path, stats) =>
      /[\\/]lib[\\/](cli|local|simulator)[\\/]/.test(`/${path}/`) ||
      (stats?.isFile() === true && !/(?<!\.gen)\.([cm]?[jt]s|json)$/.test(path)),
  });
  let timer: NodeJS.Timeout | undefined;
  let changes = new Map<string, Change>();
  let working: Promise<void> = Promise.resolve();
  const others = new Set<string>();
  watcher.on("all", (event, file) => {
    const path = posix(file);
    const kind = kinds[event];
    if (kind === undefined) return;
    changes.set(path, { path, kind: netKind(changes.get(path)?.kind, kind) });
    // A single file that is gone is no longer watched.
    if (kind === "removed" && others.has(path)) watcher.add(path);
    clearTimeout(timer);
    timer = setTimeout(() => {
      const batch = [...changes.values()];
      changes = new Map();
      working = working.then(() => changed(batch)).catch((error: unknown) => console.error(error));
    }, 30);
  });
  return {
    /** Watches modules outside the folders as well. */
    add(modules) {
      for (const path of modules) {
        if (/^(functions|lib|infra|test\/simulated)\//.test(path) || others.has(path)) continue;
        others.add(path);
        watcher.add(path);
      }
    },
    async close() {
      clearTimeout(timer);
      await watcher.close();
      await working;
    },
  };
}
