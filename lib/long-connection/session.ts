import { pause, withDeadline } from "../clock.ts";
import { DeadlineError, LongConnectionError } from "../errors.ts";
import { type ClientConfig, type Discovery, defaultConfig, discoveryPath, readDiscovery } from "../feishu/discovery.ts";
import { publish } from "../trace/trace.ts";
import { type ConnectionOptions, type End, nameOf, serveConnection } from "./connection.ts";

export interface LongConnectionOptions extends ConnectionOptions {
  /** Where the app's id and secret are sent for an address to connect to. */
  readonly origin: string;
  readonly appSecret: string;
  /** In [0, 1). */
  readonly random: () => number;
}

/** The official SDKs send it whatever they are for; it only changes the language of error texts. */
const locale = "zh";
const discoveryWithinMs = 15_000;
const discoveryLimitBytes = 64 * 1024;
/** After a silence nobody else is reconnecting: no crowd to avoid. */
const soonMs = 1_000;
/** At most ten attempts a minute, whatever the server's numbers are. */
const leastBetweenDialsMs = 6_000;
/** A deployment may hold two generations of connections for a while. */
const limitWaitMs = 30_000;
/** What a lost connection waits at most for its first new attempt. */
const longestNonceMs = 30_000;

/**
 * Keeps one connection to the platform and hands what comes to the receiver: an event is stored before its frame
 * is acknowledged, a callback is answered in its frame. One loop dials, serves and waits, so that there is never
 * more than one socket.
 */
export function createSession(options: LongConnectionOptions) {
  const { clock, random } = options;
  let current: { readonly stop: AbortController; readonly done: Promise<void> } | undefined;

  return {
    /**
     * Connects, and reconnects, until it is stopped. Starting twice is starting once.
     * @returns Resolves when it was stopped.
     * @throws {LongConnectionError} The platform refuses the app, or the attempts it allows are used up.
     */
    start(): Promise<void> {
      if (current !== undefined && !current.stop.signal.aborted) return current.done;
      const before = current?.done;
      const stop = new AbortController();
      const done = (async () => {
        // The socket of before has to be gone first.
        await before?.catch(() => {});
        try {
          await serve(stop.signal);
        } finally {
          // Over, whatever ended it: the next start is a new one.
          stop.abort();
        }
      })();
      current = { stop, done };
      return done;
    },

    /** Reads no more, lets what is in hand be answered for up to 5 s, and closes. */
    async stop(): Promise<void> {
      const stopped = current;
      stopped?.stop.abort();
      await stopped?.done.catch(() => {});
    },
  };

  async function serve(signal: AbortSignal): Promise<void> {
    let config = defaultConfig;
    /** Attempts to connect anew since a connection last stood. */
    let attempts = 0;
    let dialedAtMs = Number.NEGATIVE_INFINITY;
    for (;;) {
      await pause(clock, leastBetweenDialsMs - (clock.nowMs() - dialedAtMs), signal);
      if (signal.aborted) return;
      dialedAtMs = clock.nowMs();
      const end = await connect(config, signal);
      if (signal.aborted) return;
      ({ config } = end);
      if (end.wasOpen) attempts = 0;
      if (end.kind === "fatal") {
        throw new LongConnectionError(`Cannot connect: ${end.reason}`, { platformCode: end.code });
      }
      if (config.reconnectCount >= 0 && attempts >= config.reconnectCount) {
        throw new LongConnectionError(
          `Cannot connect: the platform allows ${config.reconnectCount} attempts, and the last failed: ${end.reason}`,
          { platformCode: end.code },
        );
      }
      const waitMs = waitOf(end, attempts++, config);
      const facts = { reason: end.reason, code: end.code, waitMs };
      const level = end.kind === "limit" ? "error" : "warn";
      publish({ stage: "disconnected", level, app: options.appId, facts });
      await pause(clock, waitMs, signal);
    }
  }

  function waitOf({ kind }: End, attempts: number, config: ClientConfig): number {
    if (kind === "silent") return Math.round(random() * soonMs);
    const nonceMs = Math.min(config.reconnectNonceSeconds * 1000, longestNonceMs);
    const intervalMs = config.reconnectIntervalSeconds * 1000;
    const waitMs = attempts === 0 ? random() * nonceMs : intervalMs * (0.8 + 0.4 * random());
    return Math.round(kind === "limit" ? Math.max(limitWaitMs, waitMs) : waitMs);
  }

  async function connect(config: ClientConfig, signal: AbortSignal): Promise<End> {
    const found = await discover(config, signal);
    if (found.kind !== "connect") return { ...found, wasOpen: false, config };
    if (signal.aborted) return { kind: "retry", reason: "it was stopped", wasOpen: false, config };
    return serveConnection(found, options, signal);
  }

  async function discover(config: ClientConfig, signal: AbortSignal): Promise<Discovery> {
    const url = new URL(discoveryPath, options.origin);
    try {
      const late = () => new DeadlineError(`Cannot connect: discovery took ${discoveryWithinMs} ms`);
      return await withDeadline(clock, { ms: discoveryWithinMs, error: late }, async (deadline) => {
        const response = await fetch(url, {
          method: "POST",
          headers: { "content-type": "application/json", locale },
          body: JSON.stringify({ AppID: options.appId, AppSecret: options.appSecret }),
          // A redirect would take the secret elsewhere.
          redirect: "error",
          signal: AbortSignal.any([signal, deadline]),
        });
        const body = await textOf(response);
        return readDiscovery({ status: response.status, body }, { config, apiHost: url.hostname });
      });
    } catch (error) {
      return { kind: "retry", reason: `discovery failed (${nameOf(error)})` };
    }
  }
}

/** What an answer says; one that is longer than any of the platform's is cut, and so none. */
async function textOf(response: Response): Promise<string> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of response.body ?? []) {
    chunks.push(chunk);
    length += chunk.length;
    if (length > discoveryLimitBytes) break;
  }
  return Buffer.concat(chunks).toString("utf8");
}
