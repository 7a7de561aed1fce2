import { pause, withDeadline } from "../clock.ts";
import { DeadlineError, LongConnectionError } from "../errors.ts";
import { type ClientConfig, type Discovery, defaultConfig, discoveryPath, readDiscovery } from "../feishu/discovery.ts";
import { agentFor, exchange, networkCode } from "../https.ts";
import { publish } from "../trace/trace.ts";
import { answerLimitBytes, Connection, type ConnectionOptions, type End } from "./connection.ts";

export interface LongConnectionOptions extends ConnectionOptions {
  /** Gets the app's id and secret, and returns an address to connect to. */
  readonly origin: string;
  readonly appSecret: string;
  /** In [0, 1). */
  readonly random: () => number;
}

/** All official SDKs send it. It only sets the language of error texts. */
const locale = "zh";
const discoveryWithinMs = 15_000;
/** After a silence, no other client reconnects at the same time, so there is no crowd to avoid. */
const soonMs = 1_000;
/** At most ten attempts a minute, whatever the server says. */
const leastBetweenDialsMs = 6_000;
/** A deployment may hold the connections of two generations for a while. */
const limitWaitMs = 30_000;
/** The longest wait before the first new attempt. */
const longestNonceMs = 30_000;
/** The longest wait while the server has named none: then only the way to it is known to be broken. */
const longestBackoffSeconds = 60;

/**
 * Keeps one connection to the platform. Its events are stored before they are acknowledged; callbacks are answered. One
 * loop dials, serves and waits, so that there is never more than one socket.
 *
 * @param signal Its abort stops it: nothing more is read, messages in hand are answered for up to 5 s, and the socket is
 * closed.
 * @returns Resolves when it was stopped.
 * @throws {LongConnectionError} The platform refuses the app, or its limit of attempts is reached.
 */
export async function keepConnected(options: LongConnectionOptions, signal: AbortSignal): Promise<void> {
  const { appId, clock, random } = options;
  let config = defaultConfig;
  /** Attempts since a connection was last open. */
  let attempts = 0;
  while (!signal.aborted) {
    const dialedAtMs = clock.nowMs();
    const end = await connect(options, config, signal);
    if (signal.aborted) return;
    config = end.config;
    if (end.wasOpen) attempts = 0;
    const { kind, code, reason } = end;
    if (kind === "fatal") throw new LongConnectionError(`Cannot connect: ${reason}`, { platformCode: code });
    const { reconnectCount } = config;
    if (reconnectCount >= 0 && attempts >= reconnectCount) {
      throw new LongConnectionError(
        `Cannot connect: the platform allows ${reconnectCount} attempts, and the last failed: ${reason}`,
        { platformCode: code },
      );
    }
    const leastMs = dialedAtMs + leastBetweenDialsMs - clock.nowMs();
    const waitMs = Math.max(waitMsOf(end, attempts++, random), leastMs);
    const level = kind === "limit" ? "error" : "warn";
    publish({ stage: "disconnected", level, app: appId, facts: { reason, code, waitMs } });
    await pause(clock, waitMs, signal);
  }
}

function waitMsOf({ kind, config, wasOpen }: End, attempts: number, random: () => number): number {
  if (kind === "silent") return Math.round(random() * soonMs);
  const nonceMs = Math.min(config.reconnectNonceSeconds * 1000, longestNonceMs);
  const { reconnectIntervalSeconds } = config;
  const intervalMs = (reconnectIntervalSeconds ?? Math.min(2 ** attempts, longestBackoffSeconds)) * 1000;
  const isCrowd = attempts === 0 && (wasOpen || reconnectIntervalSeconds !== undefined);
  const waitMs = isCrowd ? random() * nonceMs : intervalMs * (0.8 + 0.4 * random());
  return Math.round(kind === "limit" ? Math.max(limitWaitMs, waitMs) : waitMs);
}

async function connect(options: LongConnectionOptions, config: ClientConfig, signal: AbortSignal): Promise<End> {
  const target = await discover(options, config, signal);
  if (target.kind !== "connect") return { ...target, wasOpen: false, config };
  if (signal.aborted) return { kind: "retry", reason: "it was stopped", wasOpen: false, config };
  return new Connection(target, options, signal).ended;
}

async function discover(
  { origin, appId, appSecret, clock, proxyEnv }: LongConnectionOptions,
  config: ClientConfig,
  signal: AbortSignal,
): Promise<Discovery> {
  const url = new URL(discoveryPath, origin);
  const error = () => new DeadlineError(`Cannot connect: discovery took ${discoveryWithinMs} ms`);
  try {
    return await withDeadline(clock, { ms: discoveryWithinMs, error }, async (deadline) => {
      const { status, bytes } = await exchange(url, {
        method: "POST",
        headers: { "content-type": "application/json", locale },
        body: JSON.stringify({ AppID: appId, AppSecret: appSecret }),
        agent: agentFor(url, proxyEnv),
        signal: AbortSignal.any([signal, deadline]),
        limitBytes: answerLimitBytes,
      });
      return readDiscovery({ status, body: String(bytes) }, { config, apiHost: url.hostname, secrets: [appSecret] });
    });
  } catch (error) {
    return { kind: "retry", reason: `discovery failed (${networkCode(error)})` };
  }
}
