import { spawn } from "node:child_process";

/**
 * Runs a script of a package on this process's Node.
 * @param options.signal Ends it at once.
 * @param options.isQuiet Keeps what it prints, instead of printing it.
 * @returns Its exit code, 1 when a signal ended it, and what it printed if that was kept.
 */
export async function runScript(
  script: string,
  args: readonly string[],
  options: { root: string; isQuiet: boolean; signal?: AbortSignal | undefined },
): Promise<{ code: number; output: string }> {
  const { root, isQuiet, signal } = options;
  const child = spawn(process.execPath, [script, ...args], {
    cwd: root,
    signal,
    // The compiler runs to its end after a SIGTERM.
    killSignal: "SIGKILL",
    stdio: isQuiet ? ["ignore", "pipe", "pipe"] : "inherit",
  });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding("utf8").on("data", (text: string) => {
      output += text;
    });
  }
  const { promise, resolve, reject } = Promise.withResolvers<number | null>();
  // A process that was aborted says so, and closes as well.
  child.once("error", (error) => (signal?.aborted === true ? undefined : reject(error)));
  child.once("close", resolve);
  return { code: (await promise) ?? 1, output };
}
