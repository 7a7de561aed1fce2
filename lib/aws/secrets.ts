import { GetParameterCommand, ParameterNotFound, SSMClient } from "@aws-sdk/client-ssm";
import { type Clock, pause, withDeadline } from "../clock.ts";
import { ConfigError, DeadlineError } from "../errors.ts";
import { appKeys, defaultApp, type KeyRing } from "../feishu/keys.ts";
import { type AppSecrets, noAppSecret, parseSecrets } from "../settings/app-secrets.ts";
import { publish } from "../trace/trace.ts";
import type { StoredSecrets } from "./config.ts";

/** Keys older than this are read again before use, so a revoked key is refused everywhere by then, while SSM answers. */
export const cacheMs = 300_000;
/** From this age on a request starts a read and does not wait for it. Each process adds a random time. */
export const refreshMs = 150_000;
const refreshSpreadMs = 60_000;
/** A mismatch means that the keys were changed, or an attack. It reads the keys at most this often, and so does a failure. */
export const renewalPauseMs = 30_000;
/** Pauses after failures while there are no keys. They double, since all cold instances ask SSM. */
const firstPauseMs = 100;
const longestPauseMs = 1_000;
const loadMs = 800;
/** How long a request waits for keys: 300 ms are left to store its event. With old keys it waits for one try. */
export const emptyWaitMs = 1_500;
export const staleWaitMs = 600;
/** No read takes longer, with its retry. */
const frozenMs = 3_000;
const staleLogMs = 60_000;
/** Below the 8 hours that a replaced key is accepted after `secrets set`. */
const defaultStaleMs = 6 * 3_600_000;

/** A client that gives up within the receiver's time. */
export function ssmClient(): SSMClient {
  return new SSMClient({
    maxAttempts: 2,
    requestHandler: { connectionTimeout: 250, requestTimeout: 600, throwOnRequestTimeout: true, socketTimeout: 600 },
  });
}

/** Reads the SecureString. @throws {ConfigError} It holds no usable secrets. Any other error: SSM did not answer. */
export async function readSecrets(client: Client, parameter: string): Promise<AppSecrets> {
  const { Parameter } = await client.send(new GetParameterCommand({ Name: parameter, WithDecryption: true }));
  return parseSecrets(Parameter?.Value ?? "");
}

/** The secrets as requests need them. A ConfigError is logged here, since the request's own log line has no message. */
async function readKeys(client: Client, { parameter, appId, oldCards }: Options) {
  try {
    const secrets = await readSecrets(client, parameter);
    if (appId !== undefined && appId !== secrets.appId) {
      throw new ConfigError("Cannot start: APP_ID and the stored secrets name two apps. Check the stage's parameter");
    }
    for (const message of secrets.warnings) publish({ stage: "misconfigured", level: "warn", facts: { message } });
    return { ring: new Map([[defaultApp, appKeys({ ...secrets, oldCards })]]), appSecret: secrets.appSecret };
  } catch (thrown) {
    const error = thrown instanceof ParameterNotFound ? missing(parameter, thrown) : thrown;
    if (error instanceof ConfigError) {
      publish({ stage: "misconfigured", level: "error", facts: { message: error.message } });
    }
    throw error;
  }
}

type Client = Pick<SSMClient, "send">;

type Options = Pick<StoredSecrets, "parameter"> & Partial<StoredSecrets>;

export interface StoredKeys {
  /** Reads the keys before the first request, for 0.8 s at most: a challenge must be answered within a second. */
  load(): Promise<void>;
  /**
   * The last keys that were read, unless they are older than the stale limit. Without keys it waits for a read, for 1.5 s
   * at most. It rejects without keys, so the answer is a 503, never a 401.
   */
  current(): Promise<KeyRing>;
  /** Keys read after a mismatch; `undefined` when they were read less than 30 s ago. Rejects while SSM does not answer. */
  renewed(): Promise<KeyRing | undefined>;
  /** The app's secret, cached. @throws {ConfigError} None is stored. */
  appSecret(): Promise<string>;
}

interface Kept {
  readonly ring: KeyRing;
  readonly appSecret: string | undefined;
  readonly readAtMs: number;
  readonly refreshAtMs: number;
}

/**
 * An app's keys from SSM, cached. At most one read runs at a time, and a pause follows a failed read. While reads fail,
 * the last good keys are used for `staleMs`.
 */
export function storedKeys(client: Client, options: Options, clock: Clock, random = Math.random): StoredKeys {
  const { staleMs = defaultStaleMs } = options;
  let kept: Kept | undefined;
  let reading: Promise<KeyRing> | undefined;
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

  async function ask(): Promise<KeyRing> {
    askedAtMs = clock.nowMs();
    try {
      const refreshAtMs = askedAtMs + refreshMs + random() * refreshSpreadMs;
      kept = { ...(await readKeys(client, options)), readAtMs: askedAtMs, refreshAtMs };
      failures = 0;
      lastFailure = undefined;
      return kept.ring;
    } catch (error) {
      lastFailure = error;
      // A longer read means that Lambda froze the process meanwhile, which is no failure of SSM.
      if (clock.nowMs() - askedAtMs < frozenMs) {
        const pauseMs = ageMs() < staleMs ? renewalPauseMs : Math.min(firstPauseMs * 2 ** failures, longestPauseMs);
        nextAtMs = clock.nowMs() + pauseMs * (1 + random() / 2);
        failures += 1;
      }
      throw error;
    }
  }

  async function latest(): Promise<Kept> {
    const startMs = clock.nowMs();
    for (;;) {
      const nowMs = clock.nowMs();
      if (kept !== undefined && ageMs() < cacheMs) {
        if (nowMs >= Math.max(kept.refreshAtMs, nextAtMs)) read().catch(() => {});
        return kept;
      }
      const stale = ageMs() < staleMs ? kept : undefined;
      const untilMs = startMs + (stale === undefined ? emptyWaitMs : staleWaitMs);
      if (nowMs < untilMs && (reading !== undefined || nowMs >= nextAtMs)) {
        await withDeadline(clock, { ms: untilMs - nowMs, error: tooSlow }, read).catch(() => {});
      } else if (stale !== undefined) {
        if (nowMs - loggedAtMs >= staleLogMs) {
          loggedAtMs = nowMs;
          logStale(options.parameter, { ageMs: ageMs(), staleMs, error: lastFailure });
        }
        return stale;
      } else if (Math.max(nowMs, nextAtMs) >= untilMs || lastFailure instanceof ConfigError) {
        throw lastFailure ?? tooSlow();
      } else {
        await pause(clock, nextAtMs - nowMs);
      }
    }
  }

  return {
    // The request that needs the keys reports the failure.
    load: () => withDeadline(clock, { ms: loadMs, error: tooSlow }, latest).then(noop, noop),
    current: async () => (await latest()).ring,
    appSecret: async () => secretOf(await latest()),
    async renewed() {
      if (reading !== undefined || clock.nowMs() - askedAtMs >= renewalPauseMs) return read();
      // The last read failed, so the key may have been changed and a 401 would be a guess.
      if (lastFailure !== undefined) throw lastFailure;
      return undefined;
    },
  };
}

function noop(): void {}

function secretOf({ appSecret }: Kept): string {
  if (appSecret === undefined) throw new ConfigError(noAppSecret);
  return appSecret;
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
