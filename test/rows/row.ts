/**
 * One row of the reliability catalogue whose figure needs many cases: `npm test` runs a seeded sample,
 * `npm run soak -- --row ID --seed N` the whole figure.
 */
export interface Row {
  /** As in the catalogue: `V8`, `C-14`, … */
  readonly id: string;
  /** A behaviour that a user could notice. */
  readonly title: string;
  /** Cases in the full figure, and in the sample: few, so that `npm test` stays short. */
  readonly full: number;
  readonly sample: number;
  /** Throws when the row does not hold; may return what there is to say of it. `progress` is told the number of cases done. */
  run(options: { n: number; seed: number; progress: (done: number) => void }): Promise<string> | Promise<void>;
}
