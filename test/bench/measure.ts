/** One run of one contestant: figures by name, in ms, MiB or KB. */
export type Sample = Readonly<Record<string, number>>;
export type Contestants = Readonly<Record<string, () => Promise<Sample>>>;
export type Samples = Readonly<Record<string, readonly Sample[]>>;

/** What a row compares, and the most that it may be. */
export interface Comparison {
  readonly what: string;
  /** The name of a figure in the samples. */
  readonly figure: string;
  /** The contestant that is divided; `ours` unless given. */
  readonly of?: string;
  /** The contestant that it is divided by. Without one, the figure itself is held against `must`. */
  readonly by?: string;
  /** How many times more work `of` has than `by`, in a row about growth. */
  readonly times?: number;
  /** The most that the row may be. Without one it only informs. */
  readonly must?: number;
}

export interface Spread {
  readonly median: number;
  /** Quartiles. */
  readonly low: number;
  readonly high: number;
}

export interface Row extends Comparison {
  /** `near`: the median is over `must`, and the good quarter of the rounds is not. `missed`: that quarter is over it, too. */
  readonly verdict: "met" | "near" | "missed" | undefined;
  /** Medians of the figure by contestant. */
  readonly medians: Readonly<Record<string, number>>;
  /** Taken of each round by itself, so that what else the machine does weighs on both sides. */
  readonly ratio: Spread;
  /** The same of wall time, which is noisier. */
  readonly wall: Spread | undefined;
  /** The same of the contestants that are neither `of` nor `by`. */
  readonly others: Readonly<Record<string, Spread>>;
}

/** Runs every contestant once a round. Each round begins with another one. */
export async function interleave(
  contestants: Contestants,
  rounds: number,
  onRound: (round: number) => void,
): Promise<Samples> {
  const entries = Object.entries(contestants);
  const samples = Object.fromEntries(entries.map(([name]) => [name, [] as Sample[]]));
  for (let round = 0; round < rounds; round++) {
    onRound(round + 1);
    const first = round % entries.length;
    for (const [name, run] of [...entries.slice(first), ...entries.slice(0, first)]) {
      samples[name]?.push(await run());
    }
  }
  return samples;
}

export function compare(comparison: Comparison, samples: Samples): Row {
  const { figure, of = "ours", by, times = 1, must } = comparison;
  const valuesOf = (name: string, what = figure) => (samples[name] ?? []).map((sample) => sample[what] ?? Number.NaN);
  const ratioOf = (name: string, what = figure) => {
    const base = by === undefined ? undefined : valuesOf(by, what);
    return spread(valuesOf(name, what).map((value, round) => value / (base?.[round] ?? 1) / times));
  };
  const names = Object.keys(samples);
  const others = names.filter((name) => name !== of && name !== by);
  const ratio = ratioOf(of);
  return {
    ...comparison,
    verdict: must === undefined ? undefined : verdictOf(ratio, must),
    medians: Object.fromEntries(names.map((name) => [name, spread(valuesOf(name)).median])),
    ratio,
    wall: figure === "cpuMs" ? ratioOf(of, "wallMs") : undefined,
    others: Object.fromEntries(others.map((name) => [name, ratioOf(name)])),
  };
}

function verdictOf({ median, low }: Spread, must: number): Row["verdict"] {
  if (median <= must) return "met";
  return low <= must ? "near" : "missed";
}

/** 1 when a row misses what it must be. */
export function exitCode(rows: readonly Row[]): 0 | 1 {
  return rows.some(({ verdict }) => verdict === "missed") ? 1 : 0;
}

export function spread(values: readonly number[]): Spread {
  const sorted = values.toSorted((a, b) => a - b);
  const quantile = (share: number) => {
    const at = (sorted.length - 1) * share;
    const below = sorted[Math.floor(at)] ?? Number.NaN;
    return below + ((sorted[Math.ceil(at)] ?? Number.NaN) - below) * (at - Math.floor(at));
  };
  return { median: quantile(0.5), low: quantile(0.25), high: quantile(0.75) };
}
