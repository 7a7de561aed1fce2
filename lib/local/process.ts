import { ChildProcess, type ForkOptions, fork } from "node:child_process";
import { isSmokeType } from "../handling/dispatcher.ts";
import type { HostMessage } from "./host.ts";
import { moduleBeside } from "./module-beside.ts";

/** Why work failed: its process has ended, or there is none. */
export class ProcessEndedError extends Error {}

/** One child process that runs the module. */
export interface Instance {
  readonly child: ChildProcess;
  /** Resolved by `onMessage` when the process can take work; rejected when the process exits before that. */
  readonly ready: PromiseWithResolvers<void>;
  readonly exited: Promise<void>;
  isLeaving: boolean;
  /** Whether the module cannot be loaded. */
  isBroken: boolean;
  /** The handlers that run in it: id of the event or callback → its type. */
  readonly handling: Map<string, string>;
  /** The pings since the process last sent something. */
  pings: number;
  /** Set by `onMessage` when the process exits for a reason that no restart removes. */
  givenUp?: string;
  /** Why it was ended from here: `after 60 s`. */
  endedFor?: string;
}

export interface ManagedProcessOptions {
  /** As notices name it: `the webhook function`. */
  readonly name: string;
  /** Path of the module. */
  readonly module: string;
  readonly env: NodeJS.ProcessEnv;
  readonly onMessage: (message: HostMessage, instance: Instance) => void;
  /** Receives sentences for the developer. */
  readonly onNotice: (notice: string) => void;
  readonly onExit?: (instance: Instance, reason: string) => void;
  readonly onLaunch?: ((child: ChildProcess) => void) | undefined;
  readonly pingEveryMs?: number | undefined;
  /** Makes the process exit once its work is done. */
  readonly askToLeave: (instance: Instance) => void;
  /** How long a replaced process may take for its work; without it, as long as it needs. */
  readonly replacedGraceMs?: number;
  /**
   * The delay before the running process is restarted after an exit by itself; `undefined`: it is not.
   * `failedStarts`: how many processes in a row exited before they were ready.
   */
  readonly restartAfterMs: (instance: Instance, exitCode: number | null, failedStarts: number) => number | undefined;
}

/** So many pings without an answer mean that a process is blocked. Counted, because time passes while a machine sleeps. */
const blockedPings = 5;
const defaultPingMs = 1_000;
/** The stages of a trace that end a handler's run. */
const endStages: ReadonlySet<unknown> = new Set(["handled", "failed", "dead", "late", "lease-lost", "unhandled"]);

/** Runs a module in a child process, restarts it after a crash, and replaces it when its code has changed. */
export function manageProcess(options: ManagedProcessOptions) {
  const { name, onNotice } = options;
  const instances = new Set<Instance>();
  let current: Instance | undefined;
  let up = Promise.withResolvers<void>();
  let isUp = false;
  let crashedAtMs = Number.NEGATIVE_INFINITY;
  let failedStarts = 0;
  let restart: NodeJS.Timeout | undefined;
  let isStopping = false;

  function start(): Instance {
    const instance = launch(options, (code, reason) => {
      instances.delete(instance);
      options.onExit?.(instance, reason);
      if (instance === current) onCurrentExit(instance, code, reason);
    });
    instances.add(instance);
    return instance;
  }

  function onCurrentExit(instance: Instance, code: number | null, reason: string): void {
    current = undefined;
    // One that was never ready leaves those waiting who wait already.
    if (isUp) up = Promise.withResolvers();
    failedStarts = isUp ? 0 : failedStarts + 1;
    isUp = false;
    if (isStopping) return;
    if (instance.isBroken) onNotice(cannotStart(reason));
    const delayMs = instance.isBroken ? undefined : options.restartAfterMs(instance, code, failedStarts);
    if (delayMs === undefined) return;
    crashedAtMs = Date.now();
    onNotice(`${reason}; starting it again${delayMs === 0 ? "" : ` in ${delayMs / 1000} s`}`);
    restart = setTimeout(() => {
      current = start();
      current.ready.promise.then(setUp, () => {});
    }, delayMs);
  }

  function setUp(): void {
    isUp = true;
    up.resolve();
  }

  function cannotStart(reason: string): string {
    const rest = current === undefined ? "it is down until its code changes" : "the code before the change goes on";
    return `cannot start ${name}, ${rest}: ${reason}`;
  }

  /** Makes `next` the running process once it is ready. The process before it finishes its work and exits. */
  async function switchTo(next: Instance): Promise<void> {
    await next.ready.promise;
    // The process before it may have crashed in the meantime.
    clearTimeout(restart);
    const before = current;
    current = next;
    setUp();
    if (before !== undefined) void end(before, options.askToLeave, options.replacedGraceMs);
  }

  return {
    /** Resolves when the first process is ready; rejects with the reason when it cannot run. */
    start: (): Promise<void> => switchTo(start()),
    /** Starts a process with the code as it is now. If that cannot run, the process before it stays. */
    async reload(): Promise<void> {
      if (isStopping) return;
      clearTimeout(restart);
      try {
        await switchTo(start());
      } catch (error) {
        if (!isStopping) onNotice(cannotStart(error instanceof Error ? error.message : String(error)));
      }
    },
    /** The process that takes work. */
    current: (): Instance | undefined => current,
    /** Resolves when there is a process that is ready for work, or after `withinMs` without one. */
    whenUp: (withinMs?: number): Promise<void> => atMost(withinMs, up.promise),
    hasCrashed: (withinMs: number): boolean => Date.now() - crashedAtMs < withinMs,
    /** Resolves when every replaced process has exited. */
    async replacedExited(): Promise<void> {
      await Promise.all([...instances].filter(({ isLeaving }) => isLeaving).map(({ exited }) => exited));
    },
    /** Gives every process up to `graceMs` to finish its work, then ends it. */
    async stop(graceMs: number): Promise<void> {
      isStopping = true;
      clearTimeout(restart);
      await Promise.all([...instances].map((instance) => end(instance, options.askToLeave, graceMs)));
      // Ends the wait for a process. There is none.
      up.resolve();
    },
  };
}

/** Forks a module of this folder. One that cannot be started emits `error` and `close`, whatever the reason is. */
export function forkModule(name: string, args: readonly string[], options: ForkOptions): ChildProcess {
  try {
    return fork(moduleBeside(import.meta, name), args, options);
  } catch (error) {
    // Node emits some errors, and throws others.
    const child = new ChildProcess();
    process.nextTick(() => child.emit("error", error) && child.emit("close", null, null));
    return child;
  }
}

function launch(options: ManagedProcessOptions, onExit: (code: number | null, reason: string) => void): Instance {
  const child = forkModule("host", [options.module], {
    env: options.env,
    stdio: ["ignore", "inherit", "inherit", "ipc"],
    execArgv: ["--enable-source-maps", "--disable-warning=ExperimentalWarning"],
  });
  options.onLaunch?.(child);
  const ready = Promise.withResolvers<void>();
  const exited = Promise.withResolvers<void>();
  const instance: Instance = {
    child,
    ready,
    exited: exited.promise,
    isLeaving: false,
    isBroken: false,
    handling: new Map(),
    pings: 0,
  };
  let pinging: NodeJS.Timeout | undefined;
  let problem: string | undefined;
  child.on("message", (message: HostMessage) => {
    instance.pings = 0;
    // Not before: a module may take long to load.
    if ("ready" in message)
      pinging = setInterval(() => ping(instance, options), options.pingEveryMs ?? defaultPingMs).unref();
    if ("line" in message) trackHandler(instance, message.line);
    if (!("broken" in message)) return options.onMessage(message, instance);
    instance.isBroken = true;
    problem = message.broken;
    // Its IPC channel would keep it alive.
    child.kill("SIGKILL");
  });
  child.on("error", (error) => {
    problem ??= `${options.name}'s process cannot be started (${error.message})`;
  });
  child.once("close", (code, signal) => {
    clearInterval(pinging);
    const how = [signal ?? `exit code ${code}`, instance.endedFor].filter((part) => part !== undefined).join(" ");
    const reason = problem ?? instance.givenUp ?? `${options.name}'s process ended (${how})`;
    sayOfHandlers(instance, options, { stage: "ended", level: "error", reason: how });
    ready.reject(new Error(reason));
    exited.resolve();
    onExit(code, reason);
  });
  return instance;
}

/** A line of the log that the process itself cannot write, for each event whose handler runs in it. */
function sayOfHandlers(instance: Instance, { onMessage }: ManagedProcessOptions, line: Record<string, unknown>): void {
  for (const [id, type] of instance.handling) onMessage({ line: { ...line, id, type }, detail: undefined }, instance);
}

function trackHandler({ handling }: Instance, { stage, id, type }: Record<string, unknown>): void {
  // A probe runs no handler.
  if (stage === "started" && !isSmokeType(String(type))) handling.set(String(id), String(type));
  else if (endStages.has(stage)) handling.delete(String(id));
}

/** Reports a process that is blocked, and ends it if it was replaced. */
function ping(instance: Instance, options: ManagedProcessOptions): void {
  const { name, onNotice, pingEveryMs = defaultPingMs } = options;
  const { child, handling, isLeaving } = instance;
  if (instance.pings >= blockedPings) return;
  child.send({ ping: true }, () => {});
  instance.pings++;
  if (instance.pings < blockedPings) return;
  if (isLeaving) {
    kill(instance, whyBlocked);
    return;
  }
  sayOfHandlers(instance, options, { stage: "blocked", level: "warn", ms: blockedPings * pingEveryMs });
  const handlers = [...handling].map(([id, type]) => `${type} (${id})`).join(" or ");
  const waiting = handling.size > 1 ? ", and with it the others" : "";
  onNotice(
    `${handlers === "" ? "something" : `the handler of ${handlers}`} has blocked ${name}'s process for ` +
      `${(blockedPings * pingEveryMs) / 1000} s${waiting}: it loops, or waits without await. A saved change ends it`,
  );
}

const whyBlocked = "as it was blocked";

/** @param why As in `SIGKILL after 60 s`. */
export function kill(instance: Instance, why: string): void {
  instance.endedFor ??= why;
  instance.child.kill("SIGKILL");
}

/** Without `graceMs`, waits as long as the process needs. */
async function end(instance: Instance, askToLeave: (instance: Instance) => void, graceMs?: number): Promise<void> {
  instance.isLeaving = true;
  if (instance.pings >= blockedPings) kill(instance, whyBlocked);
  askToLeave(instance);
  const stop = () => kill(instance, "when it was stopped");
  const timer = graceMs === undefined ? undefined : setTimeout(stop, graceMs);
  await instance.exited;
  clearTimeout(timer);
}

async function atMost(ms: number | undefined, work: Promise<void>): Promise<void> {
  if (ms === undefined) return work;
  const { promise: expired, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, ms);
  await Promise.race([work, expired]);
  clearTimeout(timer);
}
