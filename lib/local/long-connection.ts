import type { ChildProcess } from "node:child_process";
import { manageProcess } from "./process.ts";

interface LongConnectionProcessOptions {
  /** Path of functions/long-connection.ts. */
  readonly module: string;
  readonly env: NodeJS.ProcessEnv;
  readonly onLine: (line: Record<string, unknown>, detail: string | undefined) => void;
  /** Called with a sentence for the developer. */
  readonly onNotice: (notice: string) => void;
  readonly onLaunch?: ((child: ChildProcess) => void) | undefined;
  /** Called once when the process has given up: the platform refuses the app, or a setting is wrong. */
  readonly onGivenUp: (reason: string) => void;
  /** The delay before a crashed process is restarted. It is long because the platform limits how often an app connects. */
  readonly restartAfterMs?: number;
  /** How long messages in hand may be answered before the process is ended. */
  readonly stopGraceMs?: number;
}

/** Why a process gave up: the message of its trace line, or an unexpected error. */
export function reasonOf(line: Readonly<Record<string, unknown>>, detail?: string): string {
  const { message, errorClass, at } = line;
  if (typeof message === "string") return message;
  return `Cannot go on: ${detail ?? [errorClass, at].filter((part) => part !== undefined).join(" at ")}`;
}

const defaultRestartMs = 6_000;
const defaultGraceMs = 5_000;

/**
 * Runs the long connection in its own process, so that a callback handler that blocks or crashes stops nothing else.
 * A reload connects the new code first; the old process answers the messages it has.
 */
export function startLongConnectionProcess(options: LongConnectionProcessOptions) {
  const { module, env, onLine, onNotice, onLaunch, onGivenUp } = options;
  const { restartAfterMs = defaultRestartMs, stopGraceMs = defaultGraceMs } = options;
  const managed = manageProcess({
    name: "the long connection",
    module,
    env,
    onNotice,
    onLaunch,
    onMessage(message, instance) {
      if ("isConnected" in message) instance.ready.resolve();
      if (!("line" in message)) return;
      const { stage } = message.line;
      if (stage === "disconnected") instance.ready.resolve();
      if (stage === "misconfigured") instance.givenUp = reasonOf(message.line, message.detail);
      else onLine(message.line, message.detail);
    },
    askToLeave: ({ child }) => child.kill("SIGTERM"),
    restartAfterMs({ givenUp }, exitCode) {
      if (givenUp !== undefined) onGivenUp(givenUp);
      // It exits with 0 only when it is asked to, for example by Ctrl-C in its terminal.
      return givenUp !== undefined || exitCode === 0 ? undefined : restartAfterMs;
    },
    replacedGraceMs: stopGraceMs,
  });

  return {
    /**
     * Resolves when it is connected, or when it has failed to connect and retries.
     * Rejects with the reason when it gives up.
     */
    start: managed.start,

    /** Replaces the running process by one with the code as it is now, and waits until the old one has exited. */
    async reload(): Promise<void> {
      await managed.reload();
      await managed.replacedExited();
    },

    /** Waits up to `stopGraceMs` for messages in hand. */
    stop: (): Promise<void> => managed.stop(stopGraceMs),
  };
}
