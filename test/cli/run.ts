import { AsyncLocalStorage } from "node:async_hooks";
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type IncomingHttpHeaders, setGlobalProxyFromEnv } from "node:http";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { Readable } from "node:stream";
import type { Envelope } from "../../lib/feishu/envelope.ts";
import { appKeys, defaultApp, type KeyRing } from "../../lib/feishu/keys.ts";
import { open } from "../../lib/feishu/open.ts";
import { listenOnLoopback } from "../../lib/simulator/loopback.ts";
import { nodeEnv } from "../support/node-env.ts";

export const projectFolder = resolve(import.meta.dirname, "../..");

export const secrets = {
  encryptKey: "an-encrypt-key-of-the-tests",
  verificationToken: "a-verification-token-of-the-tests",
  appId: "cli_0123456789abcdef",
};
const keys = new Map([
  [
    defaultApp,
    appKeys({
      appId: secrets.appId,
      encryptKeys: [{ value: secrets.encryptKey }],
      verificationTokens: [{ value: secrets.verificationToken }],
    }),
  ],
]);
const plainKeys = new Map([
  [
    defaultApp,
    appKeys({
      appId: secrets.appId,
      encryptKeys: [],
      verificationTokens: [{ value: secrets.verificationToken }],
    }),
  ],
]);

/** The settings of a receiver, as a developer would have them in the environment. */
export const env = {
  ENCRYPT_KEY: secrets.encryptKey,
  VERIFICATION_TOKEN: secrets.verificationToken,
  APP_ID: secrets.appId,
};

export interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

interface CommandOptions {
  /** Another file than the command line's, which runs when it is imported. */
  readonly script?: string;
  /** All that the command finds in its environment, but for PATH, what keeps colours away, and what makes compilers fast. */
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd?: string;
  /** All that the command finds on its standard input. */
  readonly input?: string;
  /** Whether the input is typed at a terminal. */
  readonly isTyped?: boolean;
}

interface ProjectOptions extends Pick<CommandOptions, "input" | "isTyped"> {
  readonly root: string;
  readonly env?: Readonly<Record<string, string>>;
}

/** Runs the command line in an empty project; none of this process's settings reach it. */
export function larkpost(args: readonly string[], { root, env, ...options }: ProjectOptions): Promise<Ended> {
  return command(args, { env: { LARKPOST_ROOT: root, ...env }, ...options });
}

/** As {@link larkpost}, in a process of its own. */
export function larkpostProcess(args: readonly string[], { root, env, ...options }: ProjectOptions): Promise<Ended> {
  return commandProcess(args, { env: { LARKPOST_ROOT: root, ...env }, ...options });
}

/** What `process.exit` ends a command with that runs in this process. */
class Exit extends Error {}

interface Running {
  stdout: string;
  stderr: string;
  /** Set by `process.exit`: what the command does after it, a process of its own would not do. */
  exitCode: number | undefined;
}

/** The command that a piece of code belongs to; what the test runner prints meanwhile belongs to none. */
const running = new AsyncLocalStorage<Running>();
for (const name of ["stdout", "stderr"] as const) {
  const stream = process[name];
  const write = stream.write.bind(stream) as (...args: unknown[]) => boolean;
  stream.write = (...args: unknown[]) => {
    const command = running.getStore();
    if (command === undefined) return write(...args);
    if (command.exitCode === undefined) command[name] += String(args[0]);
    const done = args.at(-1);
    if (typeof done === "function") done();
    return true;
  };
}

let runs = 0;
let turn: Promise<unknown> = Promise.resolve();

/**
 * Runs `lib/cli/main.ts` in this process, as if it were its own: arguments, environment, folder and exit code are
 * the command's while it runs, so commands take turns. A process for each would spend most of its time starting.
 */
export function command(args: readonly string[], options: CommandOptions): Promise<Ended> {
  const ended = turn.then(() => runHere(args, options));
  turn = ended.catch(() => {});
  return ended;
}

async function runHere(args: readonly string[], options: CommandOptions): Promise<Ended> {
  const { script, env, cwd = process.cwd(), input = "", isTyped = false } = options;
  const { argv, exit, exitCode } = process;
  const stdin = Object.getOwnPropertyDescriptor(process, "stdin") as PropertyDescriptor;
  const given = Object.assign(Readable.from([input]), isTyped ? { isTTY: true, setRawMode: () => {} } : {});
  const before = { env: { ...process.env }, folder: process.cwd() };
  const signals = (["SIGINT", "SIGTERM"] as const).map((name) => ({ name, listeners: process.listeners(name) }));
  const store: Running = { stdout: "", stderr: "", exitCode: undefined };
  // As with NODE_USE_ENV_PROXY=1. Nothing listens there, so what goes by it fails: this machine is reached without one.
  const restoreProxy = setGlobalProxyFromEnv({ http_proxy: "http://127.0.0.1:9", https_proxy: "http://127.0.0.1:9" });
  try {
    process.argv = [...argv.slice(0, 1), script ?? join(projectFolder, "lib/cli/main.ts"), ...args];
    setEnv({ ...nodeEnv, NO_COLOR: "1", ...env });
    process.chdir(cwd);
    Object.defineProperty(process, "stdin", { ...stdin, get: () => given });
    process.exitCode = undefined;
    process.exit = (code) => {
      store.exitCode ??= Number(code ?? process.exitCode ?? 0);
      throw new Exit();
    };
    await running.run(store, async () => {
      if (script === undefined) return (await import("../../lib/cli/main.ts")).run(args);
      await import(`${script}?run=${++runs}`).catch((error: unknown) => {
        if (!(error instanceof Exit)) throw error;
      });
    });
    return { code: store.exitCode ?? Number(process.exitCode ?? 0), stdout: store.stdout, stderr: store.stderr };
  } finally {
    restoreProxy();
    Object.assign(process, { argv, exit, exitCode });
    Object.defineProperty(process, "stdin", stdin);
    for (const { name, listeners } of signals) {
      for (const added of process.listeners(name)) if (!listeners.includes(added)) process.off(name, added);
    }
    setEnv(before.env);
    process.chdir(before.folder);
  }
}

/** In place: `process.loadEnvFile` knows no other environment. */
function setEnv(env: Readonly<Record<string, string | undefined>>): void {
  for (const name of Object.keys(process.env)) if (env[name] === undefined) Reflect.deleteProperty(process.env, name);
  for (const [name, value] of Object.entries(env)) if (value !== undefined) process.env[name] = value;
}

/** As {@link command}, in a process of its own, which has to end by itself. */
export async function commandProcess(
  args: readonly string[],
  { env, cwd, input = "" }: CommandOptions,
): Promise<Ended> {
  const child = spawn(process.execPath, [join(projectFolder, "lib/cli/main.ts"), ...args], {
    cwd,
    env: { ...nodeEnv, ...env },
    stdio: ["pipe", "pipe", "pipe"],
  });
  // It may end without reading.
  child.stdin.on("error", () => {}).end(input);
  let stdout = "";
  let stderr = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    stdout += text;
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    stderr += text;
  });
  const { promise, resolve: done, reject } = Promise.withResolvers<number | null>();
  child.once("error", reject);
  child.once("close", done);
  return { code: await promise, stdout, stderr };
}

/** An empty project folder; `local` is what a running local runtime would have written. */
export function temporaryRoot(local?: unknown): { root: string; remove: () => void } {
  const root = mkdtempSync(join(tmpdir(), "larkpost-"));
  if (local !== undefined) {
    mkdirSync(join(root, ".larkpost"));
    writeFileSync(join(root, ".larkpost/local.json"), typeof local === "string" ? local : JSON.stringify(local));
  }
  return { root, remove: () => rmSync(root, { recursive: true, force: true }) };
}

export interface Received {
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  /** Names as they were on the wire. */
  readonly headerNames: readonly string[];
  readonly rawBody: Buffer;
  /** What the request was, if it could be verified. */
  readonly envelope: Envelope | undefined;
}

/** A receiver on a free port, which verifies as ours does: 401, or what `answer` says. */
export async function startReceiver(
  options: {
    isPlain?: boolean;
    oldCards?: boolean;
    answer?: (received: Received) => { status?: number; body?: string };
  } = {},
) {
  const { isPlain = false, oldCards = false, answer } = options;
  const ring: KeyRing = new Map([...(isPlain ? plainKeys : keys)].map(([at, app]) => [at, { ...app, oldCards }]));
  const received: Received[] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      const rawBody = Buffer.concat(chunks);
      const headers = new Map(Object.entries(request.headers).map(([name, value]) => [name, String(value)]));
      let envelope: Envelope | undefined;
      try {
        envelope = open({ app: defaultApp, headers, rawBody }, { keys: ring, nowMs: Date.now() });
      } catch {
        // Refused below.
      }
      const headerNames = request.rawHeaders.filter((_, index) => index % 2 === 0);
      const one = { path: request.url ?? "", headers: request.headers, headerNames, rawBody, envelope };
      received.push(one);
      const { status = envelope === undefined ? 401 : 200, body } = answer?.(one) ?? {};
      const challenge = envelope?.kind === "challenge" ? { challenge: envelope.challenge } : {};
      response.writeHead(status, { "content-type": "application/json" });
      response.end(body ?? JSON.stringify(challenge));
    });
  });
  const port = await listenOnLoopback(server);
  return {
    port,
    url: `http://127.0.0.1:${port}/webhook`,
    received,
    /** Everything received, as events. */
    events: () =>
      received.map(({ envelope }) => {
        if (envelope?.kind !== "event" && envelope?.kind !== "callback") throw new Error("not an event");
        return envelope;
      }),
    async stop(): Promise<void> {
      server.closeAllConnections();
      await new Promise((stopped) => server.close(stopped));
    },
  };
}
