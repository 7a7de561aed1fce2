/** One run of one contender: figures by name. */
export type Sample = Readonly<Record<string, number>>;

/** What stands side by side: the least that could do the job, this project, and what others would use. */
export type Contender = "floor" | "ours" | "peer";
export type Samples = Readonly<Partial<Record<Contender, readonly Sample[]>>>;
export type Contenders = Readonly<Partial<Record<Contender, () => Sample | Promise<Sample>>>>;

/** A quotient within one round, so that what else the machine does weighs on both sides. */
export interface Ratio {
  readonly to: "floor" | "peer";
  readonly median: number;
  /** Quartiles. */
  readonly low: number;
  readonly high: number;
  readonly target?: { readonly atMost: number; readonly isMet: boolean };
}

export interface Row {
  readonly section: string;
  readonly what: string;
  readonly unit: "ms" | "µs";
  readonly medians: Readonly<Partial<Record<Contender, number>>>;
  readonly ratios: readonly Ratio[];
}

export interface SectionOptions {
  readonly rounds: number;
  readonly progress: (text: string) => void;
}

/** Runs the contenders in turn, `rounds` times, every other round in reverse order. */
export async function interleave(
  contenders: Contenders,
  { rounds, progress }: SectionOptions,
  what: string,
): Promise<Samples> {
  const entries = Object.entries(contenders) as [Contender, () => Sample | Promise<Sample>][];
  const samples = Object.fromEntries(entries.map(([name]) => [name, [] as Sample[]])) as Record<Contender, Sample[]>;
  for (let round = 0; round < rounds; round++) {
    progress(`${what}: round ${round + 1} of ${rounds}`);
    for (const [name, run] of round % 2 === 0 ? entries : entries.toReversed()) samples[name].push(await run());
  }
  return samples;
}

/** One line of the table: a figure of every contender, and ours against each other one. */
export function row(options: {
  section: string;
  what: string;
  samples: Samples;
  figure: string;
  unit?: Row["unit"];
  targets?: Readonly<Partial<Record<Ratio["to"], number>>>;
}): Row {
  const { section, what, samples, figure, unit = "ms", targets = {} } = options;
  const values = new Map<string, number[]>();
  for (const [name, list] of Object.entries(samples)) {
    values.set(
      name,
      list.map((sample) => sample[figure] ?? Number.NaN),
    );
  }
  const ours = values.get("ours") ?? [];
  const ratios = (["floor", "peer"] as const).flatMap((to): Ratio[] => {
    const others = values.get(to);
    if (others === undefined) return [];
    const quotients = ours.map((value, round) => value / (others[round] ?? Number.NaN));
    const atMost = targets[to];
    const median = quantile(quotients, 0.5);
    const target = atMost === undefined ? undefined : { atMost, isMet: median <= atMost };
    return [
      {
        ...{ to, median, low: quantile(quotients, 0.25), high: quantile(quotients, 0.75) },
        ...(target === undefined ? undefined : { target }),
      },
    ];
  });
  const medians = Object.fromEntries([...values].map(([name, list]) => [name, quantile(list, 0.5)]));
  return { section, what, unit, medians, ratios };
}

/** Milliseconds of CPU that this process has used, helper threads included, since `start`. */
export function cpuMsSince(start: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(start);
  return (user + system) / 1000;
}

function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  const at = (sorted.length - 1) * share;
  const below = sorted[Math.floor(at)] ?? Number.NaN;
  const above = sorted[Math.ceil(at)] ?? Number.NaN;
  return below + (above - below) * (at - Math.floor(at));
}
