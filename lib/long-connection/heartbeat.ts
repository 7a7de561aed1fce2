import { type Clock, systemClock } from "../clock.ts";
import { wholeNumber } from "../settings/environment.ts";
import { publish, subscribe } from "../trace/trace.ts";

/**
 * Says every `HEARTBEAT_SECONDS` whether the process is connected, as its last `connected` or `disconnected` had it:
 * an alarm can count such lines, and silence means that the process is gone. Without that setting nothing is said.
 *
 * @returns Ends it.
 * @throws {ConfigError} The setting is not a whole number.
 */
export function startHeartbeat(env: Parameters<typeof wholeNumber>[0], clock: Clock = systemClock): () => void {
  const seconds = wholeNumber(env, "HEARTBEAT_SECONDS");
  if (seconds === undefined) return () => {};
  let stage: "connected" | "disconnected" = "disconnected";
  const unsubscribe = subscribe("heartbeat", (entry) => {
    if (entry.stage === "connected" || entry.stage === "disconnected") ({ stage } = entry);
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
