import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import type { Act } from "../fixtures/simulated-handler.ts";
import type { FromHost, ToHost } from "./host.ts";

/** How an invocation ended. */
export type Ended =
  | { readonly kind: "answered"; readonly result: unknown; readonly isLate: boolean; readonly ms: number }
  | { readonly kind: "threw"; readonly error: string }
  | { readonly kind: "died"; readonly isTimeout: boolean };

export interface FleetOptions {
  /** Each process's name begins with it. */
  readonly name: string;
  readonly size: number;
  readonly file: string;
  readonly env: NodeJS.ProcessEnv;
  readonly seed: number;
  /** After this, the process is killed, as Lambda does. */
  readonly timeoutMs: number;
  readonly lateAfterMs: number;
  /** How far the simulation's clock is ahead of the real one. */
  readonly aheadMs: () => number;
  /** The processes' clocks differ from it by up to this, in both directions. */
  readonly skewMs: number;
  /** Runs when a process becomes free. */
  readonly onFree: () => void;
  /** Runs when a handler asks what to do; {@link Fleet.answerRun} answers. */
  readonly onRun: (instance: Instance, id: string, attempt: number) => void;
  /** Runs when the function cannot be loaded. */
  readonly onBroken: (error: Error) => void;
}

export interface Instance {
  /** Unique: a process that replaces this one has another name. */
  readonly name: string;
  readonly child: ChildProcess;
  readonly skewMs: number;
  ended: PromiseWithResolvers<Ended> | undefined;
  isTimeout: boolean;
}

/** Processes of one built function. Each takes one invocation at a time, as on Lambda. A dead process is replaced. */
export function startFleet(options: FleetOptions) {
  const { size, timeoutMs, onFree } = options;
  const free = new Set<Instance>();
  const all = new Map<string, Instance>();
  let starts = 0;
  let isStopping = false;

  function start(place: number): void {
    const name = `${options.name}-${place}-${++starts}`;
    const skewMs = Math.round(options.skewMs * ((2 * place) / Math.max(1, size - 1) - 1));
    const env = {
      ...options.env,
      AWS_ACCESS_KEY_ID: name,
      CLOCK_AHEAD_MS: String(options.aheadMs() + skewMs),
      SEED: String(options.seed + starts),
      LATE_AFTER_MS: String(options.lateAfterMs),
    };
    const child = fork(join(import.meta.dirname, "host.ts"), [options.file], {
      env,
      // Threads that compile and collect in advance do not pay in a process that lives for a few hundred calls.
      execArgv: ["--disable-warning=ExperimentalWarning", "--v8-pool-size=0"],
      stdio: ["ignore", "ignore", "inherit", "ipc"],
    });
    const instance: Instance = { name, child, skewMs, ended: undefined, isTimeout: false };
    all.set(name, instance);
    let wasReady = false;
    child.on("message", (message: FromHost) => {
      if ("attempt" in message) {
        options.onRun(instance, message.id, message.attempt);
        return;
      }
      if ("ready" in message) wasReady = true;
      else if (message.error !== undefined) instance.ended?.resolve({ kind: "threw", error: message.error });
      else instance.ended?.resolve({ kind: "answered", ...message, result: message.result });
      instance.ended = undefined;
      free.add(instance);
      onFree();
    });
    child.once("exit", (code) => {
      // Node exits with 1 when the module throws.
      if (code === 1 && !wasReady) options.onBroken(new Error(`${name} cannot load ${options.file}`));
      all.delete(name);
      free.delete(instance);
      instance.ended?.resolve({ kind: "died", isTimeout: instance.isTimeout });
      if (!isStopping && code !== 1) start(place);
    });
  }

  const tell = ({ child }: Instance, message: ToHost) => child.send(message, () => {});
  for (let place = 0; place < size; place++) start(place);
  return {
    takeFree(): Instance | undefined {
      const [instance] = free;
      if (instance !== undefined) free.delete(instance);
      return instance;
    },
    giveBack(instance: Instance): void {
      free.add(instance);
    },
    async invoke(instance: Instance, event: unknown): Promise<Ended> {
      const ended = Promise.withResolvers<Ended>();
      instance.ended = ended;
      const timer = setTimeout(() => {
        instance.isTimeout = true;
        instance.child.kill("SIGKILL");
      }, timeoutMs);
      tell(instance, { event, timeoutMs, aheadMs: options.aheadMs() + instance.skewMs });
      return ended.promise.finally(() => clearTimeout(timer));
    },
    kill(name: string): void {
      all.get(name)?.child.kill("SIGKILL");
    },
    answerRun(instance: Instance, id: string, act: Act): void {
      tell(instance, { id, act });
    },
    /** Sets the clock of a process during its invocation. The others' clocks are set by their next invocation. */
    tellClock(instance: Instance): void {
      tell(instance, { aheadMs: options.aheadMs() + instance.skewMs });
    },
    async stop(): Promise<void> {
      isStopping = true;
      await Promise.all(
        [...all.values()].map(async ({ child }) => {
          child.kill("SIGKILL");
          if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
        }),
      );
    },
  };
}

export type Fleet = ReturnType<typeof startFleet>;
