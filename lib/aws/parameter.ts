import { type Clock, pause, withDeadline } from "../clock.ts";
import { ConfigError, DeadlineError } from "../errors.ts";
import { fieldsOf } from "../feishu/json.ts";
import { publish } from "../trace/trace.ts";

/** A value older than this is read again before use, so a revoked key is refused everywhere by then, while SSM answers. */
export const cacheMs = 300_000;
/** From this age on a request starts a read and does not wait for it. Each process adds a random time. */
export const refreshMs = 150_000;
const refreshSpreadMs = 60_000;
/** A mismatch means that the keys were changed, or an attack. It reads the value at most this often, and so does a failure. */
export const renewalPauseMs = 30_000;
/** Pauses after failures while there is no value. They double, since all cold instances ask SSM. */
const firstPauseMs = 100;
const longestPauseMs = 1_000;
const loadMs = 800;
/** How long a request waits for a value: 300 ms are left to store its event. With an old value it waits for one try. */
export const emptyWaitMs = 1_500;
export const staleWaitMs = 600;
/** No read takes longer, with its retry. */
const frozenMs = 3_000;
const staleLogMs = 60_000;
/** Below the 8 hours that a replaced key is accepted after `secrets set`. */
const defaultStaleMs = 6 * 3_600_000;

interface CachedParameter<T> {
  /** Reads the value before the first request, for 0.8 s at most: a challenge must be answered within a second. */
  load(): Promise<void>;
  /**
   * The last value that was read, unless it is older than the stale limit. Without one it waits for a read, for 1.5 s
   * at most, and then rejects.
   */
  latest(): Promise<T>;
  /** A value read after a mismatch; `undefined` when it was read less than 30 s ago. Rejects while SSM does not answer. */
  renewed(): Promise<T | undefined>;
}

export interface ParameterOptions {
  readonly parameter: string;
  /** How long the last good value is used while it cannot be read again; 6 hours unless set. */
  readonly staleMs?: number | undefined;
}

interface Kept<T> {
  readonly value: T;
  readonly readAtMs: number;
  readonly refreshAtMs: number;
}

/**
 * A parameter of SSM, cached. At most one read runs at a time, and a pause follows a failed read. While reads fail, the
 * last good value is used for `staleMs`.
 */
export function cachedParameter<T>(
  readValue: () => Promise<T>,
  { parameter, staleMs = defaultStaleMs }: ParameterOptions,
  clock: Clock,
  random = Math.random,
): CachedParameter<T> {
  let kept: Kept<T> | undefined;
  let reading: Promise<T> | undefined;
  let askedAtMs = Number.NEGATIVE_INFINITY;
  let nextAtMs = Number.NEGATIVE_INFINITY;
  let loggedAtMs = Number.NEGATIVE_INFINITY;
  let failures = 0;
  let lastFailure: unknown;

  const ageMs = () => (kept === undefined ? Number.POSITIVE_INFINITY : clock.nowMs() - kept.readAtMs);
  const read = () => {
    reading ??= ask().finally(() => {
      reading = undefined;
    });
    return reading;
  };

  async function ask(): Promise<T> {
    askedAtMs = clock.nowMs();
    try {
      const refreshAtMs = askedAtMs + refreshMs + random() * refreshSpreadMs;
      kept = { value: await loggingMistakes(parameter, readValue), readAtMs: askedAtMs, refreshAtMs };
      failures = 0;
      lastFailure = undefined;
      return kept.value;
    } catch (error) {
      // A longer read means that Lambda froze the process meanwhile, which is no failure of SSM.
      if (clock.nowMs() - askedAtMs < frozenMs) {
        lastFailure = error;
        const pauseMs = ageMs() < staleMs ? renewalPauseMs : Math.min(firstPauseMs * 2 ** failures, longestPauseMs);
        nextAtMs = clock.nowMs() + pauseMs * (1 + random() / 2);
        failures += 1;
      }
      throw error;
    }
  }

  async function latest(): Promise<T> {
    const startMs = clock.nowMs();
    for (;;) {
      const nowMs = clock.nowMs();
      if (kept !== undefined && ageMs() < cacheMs) {
        if (nowMs >= Math.max(kept.refreshAtMs, nextAtMs)) read().catch(() => {});
        return kept.value;
      }
      const stale = ageMs() < staleMs ? kept : undefined;
      const untilMs = startMs + (stale === undefined ? emptyWaitMs : staleWaitMs);
      if (nowMs < untilMs && (reading !== undefined || nowMs >= nextAtMs)) {
        await withDeadline(clock, { ms: untilMs - nowMs, error: tooSlow }, read).catch(() => {});
      } else if (stale !== undefined) {
        // One slow read after a quiet time is no failure either.
        if (lastFailure !== undefined && nowMs - loggedAtMs >= staleLogMs) {
          loggedAtMs = nowMs;
          logStale(parameter, { ageMs: ageMs(), staleMs, error: lastFailure });
        }
        return stale.value;
      } else if (Math.max(nowMs, nextAtMs) >= untilMs || lastFailure instanceof ConfigError) {
        throw lastFailure ?? tooSlow();
      } else {
        await pause(clock, nextAtMs - nowMs);
      }
    }
  }

  return {
    latest,
    // The request that needs the value reports the failure.
    load: () => withDeadline(clock, { ms: loadMs, error: tooSlow }, latest).then(noop, noop),
    async renewed() {
      if (reading !== undefined || clock.nowMs() - askedAtMs >= renewalPauseMs) return read();
      // The last read failed, so the key may have been changed and a 401 would be a guess.
      if (lastFailure !== undefined) throw lastFailure;
      return undefined;
    },
  };
}

function noop(): void {}

/** Logs a ConfigError, since the request's own log line has no message. */
async function loggingMistakes<T>(parameter: string, readValue: () => Promise<T>): Promise<T> {
  try {
    return await readValue();
  } catch (thrown) {
    const error = fieldsOf(thrown)["name"] === "ParameterNotFound" ? missing(parameter, thrown) : thrown;
    if (error instanceof ConfigError) {
      publish({ stage: "misconfigured", level: "error", facts: { message: error.message } });
    }
    throw error;
  }
}

function logStale(
  parameter: string,
  { ageMs, staleMs, error }: { ageMs: number; staleMs: number; error: unknown },
): void {
  const message = `Cannot read the keys again from ${parameter}: the last good ones are still used. Check SSM, and the parameter`;
  const [ageSeconds, leftSeconds] = [ageMs, staleMs - ageMs].map((ms) => Math.round(ms / 1000));
  publish({ stage: "stale-keys", level: "error", facts: { message, ageSeconds, leftSeconds }, error });
}

function tooSlow(): DeadlineError {
  return new DeadlineError("Cannot read the stored secrets in time. Check SSM");
}

function missing(parameter: string, cause: unknown): ConfigError {
  return new ConfigError(
    `Cannot read the stored secrets: there is no parameter ${parameter}. Run "npm run secrets -- set"`,
    { cause },
  );
}
