import type { ChildProcess } from "node:child_process";
import { ConfigError } from "../errors.ts";
import type { Invocation } from "./host.ts";
import { kill, type ManagedProcessOptions, manageProcess, ProcessEndedError } from "./process.ts";

interface FunctionsOptions {
  /** Function name → path of its module. */
  readonly modules: ReadonlyMap<string, string>;
  readonly env: NodeJS.ProcessEnv;
  /** Further variables of single functions, by their names. */
  readonly ownEnv?: ReadonlyMap<string, NodeJS.ProcessEnv>;
  readonly onLine: (functionName: string, line: Record<string, unknown>, detail: string | undefined) => void;
  /** Receives sentences for the developer. */
  readonly onNotice: (notice: string) => void;
  readonly onLaunch?: (child: ChildProcess) => void;
  /** Between two checks whether a process is blocked. */
  readonly pingEveryMs?: number;
}

/**
 * Runs each function in its own process, so that a handler that blocks or crashes delays no acknowledgement.
 * During a reload the old process finishes its invocations, so that no request fails.
 */
export function startFunctions({ modules, env, ownEnv, onLine, ...options }: FunctionsOptions) {
  const functions = new Map(
    [...modules].map(([name, module]) => {
      const process = { module, env: { ...env, ...ownEnv?.get(name) } };
      return [name, createFunction(name, { ...options, ...process }, (line, detail) => onLine(name, line, detail))];
    }),
  );
  const all = [...functions.values()];
  const named = (name: string) => {
    const found = functions.get(name);
    if (found === undefined) throw new Error(`there is no function "${name}"`);
    return found;
  };
  return {
    /** Resolves when every function can be invoked; rejects when one cannot be loaded. */
    ready: async () => void (await Promise.all(all.map(({ start }) => start()))),
    /** Resolves when the function has a process: at once, except after a crash; or after `withinMs` without one. */
    whenUp: (name: string, withinMs?: number) => named(name).whenUp(withinMs),
    /** Whether the function's process crashed in the last `withinMs`. */
    hasCrashed: (name: string, withinMs: number) => named(name).hasCrashed(withinMs),
    /**
     * Rejects when the function throws, its process exits ({@link ProcessEndedError}), or `timeoutMs` pass. In the last
     * case the process is ended, as Lambda does.
     */
    invoke: async (name: string, event: unknown, timeoutMs: number) => named(name).invoke(event, timeoutMs),
    reload: async () => void (await Promise.all(all.map(({ reload }) => reload()))),
    /** Gives running invocations up to `graceMs`, then ends every process. */
    stop: async (graceMs: number) => void (await Promise.all(all.map(({ stop }) => stop(graceMs)))),
  };
}

export type Functions = ReturnType<typeof startFunctions>;

function createFunction(
  name: string,
  options: Pick<ManagedProcessOptions, "module" | "env" | "onNotice" | "onLaunch" | "pingEveryMs">,
  onLine: (line: Record<string, unknown>, detail: string | undefined) => void,
) {
  const running = new Map<number, { readonly child: ChildProcess; readonly result: PromiseWithResolvers<unknown> }>();
  let nextId = 1;
  const of = (child: ChildProcess) => [...running.values()].filter((invocation) => invocation.child === child);
  const endIfIdle = (child: ChildProcess) => {
    if (of(child).length === 0) child.kill("SIGKILL");
  };

  const managed = manageProcess({
    ...options,
    name: `the ${name} function`,
    onMessage(message, { child, ready, isLeaving }) {
      if ("line" in message) onLine(message.line, message.detail);
      else if ("ready" in message) ready.resolve();
      else if ("id" in message) {
        const result = running.get(message.id)?.result;
        running.delete(message.id);
        if (message.error === undefined) result?.resolve(message.result);
        else result?.reject(new Error(message.error));
        if (isLeaving) endIfIdle(child);
      }
    },
    onExit({ child }, reason) {
      for (const { result } of of(child)) result.reject(new ProcessEndedError(reason));
    },
    askToLeave: ({ child }) => endIfIdle(child),
    restartAfterMs: (_instance, _code, failedStarts) =>
      failedStarts === 0 ? 0 : Math.min(2 ** failedStarts * 250, 30_000),
  });

  async function invoke(event: unknown, timeoutMs: number): Promise<unknown> {
    const instance = managed.current();
    if (instance === undefined) throw new ProcessEndedError(`the ${name} function has no process`);
    const { child } = instance;
    const id = nextId++;
    const result = Promise.withResolvers<unknown>();
    running.set(id, { child, result });
    const timer = setTimeout(() => {
      options.onNotice(`the ${name} function ran for ${timeoutMs / 1000} s; its process is ended, as Lambda would`);
      kill(instance, `after ${timeoutMs / 1000} s`);
    }, timeoutMs);
    try {
      const invocation: Invocation = { id, event, endsAtMs: Date.now() + timeoutMs };
      child.send(invocation, (error) => {
        // Its channel is closed before its exit is known.
        if (error !== null)
          result.reject(new ProcessEndedError(`the ${name} function's process ended (${error.message})`));
      });
      return await result.promise;
    } finally {
      clearTimeout(timer);
      running.delete(id);
    }
  }
  async function start(): Promise<void> {
    await managed.start().catch((error: Error) => {
      throw new ConfigError(`Cannot start the ${name} function: ${error.message}`);
    });
  }
  return { ...managed, start, invoke };
}
