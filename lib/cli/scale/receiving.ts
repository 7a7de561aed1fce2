import { Bucket } from "./bucket.ts";
import { type Load, type Place, type Step, tickSeconds } from "./step.ts";
import type { LimitName, Watch } from "./watch.ts";

/** How long a function without keys holds a request. As in lib/aws/parameter.ts. */
const keysWaitSeconds = 1.5;
/** An instance in use reads the keys again about so often. */
const rereadSeconds = 180;

/** The door and the webhook. */
export function startReceiving(place: Place, { front }: Load, watch: Watch) {
  const { limits, optional, quotas, times } = place;
  const reserved = optional.webhookReservedConcurrency;
  const most = reserved ?? quotas.concurrency;
  const route = new Bucket(limits.routeRatePerSecond, limits.routeBurst);
  const gateway = new Bucket(quotas.gatewayRate, quotas.gatewayBurst);
  const requestRate = (instances: number) => instances * quotas.requestsPerConcurrency;
  // As many requests a second as the first instances may have; more as instances may be added.
  const requests = new Bucket(Math.min(requestRate(most), requestRate(quotas.startBurst)));
  const starts = new Bucket(quotas.startRate, quotas.startBurst);
  const reads = new Bucket(quotas.parameterReads);
  const startTicks = Math.round(times.start / tickSeconds);
  /** Instances that load, by the tick in which they have loaded. */
  const loading: { tick: number; count: number }[] = [];
  let starting = 0;
  let warm = 0;
  let keyless = 0;
  /** Requests that wait in instances without keys. */
  let held = 0;
  let busy = 0;
  /** What a fraction of a request or read leaves for the next step. */
  let failing = 0;
  let otherReads = 0;
  let refused = 0;

  function refuse(name: LimitName, pushes: number): void {
    watch.turnAway(name, pushes);
    refused += pushes;
  }

  /** Through the door, and past Lambda's limit on requests. */
  function letIn(pushes: number, seconds: number): number {
    let open = pushes;
    if (front === "httpApi") {
      for (const [name, bucket] of [
        ["route", route],
        ["gateway", gateway],
      ] as const) {
        bucket.refill(seconds);
        watch.count(name, open, bucket.rate);
        const passed = bucket.take(open);
        refuse(name, open - passed);
        open = passed;
      }
    }
    requests.refill(seconds);
    watch.count("requests", open, requestRate(most));
    const passed = requests.take(open);
    if (passed < open) {
      // Lambda's growth: as many more requests as new instances could answer.
      const grown = requests.rate + requestRate(quotas.startRate) * seconds;
      refuse(requests.rate < requestRate(most) ? "starts" : "requests", open - passed);
      requests.grow(Math.min(requestRate(most), grown));
    }
    return passed;
  }

  /** Instances that have loaded read their keys; what waits too long for them fails. */
  function readKeys(loaded: number, workerStarts: number, seconds: number): number {
    keyless += loaded;
    held += loaded;
    otherReads += workerStarts + (busy * seconds) / rereadSeconds;
    const others = Math.floor(otherReads);
    otherReads -= others;
    reads.refill(seconds);
    watch.count("parameters", loaded + others, quotas.parameterReads);
    watch.count("keys", loaded + others, quotas.keyUses);
    const granted = reads.take(keyless);
    reads.take(others);
    const served = keyless === 0 ? 0 : Math.min(held, Math.ceil((held * granted) / keyless));
    warm += granted;
    keyless -= granted;
    held -= served;
    failing += (held * seconds) / keysWaitSeconds;
    const failed = Math.min(held, Math.floor(failing));
    failing -= failed;
    held -= failed;
    refuse("parameters", failed);
    return served;
  }

  return {
    /** Invocations at once. */
    get busy(): number {
      return busy + held + starting;
    },
    /**
     * What became of pushes: some may be those of an earlier step.
     * @param others Invocations at once that the account has for others, and their new instances.
     */
    step({ tick, ticks, seconds }: Step, pushes: number, others: { busy: number; starts: number }) {
      refused = 0;
      let loaded = 0;
      while (loading[0] !== undefined && loading[0].tick < tick + ticks) loaded += loading.shift()?.count ?? 0;
      starting -= loaded;
      let stored = readKeys(loaded, others.starts, seconds);
      const open = letIn(pushes, seconds);
      // An idle instance without keys takes requests as any other.
      const taken = Math.min(open, keyless - held);
      held += taken;
      const free = Math.max(0, (reserved ?? quotas.concurrency - others.busy) - held - starting);
      const perStep = seconds / times.request;
      const answered = Math.min(open - taken, Math.floor(Math.min(warm, free) * perStep));
      busy = answered / perStep;
      stored += answered;
      const rest = open - taken - answered;
      starts.refill(seconds);
      const room = Math.max(0, Math.floor(free - busy));
      const begun = starts.take(Math.min(rest, room));
      if (begun > 0) loading.push({ tick: tick + Math.max(ticks, startTicks), count: begun });
      starting += begun;
      watch.gauge("starts", Math.ceil(starts.spent), quotas.startBurst);
      refuse("concurrency", Math.max(0, rest - room));
      refuse("starts", Math.min(rest, room) - begun);
      return { stored, refused };
    },
  };
}
