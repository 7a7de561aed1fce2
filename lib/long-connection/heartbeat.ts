import { type Clock, systemClock } from "../clock.ts";
import { type Env, wholeNumber } from "../settings/environment.ts";
import { publish, subscribe } from "../trace/trace.ts";

/**
 * Publishes the last `connected` or `disconnected` again every `HEARTBEAT_SECONDS`, if that is set. An alarm can count
 * the lines, and without lines the process is gone.
 *
 * @returns Stops it.
 * @throws {ConfigError} The setting is not a whole number.
 */
export function startHeartbeat(env: Env, clock: Clock = systemClock): () => void {
  const seconds = wholeNumber(env, "HEARTBEAT_SECONDS");
  if (seconds === undefined) return () => {};
  let stage: "connected" | "disconnected" = "disconnected";
  const unsubscribe = subscribe("heartbeat", (entry) => {
    if (entry.stage === "connected" || entry.stage === "disconnected") stage = entry.stage;
  });
  let cancel = () => {};
  const beat = () => {
    publish({ stage, level: "info", facts: { heartbeat: true } });
    cancel = clock.after(seconds * 1000, beat);
  };
  cancel = clock.after(seconds * 1000, beat);
  return () => {
    cancel();
    unsubscribe();
  };
}
