import { type ChildProcess, fork } from "node:child_process";
import { join } from "node:path";
import type { HostMessage, Invocation } from "./host.ts";

export interface FunctionsOptions {
  /** Function name → path of its module. */
  readonly modules: ReadonlyMap<string, string>;
  readonly env: NodeJS.ProcessEnv;
  readonly onLine: (functionName: string, line: Record<string, unknown>, detail: string | undefined) => void;
  /** Something about the process itself, for a person. */
  readonly onNotice: (notice: string) => void;
}

interface Instance {
  readonly child: ChildProcess;
  readonly pending: Map<number, PromiseWithResolvers<unknown>>;
  isLeaving: boolean;
}

/**
 * One process a function, so that a handler that blocks or dies takes no acknowledgement with it.
 * A reload starts the new process first and lets the old one finish what it has: no request fails.
 */
export function startFunctions(options: FunctionsOptions) {
  const { modules, env, onLine, onNotice } = options;
  const current = new Map<string, Promise<Instance>>();
  /** Functions without a process, and who waits for one: a crash whose code no longer loads. */
  const down = new Map<string, PromiseWithResolvers<void>>();
  const leaving = new Set<Instance>();
  const crashedAtMs = new Map<string, number>();
  let nextId = 1;
  let isStopping = false;

  async function launch(name: string): Promise<Instance> {
    const path = modules.get(name) ?? "";
    const child = fork(join(import.meta.dirname, "host.ts"), [path], {
      env,
      stdio: ["ignore", "inherit", "inherit", "ipc"],
      execArgv: ["--enable-source-maps", "--disable-warning=ExperimentalWarning"],
    });
    const instance: Instance = { child, pending: new Map(), isLeaving: false };
    const started = Promise.withResolvers<Instance>();
    child.on("message", (message: HostMessage) => {
      if ("line" in message) onLine(name, message.line, message.detail);
      else if ("ready" in message) started.resolve(instance);
      else if ("broken" in message) started.reject(new Error(message.broken));
      else {
        const waiting = instance.pending.get(message.id);
        instance.pending.delete(message.id);
        if (message.error === undefined) waiting?.resolve(message.result);
        else waiting?.reject(new Error(message.error));
        retireIfIdle(instance);
      }
    });
    child.once("exit", (code, signal) => {
      const reason = new Error(`the ${name} function's process ended (${signal ?? `exit code ${code}`})`);
      started.reject(reason);
      for (const waiting of instance.pending.values()) waiting.reject(reason);
      instance.pending.clear();
      leaving.delete(instance);
      if (instance.isLeaving || isStopping) return;
      onNotice(`${reason.message}; starting it again`);
      crashedAtMs.set(name, Date.now());
      down.set(name, Promise.withResolvers());
      void replace(name);
    });
    return started.promise.catch((error: unknown) => {
      instance.isLeaving = true;
      child.kill("SIGKILL");
      throw error;
    });
  }

  /** Starts a fresh process and, once it is ready, sends new work there. One that cannot load leaves the old in place. */
  async function replace(name: string): Promise<void> {
    try {
      const next = await launch(name);
      if (isStopping) {
        next.child.kill("SIGKILL");
        return;
      }
      // Only now: another replacement may have come between, and its process must not be left behind.
      const before = current.get(name);
      current.set(name, Promise.resolve(next));
      down.get(name)?.resolve();
      down.delete(name);
      if (before !== undefined) retire(await before);
    } catch (error) {
      const kept = down.has(name) ? "it is down until its code changes" : "the code before the change goes on";
      onNotice(`cannot load the ${name} function, ${kept}: ${error instanceof Error ? error.message : error}`);
    }
  }

  function retire(instance: Instance): void {
    instance.isLeaving = true;
    leaving.add(instance);
    retireIfIdle(instance);
  }

  function retireIfIdle(instance: Instance): void {
    if (instance.isLeaving && instance.pending.size === 0) instance.child.kill("SIGKILL");
  }

  return {
    /** Resolves when every function can take requests; rejects when one cannot be loaded. */
    async ready(): Promise<void> {
      for (const name of modules.keys()) current.set(name, launch(name));
      await Promise.all(current.values());
    },

    /**
     * Resolves when the function has a process: at once, unless it has just crashed, or crashed and its code
     * no longer loads. After `withinMs`, if given, it resolves all the same.
     */
    async whenUp(name: string, withinMs?: number): Promise<void> {
      const waiting = down.get(name);
      if (waiting === undefined) return;
      const { promise: over, resolve } = Promise.withResolvers<void>();
      const timer = withinMs === undefined ? undefined : setTimeout(resolve, withinMs);
      await Promise.race([waiting.promise, over]);
      clearTimeout(timer);
    },

    /** Whether the function's process has ended on its own in the last `withinMs`. */
    hasCrashed(name: string, withinMs: number): boolean {
      return Date.now() - (crashedAtMs.get(name) ?? Number.NEGATIVE_INFINITY) < withinMs;
    },

    /** Rejects when the function throws, its process ends, or `timeoutMs` pass; then the process is ended, as Lambda does. */
    async invoke(name: string, event: unknown, timeoutMs: number): Promise<unknown> {
      const instance = await current.get(name);
      if (instance === undefined) throw new Error(`there is no function "${name}"`);
      const id = nextId++;
      const waiting = Promise.withResolvers<unknown>();
      instance.pending.set(id, waiting);
      const timer = setTimeout(() => {
        onNotice(`the ${name} function ran for ${timeoutMs / 1000} s; its process is ended, as Lambda would`);
        instance.child.kill("SIGKILL");
      }, timeoutMs);
      try {
        const invocation: Invocation = { id, event, endsAtMs: Date.now() + timeoutMs };
        instance.child.send(invocation, (error) => {
          if (error !== null) waiting.reject(error);
        });
        return await waiting.promise;
      } finally {
        clearTimeout(timer);
        instance.pending.delete(id);
      }
    },

    async reload(): Promise<void> {
      await Promise.all([...modules.keys()].map(replace));
    },

    /** Waits up to `graceMs` for what is running, then ends every process. */
    async stop(graceMs: number): Promise<void> {
      isStopping = true;
      const instances = [...leaving];
      for (const starting of current.values()) await starting.then((one) => instances.push(one)).catch(() => {});
      const idle = Promise.all(
        instances.flatMap(({ pending }) => [...pending.values()].map(({ promise }) => promise.catch(() => {}))),
      );
      const { promise: expired, resolve } = Promise.withResolvers<void>();
      const timer = setTimeout(resolve, graceMs);
      await Promise.race([idle, expired]);
      clearTimeout(timer);
      for (const { child } of instances) child.kill("SIGKILL");
    },
  };
}

export type Functions = ReturnType<typeof startFunctions>;
