import assert from "node:assert/strict";
import { createLanesSimulation, type Subject } from "../simulation/lanes.ts";
import type { Row } from "./row.ts";

export const lanesRows: readonly Row[] = [
  {
    id: "LANES",
    title: "the runs of a chat follow its sends, a poisoned chat delays no other, and a slow lane no fast one",
    full: 100_000,
    sample: 100,
    async run({ n, seed, progress }) {
      const healthy = await waitsOf({ n, seed, isPoisoned: false, progress: (done) => progress(done / 2) });
      const poisoned = await waitsOf({ n, seed, isPoisoned: true, progress: (done) => progress((n + done) / 2) });
      const [before, after] = [healthy, poisoned].map(({ p99Ms }) => p99Ms) as [number, number];
      assert.ok(
        after <= 1.1 * before,
        `seed ${seed}: with poison in other chats the p99 wait is ${after} ms, not ${before}`,
      );
      return `seed ${seed}: without poison ${healthy.says}; with it ${poisoned.says}`;
    },
  },
];

/** Runs all events to their end, and judges them. */
async function waitsOf(options: Parameters<typeof createLanesSimulation>[0]) {
  const simulation = createLanesSimulation(options);
  await simulation.run();
  const { violations, subjects, chats } = simulation;
  const dead = simulation.dead();
  for (const subject of subjects) {
    const { id, isPoison, sentMs, completions, runs } = subject;
    const isDead = dead.has(id);
    if (sentMs !== undefined && completions.size === 0 && !isDead) violations.push(`${id} is lost`);
    if (isDead && !isPoison && runs < simulation.attemptsOf(subject)) violations.push(`${id} died after ${runs} runs`);
    if (completions.size > 0 && (isDead || isPoison)) violations.push(`${id} completed, and is dead or poison`);
  }
  const ofFast = subjects.filter(({ id }) => id.startsWith("fast-")).map(waitOf);
  const longestMs = Math.max(...ofFast);
  if (longestMs > 1_000) violations.push(`a fast event waited ${longestMs} ms`);
  if (simulation.waiting() > 0) violations.push(`${simulation.waiting()} messages are left`);
  assert.equal(
    violations.length,
    0,
    `seed ${options.seed}: ${violations.length} violations\n${violations.slice(0, 20).join("\n")}`,
  );
  const waits = subjects.filter(({ chat, startedMs }) => chat >= 0 && chat % 20 !== 7 && startedMs !== undefined);
  const sorted = waits.map(waitOf).sort((a, b) => a - b);
  const p99Ms = sorted[Math.floor(0.99 * sorted.length)] ?? 0;
  const runs = subjects.reduce((sum, subject) => sum + subject.runs, 0);
  const hours = (simulation.sinceStartMs() / 3_600_000).toFixed(1);
  const says = `${subjects.length} events in ${chats} chats and ${hours} simulated hours, ${runs} runs, ${dead.size} dead, p99 wait ${p99Ms} ms, fast ones at most ${longestMs} ms`;
  return { p99Ms, says };
}

function waitOf({ sentMs = 0, startedMs = Number.POSITIVE_INFINITY }: Subject): number {
  return Math.round(startedMs - sentMs);
}
