import { GetParameterCommand, ParameterNotFound, SSMClient } from "@aws-sdk/client-ssm";
import { type Clock, within } from "../clock.ts";
import { ConfigError, DeadlineError } from "../errors.ts";
import { appKeys, defaultApp, type KeyRing } from "../feishu/keys.ts";
import { type AppSecrets, noAppSecret, parseSecrets } from "../settings/app-secrets.ts";
import { publish } from "../trace/trace.ts";
import type { StoredSecrets } from "./config.ts";

/** Older keys are read again before they are used. A revoked key is refused everywhere by then, while the store answers. */
export const cacheMs = 300_000;
/** From then on a request starts a read and does not wait for it. Each process has its own moment. */
export const refreshMs = 150_000;
const refreshSpreadMs = 60_000;
/** A mismatch may mean that the keys were just changed, or an attack: it may ask the store this often. So may a failure. */
export const renewalPauseMs = 30_000;
/** Pauses after failures while there are no keys. They double, since all cold instances ask one store. */
const firstPauseMs = 100;
const longestPauseMs = 1_000;
const loadMs = 800;
/** A request without keys waits this long for them, and has 300 ms left to store its event; with old ones, one try's time. */
export const emptyWaitMs = 1_500;
export const staleWaitMs = 600;
/** No read takes longer, retry included. */
const frozenMs = 3_000;
const staleLogMs = 60_000;
/** Below the 8 hours that a replaced key is accepted after `secrets set`. */
const defaultStaleMs = 6 * 3_600_000;

/** A client that gives up within the receiver's budget. */
export function ssmClient(): SSMClient {
  return new SSMClient({
    maxAttempts: 2,
    requestHandler: { connectionTimeout: 250, requestTimeout: 600, throwOnRequestTimeout: true, socketTimeout: 600 },
  });
}

/** Reads the SecureString. @throws {ConfigError} It holds no usable secrets; anything else: the store could not be asked. */
export async function readSecrets(client: Client, parameter: string): Promise<AppSecrets> {
  const { Parameter } = await client.send(new GetParameterCommand({ Name: parameter, WithDecryption: true }));
  return parseSecrets(Parameter?.Value ?? "");
}

/** The secrets as requests need them. What a person must repair is logged here: the request's own line has no text. */
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
  /** Reads the keys before the first request, for 0.8 s at most: the challenge that loads a function has a second. */
  load(): Promise<void>;
  /**
   * The last keys that were read, unless they are older than the stale limit. Without any it waits for a read, for 1.5 s
   * at most, and rejects: the answer is then a 503, never a 401.
   */
  current(): Promise<KeyRing>;
  /** Keys read after a mismatch; `undefined` when the store was asked less than 30 s ago. Rejects while it cannot be asked. */
  renewed(): Promise<KeyRing | undefined>;
  /** The app's secret, as cached. @throws {ConfigError} None is stored. */
  appSecret(): Promise<string>;
}

interface Kept {
  readonly ring: KeyRing;
  readonly appSecret: string | undefined;
  readonly readAtMs: number;
  readonly refreshAtMs: number;
}

/**
 * An app's keys from SSM, cached. One read is under way at most, and a failed read is followed by a pause. While reads
 * fail, the last good keys are used for `staleMs`.
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
      // Else Lambda froze the process during the read, and its timers fired with the next request: no failure of the store.
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
        await within(clock, untilMs - nowMs, tooSlow, read).catch(() => {});
      } else if (stale !== undefined) {
        if (nowMs - loggedAtMs >= staleLogMs) {
          loggedAtMs = nowMs;
          logStale(options.parameter, { ageMs: ageMs(), staleMs, error: lastFailure });
        }
        return stale;
      } else if (Math.max(nowMs, nextAtMs) >= untilMs || lastFailure instanceof ConfigError) {
        throw lastFailure ?? tooSlow();
      } else {
        await new Promise<void>((resolve) => clock.after(nextAtMs - nowMs, resolve));
      }
    }
  }

  return {
    // The request that needs the keys reports a failure.
    load: () => within(clock, loadMs, tooSlow, latest).then(noop, noop),
    current: async () => (await latest()).ring,
    appSecret: async () => secretOf(await latest()),
    async renewed() {
      if (reading !== undefined || clock.nowMs() - askedAtMs >= renewalPauseMs) return read();
      // The store could not say: the key may have been changed, and a 401 would be a guess.
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
