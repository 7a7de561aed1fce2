import { type Clock, pause } from "../clock.ts";
import { publish } from "../trace/trace.ts";
import { seal, sealingKey, unseal } from "./sealing.ts";

export interface Token {
  readonly value: string;
  /** Epoch milliseconds. */
  readonly endsAtMs: number;
}

/** Where processes share tokens, encrypted. Every method rejects when the store cannot be reached. */
export interface TokenStore {
  read(name: string): Promise<{ readonly sealed: string; readonly endsAtMs: number } | undefined>;
  /** `true`: the caller should fetch the token, and no other process does until `untilMs`. */
  lease(name: string, options: { nowMs: number; untilMs: number }): Promise<boolean>;
  /** Ends the lease that ends at `untilMs`, so that another process can fetch. */
  release(name: string, untilMs: number): Promise<void>;
  /** Stores the token, unless the stored one ends later, and ends any lease. */
  write(name: string, token: { sealed: string; endsAtMs: number }): Promise<void>;
}

interface TokenSourceOptions {
  readonly clock: Clock;
  readonly random: () => number;
  readonly store: TokenStore;
  readonly secret: () => Promise<string>;
  /** Asks the platform. */
  readonly fetchToken: (tenant: string | null) => Promise<Token>;
}

/** In its last 30 minutes the platform gives out another token. The old one is valid until its end. */
const renewMs = 30 * 60_000;
/** Each process renews at a random moment of these, so that mostly one process fetches. */
const spreadMs = 5 * 60_000;
/** A token with less time is not used, since it could end on its way. */
const leastMs = 60_000;
const leaseMs = 10_000;
/** Between two renewals in the background. */
const pauseMs = 60_000;
const firstPollMs = 50;
const longestPollMs = 400;

/**
 * Tenant tokens. The handlers of one process share one call, and processes share the token through the store. Without
 * the store each process fetches its own token, which the platform allows.
 * https://open.feishu.cn/document/server-docs/authentication-management/access-token/tenant_access_token_internal
 */
export function tokenSource(options: TokenSourceOptions) {
  const { clock, random, store, secret, fetchToken } = options;
  const kept = new Map<string, Token & { readonly renewAtMs: number }>();
  const running = new Map<string, Promise<Token>>();

  return {
    /**
     * A token that is valid for a minute at least.
     * @param refused The token that the platform refused: it is not returned, wherever it is stored.
     */
    async get(name: string, tenant: string | null, refused?: string): Promise<string> {
      const nowMs = clock.nowMs();
      const token = kept.get(name);
      const leftMs = token === undefined || token.value === refused ? 0 : token.endsAtMs - nowMs;
      // In its last minute a token is used only during the pause after a failed renewal.
      if (token !== undefined && leftMs > (nowMs < token.renewAtMs ? 0 : leastMs)) {
        // Renewed in the background: nobody waits while there is a valid token.
        if (nowMs >= token.renewAtMs && !running.has(name)) renew(name, tenant).catch(logTokenFailure);
        return token.value;
      }
      const started = running.get(name);
      if (started !== undefined) {
        // It may have started before this token was refused, or fail for a reason of its own.
        const token = await started.catch(() => undefined);
        if (token !== undefined && token.value !== refused) return token.value;
      }
      return (await renew(name, tenant, refused)).value;
    },
  };

  function renew(name: string, tenant: string | null, refused?: string): Promise<Token> {
    const started =
      running.get(name) ??
      find(name, tenant, refused)
        .then((token) => {
          const renewAtMs = token.endsAtMs - renewMs + Math.round(random() * spreadMs);
          // A token that already is near its end must not be renewed by every call.
          kept.set(name, { ...token, renewAtMs: Math.max(renewAtMs, clock.nowMs() + pauseMs) });
          return token;
        })
        .finally(() => running.delete(name));
    running.set(name, started);
    return started;
  }

  /** The token of another process or a new one. When both fail, the old token until its end. */
  async function find(name: string, tenant: string | null, refused: string | undefined): Promise<Token> {
    let shared: SharedToken | undefined;
    try {
      const key = await sealingKey(secret);
      shared = await sharedToken({ name, key, refused }, options).catch(logStoreFailure);
      if (shared?.fresh !== undefined) return shared.fresh;
      const token = await fetchToken(tenant);
      await store
        .write(name, { sealed: seal(token.value, name, key), endsAtMs: token.endsAtMs })
        .catch(logStoreFailure);
      return token;
    } catch (error) {
      if (shared?.leaseEndsAtMs !== undefined) {
        await store.release(name, shared.leaseEndsAtMs).catch(logStoreFailure);
      }
      const nowMs = clock.nowMs();
      const [last] = [kept.get(name), shared?.old]
        .filter((token) => token !== undefined && token.value !== refused && token.endsAtMs > nowMs)
        .sort((a, b) => (b?.endsAtMs ?? 0) - (a?.endsAtMs ?? 0));
      if (last === undefined) throw error;
      logTokenFailure(error);
      return last;
    }
  }
}

interface SharedToken {
  readonly fresh?: Token;
  /** This process holds the lease until then, so it should fetch. */
  readonly leaseEndsAtMs?: number;
  /** The stored token, which is near its end. */
  readonly old?: Token | undefined;
}

/** Reads the token of another process. Without `fresh`, this process should fetch: it got the lease, or the holder took over 10 s. */
async function sharedToken(
  { name, key, refused }: { name: string; key: Buffer; refused: string | undefined },
  { store, clock, random }: TokenSourceOptions,
): Promise<SharedToken> {
  const untilMs = clock.nowMs() + leaseMs;
  let old: Token | undefined;
  for (let pollMs = firstPollMs; clock.nowMs() < untilMs; pollMs = Math.min(2 * pollMs, longestPollMs)) {
    const stored = await store.read(name);
    const value = stored && unseal(stored.sealed, name, key);
    old = stored && value !== undefined && value !== refused ? { value, endsAtMs: stored.endsAtMs } : undefined;
    const nowMs = clock.nowMs();
    const leftMs = old === undefined ? 0 : old.endsAtMs - nowMs;
    if (old !== undefined && leftMs > renewMs) return { fresh: old };
    const leaseEndsAtMs = nowMs + leaseMs;
    if (await store.lease(name, { nowMs, untilMs: leaseEndsAtMs })) return { leaseEndsAtMs, old };
    // Another process is fetching. Until then the old token is used.
    if (old !== undefined && leftMs > leastMs) return { fresh: old };
    await pause(clock, Math.round(pollMs * (0.5 + random())));
  }
  return { old };
}

function logTokenFailure(error: unknown): void {
  publish({ stage: "failed", level: "warn", facts: { reason: "token" }, error });
}

function logStoreFailure(error: unknown): undefined {
  publish({ stage: "failed", level: "warn", facts: { reason: "token-store" }, error });
}
