import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { nodeEnv } from "./node-env.ts";
import { fixtureProject } from "./project.ts";
import { until } from "./until.ts";

const project = await fixtureProject();
process.once("exit", project.remove);

/** `functions/long-connection.ts` as a process of its own, with callbacks of the tests; no setting of this process reaches it. */
export function startProcess(env: Readonly<Record<string, string>>) {
  const child = spawn(process.execPath, [join(project.root, "functions/long-connection.ts")], {
    env: { ...nodeEnv, ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const lines: Record<string, unknown>[] = [];
  let text = "";
  createInterface({ input: child.stdout }).on("line", (line) => {
    text += `${line}\n`;
    lines.push(JSON.parse(line));
  });
  child.stderr.setEncoding("utf8").on("data", (more: string) => {
    text += more;
  });
  const closed = once(child, "close");
  return {
    pid: child.pid ?? 0,
    /** What it printed: JSON lines. */
    lines,
    /** The same, and the other stream, as it is. */
    text: () => text,
    connected: () => until("the process is connected", () => lines.some(({ stage }) => stage === "connected")),
    kill: (signal: NodeJS.Signals) => child.kill(signal),
    /** Resolves with the code it ended with by itself, or the signal that ended it. */
    ended: closed.then(([code, signal]: (number | string | null)[]) => code ?? signal),
  };
}
