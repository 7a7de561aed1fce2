import assert from "node:assert/strict";
import { setTimeout as pause } from "node:timers/promises";
import type { SQSEvent } from "aws-lambda";
import { alarmThresholds, limits, optional } from "../../infra/limits.js";
import { projectOf } from "../../infra/project.js";
import { poisson, seededRandom } from "../../lib/cli/scale/draw.ts";
import { simulate } from "../../lib/cli/scale/model.ts";
import { quotas } from "../../lib/cli/scale/quotas.ts";
import { type Load, tickSeconds } from "../../lib/cli/scale/step.ts";
import { startRuntime } from "../../lib/local/runtime.ts";
import { eventText } from "../support/events.ts";
import { temporaryProject } from "../support/project.ts";
import { seeded } from "../support/random.ts";
import { sealNow } from "../support/sealed.ts";
import { until } from "../support/until.ts";
import type { Row } from "./row.ts";

const env = {
  ENCRYPT_KEY: "scale-test-encrypt-key",
  VERIFICATION_TOKEN: "scale-test-verification-token",
  APP_ID: "cli_00000000000000cc",
};
const type = "test.slow_v1";
const handler = `
import { onAnyEvent } from "larkpost";
const handle = ({ ms }) => new Promise((resolve) => setTimeout(resolve, ms));
export default { ...onAnyEvent(handle), type: ${JSON.stringify(type)} };
`;
/** So few that this machine's CPU is not what limits, with handlers that take most of a batch's time. */
const local = { ...limits, maxConcurrency: 2, batchSize: 4, routeRatePerSecond: 1e9, routeBurst: 1e9 };
const slots = local.maxConcurrency * local.batchSize;
const most = 0.1;

type Runtime = Awaited<ReturnType<typeof startRuntime>>;
interface Seen {
  readonly queued?: number;
  readonly started?: number;
  readonly handled?: number;
}
/** When events reached each stage, and when a worker's invocation began, with which events. */
interface Log {
  readonly events: Map<string, Seen>;
  readonly batches: { readonly atMs: number; readonly ids: readonly string[] }[];
}

/** Pushes events as the model does: with the same seed, as many in each tenth of a second. */
async function measure(runtime: Runtime, log: Log, { load, seed }: { load: Load; seed: number }) {
  const arrivals = seededRandom(seed);
  const startMs = performance.now();
  const pushes: Promise<void>[] = [];
  log.events.clear();
  log.batches.length = 0;
  for (let tick = 0; tick < load.seconds / tickSeconds; tick++) {
    await pause(Math.max(0, startMs + 1000 * tick * tickSeconds - performance.now()));
    for (let left = poisson(load.rate * tickSeconds, arrivals); left > 0; left--) {
      pushes.push(push(runtime.url, `event-${seed}-${load.handlerMs}-${pushes.length}`, load.handlerMs));
    }
  }
  await Promise.all(pushes);
  await until("every event is handled", () => {
    return [...log.events.values()].filter(({ handled }) => handled !== undefined).length === pushes.length;
  });
  const endOf = (id: string) => log.events.get(id)?.handled ?? Number.NaN;
  const waits = [...log.events.values()].map(({ queued = 0, started = 0 }) => Math.max(0, started - queued));
  const begins = log.batches.map(({ atMs }) => atMs);
  const [from, to] = [Math.floor(0.1 * begins.length), Math.floor(0.9 * begins.length)];
  return {
    events: pushes.length,
    doneAfterSeconds: (Math.max(...[...log.events.keys()].map(endOf)) - startMs) / 1000,
    meanWaitSeconds: mean(waits) / 1000,
    /** From the beginning of a batch until its last event is handled. */
    batchSeconds: mean(log.batches.map(({ atMs, ids }) => Math.max(...ids.map(endOf)) - atMs)) / 1000,
    /** Between two batches of a slot, if all slots are busy. */
    cycleSeconds: (local.maxConcurrency * ((begins[to] ?? 0) - (begins[from] ?? 0))) / (to - from) / 1000,
  };
}

function mean(numbers: readonly number[]): number {
  return numbers.reduce((sum, number) => sum + number, 0) / numbers.length;
}

/** Again while the answer is 503, since a busy machine may meet the webhook's deadline. */
async function push(url: string, id: string, ms: number): Promise<void> {
  const { headers, rawBody } = sealNow(eventText({ id, type, app: env.APP_ID, event: { ms } }), env);
  await until(`${id} is stored`, async () => {
    const { status } = await fetch(url, { method: "POST", headers: [...headers], body: Buffer.from(rawBody) });
    return status === 200;
  });
}

/** What the model says of this machine, which has no limit but its slots. */
function forecast(load: Load, seed: number, overheadSeconds: number) {
  const none = 1e9;
  const endless = {
    ...quotas,
    ...{ gatewayRate: none, gatewayBurst: none, concurrency: none, startBurst: none, mappingFirst: none },
    ...{ tableWrites: none, tableMost: none, parameterReads: none, logCalls: none },
  };
  const times = { request: 0.01, batch: overheadSeconds, record: 0, start: 0 };
  return simulate(load, { limits: local, optional, alarmThresholds, quotas: endless, times }, seed);
}

/** No bar in npm test: it is about real time. */
export const scaleRows: readonly Row[] = [
  {
    id: "SCALE",
    title: "the model of scale foretells the throughput and the wait of the functions on this machine",
    full: 4,
    sample: 2,
    async run({ n, seed, progress }) {
      const random = seeded(seed);
      const project = await temporaryProject({ [type]: handler });
      const log: Log = { events: new Map(), batches: [] };
      const stages: readonly unknown[] = ["queued", "started", "handled"];
      const runtime = await startRuntime({
        ...{
          root: project.root,
          stateFolder: project.state,
          port: 0,
          project: { ...projectOf({}), limits: local },
          env,
        },
        onLine(_, { id, stage }) {
          if (!stages.includes(stage)) return;
          log.events.set(String(id), { [String(stage)]: performance.now(), ...log.events.get(String(id)) });
        },
        onInvoke(name, event) {
          if (name !== "worker") return;
          const ids = (event as SQSEvent).Records.map(
            ({ body }) => /event_id\\":\\"([^\\]+)/.exec(body)?.[1] ?? "none",
          );
          log.batches.push({ atMs: performance.now(), ids });
        },
        onNotice: () => {},
      });
      const loadOf = (handlerMs: number, share: number): Load => {
        const capacity = slots / (0.1 + handlerMs / 1000);
        return { rate: share * capacity, seconds: 15, handlerMs, front: "httpApi", dedupe: "required" };
      };
      const found: string[] = [];
      try {
        // Processes that are warm, and what lies between two batches of a slot.
        const trial = { load: { ...loadOf(700, 2), seconds: 4 }, seed: seed + 1_000 };
        const { cycleSeconds, batchSeconds } = await measure(runtime, log, trial);
        let betweenSeconds = cycleSeconds - batchSeconds;
        for (let index = 0; index < n; index++) {
          const isTooMuch = index % 2 === 0;
          const share = isTooMuch ? 1.8 + 0.6 * random.next() : 0.4 + 0.3 * random.next();
          const load = loadOf(700 + random.below(500), share);
          const real = await measure(runtime, log, { load, seed: seed + index });
          if (isTooMuch) betweenSeconds = real.cycleSeconds - real.batchSeconds;
          // A model of queues is told how long the work took here, and says how long it had to wait.
          const overhead = real.batchSeconds + betweenSeconds - load.handlerMs / 1000;
          const said = forecast(load, seed + index, overhead);
          assert.equal(said.events, real.events);
          const throughput = real.doneAfterSeconds / said.doneAfterSeconds - 1;
          const wait = said.meanWaitSeconds - real.meanWaitSeconds;
          const what = `${load.rate.toFixed(1)} a second of ${load.handlerMs} ms (${(1000 * overhead).toFixed(0)} ms more a batch)`;
          const figures = `throughput ${percent(throughput)}, wait ${real.meanWaitSeconds.toFixed(2)} s against ${said.meanWaitSeconds.toFixed(2)} s`;
          found.push(`${what}: ${figures}`);
          assert.ok(Math.abs(throughput) <= most, found.join("; "));
          // The model's steps are a tenth of a second.
          assert.ok(Math.abs(wait) <= Math.max(most * real.meanWaitSeconds, tickSeconds), found.join("; "));
          progress(index + 1);
        }
        return found.join("\n       ");
      } finally {
        await runtime.stop();
        project.remove();
      }
    },
  },
];

function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`;
}
