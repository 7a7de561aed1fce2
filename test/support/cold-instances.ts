import { once } from "node:events";
import { Worker } from "node:worker_threads";
import type { Asked, Task } from "./cold-instances-thread.ts";
import { httpApi } from "./http-events.ts";
import { appId, challengeText, unsigned } from "./push.ts";
import { startStore } from "./ssm.ts";

const parameter = "/larkpost/cold/app";
const secrets = { encryptKey: "an-encrypt-key-of-cold-instances", token: "a-token-of-cold-instances" };
/** As many as a small machine has cores: an instance that waits for the CPU would be late for another reason. */
const mostThreads = 2;

export interface ColdStart {
  readonly requests: number;
  /** Of all requests, and of those that came when the first had been here for 2 s, the share that was answered 503. */
  readonly unavailable: number;
  readonly unavailableLater: number;
  readonly slowestMs: number;
  /** From the first instance's load to the last's. */
  readonly tookMs: number;
  readonly reads: number;
  readonly throttled: number;
}

/**
 * Loads a built webhook `count` times, as fast as the machine can, while the store lets `perSecond` reads through in
 * each second. Each instance gets three requests: as soon as it is loaded, and after each of the other pauses. With a
 * slowness, a busy machine is late for none of them.
 *
 * @param file The bundle's entry. Each load has its own keys, client and clock.
 */
export async function coldInstances(
  file: string,
  options: {
    readonly count: number;
    readonly perSecond: number;
    readonly firstThrottled?: number;
    readonly waitsMs?: readonly number[];
    readonly slowness?: number;
  },
): Promise<ColdStart> {
  const { count, perSecond, firstThrottled, waitsMs = [0, 500, 500], slowness = 1 } = options;
  const store = await startStore();
  store.limit(perSecond, firstThrottled);
  const { encryptKey, token } = secrets;
  store.put(
    parameter,
    JSON.stringify({ appId, encryptKeys: [{ value: encryptKey }], verificationTokens: [{ value: token }] }),
  );
  const queue = "http://127.0.0.1:9/000000000000/events";
  const settings = {
    SECRETS_PARAMETER: parameter,
    APP_ID: appId,
    EVENTS_QUEUE_URL: queue,
    QUARANTINE_QUEUE_URL: queue,
  };
  const threads = Math.min(mostThreads, Math.ceil(count / 10));
  const event = httpApi(unsigned(challengeText({ token }), { encryptKey }));
  const startMs = Date.now();
  const all = await Promise.all(
    Array.from({ length: threads }, async (_, thread) => {
      const task: Task = { file, event, count: Math.ceil((count - thread) / threads), startMs, waitsMs, slowness };
      const worker = new Worker(new URL("./cold-instances-thread.ts", import.meta.url), {
        workerData: task,
        env: { ...process.env, ...store.env, ...settings, LOG_LEVEL: "error" },
        stdout: true,
        stderr: true,
      });
      const [asked] = (await once(worker, "message")) as [Asked[]];
      await worker.terminate();
      return asked;
    }),
  );
  const asked = all.flat();
  const share = (some: Asked[]) => some.filter(({ status }) => status === 503).length / Math.max(1, some.length);
  const odd = asked.find(({ status }) => status !== 200 && status !== 503);
  if (odd !== undefined) throw new Error(`a challenge was answered ${odd.status}`);
  const throttled = store.throttled();
  const reads = store.calls.length - throttled;
  await store.stop();
  return {
    requests: asked.length,
    unavailable: share(asked),
    unavailableLater: share(asked.filter(({ atMs }) => atMs >= 2_000)),
    slowestMs: Math.max(...asked.map(({ tookMs }) => tookMs)),
    tookMs: Math.max(...asked.filter(({ nth }) => nth === 0).map(({ atMs }) => atMs)),
    reads,
    throttled,
  };
}
