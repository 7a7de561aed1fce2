import type { MockTracker } from "node:test";
import { type Clock, systemClock } from "../../lib/clock.ts";

/** The machine's own, also while a test has the functions go by another. */
const { after } = systemClock;

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
  return { nowMs: () => nowMs, after: (ms, fire) => (ms > longestPauseMs ? () => {} : after(ms, fire)) };
}

/** Has the functions, whose clock is the machine's, go by this one until the mock is restored. */
export function goBy(mock: MockTracker, clock: Clock): void {
  mock.method(systemClock, "nowMs", clock.nowMs);
  mock.method(systemClock, "after", clock.after);
}

/** What was asked for, with the clock going on meanwhile. */
export async function inTime<T>(clock: TestClock, asked: Promise<T>, stepMs = 10): Promise<T> {
  const pending = Symbol();
  for (;;) {
    const turn = new Promise<typeof pending>((resolve) => setTimeout(resolve, 1, pending));
    const first = await Promise.race([asked, turn]);
    if (first !== pending) return first;
    await clock.advance(stepMs);
  }
}

/** Whether it ends although no time passes. What never does would only be noticed by the limit of its test. */
export function endsAtOnce(asked: Promise<unknown>): Promise<boolean> {
  const ended = asked.then(
    () => true,
    () => true,
  );
  return Promise.race([ended, settled().then(() => false)]);
}

/** Lets every promise that can settle without new input do so. */
export async function settled(): Promise<void> {
  for (let turn = 0; turn < 3; turn++) await new Promise((resolve) => setImmediate(resolve));
}
