import type { CallbackEnvelope, Envelope, EventEnvelope, UnreadableEnvelope } from "../feishu/envelope.ts";
import { publish } from "../trace/trace.ts";

/** The answer to the platform. The status is required: API Gateway would send 200 without one. */
export interface Answer {
  readonly status: number;
  readonly body: object;
  /** `body` as JSON, if it was written already. */
  readonly json?: string | undefined;
}

export interface ReceiverPorts {
  /** Stores an envelope, as `quarantine` does: resolves once it is durable, and stops when `signal` is aborted. */
  send(envelope: EventEnvelope, signal: AbortSignal): Promise<void>;
  quarantine(envelope: UnreadableEnvelope, signal: AbortSignal): Promise<void>;
  /** Missing where callbacks are not answered. */
  callback?(envelope: CallbackEnvelope, context: { elapsedMs: () => number }): Promise<Answer>;
}

/**
 * Envelope → Answer. An event is stored before it is answered with 200, whatever its type: the worker decides whether a
 * handler takes it. A callback is never stored as an event.
 *
 * @throws What a port throws. The caller answers 503, and the platform pushes again.
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

const en_us =
  "This address takes events only: set the callback request URL to the one that ends in /callback, or give createReceiver its callbacks";
const zh_cn = "此地址只接收事件：请把回调请求地址改为以 /callback 结尾的地址，或把 callbacks 交给 createReceiver";
/** The person who clicked sees it, and tells whoever configured the address. */
const misdirected = { type: "error", content: en_us, i18n: { en_us, zh_cn } };
