import type { CallbackEnvelope, Envelope, EventEnvelope, UnreadableEnvelope } from "../feishu/envelope.ts";
import { publish } from "../trace/trace.ts";

/** What goes back to the platform. Always a status: a response without one would become a 200. */
export interface Answer {
  readonly status: number;
  readonly body: object;
  /** The body's text, where it was written already. */
  readonly json?: string | undefined;
}

export interface ReceiverPorts {
  /** Where envelopes are stored. Both resolve only once the message is durable, and give up when `signal` is aborted. */
  send(envelope: EventEnvelope, signal: AbortSignal): Promise<void>;
  quarantine(envelope: UnreadableEnvelope, signal: AbortSignal): Promise<void>;
  /** Answers callbacks, where they are answered. */
  callback?(envelope: CallbackEnvelope, context: { elapsedMs: () => number }): Promise<Answer>;
}

/**
 * Envelope → Answer. Nothing is answered 200 before it is stored, and every authentic event is
 * stored, whatever its type: whether someone handles it is the worker's business. A callback is never stored as one.
 *
 * @throws Whatever a port throws; the caller answers 503, and the platform pushes again.
 */
export async function receive(
  envelope: Envelope,
  ports: ReceiverPorts,
  { signal, elapsedMs }: { signal: AbortSignal; elapsedMs: () => number },
): Promise<Answer> {
  const { requestId } = envelope;
  switch (envelope.kind) {
    case "challenge":
      publish({ stage: "challenged", level: "info", ms: elapsedMs(), requestId });
      return { status: 200, body: { challenge: envelope.challenge } };

    case "unreadable": {
      await ports.quarantine(envelope, signal);
      const facts = { reason: envelope.reason, size: envelope.rawBody.length };
      publish({ stage: "quarantined", level: "error", ms: elapsedMs(), requestId, facts });
      return { status: 200, body: {} };
    }

    case "callback": {
      if (ports.callback !== undefined) return ports.callback(envelope, { elapsedMs });
      const { id, type, app } = envelope;
      publish({ stage: "misdirected", level: "warn", id, type, app, ms: elapsedMs(), requestId });
      return { status: 200, body: { toast: misdirected } };
    }

    case "event": {
      await ports.send(envelope, signal);
      const { id, type, app } = envelope;
      publish({ stage: "queued", level: "info", id, type, app, ms: elapsedMs(), requestId });
      return { status: 200, body: {} };
    }
  }
}

/** Seen by the person who clicked, and so by whoever set the address up. */
const misdirected = {
  type: "error",
  content:
    "This app's callbacks go to the wrong address: set the callback request URL to the one that ends in /callback",
  i18n: {
    en_us:
      "This app's callbacks go to the wrong address: set the callback request URL to the one that ends in /callback",
    zh_cn: "此应用的回调配置到了错误的地址：请把回调请求地址改为以 /callback 结尾的地址",
  },
};
