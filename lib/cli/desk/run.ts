import { fork } from "node:child_process";
import { type Lane, lanesOf } from "../../../infra/lanes.js";
import { readProject } from "../../../infra/project.js";
import type { EventEnvelope, JobEnvelope } from "../../feishu/envelope.ts";
import type { Death } from "../../handling/claims.ts";
import { moduleBeside } from "../../local/module-beside.ts";
import type { ApiOptions } from "../../open-api/client.ts";
import { CommandError } from "../command.ts";
import { defaultLane } from "./letters.ts";
import type { Place } from "./place.ts";

/** A call of the Open API that was recorded instead of sent. */
interface RecordedCall {
  readonly method: string;
  readonly path: string;
  readonly body: string | undefined;
  /** Whether the simulated Open API knows the call. Another one was answered with success and without data. */
  readonly isKnown: boolean;
}

/** Work that was recorded instead of deferred. */
interface RecordedWork {
  readonly payload: unknown;
  readonly delaySeconds: number;
}

export interface RunOutcome {
  /**
   * `unhandled`: there is no handler of the type. `ended`: the handler ended the process. `blocked`: it was still running
   * at the lane's timeout.
   */
  readonly verdict: "done" | "again" | "dead" | "unhandled" | "ended" | "blocked";
  readonly delaySeconds?: number | undefined;
  readonly reason?: Death["reason"] | undefined;
  /** How the process ended: `exit code 7`, `SIGKILL`. */
  readonly ended?: string | undefined;
  /** After how long it was ended. */
  readonly seconds?: number | undefined;
}

export interface RunReport extends RunOutcome {
  readonly lines: readonly Record<string, unknown>[];
  readonly calls: readonly RecordedCall[];
  readonly deferred: readonly RecordedWork[];
}

/** The Open API that a run calls. */
export type RunApi = Pick<ApiOptions, "appId" | "origin"> &
  Partial<Pick<ApiOptions, "proxyEnv">> & { readonly appSecret: string };

/** What the process of a run is to do. */
export interface RunOrder {
  readonly envelope: EventEnvelope | JobEnvelope;
  readonly place: Pick<Place, "root" | "stage" | "stateFolder">;
  readonly lane: Pick<Lane, "timeoutSeconds" | "attempts">;
  /** Without it, a simulated one records what would be sent. */
  readonly api: RunApi | undefined;
}

/** What that process says. */
export type RunMessage =
  | { readonly begins: true }
  | { readonly line: Record<string, unknown>; readonly text: string }
  | { readonly call: RecordedCall }
  | { readonly deferred: RecordedWork }
  /** Where it ends without an outcome. */
  | { readonly place: readonly string[] }
  | { readonly outcome: RunOutcome }
  | { readonly problem: string };

/**
 * Runs today's handler with an event in a process of its own, which the handler may end, or block until the lane's timeout.
 * @param given.onText Called with each step, as a person reads it, and with what the handler prints.
 * @throws {CommandError} It cannot be run.
 */
export async function runHandler(
  order: RunOrder,
  { onText, signal }: { onText: (text: string) => void; signal: AbortSignal },
): Promise<RunReport> {
  const { timeoutSeconds } = order.lane;
  const child = fork(moduleBeside(import.meta, "runner"), [], {
    signal,
    killSignal: "SIGKILL" as const,
    serialization: "advanced" as const,
    stdio: ["ignore", "pipe", "pipe", "ipc"],
    execArgv: ["--enable-source-maps", "--disable-warning=ExperimentalWarning"],
  });
  const lines: Record<string, unknown>[] = [];
  const calls: RecordedCall[] = [];
  const deferred: RecordedWork[] = [];
  let outcome: RunOutcome | undefined;
  let problem: string | undefined;
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding("utf8").on("data", (text: string) => onText(text.trimEnd()));
  }
  // Its files may block it as well, while they are loaded.
  const timer = setTimeout(() => {
    outcome ??= { verdict: "blocked", seconds: timeoutSeconds };
    child.kill("SIGKILL");
  }, timeoutSeconds * 1000);
  child.on("message", (message: RunMessage) => {
    if ("begins" in message) timer.refresh();
    else if ("line" in message) {
      lines.push(message.line);
      onText(message.text);
    } else if ("call" in message) calls.push(message.call);
    else if ("deferred" in message) deferred.push(message.deferred);
    else if ("place" in message) onText(message.place.join("\n"));
    else {
      if ("outcome" in message) outcome ??= message.outcome;
      else problem = message.problem;
      // What the handler left running would keep it alive.
      child.kill("SIGKILL");
    }
  });
  child.on("error", (error) => {
    problem ??= `Cannot run: ${signal.aborted ? "it was stopped" : error.message}`;
  });
  const closed = new Promise<string>((resolve) => {
    child.once("close", (code, by) => resolve(by ?? `exit code ${code}`));
  });
  child.send(order, () => {});
  const ended = await closed;
  clearTimeout(timer);
  if (problem !== undefined) throw new CommandError(problem);
  return { ...(outcome ?? { verdict: "ended", ended }), lines, calls, deferred };
}

/** The lane of that name. A lane that is no more has the numbers of the default one. */
export async function laneNamed(name: string, root: string): Promise<Lane> {
  const lanes = lanesOf(await readProject(root));
  const lane = lanes.find((each) => each.name === name) ?? lanes.find((each) => each.name === defaultLane);
  if (lane === undefined) throw new TypeError("Cannot run: there is no default lane");
  return lane;
}
