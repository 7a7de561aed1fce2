import { type Contestants, interleave, type Sample, type Samples } from "./measure.ts";
import { type Race, zipOf } from "./races.ts";
import type { Surroundings } from "./surroundings.ts";

/** How much CPU a warm contestant takes before its first sample, and for one. */
const warmUpMs = 1_200;
const sampleMs = 120;

/**
 * Runs a race: every contestant once uncounted, since a first run fills caches for all, and then the rounds.
 * @param options.share Of the usual time of a warm contestant.
 */
export async function runRace(
  { kind, entrants }: Race,
  { cold, warm, endLoops }: Surroundings,
  options: { readonly rounds: number; readonly share?: number; readonly onRound?: (round: number) => void },
): Promise<Samples> {
  const { rounds, share = 1, onRound = () => {} } = options;
  onRound(0);
  const contestants: Record<string, Contestants[string]> = {};
  try {
    for (const [name, entrant] of Object.entries(entrants)) {
      const program = await entrant.program();
      const task = entrant.task();
      const starters: Readonly<Record<Race["kind"], () => Promise<() => Promise<Sample>>>> = {
        zip: async () => async () => zipOf(program),
        cold: async () => cold(program, task),
        warm: () => warm(program, task, { warmUpMs: warmUpMs * share, sampleMs: sampleMs * share }),
      };
      contestants[name] = await starters[kind]();
      await contestants[name]();
    }
    return await interleave(contestants, kind === "zip" ? 1 : rounds, onRound);
  } finally {
    await endLoops();
  }
}
