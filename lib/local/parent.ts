import { readFileSync } from "node:fs";

/** Calls `onGone` once npm has ended, which started this process. Node reports the end only of a parent that forked it. */
export function watchNpm(onGone: () => void): void {
  const before = parents();
  const timer = setInterval(() => {
    // On Windows the number stays when the parent has ended.
    if (parents() === before && isAlive(process.ppid)) return;
    clearInterval(timer);
    onGone();
  }, 500);
  timer.unref();
}

/** The parent's number. If that is the shell between npm and this process, npm's as well: Linux shows both. */
function parents(): string {
  const { ppid } = process;
  try {
    const [, option] = readFileSync(`/proc/${ppid}/cmdline`, "utf8").split("\0");
    const [npm = ""] = /PPid:.*/.exec(readFileSync(`/proc/${ppid}/status`, "utf8")) ?? [];
    return option === "-c" ? `${ppid} ${npm}` : String(ppid);
  } catch {
    return String(ppid);
  }
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}
