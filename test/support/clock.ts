import { type Clock, systemClock } from "../../lib/clock.ts";

/** A clock that stands still until it is told to go on; timers fire in the order of their times. */
export interface TestClock extends Clock {
  /** Moves time on by `ms`, firing what falls due on the way and letting promises settle after each. */
  advance(ms: number): Promise<void>;
  /** Timers that are still set: none may outlive a finished call. */
  readonly pending: number;
}

export function testClock(startMs = 1_760_000_000_000): TestClock {
  let nowMs = startMs;
  const timers = new Set<{ atMs: number; fire: () => void }>();
  return {
    nowMs: () => nowMs,
    after(ms, fire) {
      const timer = { atMs: nowMs + ms, fire };
      timers.add(timer);
      return () => void timers.delete(timer);
    },
    async advance(ms) {
      const untilMs = nowMs + ms;
      for (;;) {
        await settled();
        const [next] = [...timers].filter(({ atMs }) => atMs <= untilMs).sort((a, b) => a.atMs - b.atMs);
        if (next === undefined) break;
        timers.delete(next);
        nowMs = Math.max(nowMs, next.atMs);
        next.fire();
      }
      nowMs = untilMs;
      await settled();
    },
    get pending() {
      return timers.size;
    },
  };
}

/** The longest pause between two polls, or before a second try. Every deadline is longer. */
const longestPauseMs = 100;

/** A clock for what is not about deadlines: pauses end, and no deadline comes, however busy the machine is. */
export function patientClock(nowMs = Date.now()): Clock {
  return { nowMs: () => nowMs, after: (ms, fire) => (ms > longestPauseMs ? () => {} : systemClock.after(ms, fire)) };
}

/** Lets every promise that can settle without new input do so. */
export async function settled(): Promise<void> {
  for (let turn = 0; turn < 3; turn++) await new Promise((resolve) => setImmediate(resolve));
}
