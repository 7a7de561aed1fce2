import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import type { Readable } from "node:stream";
import { drawTerminals, type Terminal } from "./terminal.ts";

// `npm run picture` runs `npm start` and a scripted `npm run chat`, and draws what both printed as start.svg.

const root = resolve(import.meta.dirname, "../..");
const said = ["is pallet 17 on its way?", "card", "1"];

/** What a run prints anew each time gets fixed values, so that a new recording changes the file only where the product changed. */
const fixed = {
  ids: ["7c0e41aa…93bd", "b19d03f6…40e7", "52ae8c71…d20b", "52ae8c71…rred"],
  ms: [14, 4, 9, 21, 5, 8, 12, 6, 11, 18, 7],
};

const state = mkdtempSync(join(tmpdir(), "larkpost-picture-"));
try {
  const { stages, chat } = await record();
  const terminals: Terminal[] = [
    { title: "npm start", lines: stages },
    { title: `printf '${said.join("\\n")}\\n' | npm run --silent chat`, lines: chat },
  ];
  writeFileSync(join(import.meta.dirname, "start.svg"), drawTerminals(terminals));
} finally {
  rmSync(state, { recursive: true, force: true });
}

/** Runs both commands. Of `npm start`, the lines of the stages are kept; it also prints addresses and hints before. */
async function record(): Promise<{ stages: string[]; chat: string[] }> {
  const start = larkpost("start", "--port", "0");
  const isDone = until(start.stdout, /handled[^\n]*rred[\s\S]*Pallet 17 is released[^\n]*\n/);
  await until(start.stdout, /Add a handler[\s\S]*real-webhook[\s\S]*✔[^\n]*\n/);
  const chat = larkpost("chat");
  chat.stdin.end(`${said.join("\n")}\n`);
  const conversation = await textOf(chat.stdout);
  const printed = await isDone;
  start.kill("SIGINT");
  await once(start, "close");
  const stages = printed.split("\n").filter((line) => /^\S*\d\d:\d\d:\d\d|^ {10}\S/.test(line));
  return { stages: withFixedFacts(stages), chat: conversation.trimEnd().split("\n") };
}

function larkpost(...args: readonly string[]) {
  const { PATH, HOME } = process.env;
  return spawn(process.execPath, [join(root, "lib/cli/main.ts"), ...args, "--state", state], {
    cwd: root,
    env: { PATH, HOME, FORCE_COLOR: "1" },
    stdio: ["pipe", "pipe", "inherit"],
  });
}

/** What the stream has given when it matches. */
async function until(stream: Readable, pattern: RegExp): Promise<string> {
  let text = "";
  const { promise, resolve: found, reject } = Promise.withResolvers<string>();
  stream.setEncoding("utf8").on("data", (part: string) => {
    text += part;
    if (pattern.test(text)) found(text);
  });
  stream.once("end", () => reject(new Error(`It ended without ${pattern}:\n${text}`)));
  return promise;
}

async function textOf(stream: Readable): Promise<string> {
  return (await stream.setEncoding("utf8").toArray()).join("");
}

function withFixedFacts(lines: readonly string[]): string[] {
  const ids = new Map<string, string>();
  const times = [...fixed.ms];
  const deferred = lines.findIndex((line) => line.includes("…rred"));
  return lines.map((line, index) =>
    line
      .replace(/\d\d:\d\d:\d\d/, index < deferred ? "09:41:07" : "09:41:10")
      .replace(/[0-9a-f]{8}…\w{4}/, (id) => {
        if (!ids.has(id)) ids.set(id, fixed.ids[ids.size] ?? id);
        return ids.get(id) ?? id;
      })
      .replace(/\b\d+ ms/, () => `${times.shift() ?? 9} ms`),
  );
}
