import { type Clock, systemClock } from "../clock.ts";
import { type Env, wholeNumber } from "../settings/environment.ts";
import { publish, subscribe } from "../trace/trace.ts";

/**
 * Publishes the last `connected` or `disconnected` again every `HEARTBEAT_SECONDS`, if that is set, with the seconds since
 * the last event or callback. An alarm can count the lines, and without lines the process is gone. After `QUIET_SECONDS`
 * without one, if that is set, the line of a connected process is an error: pings go on where a subscription has ended.
 *
 * @returns Stops it.
 * @throws {ConfigError} The setting is not a whole number.
 */
export function startHeartbeat(env: Env, clock: Clock = systemClock): () => void {
  const seconds = wholeNumber(env, "HEARTBEAT_SECONDS");
  const quietSeconds = wholeNumber(env, "QUIET_SECONDS") ?? Number.POSITIVE_INFINITY;
  if (seconds === undefined) return () => {};
  let stage: "connected" | "disconnected" = "disconnected";
  const startedAtMs = clock.nowMs();
  let lastEventAtMs: number | undefined;
  const unsubscribe = subscribe("heartbeat", (entry) => {
    if (entry.stage === "connected" || entry.stage === "disconnected") stage = entry.stage;
    // Every entry of a message names its request, if only as null.
    if (entry.requestId !== undefined) lastEventAtMs = clock.nowMs();
  });
  let cancel = () => {};
  const beat = () => {
    const ageSeconds = (sinceMs: number) => Math.floor((clock.nowMs() - sinceMs) / 1000);
    const level = stage === "connected" && ageSeconds(lastEventAtMs ?? startedAtMs) > quietSeconds ? "error" : "info";
    const lastEventSeconds = lastEventAtMs === undefined ? null : ageSeconds(lastEventAtMs);
    publish({ stage, level, facts: { heartbeat: true, lastEventSeconds } });
    cancel = clock.after(seconds * 1000, beat);
  };
  cancel = clock.after(seconds * 1000, beat);
  return () => {
    cancel();
    unsubscribe();
  };
}
