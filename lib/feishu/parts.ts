import { type Frame, headerOf } from "./frame.ts";

/** Limits for messages that are not complete yet. */
export const partBounds = {
  parts: 1_024,
  messages: 256,
  /** The sum of all incomplete messages, with {@link overheadBytes} for each part. */
  bytes: 32 * 1024 * 1024,
  keptMs: 10_000,
};

/**
 * Memory that a part takes in addition to its bytes. Measured with Node 24 on x64 and 300,000 parts: 490 bytes if its
 * message has more parts, 740 if not, and up to 1,140 before the garbage collector runs.
 */
const overheadBytes = 1_024;

/** A whole message, and the frame that completed it. */
export interface Message {
  readonly frame: Frame;
  readonly payload: Uint8Array;
  /**
   * Epoch milliseconds at which its first part was read. The platform's time may start earlier: a part may have waited
   * in the kernel, or in the paused socket.
   */
  readonly sinceMs: number;
}

/**
 * Joins messages that came in parts: in any order, and perhaps twice. Incomplete messages are dropped after
 * {@link partBounds}.keptMs, or at one of the other limits, the oldest first; the platform pushes them again.
 *
 * @param onDropped Gets the number of dropped messages.
 */
export function partJoiner(onDropped: (count: number) => void = () => {}) {
  interface Pending {
    readonly sum: number;
    readonly parts: Map<number, Uint8Array>;
    readonly sinceMs: number;
    bytes: number;
  }
  /** Incomplete messages by their ids, the oldest first. */
  const pending = new Map<string, Pending>();
  let bytes = 0;
  const remove = (id: string) => {
    bytes -= pending.get(id)?.bytes ?? 0;
    pending.delete(id);
  };
  const dropOldestWhile = (isDue: (oldest: Pending) => boolean) => {
    const before = pending.size;
    for (const [id, oldest] of pending) {
      if (!isDue(oldest)) break;
      remove(id);
    }
    if (pending.size < before) onDropped(before - pending.size);
  };

  return {
    /** `incomplete`: more parts are missing. `invalid`: not a part, or it contradicts earlier parts of its message. */
    add(frame: Frame, nowMs: number): Message | "incomplete" | "invalid" {
      dropOldestWhile(({ sinceMs }) => nowMs - sinceMs >= partBounds.keptMs);
      const payload = frame.payload ?? new Uint8Array();
      // Without `sum`, it is a whole message.
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
        // A copy, since the payload is a view that keeps all bytes of the same read in memory.
        message.parts.set(seq, new Uint8Array(payload));
        message.bytes += payload.length + overheadBytes;
        bytes += payload.length + overheadBytes;
      }
      if (message.parts.size < sum) {
        dropOldestWhile(() => bytes > partBounds.bytes || pending.size > partBounds.messages);
        return "incomplete";
      }
      remove(id);
      const ordered = Array.from({ length: sum }, (_, index) => message.parts.get(index) ?? new Uint8Array());
      return { frame, payload: Buffer.concat(ordered), sinceMs: message.sinceMs };
    },

    /** Number of incomplete messages. */
    get pending(): number {
      return pending.size;
    },
  };
}

function wholeNumber(text: string): number | undefined {
  return /^\d{1,10}$/.test(text) ? Number(text) : undefined;
}
