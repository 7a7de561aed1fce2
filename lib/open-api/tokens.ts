import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from "node:crypto";
import type { Clock } from "../clock.ts";
import { publish } from "../trace/trace.ts";

export interface Token {
  readonly value: string;
  /** Epoch milliseconds. */
  readonly endsAtMs: number;
}

/** Where processes share tokens, encrypted. All reject when it cannot be reached. */
export interface TokenStore {
  read(name: string): Promise<{ readonly sealed: string; readonly endsAtMs: number } | undefined>;
  /** Whether the caller is the one to fetch: nobody else is, until then. */
  lease(name: string, options: { nowMs: number; untilMs: number }): Promise<boolean>;
  /** Gives a lease back, if it is still the one that ends then. */
  release(name: string, untilMs: number): Promise<void>;
  /** Keeps it unless the kept one ends later. Ends any lease, too. */
  write(name: string, token: { sealed: string; endsAtMs: number }): Promise<void>;
}

/** From here on the platform gives out another token; the old one goes on until its end. */
const renewMs = 30 * 60_000;
/** Each process renews at its own time within these, so that one does and the others find it done. */
const spreadMs = 5 * 60_000;
/** A token with less is not used: it could end on its way. */
const leastMs = 60_000;
const leaseMs = 10_000;
/** Between two attempts in the background, whatever became of the first. */
const pauseMs = 60_000;
const firstLookMs = 50;
const longestLookMs = 400;

/**
 * Tenant tokens: one call for many handlers in a process, and nearly one for many processes. Without the store each
 * process fetches its own, which the platform allows.
 * https://open.feishu.cn/document/server-docs/authentication-management/access-token/tenant_access_token_internal
 *
 * @param options.fetchToken Asks the platform.
 */
export function tokenSource(options: {
  clock: Clock;
  random: () => number;
  store: TokenStore;
  secret: () => Promise<string>;
  fetchToken: (tenant: string | null) => Promise<Token>;
}) {
  const { clock, random, store, fetchToken } = options;
  const kept = new Map<string, Token & { readonly renewAtMs: number }>();
  const running = new Map<string, Promise<Token>>();

  return {
    /**
     * A token that holds for a minute at least.
     * @param refused The one that the platform did not take: it will not do, wherever it is kept.
     */
    async get(name: string, tenant: string | null, refused?: string): Promise<string> {
      const nowMs = clock.nowMs();
      const token = kept.get(name);
      if (token !== undefined && token.value !== refused && token.endsAtMs - nowMs > leastMs) {
        // In the background: nobody waits for a token while there is one.
        if (nowMs >= token.renewAtMs) renewSoon(name, tenant, token);
        return token.value;
      }
      const started = running.get(name);
      if (started !== undefined) {
        // It may have been asked for before this one was refused, or fail for a reason of its own.
        const token = await started.catch(() => undefined);
        if (token !== undefined && token.value !== refused) return token.value;
      }
      return (await renew(name, tenant, refused)).value;
    },
  };

  function renewSoon(name: string, tenant: string | null, token: Token): void {
    if (running.has(name)) return;
    renew(name, tenant, undefined).catch((error: unknown) => {
      kept.set(name, { ...token, renewAtMs: clock.nowMs() + pauseMs });
      tell("token", error);
    });
  }

  function renew(name: string, tenant: string | null, refused: string | undefined): Promise<Token> {
    const started =
      running.get(name) ??
      find(name, tenant, refused)
        .then((token) => {
          const renewAtMs = token.endsAtMs - renewMs + Math.round(random() * spreadMs);
          // One that is short of its end already is not asked for anew by each call.
          kept.set(name, { ...token, renewAtMs: Math.max(renewAtMs, clock.nowMs() + pauseMs) });
          return token;
        })
        .finally(() => running.delete(name));
    running.set(name, started);
    return started;
  }

  /** The one that another process has fetched meanwhile, or a new one. */
  async function find(name: string, tenant: string | null, refused: string | undefined): Promise<Token> {
    const key = await sealingKey(options.secret);
    let leaseEndsAtMs: number | undefined;
    try {
      const shared = await fromStore(name, key, refused);
      if ("value" in shared) return shared;
      leaseEndsAtMs = shared.leaseEndsAtMs;
    } catch (error) {
      tell("token-store", error);
    }
    const mind = (error: unknown) => tell("token-store", error);
    try {
      const token = await fetchToken(tenant);
      await store.write(name, { sealed: seal(token.value, name, key), endsAtMs: token.endsAtMs }).catch(mind);
      return token;
    } catch (error) {
      // The next to try need not wait for the lease's end.
      if (leaseEndsAtMs !== undefined) await store.release(name, leaseEndsAtMs).catch(mind);
      throw error;
    }
  }

  /** A token, or the word that this process is to fetch one: by its lease, or because whoever has that has been too long about it. */
  async function fromStore(
    name: string,
    key: Buffer,
    refused: string | undefined,
  ): Promise<Token | { readonly leaseEndsAtMs: number | undefined }> {
    const untilMs = clock.nowMs() + leaseMs;
    for (let lookMs = firstLookMs; clock.nowMs() < untilMs; lookMs = Math.min(2 * lookMs, longestLookMs)) {
      const stored = await store.read(name);
      const value = stored === undefined ? undefined : unseal(stored.sealed, name, key);
      const token = stored === undefined || value === undefined || value === refused ? undefined : { ...stored, value };
      const nowMs = clock.nowMs();
      if (token !== undefined && token.endsAtMs - nowMs > renewMs) return token;
      const leaseEndsAtMs = nowMs + leaseMs;
      if (await store.lease(name, { nowMs, untilMs: leaseEndsAtMs })) return { leaseEndsAtMs };
      // Somebody is fetching. Meanwhile the old one does, while it lasts.
      if (token !== undefined && token.endsAtMs - nowMs > leastMs) return token;
      const waitMs = Math.round(lookMs * (0.5 + random()));
      await new Promise<void>((resolve) => clock.after(waitMs, resolve));
    }
    return { leaseEndsAtMs: undefined };
  }

  function tell(reason: string, error: unknown): void {
    publish({ stage: "failed", level: "warn", facts: { reason }, error });
  }
}

/** The platform sends a new one each hour, and the last is good for twelve at most. */
const ticketMs = 12 * 3600_000;

/**
 * The ticket that a marketplace's app gets as an event, for whichever process needs a token next.
 * https://open.feishu.cn/document/server-docs/authentication-management/access-token/app_ticket_resend
 */
export function ticketKeeper(options: {
  store: TokenStore;
  secret: () => Promise<string>;
  appId: string;
  clock: Pick<Clock, "nowMs">;
}) {
  const { store, secret, clock } = options;
  const name = `${options.appId}/ticket`;
  return {
    /**
     * Keeps what an event of type `app_ticket` brings; other events pass by. One that is older than the kept one may
     * have come late, and is dropped. Rejects when it cannot be kept: the event must come back.
     */
    async keep({ kind, type, event, createdAtMs }: TicketEvent): Promise<void> {
      const ticket = kind === "event" && type === "app_ticket" ? event["app_ticket"] : undefined;
      if (typeof ticket !== "string" || ticket === "") return;
      const endsAtMs = (createdAtMs ?? clock.nowMs()) + ticketMs;
      await store.write(name, { sealed: seal(ticket, name, await sealingKey(secret)), endsAtMs });
    },
    async latest(): Promise<string | undefined> {
      const stored = await store.read(name);
      return stored === undefined ? undefined : unseal(stored.sealed, name, await sealingKey(secret));
    },
  };
}

export interface TicketEvent {
  readonly kind: string;
  readonly type: string;
  readonly event: Readonly<Record<string, unknown>>;
  readonly createdAtMs: number | null;
}

/** Who can read the table only must not be able to act as the app. */
async function sealingKey(secret: () => Promise<string>): Promise<Buffer> {
  return Buffer.from(hkdfSync("sha256", await secret(), "", "larkpost stored token", 32));
}

const tagBytes = 16;
const ivBytes = 12;

/** Bound to its name: one tenant's token does not pass for another's. */
function seal(text: string, name: string, key: Buffer): string {
  const iv = randomBytes(ivBytes);
  const cipher = createCipheriv("aes-256-gcm", key, iv).setAAD(Buffer.from(name));
  return Buffer.concat([iv, cipher.update(text, "utf8"), cipher.final(), cipher.getAuthTag()]).toString("base64");
}

/** `undefined`: sealed with another secret or under another name, or damaged. */
function unseal(sealed: string, name: string, key: Buffer): string | undefined {
  const bytes = Buffer.from(sealed, "base64");
  try {
    const iv = bytes.subarray(0, ivBytes);
    const decipher = createDecipheriv("aes-256-gcm", key, iv, { authTagLength: tagBytes });
    decipher.setAAD(Buffer.from(name)).setAuthTag(bytes.subarray(-tagBytes));
    return decipher.update(bytes.subarray(ivBytes, -tagBytes), undefined, "utf8") + decipher.final("utf8");
  } catch {
    return undefined;
  }
}
