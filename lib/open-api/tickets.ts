import type { Clock } from "../clock.ts";
import { publish } from "../trace/trace.ts";
import { seal, sealingKey, unseal } from "./sealing.ts";
import type { Token, TokenStore } from "./tokens.ts";

/** The platform sends a new ticket each hour, and accepts the last one for 12 hours at most. */
const ticketMs = 12 * 3600_000;

/**
 * Shares the ticket, which a marketplace app receives as an event, with the process that needs a token next.
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
  let last: Token | undefined;
  return {
    /**
     * Stores the ticket of an `app_ticket` event, unless it is not a text. A ticket older than the stored one arrived late
     * and is dropped. Rejects when the store fails, so that the event is retried.
     */
    async keep(ticket: unknown, createdAtMs: number | null): Promise<void> {
      if (typeof ticket !== "string" || ticket === "") return;
      const endsAtMs = (createdAtMs ?? clock.nowMs()) + ticketMs;
      await store.write(name, { sealed: seal(ticket, name, await sealingKey(secret)), endsAtMs });
    },
    /** The stored ticket. While the store cannot be read, the last ticket that this process read, until its end. */
    async latest(): Promise<string | undefined> {
      try {
        const stored = await store.read(name);
        const value = stored && unseal(stored.sealed, name, await sealingKey(secret));
        last = stored && value !== undefined ? { value, endsAtMs: stored.endsAtMs } : undefined;
      } catch (error) {
        if (last === undefined || last.endsAtMs <= clock.nowMs()) throw error;
        publish({ stage: "failed", level: "warn", facts: { reason: "token-store" }, error });
      }
      return last?.value;
    },
  };
}
