import { type Frame, headerOf } from "./frame.ts";

/** Bounds of what is kept of messages that are not complete. */
export const partBounds = {
  parts: 1_024,
  messages: 256,
  /** Of all unfinished messages together, each part with {@link overheadBytes}. */
  bytes: 32 * 1024 * 1024,
  keptMs: 10_000,
};

/**
 * What a part takes beside its bytes, as growth of the process (Node 24 on x64, 300,000 parts): 490 bytes among
 * others of its message, 740 alone, and 660 to 1,140 with what the garbage collector still keeps.
 */
const overheadBytes = 1_024;

/** A whole message, and the frame that completed it. */
export interface Message {
  readonly frame: Frame;
  readonly payload: Uint8Array;
  /**
   * Epoch milliseconds at which its first part was read. The platform may count from when it sent it: what a part waits
   * unread, in the kernel and in the socket while it is paused, comes on top.
   */
  readonly sinceMs: number;
}

/**
 * Joins messages that came in parts: in any order, some of them twice. What never becomes whole is forgotten after
 * {@link partBounds}.keptMs, or when there is too much of it, the oldest first; the platform pushes it again.
 *
 * @param onForgotten Told how many messages were.
 */
export function partJoiner(onForgotten: (count: number) => void = () => {}) {
  interface Pending {
    readonly sum: number;
    readonly parts: Map<number, Uint8Array>;
    readonly sinceMs: number;
    bytes: number;
  }
  /** By message id, the oldest first. */
  const pending = new Map<string, Pending>();
  let bytes = 0;
  const forget = (id: string) => {
    bytes -= pending.get(id)?.bytes ?? 0;
    pending.delete(id);
  };
  /** Forgets the oldest as long as `isDue` says so. */
  const forgetOldest = (isDue: (oldest: Pending) => boolean) => {
    const before = pending.size;
    for (const [id, oldest] of pending) {
      if (!isDue(oldest)) break;
      forget(id);
    }
    if (pending.size < before) onForgotten(before - pending.size);
  };

  return {
    /** `incomplete`: not whole yet. `invalid`: no part of anything, or of another message than those before it. */
    add(frame: Frame, nowMs: number): Message | "incomplete" | "invalid" {
      forgetOldest(({ sinceMs }) => nowMs - sinceMs >= partBounds.keptMs);
      const payload = frame.payload ?? new Uint8Array();
      // A missing `sum` is a whole message: were it dropped, nobody would ever answer it.
      const sum = wholeNumber(headerOf(frame, "sum") ?? "1");
      const seq = wholeNumber(headerOf(frame, "seq") ?? "0");
      if (sum === undefined || seq === undefined || sum < 1 || sum > partBounds.parts || seq >= sum) return "invalid";
      if (sum === 1) return { frame, payload, sinceMs: nowMs };

      const id = headerOf(frame, "message_id");
      if (id === undefined) return "invalid";
      const message = pending.get(id) ?? { sum, parts: new Map(), sinceMs: nowMs, bytes: 2 * id.length };
      if (message.sum !== sum) return "invalid";
      if (!pending.has(id)) {
        pending.set(id, message);
        bytes += message.bytes;
      }
      if (!message.parts.has(seq)) {
        // A copy: the payload is a view of all that was read with it, which it would keep alive.
        message.parts.set(seq, new Uint8Array(payload));
        message.bytes += payload.length + overheadBytes;
        bytes += payload.length + overheadBytes;
      }
      if (message.parts.size < sum) {
        forgetOldest(() => bytes > partBounds.bytes || pending.size > partBounds.messages);
        return "incomplete";
      }
      forget(id);
      const ordered = Array.from({ length: sum }, (_, index) => message.parts.get(index) ?? new Uint8Array());
      return { frame, payload: Buffer.concat(ordered), sinceMs: message.sinceMs };
    },

    /** Messages that are not whole. */
    get pending(): number {
      return pending.size;
    },
  };
}

function wholeNumber(text: string): number | undefined {
  return /^\d{1,10}$/.test(text) ? Number(text) : undefined;
}
