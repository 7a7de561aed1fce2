import { type ChildProcess, fork, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { generate } from "selfsigned";
import { buildPeer } from "./bundles.ts";
import type { Sample } from "./measure.ts";
import { keysEnv } from "./requests.ts";

const table = "ledger";

/**
 * Everything that a process under test needs around it: the stand-ins for AWS in another process, a
 * certificate that it trusts, an environment like a function's, and nothing of this machine's own.
 */
export async function startSurroundings() {
  const folder = mkdtempSync(join(tmpdir(), "larkpost-bench-"));
  const certFile = join(folder, "cert.pem");
  const pems = await generate([{ name: "commonName", value: "127.0.0.1" }], {
    keyType: "rsa",
    algorithm: "sha256",
    extensions: [
      { name: "basicConstraints", cA: true, critical: true },
      { name: "subjectAltName", altNames: [{ type: 7, ip: "127.0.0.1" }] },
    ],
  });
  writeFileSync(certFile, pems.cert);
  mkdirSync(join(folder, "home"));
  const bare = { PATH: process.env["PATH"], HOME: join(folder, "home"), NODE_EXTRA_CA_CERTS: certFile };

  const standIns = fork(join(import.meta.dirname, "stand-ins.ts"), [pems.private, pems.cert, table], {
    env: bare,
    stdio: ["ignore", "ignore", "inherit", "ipc"],
  });
  const { sqsUrl, dynamoUrl } = await firstMessage<{ sqsUrl: string; dynamoUrl: string }>(standIns);
  const env = {
    ...bare,
    ...keysEnv,
    AWS_REGION: "us-east-1",
    AWS_ACCESS_KEY_ID: "local",
    AWS_SECRET_ACCESS_KEY: "local",
    AWS_SESSION_TOKEN: "local",
    AWS_ENDPOINT_URL_SQS: sqsUrl,
    AWS_ENDPOINT_URL_DYNAMODB: dynamoUrl,
    EVENTS_QUEUE_URL: `${sqsUrl}/000000000000/events`,
    QUARANTINE_QUEUE_URL: `${sqsUrl}/000000000000/quarantine`,
    LEDGER_TABLE: table,
  };
  const [runner, loop] = await Promise.all([buildPeer(folder, "runner"), buildPeer(folder, "loop")]);
  const loops: ChildProcess[] = [];

  return {
    folder,
    env,
    /** Keeps an event in a file, where a process under test finds it. */
    eventFile(name: string, event: object): string {
      const file = join(folder, `${name}.json`);
      writeFileSync(file, JSON.stringify(event));
      return file;
    },
    /** Starts a fresh process that answers one event with `module`'s handler. */
    coldRun: (module: string, eventFile: string) => timed([runner, module, eventFile], env),
    /** Starts a fresh process that is nothing but this script. */
    bareRun: (script: string, eventFile: string) => timed([script, eventFile], env),
    /** A process that has loaded a handler and calls it `count` times when asked to; figures are for one call. */
    async startLoop(module: string, { exported = "handler", eventFile = "" } = {}) {
      const child = fork(loop, [module, exported, eventFile], { env, stdio: ["ignore", "ignore", "inherit", "ipc"] });
      loops.push(child);
      await firstMessage(child);
      return async (count: number): Promise<Sample> => {
        const answer = firstMessage<Sample>(child);
        child.send({ count });
        return answer;
      };
    },
    stop(): void {
      for (const child of [standIns, ...loops]) child.kill();
      rmSync(folder, { recursive: true, force: true, maxRetries: 3 });
    },
  };
}

export type Surroundings = Awaited<ReturnType<typeof startSurroundings>>;

/** Milliseconds from the start of a process to its answer and to its end, and what it reports itself. */
async function timed(args: readonly string[], env: NodeJS.ProcessEnv): Promise<Sample> {
  const startMs = performance.now();
  const child = spawn(process.execPath, args, { env, stdio: ["ignore", "ignore", "inherit", "pipe"] });
  let answeredMs = Number.NaN;
  let report = "";
  const pipe = child.stdio[3] as Readable;
  pipe.on("data", (chunk: Buffer) => {
    if (report === "") answeredMs = performance.now() - startMs;
    report += chunk.toString("utf8");
  });
  const exitedMs = new Promise<number>((resolve, reject) => {
    child.once("error", reject);
    child.once("exit", () => resolve(performance.now() - startMs));
  });
  const [exitMs] = await Promise.all([exitedMs, new Promise((resolve) => pipe.once("close", resolve))]);
  const { statusCode, ...figures } = JSON.parse(report || "{}") as Record<string, number>;
  if (statusCode !== 200)
    throw new Error(`a process under test answered ${statusCode ?? "nothing"}: ${args.join(" ")}`);
  return { answeredMs, exitMs, ...figures };
}

function firstMessage<T>(child: ChildProcess): Promise<T> {
  return new Promise((resolve, reject) => {
    const onExit = () => reject(new Error(`a process of the bench ended: ${child.spawnargs.at(2)}`));
    child.once("exit", onExit);
    child.once("message", (message) => {
      child.off("exit", onExit);
      resolve(message as T);
    });
  });
}
