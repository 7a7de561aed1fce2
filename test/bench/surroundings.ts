import { type ChildProcess, fork, spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { pathToFileURL } from "node:url";
import { build, type functionNames } from "../../lib/cli/deploy/build.ts";
import { authority } from "../support/platform-tls.ts";
import { temporaryProject } from "../support/project.ts";
import type { Sample } from "./measure.ts";
import { appId, keysEnv, storedSecrets } from "./requests.ts";

type Sources = Readonly<Record<string, string>>;

/** What runs in processes of its own: a bundle, the name that it exports, and what it is asked and must answer. */
export interface Program {
  readonly file: string;
  readonly exported?: string;
  /** Its keys are in the environment; ours are read from SSM, as deployed. */
  readonly hasKeys?: boolean;
}

export interface Task {
  readonly event: object;
  /** A part of the right answer. */
  readonly answer: string;
  /** How many calls run side by side. */
  readonly atOnce?: number;
  /** For the process under test, e.g. to have a profile of it. */
  readonly nodeOptions?: readonly string[];
}

interface Report {
  readonly answers: readonly unknown[];
  readonly figures: Sample;
}

/**
 * Everything that a process under test needs around it: the stand-ins for AWS in another process, a certificate that it
 * trusts, an environment like a function's, and nothing of this machine's own.
 */
export async function startSurroundings() {
  const folder = mkdtempSync(join(tmpdir(), "larkpost-bench-"));
  const certFile = join(folder, "authority.pem");
  writeFileSync(certFile, authority);
  const bare = { PATH: process.env["PATH"], HOME: folder, NODE_EXTRA_CA_CERTS: certFile };
  const standIns = fork(join(import.meta.dirname, "stand-ins.ts"), [storedSecrets], {
    env: bare,
    stdio: ["ignore", "ignore", "inherit", "ipc"],
  });
  const { sqs, dynamodb, ssm } = await firstMessage<Record<"sqs" | "dynamodb" | "ssm", string>>(standIns);
  const shared = {
    ...bare,
    APP_ID: appId,
    AWS_REGION: "us-east-1",
    AWS_ACCESS_KEY_ID: "local",
    AWS_SECRET_ACCESS_KEY: "local",
    AWS_SESSION_TOKEN: "local",
    AWS_ENDPOINT_URL_SQS: sqs,
    AWS_ENDPOINT_URL_DYNAMODB: dynamodb,
    AWS_ENDPOINT_URL_SSM: ssm,
    EVENTS_QUEUE_URL: `${sqs}/000000000000/events`,
    QUARANTINE_QUEUE_URL: `${sqs}/000000000000/quarantine`,
    DEAD_LETTER_QUEUE_URL: `${sqs}/000000000000/dead-letters`,
    LEDGER_TABLE: "ledger",
  };
  const envOf = ({ hasKeys = false }: Program) =>
    hasKeys ? { ...shared, ...keysEnv } : { ...shared, SECRETS_PARAMETER: "/larkpost/bench/app" };
  let files = 0;
  const argumentsOf = ({ file, exported = "handler" }: Program, { event }: Task) => {
    const eventFile = join(folder, `event-${++files}.json`);
    writeFileSync(eventFile, JSON.stringify(event));
    return [pathToFileURL(file).href, exported, eventFile];
  };

  /** The file of a function built as it is deployed, of a project with these handlers, and another entry if one is given. */
  async function bundle(
    name: (typeof functionNames)[number],
    options: { readonly entry?: string; readonly events?: Sources; readonly callbacks?: Sources } = {},
  ): Promise<string> {
    const { entry, events = {}, callbacks = {} } = options;
    const { root, remove } = await temporaryProject(events, callbacks);
    if (entry !== undefined) writeFileSync(join(root, `functions/${name}.ts`), entry);
    const [built] = await build({ root, outFolder: join(folder, `bundle-${++files}`), names: [name] });
    remove();
    if (built === undefined) throw new Error(`The build made no ${name}`);
    return built.file;
  }

  /** Builds a file of `contestants/` as if it were a worker: with the same settings, and `__dirname`, which node-sdk needs. */
  function contestant(name: string): Promise<string> {
    const path = join(import.meta.dirname, `contestants/${name}.ts`);
    return bundle("worker", { entry: `export * from ${JSON.stringify(path)};\n` });
  }

  const [runner, loop] = await Promise.all([contestant("runner"), contestant("loop")]);
  const loops = new Set<ChildProcess>();

  return {
    folder,
    bundle,
    contestant,
    /** A fresh process at each call, which answers one event. */
    cold(program: Program, task: Task): () => Promise<Sample> {
      const args = [...(task.nodeOptions ?? []), runner, ...argumentsOf(program, task)];
      return async () => {
        const { wallMs, report } = await spawned(args, envOf(program));
        return { wallMs, ...checked(report, program, task) };
      };
    },
    /** A process that has loaded a program and has called it for `warmUpMs` of CPU; a sample takes `sampleMs` of it. */
    async warm(program: Program, task: Task, { warmUpMs, sampleMs }: { warmUpMs: number; sampleMs: number }) {
      const { atOnce = 1, nodeOptions = [] } = task;
      const child = fork(loop, argumentsOf(program, task), {
        env: envOf(program),
        execArgv: [...nodeOptions],
        stdio: ["ignore", "pipe", "inherit", "ipc"],
      });
      loops.add(child);
      child.stdout?.resume();
      await firstMessage(child);
      const run = async (times: number, atOnce: number): Promise<Sample> => {
        const report = firstMessage<Report>(child);
        child.send({ times, atOnce });
        return checked(await report, program, task);
      };
      let times = 1;
      // Many calls at once would take a process that is still slow past their deadlines.
      const atFirst = Math.min(atOnce, 10);
      for (let spentMs = 0; spentMs < warmUpMs; ) {
        const { cpuMs = 0 } = await run(times, atFirst);
        spentMs += cpuMs * atFirst * times;
        times = Math.max(1, Math.min(4 * times, Math.round(sampleMs / (cpuMs * atOnce))));
      }
      return () => run(times, atOnce);
    },
    /** Ends the processes that {@link warm} has started. */
    async endLoops(): Promise<void> {
      const ended = [...loops].map((child) => new Promise((resolve) => child.once("exit", resolve)));
      for (const child of loops) child.disconnect();
      loops.clear();
      await Promise.all(ended);
    },
    stop(): void {
      for (const child of [standIns, ...loops]) child.kill();
      rmSync(folder, { recursive: true, force: true, maxRetries: 3 });
    },
  };
}

export type Surroundings = Awaited<ReturnType<typeof startSurroundings>>;

/** A figure counts only if the work was done. */
function checked({ answers, figures }: Report, { file }: Program, { answer }: Task): Sample {
  for (const found of answers) {
    const shown = JSON.stringify(found) ?? "nothing";
    if (!shown.includes(answer))
      throw new Error(`A process of the bench answered ${shown.slice(0, 300)}, not ${answer}: ${file}`);
  }
  return figures;
}

/** Runs a process that reports on its descriptor 3. The time is from its start to that. */
async function spawned(args: readonly string[], env: NodeJS.ProcessEnv): Promise<{ wallMs: number; report: Report }> {
  const startMs = performance.now();
  const child = spawn(process.execPath, args, { env, stdio: ["ignore", "pipe", "inherit", "pipe"] });
  child.stdout?.resume();
  const ended = new Promise<void>((resolve, reject) => child.once("error", reject).once("exit", () => resolve()));
  let wallMs = Number.NaN;
  let written = "";
  for await (const chunk of child.stdio[3] as Readable) {
    if (written === "") wallMs = performance.now() - startMs;
    written += String(chunk);
  }
  await ended;
  if (written === "") throw new Error(`A process of the bench ended without an answer: ${args.join(" ")}`);
  return { wallMs, report: JSON.parse(written) as Report };
}

function firstMessage<T>(child: ChildProcess): Promise<T> {
  return new Promise((resolve, reject) => {
    const onExit = () => reject(new Error(`A process of the bench ended: ${child.spawnargs.slice(1).join(" ")}`));
    child.once("exit", onExit);
    child.once("message", (message) => {
      child.off("exit", onExit);
      resolve(message as T);
    });
  });
}
