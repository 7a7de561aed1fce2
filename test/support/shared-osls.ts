import { mkdirSync, unlinkSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { json } from "node:stream/consumers";
import { listenOnLoopback } from "../../lib/simulator/loopback.ts";
import { runOsls } from "../infra/stack.ts";

/**
 * Gives a temporary project an osls that has each of its runs done by the process that the tests share: to load it takes
 * ten times as long as what it does.
 */
export async function shareOsls(root: string) {
  const runs: { readonly args: readonly string[]; readonly output: string }[] = [];
  // Without HTTP, which would double what it takes to load the other side.
  const server = createServer({ allowHalfOpen: true }, async (socket) => {
    const job = (await json(socket)) as { args: string[]; env: Record<string, string> };
    const ended = await runOsls({ folder: root, ...job });
    runs.push({ args: job.args, output: ended.output });
    socket.end(JSON.stringify(ended));
  });
  const port = await listenOnLoopback(server);
  // The engine is a link, and finds its packages beside itself.
  unlinkSync(join(root, "node_modules"));
  const bin = join(root, "node_modules/osls/bin");
  mkdirSync(bin, { recursive: true });
  writeFileSync(
    join(bin, "serverless.js"),
    `const socket = require("node:net").connect(${port}, "127.0.0.1");
let text = "";
socket.setEncoding("utf8").on("data", (part) => (text += part));
socket.on("end", () => {
  const { code, output } = JSON.parse(text);
  process.stdout.write(output);
  process.exitCode = code;
});
socket.end(JSON.stringify({ args: process.argv.slice(2), env: process.env }));
`,
  );
  return {
    /** What it was asked since the start, and printed. */
    runs,
    stop: () => new Promise((stopped) => server.close(stopped)),
  };
}
