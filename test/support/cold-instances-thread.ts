import { parentPort, workerData } from "node:worker_threads";

// One thread loads a built function again and again. A query makes each import a module of its own.

export interface Task {
  readonly file: string;
  readonly event: object;
  readonly count: number;
  readonly startMs: number;
  /** Between an instance's requests; the first is for after its load. */
  readonly waitsMs: readonly number[];
  /** So many times slower does time pass for them. */
  readonly slowness: number;
}

/** One request: when it came, in milliseconds since the start, its answer, and which of its instance's it was. */
export interface Asked {
  readonly atMs: number;
  readonly status: number;
  readonly tookMs: number;
  readonly nth: number;
}

const { file, event, count, startMs, waitsMs, slowness } = workerData as Task;

if (slowness !== 1) {
  const { now } = Date;
  const { setTimeout: after } = globalThis;
  const sinceMs = now();
  Date.now = () => sinceMs + Math.round((now() - sinceMs) / slowness);
  globalThis.setTimeout = ((fire: () => void, ms = 0) => after(fire, slowness * ms)) as typeof setTimeout;
}

async function instance(index: number): Promise<Asked[]> {
  const { handler } = (await import(`${file}?${index}`)) as {
    handler: (event: unknown) => Promise<{ statusCode: number }>;
  };
  const asked: Asked[] = [];
  for (const [nth, waitMs] of waitsMs.entries()) {
    await new Promise((resolve) => setTimeout(resolve, waitMs));
    const atMs = Date.now() - startMs;
    const { statusCode } = await handler(event);
    asked.push({ atMs, status: statusCode, tookMs: Date.now() - startMs - atMs, nth });
  }
  return asked;
}

const instances: Promise<Asked[]>[] = [];
for (let index = 0; index < count; index++) {
  instances.push(instance(index));
  // Each load is a process's own in Lambda: here it must leave the others' timers their turn.
  await new Promise((resolve) => setTimeout(resolve, 1));
}
parentPort?.postMessage((await Promise.all(instances)).flat());
