import { Bucket } from "./bucket.ts";
import { type Load, type Place, type Step, tickSeconds } from "./step.ts";
import type { Watch } from "./watch.ts";

/** How long a function without keys holds a request. As in lib/aws/parameter.ts. */
const keysWaitSeconds = 1.5;
/** An instance in use reads the keys again about so often. */
const rereadSeconds = 180;

/** The door and the webhook. */
export function startReceiving(place: Place, { front }: Load, watch: Watch) {
  const { optional, quotas, times } = place;
  const reserved = optional.webhookReservedConcurrency;
  const door = startDoor(place, front, watch);
  const keys = startKeys(place, watch);
  const starts = new Bucket(quotas.startRate, quotas.startBurst);
  const startTicks = Math.round(times.start / tickSeconds);
  /** Instances that load, by the tick in which they have loaded. */
  const loading: { tick: number; count: number }[] = [];
  let starting = 0;
  let busy = 0;

  return {
    /** Invocations at once. */
    get busy(): number {
      return busy + keys.held + starting;
    },
    /**
     * What became of pushes: some may be those of an earlier step.
     * @param others Invocations at once that the account has for others, and their new instances.
     */
    step({ tick, ticks, seconds }: Step, pushes: number, others: { busy: number; starts: number }) {
      let loaded = 0;
      while (loading[0] !== undefined && loading[0].tick < tick + ticks) loaded += loading.shift()?.count ?? 0;
      starting -= loaded;
      const { served, failed } = keys.read(loaded, others.starts + (busy * seconds) / rereadSeconds, seconds);
      const open = door.letIn(pushes, seconds);
      const taken = keys.hold(open);
      const free = Math.max(0, (reserved ?? quotas.concurrency - others.busy) - keys.held - starting);
      const perStep = seconds / times.request;
      const answered = Math.min(open - taken, Math.floor(Math.min(keys.warm, free) * perStep));
      busy = answered / perStep;
      const rest = open - taken - answered;
      starts.refill(seconds);
      const room = Math.max(0, Math.floor(free - busy));
      const begun = starts.take(Math.min(rest, room));
      if (begun > 0) loading.push({ tick: tick + Math.max(ticks, startTicks), count: begun });
      starting += begun;
      watch.gauge("starts", Math.ceil(starts.spent), quotas.startBurst);
      watch.turnAway("concurrency", rest - room);
      watch.turnAway("starts", Math.min(rest, room) - begun);
      return { stored: served + answered, refused: failed + (pushes - open) + (rest - begun) };
    },
  };
}

/** What lets requests in to the webhook: the HTTP API, and Lambda's limit on requests. */
function startDoor({ limits, optional, quotas }: Place, front: Load["front"], watch: Watch) {
  const throttles = [
    { name: "route", bucket: new Bucket(limits.routeRatePerSecond, limits.routeBurst) },
    { name: "gateway", bucket: new Bucket(quotas.gatewayRate, quotas.gatewayBurst) },
  ] as const;
  const requestRate = (instances: number) => instances * quotas.requestsPerConcurrency;
  const most = requestRate(optional.webhookReservedConcurrency ?? quotas.concurrency);
  // As many requests a second as the first instances may have; more as instances may be added.
  const requests = new Bucket(Math.min(most, requestRate(quotas.startBurst)));
  return {
    /** @returns How many of the pushes it lets in. */
    letIn(pushes: number, seconds: number): number {
      let open = pushes;
      for (const { name, bucket } of front === "httpApi" ? throttles : []) {
        bucket.refill(seconds);
        watch.count(name, open, bucket.rate);
        const passed = bucket.take(open);
        watch.turnAway(name, open - passed);
        open = passed;
      }
      requests.refill(seconds);
      watch.count("requests", open, most);
      const passed = requests.take(open);
      if (passed < open) {
        // Lambda's growth: as many more requests as new instances could answer.
        const grown = requests.rate + requestRate(quotas.startRate) * seconds;
        watch.turnAway(requests.rate < most ? "starts" : "requests", open - passed);
        requests.grow(Math.min(most, grown));
      }
      return passed;
    },
  };
}

/** The instances that have loaded: those with keys, and those that read them while they hold a request. */
function startKeys({ quotas }: Place, watch: Watch) {
  const reads = new Bucket(quotas.parameterReads);
  let warm = 0;
  let keyless = 0;
  /** Requests that wait in instances without keys. */
  let held = 0;
  /** What a fraction of a request or read leaves for the next step. */
  let failing = 0;
  let otherReads = 0;
  return {
    get warm(): number {
      return warm;
    },
    get held(): number {
      return held;
    },
    /** An idle instance without keys takes requests as any other. */
    hold(requests: number): number {
      const taken = Math.min(requests, keyless - held);
      held += taken;
      return taken;
    },
    /** Instances that have loaded read their keys; what waits too long for them fails. */
    read(loaded: number, byOthers: number, seconds: number) {
      keyless += loaded;
      held += loaded;
      otherReads += byOthers;
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
      watch.turnAway("parameters", failed);
      return { served, failed };
    },
  };
}
