import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type IncomingHttpHeaders } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { type Envelope, open } from "../../lib/feishu/envelope.ts";
import { appKeys, defaultApp } from "../../lib/feishu/keys.ts";

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

/** Runs the command line in a process of its own; none of this process's settings reach it. */
export async function larkpost(
  args: readonly string[],
  options: { root: string; env?: Readonly<Record<string, string>> },
): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const child = spawn(process.execPath, [join(projectFolder, "lib/cli/main.ts"), ...args], {
    env: {
      PATH: process.env["PATH"],
      LARKPOST_ROOT: options.root,
      // Each command is a process of its own: without this they would compile the same files fifty times.
      NODE_COMPILE_CACHE: join(tmpdir(), "larkpost-compile-cache"),
      ...options.env,
    },
    stdio: ["ignore", "pipe", "pipe"],
  });
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
  options: { isPlain?: boolean; answer?: (received: Received) => { status?: number; body?: string } } = {},
) {
  const { isPlain = false, answer } = options;
  const received: Received[] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      const rawBody = Buffer.concat(chunks);
      const headers = new Map(Object.entries(request.headers).map(([name, value]) => [name, String(value)]));
      let envelope: Envelope | undefined;
      try {
        envelope = open({ app: defaultApp, headers, rawBody }, { keys: isPlain ? plainKeys : keys, nowMs: Date.now() });
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
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  const { port } = server.address() as AddressInfo;
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
