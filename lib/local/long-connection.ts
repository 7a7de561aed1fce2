import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import type { HostMessage } from "./host.ts";

export interface LongConnectionProcessOptions {
  /** Path of functions/long-connection.ts. */
  readonly module: string;
  readonly env: NodeJS.ProcessEnv;
  readonly onLine: (line: Record<string, unknown>, detail: string | undefined) => void;
  /** Something about the process itself, for a person. */
  readonly onNotice: (notice: string) => void;
  /** Told once when the running process has given up for good: the platform refuses it, or a setting is wrong. */
  readonly onGivenUp: (reason: string) => void;
  /** How long a process that crashed is waited for. The platform counts attempts. */
  readonly restartAfterMs?: number;
  /** How long what is in hand may be answered before the process is ended. */
  readonly stopGraceMs?: number;
}

interface Instance {
  readonly child: ChildProcess;
  /** Resolves when it is connected, or has tried to; rejects when it ends before. */
  readonly settled: Promise<void>;
  readonly exited: Promise<unknown>;
  isLeaving: boolean;
}

/** Why a process gave up, out of its line: its own sentence, or what is known of a failure that nobody foresaw. */
export function reasonOf(line: Readonly<Record<string, unknown>>, detail?: string): string {
  const { message, errorClass, at } = line;
  if (typeof message === "string") return message;
  return `Cannot go on: ${detail ?? [errorClass, at].filter((part) => part !== undefined).join(" at ")}`;
}

const usualRestartMs = 6_000;
const usualGraceMs = 5_000;
const isDown = "it is down until its code changes";

/**
 * Runs the long connection as a process of its own, so that a callback handler that blocks or dies takes nothing else
 * along. A reload connects the new code first, and lets the old answer what it has.
 */
export function startLongConnectionProcess(options: LongConnectionProcessOptions) {
  const {
    module,
    env,
    onLine,
    onNotice,
    onGivenUp,
    restartAfterMs = usualRestartMs,
    stopGraceMs = usualGraceMs,
  } = options;
  let current: Instance | undefined;
  let restart: NodeJS.Timeout | undefined;
  let isStopping = false;
  const instances = new Set<Instance>();

  function launch(): Instance {
    const child = fork(join(import.meta.dirname, "host.ts"), [module], {
      env,
      stdio: ["ignore", "inherit", "inherit", "ipc"],
      execArgv: ["--enable-source-maps", "--disable-warning=ExperimentalWarning"],
    });
    const settled = Promise.withResolvers<void>();
    // Heard by who started it, or told at its exit.
    settled.promise.catch(() => {});
    const instance = { child, settled: settled.promise, exited: once(child, "exit"), isLeaving: false };
    instances.add(instance);
    let givenUp: string | undefined;
    let broken: string | undefined;
    child.on("message", (message: HostMessage | { readonly isConnected: boolean }) => {
      if ("isConnected" in message) settled.resolve();
      else if ("broken" in message) {
        ({ broken } = message);
        // Its host would wait for ever.
        child.kill("SIGKILL");
      } else if ("line" in message) {
        const { stage } = message.line;
        if (stage === "disconnected") settled.resolve();
        if (stage === "misconfigured") givenUp = reasonOf(message.line, message.detail);
        else onLine(message.line, message.detail);
      }
    });
    child.once("exit", (code, signal) => {
      instances.delete(instance);
      const reason = givenUp ?? broken ?? `the long connection's process ended (${signal ?? `exit code ${code}`})`;
      settled.reject(new Error(reason));
      // With 0 it was asked to leave, if only by Ctrl-C in its terminal.
      if (isStopping || instance.isLeaving || current !== instance || code === 0) return;
      if (givenUp !== undefined) return onGivenUp(givenUp);
      if (broken !== undefined) return onNotice(`cannot load the long connection, ${isDown}: ${broken}`);
      onNotice(`${reason}; starting it again`);
      restart = setTimeout(() => {
        current = launch();
      }, restartAfterMs);
    });
    return instance;
  }

  async function retire(instance: Instance): Promise<void> {
    instance.isLeaving = true;
    instance.child.kill("SIGTERM");
    const timer = setTimeout(() => instance.child.kill("SIGKILL"), stopGraceMs);
    await instance.exited;
    clearTimeout(timer);
  }

  return {
    /** Resolves when it is connected, or has tried in vain and goes on trying; rejects with why it cannot be. */
    async start(): Promise<void> {
      const first = launch();
      await first.settled;
      current = first;
    },

    /** Puts the code as it is now in the place of the running one; code that does not run leaves the old in place. */
    async reload(): Promise<void> {
      if (isStopping) return;
      clearTimeout(restart);
      const before = current;
      const next = launch();
      try {
        await next.settled;
      } catch (error) {
        const isKept = before !== undefined && instances.has(before);
        const kept = isKept ? "the code before the change goes on" : isDown;
        onNotice(`cannot start the long connection, ${kept}: ${error instanceof Error ? error.message : error}`);
        return;
      }
      // The old one may have crashed meanwhile.
      clearTimeout(restart);
      current = next;
      if (before !== undefined && instances.has(before)) await retire(before);
    },

    /** Lets what is in hand be answered for up to 5 s. */
    async stop(): Promise<void> {
      isStopping = true;
      clearTimeout(restart);
      await Promise.all([...instances].map(retire));
    },
  };
}
